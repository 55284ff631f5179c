"""The engine: where documents and vectors are, and searches are carried out."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols.requests import Answer, Request, Scope
from theodolite.types import Compaction, Document, Duplicate, Field, Space, Vectors, Verification


@runtime_checkable
class Engine(Protocol):
    """Stores documents with their vectors and answers requests: the one seam for a distributed store.

    In a partitioned collection documents are known by partition and id. A `scope` confines a call: what is outside it
    is, for this call, not there, nor does the trace tell of it. Writes take scopes of one partition only, without a
    filter: UnsupportedError. Without a scope, ids of a partitioned collection name nothing: InputError. A collection
    that is not partitioned refuses scopes of one partition: ConfigError.

    Writes are atomic and, once the method has returned, durable. An answer never mixes two commits. Ids are not
    empty. All methods may be called from several threads. Failures of the store or server beneath are EngineError.
    """

    @property
    def space(self) -> Space:
        """What is pinned about the vectors: dimension None and norms `auto` until the first batch."""
        ...

    @property
    def partition(self) -> str | None:
        """The metadata field that partitions the collection, if one does."""
        ...

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        """Store documents in one commit; the same id replaces, and of equal ids in the batch the last wins.

        Args:
            documents: n documents.
            vectors: (n, d), prepared for `space`.
            space: settled; pins the collection's space if this is its first batch.
            truncated: places of documents whose text the embedder did not read to its end; `info` counts them.

        Raises:
            DocumentError: an id, text or metadata that cannot be stored, or a document without a partition, or of
                another one than the scope's; nothing of the batch is stored.
            VectorError: another writer has pinned the collection to another space meanwhile.
            LockedError: another writer held the lock for longer than `lock_timeout`.
        """
        ...

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        """Merge metadata into documents, by id (or replace it), in one commit; vectors and texts stay.

        Raises:
            DocumentError: ids that are not there, or a change of partition; nothing is updated.
        """
        ...

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        """Delete documents by id, or those that pass a filter, in one commit. Returns how many there were.

        Ids that are not there are fine.
        """
        ...

    def clear(self, *, scope: Scope | None = None) -> None:
        """Delete all documents. What is pinned stays pinned."""
        ...

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        """Documents with their vectors, (d,), in the order asked, the missing ones skipped."""
        ...

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        """Documents with their vectors, shape (d,), in the order of their ids, from the first id above `after`.

        Lazily, page by page: what is written meanwhile may or may not be seen; nothing is listed twice.
        """
        ...

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        """How many documents there are, or pass the filter."""
        ...

    def fields(self, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        """What documents hold in each field of their metadata, by name, in the order of the names.

        A name of a field in a mapping is dotted, as in filters; what has more than four parts is left out.

        Args:
            values: of fields with at most so many values, these are told.
        """
        ...

    def search(self, request: Request) -> list[Answer]:
        """One answer for each query vector.

        Scope, rules for versions and filter say what may be found, before anything is ranked; boosts act within each
        arm, over all of that. Nothing that is asked for is ever left out in silence.

        Raises:
            UnsupportedError: boosts, rules for versions, or words (lexical and hybrid mode), in an engine without them.
            InputError: a boost refuses a document that could be found.
            ConfigError: a boost does not give factors in (0, 1].
        """
        ...

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Every pair of documents whose vectors' cosine is at least `threshold`, each once, in any order.

        For every metric. Computed in float64 and rounded to float32, as the threshold is; documents with a vector of
        zeros are in no pair. Of the commit at which the first pair is asked for, lazily and in bounded memory;
        documents that are deleted or written again meanwhile are left out, but for pairs that were read ahead.

        Args:
            threshold: above 0, at most 1.
            progress: called with the number of pairs compared since the last call: of n documents n·(n − 1)/2.
        """
        ...

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index aside and swap it in, or go back to exact search with `flat`.

        Args:
            queries: (n, d), prepared: what to calibrate with.
            progress: called with the number of rows built since the last call; what it raises ends the build, and
                the next one goes on from there.

        Raises:
            ConfigError, MissingExtraError: there is no such index.
            UnsupportedError: this engine has none to choose from.
            LockedError: another process or thread is building one.
        """
        ...

    def warm(self, fields: Sequence[str] = ()) -> None:
        """Do now what the first search, and the first filters on these fields, would wait for."""
        ...

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        """Give back the disk space of documents that were replaced or deleted, while others read and write.

        It changes nothing that is found, and no score.

        Args:
            progress: called with the number of documents copied since the last call; what it raises ends the
                compaction, and the collection is as before.

        Raises:
            EngineError: there is not enough room on the disk, or the collection is opened read-only.
            UnsupportedError: this engine has nothing to compact.
            LockedError: another process or thread is compacting, or building an index.
        """
        ...

    def note(self, name: str) -> str | None:
        """What `remember` has stored under this name; None where there is nothing.

        Raises:
            CorruptionError: it is damaged.
        """
        ...

    def remember(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Store a text of at most some MiB under a name, durably, beside the documents; None deletes it.

        It is no commit, and no part of any answer: guards keep here what they compare with later.

        Args:
            replace: False leaves what is there already.
            wait: False raises EngineError at once where another is writing: no search waits for a writer.
        """
        ...

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Check all that is stored against all it should agree with.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Raises:
            CorruptionError: there is damage; its `verification` lists all of it.
        """
        ...

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Make anew what is derived from documents and vectors, where it is damaged; never touch these themselves.

        Returns:
            What is left of problems, and what was done.
        """
        ...

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, durably, while others may write.

        Args:
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: the folder exists already and is not empty.
            UnsupportedError: this engine cannot.
            CorruptionError: what is stored is damaged.
        """
        ...

    def info(self) -> dict[str, Any]:
        """Sizes, settings and versions, as JSON values: `documents`, `truncated`, `embedder` and others."""
        ...

    def close(self) -> None:
        """Release everything. Closing twice is fine; any other call afterwards raises EngineError."""
        ...
