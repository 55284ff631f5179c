"""Where words are: the lexical index, read word by word."""

import sqlite3
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.scripts import is_letter
from theodolite.types import Rows

KEPT = 64 * 2**20
"""Bytes that are kept for the next search, at most."""

_SHIFT = 31  # bits of a position below those of the row
# The words that begin with a letter lie below the letter and the last character there is.
_LAST = "\U0010ffff"
# As one text, which numpy reads: several times faster than a row of Python objects for each place.
_ROWS = "SELECT group_concat(doc) FROM lexical_terms WHERE term = ?"
_ROWS_OF_LETTER = "SELECT group_concat(doc) FROM lexical_terms WHERE term >= ? AND term <= ?"
_PLACES = f"SELECT group_concat((doc << {_SHIFT}) + offset) FROM lexical_terms WHERE term = ?"  # noqa: S608
_NONE = np.empty(0, np.int64)

Phrase = tuple[str, ...]
Counts = NDArray[np.int64]


class Postings:
    """The postings of one commit, by the keys of documents.

    Words that were asked for are kept: a few are in every other question.
    """

    def __init__(self, sequence: int, *, prepared: bool) -> None:
        """`prepared` says whether the texts were prepared for the index (see `scripts`)."""
        self.sequence = sequence
        self.prepared = prepared
        self._words: dict[str, tuple[Rows, Counts]] = {}
        self._places: dict[str, Rows] = {}
        self._bytes = 0

    def of(self, connection: sqlite3.Connection, phrase: Phrase) -> tuple[Rows, Counts]:
        """The keys of the documents that hold the phrase, rising, and how often they do."""
        if len(phrase) == 1:
            return self._of_word(connection, phrase[0])
        # Those that are known first: one that is nowhere spares reading the others, which may be very common.
        for word in sorted(phrase, key=lambda word: word not in self._words):
            if not len(self._of_word(connection, word)[0]):
                return _NONE, _NONE
        places = reduce(_both, (self._places_of(connection, word) - at for at, word in enumerate(phrase)))
        return np.unique(places >> _SHIFT, return_counts=True)

    def _of_word(self, connection: sqlite3.Connection, word: str) -> tuple[Rows, Counts]:
        found = self._words.get(word)
        if found is None:
            if self.prepared and is_letter(word):
                places = _read(connection, _ROWS_OF_LETTER, word, word + _LAST)
            else:
                places = _read(connection, _ROWS, word)
            found = np.unique(places, return_counts=True)
            if self._kept(found[0].nbytes + found[1].nbytes):
                self._words[word] = found
        return found

    def _places_of(self, connection: sqlite3.Connection, word: str) -> Rows:
        """row << _SHIFT | position of each place, rising."""
        found = self._places.get(word)
        if found is None:
            found = np.sort(_read(connection, _PLACES, word))
            if self._kept(found.nbytes):
                self._places[word] = found
        return found

    def _kept(self, size: int) -> bool:
        """Whether there is room for so much, which is then taken."""
        size += 200  # Python's objects
        if self._bytes + size > KEPT:
            return False
        self._bytes += size
        return True


def _read(connection: sqlite3.Connection, query: str, *words: str) -> Rows:
    (text,) = connection.execute(query, words).fetchone()
    return np.fromstring(text, np.int64, sep=",") if text else _NONE


def _both(first: Rows, second: Rows) -> Rows:
    return np.intersect1d(first, second, assume_unique=True)
