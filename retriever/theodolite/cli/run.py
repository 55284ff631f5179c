"""Run a command and turn its outcome into an exit code (see `exit_codes`)."""

import json
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import typer

from theodolite.cli.commands import app
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.output import note
from theodolite.errors import InputError, IntegrityError, TheodoliteError, TheodoliteWarning

# Newer versions of typer contain their own copy of click.
_ClickException: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # UTF-8 for programs, whatever the locale. A terminal keeps its encoding; letters it lacks are escaped.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    as_json = "--json" in arguments
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, as_json)
        try:
            code = _invoke(arguments)
            if code == ExitCode.INTERRUPTED:  # newer versions of typer catch KeyboardInterrupt themselves
                raise KeyboardInterrupt
            sys.stdout.flush()
        except SystemExit as end:  # from typer: a broken pipe, or the completions of a shell
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            _drop_output()
            return int(ExitCode.BROKEN_PIPE)
        except BrokenPipeError:
            _drop_output()
            return int(ExitCode.BROKEN_PIPE)
        except OSError as error:
            if error.filename is None:  # from writing the output, for example to a full disk
                _drop_output()
                _show_error(f"the output cannot be written: {error}", as_json, "OSError")
            else:
                _show_error(str(error), as_json, "OSError")
            return int(ExitCode.FAILED)
        except typer.Abort:  # end of input, or "no" to a question
            _show_error("Nothing was changed.", as_json, "Abort")
            return int(ExitCode.FAILED)
        except KeyboardInterrupt:
            message = "Interrupted. Everything committed is kept; run the command again to continue."
            _show_error(message, as_json, "KeyboardInterrupt")
            return int(ExitCode.INTERRUPTED)
        except _ClickException as error:
            if as_json:
                _show_error(error.format_message(), as_json, "UsageError")
            else:
                error.show()
            return int(ExitCode.USAGE)
        except TheodoliteError as error:
            _show_error(_with_flag(error), as_json, type(error).__name__, error.details)
            return int(_exit_code(error))
    return int(code)


def _invoke(arguments: Sequence[str]) -> int:
    command: Any = typer.main.get_command(app)
    # Without standalone mode errors and Ctrl-C reach `run`, and `typer.Exit` becomes the return value.
    outcome = command.main(list(arguments), prog_name="theodolite", standalone_mode=False)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _exit_code(error: TheodoliteError) -> ExitCode:
    match error:
        case InputError():
            return ExitCode.USAGE
        case IntegrityError():
            return ExitCode.DAMAGED
        case _:
            return ExitCode.FAILED


def _drop_output() -> None:
    """Discard unwritten output, so that Python does not fail to flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _with_flag(error: TheodoliteError) -> str:
    """Return an error's message. Advice to pass an option names the command line's flag."""
    advice = error.override
    if advice is None:
        return error.message
    return f"{error.message} Pass --{advice.option.replace('_', '-')} {advice.value} to {advice.effect}"


def _show_error(message: str, as_json: bool, kind: str, details: dict[str, Any] | None = None) -> None:
    if as_json:
        note(json.dumps({"error": kind, "message": message, "details": details or {}}, default=str))
    else:
        note(message, style="red")


def _show_warning(as_json: bool, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Our own message, without the advice that only helps in a Python program.
    text = message.message if isinstance(message, TheodoliteWarning) else str(message)
    if as_json:
        note(json.dumps({"warning": category.__name__, "message": text}))
    else:
        note(f"Warning: {text}", style="yellow")
