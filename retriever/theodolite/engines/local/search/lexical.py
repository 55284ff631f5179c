"""Lexical search: BM25 over the documents of a scope, exactly as if they were alone.

FTS5 keeps the index and says where words occur; the scores are computed here. Its own bm25() knows only the statistics
of the whole table, which would tell a tenant what the others write. It has the same formula, and is slower, as it
scores one document at a time.

For documents of which N are in the scope, their mean length L, and a word or phrase that n of them hold:

    idf = max(ln((N − n + 0.5) / (n + 0.5)), 1e-6)
    bm25 = Σ weight × idf × tf × (k1 + 1) / (tf + k1 × (1 − b + b × length / L))

where tf says how often the document holds it. Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and
Beyond (2009), with FTS5's k1 = 1.2 and b = 0.75.
"""

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.search.lengths import Lengths
from theodolite.engines.local.search.postings import Phrase, Postings
from theodolite.engines.local.search.tokenizer import Tokenizer
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.keys import IDENTITY, Keys
from theodolite.errors import CorruptionError
from theodolite.types import Mask, Rows

K1, B = 1.2, 0.75


Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LexicalResult:
    """Rows found for one query, by falling worth and then rising row.

    The n best, and with a row all others of the same worth: the caller breaks ties.

    Attributes:
        rows: (m,) the rows, all of which hold some of the words.
        bm25: (m,) their scores, above 0.
        worths: (m,) bm25 × the row's factor.
        known: whether documents of the scope hold some of the words, eligible or not.
    """

    rows: Rows
    bm25: Doubles
    worths: Doubles
    known: bool


class Lexical:
    """Searches the table `lexical`. One for a collection, which any number of threads may use.

    It keeps the documents' lengths, 4 bytes for a row, and where the words of recent searches are, 64 MB at most.
    """

    def __init__(self) -> None:
        self._lengths = Lengths(0, IDENTITY, prepared=True)
        self._postings = Postings(0, prepared=True)
        self._tokenizer = Tokenizer()

    def search(
        self,
        connection: sqlite3.Connection,
        state: State,
        words: Mapping[str, float],
        n: int,
        scope: Mask,
        eligible: Mask | None = None,
        factors: Doubles | None = None,
        *,
        prepared: bool = True,
        keys: Keys = IDENTITY,
    ) -> LexicalResult:
        """The n best rows by BM25 × factor, within a transaction.

        Args:
            state: what the transaction sees.
            words: what to look for: strings of one or several words, with a weight each (see `ranking.words`). Of
                those that are the same to the index, the highest counts.
            scope: (rows,) the documents whose statistics count: living ones only.
            eligible: (rows,) those of them that may be found; None for all.
            factors: (rows,) in (0, 1].
            prepared: whether the texts were prepared for the index (see `lexical_table.is_prepared`).
            keys: of the rows, by which the index names documents.
        """
        lengths, postings = self._lengths, self._postings
        if (lengths.generation, lengths.prepared) != (state.generation, prepared):
            self._lengths = lengths = Lengths(state.generation, keys, prepared=prepared)
        if (postings.sequence, postings.prepared) != (state.sequence, prepared):
            self._postings = postings = Postings(state.sequence, prepared=prepared)
        phrases = self._tokenizer.phrases(words, prepared=prepared)
        bm25 = _scores(connection, phrases, scope, keys, lengths, postings)
        rows = np.flatnonzero(bm25 if eligible is None else np.where(eligible, bm25, 0.0))
        known = len(rows) > 0 or bool(bm25.any())
        scores = bm25[rows]
        worths = scores if factors is None else scores * factors[rows]
        if n < len(rows):
            kept = worths >= np.partition(worths, len(rows) - n)[len(rows) - n]
            rows, scores, worths = rows[kept], scores[kept], worths[kept]
        order = np.argsort(-worths, kind="stable")
        return LexicalResult(rows[order], scores[order], worths[order], known)


def _scores(
    connection: sqlite3.Connection,
    phrases: Mapping[Phrase, float],
    scope: Mask,
    keys: Keys,
    lengths: Lengths,
    postings: Postings,
) -> Doubles:
    """BM25 of every row, (rows,), and 0 where nothing is found."""
    bm25 = np.zeros(len(scope))
    documents = int(np.count_nonzero(scope))
    mean = 0.0
    for phrase, weight in phrases.items():
        named, counts = postings.of(connection, phrase)
        rows = keys.find(named)
        if len(rows) and (not 0 <= rows[0] <= rows[-1] < len(scope) or (keys.shift and rows.min() < 0)):
            raise CorruptionError(
                f"the lexical index names documents {named[0]} to {named[-1]}, and some are not there. Run repair()"
            )
        inside = scope[rows]
        rows, counts = rows[inside], counts[inside]
        if not len(rows):
            continue
        mean = mean or lengths.total(connection, scope) / documents
        idf = max(math.log((documents - len(rows) + 0.5) / (len(rows) + 0.5)), 1e-6)
        norms = K1 * (1 - B + B * lengths.of(connection, rows) / mean)
        bm25[rows] += weight * idf * (counts * (K1 + 1) / (counts + norms))
    return bm25
