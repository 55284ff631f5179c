"""Relevance: similarity on a scale that boosts and thresholds can act on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, type_of
from theodolite.vectors.metrics import Metric, MetricName, get_metric

RelevanceFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps similarities, (n,), elementwise to relevance, (n,), and never decreases."""

RelevanceLike = RelevanceFunction | float | None
"""A function; a number, the cosine of unrelated texts; or None for the metric's own relevance."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """A function from similarities, (n,), to relevance, (n,) float64: at most 1, higher is better.

    Relevance is the cosine itself, or 1 / (1 + distance) for L2; dot products need a mapping. Values below 0 are not
    clipped here, so that irrelevant documents keep their order.

    Attributes:
        metric: the metric of the similarities.
        floor: the cosine of unrelated texts: relevance is (cosine - floor) / (1 - floor). For models whose cosines all
            lie close together; `audit` reports it as `typical_cosine`.
        mapping: a function to use instead.

    Raises:
        ConfigError: a floor where the metric is not cosine, or not in [0, 1); both; dot without a mapping.
    """

    metric: MetricName
    floor: float = 0.0
    mapping: RelevanceFunction | None = None
    _metric: Metric = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mapping is not None and not callable(self.mapping):
            raise ConfigError(f"relevance is {self.mapping!r}; expected a number (a floor) or a function of arrays")
        metric = get_metric(self.metric)
        object.__setattr__(self, "_metric", metric)
        if self.mapping is None and not metric.has_relevance:
            raise ConfigError(
                f"{metric.name} scores have no scale that boosts and thresholds could act on. Pass relevance=, a "
                "function that maps similarities, (n,), to [0, 1], or use cosine"
            )
        if not 0 <= self.floor < 1:
            raise ConfigError(f"the floor of relevance is {self.floor!r}; it must be at least 0 and below 1")
        if self.floor and (self.mapping is not None or not metric.gives_cosines()):
            raise ConfigError(f"a floor of relevance ({self.floor}) is for cosines; pass a function for {self.metric}")

    def __call__(self, similarities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        wide = similarities.astype(np.float64)
        return self._own(wide) if self.mapping is None else _checked(_mapped(self.mapping, wide))

    @property
    def by_distance(self) -> bool:
        """Whether similarities are distances, which are not on the scale of cosines."""
        return self._metric.by_distance

    def of_hits(self, similarities: Sequence[float]) -> list[float]:
        """Return the relevance of hits, clipped at 0."""
        if not similarities:
            return []
        clipped: list[float] = np.maximum(self(np.array(similarities)), 0.0).tolist()
        return clipped

    def bounds(self, similarities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map bounds on similarities, which may be no document's similarity.

        A mapping may have no value for them: NaN stays NaN, and values above 1 become 1.
        """
        wide = similarities.astype(np.float64)
        if self.mapping is None:
            return self._own(wide)
        with np.errstate(all="ignore"):
            return np.minimum(_mapped(self.mapping, wide), 1.0)

    def _own(self, wide: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = self._metric.score_range
        np.maximum(wide, low, out=wide)  # faster than np.clip
        np.minimum(wide, high, out=wide)
        if self.floor:
            wide -= self.floor
            wide /= 1.0 - self.floor
        return self._metric.relevance(wide)


def as_relevance(metric: MetricName, given: RelevanceLike) -> Relevance | None:
    """Return the relevance that a caller asks for; None for dot products without a function.

    Raises:
        ConfigError: it does not fit the metric.
    """
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return Relevance(metric, floor=float(given))
    if given is None and not get_metric(metric).has_relevance:
        return None
    return Relevance(metric, mapping=given)  # type: ignore[arg-type]  # True and False are refused there


def _mapped(mapping: RelevanceFunction, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    given = mapping(similarities)
    try:
        mapped = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the relevance function returned {type_of(given)}, not an array of numbers") from error
    if mapped.shape != similarities.shape:
        raise ConfigError(
            f"the relevance function returned shape {mapped.shape} for {similarities.shape}; it must map each value"
        )
    return mapped


def _checked(mapped: NDArray[np.float64]) -> NDArray[np.float64]:
    wrong = ~(np.isfinite(mapped) & (mapped <= 1))
    if wrong.any():
        raise ConfigError(
            f"the relevance function returned {mapped[wrong][0]} for one of {len(mapped)} similarities; it must map "
            "each to a finite number, at most 1"
        )
    return mapped
