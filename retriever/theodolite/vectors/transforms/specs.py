"""What can be wanted: `Truncate`, `Pca`, `Center`, `Whiten`; and how each is fitted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, VectorError
from theodolite.types import Space
from theodolite.vectors.metrics import DEFAULT_METRIC, MetricName
from theodolite.vectors.prepare import prepare
from theodolite.vectors.transforms.fitted import Doubles, Fitted, Floats

ROWS_EACH = 4
"""Rows to fit on for each direction that is kept. Some tens are better; below, questions lose visibly."""

_LEAST_ROWS = 16  # for a mean
_SINGULAR = 1e-9  # a share of the largest variance: below it, float32 vectors hold nothing but rounding
_CHUNK = 4096  # rows summed at a time


@dataclass(frozen=True, slots=True)
class Spec:
    """What is wanted; not fitted yet."""

    @property
    def entered(self) -> int | None:
        return None

    @property
    def spec(self) -> "Spec":
        return self

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def moves(self) -> bool:
        return isinstance(self, (Center, Whiten))

    @property
    def size(self) -> int | None:
        """The dimension that comes out, None where it is that which goes in."""
        return getattr(self, "d", None)

    def leaving(self, dimension: int) -> int:
        """The dimension that comes out where `dimension` goes in. Raises ConfigError where it is too small."""
        if self.size is not None and self.size > dimension:
            raise ConfigError(
                f"{self} keeps {self.size} dimensions, but vectors have only {dimension} there",
                expected=self.size,
                got=dimension,
            )
        return self.size or dimension

    def wanted(self, dimension: int) -> int:
        """How many rows it takes to fit this."""
        return ROWS_EACH * self.leaving(dimension)

    def fitted(self, sample: Floats) -> "Fitted":
        """Fit to `sample`, (n, d), as it comes out of the transforms before."""
        raise NotImplementedError

    def apply(self, rows: Floats) -> Floats:
        raise ConfigError(f"{self} is not fitted")

    def fit(self, vectors: Any, *, metric: MetricName = DEFAULT_METRIC) -> "Fitted":
        """Fit beforehand, to pass the result as a transform; for several in a row see `transforms.fit`.

        Args:
            vectors: (n, d), as `add` takes them: a sample of all that will be stored.
            metric: the collection's. For cosine the vectors are normalised first.

        Raises:
            VectorError: vectors that do not fit, or too few of them. ConfigError: fewer dimensions than asked for.
        """
        return fit([self], vectors, metric=metric)[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size or ''})"


@dataclass(frozen=True, slots=True, repr=False)
class Truncate(Spec):
    """Keep the first d components: for models that are trained for it (Matryoshka). Needs no fitting."""

    d: int

    def __post_init__(self) -> None:
        _check_size(self, self.d)

    def wanted(self, dimension: int) -> int:
        return 1

    def fitted(self, sample: Floats) -> "Fitted":
        self.leaving(sample.shape[1])
        return Fitted(self, sample.shape[1])


@dataclass(frozen=True, slots=True, repr=False)
class Center(Spec):
    """Take the mean of the sample off."""

    def wanted(self, dimension: int) -> int:
        return _LEAST_ROWS

    def fitted(self, sample: Floats) -> "Fitted":
        return Fitted(self, sample.shape[1], mean=_mean(sample))


@dataclass(frozen=True, slots=True, repr=False)
class Pca(Spec):
    """Rotate onto the d directions that hold most of the vectors' squared length.

    The mean stays in, so that dot products are kept as well as d dimensions can (and wholly, with all of them):
    sklearn's TruncatedSVD. `[Center(), Pca(d)]` is its PCA.
    """

    d: int

    def __post_init__(self) -> None:
        _check_size(self, self.d)

    def fitted(self, sample: Floats) -> "Fitted":
        _, directions = _principal(sample, None, self.leaving(sample.shape[1]))
        return Fitted(self, sample.shape[1], matrix=directions.astype(np.float32))


@dataclass(frozen=True, slots=True, repr=False)
class Whiten(Spec):
    """Take the mean off, rotate onto the d directions of largest variance, and make each variance 1.

    Without d, onto all directions. It changes what is near. sklearn's PCA(d, whiten=True).
    """

    d: int | None = None

    def __post_init__(self) -> None:
        if self.d is not None:
            _check_size(self, self.d)

    def fitted(self, sample: Floats) -> "Fitted":
        size, mean = self.leaving(sample.shape[1]), _mean(sample)
        variances, directions = _principal(sample, mean, size)
        varying = int(np.count_nonzero(variances > _SINGULAR * max(variances[0], 1e-300)))
        if varying < size:
            raise VectorError(
                f"the {len(sample)} vectors to fit {self} on vary in {varying} directions only, and {size} are to be "
                f"of variance 1. Ask for Whiten({varying}) at most, or fit on vectors that differ more",
                expected=size,
                got=varying,
            )
        return Fitted(self, sample.shape[1], mean=mean, matrix=(directions / np.sqrt(variances)).astype(np.float32))


def fit(
    transforms: Iterable[Spec | Fitted], vectors: Any, *, metric: MetricName = DEFAULT_METRIC
) -> tuple[Fitted, ...]:
    """Fit transforms to a sample, each to what the ones before make of it.

    Args:
        vectors: (n, d), as `add` takes them.
        metric: the collection's. For cosine the vectors are normalised first.

    Raises:
        VectorError: vectors that do not fit, or too few of them.
        ConfigError: transforms that do not fit together or the vectors.
    """
    wanted = tuple(transforms)
    pinned = prepare(vectors, Space(metric, transforms=wanted), name="vectors to fit on")[1].transforms
    found = tuple(each for each in pinned if isinstance(each, Fitted))
    if len(found) < len(wanted):
        raise VectorError(f"there are no vectors to fit {wanted[0]} on")
    return found


def _check_size(spec: Spec, d: Any) -> None:
    if not isinstance(d, (int, np.integer)) or isinstance(d, bool) or d < 1:
        raise ConfigError(f"{type(spec).__name__}({d!r}): the dimension to keep is an integer from 1", d=d)
    object.__setattr__(spec, "d", int(d))


def _mean(sample: Floats) -> Doubles:
    mean: Doubles = np.mean(sample, axis=0, dtype=np.float64)
    return mean


def _principal(sample: Floats, mean: Doubles | None, size: int) -> tuple[Doubles, Doubles]:
    """The largest eigenvalues of the second moment about `mean` (or zero), and their eigenvectors, (d, size)."""
    moment = np.zeros((sample.shape[1], sample.shape[1]))
    for start in range(0, len(sample), _CHUNK):
        part = sample[start : start + _CHUNK].astype(np.float64)
        if mean is not None:
            part -= mean
        moment += part.T @ part
    values, vectors = np.linalg.eigh(moment / max(1, len(sample) - (mean is not None)))
    values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
    # An eigenvector has no sign of its own: the largest component is made positive.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    signed: Doubles = vectors * np.sign(largest)
    return values, signed
