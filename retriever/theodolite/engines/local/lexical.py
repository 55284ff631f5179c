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
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.schema import TOKENIZER
from theodolite.types import Mask, Rows

K1, B = 1.2, 0.75

_SHIFT = 31  # bits of a position below those of the row
_PLACES = f"SELECT group_concat((doc << {_SHIFT}) + offset) FROM lexical_terms WHERE term = ?"  # noqa: S608
_NOWHERE = np.empty(0, np.int64)
_MANY = 500  # parameters of one statement

Doubles = NDArray[np.float64]
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LexicalFound:
    """Rows found for one query, by falling worth and then rising row.

    The n best, and with a row all others of the same worth: the caller breaks ties.

    Attributes:
        rows: (m,) the rows, all of which hold some of the words.
        bm25: (m,) their scores, above 0.
        worths: (m,) bm25 × the row's factor.
    """

    rows: Rows
    bm25: Doubles
    worths: Doubles


class Lexical:
    """Searches the table `lexical`. One for a collection: it keeps the lengths of documents, 4 bytes for a row."""

    def __init__(self) -> None:
        self._lengths = _Lengths(0)

    def search(
        self,
        connection: sqlite3.Connection,
        generation: int,
        words: Mapping[str, float],
        n: int,
        scope: Mask,
        eligible: Mask | None = None,
        factors: Doubles | None = None,
    ) -> LexicalFound:
        """The n best rows by BM25 × factor, within a transaction.

        Args:
            generation: of the rows.
            words: what to look for: strings of one or several words, with a weight each (see `ranking.words`). Of
                those that are the same to the index, the highest counts.
            scope: (rows,) the documents whose statistics count: living ones only.
            eligible: (rows,) those of them that may be found; None for all.
            factors: (rows,) in (0, 1].
        """
        if generation != self._lengths.generation:
            self._lengths = _Lengths(generation)
        bm25 = self._scores(connection, tokenized(words), scope)
        rows = np.flatnonzero(bm25 if eligible is None else np.where(eligible, bm25, 0.0))
        scores = bm25[rows]
        worths = scores if factors is None else scores * factors[rows]
        if n < len(rows):
            kept = worths >= np.partition(worths, len(rows) - n)[len(rows) - n]
            rows, scores, worths = rows[kept], scores[kept], worths[kept]
        order = np.argsort(-worths, kind="stable")
        return LexicalFound(rows[order], scores[order], worths[order])

    def _scores(self, connection: sqlite3.Connection, phrases: Mapping[Phrase, float], scope: Mask) -> Doubles:
        """BM25 of every row, (rows,), and 0 where nothing is found."""
        bm25 = np.zeros(len(scope))
        postings = _Postings(connection)
        documents = int(np.count_nonzero(scope))
        mean = 0.0
        for phrase, weight in phrases.items():
            rows, counts = postings.of(phrase)
            inside = scope[rows]
            rows, counts = rows[inside], counts[inside]
            if not len(rows):
                continue
            lengths = self._lengths
            mean = mean or lengths.total(connection, scope) / documents
            idf = max(math.log((documents - len(rows) + 0.5) / (len(rows) + 0.5)), 1e-6)
            norms = K1 * (1 - B + B * lengths.of(connection, rows) / mean)
            bm25[rows] += weight * idf * (counts * (K1 + 1) / (counts + norms))
        return bm25


def tokenized(words: Mapping[str, float]) -> dict[Phrase, float]:
    """The words as the index has them, with their weights, in the order they come in."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(words, instance)")
        # Halves of surrogate pairs are no text: they are read as what separates words.
        plain = [word.encode(errors="replace").decode() for word in words]
        connection.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(plain))
        found: list[list[str]] = [[] for _ in words]
        for number, token in connection.execute("SELECT doc, term FROM tokens ORDER BY doc, offset"):
            found[number].append(token)
    weights: dict[Phrase, float] = {}
    for phrase, weight in zip(map(tuple, found), words.values(), strict=True):
        if phrase:
            weights[phrase] = max(weight, weights.get(phrase, 0.0))
    return weights


class _Postings:
    """Where words occur, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._places: dict[str, Rows] = {}

    def of(self, phrase: Phrase) -> tuple[Rows, Rows]:
        """The rows that hold the phrase, rising, and how often they do."""
        # Those that have been read first: one that is nowhere spares the others, which may be very common.
        if not all(len(self._of_word(word)) for word in sorted(phrase, key=lambda word: word not in self._places)):
            return _NOWHERE, _NOWHERE
        places = reduce(_both, (self._of_word(word) - at for at, word in enumerate(phrase)))
        return np.unique(places >> _SHIFT, return_counts=True)

    def _of_word(self, word: str) -> Rows:
        """row << _SHIFT | position of each place, rising."""
        if word not in self._places:
            # As one text, which numpy reads: several times faster than a row of Python objects for each place.
            (text,) = self._connection.execute(_PLACES, (word,)).fetchone()
            self._places[word] = np.sort(np.fromstring(text, np.int64, sep=",")) if text else _NOWHERE
        return self._places[word]


class _Lengths:
    """How many words each document of a generation has.

    A row never changes, so that what is known of it is right for every transaction that sees it. One that is gone is
    not read any more: it is looked up by the transactions that still see it.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._known = np.empty(0, np.int32)  # −1 where it is not

    def of(self, connection: sqlite3.Connection, rows: Rows) -> NDArray[np.int32]:
        """(n,) of these rows, which the transaction sees."""
        known = self._known
        start = len(known)
        if len(rows) and rows[-1] >= start:
            found = connection.execute("SELECT id, sz FROM lexical_docsize WHERE id >= ?", (start,)).fetchall()
            known = np.full(found[-1][0] + 1, -1, np.int32)
            known[:start] = self._known
            _fill(known, found)
            self._known = known
        lengths = known[rows]
        missing = rows[lengths < 0].tolist()
        for start in range(0, len(missing), _MANY):
            some = missing[start : start + _MANY]
            marks = ", ".join("?" * len(some))
            _fill(known, connection.execute(f"SELECT id, sz FROM lexical_docsize WHERE id IN ({marks})", some))  # noqa: S608
        return known[rows] if missing else lengths

    def total(self, connection: sqlite3.Connection, scope: Mask) -> int:
        return int(self.of(connection, np.flatnonzero(scope)).sum(dtype=np.int64))


def _fill(lengths: NDArray[np.int32], found: Iterable[tuple[int, Any]]) -> None:
    for row, size in found:
        lengths[row] = _varint(size)


def _varint(data: bytes) -> int:
    """SQLite's own integers of variable length: seven bits in a byte, the highest first."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _both(first: Rows, second: Rows) -> Rows:
    return np.intersect1d(first, second, assume_unique=True)
