"""Sync a collection with files: store their passages, and remove passages that no file contains anymore."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from theodolite.errors import ConfigError, DocumentError, InputError
from theodolite.files.readers import File, Note, Options, Repaired, Skipped, Splitter, read
from theodolite.files.readers.find import absolute, below
from theodolite.files.readers.records import matches
from theodolite.files.sync.report import SyncProgress, SyncReport
from theodolite.files.sync.sources import Place, Sources
from theodolite.files.sync.writer import Group, StoredPassages, Writer, digests, text_digest
from theodolite.retriever import Retriever
from theodolite.scopes import key_of, partition_key, placed
from theodolite.types import Document

_OTHER_ID = "--map FILE:id=FIELD (maps=) takes the id from another field"


def sync(
    kb: Retriever,
    paths: Iterable[str | Path],
    *,
    source: str | None = None,
    options: Options | None = None,
    remove: bool = True,
    remove_all: bool = False,
    batch_size: int = 256,
    progress: Callable[[SyncProgress], None] | None = None,
) -> SyncReport:
    """Make the stored passages of files match the files.

    Unchanged passages are left alone, and a known text is not embedded again, even under a new file name. New passages
    are committed batch by batch. Passages that no file contains anymore are deleted at the end, so searches in between
    miss nothing. If interrupted, the next run completes the sync.

    A text file is stored completely or not at all, and so is a record. If the embedder gives no usable vector for a
    passage, the run continues: the file is in `report.skipped`, and its stored passages are kept.

    Args:
        kb: a collection with an embedder.
        paths: files and folders. A path within a known source updates that part of it.
        source: name to record the folder or file under. Default: the recorded name, or the name of the path.
        remove: delete passages of files that have disappeared from these folders.
        remove_all: do so even if no file of a source is left, for example because a disk is not mounted.
        batch_size: number of passages to embed and commit together, across files.
        progress: called after each file and each batch of the embedder.

    Raises:
        InputError: a path does not exist; `source` is not a valid name, or is given for several paths; batch_size is
            below 1.
        ConfigError: a path has the name of a source at another path, or no file of a source is left. Nothing is
            changed.
        TheodoliteError: from the collection.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    found = absolute(paths)
    run = _Run(kb, options or Options(), batch_size, progress, remove=remove, remove_all=remove_all)
    return run.run(found, source)


