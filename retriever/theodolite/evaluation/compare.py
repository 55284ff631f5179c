"""Comparison: two evaluations of the same questions, by a paired test for each metric."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.display import html_table
from theodolite.errors import InputError
from theodolite.evaluation.resampling import detectable_difference, intervals, permutation_test
from theodolite.evaluation.result import Evaluation

_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two means of one metric.

    Attributes:
        first, second: the two means.
        difference: the second minus the first.
        interval: the 95 % bootstrap interval of the difference.
        p_value: the two-sided p-value of a paired permutation test.
        detectable: the smallest difference that this set of questions shows in 80 % of all cases, at a level of 5 %;
            None if it can show none: there are fewer than six questions, or all questions have the same difference.
        better, worse: how many questions have a higher or a lower value in the second evaluation.
    """

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    detectable: float | None
    better: int
    worse: int

    @property
    def significant(self) -> bool:
        """Whether the p-value is below 0.05."""
        return self.p_value < _LEVEL

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `equal`, or `not shown`: the questions do not show a difference."""
        if not self.better and not self.worse:
            return "equal"
        if not self.significant:
            return "not shown"
        return "higher" if self.difference > 0 else "lower"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Two evaluations of the same questions, metric by metric. `print` shows a table.

    With six metrics, one of them differs by chance more often than the p-value of each says: decide by one metric that
    was chosen beforehand.

    Attributes:
        metrics: the difference of each metric that both have.
        per_question: the differences of each question, by its id.
        synthetic: how many of the questions were made from documents.
    """

    metrics: Mapping[str, Difference]
    per_question: Mapping[str, Mapping[str, float]]
    synthetic: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "questions": len(self.per_question),
            "synthetic": self.synthetic,
            "metrics": {
                name: {
                    "first": each.first,
                    "second": each.second,
                    "difference": each.difference,
                    "interval": list(each.interval),
                    "p_value": each.p_value,
                    "detectable": each.detectable,
                    "better": each.better,
                    "worse": each.worse,
                    "verdict": each.verdict,
                }
                for name, each in self.metrics.items()
            },
            "per_question": {question: dict(values) for question, values in self.per_question.items()},
        }

    def __repr__(self) -> str:
        name, each = next(iter(self.metrics.items()))
        return f"<Comparison: {self._heading()}, {name} {each.difference:+.4f} (p = {each.p_value:.4f})>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        return html_table(self._heading(), _HEAD, self._rows())

    def _lines(self) -> Iterator[str]:
        yield self._heading()
        yield ""
        rows = [_HEAD, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *cells in rows:
            numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            yield f"{name:<{widths[0]}}  {numbers}".rstrip()

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                name,
                f"{each.first:.4f}",
                f"{each.second:.4f}",
                f"{each.difference:+.4f}",
                "{:+.4f} to {:+.4f}".format(*each.interval),
                f"{each.p_value:.4f}",
                "-" if each.detectable is None else f"{each.detectable:.4f}",
                f"{each.better}/{each.worse}",
                each.verdict,
            )
            for name, each in self.metrics.items()
        ]

    def _heading(self) -> str:
        count = len(self.per_question)
        kind = f", {self.synthetic:,} of them synthetic" if self.synthetic else ""
        return f"{count:,} question{'' if count == 1 else 's'}{kind}, paired"


_HEAD = ("", "first", "second", "difference", "95 % interval", "p", "detectable", "better/worse", "second is")


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two evaluations. See `Evaluation.compare`."""
    if not isinstance(second, Evaluation):
        raise InputError(f"an evaluation is compared with another one, not with {type(second).__name__}")
    _check_comparable(first, second)
    names = [name for name in first.metrics if name in second.metrics]
    if not names:
        raise InputError(
            f"the two have no metric in common: {', '.join(first.metrics)} and {', '.join(second.metrics)}. Evaluate "
            "both with the same k"
        )
    questions = list(first.per_question)
    ours, theirs = (
        np.array([[each.per_question[question][name] for name in names] for question in questions])
        for each in (first, second)
    )
    differences = theirs - ours
    # Two equal sums of floats may differ in the last bit: that is no difference.
    differences[np.abs(differences) < 1e-12] = 0.0
    found = {}
    for column, (name, bounds) in enumerate(zip(names, intervals(differences), strict=True)):
        changes = differences[:, column]
        found[name] = Difference(
            first=first.metrics[name],
            second=second.metrics[name],
            difference=float(changes.mean()),
            interval=(float(bounds[0]), float(bounds[1])),
            p_value=permutation_test(changes),
            detectable=detectable_difference(changes),
            better=int(np.sum(changes > 0)),
            worse=int(np.sum(changes < 0)),
        )
    per_question = {
        question: dict(zip(names, map(float, row), strict=True))
        for question, row in zip(questions, differences, strict=True)
    }
    return Comparison(found, per_question, synthetic=first.synthetic)


def _check_comparable(first: Evaluation, second: Evaluation) -> None:
    if first.by != second.by:
        ours, theirs = ("documents" if each.by is None else f"the field {each.by!r}" for each in (first, second))
        raise InputError(f"the first evaluation judges {ours}, the second {theirs}; evaluate both with the same by=")
    different = sorted(first.per_question.keys() ^ second.per_question.keys())
    if different:
        raise InputError(
            f"{len(different):,} questions are only in one of the two evaluations; first: {different[0]!r}. Evaluate "
            "both with the same questions and judgments"
        )
    if first.digest != second.digest:
        raise InputError(
            f"the judgments have changed between the two evaluations ({first.judgments:,} and {second.judgments:,}): "
            "their figures cannot be compared. Evaluate both with the same judgments"
        )
