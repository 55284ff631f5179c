"""A write that fails in the middle stores nothing, and the open collection still works afterwards."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.crash.workloads import WORKLOADS, Doc, Step, expected, held, states

from theodolite import CorruptionError, Document, EngineError, LockedError, Retriever
from theodolite.engines.local.derived.snapshot import SnapshotManager
from theodolite.engines.local.maintenance.verify_primary import read_primary
from theodolite.engines.local.storage import crash_points
from theodolite.engines.local.storage.folder import WRITER, Folder
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import check_frame
from theodolite.indexes.flat.codes import BLOCK
from theodolite.metadata import decode_stored

EYE = np.eye(4, dtype=np.float32)

# Where a write can fail once a collection is open, in an order in which each is reached; what follows the commit is
# checked apart.
BEFORE = ["vectors.created", "frame.torn", "frame.written", "frame.synced", "transaction.filled", "orphan.copied"]
READING = ["column.written", "column.renamed"]  # tests/unit/engines/local/derived/test_columns.py
INDEXING = [
    "index.saved",
    "index.placed",
    "index.recorded",
]  # tests/unit/engines/local/maintenance/test_index_manager.py
BACKUP = ["backup.vectors", "backup.store"]  # see tests/crash/test_backup.py
COMPACTING = ["compaction.copied", "compaction.followed", "compaction.placed", "transaction.filled"]
AFTER = ["transaction.committed", "generation.committed", "cache.written", "cache.renamed"]
COMPACTED = ["compaction.committed", "compaction.reclaimed"]  # see tests/crash/test_kill.py


class Fault:
    """Raises `error` once, when a point is reached."""

    def __init__(self) -> None:
        self.point = ""
        self.error: BaseException = KeyboardInterrupt()

    def __call__(self, name: str) -> None:
        if name == self.point:
            self.point = ""
            raise self.error


@pytest.fixture
def fault() -> Iterator[Fault]:
    fault = Fault()
    crash_points.observer = fault
    yield fault
    crash_points.observer = None


ERRORS = {
    "interrupt": (KeyboardInterrupt(), KeyboardInterrupt),
    "disk": (OSError(errno.EIO, "Input/output error"), EngineError),
    "database": (sqlite3.OperationalError("disk I/O error"), EngineError),
}


def test_every_point_is_either_before_or_after() -> None:
    before = {*BEFORE, *READING, *INDEXING, *BACKUP, *COMPACTING, "create.begun", "create.committed"}
    assert before | {*AFTER, *COMPACTED} == set(crash_points.POINTS)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "seals"])
def test_a_write_that_fails(tmp_path: Path, fault: Fault, workload: str, kind: str) -> None:
    """At each point in turn, and again while the next write cleans up, with a reader on the same folder."""
    error, seen = ERRORS[kind]
    history = states(workload)
    with Retriever.open(tmp_path / "kb", create=True) as kb, Retriever.open(tmp_path / "kb", read_only=True) as reader:
        for number, step in enumerate(WORKLOADS[workload]):
            reached = BEFORE if number == 0 else BEFORE[1:]
            if step.kind == "clear":
                reached = BEFORE[:-1]  # what was never committed of a new generation is removed
            elif step.kind == "compact":
                reached = COMPACTING
            for point in reached:
                fault.point, fault.error = point, error
                with pytest.raises(seen):
                    step.run(kb)
                for one in (kb, reader):
                    assert held(one) == expected(history[number])
                    check_searches(one, history[number].values())
                kb.verify()
            step.run(kb)
            for one in (kb, reader):
                assert held(one) == expected(history[number + 1])
                check_searches(one, history[number + 1].values())
        kb.verify()
    with Retriever.open(tmp_path / "kb") as kb:
        assert held(kb) == expected(history[-1])
        kb.verify()


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "seals"])
def test_a_disk_that_is_full_once(tmp_path: Path, fault: Fault, workload: str) -> None:
    """Deletions are tried again with the reserve; other writes are refused, and leave nothing in the vector file."""
    history = states(workload)
    with Retriever.open(tmp_path / "kb") as kb:
        for number, step in enumerate(WORKLOADS[workload]):
            done = False
            for point in BEFORE:
                fault.point, fault.error = point, OSError(errno.ENOSPC, "No space left on device")
                try:
                    step.run(kb)
                    done = True
                except EngineError:
                    assert step.kind not in ("delete", "clear")
                assert held(kb) == expected(history[number + done])
                assert not kb.verify().warnings
                if done:
                    break
            fault.point = ""
            if not done:
                step.run(kb)
    assert not list((tmp_path / "kb").glob("orphan-*"))


@pytest.mark.parametrize("point", AFTER)
@pytest.mark.thorough
def test_a_failure_behind_the_commit(tmp_path: Path, fault: Fault, point: str) -> None:
    """The call may fail, but the commit is stored."""
    many = tuple(Doc(f"doc-{number:05d}", 0) for number in range(BLOCK + 1))
    steps = [Step("add", many), Step("clear"), Step("add", many)]
    with Retriever.open(tmp_path / "kb") as kb:
        state: dict[str, Doc] = {}
        for step in steps:
            fault.point = point
            try:
                step.run(kb)
            except KeyboardInterrupt:
                assert not fault.point
            state = step.after(state)
            assert kb.count() == len(state)
            check_searches(kb, list(state.values())[:: BLOCK // 3])
            kb.verify()
    with Retriever.open(tmp_path / "kb") as kb:
        check_searches(kb, list(state.values())[:: BLOCK // 3])
        kb.verify()


def check_searches(kb: Retriever, docs: Any) -> None:
    for doc in docs:
        (hit,) = kb.search(vector=doc.vector(), k=1)
        assert hit.document == doc.document()
        (hit,) = kb.search(vector=doc.vector(), k=1, where={"version": doc.version})
        assert hit.document == doc.document()


def test_an_interrupted_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a filter reads its field must not mix up the values for the next search."""
    real, calls = decode_stored, 0

    def interrupted(text: str) -> Any:
        nonlocal calls
        calls += 1
        if calls in (1, 2):
            raise KeyboardInterrupt
        return real(text)

    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([Document("t", {"n": n}, f"d{n}") for n in range(10)], vectors=np.ones((10, 4)))
        monkeypatch.setattr("theodolite.engines.local.derived.columns.column_cache.decode_stored", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                kb.count({"n": 3})
        for n in range(10):
            assert [hit.document.id for hit in kb.search(vector=EYE[0], where={"n": n})] == [f"d{n}"]


def test_a_column_read_by_a_later_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks documents deleted since. An earlier search still running must not treat their values as missing."""
    real, deleted = SnapshotManager.mask, False

    def mask(view: SnapshotManager, *arguments: Any) -> Any:
        nonlocal deleted
        if not deleted:
            deleted = True
            kb.delete("a")
            assert kb.count({"n": 2}) == 1
        return real(view, *arguments)

    with Retriever.open(tmp_path / "kb") as kb:
        documents = [Document("t", {"n": 1}, "a"), Document("t", {"n": 2}, "b"), Document("t", {}, "c")]
        kb.add(documents, vectors=EYE[:3])
        monkeypatch.setattr(SnapshotManager, "mask", mask)
        assert [hit.document.id for hit in kb.search(vector=EYE[0], where={"n": None})] == ["c"]
        assert deleted


def test_a_vector_file_that_goes_while_a_reader_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has cleared the collection since the transaction began, so the reader starts over."""
    with Retriever.open(tmp_path / "kb", create=True) as kb, Retriever.open(tmp_path / "kb", read_only=True) as reader:
        kb.add([Document("old", id="a")], vectors=EYE[:1])
        real = Store.vectors
        cleared = False

        def opened(store: Store, generation: int) -> Any:
            nonlocal cleared
            if not cleared and store.mode == "ro":
                cleared = True
                kb.clear()
                kb.add([Document("new", id="b")], vectors=EYE[:1])
                assert not (tmp_path / "kb" / "vectors-1.f32").exists()
            return real(store, generation)

        monkeypatch.setattr(Store, "vectors", opened)
        assert [hit.document.id for hit in reader.search(vector=EYE[0])] == ["b"]
        assert cleared


def test_verify_while_another_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(tmp_path / "kb", create=True) as kb, Retriever.open(tmp_path / "kb", read_only=True) as reader:
        kb.add([Document("old", id="a")], vectors=EYE[:1])
        assert reader.count({}) == 1
        reader.search(vector=EYE[0])
        real, cleared = read_primary, False

        def read(*arguments: Any) -> Any:
            nonlocal cleared
            if not cleared:  # within the transaction that verifies
                cleared = True
                kb.clear()
                kb.add([Document("new", id="b")], vectors=EYE[:1])
            return real(*arguments)

        monkeypatch.setattr("theodolite.engines.local.maintenance.verify.read_primary", read)
        reader.verify()
        assert cleared
        assert reader.get(["a", "b"]) == [Document("new", {}, "b")]


def test_two_processes_clear_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both remove the old generation's files."""
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(["a"], vectors=EYE[:1])
        real = Folder.stat

        def gone(folder: Folder, name: str) -> Any:
            there = real(folder, name)
            if there and name == "vectors-1.f32" and kb.count() == 0:
                (tmp_path / "kb" / name).unlink()
            return there

        monkeypatch.setattr(Folder, "stat", gone)
        kb.clear()
        assert not (tmp_path / "kb" / "vectors-1.f32").exists()


def test_an_opening_during_a_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(["a"], vectors=EYE[:1])
        real, cleared = check_frame, False

        def checked(*arguments: Any) -> None:
            nonlocal cleared
            if not cleared:
                cleared = True
                kb.clear()
            real(*arguments)

        monkeypatch.setattr("theodolite.engines.local.storage.opening.check_frame", checked)
        with Retriever.open(tmp_path / "kb", read_only=True) as reader:
            assert cleared
            assert reader.count() == 0


def test_a_vector_file_deleted_under_an_open_collection(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(["a", "b"], vectors=EYE[:2])
        kb.search(vector=EYE[0])
        (tmp_path / "kb" / "vectors-1.f32").unlink()
        with pytest.raises(CorruptionError):
            kb.verify()
        with pytest.raises(CorruptionError, match="vectors are missing"):
            kb.add(["c"], vectors=EYE[:1])
        assert kb.count() == 2


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_READ])
def test_closing_when_the_checkpoint_fails(tmp_path: Path, code: int) -> None:
    """Close releases everything, and nothing is lost. It raises only if the log cannot be read."""
    kb = Retriever.open(tmp_path / "kb")
    kb.add(["a"], vectors=EYE[:1])
    store = store_of(kb)
    (connection,) = store._idle
    store._idle = [Failing(connection, code)]  # type: ignore[list-item]  # a stand-in
    if code == sqlite3.SQLITE_FULL:
        kb.close()
    else:
        with pytest.raises(EngineError, match="cannot be copied"):
            kb.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    kb.close()
    with Retriever.open(tmp_path / "kb") as again:
        assert again.count() == 1


