"""Proof that what is open belongs together: the database, the vector file, and the folder they are in.

Paths may lead to another collection by now: the folder was replaced, moved away, or restored from a backup, and SQLite
opens by path. So the proof is in the contents. A collection has a uid, each commit has a hash that names all commits
before it, and the vector file carries that hash in each frame.
"""

import os
import sqlite3
from typing import NamedTuple

from theodolite.engines.local.storage.folder import Folder, replaced
from theodolite.engines.local.storage.frames import Frame, first_digest, holds_frame
from theodolite.engines.local.storage.generation_base import first_hash
from theodolite.engines.local.storage.paths import STORE
from theodolite.engines.local.storage.vector_file import VectorFile
from theodolite.errors import CorruptionError


class Commit(NamedTuple):
    """A commit as the change log has it."""

    frame: Frame
    digest: bytes


class Identity:
    """What is known of the collection that was opened."""

    def __init__(self, folder: Folder, uid: str) -> None:
        self._folder = folder
        self._uid = uid
        self._database: os.stat_result | None = None
        self._known: tuple[int, bytes] | None = None

    def know(self, sequence: int, digest: bytes) -> None:
        """Remember a commit that this process has seen: every connection must show it from now on."""
        if self._known is None or self._known[0] <= sequence:
            self._known = sequence, digest

    def is_reachable(self) -> bool:
        """Whether a new connection would be to the database that was opened."""
        found = self._folder.stat(STORE) if self._folder.is_in_place() else None
        return found is not None and (self._database is None or os.path.samestat(found, self._database))

    def check_connection(self, connection: sqlite3.Connection, uid: str) -> None:
        """Raises EngineError where a new connection is to another database than the one that was opened."""
        self.check_history(connection, uid)
        # After the first read: by now SQLite has opened all its files.
        if not self.is_reachable():
            raise replaced(self._folder)
        self._database = self._database or self._folder.stat(STORE)

    def check_history(self, connection: sqlite3.Connection, uid: str, last: Commit | None = None) -> None:
        """Raises EngineError where a transaction does not show the collection, or not the commits seen before.

        Args:
            uid: that it shows.
            last: the last commit that it shows, if that is known.
        """
        if uid != self._uid:
            raise replaced(self._folder)
        if self._known is None:
            return
        sequence, digest = self._known
        commit = last if last is not None and last.frame.sequence == sequence else commit_at(connection, sequence)
        if commit is not None:
            if commit.digest != digest:
                raise replaced(self._folder)
            return
        # The log of a later generation no longer has it; that of an earlier state does not have it yet.
        (first,) = connection.execute("SELECT min(sequence) FROM frames").fetchone()
        if first is None or first < sequence:
            raise replaced(self._folder)

    def check_folder(self) -> None:
        """Raises EngineError where the path that was opened leads to another folder or database by now."""
        self._folder.check_current()
        found = self._folder.stat(STORE)
        if found is None or (self._database is not None and not os.path.samestat(found, self._database)):
            raise replaced(self._folder)

    def check_vectors(self, connection: sqlite3.Connection, file: VectorFile, commit: Commit, dimension: int) -> None:
        """Raise where the vector file does not hold the commit's frame.

        Raises:
            EngineError: it is the file of another collection.
            CorruptionError: it is damaged.
        """
        if holds_frame(file, *commit, dimension):
            return
        if first_digest(file) not in (None, first_hash(connection)):
            raise replaced(self._folder)
        raise CorruptionError(
            f"{file.name}: the frame of commit {commit.frame.sequence} is not the one that was committed, or missing. "
            "Restore the folder from a copy",
            path=str(file.path),
            sequence=commit.frame.sequence,
        )


def commit_at(connection: sqlite3.Connection, sequence: int) -> Commit | None:
    """A commit of the current generation; None where it is not in the log."""
    query = "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence = ?"
    row = connection.execute(query, (sequence,)).fetchone()
    return None if row is None else Commit(Frame(*row[:-1]), row[-1])
