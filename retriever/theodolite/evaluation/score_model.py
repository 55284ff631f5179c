"""ScoreModel: the probability that a question has an answer, by the score of its first hit.

Platt, Probabilistic outputs for support vector machines (1999): logistic regression on one score, with targets that
keep it from certainty. Of five judged collections none gained from a second feature, such as the gap between the first
two hits, and one score is there for any k.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FOLDS = 10
_ROUNDS = 50  # of Newton's method, which needs about ten
_PRECISION = 1e-10
_FEWEST = 1e-12  # smallest weight in a Newton step


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A logistic function of scores.

    Attributes:
        intercept, slope: of the log odds.
    """

    intercept: float
    slope: float

    def __call__(self, score: float) -> float:
        """Return the probability for a score."""
        odds = self.intercept + self.slope * score
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def fit(answered: Floats, unanswered: Sequence[Floats], share: float) -> ScoreModel:
    """Fit a model to the scores of the first hits of questions.

    Args:
        answered: of questions with an answer, (n,).
        unanswered: of questions without one, in groups of equal weight.
        share: the assumed share of questions without an answer.
    """
    groups = [group for group in unanswered if len(group)]
    negative = sum(map(len, groups))
    scores = np.concatenate([answered, *groups])
    targets = np.concatenate(
        [np.full(len(answered), (len(answered) + 1) / (len(answered) + 2)), np.full(negative, 1 / (negative + 2))]
    )
    weights = np.concatenate(
        [np.full(len(answered), (1 - share) / len(answered))]
        + [np.full(len(group), share / len(groups) / len(group)) for group in groups]
    )
    center, spread = float(scores.mean()), float(scores.std()) or 1.0
    columns = np.stack([np.ones(len(scores)), (scores - center) / spread], axis=1)
    found = np.zeros(2)
    for _ in range(_ROUNDS):
        odds = np.clip(columns @ found, -50, 50)
        expected = 1 / (1 + np.exp(-odds))
        gradient = columns.T @ (weights * (targets - expected))
        curvature = np.maximum(weights * expected * (1 - expected), _FEWEST)
        step = np.linalg.lstsq(columns.T @ (curvature[:, None] * columns), gradient, rcond=None)[0]
        found = found + np.clip(step, -5, 5)
        if np.abs(step).max() < _PRECISION:
            break
    slope = float(found[1]) / spread
    return ScoreModel(float(found[0]) - slope * center, slope)


def brier_score(answered: Floats, unanswered: Sequence[Floats], share: float) -> float:
    """Return the cross-validated Brier score: the mean squared error of probabilities for questions left out.

    Questions at the same position of `answered` and of the groups are left out together: they may be the same ones.
    """
    count = max(len(answered), *map(len, unanswered))
    folds = min(_FOLDS, len(answered))
    errors: list[list[float]] = [[] for _ in range(1 + len(unanswered))]
    for fold in range(folds):
        out = np.arange(count) % folds == fold
        kept = [group[~out[: len(group)]] for group in (answered, *unanswered)]
        if not len(kept[0]) or not any(map(len, kept[1:])):
            continue
        model = fit(kept[0], kept[1:], share)
        for number, group in enumerate((answered, *unanswered)):
            wanted = 0.0 if number else 1.0
            errors[number] += [(model(float(score)) - wanted) ** 2 for score in group[out[: len(group)]]]
    false = [float(np.mean(each)) for each in errors[1:] if each]
    return (1 - share) * float(np.mean(errors[0])) + share * float(np.mean(false))


def auroc(answered: Floats, unanswered: Floats) -> float:
    """Return how often an answered question has the higher score than an unanswered one; ties count half."""
    below = np.searchsorted(np.sort(unanswered), answered, side="left").sum()
    up_to = np.searchsorted(np.sort(unanswered), answered, side="right").sum()
    return float(below + up_to) / 2 / (len(answered) * len(unanswered))
