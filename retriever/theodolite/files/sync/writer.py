"""Write passages to the collection: reuse known vectors, embed the rest, and isolate passages that fail."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DocumentError, TheodoliteError, VectorError
from theodolite.files.readers.passages import PATH
from theodolite.metadata import encode
from theodolite.retriever import Retriever
from theodolite.types import Document
from theodolite.vectors.transforms import Fitted
from theodolite.write_vectors import store_again

_FIRST = 16  # passages of the first batch, which measures how many the embedder does in _COMMIT seconds
_COMMIT = 5.0  # seconds of work between two commits, so that little is lost if the run is killed
_OVERWRITTEN = 20_000  # overwritten texts whose vectors are cached
_PROBE = "Does the embedder work at all?"

Vector = NDArray[np.float32]


class Stored(NamedTuple):
    """A stored passage: the digests of its text and metadata, and its file."""

    text: bytes
    metadata: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Group:
    """Passages of a file that are stored together or not at all. Unchanged passages are excluded.

    Attributes:
        source: the file.
        documents: at least one document.
        digests: the digests of each document.
    """

    source: str
    documents: list[Document]
    digests: list[Stored]


class StoredPassages:
    """The stored passages of files, by id, by file and by text."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.by_id: dict[str, Stored] = {}
        self.by_source: dict[str, list[str]] = defaultdict(list)
        for document in documents:
            source = document.metadata.get(PATH)
            if isinstance(source, str):
                self.by_id[document.id] = digests(document, source)
                self.by_source[source].append(document.id)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for source in self.by_source:
            self._by_name[source.partition("/")[0]].append(source)
        self._by_text: dict[bytes, str] | None = None

    def sources(self, name: str) -> list[str]:
        """Return the files under a name: a source, a folder in one, or a file."""
        first = name.partition("/")[0]
        return [source for source in self._by_name.get(first, ()) if source == name or source.startswith(f"{name}/")]

    def with_text(self, digest: bytes) -> str | None:
        """Return the id of a passage with this text, or None. The passage may have been overwritten since."""
        if self._by_text is None:  # built only if there are new passages
            self._by_text = {stored.text: name for name, stored in self.by_id.items()}
        return self._by_text.get(digest)

    def put(self, document: Document, stored: Stored) -> None:
        """Record that a passage was stored."""
        self.by_id[document.id] = stored
        if self._by_text is not None:
            self._by_text[stored.text] = document.id


