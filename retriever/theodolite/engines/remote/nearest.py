"""The documents nearest to a query, proven: fetch by similarity, score exactly, fetch more until none can be missing.

A store lists documents by its own similarities, which have errors, and says how similar the others can be at most
(`Candidates.ceiling`). Scores are computed here. The list is complete once the k-th score is above the ceiling.

With boosts, a document far down may rise. Similarities and factors of many candidates are fetched, which is cheap, and
the vectors only of those that can be among the best k. A factor is at most 1, so the ceiling bounds the boosted score
of all others: this works for any boost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.remote.source import Candidates, Doubles, Eligible, Keys, Source
from theodolite.errors import UnsupportedError
from theodolite.indexes.flat.boosted import BoostedScore, lowered
from theodolite.ranking.relevance import Relevance
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import Metric

FactorsOf = Callable[[Keys], Doubles]

_GROWTH = 4  # factor by which the number of fetched candidates grows
_WIDE = 512  # candidates fetched first with boosts: keys and similarities are cheap


@dataclass(frozen=True, slots=True, eq=False)
class Boosting:
    """Boosts and a relevance threshold.

    Attributes:
        factors: returns the factors, (n,) in (0, 1], of documents by key.
        relevance: maps similarities to relevance.
        least: documents with less relevance are not found.
    """

    factors: FactorsOf
    relevance: Relevance
    least: float = -np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The documents nearest to one query: the k best, plus all that tie with the last one. In any order.

    Attributes:
        keys: (n,).
        ids: n.
        similarities: (n,), exact.
        vectors: (n, d) float32.
        boosted: (n,) the scores with boosts; None without.
        documents: n; None if they were not requested.
        complete: whether the list is proven to be the true top k.
        path: `scan` if the store compared the query with all eligible documents, or `index`.
        scored: how many similarities were computed here.
        proposed: how many documents an approximate index looked at.
        notes: notes for the trace.
    """

    keys: Keys
    ids: Sequence[str]
    similarities: NDArray[np.float32]
    vectors: NDArray[np.float32]
    boosted: Doubles | None = None
    documents: Sequence[Document] | None = None
    complete: bool = True
    path: str = "scan"
    scored: int = 0
    proposed: int = 0
    notes: tuple[str, ...] = ()


