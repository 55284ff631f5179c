"""Write the table `lexical`: an FTS5 index over the documents' texts, after preparation (see `unspaced_scripts`).

The table is declared over `documents.text`. FTS5 itself would index the plain texts, so all inserts and deletes are
made here. To delete a text, FTS5 needs the same text that it has indexed, or the index is damaged.

Collections of format 3 have an index of plain texts. It can be searched; the next commit, or `repair()`, upgrades it.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from theodolite.analysis.unspaced_scripts import needs_preparation, prepare_text
from theodolite.engines.local.storage.database import undefended
from theodolite.engines.local.storage.schema import LEXICAL, SHADOW_TABLES
from theodolite.settings import FORMAT

_log = logging.getLogger(__name__)

OUTDATED = (
    "The lexical index was built by an earlier version of theodolite. Words in Chinese, Japanese, Korean, Thai, Lao, "
    "Khmer or Burmese, and words next to them, are found only after the next write or repair()."
)
"""A note about an index of plain texts."""

_PREPARED_SINCE = 4
_INSERT = "INSERT INTO lexical (rowid, text) VALUES (?, ?)"
_DELETE = "INSERT INTO lexical (lexical, rowid, text) VALUES ('delete', ?, ?)"
_BATCH = 1000  # texts read at a time

Texts = Iterable[tuple[int, str]]
"""Rows of documents, with their stored texts."""


def is_prepared(connection: sqlite3.Connection) -> bool:
    """Return whether the index of this transaction has prepared texts."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _PREPARED_SINCE)


def insert(connection: sqlite3.Connection, first: int, texts: Sequence[str]) -> None:
    """Index the stored documents from the row `first` on."""
    if needs_preparation("".join(texts)):  # one check of all texts is faster than one for each
        _insert(connection, enumerate(texts, first))
    else:
        connection.execute("INSERT INTO lexical (rowid, text) SELECT row, text FROM documents WHERE row >= ?", (first,))


def delete(connection: sqlite3.Connection, texts: Texts) -> None:
    """Remove documents from the index."""
    connection.executemany(_DELETE, ((row, prepare_text(text)) for row, text in texts))


def upgrade(connection: sqlite3.Connection) -> None:
    """Turn an index of plain texts into one of prepared texts, within a write transaction. Others stay as they are.

    Only documents whose texts change by preparation are indexed again; if these are many, all are.
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
                connection.execute(_INSERT, (row, prepare_text(text)))
    _stamp(connection)


def rebuild(connection: sqlite3.Connection) -> None:
    """Rebuild the index from the documents, even if it is damaged. In a write transaction."""
    with undefended(connection), contextlib.closing(sqlite3.connect(":memory:")) as new:
        new.execute(LEXICAL)
        # FTS5 cannot open an index with a damaged structure, not even to drop it. So its own tables are replaced first.
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
    """Remove all documents from the index."""
    connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")


def merge(connection: sqlite3.Connection, pages: int) -> bool:
    """Merge segments of the index, within a write transaction. Returns whether there was something to do.

    Args:
        pages: about how many pages to write. A negative number begins a merge of all segments.
    """
    before = connection.total_changes
    connection.execute("INSERT INTO lexical (lexical, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes - before >= 2  # one change is the command itself


def _fill(connection: sqlite3.Connection) -> None:
    clear(connection)
    _insert(connection, _documents(connection))


def _insert(connection: sqlite3.Connection, texts: Texts) -> None:
    connection.executemany(_INSERT, ((row, prepare_text(text)) for row, text in texts))


def _stamp(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _documents(connection: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    cursor = connection.execute("SELECT row, text FROM documents ORDER BY row")
    while part := cursor.fetchmany(_BATCH):
        yield from part
