"""SQLite's defensive mode: what SQL may change of a database, which may come from somebody else."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def defend(connection: sqlite3.Connection, on: bool) -> None:
    """SQL can change neither the schema's own table nor those of FTS5. Python has the call since 3.12."""
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, on)


@contextmanager
def undefended(connection: sqlite3.Connection) -> Iterator[None]:
    """For repairs of FTS5's tables."""
    defend(connection, False)
    try:
        yield
    finally:
        defend(connection, True)