class NearestSearch:
    """Lists the documents nearest to the queries of one request."""

    def __init__(
        self,
        source: Source,
        metric: Metric,
        k: int,
        eligible: Eligible,
        count: Callable[[], int],
        *,
        exact: bool,
        probe: bool = False,
        with_documents: bool = False,
    ) -> None:
        """
        Args:
            count: returns the number of eligible documents. It is called only if that matters.
        """
        self._source = source
        self._metric = metric
        self._k = k
        self._eligible = eligible
        self._count = count
        self._exact = exact
        self._probe = probe
        self._with_documents = with_documents

    def run(self, queries: Vectors, boosting: Boosting | None = None) -> list[Nearest]:
        """Return the nearest documents of each query.

        Raises:
            UnsupportedError: more documents are requested than the store lists at once.
        """
        single = [Vectors(queries[place : place + 1]) for place in range(len(queries))]
        if boosting is not None:
            return [self._boosted(query, boosting) for query in single]
        n = self._within_limit(self._k + 4 + self._k // 8)  # a few more, for ties and errors
        listed = self._list(queries, n, exact=self._exact)
        return [self._plain(query, n, first) for query, first in zip(single, listed, strict=True)]

    def _plain(self, query: Vectors, n: int, candidates: Candidates) -> Nearest:
        exact, scored, proposed = self._exact, 0, 0
        notes: tuple[str, ...] = ()
        while True:
            similarities = self._metric.scores(query[0], _vectors(candidates))
            scored += len(similarities)
            proposed += candidates.proposed
            if candidates.ceiling == np.inf:  # an approximate list: it only has to be long enough
                if len(similarities) >= self._k or len(similarities) >= self._count():
                    return self._result(candidates, similarities, None, False, "index", scored, proposed)
                exact, notes = True, (self._short_note(len(similarities)),)
            elif _proven(similarities, self._k, candidates.ceiling):
                return self._result(candidates, similarities, None, True, "scan", scored, proposed, notes)
            elif n == self._source.limit:
                self._check_enough(len(similarities))
                return self._result(candidates, similarities, None, False, "scan", scored, proposed, notes)
            else:
                n = self._within_limit(_GROWTH * n)
            (candidates,) = self._list(query, n, exact=exact)

    def _boosted(self, query: Vectors, boosting: Boosting) -> Nearest:
        scores = _BoostedCandidates(self._source, self._metric, query, self._k, boosting)
        exact, proposed, n = self._exact, 0, self._within_limit(max(_WIDE, 8 * self._k))
        notes: tuple[str, ...] = ()
        while True:
            (candidates,) = self._source.nearest(
                query, n, self._eligible, exact=exact, probe=self._probe, with_vectors=False
            )
            proposed += candidates.proposed
            approximate, ceiling = candidates.ceiling == np.inf, candidates.ceiling
            listed = len(candidates.keys)
            if approximate:  # an estimate: an approximate index misses a few documents above it
                ceiling = -np.inf if listed >= self._count() else float(candidates.similarities.min(initial=np.inf))
            found = scores.best(candidates)
            if approximate and listed < n and not scores.proven(found, ceiling):  # the index has no more
                exact, notes = True, (self._short_note(listed),)
                continue
            if scores.proven(found, ceiling) or n == self._source.limit:
                complete = not approximate and scores.proven(found, ceiling)
                if not complete and not approximate:
                    self._check_enough(len(candidates.keys))
                    notes += (f"The store lists at most {n:,} documents, too few to prove that no other ranks higher.",)
                path = "index" if approximate else "scan"
                keys, similarities, boosted, vectors = found
                id_of = dict(zip(candidates.keys.tolist(), candidates.ids, strict=True))
                ids = [id_of[key] for key in keys.tolist()]
                return Nearest(
                    keys, ids, similarities, vectors, boosted, None, complete, path, scores.scored, proposed, notes
                )
            n = self._within_limit(_GROWTH * n)

    def _list(self, queries: Vectors, n: int, *, exact: bool) -> list[Candidates]:
        return self._source.nearest(
            queries, n, self._eligible, exact=exact, probe=self._probe, with_documents=self._with_documents
        )

    def _within_limit(self, n: int) -> int:
        return n if self._source.limit is None else min(n, self._source.limit)

    def _check_enough(self, listed: int) -> None:
        """Raise UnsupportedError if the store cannot list k documents at once."""
        if listed < min(self._k, self._count()):
            raise UnsupportedError(f"the store lists at most {self._source.limit:,} documents, and k is {self._k:,}")

    def _short_note(self, listed: int) -> str:
        return (
            f"The approximate index returned {listed:,} documents, too few for this search, so all eligible documents "
            "were compared."
        )

    def _result(
        self,
        candidates: Candidates,
        similarities: NDArray[np.float32],
        boosted: Doubles | None,
        complete: bool,
        path: str,
        scored: int,
        proposed: int,
        notes: tuple[str, ...] = (),
    ) -> Nearest:
        best = _best(similarities, self._k)
        documents = candidates.documents
        return Nearest(
            candidates.keys[best],
            [candidates.ids[place] for place in best.tolist()],
            similarities[best],
            _vectors(candidates)[best],
            boosted,
            None if documents is None else [documents[place] for place in best.tolist()],
            complete,
            path,
            scored,
            proposed,
            notes,
        )


_Scored = tuple[Keys, NDArray[np.float32], Doubles, NDArray[np.float32]]
"""Keys, similarities, boosted scores, vectors."""


class _BoostedCandidates:
    """Scores growing lists of candidates for one query, and remembers factors and vectors by key."""

    def __init__(self, source: Source, metric: Metric, query: Vectors, k: int, boosting: Boosting) -> None:
        self._source = source
        self._metric = metric
        self._query = query
        self._k = k
        self._boosting = boosting
        self._factors: dict[int, float] = {}
        self._known = np.empty(0, np.int64)  # keys with vectors, ascending
        self._vectors: NDArray[np.float32] = np.empty((0, query.shape[1]), np.float32)
        self.scored = 0

    def best(self, candidates: Candidates) -> _Scored:
        """Return the k best candidates by boosted score, plus all that tie with the last one."""
        keys, errors = candidates.keys, candidates.errors
        factors = self._factors_of(keys)
        score = self._score(factors)
        low = score.lower_bound(_float32(candidates.similarities - errors), factors)
        high = score.upper_bound(_float32(candidates.similarities + errors), factors)
        if len(keys) > self._k:
            least = lowered(float(np.partition(low, len(low) - self._k)[len(low) - self._k]))
            keep = np.flatnonzero((high >= least) & (high > -np.inf))
        else:
            keep = np.flatnonzero(high > -np.inf)
        keys, factors = keys[keep], factors[keep]
        vectors = self._vectors_of(keys)
        similarities = self._metric.scores(self._query[0], vectors)
        boosted = self._score(factors).score(similarities, np.arange(len(keys)))
        best = _best(boosted, self._k)
        best = best[boosted[best] > -np.inf]
        return keys[best], similarities[best], boosted[best], vectors[best]

    def proven(self, found: _Scored, ceiling: float) -> bool:
        """Return whether no document with a similarity up to `ceiling` can be among the best k."""
        if ceiling == -np.inf:
            return True
        (highest,) = self._score(np.ones(1)).upper_bound(_float32(np.array([ceiling])), 1.0)
        boosted = found[2]
        if len(boosted) < self._k:
            return bool(highest == -np.inf)  # all others are below the relevance threshold
        return bool(highest < lowered(float(boosted.min())))

    def _score(self, factors: Doubles) -> BoostedScore:
        return BoostedScore(factors, self._boosting.relevance, self._boosting.least)

    def _factors_of(self, keys: Keys) -> Doubles:
        new = np.array([key for key in keys.tolist() if key not in self._factors], np.int64)
        if len(new):
            self._factors.update(zip(new.tolist(), self._boosting.factors(new).tolist(), strict=True))
        return np.array([self._factors[key] for key in keys.tolist()], np.float64)

    def _vectors_of(self, keys: Keys) -> NDArray[np.float32]:
        new = np.setdiff1d(keys, self._known)
        if len(new):
            known = np.concatenate([self._known, new])
            vectors = np.concatenate([self._vectors, self._source.vectors(new)])
            order = np.argsort(known)
            self._known, self._vectors = known[order], vectors[order]
            self.scored += len(new)
        return self._vectors[np.searchsorted(self._known, keys)]


def _vectors(candidates: Candidates) -> NDArray[np.float32]:
    if candidates.vectors is None:
        raise ValueError("the source has listed candidates without their vectors")
    return candidates.vectors


def _best(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Return the places of the k highest scores, and of all that equal the last of them."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])


def _proven(similarities: NDArray[np.float32], k: int, ceiling: float) -> bool:
    """Return whether no document with a similarity up to `ceiling` can be among the best k or tie with the last one."""
    if ceiling == -np.inf:
        return True
    if len(similarities) < k:
        return False
    kth = np.partition(similarities, len(similarities) - k)[len(similarities) - k]
    return bool(np.float32(ceiling) < kth)  # rounding keeps the order


def _float32(similarities: Doubles) -> Doubles:
    """Round bounds of similarities as similarities are rounded, which keeps their order."""
    return similarities.astype(np.float32).astype(np.float64)
