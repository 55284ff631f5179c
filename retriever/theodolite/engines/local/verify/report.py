"""What a check finds, gathered."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from theodolite.errors import IntegrityError, TheodoliteError
from theodolite.types import Problem, Verification

Progress = Callable[[int], object]

# What reading damaged bytes ends in; the errors of Python are those of values that have become others.
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
)


class Report:
    """Problems and warnings of one check, and how much was looked at."""

    def __init__(self, progress: Progress | None) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.checked: Counter[str] = Counter()
        self._progress = progress

    def passed(self, part: str, count: int) -> None:
        """So many more of a part have been looked at."""
        self.checked[part] += count
        if self._progress is not None:
            self._progress(count)

    def problem(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        self.problems.append(Problem(part, message, derived, None if path is None else str(path)))

    def warning(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        self.warnings.append(Problem(part, message, derived, None if path is None else str(path)))

    @contextmanager
    def part(self, part: str, *, derived: bool = False, path: Path | None = None) -> Iterator[None]:
        """Whatever damage raises within becomes a problem of this part."""
        try:
            yield
        except DAMAGE as error:
            message = str(error) if isinstance(error, TheodoliteError) else f"{part}: {type(error).__name__}: {error}"
            self.problem(part, message, derived=derived, path=path)

    def verification(self, repaired: tuple[str, ...] = ()) -> Verification:
        return Verification(tuple(self.problems), tuple(self.warnings), dict(self.checked), repaired)
