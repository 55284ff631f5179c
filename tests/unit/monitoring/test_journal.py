"""monitor.sqlite: shared by processes, bounded, and never blocking a search."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.unit.watching import DAY, HOUR, START, Clock, Service, answer, request, watched

from theodolite import EngineError, Monitor, Retriever
from theodolite.engines.local import LocalEngine
from theodolite.monitoring.journal import contents
from theodolite.monitoring.report import report

WORKER = """
import sys
from pathlib import Path
from tests.unit.watching import answer, request
from theodolite import Monitor
from theodolite.engines.local import LocalEngine
path, number, searches = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
monitor = Monitor(interval=None, clock=lambda: 1_750_000_000.0, path=path)
monitor.attach(LocalEngine.open())
print("ready", flush=True)
sys.stdin.readline()
for asked in range(searches):
    monitor.searched(request(), [answer(0.5 + number / 100)], 0.01)
    if asked % 10 == 9:
        monitor.flush()
        print("flushed", flush=True)
monitor.close()
print("done", flush=True)
"""

ROOT = Path(__file__).resolve().parents[3]


def worker(path: Path, number: int, searches: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(WORKER), str(path), str(number), str(searches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def reported(path: Path) -> dict[str, object]:
    found = contents(path)
    assert found is not None
    return report(found, path)


def search(monitor: Monitor, count: int = 1, similarity: float = 0.5) -> None:
    for _ in range(count):
        monitor.searched(request(), [answer(similarity)], 0.01)


@pytest.mark.thorough
def test_processes_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "monitor.sqlite"
    workers = [worker(path, number, 300) for number in range(4)]
    for process in workers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        _, errors = process.communicate("\n", timeout=120)
        assert (process.returncode, errors) == (0, "")
    found = contents(path)
    assert found is not None
    ((_, window),) = found.windows.items()
    assert window["top1"].moments.count == window["top1"].counts.total() == 1200
    assert window["top1"].moments.mean == pytest.approx(0.515)
    assert {name: len(values) for name, values in found.latest.items()} == {"top1": 100, "empty": 100}
    assert sorted(tmp_path.iterdir()) == [path], "the last to close it leaves nothing beside it"


def test_a_killed_process_leaves_what_it_had_written(tmp_path: Path) -> None:
    path = tmp_path / "monitor.sqlite"
    process = worker(path, 0, 10**9)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    flushed = sum(process.stdout.readline() == "flushed\n" for _ in range(8))
    process.kill()
    process.communicate(timeout=60)
    searches = reported(path)["searches"]
    assert isinstance(searches, int)
    assert searches >= 10 * flushed > 0
    monitor, _ = watched(path)
    search(monitor)
    monitor.close()
    assert reported(path)["searches"] == searches + 1


def test_a_restart_keeps_windows_baseline_and_alerts(tmp_path: Path) -> None:
    monitor, clock = watched(tmp_path / "m.sqlite")
    service = Service(monitor, clock, 1)
    assert list(service.run(8 * 24)) == []
    before = monitor.report()
    monitor.close()
    again, later = watched(tmp_path / "m.sqlite")
    later.now = clock.now
    assert again.report() == before
    service.monitor, service.clock, service.fallen = again, later, 0.3
    asked, alerts = service.searches_until_noticed()
    assert asked <= 100, "a program that is started again with another model is compared with the one before"
    again.close()
    third, _ = watched(tmp_path / "m.sqlite")
    service.monitor = third
    third._clock = later
    assert service.searches_until_noticed()[1] == [], "another process already reported it"
    assert [alert["cause"] for alert in third.report()["alerts"]] == [alert.cause for alert in alerts]
    third.close()


@pytest.mark.thorough
def test_workers_notice_together(tmp_path: Path) -> None:
    """A hundred searches over four processes are a hundred searches."""
    clock = Clock()
    monitors = [Monitor(clock=clock, interval=None, path=tmp_path / "m.sqlite") for _ in range(4)]
    for monitor in monitors:
        monitor.attach(LocalEngine.open())
    service = Service(monitors[0], clock, 2)
    assert list(service.run(8 * 24)) == []
    service.fallen = 0.3
    alerts = []
    for asked in range(100):
        service.monitor = monitors[asked % 4]
        service.ask()
        if asked % 20 >= 16:
            alerts += service.monitor.flush()
    assert [alert.cause for alert in alerts] == ["similarity"]
    for monitor in monitors:
        monitor.close()


@pytest.mark.thorough
def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    monitor, clock = watched(path, repeat=0.0)
    draw = np.random.default_rng(0)
    sizes = []
    for hour in range(2000):
        clock.now = START + hour * HOUR
        monitor.norms(np.exp(draw.normal(0, 3, 30)))
        for similarity in draw.uniform(-1, 1, 30):
            monitor.searched(request(), [answer(float(similarity))], float(np.exp(draw.normal(-4, 3))))
        monitor.flush()
        if hour in (1000, 1999):
            monitor.close()
            sizes.append(path.stat().st_size)
    assert sizes[1] < 1.1 * sizes[0] < 8e6
    found = contents(path)
    assert found is not None
    assert len(found.windows) == 840
    assert len(found.alerts) <= 100
    assert max(map(len, found.latest.values())) <= 200


@pytest.mark.parametrize("content", [b"not a database" * 99, None])
def test_what_is_not_a_monitors_is_moved_aside(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "m.sqlite"
    if content is None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE series (mine TEXT)")
            other.commit()
    else:
        path.write_bytes(content)
    whole = path.read_bytes()
    monitor, _ = watched(path)
    search(monitor, 3)
    with caplog.at_level(logging.WARNING, "theodolite.monitor"):
        assert monitor.flush() == []
    assert "moved to m.sqlite.damaged" in caplog.text
    assert (tmp_path / "m.sqlite.damaged").read_bytes() == whole
    assert monitor.report()["searches"] == 3
    monitor.close()


@pytest.mark.thorough
def test_no_damage_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes are changed, cut off and removed at random: searches are noted all the same."""
    path = tmp_path / "m.sqlite"
    monitor, clock = watched(path)
    assert list(Service(monitor, clock, 3).run(40)) == []
    monitor.close()
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    moved = 0
    for trial in range(120):
        hurt = bytearray(whole)
        if trial % 3:
            for place in draw.integers(len(whole), size=20):
                hurt[place] = draw.integers(256)
        else:
            hurt = hurt[: draw.integers(len(whole))]
        path.write_bytes(hurt)
        caplog.clear()
        monitor, _ = watched(path)
        monitor._clock = clock
        search(monitor, 2)
        with caplog.at_level(logging.WARNING, "theodolite.monitor"):
            monitor.flush()
            try:
                monitor.report()
            except EngineError as error:
                assert "cannot be read" in str(error)  # noqa: PT017 - a report may say so, a search must not
        moved += "moved to" in caplog.text
        monitor.close()
    assert moved > 20


