"""A dictionary with maintenance and indexing, for the contracts of these capabilities."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, CorruptionError
from theodolite.maintenance_reports import Compaction, Problem, Verification
from theodolite.protocols import Engine
from theodolite.testing import DictEngine, EngineContract
from theodolite.testing.dict_engine import Contents
from theodolite.types import Space, Vectors

Progress = Callable[[int], object] | None
COPY = "copy.pickle"


class Maintained(DictEngine):
    """Treats finite vectors as sound, and searches exactly with every index."""

    def verify(self, progress: Progress = None) -> Verification:
        found = self._checked(progress)
        if not found.sound:
            raise CorruptionError(found.problems[0].message, verification=found)
        return found

    def repair(self, progress: Progress = None) -> Verification:
        return self._checked(progress)

    def backup(self, target: Path, progress: Progress = None) -> None:
        stored = self._check_open()
        target.mkdir(exist_ok=True)
        if any(target.iterdir()):
            raise ConfigError(f"{target} is not empty")
        (target / COPY).write_bytes(pickle.dumps((self.space, stored)))

    def compact(self, progress: Progress = None) -> Compaction:
        stored = self._check_open()
        if progress is not None:
            progress(len(stored))
        return Compaction(0, 0, 0)

    def reindex(
        self, index: str, *, target_recall: float = 0.99, queries: Vectors | None = None, progress: Progress = None
    ) -> None:
        stored = self._check_open()
        if index not in ("flat", "toy"):
            raise ConfigError(f"there is no index {index!r}")
        if progress is not None:
            progress(len(stored))

    def warm(self, fields: Sequence[str] = ()) -> None:
        self._check_open()

    def _checked(self, progress: Progress) -> Verification:
        stored = self._check_open()
        problems = [
            Problem("vectors", f"the vector of {name} is damaged")
            for (name, _), kept in stored.items()
            if not np.isfinite(kept.vector).all()
        ]
        if progress is not None:
            progress(len(stored))
        return Verification(tuple(problems))


class Contract(EngineContract):
    index = "toy"

    def __init__(self, make: Callable[[Contents], Any] = Maintained) -> None:
        self.make = make

    def engine(self, space: Space) -> Any:
        return self.make(Contents(space))

    def backed_up(self, folder: Path) -> Engine:
        space, stored = pickle.loads((folder / COPY).read_bytes())  # noqa: S301 - our own
        return DictEngine(Contents(space, None, stored))

    def damaged(self, engine: Engine) -> Engine:
        assert isinstance(engine, DictEngine)
        contents = engine._contents
        engine.close()
        key, kept = next(iter(contents.stored.items()))
        contents.stored = {**contents.stored, key: kept._replace(vector=kept.vector * np.float32("nan"))}
        again: Engine = self.make(contents)
        return again
