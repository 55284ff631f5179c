"""A search as plain data: the request to an engine, and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols.parts import Boost
from theodolite.types import Document, Mode, Trace, Vectors, Version

if TYPE_CHECKING:  # ranking imports this module
    from theodolite.ranking.relevance import Relevance
    from theodolite.ranking.versions import Versions


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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
