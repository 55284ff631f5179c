"""Retention of the change log: how many commits it keeps, and for how long."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.engines.local.maintenance import log_retention
from theodolite.engines.local.maintenance.log_retention import NOTE
from theodolite.engines.local.storage.schema import digest

DAY = 86400.0
START = 1.7e9


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr("time.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def add(kb: Retriever, version: int) -> None:
    """Replace a document: one commit."""
    kb.add([Document("text", {"version": version}, "one")], vectors=np.eye(4, dtype=np.float32)[:1])


def newest(folder: Path) -> int:
    return max(logged(folder))


def logged(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        return [sequence for (sequence,) in connection.execute("SELECT sequence FROM frames ORDER BY sequence")]


def base_of(folder: Path) -> int:
    """The commit of the last compaction that removed rows, or 0."""
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'base'").fetchone():
            return 0
        (sequence,) = connection.execute("SELECT sequence FROM base").fetchone()
    return int(sequence)


def write_times(folder: Path, value: str | None) -> None:
    with closing(sqlite3.connect(folder / "store.sqlite", isolation_level=None)) as connection:
        connection.execute("DELETE FROM notes WHERE name = ?", (NOTE,))
        if value is not None:
            connection.execute("INSERT INTO notes VALUES (?, ?, ?)", (NOTE, value, digest(NOTE, value)))


def read_note(folder: Path) -> list[tuple[int, float]]:
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        (value,) = connection.execute("SELECT value FROM notes WHERE name = ?", (NOTE,)).fetchone()
    return [(sequence, seconds) for sequence, seconds in json.loads(value)]


@pytest.mark.parametrize("seed", range(6))
def test_both_limits_hold_for_random_histories(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    kept = 25
    monkeypatch.setattr(log_retention, "KEPT_COMMITS", kept)
    draw = random.Random(seed)
    committed: dict[int, float] = {}
    compacted: list[tuple[int, float]] = []
    with (
        Retriever.open(tmp_path, compact_at=None, create=True) as kb,
        Retriever.open(tmp_path, read_only=True) as reader,
    ):
        for number in range(40):
            clock.now += DAY * draw.choice([0.01, 0.3, 1, 3, 9, 40])
            for _ in range(draw.choice([1, 1, 2, 5, 30])):
                add(kb, number)
                committed[newest(tmp_path)] = clock.now
            if draw.random() < 0.6:
                kb.compact()
                last = newest(tmp_path)
                committed.setdefault(last, clock.now)  # the commit of the compaction, if it removed rows
                compacted.append((last, clock.now))
                present, base = logged(tmp_path), base_of(tmp_path)
                assert present == list(range(present[0], last + 1))
                must_keep = {
                    sequence
                    for sequence, seconds in committed.items()
                    if sequence >= base or (sequence > last - kept and clock.now - seconds < 30 * DAY)
                }
                old = max((upto for upto, seconds in compacted if clock.now - seconds >= 31 * DAY), default=0)
                may_keep = {s for s in committed if s >= base or (s > last - kept and s > old)}
                assert must_keep <= set(present) <= may_keep
                kb.verify()
            assert reader.get("one") == kb.get("one")
    with Retriever.open(tmp_path) as kb:
        kb.verify()


def test_commits_of_the_last_30_days_stay_and_older_ones_leave(tmp_path: Path, clock: Clock) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        for number in range(10):
            add(kb, number)
        kb.compact()
        clock.now += 29 * DAY
        add(kb, 11)
        early = newest(tmp_path)
        kb.compact()
        assert logged(tmp_path)[0] == 1
        clock.now += 2 * DAY
        add(kb, 12)
        kb.compact()
        assert logged(tmp_path)[0] == early
        kb.verify()


def test_commits_without_a_time_are_kept_by_their_number(tmp_path: Path, clock: Clock) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        for number in range(10):
            add(kb, number)
        kb.compact()
    write_times(tmp_path, None)  # as an earlier version leaves it
    clock.now += 400 * DAY
    with Retriever.open(tmp_path, compact_at=None) as kb:
        add(kb, 11)
        kb.compact()
        assert logged(tmp_path)[0] == 1
        clock.now += 30 * DAY
        add(kb, 12)
        kb.compact()
        assert logged(tmp_path)[0] > 10
        kb.verify()


def test_few_times_are_recorded(tmp_path: Path, clock: Clock) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        for number in range(90 * 8):
            clock.now += DAY / 8
            if not number % 40:
                add(kb, number)
            kb.compact()
    assert 31 <= len(read_note(tmp_path)) <= 64


def test_a_clock_that_was_set_back_delays_nothing(tmp_path: Path, clock: Clock) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        clock.now += 5000 * DAY
        add(kb, 0)
        kb.compact()
        clock.now = START
        add(kb, 1)
        last = newest(tmp_path)
        kb.compact()
        assert [seconds for _, seconds in read_note(tmp_path)] == [START]
        clock.now += 31 * DAY
        add(kb, 2)
        kb.compact()
        assert logged(tmp_path)[0] > last


@pytest.mark.parametrize(
    "value", ["", "{}", "7", "[[1]]", '[["a", null]]', "[[1, NaN]]", "[[9e99, 1]]", "[[1e400, 0]]"]
)
def test_a_note_of_another_form_is_replaced(tmp_path: Path, clock: Clock, value: str) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        for number in range(3):
            add(kb, number)
        kb.compact()
        write_times(tmp_path, value)
        add(kb, 4)
        kb.compact()
        assert read_note(tmp_path)[-1][1] == START
        kb.verify()
