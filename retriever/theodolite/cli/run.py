"""From arguments to an exit code.

0    done
1    it cannot be done: the store, a missing package, settings that do not fit together
2    the arguments do not fit: usage, a path that does not exist, a filter, metadata
3    what is stored is not what it should be: not a collection, damaged, another embedder
4    `audit` has found something to do
130  Ctrl-C; what was committed is kept
141  whoever read the output has gone
"""

import json
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import typer

from theodolite.cli import auditing, duplicates, measuring, reading, searching, upkeep, writing
from theodolite.cli.app import app
from theodolite.cli.output import note
from theodolite.errors import InputError, IntegrityError, TheodoliteError

# typer brings a click of its own in newer versions.
_ClickException: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

# Importing them has added their commands.
COMMANDS = (writing, searching, reading, upkeep, auditing, duplicates, measuring)

OK, FAILED, USAGE, DAMAGED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # UTF-8 for programs, whatever the locale; a terminal that cannot show a letter is no reason to stop.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    as_json = "--json" in arguments
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, as_json)
        try:
            code = _invoke(arguments)
            if code == INTERRUPTED:  # newer versions of typer catch it themselves
                raise KeyboardInterrupt
            sys.stdout.flush()
        except SystemExit as end:  # typer's own: a pipe is broken, or the shell has its completions
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            _drop_output()
            return BROKEN_PIPE
        except BrokenPipeError:
            _drop_output()
            return BROKEN_PIPE
        except OSError as error:
            if error.filename is None:  # the output, on a full disk for example
                _drop_output()
                _say(f"the output cannot be written: {error}", as_json, "OSError")
            else:
                _say(str(error), as_json, "OSError")
            return FAILED
        except typer.Abort:  # end of input, or a question answered with no
            _say("Nothing was changed.", as_json, "Abort")
            return FAILED
        except KeyboardInterrupt:
            _say("Interrupted. What was committed is kept; run it again to go on.", as_json, "KeyboardInterrupt")
            return INTERRUPTED
        except _ClickException as error:
            if as_json:
                _say(error.format_message(), as_json, "UsageError")
            else:
                error.show()
            return USAGE
        except TheodoliteError as error:
            _say(str(error), as_json, type(error).__name__, error.details)
            return _code(error)
    return code


def _invoke(arguments: Sequence[str]) -> int:
    command: Any = typer.main.get_command(app)
    # Without standalone mode errors and Ctrl-C come to us, and `typer.Exit` becomes the value.
    outcome = command.main(list(arguments), prog_name="theodolite", standalone_mode=False)
    return outcome if isinstance(outcome, int) else OK


def _code(error: TheodoliteError) -> int:
    match error:
        case InputError():
            return USAGE
        case IntegrityError():
            return DAMAGED
        case _:
            return FAILED


def _drop_output() -> None:
    """Let nothing be left that Python would fail to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, as_json: bool, kind: str, details: dict[str, Any] | None = None) -> None:
    message = message.replace("on_drift='warn'", "--on-drift warn")  # the same, as it is written here
    if as_json:
        note(json.dumps({"error": kind, "message": message, "details": details or {}}, default=str))
    else:
        note(message, style="red")


def _show_warning(as_json: bool, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Advice for Python programs does not help here, and the command has already done the rest.
    said = str(message).removesuffix(", or open with on_truncate='ignore'")
    said = said.removesuffix("; on_drift='warn' opens it all the same.")
    if as_json:
        note(json.dumps({"warning": category.__name__, "message": said}))
    else:
        note(f"Warning: {said}", style="yellow")
