"""Checks that the open database, the vector file and the folder belong together.

A path may lead to another collection by now: the folder was replaced, moved away, or restored from a backup, and SQLite
opens files by path. So the contents are checked. A collection has a uid, each commit has a hash that covers all commits
before it, and each frame of the vector file carries the hash of its commit.
"""

import os
import sqlite3
from typing import NamedTuple

from theodolite.engines.local.storage.change_log import first_hash
from theodolite.engines.local.storage.folder import STORE, Folder, replaced_error
from theodolite.engines.local.storage.vector_file import Frame, VectorFile, first_frame_hash, holds_frame
from theodolite.errors import CorruptionError


class Commit(NamedTuple):
    """A commit in the change log."""

    frame: Frame
    hash: bytes


class Identity:
    """The identity of an open collection: its folder, its database file, its uid and its history so far."""

    def __init__(self, folder: Folder, uid: str) -> None:
        self._folder = folder
        self.uid = uid
        self._database: os.stat_result | None = None
        self._newest: tuple[int, bytes] | None = None

    def remember(self, sequence: int, commit_hash: bytes) -> None:
        """Remember a commit that this process has seen. Every connection must show it from now on."""
        if self._newest is None or self._newest[0] <= sequence:
            self._newest = sequence, commit_hash

    def is_reachable(self) -> bool:
        """Return whether a new connection would open the same database."""
        status = self._folder.stat(STORE) if self._folder.is_in_place() else None
        return status is not None and (self._database is None or os.path.samestat(status, self._database))

    def check_connection(self, connection: sqlite3.Connection, uid: str) -> None:
        """Raise EngineError if a new connection has opened another database."""
        self.check_history(connection, uid)
        # After the first read: SQLite has opened all its files by then.
        if not self.is_reachable():
            raise replaced_error(self._folder)
        self._database = self._database or self._folder.stat(STORE)

    def check_history(self, connection: sqlite3.Connection, uid: str, last: Commit | None = None) -> None:
        """Raise EngineError if a transaction shows another collection, or lacks a commit seen before.

        Args:
            uid: the uid that it shows.
            last: the last commit that it shows, if known.
        """
        if uid != self.uid:
            raise replaced_error(self._folder)
        if self._newest is None:
            return
        sequence, expected = self._newest
        commit = last if last is not None and last.frame.sequence == sequence else commit_at(connection, sequence)
        if commit is not None:
            if commit.hash != expected:
                raise replaced_error(self._folder)
            return
        # The log of a later generation no longer has the commit; the log of an earlier state does not have it yet.
        (first,) = connection.execute("SELECT min(sequence) FROM frames").fetchone()
        if first is None or first < sequence:
            raise replaced_error(self._folder)

    def check_folder(self) -> None:
        """Raise EngineError if the opened path now leads to another folder or database."""
        self._folder.check_current()
        status = self._folder.stat(STORE)
        if status is None or (self._database is not None and not os.path.samestat(status, self._database)):
            raise replaced_error(self._folder)

    def check_vectors(self, connection: sqlite3.Connection, file: VectorFile, commit: Commit, dimension: int) -> None:
        """Raise if the vector file does not hold the commit's frame.

        Raises:
            EngineError: it is the file of another collection.
            CorruptionError: it is damaged.
        """
        if holds_frame(file, *commit, dimension):
            return
        if first_frame_hash(file) not in (None, first_hash(connection)):
            raise replaced_error(self._folder)
        raise CorruptionError(
            f"{file.name}: the frame of commit {commit.frame.sequence} is not the one that was committed, or missing. "
            "Restore the folder from a copy",
            path=str(file.path),
            sequence=commit.frame.sequence,
        )


def commit_at(connection: sqlite3.Connection, sequence: int) -> Commit | None:
    """Return a commit of the current generation, or None if the log lacks it."""
    query = "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence = ?"
    row = connection.execute(query, (sequence,)).fetchone()
    return None if row is None else Commit(Frame(*row[:-1]), row[-1])
