"""Series of numbers kept in little room: exact moments, and a histogram for the quantiles. Both can be merged."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_BASE = math.log(1.02)  # a bin is 2 % wide, so what is told of a value in it is within 1 %
_FAR = 1100  # bins to either side of 1: from 3e-10 to 3e9; what lies beyond counts as the last
_ZERO = -_FAR - 1
_PAIR = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class Moments:
    """How many, their sum and the sum of their squares."""

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
        """Of one value, estimated without bias; 0 for fewer than two."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.total * self.mean) / (self.count - 1))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)


@dataclass(slots=True)
class Series:
    """Moments and a histogram with bins of 2 %: quantiles are within 1 % of a value that was seen."""

    moments: Moments = field(default_factory=Moments)
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, values: Sequence[float], *, logarithms: bool = False) -> None:
        """Take values in; with `logarithms` the moments are those of their logarithms."""
        self.moments += Moments.of([math.log(value) for value in values] if logarithms else values)
        self.counts.update(map(_bin, values))

    def merge(self, other: "Series") -> None:
        self.moments += other.moments
        self.counts.update(other.counts)

    def quantile(self, q: float) -> float | None:
        """The value below which a share q of all lies; None where there are none."""
        left = q * (self.counts.total() - 1)
        for bin_ in sorted(self.counts):
            left -= self.counts[bin_]
            if left < 0:
                return _middle(bin_)
        return None

    def bins(self) -> bytes:
        """The histogram as little-endian pairs of a bin and its count, eight bytes each."""
        return np.array(sorted(self.counts.items()), _PAIR).tobytes()

    @classmethod
    def of_bins(cls, moments: Moments, bins: bytes) -> "Series":
        """Raises ValueError, TypeError for what `bins` has not written."""
        pairs = np.frombuffer(bins, _PAIR).reshape(-1, 2)
        numbers = all(isinstance(part, (int, float)) for part in (moments.count, moments.total, moments.squares))
        if not numbers or (len(pairs) and (np.abs(pairs[:, 0]).max() > -2 * _ZERO or pairs[:, 1].min() < 0)):
            raise ValueError("this is no histogram")
        return cls(moments, Counter(dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))))


def _bin(value: float) -> int:
    """A number in the order of the values: positive, 0 for zero, or negative."""
    if not value:
        return 0
    exponent = round(math.log(abs(value)) / _BASE)
    return int(math.copysign(min(max(exponent, -_FAR), _FAR) - _ZERO, value))


def _middle(bin_: int) -> float:
    if not bin_:
        return 0.0
    return math.copysign(math.exp((abs(bin_) + _ZERO) * _BASE), bin_)
