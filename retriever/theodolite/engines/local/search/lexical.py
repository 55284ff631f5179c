"""Lexical search: BM25 over the documents of a scope, exactly as if no others existed.

FTS5 stores the index; the scores are computed here. FTS5's own bm25() uses the statistics of the whole table, which
would leak what other tenants write. It uses the same formula (`analysis.bm25`) but is slower, because it scores
one document at a time.

`Postings` caches where terms occur, `DocumentLengths` how long documents are.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import Phrase, Tokenizer
from theodolite.analysis.unspaced_scripts import is_letter
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.records import IDENTITY, MAX_PARAMETERS, Keys
from theodolite.errors import CorruptionError
from theodolite.types import Mask, Rows

BUDGET = 64 << 20
"""Bytes of postings to keep for later searches."""

_SHIFT = 31  # the low bits hold the position, the higher ones the key
_OVERHEAD = 200  # bytes of Python objects for each entry
# Words that begin with a letter sort between the letter and the letter followed by the last code point.
_LAST = "\U0010ffff"
# Parsing one string with numpy is several times faster than fetching a row for each position.
_ROWS = "SELECT group_concat(doc) FROM lexical_terms WHERE term = ?"
_ROWS_OF_LETTER = "SELECT group_concat(doc) FROM lexical_terms WHERE term >= ? AND term <= ?"
_PLACES = f"SELECT group_concat((doc << {_SHIFT}) + offset) FROM lexical_terms WHERE term = ?"  # noqa: S608
_NONE = np.empty(0, np.int64)

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]
Lengths = NDArray[np.int32]


class Postings:
    """The postings of one commit, by document key.

    Caches the postings it reads: a few terms occur in every other query.
    """

    def __init__(self, sequence: int, *, prepared: bool) -> None:
        """`prepared` says whether the texts were prepared for the index (see `unspaced_scripts`)."""
        self.sequence = sequence
        self.prepared = prepared
        self._terms: dict[str, tuple[Rows, Counts]] = {}
        self._places: dict[str, Rows] = {}
        self._bytes = 0

    def of(self, connection: sqlite3.Connection, phrase: Phrase) -> tuple[Rows, Counts]:
        """Return the keys of the documents that contain the phrase, ascending, and its count in each."""
        if len(phrase) == 1:
            return self._of_term(connection, phrase[0])
        # Cached terms first: if one has no postings, the others, which may be very common, need not be read.
        for term in sorted(phrase, key=lambda term: term not in self._terms):
            if not len(self._of_term(connection, term)[0]):
                return _NONE, _NONE
        places = reduce(_intersection, (self._places_of(connection, term) - at for at, term in enumerate(phrase)))
        return np.unique(places >> _SHIFT, return_counts=True)

    def _of_term(self, connection: sqlite3.Connection, term: str) -> tuple[Rows, Counts]:
        posting = self._terms.get(term)
        if posting is None:
            if self.prepared and is_letter(term):
                keys = _read(connection, _ROWS_OF_LETTER, term, term + _LAST)
            else:
                keys = _read(connection, _ROWS, term)
            posting = np.unique(keys, return_counts=True)
            if self._reserve(posting[0].nbytes + posting[1].nbytes):
                self._terms[term] = posting
        return posting

    def _places_of(self, connection: sqlite3.Connection, term: str) -> Rows:
        """Return `key << _SHIFT | position` of each occurrence, ascending."""
        places = self._places.get(term)
        if places is None:
            places = np.sort(_read(connection, _PLACES, term))
            if self._reserve(places.nbytes):
                self._places[term] = places
        return places

    def _reserve(self, size: int) -> bool:
        """Take memory from the budget; return False if too little is left."""
        size += _OVERHEAD
        if self._bytes + size > BUDGET:
            return False
        self._bytes += size
        return True


def _read(connection: sqlite3.Connection, query: str, *terms: str) -> Rows:
    (text,) = connection.execute(query, terms).fetchone()
    return np.fromstring(text, np.int64, sep=",") if text else _NONE


def _intersection(first: Rows, second: Rows) -> Rows:
    return np.intersect1d(first, second, assume_unique=True)


class DocumentLengths:
    """The number of words of each document of a generation, as FTS5 counts them.

    Rows never change, so a cached length holds for every transaction that sees the row. The cache is filled from live
    rows; a transaction that still sees a deleted row looks its length up.
    """

    def __init__(self, generation: int, keys: Keys, *, prepared: bool) -> None:
        """`prepared` says whether the texts were prepared for the index (see `unspaced_scripts`)."""
        self.generation = generation
        self.prepared = prepared
        self._keys = keys
        self._lengths: Lengths = np.empty(0, np.int32)  # -1 where unknown
        self._total: tuple[Mask | None, int] = (None, 0)

    def of(self, connection: sqlite3.Connection, rows: Rows) -> Lengths:
        """Return the lengths, (n,), of rows in ascending order that the transaction sees.

        Raises:
            CorruptionError: the index lacks a document.
        """
        known = self._lengths
        if len(rows) and rows[-1] >= len(known):
            self._lengths = known = _extended(connection, known, int(rows[-1]) + 1, self._keys)
        lengths: Lengths = known[rows]
        missing: list[int] = self._keys.of(rows[lengths < 0]).tolist()
        for start in range(0, len(missing), MAX_PARAMETERS):
            chunk = missing[start : start + MAX_PARAMETERS]
            marks = ", ".join("?" * len(chunk))
            query = f"SELECT id, sz FROM lexical_docsize WHERE id IN ({marks})"  # noqa: S608
            _fill(known, connection.execute(query, chunk).fetchall(), self._keys)
        if missing:
            lengths = known[rows]
            absent = self._keys.of(rows[lengths < 0])
            if len(absent):
                raise CorruptionError(
                    f"{len(absent)} documents are missing from the lexical index, first document number {absent[0]}. "
                    "Run repair()"
                )
        return lengths

    def total(self, connection: sqlite3.Connection, scope: Mask) -> int:
        """Return the sum over a scope, (rows,). The caller must not change the mask afterwards."""
        known_scope, total = self._total
        if known_scope is not scope:  # searches of one snapshot share its mask of live rows
            total = int(self.of(connection, np.flatnonzero(scope)).sum(dtype=np.int64))
            self._total = scope, total
        return total


def _extended(connection: sqlite3.Connection, known: Lengths, rows: int, keys: Keys) -> Lengths:
    """Return the lengths of the first `rows` rows."""
    query = "SELECT id, sz FROM lexical_docsize WHERE id >= ? AND id < ?"
    sizes = connection.execute(query, (keys.key(len(known)), keys.key(rows))).fetchall()
    lengths = np.full(rows, -1, np.int32)
    lengths[: len(known)] = known
    _fill(lengths, sizes, keys)
    return lengths


def _fill(lengths: Lengths, sizes: Sequence[tuple[int, bytes]], keys: Keys) -> None:
    rows = keys.rows(np.array([key for key, _ in sizes], np.int64)).tolist()
    for row, (_, size) in zip(rows, sizes, strict=True):
        try:
            lengths[row] = _varint(size)
        except (TypeError, OverflowError) as error:
            raise CorruptionError(f"the length of row {row} in the lexical index is damaged. Run repair()") from error


def _varint(data: bytes) -> int:
    """Decode an integer as SQLite stores it: seven bits in a byte, the highest first."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


