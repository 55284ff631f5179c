"""Files and a collection kept in step."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from theodolite.errors import InputError
from theodolite.metadata import encode
from theodolite.readers.files import File, Options, Skipped, find, roots
from theodolite.readers.passages import PATH, read
from theodolite.readers.splitting import Splitter
from theodolite.retriever import Retriever
from theodolite.types import Document

__all__ = ["Progress", "Report", "sync"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        source: the file that is read.
        files, of_files: files done, and all there are.
        bytes, of_bytes: their sizes.
        passages: passages done.
    """

    source: str
    files: int
    of_files: int
    bytes: int
    of_bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened.

    Attributes:
        files: files read.
        passages: what they hold: the sum of the next four.
        added: passages that were not there.
        replaced: passages whose text is another.
        moved: passages with a known text, stored anew with its vector: their place or their metadata have changed.
        unchanged: passages that were left alone.
        removed: passages that no file holds any more.
        skipped: files and records that were left out; what was stored of them is kept.
        truncated: passages longer than the embedder reads.
        seconds: how long it took.
        embedding_seconds: how much of it the embedder took, with its count of tokens.
    """

    files: int = 0
    passages: int = 0
    added: int = 0
    replaced: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[Skipped, ...] = ()
    truncated: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0


def sync(
    kb: Retriever,
    paths: Iterable[str | Path],
    *,
    options: Options | None = None,
    remove: bool = True,
    batch_size: int = 256,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Store the passages of files, as they are now, and nothing else of them.

    Passages that are stored already are left alone; a text that is stored already is not embedded again. What is new
    is committed batch by batch; what no file holds any more goes at the end, so that a search in between misses
    nothing. Stopped anywhere, the next run completes it.

    Args:
        kb: a collection with an embedder.
        paths: files and folders.
        remove: whether passages of files that have vanished from these folders go, too.
        batch_size: passages embedded and committed together, over all files.
        progress: called after each file and each batch of the embedder.

    Raises:
        InputError, ConfigError: paths that do not exist, or that have the same name; a batch_size below 1.
        TheodoliteError: from the collection.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    return _Run(kb, options or Options(), batch_size, progress).run(paths, remove)


class _Stored(NamedTuple):
    """What is known of a stored passage."""

    text: bytes
    metadata: bytes


class _Fresh(NamedTuple):
    """A passage to store."""

    document: Document
    known: bool  # whether its id is stored
    like: str | None  # a stored document with the same text


class _Run:
    def __init__(
        self, kb: Retriever, options: Options, batch_size: int, progress: Callable[[Progress], None] | None
    ) -> None:
        self._kb = kb
        self._options = options
        self._splitter = Splitter(kb.embedder, options.chunk_tokens, options.overlap)
        self._batch_size = batch_size
        self._tell = progress
        self._stored: dict[str, dict[str, _Stored]] = {}  # source -> id -> digests
        self._ids: dict[str, _Stored] = {}
        self._owner: dict[str, str] = {}  # id -> the source that has it in this run
        self._batch: list[_Fresh] = []
        self._gone: list[str] = []  # no longer in the file they were from
        self._report = Report()
        self._skipped: list[Skipped] = []
        self._at = Progress("", 0, 0, 0, 0, 0)
        self._embedding = 0.0

    def run(self, paths: Iterable[str | Path], remove: bool) -> Report:
        started = time.perf_counter()
        named = roots(paths)
        before = self._kb.info().get("truncated", 0)
        for document in self._kb.documents():
            source = document.metadata.get(PATH)
            if isinstance(source, str):
                digests = self._ids[document.id] = _digests(document)
                self._stored.setdefault(source, {})[document.id] = digests
        found = list(find(named.values(), self._options))
        files = [file for file in found if isinstance(file, File)]
        self._skipped += [item for item in found if isinstance(item, Skipped)]
        self._at = replace(self._at, of_files=len(files), of_bytes=sum(file.size for file in files))
        for file in files:
            self._at = replace(self._at, source=file.source)
            self._file(file)
            self._at = replace(self._at, files=self._at.files + 1, bytes=self._at.bytes + file.size)
            self._progress(0)
        if remove:
            there = {item.source for item in found}
            for name in named:
                self._vanished(name, there)
        self._flush()
        # Last of all, and not what another file has now: a search in between misses nothing.
        gone = [name for name in self._gone if name not in self._owner]
        if gone:
            self._count(removed=self._kb.delete(gone))
        self._count(files=len(files), truncated=max(0, self._kb.info().get("truncated", 0) - before))
        return replace(
            self._report,
            skipped=tuple(self._skipped),
            seconds=time.perf_counter() - started,
            embedding_seconds=self._embedding,
        )

    def _vanished(self, name: str, there: set[str]) -> None:
        """Passages of files that were stored under a given name, and are not there any more."""
        unread = tuple(f"{item.source}/" for item in self._skipped)  # folders among them
        known = [source for source in self._stored if source == name or source.startswith(f"{name}/")]
        lost = [source for source in known if source not in there and not source.startswith(unread)]
        if len(lost) == len(known) > 0:
            reason = (
                f"none of the {len(known)} files stored under this name is there: another folder, or a disk that is "
                "not mounted? Nothing of them was removed"
            )
            self._skipped.append(Skipped(name, reason))
            return
        for source in lost:
            self._gone += self._stored[source]

    def _file(self, file: File) -> None:
        stored = self._stored.get(file.source, {})
        texts = {digests.text: name for name, digests in stored.items()}
        whole = True
        for item in read(file, self._options, self._splitter):
            if isinstance(item, Skipped):
                self._skipped.append(item)
                whole = False
                continue
            if item.id in self._owner:
                first = self._owner[item.id]
                self._skipped.append(Skipped(file.source, f"the id {item.id!r} is used twice, first in {first}"))
                continue
            self._owner[item.id] = file.source
            self._passage(self._kb._place(item), self._ids.get(item.id), texts)
        if whole:
            self._gone += [name for name in stored if name not in self._owner]

    def _passage(self, document: Document, known: _Stored | None, texts: dict[bytes, str]) -> None:
        digests = _digests(document)
        if digests == known:
            self._count(passages=1, unchanged=1)
            self._at = replace(self._at, passages=self._at.passages + 1)
            return
        like = document.id if known and known.text == digests.text else texts.get(digests.text)
        self._batch.append(_Fresh(document, known is not None, like))
        if len(self._batch) >= self._batch_size:
            self._flush()

    def _flush(self) -> None:
        """Store the batch."""
        batch, self._batch = self._batch, []
        likes = {fresh.like for fresh in batch if fresh.like is not None}
        # Read before anything is written: a batch may overwrite what it takes its vectors from.
        held = {document.id: (document.text, vector) for document, vector in self._kb.get(likes, vectors=True)}
        moved: list[tuple[Document, object]] = []
        embed: list[_Fresh] = []
        for fresh in batch:
            text, vector = held.get(fresh.like or "", ("", None))
            if vector is not None and text == fresh.document.text:
                moved.append((fresh.document, vector))
            else:  # the batch before may have overwritten it
                embed.append(fresh)
        if moved:
            self._kb.add([document for document, _ in moved], vectors=[vector for _, vector in moved], batch_size=None)
            self._progress(len(moved))
        if embed:
            self._embed([fresh.document for fresh in embed])
        replaced = sum(fresh.known for fresh in embed)
        self._count(passages=len(batch), moved=len(moved), replaced=replaced, added=len(embed) - replaced)

    def _embed(self, documents: list[Document]) -> None:
        started = ended = time.perf_counter()

        def embedded(passages: int) -> None:
            nonlocal ended
            ended = time.perf_counter()  # the last call comes before they are stored
            self._progress(passages)

        self._kb.add(documents, batch_size=None, progress=embedded)
        self._embedding += ended - started

    def _progress(self, passages: int) -> None:
        self._at = replace(self._at, passages=self._at.passages + passages)
        if self._tell is not None:
            self._tell(self._at)

    def _count(self, **more: int) -> None:
        self._report = replace(
            self._report, **{name: getattr(self._report, name) + number for name, number in more.items()}
        )


def _digests(document: Document) -> _Stored:
    metadata = encode(document.metadata, canonical=True)
    return _Stored(*(blake2b(part.encode(), digest_size=16).digest() for part in (document.text, metadata)))
