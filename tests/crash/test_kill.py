"""A process is killed at every point of the commit protocol, in turn; nothing acknowledged may be lost."""

import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from tests.crash.workloads import WORKLOADS, State, expected, held, states

from theodolite import Retriever
from theodolite.engines.local.storage.crash_points import POINTS
from theodolite.engines.local.storage.folder import PARTIAL_GENERATION, generations

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")

WORKER = Path(__file__).with_name("worker.py")
AFTER_A_CRASH = "orphan.copied"  # passed only where an earlier process has died


def run(folder: Path, workload: str, first: int, point: str, arrival: int) -> tuple[int, bool, str]:
    """Return how many writes succeeded, whether the process was killed, and the last line it printed."""
    command = [sys.executable, str(WORKER), str(folder), workload, str(first), point, str(arrival)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    lines = done.stdout.splitlines()
    return lines.count("done"), done.returncode != 0, lines[-1] if lines else ""


@cache
def arrivals(workload: str) -> dict[str, int]:
    """Count how often an undisturbed workload passes each point."""
    with tempfile.TemporaryDirectory() as folder:
        _, killed, last = run(Path(folder) / "kb", workload, 0, "none", 0)
    assert not killed
    return {name: int(count) for name, count in (item.split("=") for item in last.split()[1:])}


def check(folder: Path, workload: str, acknowledged: int) -> int:
    """Reopen after a crash and check everything. Returns how many steps are stored."""
    history = states(workload)
    with Retriever.open(folder, create=True) as kb:
        found = held(kb)
        allowed = [number for number in (acknowledged, acknowledged + 1) if number < len(history)]
        there = [number for number in allowed if found == expected(history[number])]
        assert there, f"after {acknowledged} acknowledged writes neither these nor the next are what is held"
        kb.verify()
        check_state(kb, history[there[-1]])
        names = [path.name for path in folder.iterdir()]
        assert PARTIAL_GENERATION not in names
        assert len({number for number, _ in generations(names)}) <= 1, names
    return there[-1]


def check_state(kb: Retriever, state: State) -> None:
    assert kb.count() == len(state)
    for doc in list(state.values())[:: max(1, len(state) // 20)]:
        best = kb.search(vector=doc.vector(), k=1)[0]
        assert best.score == pytest.approx(1, abs=1e-6)
        assert best.document == doc.document()
    for tag in {doc.tag for doc in state.values()}:
        assert kb.count({"tag": tag}) == sum(doc.tag == tag for doc in state.values())


def finish(folder: Path, workload: str, first: int) -> None:
    """Check that the next writes work, and that their result is right after another opening."""
    with Retriever.open(folder, create=True) as kb:
        for step in WORKLOADS[workload][first:]:
            step.run(kb)
    assert check(folder, workload, len(WORKLOADS[workload])) == len(WORKLOADS[workload])


def chosen(count: int, every: bool) -> list[int]:
    return list(range(1, count + 1)) if every else sorted({1, count})


def kill_at(tmp_path: Path, workload: str, point: str, *, every: bool) -> None:
    for arrival in chosen(arrivals(workload)[point], every):
        folder = tmp_path / f"kb-{arrival}"
        acknowledged, killed, _ = run(folder, workload, 0, point, arrival)
        assert killed
        finish(folder, workload, check(folder, workload, acknowledged))


# Not passed by writes: test_columns.py, test_index_manager.py and test_backup.py stop processes there.
ELSEWHERE = ("column.", "index.", "backup.")

# Which workloads pass a point. `test_every_point_is_passed` holds it against what they do.
PASSES = {
    point: ["clears"]
    if point == "generation.committed"
    else ["compactions"]
    if point.startswith("compaction.")
    else ["seals"]
    if point.startswith("cache.")
    else []
    if point == AFTER_A_CRASH or point.startswith(ELSEWHERE)
    else [name for name in WORKLOADS if name != "seals"]
    for point in POINTS
}
PAIRS = [(point, workload) for point, workloads in PASSES.items() for workload in workloads]


@pytest.mark.parametrize(("point", "workload"), PAIRS)
def test_killed_at(point: str, workload: str, tmp_path: Path) -> None:
    kill_at(tmp_path, workload, point, every=False)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "workload"), PAIRS)
def test_killed_at_each_arrival(point: str, workload: str, tmp_path: Path) -> None:
    kill_at(tmp_path, workload, point, every=True)


# A kill in the middle of a compaction leaves no frame that no commit names.
@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name not in ("seals", "compactions")])
@pytest.mark.parametrize("first", ["frame.torn", "frame.written", "frame.synced", "transaction.filled"])
def test_killed_again_while_the_orphan_is_moved(first: str, workload: str, tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    acknowledged, killed, _ = run(folder, workload, 0, first, arrivals(workload)[first])
    assert killed
    there = check(folder, workload, acknowledged)
    again, killed, _ = run(folder, workload, there, AFTER_A_CRASH, 1)
    if workload == "clears" or (first == "frame.torn" and workload == "deletes"):
        # A frame without rows is written at once: nothing of it can be torn, and it is an orphan all the same.
        # A frame that begins a generation is not an orphan: the next writer begins that generation again.
        assert killed or again
    else:
        assert killed
        assert not again
    there = check(folder, workload, there + again)
    finish(folder, workload, there)


@pytest.mark.thorough
def test_every_point_is_passed() -> None:
    """Otherwise the tests above would not test it."""
    for point, workloads in PASSES.items():
        assert point == AFTER_A_CRASH or set(workloads) <= {name for name in WORKLOADS if point in arrivals(name)}
