"""Compare two sets of different questions, by the distribution of what they find: no question has a counterpart."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.evaluation.questions import Questions, is_synthetic
from theodolite.evaluation.sides import Side
from theodolite.types import Hits

ONLY = (
    "two sets of questions, compared by their distribution only: no question has a counterpart, so no hit has a cause"
)

_BATCH = 256  # questions searched at a time
_QUANTILES = (0.1, 0.5, 0.9)
_CHANCE = 0.01  # how often all distributions together may seem to differ by chance
_FEW = 30  # questions below which only large differences show

_SAYS = {
    "words": "words of a question",
    "hits": "hits found",
    "first score": "score of the first hit",
    "last score": "score of the last hit",
    "gap": "first score less the second",
}


@dataclass(frozen=True, slots=True)
class Distribution:
    """One measure of the questions of both sets.

    Attributes:
        name: what is measured.
        a, b: its quantiles at 10, 50 and 90 %.
        distance: the Kolmogorov-Smirnov distance, from 0 (equal) to 1.
        p: how often two samples of one distribution are this far apart.
        differs: whether that is more than chance, among all measures.
    """

    name: str
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    distance: float
    p: float
    differs: bool


@dataclass(frozen=True, slots=True, repr=False)
class QuestionSetDiff:
    """The differences of two sets of questions, A and B, by their distributions only. `print` shows a page.

    Attributes:
        questions: how many questions each has.
        distributions: the measures, the most different first.
        common: the share of the documents found by either set that both find.
        k: the length of the lists.
        places: a description of A and of B.
        notes: sentences that a reader of the figures should know; the first says what is compared.
    """

    questions: tuple[int, int]
    distributions: tuple[Distribution, ...]
    common: float
    k: int
    places: tuple[str, str]
    notes: tuple[str, ...]

    @property
    def share(self) -> float:
        """The largest distance that is more than chance; 0 if there is none."""
        return max((each.distance for each in self.distributions if each.differs), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the differences as JSON values."""
        return {
            "a": self.places[0],
            "b": self.places[1],
            "questions": list(self.questions),
            "k": self.k,
            "share": self.share,
            "common": self.common,
            "distributions": [
                {
                    "name": each.name,
                    "a": list(each.a),
                    "b": list(each.b),
                    "distance": each.distance,
                    "p": each.p,
                    "differs": each.differs,
                }
                for each in self.distributions
            ],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return (
            f"<QuestionSetDiff: {self.questions[0]:,} and {self.questions[1]:,} questions, distance {self.share:.2f}>"
        )

    def __str__(self) -> str:
        lines = [f"note: {note}" for note in self.notes]
        lines += [
            f"{side}: {place}, {count:,} questions"
            for side, place, count in zip("AB", self.places, self.questions, strict=True)
        ]
        lines += [f"{self.common:.1%} of the documents found are found by both", ""]
        rows: list[tuple[str, ...]] = [("", "A: 10 %", "50 %", "90 %", "B: 10 %", "50 %", "90 %", "distance", "p", "")]
        rows += [
            (
                _SAYS[each.name],
                *(f"{value:.4g}" for value in (*each.a, *each.b)),
                f"{each.distance:.3f}",
                f"{each.p:.2g}",
                "differs" if each.differs else "",
            )
            for each in self.distributions
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [
            "  ".join([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:-1], widths[1:-1]), row[-1]]).rstrip()
            for row in rows
        ]
        return "\n".join(lines)


def compare_sets(
    a: Side, b: Side, questions: Questions, questions_b: Questions, progress: Callable[[int], object] | None = None
) -> QuestionSetDiff:
    """Search A for the first questions and B for the others, and compare the distributions."""
    lists = [_lists(side, each, progress) for side, each in ((a, questions), (b, questions_b))]
    measured = [_measures(each, found) for each, found in zip((questions, questions_b), lists, strict=True)]
    names = [name for name in measured[0] if name in measured[1]]
    names = [name for name in names if len(measured[0][name]) and len(measured[1][name])]
    found = [_distribution(name, measured[0][name], measured[1][name], _CHANCE / len(names)) for name in names]
    ids = [{hit.document.id for hits in each for hit in hits} for each in lists]
    either = ids[0] | ids[1]
    notes = [ONLY]
    if a.options.arms != b.options.arms or a.space.metric != b.space.metric or a.options.boosts != b.options.boosts:
        notes.append("A and B score differently, so the distributions of scores cannot be compared")
    for side, each in ((a, questions), (b, questions_b)):
        if made := sum(map(is_synthetic, each.ids)):
            notes.append(f"{made:,} of the questions of {side.name} are synthetic, made from documents")
        if len(each.ids) < _FEW:
            notes.append(f"{side.name} has {len(each.ids)} questions: only large differences show")
    return QuestionSetDiff(
        (len(questions.ids), len(questions_b.ids)),
        tuple(sorted(found, key=lambda each: (not each.differs, -each.distance))),
        len(ids[0] & ids[1]) / len(either) if either else 1.0,
        a.options.k,
        (str(a), str(b)),
        tuple(notes),
    )


def _lists(side: Side, questions: Questions, progress: Callable[[int], object] | None) -> list[Hits]:
    found: list[Hits] = []
    for start in range(0, len(questions.ids), _BATCH):
        part = questions.chosen(list(range(start, min(start + _BATCH, len(questions.ids)))))
        found += side.search(part)
        if progress is not None:
            progress(len(part.ids))
    return found


def _measures(questions: Questions, lists: Sequence[Hits]) -> Mapping[str, Sequence[float]]:
    """Return the values of each measure, one for each question that has it."""
    measures: dict[str, Sequence[float]] = {}
    if questions.texts is not None:
        measures["words"] = [len(text.split()) for text in questions.texts]
    measures["hits"] = [len(hits) for hits in lists]
    measures["first score"] = [hits[0].score for hits in lists if hits]
    measures["last score"] = [hits[-1].score for hits in lists if hits]
    measures["gap"] = [hits[0].score - hits[1].score for hits in lists if len(hits) > 1]
    return measures


def _distribution(name: str, a: Sequence[float], b: Sequence[float], chance: float) -> Distribution:
    one, other = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    at = np.concatenate([one, other])
    below = [np.searchsorted(each, at, side="right") / len(each) for each in (one, other)]
    distance = float(np.abs(below[0] - below[1]).max())
    p = _by_chance(distance, len(one), len(other))
    low, middle, high = np.quantile(one, _QUANTILES).tolist()
    other_low, other_middle, other_high = np.quantile(other, _QUANTILES).tolist()
    return Distribution(name, (low, middle, high), (other_low, other_middle, other_high), distance, p, p < chance)


def _by_chance(distance: float, n: int, m: int) -> float:
    """Return the p of a two-sample Kolmogorov-Smirnov test, by its limit with the correction of Stephens (1970)."""
    size = math.sqrt(n * m / (n + m))
    scaled = (size + 0.12 + 0.11 / size) * distance
    if scaled < 0.3:  # the series converges too slowly, and the sum is 1
        return 1.0
    terms: Iterator[float] = (2 * (-1.0) ** (j - 1) * math.exp(-2 * (j * scaled) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))
