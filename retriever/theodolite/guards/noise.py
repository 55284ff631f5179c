"""Noise: how much an embedder's vectors of the same text vary while nothing has changed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import VectorError

Doubles = NDArray[np.float64]
Embed = Callable[[tuple[str, ...]], Doubles]
"""Takes n texts and returns their raw vectors, (n, d)."""
Pair = tuple[Doubles, Doubles]

MIN_COSINE = 0.999
NORM_TOLERANCE = 0.02
_MARGIN = 4.0  # other texts may have more noise than the few that are measured
_BROKEN = -1.0  # stands for the cosine of vectors that are zero or not finite


@dataclass(frozen=True, slots=True)
class Noise:
    """Differences between vectors of the same text.

    Attributes:
        alone: cosine between two vectors of a text that was embedded alone.
        batch: lowest cosine between vectors of a text that was embedded alone and in batches.
        norm: largest relative difference of the norms of those vectors.
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
        """The relative difference above which norms have changed by more than noise."""
        return max(NORM_TOLERANCE, _MARGIN * self.norm)

    def changes_results(self, *, norms: bool) -> bool:
        """Return whether the noise is as large as a change of the model that would be refused.

        Args:
            norms: whether scores depend on norms.
        """
        return self.cosine < MIN_COSINE or (norms and self.norm > NORM_TOLERANCE)

    def worst(self, other: "Noise") -> "Noise":
        """Return the larger noise of two, figure by figure."""
        return Noise(min(self.alone, other.alone), min(self.batch, other.batch), max(self.norm, other.norm))

    def describe(self) -> str:
        """Return the figures, the probable cause and the fix."""
        if self.cosine == _BROKEN:
            return "vectors are zero, NaN or infinite in one batch and not in another. An overflow in half precision?"
        if self.alone < MIN_COSINE:
            return (
                f"a text embedded alone twice has a cosine of {self.alone:.3f}. Is dropout on (training mode)? Call "
                "model.eval()"
            )
        if self.batch < MIN_COSINE:
            return (
                f"cosines between batches are as low as {self.batch:.3f}. Embed one text at a time (batch_size=1), or "
                "use weights that are not quantized"
            )
        return f"norms differ by up to {self.norm:.1%}"

    def to_dict(self) -> dict[str, float]:
        """Return the figures as JSON values."""
        return {"alone": self.alone, "batch": self.batch, "norm": self.norm}


def measure(embed: Embed, texts: tuple[str, ...], vectors: Doubles, filler: str) -> Noise:
    """Measure noise in three calls: one text alone, twice, and all texts in another batch.

    Args:
        vectors: vectors of the texts, from an earlier call.
        filler: a longer text for the batch, so that the others are padded.

    Raises:
        VectorError: the dimension differs between calls.
    """
    row = min(1, len(texts) - 1)
    first, second = embed((texts[row],)), embed((texts[row],))
    batch = embed((filler, *reversed(texts)))[:0:-1]
    return noise_between((first, second), (vectors[row : row + 1], first), (vectors, batch))


def noise_between(alone: Pair, *batches: Pair) -> Noise:
    """Return the noise between pairs of vectors, (n, d) each, of the same texts.

    Args:
        alone: vectors of a text that was embedded alone, twice.
        batches: vectors of texts in two batches.

    Raises:
        VectorError: the dimensions differ.
    """
    dimensions = sorted({part.shape[1] for pair in (alone, *batches) for part in pair})
    if len(dimensions) > 1:
        raise VectorError(
            f"the embedder returned vectors of {dimensions[0]} dimensions for some texts and of {dimensions[-1]} for "
            "others",
            dimensions=dimensions,
        )
    compared = [cosines_and_norms(*pair) for pair in (alone, *batches)]
    lowest = [float(np.nan_to_num(cosines, nan=_BROKEN).min()) for cosines, _ in compared]
    norms = np.concatenate([norms for _, norms in compared])
    with np.errstate(all="ignore"):
        difference = np.abs(norms[:, 0] - norms[:, 1]) / norms.max(axis=1)
    return Noise(lowest[0], min(lowest[1:]), float(np.nanmax(difference, initial=0.0)))


def cosines_and_norms(then: Doubles, now: Doubles) -> tuple[Doubles, Doubles]:
    """Return the cosines, (n,), and norms, (n, 2), of two arrays of vectors, (n, d) each.

    A cosine is NaN if one of the two vectors is zero or not finite, and 1 if both are, because an embedder that failed
    on a text before and now has not changed. Norms are NaN if both vectors are not finite.
    """
    with np.errstate(all="ignore"):
        norms = np.stack([np.sqrt(np.vecdot(then, then)), np.sqrt(np.vecdot(now, now))], axis=1)
        cosines = np.vecdot(then, now) / norms.prod(axis=1)
    broken = ~np.isfinite(norms).any(axis=1)
    norms[broken] = np.nan
    cosines[broken | (norms == 0).all(axis=1)] = 1.0
    return cosines, norms
