"""From arguments to an exit code.

0    done
1    it cannot be done: the store, a missing package, settings that do not fit together
2    the arguments do not fit: usage, a path that does not exist, a filter, metadata
3    what is stored is not what it should be: not a collection, damaged, another embedder
130  Ctrl-C; what was committed is kept
141  whoever read the output has gone
"""

import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from theodolite.cli import reading, writing
from theodolite.cli.app import app
from theodolite.cli.output import errors
from theodolite.errors import InputError, IntegrityError, TheodoliteError

# typer brings a click of its own in newer versions.
_ClickException: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

# Importing them has added their commands.
COMMANDS = (writing, reading)

OK, FAILED, USAGE, DAMAGED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a letter is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in arguments
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = _invoke(arguments)
            if code == INTERRUPTED:  # newer versions of typer catch it themselves
                raise KeyboardInterrupt
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit):  # typer itself exits where a pipe breaks, and nowhere else
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
            return BROKEN_PIPE
        except (KeyboardInterrupt, typer.Abort):
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


def _say(message: str, as_json: bool, kind: str, details: dict[str, Any] | None = None) -> None:
    if as_json:
        said = json.dumps({"error": kind, "message": message, "details": details or {}}, default=str)
        errors.print(said, markup=False, highlight=False, soft_wrap=True)
    else:
        errors.print(message, markup=False, highlight=False, soft_wrap=True, style="red")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    errors.print(f"Warning: {message}", markup=False, highlight=False, soft_wrap=True, style="yellow")
