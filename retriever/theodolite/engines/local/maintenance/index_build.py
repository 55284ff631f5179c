"""Build an approximate index in a folder of its own, with checkpoints from which an interrupted build resumes.

A lock allows one build at a time, of an index or of a compacted generation.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from theodolite.engines.local.derived.index_record import read_index, read_rows, sha256_of, write_index
from theodolite.engines.local.storage.database import connect
from theodolite.engines.local.storage.folder import BUILD_LOCK, PARTIAL_INDEX, Folder
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.io_errors import is_busy, translate_errors
from theodolite.errors import ConfigError, CorruptionError, EngineError, LockedError
from theodolite.forking import COLLECTIONS, register_at_fork
from theodolite.indexes.flat.sources import VectorSource
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.types import Rows, Space, Vectors

_CHECKPOINT = 60.0  # seconds between checkpoints
_WORTH_SAVING = 5.0  # seconds: after an interruption, less work is not saved
_STATE = f"{PARTIAL_INDEX}/state.json"
_PLANNED = f"{PARTIAL_INDEX}/planned.npy"

_MAX_STATE = 1 << 16  # bytes; ours is shorter

Progress = Callable[[int], object]


@contextmanager
def only_builder(folder: Folder, timeout: float) -> Iterator[None]:
    """Hold the build lock of a collection. It is a lock of SQLite, so it ends with its process.

    Raises:
        LockedError: another process or thread holds it for more than `timeout` seconds.
        EngineError: the lock cannot be taken.
    """
    lock = _BuildLock(folder)
    deadline = time.monotonic() + timeout
    try:
        while not lock.take():
            if time.monotonic() >= deadline:
                raise LockedError(
                    f"{folder}: another process or thread is building an index; wait for it", folder=str(folder)
                )
            time.sleep(0.02)
        yield
    finally:
        lock.close()


class _BuildLock:
    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        with translate_errors(folder):
            self._connection = connect(folder, "rwc", 0, BUILD_LOCK)
        register_at_fork(self)

    def take(self) -> bool:
        """Take the lock. Returns False if it is held. Raises EngineError if it cannot be taken, e.g. on a full disk."""
        with translate_errors(self._folder):
            try:
                self._connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    return False
                raise
            return True

    def close(self) -> None:
        with COLLECTIONS:
            self._connection.close()

    def forked(self, held: bool) -> None:
        """Drop the connection in a forked child: the lock belongs to the parent."""
        COLLECTIONS.drop([self._connection])


class VectorSelection:
    """The vectors of some rows, read on demand. It has the parts of an array that `Candidates.build` uses."""

    def __init__(self, source: VectorSource, rows: Rows, dimension: int) -> None:
        self._source = source
        self._rows = rows
        self.shape = len(rows), dimension
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Vectors:
        return Vectors(np.ascontiguousarray(self._source.take(self._rows[key])))


class PartialIndex:
    """The folder of an unfinished index."""

    def __init__(self, folder: Folder, owner: str, spec: str, total: int, trust: IndexTrust) -> None:
        """
        Args:
            owner: identifies the collection and the generation.
            total: number of rows, dead ones included.
        """
        self._folder = folder
        self._owner = owner
        self._spec = spec
        self._total = total
        self._trust = trust

    def resume(self, space: Space) -> tuple[Candidates, Rows]:
        """Return the saved index and the rows that it is built from. Both are empty if nothing usable is saved."""
        try:
            with self._folder.open(_STATE) as file:
                state: dict[str, Any] = json.loads(file.read(_MAX_STATE))
            ours = state["owner"] == self._owner and state["spec"] == self._spec
            if ours and sha256_of(self._folder, _PLANNED) == state["planned"]:
                planned = read_rows(self._folder, _PLANNED)
                candidates, rows = read_index(
                    self._folder, PARTIAL_INDEX, self._spec, state["hashes"], space, self._trust
                )
                if len(rows) <= len(planned) and planned[-1] < self._total and (planned[: len(rows)] == rows).all():
                    return candidates, planned
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CorruptionError, ConfigError):
            pass  # nothing usable
        return make_index(self._spec), np.empty(0, np.int64)

    def save(self, candidates: Candidates, rows: Rows) -> dict[str, str]:
        """Save the index, durably. Returns the hashes. After a crash in between, nothing usable is saved."""
        with translate_errors(self._folder, sqlite=False):  # it can take seconds, and a fork would wait for it
            self.drop()
            hashes = write_index(self._folder, PARTIAL_INDEX, candidates, rows[: len(candidates)], self._trust)
            with self._folder.create(_PLANNED) as file:
                np.save(file, rows, allow_pickle=False)
            state = {
                "owner": self._owner,
                "spec": self._spec,
                "hashes": hashes,
                "planned": sha256_of(self._folder, _PLANNED),
            }
            with self._folder.replacing(_STATE) as file:
                file.write(json.dumps(state).encode())
        return hashes

    def move_to(self, name: str) -> None:
        """Move a finished index to its final folder."""
        self._folder.remove([_STATE, _PLANNED])
        self._folder.rename(PARTIAL_INDEX, name)

    def drop(self) -> None:
        """Delete the folder."""
        self._folder.remove([PARTIAL_INDEX])


def build(
    partial: PartialIndex, source: VectorSource, live: Rows, space: Space, progress: Progress
) -> tuple[Candidates, Rows]:
    """Index the living rows, resuming a saved build. Returns the index and its rows, in ascending order.

    Rows that have died since the build began stay in the index. An interrupted build is saved, also if `progress`
    raised the interrupting exception.
    """
    candidates, rows = partial.resume(space)
    rows = np.concatenate([rows, live[live > rows[-1]]]) if len(rows) else live
    progress(len(candidates))
    saved = started = time.monotonic()

    def on_progress(count: int) -> None:
        nonlocal saved
        progress(count)
        if time.monotonic() - saved > _CHECKPOINT and len(candidates):
            partial.save(candidates, rows)
            saved = time.monotonic()

    try:
        vectors: Any = VectorSelection(source, rows, space.dimension or 0)
        candidates.build(vectors, space, on_progress)
    except BaseException:
        if time.monotonic() - max(started, saved) > _WORTH_SAVING and len(candidates):
            with contextlib.suppress(EngineError):
                partial.save(candidates, rows)
        raise
    return candidates, rows
