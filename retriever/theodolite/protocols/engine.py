"""The interface for stores, which hold documents with their vectors: `Engine`, the requests to it and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.frozen import frozen
from theodolite.protocols.parts import Boost
from theodolite.types import Document, Mode, Trace, Vectors, Version

if TYPE_CHECKING:  # ranking imports this module
    from theodolite.ranking.relevance import Relevance
    from theodolite.ranking.versions import Versions
from collections.abc import Container, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from theodolite.types import Field, Space


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a collection that a view is limited to.

    Attributes:
        partition: the value of the partition field, or None for all partitions.
        where: a further filter, or None.
    """

    partition: str | int | None = None
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weighted reciprocal rank fusion: a document's score is the sum of weight / (constant + rank) over the arms.

    Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).

    Attributes:
        dense, lexical: the weights of the arms; at least 0, and not both 0.
        constant: added to the rank, which starts at 1; a higher constant reduces the advantage of the first ranks.
        depth: the minimum number of documents that each arm contributes.
    """

    dense: float = 1.0
    lexical: float = 0.8
    constant: float = 60.0
    depth: int = 100


@frozen()
class Request:
    """A search as plain data, for one or several queries.

    Attributes:
        vectors: (queries, d), prepared for the engine's space; (queries, 0) in lexical mode.
        k: the number of documents to return for each query, at least 1.
        where: the filter, or None.
        scope: the part of the collection to search, or None for everything.
        exact: whether to bypass approximate indexes: the answer is the true top k.
        probe: whether this is a measurement and not a user's query: the engine must not learn from it.
        texts: the texts of the queries; empty in dense mode.
        mode: the kind of search: dense, lexical or hybrid.
        boosts: boosts to multiply relevance by; in hybrid mode, they apply to each arm before fusion.
        now: the current time for boosts, in seconds since 1970, UTC.
        versions: rules that decide which documents are current, or None.
        relevance: the function that maps similarities to relevance. None in lexical mode, and if neither boosts nor
            `min_relevance` need it.
        min_relevance: the relevance threshold, in dense mode only; documents below it are not found.
        fusion: the fusion of the arms, in hybrid mode.
        with_vectors: whether the answer includes the documents' vectors.
    """

    vectors: Vectors
    k: int
    where: Filter | None = None
    scope: Scope | None = None
    exact: bool = False
    probe: bool = False
    texts: Sequence[str] = ()
    mode: Mode = "dense"
    boosts: tuple[Boost, ...] = ()
    now: float = 0.0
    versions: "Versions | None" = None
    relevance: "Relevance | None" = None
    min_relevance: float | None = None
    fusion: Fusion = Fusion()
    with_vectors: bool = False


@frozen()
class Answer:
    """The documents found for one query: best first, ties ordered by similarity, then by id.

    Attributes:
        documents: min(k, eligible) documents; fewer if `min_relevance` or the words of the query exclude some.
        similarities: the values of the metric, exact values rounded to float32; empty in lexical mode.
        trace: a record of how the engine found the answer.
        scores: the scores that order the documents; None if these are the similarities.
        lexical: the BM25 score of each document, None if the words did not find it; empty in dense mode. In a scope,
            BM25 uses the statistics of the scope's documents alone.
        versions: the version status of each document, None if it is simply current; empty without version rules.
        vectors: (n, d), if requested.
    """

    documents: list[Document]
    similarities: list[float]
    trace: Trace
    scores: list[float] | None = None
    lexical: Sequence[float | None] = ()
    versions: Sequence[Version | None] = ()
    vectors: NDArray[np.float32] | None = None


@runtime_checkable
class Engine(Protocol):
    """A store for documents with their vectors that answers requests: the core that every engine implements.

    `theodolite.testing.EngineContract` checks an engine, and `theodolite.testing.DictEngine` is a complete example.
    Further features are optional, with one protocol each: `Notes`, `Maintenance`, `Indexing`, `Duplicates`, `Sampling`
    and `Efforts` (see `capabilities`). An engine has a capability if it has its methods. Calls that need a missing one
    raise UnsupportedError.

    **Opening.** A package registers the class of its engine under a URL scheme, as an entry point in the group
    `theodolite.engines`. `Retriever.open("scheme://...", ...)` then calls its class method

        open(location, settings, *, create, read_only, **options) -> Engine

    `location` is the whole URL, and `settings` a `theodolite.settings.CollectionSettings`. Each option of the engine is
    a keyword parameter with a default. Unknown options raise an error before `open` is called. `open` raises
    CollectionNotFoundError if there is no collection and `create` is False; `Retriever.open(create=None)` relies on it,
    and opens again with `create=True` at the first write. If there is one, it calls `settings.check_pinned`.
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

    An engine may have the attributes

    - `folder`: the local folder of the collection, a Path or None. The monitor keeps its file there;
    - `embedder`: the recorded `EmbedderSpec`, or None. A new collection records that of `settings`, and `add` to an
      empty one replaces it, unless that of `settings` is None. Without the attribute, a collection does not open with
      its own embedder;
    - `bm25`: the settings of its lexical search, an `analysis.bm25.BM25`. A new collection takes `settings.bm25`.
      Without the attribute, k1 and b other than the defaults are refused;
    - `foreign`: whether another user may have written the collection. The recorded embedder is then not downloaded.
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

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        """Summarize each metadata field of the documents, or of those that pass the filter, sorted by name.

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
