"""Engine: the interface for stores, which hold documents with their vectors and answer searches."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols.requests import Answer, Request, Scope
from theodolite.types import Document, Field, Space, Vectors


@runtime_checkable
class Engine(Protocol):
    """A store for documents with their vectors that answers requests: the core that every engine implements.

    `theodolite.testing.EngineContract` checks an engine, and `theodolite.testing.DictEngine` is a complete example.
    Further features are optional, with one protocol each: `Notes`, `Maintenance`, `Indexing` and `Duplicates` (see
    `capabilities`). An engine has a capability if it has its methods. Calls that need a missing one raise
    UnsupportedError.

    **Opening.** A package registers the class of its engine under a URL scheme, as an entry point in the group
    `theodolite.engines`. `Retriever.open("scheme://...", ...)` then calls its class method

        open(location, settings, *, create, read_only, **options) -> Engine

    `location` is the whole URL, and `settings` a `theodolite.settings.CollectionSettings`. Each option of the engine is
    a keyword parameter with a default. Unknown options raise an error before `open` is called. `open` raises
    ManifestError if there is no collection and `create` is False. If there is one, it calls `settings.check_pinned`.
    An optional static method `check(location, settings, *, create, **options)` raises the same errors as `open` and
    changes nothing. It is called before an embedder is loaded, which takes seconds.

    **Scopes.** In a partitioned collection, partition and id together identify a document. A `scope` limits a call:
    documents outside do not exist for this call, and the trace does not show them either. Writes accept only scopes of
    one partition without a filter, and raise UnsupportedError for others. Without a scope, ids in a partitioned
    collection are ambiguous and raise InputError. Scopes of one partition raise ConfigError in a collection that is not
    partitioned.

    **Guarantees.** Writes are atomic, and durable once the method has returned. An answer never mixes two commits. Ids
    are not empty. All methods may be called from several threads at once. A failure of the underlying store or server
    raises EngineError, with the driver's own error as its cause.

    An engine may have the attribute `folder`: the local folder of the collection, a Path or None. The monitor keeps its
    file there.
    """

    @property
    def space(self) -> Space:
        """The pinned vector space. Until the first batch, the dimension is None and norms are `auto`."""
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
        """Store documents in one commit. Replace existing ids; for equal ids in the batch, the last one wins.

        Args:
            documents: n documents.
            vectors: (n, d), prepared for `space`.
            space: settled; pins the collection's space if this is its first batch.
            truncated: positions of documents whose text the embedder truncated; `info` counts them.

        Raises:
            DocumentError: an id, text or metadata cannot be stored, or a document has no partition or a different one
                than the scope; nothing of the batch is stored.
            VectorError: another writer has pinned the collection to a different space meanwhile.
            LockedError: another writer held the lock for too long.
        """
        ...

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        """Merge metadata into documents by id, or replace it, in one commit. Vectors and texts do not change.

        Raises:
            DocumentError: an id does not exist, or the partition would change; nothing is updated.
        """
        ...

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        """Delete documents by id, or those that pass a filter, in one commit. Return the number of deleted documents.

        Ids that do not exist are ignored.
        """
        ...

    def clear(self, *, scope: Scope | None = None) -> None:
        """Delete all documents. Pinned settings do not change."""
        ...

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        """Return documents with their vectors, (d,), in the order of `ids`. Skip ids that do not exist."""
        ...

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        """Iterate over documents with their vectors, (d,), in id order, starting after the id `after`.

        Pages are read lazily: concurrent writes may or may not show up. No document is listed twice.
        """
        ...

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        """Count the documents, or those that pass the filter."""
        ...

    def fields(self, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        """Summarize each metadata field by name, sorted by name.

        Names of fields in nested mappings are dotted, as in filters. Names with more than four parts are left out.
        `theodolite.filters.summary.summarize_documents` computes the summary one document at a time.

        Args:
            values: list the values of fields that have at most this many distinct ones.
        """
        ...

    def search(self, request: Request) -> list[Answer]:
        """Return one answer for each query vector.

        Scope, version rules and filter decide which documents are eligible, before ranking starts. Boosts apply within
        each arm, to all eligible documents. An engine carries out the whole request or raises UnsupportedError; it
        never ignores a part silently.

        Raises:
            UnsupportedError: the engine lacks boosts, version rules, or lexical and hybrid mode.
            InputError: a boost refuses a document that could be found.
            ConfigError: a boost returns factors outside (0, 1].
        """
        ...

    def info(self) -> dict[str, Any]:
        """Return sizes, settings and versions as JSON values.

        `documents` and `truncated` are counts. Optional keys: `location` (a path or URL), `read_only`, `embedder` (the
        name in the settings), `approximate` (a mapping with `target_recall`), and any other useful information.
        """
        ...

    def close(self) -> None:
        """Release everything. Closing twice is fine; any other call afterwards raises EngineError."""
        ...
