"""The tables of store.sqlite, a check for foreign ones, and the digest that protects stored values."""

import re
import sqlite3
from functools import lru_cache
from hashlib import blake2b

from theodolite.analysis.query_terms import TOKENIZER

APPLICATION_ID = 0x7E0D0117
"""Identifies our databases, in their header."""

LEXICAL = f"""CREATE VIRTUAL TABLE lexical USING fts5(
    text, content='documents', content_rowid='row', tokenize='{TOKENIZER}'
)"""

TABLES = f"""
-- The pinned settings, as JSON: one row.
CREATE TABLE manifest (value TEXT NOT NULL, hash BLOB NOT NULL);

-- The current state: one row, changed by every commit.
CREATE TABLE state (
    generation INTEGER NOT NULL,  -- of the vector file
    sequence INTEGER NOT NULL,    -- commits so far, never reset
    rows INTEGER NOT NULL,        -- keys given out
    slots INTEGER NOT NULL,       -- committed length of the vector file
    live INTEGER NOT NULL,        -- documents
    approximate INTEGER NOT NULL, -- changes with the table of that name
    hash BLOB NOT NULL            -- of all of these
);

-- The approximate index in use, as JSON: one row, or none.
CREATE TABLE approximate (value TEXT NOT NULL, hash BLOB NOT NULL);

-- Notes of the guards (see protocols.Notes). Writing one makes no commit.
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, hash BLOB NOT NULL) WITHOUT ROWID;

-- The living documents. A row never changes: an update makes a new row. `row` is the document's key (see records.py).
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    truncated INTEGER NOT NULL,   -- 1 if the embedder did not read the whole text
    partition TEXT NOT NULL,      -- the value of the partition field as JSON; '' without partitions
    hash BLOB NOT NULL,           -- of all of these and the vector
    UNIQUE (id, partition)
);
CREATE INDEX truncated_documents ON documents (row) WHERE truncated;

-- The change log: the rows that each commit appended and ended, by their keys (see change_log.py). A compaction adds
-- a table `base`, which clear() removes.
CREATE TABLE frames (
    sequence INTEGER PRIMARY KEY,
    first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    content BLOB NOT NULL,        -- hash of the documents' hashes
    hash BLOB NOT NULL            -- of all of these, the rows it ended, and the hash before it
);
CREATE TABLE tombstones (
    sequence INTEGER NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (sequence, row)
) WITHOUT ROWID;

-- Lexical search over documents.text, and a view of the positions of each word, which stores nothing.
{LEXICAL};
CREATE VIRTUAL TABLE lexical_terms USING fts5vocab(lexical, instance);
"""

SHADOW_TABLES = {
    "lexical_data": "id, block",
    "lexical_idx": "segid, term, pgno",
    "lexical_docsize": "id, sz",
    "lexical_config": "k, v",
}
"""The tables in which FTS5 keeps the index, and their columns. Other versions of SQLite have more, unused here."""

BASE = """CREATE TABLE base (
    generation INTEGER NOT NULL,
    sequence INTEGER NOT NULL,    -- the commit it stands for
    first_row INTEGER NOT NULL,   -- key of the first later row, less the rows kept
    rows INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    keys BLOB NOT NULL,           -- of the rows kept: int64, rising
    hash BLOB NOT NULL,           -- of all of these and the log's hash of the commit
    moved BLOB NOT NULL,          -- commit and slot, int64, of frames that lie elsewhere than the log says
    whole_hash BLOB NOT NULL,     -- of these, too
    era INTEGER NOT NULL,         -- the generation in which keys began to count: that of the last clear()
    folded INTEGER NOT NULL,      -- log entries up to this commit are gone
    origin BLOB NOT NULL          -- the log's hash that the oldest entry is bound to
)"""
"""The start of a generation that a compaction has made (see change_log.py): one row. Others lack the table."""

STATE = "SELECT generation, sequence, rows, slots, live, approximate, hash FROM state"
"""The first statement of every transaction: it fixes the commit that the transaction sees."""

_CREATE = re.compile(r"CREATE (?:VIRTUAL )?(TABLE|INDEX) (\w+)(?: ON (\w+))?")
_COMMENT = re.compile(r"--[^\n]*")
# Tables that SQLite declares itself differ from one version to the next, but consist of these words.
_OPTIONAL = "base"
_STATISTICS = re.compile(r"sqlite_stat\d")
_PLAIN_TABLE = re.compile(
    r"CREATE TABLE ['\"]?(lexical_|sqlite_stat)\w+['\"]?\s?\("
    r"(id|block|segid|term|pgno|sz|origin|k|v|tbl|idx|stat|neq|nlt|ndlt|sample|INTEGER|BLOB|PRIMARY KEY|[,() ])*\)"
    r"( WITHOUT ROWID)?"
)

Declaration = tuple[str, str, str]
"""Type, table and normalized SQL of an entry of sqlite_master."""


def foreign_entries(connection: sqlite3.Connection) -> list[str]:
    """List tables, views, indexes and triggers that differ from those of a collection, such as "view 'manifest'".

    A view, a trigger or a generated column would run its author's SQL. Reading the schema runs none.
    """
    expected = dict(_expected())
    foreign = []
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if isinstance(name, str) and _is_declared(kind, name, table, sql, expected):
            expected.pop(name, None)
        else:
            foreign.append(f"{kind} {name!r:.80}")
    expected.pop(_OPTIONAL, None)
    return foreign + [f"the lack of {kind} {name!r}" for name, (kind, _, _) in expected.items()]


@lru_cache(maxsize=1)
def _expected() -> dict[str, Declaration]:
    declarations = {}
    for statement in _COMMENT.sub("", TABLES + BASE).split(";\n"):
        statement = " ".join(statement.split())
        if match := _CREATE.match(statement):
            kind, name, table = match.groups()
            declarations[name] = (kind.lower(), table or name, statement)
    return declarations


def _is_declared(kind: object, name: str, table: object, sql: object, expected: dict[str, Declaration]) -> bool:
    if name.startswith("sqlite_autoindex_"):  # of a UNIQUE constraint; SQLite refuses others
        return (kind, sql) == ("index", None)
    if not isinstance(sql, str):
        return False
    if name in SHADOW_TABLES or _STATISTICS.fullmatch(name):
        return kind == "table" and _PLAIN_TABLE.fullmatch(" ".join(sql.split())) is not None
    return expected.get(name) == (kind, table, _normalized(sql))


def _normalized(sql: str) -> str:
    """Return SQL without comments and extra spaces. Within quotes, dashes do not begin a comment."""
    plain = _COMMENT.sub("", sql)
    return " ".join((sql if "'" in plain or '"' in plain else plain).split())


def digest(*values: int | str | bytes) -> bytes:
    """Return a digest of 16 bytes. It depends on the values and their types.

    SQLite's pages have no checksums, so stored values carry digests.
    """
    return blake2b(repr(values).encode(), digest_size=16).digest()
