"""A pseudo-terminal for tests of the command line."""

import os
import pty
import select

from tests.unit.shell import Shell


def at_a_terminal(shell: Shell, *arguments: str, code: int = 0, keys: bytes = b"", **environment: str) -> str:
    """All that a terminal is sent by a command, after `keys` have been typed into it."""
    ours, theirs = pty.openpty()
    try:
        terminal = {"TERM": "xterm", **shell.environment, **environment}
        process = shell.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=terminal)
        os.close(theirs)
        os.write(ours, keys)
        shown = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux, when the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait(60) == code, shown
    finally:
        os.close(ours)
    return shown.decode().replace("\r\n", "\n")
