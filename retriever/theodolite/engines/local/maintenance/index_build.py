"""Building an index aside: in steps, with checkpoints, so that it can be interrupted and gone on with."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from theodolite.engines.local.derived.index_record import read_index, read_rows, sha256_of, write_index
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.paths import PARTIAL_INDEX
from theodolite.engines.local.storage.sqlite_errors import translate_errors
from theodolite.errors import ConfigError, CorruptionError, EngineError
from theodolite.indexes.flat.index import VectorSource
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.types import Rows, Space, Vectors

_CHECKPOINT = 60.0  # seconds of building that may be lost
_WORTH = 5.0  # seconds of building that are worth keeping when it is interrupted
_STATE = f"{PARTIAL_INDEX}/state.json"
_PLANNED = f"{PARTIAL_INDEX}/planned.npy"

_LONGEST = 1 << 16  # bytes of the state; a longer one is not ours

Progress = Callable[[int], object]


class Gathered:
    """The vectors of some rows, read as they are asked for: what `Candidates.build` needs of an array."""

    def __init__(self, source: VectorSource, rows: Rows, dimension: int) -> None:
        self._source = source
        self._rows = rows
        self.shape = len(rows), dimension
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Vectors:
        return Vectors(np.ascontiguousarray(self._source.take(self._rows[key])))


class Partial:
    """An unfinished index in its folder."""

    def __init__(self, folder: Folder, owner: str, spec: str, total: int, trust: IndexTrust) -> None:
        """
        Args:
            owner: names the collection and the generation.
            total: how many rows there are, dead ones included.
        """
        self._folder = folder
        self._owner = owner
        self._spec = spec
        self._total = total
        self._trust = trust

    def resume(self, space: Space) -> tuple[Candidates, Rows]:
        """What is there of the index and the rows it was being built from; an empty one to begin with."""
        try:
            with self._folder.open(_STATE) as file:
                state: dict[str, Any] = json.loads(file.read(_LONGEST))
            ours = state["owner"] == self._owner and state["spec"] == self._spec
            if ours and sha256_of(self._folder, _PLANNED) == state["planned"]:
                planned = read_rows(self._folder, _PLANNED)
                candidates, rows = read_index(
                    self._folder, PARTIAL_INDEX, self._spec, state["hashes"], space, self._trust
                )
                if len(rows) <= len(planned) and planned[-1] < self._total and (planned[: len(rows)] == rows).all():
                    return candidates, planned
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CorruptionError, ConfigError):
            pass  # nothing to go on with
        return make_index(self._spec), np.empty(0, np.int64)

    def save(self, candidates: Candidates, rows: Rows) -> dict[str, str]:
        """Keep what there is, durably; returns the hashes. Killed half-way, there is nothing to go on with."""
        with translate_errors(self._folder, sqlite=False):  # it can take seconds, for which a fork would wait
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

    def place(self, name: str) -> None:
        """Give a finished index its own folder."""
        self._folder.remove([_STATE, _PLANNED])
        self._folder.rename(PARTIAL_INDEX, name)

    def drop(self) -> None:
        self._folder.remove([PARTIAL_INDEX])


def build(
    partial: Partial, source: VectorSource, live: Rows, space: Space, progress: Progress
) -> tuple[Candidates, Rows]:
    """Index the living rows, going on with what is there. Returns the index and its rows, rising.

    Rows that have died since it was begun stay in it. Whatever interrupts it, an error of `progress` included, what
    was built is kept.
    """
    candidates, rows = partial.resume(space)
    rows = np.concatenate([rows, live[live > rows[-1]]]) if len(rows) else live
    progress(len(candidates))
    saved = started = time.monotonic()

    def done(count: int) -> None:
        nonlocal saved
        progress(count)
        if time.monotonic() - saved > _CHECKPOINT:
            partial.save(candidates, rows)
            saved = time.monotonic()

    try:
        vectors: Any = Gathered(source, rows, space.dimension or 0)
        candidates.build(vectors, space, done)
    except BaseException:
        if time.monotonic() - max(started, saved) > _WORTH and len(candidates):
            with contextlib.suppress(EngineError):
                partial.save(candidates, rows)
        raise
    return candidates, rows
