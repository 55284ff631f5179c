"""The table `lexical`: an FTS5 index over the documents' texts, prepared for it (see `scripts`).

The table is declared over `documents.text`, of which FTS5 itself would index the plain text. So all that is written to
it, or taken out, is written here. FTS5 has to be given again what it was given to index, or the index is damaged.

In collections of format 3 the plain texts are indexed. They are searched as they are; the next commit, or `repair()`,
makes them collections of this format.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from theodolite.engines.local.storage.database import undefended
from theodolite.engines.local.storage.schema import LEXICAL, SHADOW_TABLES
from theodolite.engines.local.storage.scripts import needs_preparation, prepared
from theodolite.manifest import FORMAT

_log = logging.getLogger(__name__)

OUTDATED = (
    "The lexical index was built by an earlier version of theodolite. Words in Chinese, Japanese, Korean, Thai, Lao, "
    "Khmer or Burmese, and words next to them, are found only after the next write or repair()."
)
"""Said of an index of plain texts."""

_PREPARED_SINCE = 4
_INSERT = "INSERT INTO lexical (rowid, text) VALUES (?, ?)"
_DELETE = "INSERT INTO lexical (lexical, rowid, text) VALUES ('delete', ?, ?)"
_FETCHED = 1000  # texts at a time

Texts = Iterable[tuple[int, str]]
"""Rows of documents with their texts, as these are stored."""


def is_prepared(connection: sqlite3.Connection) -> bool:
    """Whether the transaction sees an index of prepared texts."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _PREPARED_SINCE)


def insert(connection: sqlite3.Connection, first: int, texts: Sequence[str]) -> None:
    """Index the documents of the rows from `first` on, which are stored already."""
    if needs_preparation("".join(texts)):  # one look at all of them costs less than one at each
        _insert(connection, enumerate(texts, first))
    else:
        connection.execute("INSERT INTO lexical (rowid, text) SELECT row, text FROM documents WHERE row >= ?", (first,))


def delete(connection: sqlite3.Connection, texts: Texts) -> None:
    """Take documents out of the index."""
    connection.executemany(_DELETE, ((row, prepared(text)) for row, text in texts))


def upgrade(connection: sqlite3.Connection) -> None:
    """Prepare an index of plain texts for the next commit; others stay as they are. In a write transaction.

    Only documents whose texts are prepared otherwise are indexed again, unless these are many.
    """
    if is_prepared(connection):
        return
    documents = changed = 0
    for _, text in _documents(connection):
        documents += 1
        changed += needs_preparation(text)
    if changed:
        _log.info("indexing the texts of %d of %d documents again, for lexical search", changed, documents)
    if 2 * changed > documents:
        _fill(connection)
    elif changed:
        for row, text in _documents(connection):
            if needs_preparation(text):
                connection.execute(_DELETE, (row, text))
                connection.execute(_INSERT, (row, prepared(text)))
    _stamp(connection)


def rebuild(connection: sqlite3.Connection) -> None:
    """Build the index from the documents, whatever state it is in. In a write transaction."""
    with undefended(connection), contextlib.closing(sqlite3.connect(":memory:")) as new:
        new.execute(LEXICAL)
        # FTS5 opens no index whose structure is damaged, not even to drop it: so its own tables are emptied first.
        for name, columns in SHADOW_TABLES.items():
            marks = ", ".join("?" * len(columns.split(",")))
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 - names are ours
            connection.executemany(
                f"INSERT INTO {name} ({columns}) VALUES ({marks})",  # noqa: S608
                new.execute(f"SELECT {columns} FROM {name}").fetchall(),  # noqa: S608
            )
    _fill(connection)
    _stamp(connection)


def clear(connection: sqlite3.Connection) -> None:
    """Take all documents out of the index."""
    connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")


def merge(connection: sqlite3.Connection, pages: int) -> bool:
    """Merge segments of the index, writing about so many pages; a negative number begins to merge all of them.

    Returns whether there was something to do. In a write transaction.
    """
    before = connection.total_changes
    connection.execute("INSERT INTO lexical (lexical, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes - before >= 2  # one is the command itself


def _fill(connection: sqlite3.Connection) -> None:
    clear(connection)
    _insert(connection, _documents(connection))


def _insert(connection: sqlite3.Connection, texts: Texts) -> None:
    connection.executemany(_INSERT, ((row, prepared(text)) for row, text in texts))


def _stamp(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _documents(connection: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    cursor = connection.execute("SELECT row, text FROM documents ORDER BY row")
    while part := cursor.fetchmany(_FETCHED):
        yield from part
