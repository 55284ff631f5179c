"""Relevance: what a similarity says about a document, on a scale that boosts and thresholds can act on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.vectors.metrics import Metric, MetricName, get_metric

Mapping = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Similarities to relevance, elementwise, shape (n,) both; a higher similarity never has less relevance."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """Called with similarities, (n,), it gives their relevance, (n,) float64: at most 1, higher is better.

    Cosine counts as it is, 1 / (1 + distance) for L2; dot products have none without a mapping. Below 0 it is not
    cut off here, so that what is not relevant keeps its order.

    Attributes:
        metric: of the similarities.
        floor: the cosine that means nothing: relevance is (cosine - floor) / (1 - floor). For models whose cosines
            all lie close together; `audit` tells the mean cosine of unrelated documents.
        mapping: used in place of all this.

    Raises:
        ConfigError: a floor where the metric is not cosine, or not in [0, 1); both; dot without a mapping.
    """

    metric: MetricName
    floor: float = 0.0
    mapping: Mapping | None = None
    _metric: Metric = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mapping is not None and not callable(self.mapping):
            raise ConfigError(f"relevance is {self.mapping!r}; it must be a number (a floor) or a function of arrays")
        metric = get_metric(self.metric)
        object.__setattr__(self, "_metric", metric)
        if self.mapping is None and not metric.has_relevance:
            raise ConfigError(
                f"{metric.name} scores have no scale, so boosts and thresholds cannot act on them: pass relevance=, a "
                "function that maps similarities, (n,), to [0, 1], or use cosine"
            )
        if not 0 <= self.floor < 1:
            raise ConfigError(f"the floor of relevance is {self.floor!r}; it must be at least 0 and below 1")
        if self.floor and (self.mapping is not None or not metric.gives_cosines()):
            raise ConfigError(f"a floor of relevance ({self.floor}) is for cosines; give a function for {self.metric}")

    def __call__(self, similarities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        wide = similarities.astype(np.float64)
        return self._own(wide) if self.mapping is None else _checked(_mapped(self.mapping, wide))

    @property
    def by_distance(self) -> bool:
        """Whether similarities are distances, so that they are no relevance as they are."""
        return self._metric.by_distance

    def of_one(self, similarity: float) -> float:
        """Return the relevance of one similarity."""
        if self.mapping is None and not self.floor:
            return self._metric.relevance(min(self._metric.score_range[1], similarity))
        return float(self(np.array([similarity]))[0])

    def bounds(self, similarities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The same for bounds on similarities, which need not be similarities of any documents.

        A mapping need not have a value for these: NaN is left as it is, and what is above 1 is 1.
        """
        wide = similarities.astype(np.float64)
        if self.mapping is None:
            return self._own(wide)
        with np.errstate(all="ignore"):
            return np.minimum(_mapped(self.mapping, wide), 1.0)

    def _own(self, wide: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = self._metric.score_range
        np.clip(wide, low, high, out=wide)
        if self.floor:
            wide -= self.floor
            wide /= 1.0 - self.floor
        return self._metric.relevance(wide)


def _mapped(mapping: Mapping, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    given = mapping(similarities)
    try:
        mapped = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the relevance function gives a {type(given).__name__}, not an array of numbers") from error
    if mapped.shape != similarities.shape:
        raise ConfigError(
            f"the relevance function gives shape {mapped.shape} for {similarities.shape}; it must map each similarity"
        )
    return mapped


def _checked(mapped: NDArray[np.float64]) -> NDArray[np.float64]:
    wrong = ~(np.isfinite(mapped) & (mapped <= 1))
    if wrong.any():
        raise ConfigError(
            f"the relevance function gives {mapped[wrong][0]} for one of {len(mapped)} similarities; it must map each "
            "to a finite number, at most 1"
        )
    return mapped
