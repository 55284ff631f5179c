"""Tokens: words as the lexical index has them."""

import sqlite3
import weakref
from collections.abc import Mapping

from theodolite.engines.local.search.postings import Phrase
from theodolite.engines.local.storage.schema import TOKENIZER
from theodolite.engines.local.storage.scripts import pieces
from theodolite.forking import COLLECTIONS, register_at_fork

_MOST = 1024  # pieces that are looked for; a long text in Chinese is one word of thousands


class Tokenizer:
    """Asks FTS5 itself, by a table in memory with the index's own tokenizer. Shared by threads.

    Making such a table takes several times as long as using it, so connections are kept.
    """

    def __init__(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        weakref.finalize(self, _close, self._idle)
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: let go of the parent's connections."""
        COLLECTIONS.drop(self._idle)

    def phrases(self, words: Mapping[str, float], *, prepared: bool = True) -> dict[Phrase, float]:
        """The words as the index has them, with their weights, in the order they come in.

        Of those that are the same to the index, the highest weight counts.

        Args:
            prepared: whether the texts were prepared for the index (see `scripts`).
        """
        if prepared:
            words = _in_pieces(words)
        try:
            connection = self._idle.pop()
        except IndexError:  # there is none, or other threads were quicker
            connection = _connect()
        try:
            found = _read(connection, words)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        weights: dict[Phrase, float] = {}
        for phrase, weight in zip(map(tuple, found), words.values(), strict=True):
            if phrase:
                weights[phrase] = max(weight, weights.get(phrase, 0.0))
        return weights


def _in_pieces(words: Mapping[str, float]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for word, weight in words.items():
        for piece in pieces(word):
            if piece in weights or len(weights) < _MOST:
                weights[piece] = max(weight, weights.get(piece, 0.0))
    return weights


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, tokenize='{TOKENIZER}')")
    connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(words, instance)")
    return connection


def _read(connection: sqlite3.Connection, words: Mapping[str, float]) -> list[list[str]]:
    connection.execute("BEGIN")
    # Halves of surrogate pairs are no text: they are read as what separates words.
    plain = [word.encode(errors="replace").decode() for word in words]
    connection.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(plain))
    found: list[list[str]] = [[] for _ in words]
    for number, token in connection.execute("SELECT doc, term FROM tokens ORDER BY doc, offset"):
        found[number].append(token)
    connection.execute("ROLLBACK")
    return found


def _close(idle: list[sqlite3.Connection]) -> None:
    while idle:
        idle.pop().close()