def test_damage_inside_is_found_and_moved_aside(tmp_path: Path) -> None:
    for damage in (
        "UPDATE series SET bins = x'01'",
        "UPDATE series SET total = 'text'",
        "DROP TABLE latest",
        "INSERT INTO notes VALUES ('baseline', '[1, 2]')",
        "INSERT INTO notes VALUES ('baseline', 'nonsense')",
    ):
        path = tmp_path / "m.sqlite"
        monitor, _ = watched(path)
        search(monitor, 3)
        monitor.close()
        with closing(sqlite3.connect(path)) as other:
            other.execute(damage)
            other.commit()
        with pytest.raises(EngineError, match="cannot be read"):
            contents(path)
        monitor, _ = watched(path)
        search(monitor, 4)
        monitor.flush()
        assert monitor.report()["searches"] == 4, damage
        monitor.close()
        path.unlink()


def test_a_newer_file_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.sqlite"
    monitor, _ = watched(path)
    search(monitor)
    monitor.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version=2")
    whole = path.read_bytes()
    monitor, _ = watched(path)
    for _ in range(3):
        search(monitor)
        with caplog.at_level(logging.WARNING, "theodolite.monitor"):
            assert monitor.flush() == []
    assert caplog.text.count("format 2") == 1, "said once"
    monitor.close()
    assert path.read_bytes() == whole