class _Run:
    def __init__(
        self,
        kb: Retriever,
        options: Options,
        batch_size: int,
        progress: Callable[[SyncProgress], None] | None,
        *,
        remove: bool,
        remove_all: bool,
    ) -> None:
        self._started = time.perf_counter()
        kb._check_writable()
        kb._session.create()
        kb.get(())  # raises if a partition must be named
        self._kb = kb
        self._options = options
        self._remove, self._remove_all = remove, remove_all
        self._splitter = Splitter(kb.embedder, options.chunk_tokens, options.overlap)
        self._stored = StoredPassages(kb.documents())
        self._sources = Sources(kb, lambda name: len(self._stored.sources(name)), self._overlap, remove=remove)
        self._writer = Writer(kb, self._stored, batch_size, self._progress, self._fail)
        self._tell = progress
        self._at = SyncProgress("", 0, 0, 0, 0, 0)
        self._texts: dict[Path, set[bytes]] = {}  # text digests of files read before the run, by the given path
        self._owner: dict[str, str] = {}  # id -> the file that has it in this run
        self._unstored: set[str] = set()  # ids in _owner that could not be stored
        self._covered: set[str] = set()  # names that this run is responsible for
        self._whole: set[str] = set()  # files without skipped parts
        self._skipped: list[Skipped] = []
        self._excluded: list[Skipped] = []
        self._repaired: list[Repaired] = []
        self._notes: list[Note] = []
        self._unchanged = self._failed = 0

    def run(self, paths: list[Path], name: str | None) -> SyncReport:
        before = self._kb.info().get("truncated", 0)
        places = self._sources.identify(paths, name)
        self._covered = {name for place in places for name in (place.prefix, *place.inner.values())}
        found = [(place, self._below(place)) for place in places]
        for place, items in found:
            self._check_left(place, items)
        for place, items in found:
            self._find_lost(place, items)
        self._sources.save()
        items = [item for _, items in found for item in items]
        self._check_maps([item for item in items if isinstance(item, File)])
        self._skipped += [item for item in items if isinstance(item, Skipped)]
        files = [item for item in items if isinstance(item, File)]
        self._at = replace(self._at, of_files=len(files), of_bytes=sum(file.size for file in files))
        for file in files:
            self._at = replace(self._at, source=file.source)
            self._file(file)
            self._at = replace(self._at, files=self._at.files + 1, bytes=self._at.bytes + file.size)
            self._progress(0)
        self._writer.flush()
        gone, kept = self._gone(found)
        # Delete last, so searches in between miss nothing. Passages that another file now has are kept.
        removed = self._kb.delete(gone) if gone else 0
        for renamed in self._sources.renamed:
            if set(self._stored_under(renamed)) <= {*gone, *self._owner}:
                self._sources.forget(renamed)
        self._sources.save()
        written = self._writer
        return SyncReport(
            files=len(files),
            passages=written.added + written.replaced + written.moved + self._unchanged,
            added=written.added,
            replaced=written.replaced,
            moved=written.moved,
            unchanged=self._unchanged,
            removed=removed,
            kept=kept,
            failed=self._failed,
            skipped=tuple(self._skipped),
            excluded=tuple(self._excluded),
            notes=tuple(self._notes),
            repaired=tuple(self._repaired),
            relocated=tuple(self._sources.relocated),
            truncated=max(0, self._kb.info().get("truncated", 0) - before),
            seconds=time.perf_counter() - self._started,
            embedding_seconds=written.seconds,
        )

    def _below(self, place: Place) -> list[File | Skipped]:
        """Return the files below a place, with the names they are stored under."""
        items = [
            replace(item, source=place.named(item.source)) for item in below(place.path, place.prefix, self._options)
        ]
        # Stored passages of excluded files are removed, as if the file had vanished; those of skipped files are kept.
        self._excluded += [item for item in items if isinstance(item, Skipped) and item.kind == "excluded"]
        return [item for item in items if not isinstance(item, Skipped) or item.kind != "excluded"]

    def _check_maps(self, files: list[File]) -> None:
        """Note mappings of fields that are for no file: a name may be misspelled."""
        for pattern in self._options.maps:
            if not any(matches(pattern, file) for file in files):
                self._notes.append(Note(pattern, "no file matches this mapping of fields (--map, maps=)"))

    def _check_left(self, place: Place, items: list[File | Skipped]) -> None:
        """Raise ConfigError if no file of a source is left: a disk may not be mounted."""
        if not self._remove or self._remove_all or any(isinstance(item, File) for item in items):
            return
        lost = self._vanished(place, items)
        if lost and set(self._stored.sources(place.prefix)) <= set(lost):
            raise ConfigError(
                f"{place.path} has no files left, but {len(lost)} are stored from it, first {lost[0]}. Nothing was "
                "changed. Is a disk not mounted? To remove the stored files, pass --remove-all (remove_all=True)",
                source=place.prefix,
                files=len(lost),
            )

    def _vanished(self, place: Place, items: list[File | Skipped]) -> list[str]:
        """Return the files that were stored from a place and no longer exist there."""
        there = {item.source for item in items}
        unread = tuple(f"{item.source}/" for item in items if isinstance(item, Skipped))  # includes folders
        known = self._stored.sources(place.prefix)
        for prefix, name in place.inner.items():
            path = place.path / prefix[len(place.prefix) + 1 :]
            # Otherwise the scan did not reach it, for example behind a link.
            if not os.path.lexists(path) or any(each == name or each.startswith(f"{name}/") for each in there):
                known = known + self._stored.sources(name)
        return [source for source in known if source not in there and not source.startswith(unread)]

    def _gone(self, found: list[tuple[Place, list[File | Skipped]]]) -> tuple[list[str], int]:
        """Return the passages to delete, and the number of passages of skipped files that are kept."""
        gone = [name for source in self._whole for name in self._stored_in(source)]
        if self._remove:
            for place, items in found:
                gone += [name for source in self._vanished(place, items) for name in self._stored_in(source)]
            for name in self._sources.renamed:
                gone += [
                    each
                    for source in self._stored.sources(name)
                    if not self._is_skipped(source[len(name) + 1 :])
                    for each in self._stored_in(source)
                ]
        gone = [name for name in dict.fromkeys(gone) if name not in self._owner]
        covered = {name for under in self._covered for name in self._stored_under(under)}
        kept = covered - (self._owner.keys() - self._unstored) - set(gone)
        return gone, len(kept) if self._remove else 0

    def _is_skipped(self, way: str) -> bool:
        """Return whether a file with this relative path below any folder, or a folder above it, was skipped."""
        for item in self._skipped:
            parts = item.source.split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            if any(way == end or way.startswith(f"{end}/") for end in ends):
                return True
        return False

    def _stored_in(self, source: str) -> list[str]:
        return self._stored.by_source.get(source, [])

    def _stored_under(self, name: str) -> list[str]:
        return [each for source in self._stored.sources(name) for each in self._stored_in(source)]

    def _file(self, file: File) -> None:
        self._whole.add(file.source)
        for item in read(file, self._options, self._splitter):
            match item:
                case Skipped():
                    self._skip(item)
                case Repaired():
                    self._repaired.append(item)
                case Note():
                    self._notes.append(item)
                case _:
                    self._passages(file.source, item)

    def _passages(self, source: str, documents: list[Document]) -> None:
        """Queue passages that must be stored completely or not at all."""
        try:
            documents = [self._placed(document) for document in documents]
        except DocumentError as error:
            self._fail(Group(source, documents, []), str(error))
            return
        for document in documents:
            if (first := self._owner.get(document.id)) is not None:
                self._skip(Skipped(source, f"the id {document.id!r} is used twice, first in {first}; {_OTHER_ID}"))
                return
            if self._is_taken(document.id, source):
                first = self._stored.by_id[document.id].source
                self._skip(
                    Skipped(source, f"the id {document.id!r} belongs to {first}, which is still there; {_OTHER_ID}")
                )
                return
        fresh = Group(source, [], [])
        for document in documents:
            known = self._stored.by_id.get(document.id)
            made = digests(document, source)
            if known is not None and known[:2] == made[:2]:
                self._unchanged += 1
                self._at = replace(self._at, passages=self._at.passages + 1)
            else:
                fresh.documents.append(document)
                fresh.digests.append(made)
            self._owner[document.id] = source
        if fresh.documents:
            self._writer.put(fresh)

    def _is_taken(self, name: str, source: str) -> bool:
        """Return whether an id belongs to an existing file outside this run. `add` (remove=False) replaces it."""
        known = self._stored.by_id.get(name)
        if known is None or known.source == source or not self._remove:
            return False
        if any(known.source == each or known.source.startswith(f"{each}/") for each in self._covered):
            return False
        path = self._sources.path_of(known.source)
        return path is not None and os.path.lexists(path)

    def _placed(self, document: Document) -> Document:
        """Return the document in the partition of the scope. Raises DocumentError if it names another partition."""
        field, scope = self._kb._engine.partition, self._kb._scope
        document = placed(scope, field, document)
        if field is not None and scope is not None:
            key = partition_key(field, document.metadata)
            if scope.partition is not None and key != key_of(scope.partition):
                raise DocumentError(f"{document.id!r} belongs to another {field} than {scope.partition!r}")
        return document

    def _skip(self, item: Skipped) -> None:
        self._skipped.append(item)
        self._whole.discard(item.source)

    def _fail(self, group: Group, reason: str) -> None:
        self._failed += 1
        self._unstored.update(document.id for document in group.documents)
        self._skip(Skipped(group.source, f"not stored: {reason}"))

    def _overlap(self, name: str, path: Path) -> int:
        """Count the stored files under a name that consist mostly of texts from the files below a path."""
        if path not in self._texts:
            self._texts[path] = self._texts_of(below(path, "", self._options))
        return self._holding(name, self._texts[path])

    def _find_lost(self, place: Place, items: list[File | Skipped]) -> None:
        """Rename sources with a missing root if at least half of their files are among the new ones of a place."""
        new = [item for item in items if item.source not in self._stored.by_source]
        lost = self._sources.lost() if new and self._remove else []
        if lost:
            texts = self._texts_of(new)
            for name in lost:
                if 2 * self._holding(name, texts) >= len(self._stored.sources(name)):
                    self._sources.rename(name, place)

    def _texts_of(self, items: Iterable[File | Skipped]) -> set[bytes]:
        files = (item for item in items if isinstance(item, File))
        found = (item for file in files for item in read(file, self._options, self._splitter))
        return {text_digest(document) for item in found if isinstance(item, list) for document in item}

    def _holding(self, name: str, texts: set[bytes]) -> int:
        """Count the stored files under a name with at least half of their passages among these texts."""
        count = 0
        for source in self._stored.sources(name):
            ids = self._stored_in(source)
            count += 2 * sum(self._stored.by_id[each].text in texts for each in ids) >= len(ids)
        return count

    def _progress(self, passages: int) -> None:
        self._at = replace(self._at, passages=self._at.passages + passages)
        if self._tell is not None:
            self._tell(self._at)
