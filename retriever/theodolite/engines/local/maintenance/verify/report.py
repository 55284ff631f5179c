"""Collects the findings of a check."""

import errno
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from theodolite.errors import EngineError, IntegrityError, TheodoliteError
from theodolite.types import Problem, Verification

Progress = Callable[[int], object]

# Errors that reading damaged bytes can raise. Python's own come from values that have changed.
DAMAGE = (
    IntegrityError,
    sqlite3.Error,
    OSError,
    ValueError,
    TypeError,
    IndexError,
    OverflowError,
    AttributeError,
    KeyError,
    RecursionError,
)

# Errors of the process and the machine, which say nothing about the stored data.
_OF_THE_SYSTEM = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "EACCES", "EPERM", "ENOMEM", "EIO", "ENOSPC", "EDQUOT", "EFBIG", "EROFS"),
        *("EINTR", "EAGAIN", "EBUSY", "ENOLCK", "ESTALE", "ETIMEDOUT", "ENXIO", "ENODEV"),
    )
    if hasattr(errno, name)  # Windows lacks some
)
_OF_SQLITE = frozenset(
    (
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL),
    )
)


def is_damage(error: BaseException) -> bool:
    """Whether an error raised while reading can come from the bytes that were read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _OF_THE_SYSTEM):
            return False
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _OF_SQLITE:
            return False
        cause = cause.__cause__
    return True


class Report:
    """Problems and warnings of one check, and how much was checked."""

    def __init__(self, progress: Progress | None) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.checked: Counter[str] = Counter()
        self._progress = progress

    def passed(self, part: str, count: int) -> None:
        """Count checked items of a part, and report progress."""
        self.checked[part] += count
        if self._progress is not None:
            self._progress(count)

    def problem(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        """Add a problem. `derived`: the data can be rebuilt."""
        self.problems.append(Problem(part, message, derived, None if path is None else str(path)))

    def warning(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        """Add a warning. `derived`: repair removes the cause."""
        self.warnings.append(Problem(part, message, derived, None if path is None else str(path)))

    @contextmanager
    def part(self, part: str, *, derived: bool = False, path: Path | None = None) -> Iterator[None]:
        """Record errors of the block that damage can cause as a problem of this part.

        Raises:
            EngineError: the part could not be checked, for lack of file handles, memory or permissions, for example.
        """
        try:
            yield
        except (*DAMAGE, MemoryError) as error:
            message = str(error) if isinstance(error, TheodoliteError) else f"{part}: {type(error).__name__}: {error}"
            if not is_damage(error):
                raise EngineError(
                    f"{part} could not be checked, so its state is unknown: {error}", part=part
                ) from error
            self.problem(part, message, derived=derived, path=path)

    def verification(self) -> Verification:
        """Return the result of the check."""
        return Verification(tuple(self.problems), tuple(self.warnings), dict(self.checked))
