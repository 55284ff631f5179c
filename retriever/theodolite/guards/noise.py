"""Noise: how far apart an embedder's vectors of one text are while nothing has changed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import VectorError

Doubles = NDArray[np.float64]
Embed = Callable[[tuple[str, ...]], Doubles]
"""One encoder of an embedder: takes n texts, returns their raw vectors, (n, d)."""
Pair = tuple[Doubles, Doubles]

MIN_COSINE = 0.999
NORM_TOLERANCE = 0.02
_MARGIN = 4.0  # the noise of other texts may be larger than that of the few measured
_BROKEN = -1.0  # stands for the cosine of vectors that have none


@dataclass(frozen=True, slots=True)
class Noise:
    """Differences between vectors of the same text.

    Attributes:
        alone: the cosine between the vectors of a text that was embedded alone, twice.
        batch: the lowest cosine between the vectors of a text that was embedded alone and in batches.
        norm: the largest relative difference of the lengths of those vectors.
    """

    alone: float = 1.0
    batch: float = 1.0
    norm: float = 0.0

    @property
    def cosine(self) -> float:
        """The lowest cosine measured."""
        return min(self.alone, self.batch)

    @property
    def min_cosine(self) -> float:
        """The cosine below which vectors have changed by more than noise."""
        return min(MIN_COSINE, 1 - _MARGIN * (1 - self.cosine))

    @property
    def norm_tolerance(self) -> float:
        """The relative difference above which lengths have changed by more than noise."""
        return max(NORM_TOLERANCE, _MARGIN * self.norm)

    def changes_results(self, *, norms: bool) -> bool:
        """Whether noise alone is as large as a change of the model that would be refused.

        Args:
            norms: whether scores depend on lengths.
        """
        return self.cosine < MIN_COSINE or (norms and self.norm > NORM_TOLERANCE)

    def worst(self, other: "Noise") -> "Noise":
        """The larger noise of two, figure by figure."""
        return Noise(min(self.alone, other.alone), min(self.batch, other.batch), max(self.norm, other.norm))

    def describe(self) -> str:
        """The figures, with the probable cause and its cure."""
        if self.cosine == _BROKEN:
            return "zero, NaN or infinite in one batch and not in another. Does it overflow in half precision?"
        if self.alone < MIN_COSINE:
            return f"cosine {self.alone:.3f} for a text embedded alone, twice. Is dropout still on (training mode)?"
        if self.batch < MIN_COSINE:
            return (
                f"cosines down to {self.batch:.3f} between batches. Embed one text at a time (batch_size=1), or use "
                "weights that are not quantized"
            )
        return f"lengths up to {self.norm:.1%} apart"

    def to_dict(self) -> dict[str, float]:
        """JSON values."""
        return {"alone": self.alone, "batch": self.batch, "norm": self.norm}


def measure(embed: Embed, texts: tuple[str, ...], vectors: Doubles, filler: str) -> Noise:
    """Embed texts again, in three calls: one of them alone, twice, and all of them in another batch.

    Args:
        vectors: of the texts, as they were embedded before.
        filler: a longer text for the batch, so that the others are padded.

    Raises:
        VectorError: the dimension differs between calls.
    """
    place = min(1, len(texts) - 1)
    first, second = embed((texts[place],)), embed((texts[place],))
    batch = embed((filler, *reversed(texts)))[:0:-1]
    return between((first, second), (vectors[place : place + 1], first), (vectors, batch))


def between(alone: Pair, *batches: Pair) -> Noise:
    """The noise that pairs of vectors (n, d) of the same texts show: of one text embedded alone, and of batches."""
    dimensions = sorted({part.shape[1] for pair in (alone, *batches) for part in pair})
    if len(dimensions) > 1:
        raise VectorError(
            f"the embedder gives vectors of {dimensions[0]} dimensions, and of {dimensions[-1]} for others",
            dimensions=dimensions,
        )
    found = [compare(*pair) for pair in (alone, *batches)]
    cosines = [float(np.nan_to_num(cosine, nan=_BROKEN).min()) for cosine, _ in found]
    lengths = np.concatenate([length for _, length in found])
    with np.errstate(all="ignore"):
        apart = np.abs(lengths[:, 0] - lengths[:, 1]) / lengths.max(axis=1)
    return Noise(cosines[0], min(cosines[1:]), float(np.nanmax(apart, initial=0.0)))


def compare(then: Doubles, now: Doubles) -> tuple[Doubles, Doubles]:
    """Cosines, (n,), and lengths, (n, 2), of vectors (n, d).

    The cosine is NaN where one vector is zero or not finite, and 1 where both are: an embedder that makes nothing of
    a text has not changed. Lengths are NaN where both are not finite.
    """
    with np.errstate(all="ignore"):
        lengths = np.stack([np.sqrt(np.vecdot(then, then)), np.sqrt(np.vecdot(now, now))], axis=1)
        cosines = np.vecdot(then, now) / lengths.prod(axis=1)
    broken = ~np.isfinite(lengths).any(axis=1)
    lengths[broken] = np.nan
    cosines[broken | (lengths == 0).all(axis=1)] = 1.0
    return cosines, lengths
