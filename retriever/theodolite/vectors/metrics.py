"""Metrics: how two vectors are compared, and everything that follows from it.

A metric is one class here: its exact score, its preparation of vectors, its relevance, and the scale on which scans
bound it. Users pass its name, and a collection stores its name; other modules ask `get_metric(name)` and never compare
names. To add one, write a class, and add its name to `MetricName` and its instance to `METRICS`.
"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, closest

if TYPE_CHECKING:
    from theodolite.types import Norms, Scores

MetricName = Literal["cosine", "dot", "l2"]
"""The metrics by name: cosine similarity, inner product, minus the Euclidean distance. Higher is better for each."""

DEFAULT_METRIC: MetricName = "cosine"

MAX_NORM = 1e18
"""The largest norm where vectors keep their length: the product of two such norms still fits a float32 score."""

Doubles = NDArray[np.float64]
Numbers = TypeVar("Numbers", float, Doubles)

_CHUNK = 1 << 19  # float64 values held at a time


class Metric(ABC):
    """How two vectors are compared. A higher score is better.

    Attributes:
        name: its name, as users pass it and collections store it.
        synonyms: names that other libraries use, for the hint in an error message.
        normalizes: whether `prepare` brings vectors to unit length. Otherwise vectors keep their length.
        by_distance: whether the order of scores is that of Euclidean distances. Otherwise it is that of inner products.
            Scans and approximate indexes rank by one or the other.
        score_range: the lowest and the highest score.
        has_relevance: whether `relevance` is defined. It is not where scores have no scale.
    """

    name: ClassVar[MetricName]
    synonyms: ClassVar[tuple[str, ...]] = ()
    normalizes: ClassVar[bool] = False
    by_distance: ClassVar[bool] = False
    score_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    has_relevance: ClassVar[bool] = True

    @property
    def allows_zero(self) -> bool:
        """Whether a vector of zeros has a score."""
        return not self.normalizes

    @property
    def max_norm(self) -> float:
        """The largest norm that `prepare` accepts."""
        return math.inf if self.normalizes else MAX_NORM

    @property
    def grows_with_norm(self) -> bool:
        """Whether a longer vector has larger scores, so that lengths decide the order."""
        return not (self.normalizes or self.by_distance)

    def gives_cosines(self, norms: "Norms" = "any") -> bool:
        """Return whether scores are cosines, in [-1, 1], for vectors with these norms."""
        return not self.by_distance and (self.normalizes or norms == "unit")

    def scores(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> "Scores":
        """Return the exact scores of `query` (d,) and `vectors` (n, d), shape (n,). No other code computes a score.

        They are computed in float64 and rounded once to float32. The order of summation depends on d alone (BLAS would
        choose one by the number of rows), so equal rows score equally on every path. A cosine may exceed 1 by the
        rounding of unit vectors.
        """
        wide = query.astype(np.float64)
        step = max(1, _CHUNK // max(1, len(wide)))
        if len(vectors) <= step:
            return _rounded(self._wide_scores(wide, vectors.astype(np.float64)))
        out = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step].astype(np.float64)
            out[start : start + step] = _rounded(self._wide_scores(wide, part))
        return out

    @abstractmethod
    def _wide_scores(self, query: Doubles, vectors: Doubles) -> Doubles:
        """Return scores in float64, (n,). May overwrite `vectors`."""

    def relevance(self, score: Numbers) -> Numbers:
        """Map scores within `score_range` to relevance, which is at most 1 and never falls as the score rises."""
        raise NotImplementedError(f"{self.name} has no relevance of its own")

    @abstractmethod
    def to_scan(self, scores: NDArray[np.floating[Any]]) -> Doubles:
        """Map scores to the scale of scans: the inner product, or minus the squared distance."""

    @abstractmethod
    def from_scan(self, values: Doubles) -> Doubles:
        """Map values of a scan, or bounds of them, to scores within `score_range`. Bounds stay bounds."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _InnerProduct(Metric):
    """Metrics whose score is the inner product: cosine and dot."""

    def _wide_scores(self, query: Doubles, vectors: Doubles) -> Doubles:
        vectors *= query
        products: Doubles = np.add.reduce(vectors, axis=1)
        return products

    def to_scan(self, scores: NDArray[np.floating[Any]]) -> Doubles:
        return scores.astype(np.float64)


class Cosine(_InnerProduct):
    """The inner product of vectors that `prepare` has normalized."""

    name = "cosine"
    synonyms = ("angular", "cos", "cosine_similarity")
    normalizes = True
    score_range = (-1.0, 1.0)

    def relevance(self, score: Numbers) -> Numbers:
        """Return the cosine itself."""
        return score

    def from_scan(self, values: Doubles) -> Doubles:
        clipped: Doubles = np.maximum(values, -1.0)  # faster than np.clip
        return np.minimum(clipped, 1.0, out=clipped)


class Dot(_InnerProduct):
    """The inner product of vectors as they are given."""

    name = "dot"
    synonyms = ("dot_product", "inner_product", "ip", "max_inner_product")
    has_relevance = False

    def from_scan(self, values: Doubles) -> Doubles:
        return values


class L2(Metric):
    """Minus the Euclidean distance."""

    name = "l2"
    synonyms = ("euclid", "euclidean", "euclidean_distance")
    by_distance = True
    score_range = (-math.inf, 0.0)

    def _wide_scores(self, query: Doubles, vectors: Doubles) -> Doubles:
        # The difference does not cancel as ‖x‖² + ‖q‖² − 2q·x does.
        vectors -= query
        np.square(vectors, out=vectors)
        distances: Doubles = np.sqrt(np.add.reduce(vectors, axis=1))
        return -distances

    def relevance(self, score: Numbers) -> Numbers:
        """Return 1 / (1 + distance)."""
        return 1.0 / (1.0 - score)

    def to_scan(self, scores: NDArray[np.floating[Any]]) -> Doubles:
        squares: Doubles = np.square(scores.astype(np.float64))
        return -squares

    def from_scan(self, values: Doubles) -> Doubles:
        # The root of a rounded square is the distance itself, so bounds stay bounds.
        distances: Doubles = np.sqrt(np.maximum(-values, 0.0))
        return -distances


METRICS: dict[str, Metric] = {metric.name: metric for metric in (Cosine(), Dot(), L2())}
"""All metrics by name."""


def get_metric(name: str) -> Metric:
    """Return the metric of this name. Raises ConfigError if there is none."""
    metric = METRICS.get(name) if isinstance(name, str) else None
    if metric is None:
        raise _unknown(name)
    return metric


def _unknown(name: object) -> ConfigError:
    names = {known: metric.name for metric in METRICS.values() for known in (metric.name, *metric.synonyms)}
    close = closest(name.replace("-", "_").replace(" ", "_"), names) if isinstance(name, str) else None
    return ConfigError(
        f"metric is {name!r}; expected one of {', '.join(METRICS)}."
        + ("" if close is None else f" Did you mean {names[close]!r}?"),
        metric=name,
        known=list(METRICS),
    )


def _rounded(scores: Doubles) -> "Scores":
    rounded = scores.astype(np.float32)
    rounded += 0.0  # -0.0 equals 0.0 but prints differently
    return rounded
