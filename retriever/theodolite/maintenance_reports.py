"""Results of maintenance: the findings of `verify` and `repair`, and the result of `compact`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem found by `verify`.

    Attributes:
        part: the damaged part: `database`, `schema`, `state`, `manifest`, `notes`, `log`, `vectors`, `documents`; of
            the data derived from these `lexical`, `codes`, `columns`, `index`; or `folder`, `judgments`.
        message: what is wrong, how many and which first, and what to do.
        derived: whether `repair` can rebuild it from the documents and vectors.
        path: the file or folder, if it concerns one.
    """

    part: str
    message: str
    derived: bool = False
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Compaction:
    """The result of `compact`.

    Attributes:
        rows: how many dead rows were removed.
        bytes_before, bytes_after: the size of all files in the collection's folder.
    """

    rows: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify` and `repair`.

    Attributes:
        problems: the damage.
        warnings: harmless findings: files that nothing needs, rows that an approximate index cannot reach.
        checked: how many `vectors`, `documents`, `codes` and so on were checked.
        repaired: the repairs that `repair` made.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    checked: Mapping[str, int] = field(default_factory=dict)
    repaired: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether there is no damage."""
        return not self.problems
