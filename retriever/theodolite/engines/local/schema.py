"""The tables of store.sqlite."""

APPLICATION_ID = 0x7E0D0117
"""Marks the file as ours, in its header."""

TOKENIZER = "porter unicode61 remove_diacritics 2"

LEXICAL = f"""CREATE VIRTUAL TABLE lexical USING fts5(
    text, content='documents', content_rowid='row', tokenize='{TOKENIZER}'
)"""

TABLES = f"""
-- What is pinned, as JSON: one row.
CREATE TABLE manifest (value TEXT NOT NULL, hash BLOB NOT NULL);

-- Where the collection stands: one row, changed by every commit.
CREATE TABLE state (
    generation INTEGER NOT NULL,  -- of the vector file; a new one starts its rows at 0
    sequence INTEGER NOT NULL,    -- commits so far, never reset
    rows INTEGER NOT NULL,        -- row numbers given out in this generation
    slots INTEGER NOT NULL,       -- committed length of the vector file
    live INTEGER NOT NULL,        -- documents
    approximate INTEGER NOT NULL, -- changes with the table of that name
    hash BLOB NOT NULL            -- of all of these
);

-- The approximate index in use, as JSON: one row, or none.
CREATE TABLE approximate (value TEXT NOT NULL, hash BLOB NOT NULL);

-- What guards remember (see protocols.Engine.note). Writing here is no commit.
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, hash BLOB NOT NULL) WITHOUT ROWID;

-- The living documents. A row never changes: an update makes a new row.
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    truncated INTEGER NOT NULL,   -- 1 where the embedder did not read the whole text
    partition TEXT NOT NULL,      -- the value of the partition field as JSON; '' where nothing is partitioned
    hash BLOB NOT NULL,           -- of all of these and the vector
    UNIQUE (id, partition)
);
CREATE INDEX truncated_documents ON documents (row) WHERE truncated;

-- The change log: what each commit appended, and which rows it ended (see log.py).
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

-- Lexical search over documents.text, and where each of its words is; the latter stores nothing.
{LEXICAL};
CREATE VIRTUAL TABLE lexical_terms USING fts5vocab(lexical, instance);
"""

STATE = "SELECT generation, sequence, rows, slots, live, approximate, hash FROM state"
"""The first statement of every transaction: it fixes what the transaction sees."""