@dataclass(frozen=True, slots=True, eq=False)
class LexicalResult:
    """The k best rows for one query, plus all that tie with the last one: the caller breaks ties.

    Ranked by boosted score, then by row.

    Attributes:
        rows: (m,) rows that contain at least one term.
        bm25: (m,) their scores, above 0.
        boosted: (m,) bm25 × the row's factor.
        known: whether any document in the scope contains a term, eligible or not.
    """

    rows: Rows
    bm25: Doubles
    boosted: Doubles
    known: bool


class LexicalSearch:
    """Searches the lexical index of a collection. Thread-safe.

    It keeps the lengths of documents, 4 bytes a row, and the postings of recent query terms, 64 MB at most.
    """

    def __init__(self, bm25: BM25) -> None:
        self._bm25 = bm25
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
            terms: strings of one or more words, with weights (see `query_terms`). If the index treats several as the
                same term, the highest weight counts.
            scope: (rows,) the documents whose statistics count; live rows only.
            eligible: (rows,) the rows that may be returned; None for all of the scope.
            factors: (rows,) in (0, 1].
            prepared: whether the texts were prepared for the index (see `lexical_table.is_prepared`).
            keys: maps rows to the document keys that the index uses.
        """
        lengths, postings = self._lengths, self._postings
        if (lengths.generation, lengths.prepared) != (state.generation, prepared):
            self._lengths = lengths = DocumentLengths(state.generation, keys, prepared=prepared)
        if (postings.sequence, postings.prepared) != (state.sequence, prepared):
            self._postings = postings = Postings(state.sequence, prepared=prepared)
        phrases = self._tokenizer.phrases(terms, prepared=prepared)
        bm25 = _scores(self._bm25, connection, phrases, scope, keys, lengths, postings)
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
    settings: BM25,
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
                f"the lexical index lists documents {listed[0]} to {listed[-1]}, but some do not exist. Run repair()"
            )
        in_scope = scope[rows]
        rows, counts = rows[in_scope], counts[in_scope]
        if not len(rows):
            continue
        mean = mean or lengths.total(connection, scope) / documents
        bm25[rows] += settings.term_scores(weight, documents, mean, counts, lengths.of(connection, rows))
    return bm25
