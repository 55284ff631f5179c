"""Guarded: a program that ends with this process, however this process ends, and with all that it has started.

Run as a script, this file is the guard: a process that starts the program and waits until its own input closes. The
kernel closes that input when the process at the other end is gone, killed or not.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Guarded:
    """A running program.

    Args:
        command: the program and its arguments.
        log: the file that its output is appended to.
        stop_with: the signal that asks it to stop. It is sent to the program and to what the program has started.
        patience: seconds until these are killed.
        options: further arguments of `subprocess.Popen` that JSON can hold: cwd, env, user, group, extra_groups.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        stop_with: signal.Signals = signal.SIGTERM,
        patience: float = 10.0,
        **options: Any,
    ) -> None:
        self._patience = patience
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        task = json.dumps([[str(part) for part in command], int(stop_with), patience, plain])
        with log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - this file
                # -I and -S: the guard needs nothing but the standard library.
                [sys.executable, "-I", "-S", __file__, task],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt at the keyboard is for the tests
            )

    def has_ended(self) -> bool:
        """Whether the program has ended by itself."""
        return self._guard.poll() is not None

    def stop(self) -> None:
        """Stop the program. Stopping twice is fine."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(self._patience + 20)


def _guard(command: list[str], stop_with: int, patience: float, options: dict[str, Any]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    program = subprocess.Popen(  # noqa: S603 - a server for tests
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_restore_signals,
        **options,
    )
    while program.poll() is None and not select.select([sys.stdin], [], [], 0.1)[0]:
        pass
    deadline = time.monotonic() + patience
    _signal_group(program, stop_with)
    while _group_lives(program) and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal_group(program, signal.SIGKILL)
    program.wait()


def _restore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _group_lives(program: "subprocess.Popen[bytes]") -> bool:
    program.poll()  # a zombie would count
    try:
        os.killpg(program.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(program: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, number)


if __name__ == "__main__":
    _guard(*json.loads(sys.argv[1]))
