"""The lexical index against the documents, by FTS5's own check.

That check is a write, which would make writers wait, and which a folder that cannot be written to does not take. So the
index's tables are copied to a temporary database, over a view of the documents as they are prepared for the index, and
checked there.
"""

import contextlib
import sqlite3

from theodolite.engines.local.maintenance.verify.report import Report, is_damage
from theodolite.engines.local.storage.database import Store
from theodolite.engines.local.storage.defensive import undefended
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.schema import LEXICAL, SHADOW_TABLES
from theodolite.engines.local.storage.scripts import prepared


def check_lexical(store: Store, report: Report) -> None:
    """In a transaction of its own: the index and the documents are of the same commit in any."""
    with contextlib.closing(store.connect()) as connection, undefended(connection):
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute("BEGIN")
        text = "text"
        if is_prepared(connection):
            text = "prepared(CAST(text AS BLOB))"
            connection.create_function("prepared", 1, _prepared, deterministic=True)
        else:
            report.warning("lexical", OUTDATED)
        connection.execute(f"CREATE TEMP VIEW documents AS SELECT row, {text} AS text FROM main.documents")  # noqa: S608
        connection.execute(LEXICAL.replace("lexical", "temp.lexical", 1))
        for name, columns in SHADOW_TABLES.items():
            copied = f"SELECT {columns} FROM main.{name}"  # noqa: S608 - names are ours
            connection.execute(f"DELETE FROM temp.{name}")  # noqa: S608
            connection.execute(f"INSERT INTO temp.{name} ({columns}) {copied}")
        (count,) = connection.execute("SELECT count(*) FROM temp.lexical_docsize").fetchone()
        try:
            connection.execute("SELECT 1 FROM main.lexical_terms LIMIT 1").fetchone()  # that it can be opened as it is
            # 1: not only whole in itself, but also of these documents.
            connection.execute("INSERT INTO temp.lexical (lexical, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            report.problem(
                "lexical",
                f"the lexical index is not that of the documents ({error}); repair() builds it again",
                derived=True,
            )
        report.checked["lexical"] += count


def _prepared(text: bytes) -> str:
    """What FTS5 was given of a text, as bytes: a damaged one may not be UTF-8."""
    return prepared(text.decode(errors="replace"))
