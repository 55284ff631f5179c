"""Making store.sqlite, and setting it up."""

import sqlite3
import time

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State, connect
from theodolite.engines.local.storage.digest import seal
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.schema import APPLICATION_ID, TABLES
from theodolite.engines.local.storage.sqlite_errors import is_busy, translated
from theodolite.errors import LockedError
from theodolite.manifest import FORMAT, Manifest


def create_store(folder: Folder, manifest: Manifest, timeout: float) -> None:
    """Make store.sqlite, unless another process is quicker. Killed half-way, the next call makes it again."""
    with translated(folder):
        connection = connect(folder, "rwc", timeout)
        try:
            connection.execute("BEGIN")
            # It cannot be set once there are tables, and writes to an empty file: so it takes the write lock, too.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            crash_point("create.begun")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # else `opening` checks it
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
                for statement in TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO manifest VALUES (?, ?)", (manifest.to_json(), seal(manifest.to_json())))
                state = State(1, 0, 0, 0, 0, 0)
                connection.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", (*state, seal(*state)))
            connection.execute("COMMIT")
            folder.sync()
            crash_point("create.committed")
        finally:
            connection.close()


def use_wal(folder: Folder, timeout: float) -> None:
    """Make the journal a write-ahead log, which readers need to go on during writes."""
    deadline = time.monotonic() + timeout
    with translated(folder):
        connection = connect(folder, "rw", timeout)
        try:
            while True:
                try:
                    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                        return
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                if time.monotonic() > deadline:
                    raise LockedError(f"{folder}: the database is in use and cannot be set up; try again")
                time.sleep(0.005)
        finally:
            connection.close()
