"""The contract of maintenance: a dictionary that keeps it passes, and each of its tests can fail."""

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.maintained import COPY, Contract, Maintained, Progress

from theodolite.errors import CorruptionError
from theodolite.maintenance_reports import Compaction, Problem, Verification
from theodolite.testing.dict_engine import Contents
from theodolite.testing.engine_maintenance import MaintenanceContract


class FalseAlarm(Maintained):
    """Takes updated documents for damaged ones."""

    def verify(self, progress: Progress = None) -> Verification:
        if any("half" in kept.metadata for kept in self._contents.stored.values()):
            raise CorruptionError("an update looks like damage")
        return super().verify(progress)


class Silent(Maintained):
    """Reports no progress."""

    def verify(self, progress: Progress = None) -> Verification:
        return super().verify()


class Blind(Maintained):
    """Never looks at vectors."""

    def _checked(self, progress: Progress) -> Verification:
        found = super()._checked(progress)
        return Verification(checked=found.checked)


class Reports(Maintained):
    """Returns damage instead of raising, so callers overlook it."""

    def verify(self, progress: Progress = None) -> Verification:
        return self._checked(progress)


class Optimist(Maintained):
    """Calls everything sound once it was repaired."""

    def repair(self, progress: Progress = None) -> Verification:
        return Verification()


class MakesUp(Maintained):
    """Puts zeros in the place of a damaged vector, and then finds it sound."""

    def repair(self, progress: Progress = None) -> Verification:
        found = super().repair(progress)
        self._contents.stored = {
            key: kept._replace(vector=np.nan_to_num(kept.vector)) for key, kept in self._contents.stored.items()
        }
        return found


class RepairsTooMuch(Maintained):
    """Drops the last document."""

    def repair(self, progress: Progress = None) -> Verification:
        self._contents.stored = dict(list(self._contents.stored.items())[:-1])
        return super().repair(progress)


class Doubtful(Maintained):
    def repair(self, progress: Progress = None) -> Verification:
        return changed(super().repair(progress), problems=(Problem("codes", "perhaps"),))


class Rounds(Maintained):
    """Compacts vectors to half precision."""

    def compact(self, progress: Progress = None) -> Compaction:
        self._contents.stored = {
            key: kept._replace(vector=kept.vector.astype(np.float16).astype(np.float32))
            for key, kept in self._contents.stored.items()
        }
        return super().compact(progress)


class NeverDone(Maintained):
    """The same rows are dead again and again."""

    def compact(self, progress: Progress = None) -> Compaction:
        return changed(super().compact(progress), rows=20)


class InPlace(Maintained):
    """An interruption leaves half of the documents."""

    def compact(self, progress: Progress = None) -> Compaction:
        whole = self._contents.stored
        self._contents.stored = dict(list(whole.items())[::2])
        found = super().compact(progress)
        self._contents.stored = whole
        return found


class HalfCopy(Maintained):
    """Omits updated documents."""

    def backup(self, target: Path, progress: Progress = None) -> None:
        whole = self._contents.stored
        self._contents.stored = {key: kept for key, kept in whole.items() if "half" not in kept.metadata}
        super().backup(target, progress)
        self._contents.stored = whole


class Moves(Maintained):
    """The collection is in the copy afterwards, and nowhere else."""

    def backup(self, target: Path, progress: Progress = None) -> None:
        super().backup(target, progress)
        self._contents.stored = {}


class Overwrites(Maintained):
    def backup(self, target: Path, progress: Progress = None) -> None:
        for path in target.iterdir() if target.exists() else ():
            path.unlink()
        super().backup(target, progress)


class WritesFirst(Maintained):
    """Refuses a folder that is not empty when it is too late."""

    def backup(self, target: Path, progress: Progress = None) -> None:
        if target.exists():
            (target / COPY).write_bytes(b"")
        super().backup(target, progress)


COMPACT, COPIES = "test_compact_changes_no_answer", "test_a_backup_is_of_one_commit"
BROKEN: list[tuple[Callable[[Contents], Any], str]] = [
    (FalseAlarm, "test_verify_finds_nothing_in_sound_data"),
    (Silent, "test_verify_finds_nothing_in_sound_data"),
    (Blind, "test_verify_finds_damage"),
    (Reports, "test_verify_finds_damage"),
    (Optimist, "test_verify_finds_damage"),
    (MakesUp, "test_verify_finds_damage"),
    (RepairsTooMuch, "test_repair_changes_no_document"),
    (Doubtful, "test_repair_changes_no_document"),
    (Rounds, COMPACT),
    (NeverDone, COMPACT),
    (InPlace, "test_compact_may_be_interrupted"),
    (HalfCopy, COPIES),
    (Moves, COPIES),
    (Overwrites, "test_a_backup_overwrites_nothing"),
    (WritesFirst, "test_a_backup_overwrites_nothing"),
]
TESTS = sorted(name for name in vars(MaintenanceContract) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
def test_one_that_keeps_it_passes(test: str) -> None:
    getattr(Contract(), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_keep_it_fails(broken: Callable[[Contents], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)