class Failing:
    """A connection whose statements fail."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self.close = connection.close
        self._code = code

    def execute(self, statement: str) -> None:
        error = sqlite3.OperationalError(f"{statement} cannot be copied")
        error.sqlite_errorcode = self._code
        raise error


def test_closing_while_another_thread_writes(tmp_path: Path, fault: Fault) -> None:
    """The write completes, the last user closes its connection, and the log is folded into the database."""
    kb = Retriever.open(tmp_path / "kb")
    kb.add(["a"], vectors=EYE[:1])
    inside, closed = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == "transaction.filled":
            inside.set()
            assert closed.wait(60)

    crash_points.observer = wait
    thread = threading.Thread(target=lambda: kb.add(["b"], vectors=EYE[:1]))
    thread.start()
    assert inside.wait(60)
    kb.close()
    with pytest.raises(EngineError, match="closed"):
        kb.count()
    closed.set()
    thread.join(60)
    assert not (tmp_path / "kb" / "store.sqlite-wal").exists()
    with Retriever.open(tmp_path / "kb") as again:
        assert again.count() == 2


def test_a_thread_that_waits_too_long(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", lock_timeout=0.05) as kb:
        kb.add(["a"], vectors=EYE[:1])
        errors: list[LockedError] = []

        def write() -> None:
            try:
                kb.delete("x")
            except LockedError as error:
                errors.append(error)

        with store_of(kb).write():
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(60)
            assert kb.count() == 1
        assert "this process was the last to take it" in str(errors[0])
        (tmp_path / "kb" / WRITER).write_text("nobody")
        kb.add(["b"], vectors=EYE[:1])
        assert kb.count() == 2


def store_of(kb: Retriever) -> Store:
    store = kb._engine._store  # type: ignore[attr-defined]  # the local engine's
    assert isinstance(store, Store)
    return store
