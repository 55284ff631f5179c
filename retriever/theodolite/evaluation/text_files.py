"""Read and write the files of an evaluation: UTF-8 lines in, whole files out."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from os import PathLike

from theodolite.errors import EngineError, InputError
from theodolite.inputs import as_path

PathOf = str | PathLike[str]

Lines = list[tuple[int, str]]
"""The lines of a file that are not blank, with their numbers from 1."""


def read_text(path: PathOf, name: str) -> str:
    """Return the text of a UTF-8 file.

    Args:
        name: the contents, for messages, such as "judgments".

    Raises:
        InputError: the file does not exist, cannot be read, is not UTF-8, or is blank.
    """
    file = as_path(path, name)
    if not file.is_file():
        raise InputError(f"{file} does not exist or is not a file", path=str(file))
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8: {error.reason} at byte {error.start:,}. Save it as UTF-8", path=str(file)
        ) from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}", path=str(file)) from error
    if not text.strip():
        raise InputError(f"{file} is empty: it contains no {name}", path=str(file))
    return text


def numbered(text: str) -> Lines:
    """Return the lines that are not blank, without their line ends."""
    # Not splitlines(): it also splits at characters that may stand in an id or a question.
    lines = text.replace("\r\n", "\n").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def write_text(path: PathOf, lines: Iterable[str]) -> None:
    """Write a file that others see whole or not at all.

    Raises:
        EngineError: it cannot be written; a file that was there before stays.
    """
    file = as_path(path, "path")
    try:
        if file.exists() and not file.is_file():  # a pipe or a device: written to, never replaced
            with file.open("w", encoding="utf-8", newline="\n") as out:
                out.writelines(lines)
            return
        target = file.resolve()  # replace the target of a link, not the link
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with aside.open("x", encoding="utf-8", newline="\n") as out:
                out.writelines(lines)
                out.flush()
                os.fsync(out.fileno())
            if target.exists():
                aside.chmod(target.stat().st_mode)
            aside.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EngineError(f"{file} cannot be written: {error.strerror or error}", path=str(file)) from error