def test_what_cannot_be_written_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.sqlite"
    path.mkdir()
    monitor, _ = watched(path)
    search(monitor, 5)
    with caplog.at_level(logging.WARNING, "theodolite.monitor"):
        assert monitor.flush() == []
    assert "cannot be written" in caplog.text
    path.rmdir()
    search(monitor, 2)
    monitor.close()
    assert reported(path)["searches"] == 7


def test_a_locked_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.monitoring.journal._BUSY", 0.05)
    path = tmp_path / "m.sqlite"
    monitor, _ = watched(path)
    search(monitor)
    monitor.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monitor.close()
        again, _ = watched(path)
        search(again, 3)
        assert again.flush() == []
        other.execute("ROLLBACK")
    again.close()
    assert reported(path)["searches"] == 4


def test_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert contents(tmp_path / "nothing") is None
    (tmp_path / "empty").touch()
    assert contents(tmp_path / "empty") is None


def test_the_thread_writes_by_itself_and_ends(tmp_path: Path) -> None:
    written = threading.Event()

    def clock() -> float:
        return START

    monitor = Monitor(interval=0.01, clock=clock, path=tmp_path / "m.sqlite")
    monitor.attach(LocalEngine.open())
    flush = monitor.flush

    def flushed() -> list[object]:
        found = flush()
        written.set()
        return list(found)

    monitor.flush = flushed  # type: ignore[method-assign, assignment]  # to know when
    search(monitor, 60)
    assert written.wait(30)
    thread = monitor._thread
    assert thread is not None
    monitor.close()
    assert not thread.is_alive()
    assert reported(tmp_path / "m.sqlite")["searches"] == 60


def test_an_unreferenced_monitor_ends(tmp_path: Path) -> None:
    monitor = Monitor(interval=1000.0)
    monitor.attach(LocalEngine.open())
    search(monitor)
    thread = monitor._thread
    assert thread is not None
    del monitor
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_writes_for_itself(tmp_path: Path) -> None:
    kb = Retriever.open(tmp_path / "kb", monitor=Monitor(interval=1000.0))
    kb.add(["a"], vectors=np.ones((1, 4)))
    for _ in range(7):
        kb.search(vector=np.ones(4))
    child = os.fork()
    if not child:
        signal.alarm(60)
        for _ in range(5):
            kb.search(vector=np.ones(4))
        kb.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    kb.search(vector=np.ones(4))
    kb.close()
    assert reported(tmp_path / "kb" / "monitor.sqlite")["searches"] == 13


@pytest.mark.thorough
def test_searches_from_many_threads_are_all_counted(tmp_path: Path) -> None:
    monitor = Monitor(interval=0.005, clock=lambda: START + DAY, path=tmp_path / "m.sqlite")
    monitor.attach(LocalEngine.open())
    threads = [threading.Thread(target=search, args=(monitor, 2000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.close()
    assert reported(tmp_path / "m.sqlite")["searches"] == 8000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.thorough
def test_threads_may_fork_at_the_same_time(tmp_path: Path) -> None:
    """The second waits while a monitor writes, and the first must not release what the second is to hold."""
    monitors = [Monitor(interval=None) for _ in range(3)]
    seen = threading.Barrier(2)

    def fork() -> None:
        seen.wait()
        for _ in range(20):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

    threads = [threading.Thread(target=fork, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not any(monitor._flushing.locked() for monitor in monitors)