class Writer:
    """Stores passages in batches. Known texts reuse their vectors; the embedder embeds the others."""

    def __init__(
        self,
        kb: Retriever,
        stored: StoredPassages,
        batch_size: int,
        progress: Callable[[int], None],
        failed: Callable[[Group, str], None],
    ) -> None:
        """
        Args:
            batch_size: the number of passages to embed together, less while the embedder is slow: a batch should take
                about five seconds.
            progress: called with the number of passages done since the last call.
            failed: called with each group that cannot be stored, and the reason.
        """
        self.added = self.replaced = self.moved = 0
        self.seconds = 0.0  # time spent in the embedder
        self._kb = kb
        self._stored = stored
        self._batch_size = batch_size
        # Transforms are fitted on the first batch, which must not be a small one.
        fitted = all(isinstance(transform, Fitted) for transform in kb._engine.space.transforms)
        self._next_size = min(_FIRST, batch_size) if fitted else batch_size
        self._pending_since = time.monotonic()
        self._progress = progress
        self._failed = failed
        self._pending: list[Group] = []
        self._size = 0
        self._overwritten: dict[bytes, tuple[str, Vector]] = {}

    def put(self, group: Group) -> None:
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(group)
        self._size += len(group.documents)
        if self._size >= self._next_size or time.monotonic() - self._pending_since > _COMMIT:
            self.flush()

    def flush(self) -> None:
        """Store all pending passages."""
        groups, self._pending, self._size = self._pending, [], 0
        vectors = self._vectors(groups)
        groups = self._embed(groups, vectors)
        moved = [document for group in groups for document in group.documents if document.id in vectors]
        if moved:
            again = [vectors[document.id] for document in moved]
            store_again(self._kb._engine, moved, again, self._kb._scope)
            self._progress(len(moved))
        for group in groups:
            for document, stored in zip(group.documents, group.digests, strict=True):
                known = self._stored.by_id.get(document.id)
                self.moved += document.id in vectors
                self.added += document.id not in vectors and known is None
                self.replaced += document.id not in vectors and known is not None
                self._stored.put(document, stored)

    def _vectors(self, groups: list[Group]) -> dict[str, Vector]:
        """Return vectors by document id for documents whose text is stored, or was stored before."""
        documents = [document for group in groups for document in group.documents]
        digests = [stored.text for group in groups for stored in group.digests]
        wanted = {document.id: digest for document, digest in zip(documents, digests, strict=True)}
        known = {name: stored for name in wanted if (stored := self._stored.by_id.get(name)) is not None}
        likes = {name: name if known.get(name, _NONE).text == digest else self._stored.with_text(digest)
                 for name, digest in wanted.items()}  # fmt: skip
        # Also fetch passages about to be overwritten: a later file may contain their text.
        names = {name for name in likes.values() if name is not None} | known.keys()
        held = {document.id: (document.text, vector) for document, vector in self._kb.get(names, vectors=True)}
        found = {}
        for document in documents:
            digest = wanted[document.id]
            text, vector = held.get(likes[document.id] or "") or ("", None)
            if text != document.text:  # it was overwritten
                text, vector = self._overwritten.get(digest, ("", None))
            if vector is not None and text == document.text:
                found[document.id] = vector
        for name, stored in known.items():
            if name in held and stored.text != wanted[name]:
                self._overwritten[stored.text] = held[name]
                if len(self._overwritten) > _OVERWRITTEN:
                    del self._overwritten[next(iter(self._overwritten))]
        return found

    def _embed(self, groups: list[Group], vectors: dict[str, Vector]) -> list[Group]:
        """Embed and store documents without a vector. Return the groups that are complete.

        Raises:
            TheodoliteError: from the collection.
            Exception: from an embedder that fails on every text.
        """
        documents = [document for group in groups for document in group.documents if document.id not in vectors]
        if not documents:
            return groups
        started = ended = time.perf_counter()

        def embedded(passages: int) -> None:
            nonlocal ended
            ended = time.perf_counter()  # the last call comes before the documents are stored
            self._progress(passages)

        try:
            self._kb.add(documents, batch_size=None, progress=embedded)
        except (VectorError, DocumentError) as error:
            # A wrong norm is a fault of the embedder, not of the text.
            bad = set() if error.details.get("norms") else set(error.details.get("ids") or ())
            lacking = [group for group in groups if any(document.id in bad for document in group.documents)]
            if not lacking:
                raise
            for group in lacking:
                first = next(document.id for document in group.documents if document.id in bad)
                reason = re.sub(r"^\d+ of \d+ ", "", str(error).partition(", first")[0])
                self._failed(group, f"of {first!r}, {reason}")
            return self._embed([group for group in groups if group not in lacking], vectors)
        except (TheodoliteError, OSError, MemoryError):
            raise
        except Exception as error:  # raised by the embedder itself
            if not self._embedder_works():
                raise
            if len(groups) == 1:
                self._failed(groups[0], f"the embedder fails on it: {type(error).__name__}: {error}")
                return []
            middle = len(groups) // 2
            return self._embed(groups[:middle], vectors) + self._embed(groups[middle:], vectors)
        self.seconds += ended - started
        self._next_size = self._size_for(len(documents), ended - started)
        return groups

    def _size_for(self, documents: int, seconds: float) -> int:
        """Return the number of passages to embed next, after some took that many seconds."""
        fitting = int(documents * _COMMIT / max(seconds, 1e-3))
        return max(1, min(self._batch_size, fitting, 4 * max(self._next_size, documents)))

    def _embedder_works(self) -> bool:
        try:
            self._kb.embedder.encode_document([_PROBE])  # type: ignore[union-attr]  # not None: it has just failed
        except Exception:  # any exception means that it does not work
            return False
        return True


def digests(document: Document, source: str) -> Stored:
    metadata = encode(document.metadata, canonical=True)
    return Stored(text_digest(document), blake2b(metadata.encode(), digest_size=16).digest(), source)


def text_digest(document: Document) -> bytes:
    return blake2b(document.text.encode(), digest_size=16).digest()


_NONE = Stored(b"", b"", "")
