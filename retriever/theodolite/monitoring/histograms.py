"""Compact, mergeable summaries of number series: exact moments, and a histogram for quantiles."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_BASE = math.log(1.02)  # bins are 2 % wide, so the middle of a bin is within 1 % of its values
_FAR = 1100  # bins on either side of 1: from 3e-10 to 3e9; values beyond go into the last bin
_ZERO = -_FAR - 1
_PAIR = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class Moments:
    """The count, sum and sum of squares of a series."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Moments":
        return cls(len(values), math.fsum(values), math.fsum(value * value for value in values))

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """The unbiased sample variance; 0 for fewer than two values."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.total * self.mean) / (self.count - 1))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)


@dataclass(slots=True)
class Series:
    """Moments and a histogram with bins of 2 %: quantiles are within 1 % of an observed value."""

    moments: Moments = field(default_factory=Moments)
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, values: Sequence[float], *, logarithms: bool = False) -> None:
        """Add values. With `logarithms`, the moments are those of the values' logarithms."""
        self.moments += Moments.of([math.log(value) for value in values] if logarithms else values)
        self.counts.update(map(_bin, values))

    def merge(self, other: "Series") -> None:
        self.moments += other.moments
        self.counts.update(other.counts)

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile, or None for an empty series."""
        left = q * (self.counts.total() - 1)
        for bin_ in sorted(self.counts):
            left -= self.counts[bin_]
            if left < 0:
                return _middle(bin_)
        return None

    def bins(self) -> bytes:
        """Return the histogram as little-endian (bin, count) pairs of eight-byte integers."""
        return np.array(sorted(self.counts.items()), _PAIR).tobytes()

    @classmethod
    def of_bins(cls, moments: Moments, bins: bytes) -> "Series":
        """Read the output of `bins`. Raises ValueError or TypeError for anything else."""
        pairs = np.frombuffer(bins, _PAIR).reshape(-1, 2)
        numbers = all(isinstance(part, (int, float)) for part in (moments.count, moments.total, moments.squares))
        if not numbers or (len(pairs) and (np.abs(pairs[:, 0]).max() > -2 * _ZERO or pairs[:, 1].min() < 0)):
            raise ValueError("this is not a histogram")
        return cls(moments, Counter(dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))))


def _bin(value: float) -> int:
    """Return the bin of a value. Bins are ordered like values: negative, 0 for zero, positive."""
    if not value:
        return 0
    exponent = round(math.log(abs(value)) / _BASE)
    return int(math.copysign(min(max(exponent, -_FAR), _FAR) - _ZERO, value))


def _middle(bin_: int) -> float:
    if not bin_:
        return 0.0
    return math.copysign(math.exp((abs(bin_) + _ZERO) * _BASE), bin_)
