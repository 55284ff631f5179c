"""The points at which a process may die in the middle of a write. Tests kill a process at each."""

from collections.abc import Callable

POINTS = {
    "create.begun": "the database file exists, without tables",
    "create.committed": "the tables are there, the journal is not yet a write-ahead log",
    "vectors.created": "a new vector file exists, its folder entry is not yet durable",
    "orphan.copied": "a frame without a commit has been copied aside, and is still in place",
    "frame.torn": "half of a frame has been written",
    "frame.written": "a frame is written, not yet durable",
    "frame.synced": "a frame is durable, no transaction names it",
    "transaction.filled": "the transaction is complete, not yet committed",
    "transaction.committed": "the commit is durable, the call has not returned",
    "generation.committed": "a new generation is committed, the old one's files are still there",
    "cache.written": "a cache file is written under another name",
    "cache.renamed": "a cache file is in place",
    "index.saved": "an index is written, under the name of an unfinished one",
    "index.placed": "the index has its final name, no transaction names it",
    "index.recorded": "the index is in use, the one before is still there",
    "column.written": "a column's file is written under another name",
    "column.renamed": "a column's file is in place",
    "compaction.copied": "the living rows are copied, in the folder of an unfinished generation",
    "compaction.followed": "commits made meanwhile are copied, too",
    "compaction.placed": "the new generation's files have their names, no transaction names them",
    "compaction.committed": "the new generation is in use, the old one's files are still there",
    "compaction.reclaimed": "the database has given back its free pages",
    "backup.vectors": "the vectors are copied, under the name of an unfinished backup",
    "backup.store": "the database is copied, too, under a name that nothing opens",
}
"""Name and meaning of each point, in the order a commit passes them."""

observer: Callable[[str], None] | None = None
"""Called with the name of each point that is reached. Set by tests only."""


def crash_point(point: str) -> None:
    """Mark a point at which a process may die."""
    if observer is not None:
        observer(point)
