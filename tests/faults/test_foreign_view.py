"""A database with a foreign schema is refused before any of its SQL runs."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from theodolite import CorruptionError, Document, Retriever
from theodolite.cli.run import run
from theodolite.engines.local.storage.opening import limit_steps

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"

FOREIGN = {
    "a view for a table": f"""
        ALTER TABLE manifest RENAME TO m; CREATE VIEW manifest AS SELECT ({ENDLESS}) AS value, x'' AS hash""",
    "a view for the schema of a table": f"""
        ALTER TABLE state RENAME TO s; CREATE VIEW state AS SELECT *, ({ENDLESS}) AS more FROM s""",  # noqa: S608
    "a trigger": f"CREATE TRIGGER t AFTER INSERT ON documents BEGIN INSERT INTO notes SELECT ({ENDLESS}), '', ''; END",
    "a trigger before deletions": "CREATE TRIGGER t BEFORE DELETE ON documents BEGIN SELECT RAISE(IGNORE); END",
    "another table": "CREATE TABLE more (x)",
    "a virtual table": "CREATE VIRTUAL TABLE more USING fts5(x)",
    "a virtual table for a table": """
        DROP TABLE notes; CREATE VIRTUAL TABLE notes USING fts5(name, value, hash)""",
    "an index": "CREATE INDEX more ON documents (text)",
    "an index with an expression": "CREATE INDEX more ON documents (length(zeroblob(1000000000)) + row)",
    "a lost index": "DROP INDEX truncated_documents",
    "a generated column": "ALTER TABLE documents ADD COLUMN more AS (zeroblob(1000000000))",
    "a default": "ALTER TABLE notes ADD COLUMN more DEFAULT (1)",
    "a lexical index over another table": """
        DROP TABLE lexical_terms; DROP TABLE lexical;
        CREATE VIRTUAL TABLE lexical USING fts5(text, content='notes', content_rowid='row');
        CREATE VIRTUAL TABLE lexical_terms USING fts5vocab(lexical, instance)""",
    "a tokenizer behind what looks like a comment": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'diacritics 2', 'diacritics 2--' || char(10)) WHERE name = 'lexical'
        """,
    "a changed table of the lexical index": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'sz BLOB', 'sz BLOB, more AS (zeroblob(1000000000))')
        WHERE name = 'lexical_docsize'""",
    "a constraint": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'value TEXT NOT NULL', 'value TEXT NOT NULL CHECK (value)')
        WHERE name = 'manifest'""",
}

HARMLESS = {
    "statistics": "ANALYZE",
    "a lexical table as another version of SQLite declares it": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE TABLE "lexical_docsize"(id INTEGER PRIMARY KEY, sz BLOB, origin INTEGER)'
        WHERE name = 'lexical_docsize'""",
    "other spaces and comments": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, ' TEXT', '  -- text' || char(10) || '  TEXT')
        WHERE name IN ('manifest', 'documents', 'notes')""",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "kb"
    with Retriever.open(folder) as kb:
        kb.add([Document(f"text {i}", id=f"d{i}") for i in range(20)], vectors=np.ones((20, 4)))
    return folder


def changed(sound: Path, folder: Path, script: str) -> Path:
    shutil.copytree(sound, folder)
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database:
        database.executescript(script)
    return folder


@pytest.mark.parametrize("script", FOREIGN.values(), ids=FOREIGN)
def test_refused(sound: Path, tmp_path: Path, script: str) -> None:
    folder = changed(sound, tmp_path / "kb", script)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for read_only in (True, False):
        with pytest.raises(CorruptionError, match="schema"):
            Retriever.open(folder, read_only=read_only)
    assert run(["verify", str(folder)]) == 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("script", HARMLESS.values(), ids=HARMLESS)
def test_accepted(sound: Path, tmp_path: Path, script: str) -> None:
    folder = changed(sound, tmp_path / "kb", script)
    with Retriever.open(folder) as kb:
        assert len(kb.search(vector=np.ones(4), k=30)) == 20
        kb.verify()


def test_a_query_without_end_is_cut_off(sound: Path) -> None:
    """Pages that lead to each other turn any table into one."""
    with contextlib.closing(sqlite3.connect(sound / "store.sqlite")) as database:
        limit_steps(database, 10_000_000)
        (count,) = database.execute("SELECT count(*) FROM documents, documents AS d, documents AS e").fetchone()
        assert count == 8000
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            database.execute(ENDLESS)
