"""A search as plain data: what is asked of an engine, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols.parts import Boost
from theodolite.types import Document, Mode, Trace, Vectors, Version

if TYPE_CHECKING:  # ranking works on these values, and so imports them
    from theodolite.ranking.relevance import Relevance
    from theodolite.ranking.versions import Versions


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a collection that a view is confined to.

    Attributes:
        partition: the value of the partition field, or None for all partitions.
        where: what else must hold, or None.
    """

    partition: str | int | None = None
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weighted reciprocal rank fusion: a document's score is the sum of weight / (constant + rank) over the arms.

    Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).

    Attributes:
        dense, lexical: the weights of the arms; at least 0, and one of them more.
        constant: what is added to ranks, from 1; the higher, the less the first places count.
        depth: how many documents each arm contributes, at least.
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
        k: how many documents to return for each, at least 1.
        where: the filter, or None.
        scope: what the caller may see, or None for everything.
        exact: whether to bypass approximate indexes: the answer is the true top k.
        probe: whether this is a measurement, which nobody asked: nothing may be learnt from it.
        texts: the queries in words; empty in dense mode.
        mode: what finds documents.
        boosts: what multiplies relevance; in hybrid mode, that of either arm before they are fused.
        now: what boosts take for the present, in seconds since 1970, UTC.
        versions: rules that say which documents are current; or None.
        relevance: how similarities become relevance. None in lexical mode, and where neither boosts nor
            `min_relevance` need it.
        min_relevance: documents of less relevance are not found; in dense mode only.
        fusion: how arms are fused, in hybrid mode.
        with_vectors: whether the answer is to hold the documents' vectors.
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
    """The documents found for one query: best first, ties by similarity, then in the order of their ids.

    Attributes:
        documents: min(k, eligible) documents; fewer where `min_relevance`, or the words asked for, leave fewer.
        similarities: the metric's own values, as float32 rounded from the exact ones; empty in lexical mode.
        trace: how the answer came about.
        scores: what the documents are ordered by; None where that is the similarity.
        lexical: BM25 of each, None where the words did not find it; empty in dense mode. In a scope it is what it
            would be of the scope's documents alone.
        versions: what the rules say of each, None where there is nothing to say; empty without rules.
        vectors: (n, d), if they were asked for.
    """

    documents: list[Document]
    similarities: list[float]
    trace: Trace
    scores: list[float] | None = None
    lexical: Sequence[float | None] = ()
    versions: Sequence[Version | None] = ()
    vectors: NDArray[np.float32] | None = None
