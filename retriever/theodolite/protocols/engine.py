"""Engine: stores documents with their vectors, and answers searches. The seam for other stores."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols.requests import Answer, Request, Scope
from theodolite.types import Document, Field, Space, Vectors


@runtime_checkable
class Engine(Protocol):
    """Stores documents with their vectors and answers requests: the core that every engine implements.

    `theodolite.testing.EngineContract` checks an engine, and `theodolite.testing.DictEngine` is a complete example.
    More is optional, one protocol each: `Notes`, `Maintenance`, `Indexing` and `Duplicates` (see `capabilities`). An
    engine has a capability if it has its methods; calls that need one it lacks raise UnsupportedError.

    **Opening.** A package registers the class of its engine under a URL scheme, as an entry point in the group
    `theodolite.engines`. `Retriever.open("scheme://...", ...)` then calls its class method

        open(location, settings, *, create, read_only, **options) -> Engine

    `location` is the whole URL, `settings` a `theodolite.settings.CollectionSettings`. Each option of the engine is a
    keyword parameter with a default; names that `open` does not declare are refused before it is called. `open` raises
    ManifestError where there is no collection and `create` is False, and calls `settings.check_pinned` where there is
    one. An optional static method `check(location, settings, *, create, **options)` raises what `open` would raise,
    changes nothing, and is called before an embedder is loaded, which takes seconds.

    **Scopes.** In a partitioned collection a document is known by its partition and id. A `scope` confines a call:
    what is outside does not exist for this call, and the trace does not show it either. Writes accept only scopes of
    one partition without a filter, and raise UnsupportedError otherwise. Without a scope, ids in a partitioned
    collection are ambiguous: InputError. A collection that is not partitioned refuses scopes of one partition:
    ConfigError.

    **Promises.** Writes are atomic, and durable once the method has returned. An answer never mixes two commits. Ids
    are not empty. All methods may be called from several threads at once. A failure of the store or server beneath
    raises EngineError, with the driver's own error as its cause.

    Optional is the attribute `folder`: the local folder of the collection, a Path or None. The monitor keeps its file
    there.
    """

    @property
    def space(self) -> Space:
        """What is pinned about the vectors: dimension None and norms `auto` until the first batch."""
        ...

    @property
    def partition(self) -> str | None:
        """The metadata field that partitions the collection, or None."""
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
        """Store documents in one commit. An id that exists is replaced; of equal ids in the batch the last one wins.

        Args:
            documents: n documents.
            vectors: (n, d), prepared for `space`.
            space: settled; pins the collection's space if this is its first batch.
            truncated: positions of documents whose text the embedder did not read to its end; `info` counts them.

        Raises:
            DocumentError: an id, text or metadata that cannot be stored, or a document without a partition or in
                another one than the scope's; nothing of the batch is stored.
            VectorError: another writer has pinned the collection to another space in the meantime.
            LockedError: another writer held the lock for too long.
        """
        ...

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        """Merge metadata into documents by id, or replace it, in one commit. Vectors and texts stay.

        Raises:
            DocumentError: ids that do not exist, or a change of partition; nothing is updated.
        """
        ...

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        """Delete documents by id, or those that pass a filter, in one commit. Return the number of deleted documents.

        Ids that do not exist are ignored.
        """
        ...

    def clear(self, *, scope: Scope | None = None) -> None:
        """Delete all documents. Pinned settings stay pinned."""
        ...

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        """Return documents with their vectors, (d,), in the order of `ids`; skip ids that do not exist."""
        ...

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        """Iterate over documents with their vectors, (d,), in the order of their ids, beginning behind `after`.

        Lazily, page by page: concurrent writes may or may not show up; no document is listed twice.
        """
        ...

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        """Count the documents, or those that pass the filter."""
        ...

    def fields(self, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        """Summarize each metadata field by name, sorted by name.

        Names of fields in nested mappings are dotted, as in filters; names of more than four parts are left out.
        `theodolite.filters.summary.Survey` computes it document by document.

        Args:
            values: list the values of fields that have at most this many different ones.
        """
        ...

    def search(self, request: Request) -> list[Answer]:
        """Return one answer for each query vector.

        Scope, version rules and filter decide which documents are eligible, before anything is ranked. Boosts act
        within each arm, on all eligible documents. An engine does all that a request asks for, or raises
        UnsupportedError; it never leaves a part out silently.

        Raises:
            UnsupportedError: boosts, version rules, or lexical and hybrid mode, in an engine without them.
            InputError: a boost refuses a document that could be found.
            ConfigError: a boost does not give factors in (0, 1].
        """
        ...

    def info(self) -> dict[str, Any]:
        """Return sizes, settings and versions as JSON values.

        `documents` and `truncated` are counts. Optional: `location` (a path or URL), `read_only`, `embedder` (the
        name in the settings), `approximate` (a mapping with `target_recall`), and whatever else people should see.
        """
        ...

    def close(self) -> None:
        """Release everything. Closing twice is fine; any other call afterwards raises EngineError."""
        ...
