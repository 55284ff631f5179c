"""A guarded program ends with the process that started it, together with what it has started itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theodolite.testing.guarded import Guarded

pytestmark = pytest.mark.engine

WRAPPER = (
    "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
)
OWNER = """
import sys, time
from pathlib import Path
from theodolite.testing.guarded import Guarded
Guarded([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]))
time.sleep(60)
"""


def started_by(log: Path) -> int:
    """Return the process that the wrapper has started."""
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(log.read_text())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not lives(pid)


def test_stopping_ends_what_the_program_has_started(tmp_path: Path) -> None:
    program = Guarded([sys.executable, "-c", WRAPPER], tmp_path / "log")
    child = started_by(tmp_path / "log")
    assert lives(child)
    assert not program.has_ended()
    program.stop()
    assert ends(child)
    program.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_owner_ends_it_too(tmp_path: Path, number: int) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, WRAPPER, tmp_path / "log"])
    child = started_by(tmp_path / "log")
    os.kill(owner.pid, number)
    owner.wait()
    assert ends(child)


def test_a_program_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
    )
    program = Guarded([sys.executable, "-c", stubborn], tmp_path / "log", patience=0.2)
    pid = started_by(tmp_path / "log")
    program.stop()
    assert ends(pid)


def test_a_program_that_ends_is_noticed(tmp_path: Path) -> None:
    program = Guarded([sys.executable, "-c", ""], tmp_path / "log")
    deadline = time.monotonic() + 20
    while not program.has_ended() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert program.has_ended()
    program.stop()
