"""Lexical search on a remote store. The store computes the scores; boosts and ties are handled here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from theodolite.analysis.query_terms import Phrase, Tokenizer, query_terms
from theodolite.analysis.unspaced_scripts import separate_runs
from theodolite.engines.remote.source import Doubles, Eligible, Keys, Source

_GROWTH = 4  # factor by which the number of fetched documents grows


@dataclass(frozen=True, slots=True, eq=False)
class LexicalMatches:
    """The k best documents for one query, plus all that tie with the last one, best first.

    Attributes:
        keys: (n,).
        ids: n.
        bm25: (n,) the BM25 scores.
        boosted: (n,) bm25 × factor: the scores to rank by.
        has_terms: whether the query contains any term to look up.
        known: whether any document in the scope contains one, eligible or not.
        complete: whether no other document can be among the best k.
    """

    keys: Keys
    ids: Sequence[str]
    bm25: Doubles
    boosted: Doubles
    has_terms: bool
    known: bool
    complete: bool = True

    @classmethod
    def empty(cls) -> "LexicalMatches":
        """Return the result of a query without terms."""
        return cls(np.empty(0, np.int64), [], np.empty(0), np.empty(0), has_terms=False, known=False)


class RemoteLexicalSearch:
    """Searches by words. Thread-safe."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer()

    def search(
        self,
        source: Source,
        text: str,
        k: int,
        eligible: Eligible,
        factors: Callable[[Keys], Doubles] | None = None,
    ) -> LexicalMatches:
        """Return the k best documents by BM25 × factor.

        Args:
            text: the query.
            factors: returns the boost factors, (n,) in (0, 1], of documents by key; None without boosts.
        """
        phrases = self.phrases(text)
        if not phrases:
            return LexicalMatches.empty()
        # BM25 scores often tie, so fetch more than for vectors. Boosts can raise documents from further down.
        n = k + 16 + k // 4 if factors is None else 4 * k + 64
        while True:
            n = n if source.limit is None else min(n, source.limit)
            found = source.lexical(phrases, n, eligible)
            boosted = found.scores if factors is None else found.scores * factors(found.keys)
            enough = len(boosted) >= k
            kth = float(np.partition(boosted, len(boosted) - k)[len(boosted) - k]) if enough else -np.inf
            # A factor is at most 1, so no other document scores above the last one listed.
            complete = found.exhausted or (enough and bool(found.scores[-1] < kth))
            if complete or n == source.limit:
                break
            n *= _GROWTH
        best = np.flatnonzero(boosted >= kth)
        best = best[np.argsort(-boosted[best], kind="stable")]
        ids = [found.ids[place] for place in best.tolist()]
        return LexicalMatches(found.keys[best], ids, found.scores[best], boosted[best], True, found.known, complete)

    def phrases(self, text: str) -> Mapping[Phrase, float]:
        """Return the terms and phrases that a query looks up, with their weights."""
        return self._tokenizer.phrases(query_terms(separate_runs(text)))
