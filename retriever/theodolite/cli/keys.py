"""Read single keys from a terminal."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from theodolite.errors import InputError

_END = "\x04"  # Ctrl-D
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[ -/]*[@-~]|O.|.)?", re.DOTALL)  # of an arrow, for example


@contextmanager
def keyboard() -> Iterator[Callable[[], str]]:
    """Yield a function that waits for a key and returns it in lower case; Ctrl-D at the end of the input.

    Ctrl-C interrupts, as always. Keys that are more than a character, such as arrows, are ignored.

    Raises:
        InputError: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise InputError("this command waits for keys: run it at a terminal")
    if sys.platform == "win32":
        import msvcrt

        def read_key() -> str:
            key = msvcrt.getwch()
            if key in ("\x00", "\xe0"):  # the first half of a key such as an arrow
                msvcrt.getwch()
                return ""
            if key == "\x03":
                raise KeyboardInterrupt
            return key.lower()

        yield read_key
        return
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    typed: list[str] = []

    def read() -> str:
        if not typed:
            piece = os.read(handle, 1024)
            if not piece:
                return _END
            typed.extend(_SEQUENCE.sub("", piece.decode(errors="replace")).lower())
        return typed.pop(0) if typed else ""

    try:
        tty.setcbreak(handle, termios.TCSADRAIN)  # keeps what was typed already
        yield read
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
