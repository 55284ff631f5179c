"""Lexical search: BM25 over the documents of a scope, exactly as if no others existed.

FTS5 stores the index; the scores are computed here. FTS5's own bm25() uses the statistics of the whole table, which
would leak what other tenants write. It has the same formula, and is slower because it scores one document at a time.

For N documents in the scope with mean length L, and a term or phrase that n of them contain:

    idf = max(ln((N − n + 0.5) / (n + 0.5)), 1e-6)
    bm25 = Σ weight × idf × tf × (k1 + 1) / (tf + k1 × (1 − b + b × length / L))

where tf is its count in the document. Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond
(2009), with FTS5's k1 = 1.2 and b = 0.75.
"""

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.search.postings import DocumentLengths, Postings
from theodolite.engines.local.search.query_terms import Phrase, Tokenizer
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.records import IDENTITY, Keys
from theodolite.errors import CorruptionError
from theodolite.types import Mask, Rows

K1, B = 1.2, 0.75

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LexicalResult:
    """The k best rows for one query, and all rows that tie with the last of them: the caller breaks ties.

    Ranked by boosted score, then by row.

    Attributes:
        rows: (m,) rows that contain at least one term.
        bm25: (m,) their scores, above 0.
        boosted: (m,) bm25 × the row's factor.
        known: whether any document of the scope contains a term, eligible or not.
    """

    rows: Rows
    bm25: Doubles
    boosted: Doubles
    known: bool


class LexicalSearch:
    """Searches the lexical index of a collection. Thread-safe.

    It keeps the lengths of documents, 4 bytes a row, and the postings of recent query terms, 64 MB at most.
    """

    def __init__(self) -> None:
        self._lengths = DocumentLengths(0, IDENTITY, prepared=True)
        self._postings = Postings(0, prepared=True)
        self._tokenizer = Tokenizer()

    def search(
        self,
        connection: sqlite3.Connection,
        state: State,
        terms: Mapping[str, float],
        k: int,
        scope: Mask,
        eligible: Mask | None = None,
        factors: Doubles | None = None,
        *,
        prepared: bool = True,
        keys: Keys = IDENTITY,
    ) -> LexicalResult:
        """Return the k best rows by BM25 × factor, within a transaction.

        Args:
            state: the state that the transaction sees.
            terms: strings of one or several words, and the weight of each (see `query_terms`). If several are the same
                to the index, the highest weight counts.
            scope: (rows,) the documents whose statistics count; live rows only.
            eligible: (rows,) the rows that may be returned; None for all of the scope.
            factors: (rows,) in (0, 1].
            prepared: whether the texts were prepared for the index (see `lexical_table.is_prepared`).
            keys: the keys of the rows, by which the index names documents.
        """
        lengths, postings = self._lengths, self._postings
        if (lengths.generation, lengths.prepared) != (state.generation, prepared):
            self._lengths = lengths = DocumentLengths(state.generation, keys, prepared=prepared)
        if (postings.sequence, postings.prepared) != (state.sequence, prepared):
            self._postings = postings = Postings(state.sequence, prepared=prepared)
        phrases = self._tokenizer.phrases(terms, prepared=prepared)
        bm25 = _scores(connection, phrases, scope, keys, lengths, postings)
        rows = np.flatnonzero(bm25 if eligible is None else np.where(eligible, bm25, 0.0))
        known = len(rows) > 0 or bool(bm25.any())
        scores = bm25[rows]
        boosted = scores if factors is None else scores * factors[rows]
        if k < len(rows):
            best = boosted >= np.partition(boosted, len(rows) - k)[len(rows) - k]
            rows, scores, boosted = rows[best], scores[best], boosted[best]
        order = np.argsort(-boosted, kind="stable")
        return LexicalResult(rows[order], scores[order], boosted[order], known)


def _scores(
    connection: sqlite3.Connection,
    phrases: Mapping[Phrase, float],
    scope: Mask,
    keys: Keys,
    lengths: DocumentLengths,
    postings: Postings,
) -> Doubles:
    """Return BM25 of every row, (rows,); 0 for rows without a match."""
    bm25 = np.zeros(len(scope))
    documents = int(np.count_nonzero(scope))
    mean = 0.0
    for phrase, weight in phrases.items():
        listed, counts = postings.of(connection, phrase)
        rows = keys.find(listed)
        if len(rows) and (not 0 <= rows[0] <= rows[-1] < len(scope) or (keys.shift and rows.min() < 0)):
            raise CorruptionError(
                f"the lexical index names documents {listed[0]} to {listed[-1]}, and some do not exist. Run repair()"
            )
        in_scope = scope[rows]
        rows, counts = rows[in_scope], counts[in_scope]
        if not len(rows):
            continue
        mean = mean or lengths.total(connection, scope) / documents
        idf = max(math.log((documents - len(rows) + 0.5) / (len(rows) + 0.5)), 1e-6)
        norms = K1 * (1 - B + B * lengths.of(connection, rows) / mean)
        bm25[rows] += weight * idf * (counts * (K1 + 1) / (counts + norms))
    return bm25
