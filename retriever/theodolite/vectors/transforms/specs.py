"""Specifications of transforms: `Truncate`, `Pca`, `Center` and `Whiten`, and how each is fitted."""

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
"""Rows to fit on for each direction that is kept. Dozens are better; with fewer than this, recall drops visibly."""

_MEAN_ROWS = 16  # rows that a mean needs
_SINGULAR = 1e-9  # a share of the largest variance; smaller ones are rounding in float32 vectors
_CHUNK = 4096  # rows summed at a time


@dataclass(frozen=True, slots=True)
class Spec:
    """A transform that is not fitted yet."""

    @property
    def input_dimension(self) -> int | None:
        return None

    @property
    def spec(self) -> "Spec":
        return self

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def subtracts_mean(self) -> bool:
        return isinstance(self, (Center, Whiten))

    @property
    def size(self) -> int | None:
        """The output dimension; None if it equals the input dimension."""
        return getattr(self, "d", None)

    def output_dimension(self, dimension: int) -> int:
        """Return the output dimension for an input dimension. Raises ConfigError if that is too small."""
        if self.size is not None and self.size > dimension:
            raise ConfigError(
                f"{self} keeps {self.size} dimensions, but vectors have only {dimension} there",
                expected=self.size,
                got=dimension,
            )
        return self.size or dimension

    def rows_needed(self, dimension: int) -> int:
        """Return the number of rows that fitting needs."""
        return ROWS_EACH * self.output_dimension(dimension)

    def fit_sample(self, sample: Floats) -> "Fitted":
        """Fit to `sample`, (n, d), the output of the transforms before."""
        raise NotImplementedError

    def apply(self, rows: Floats) -> Floats:
        raise ConfigError(f"{self} is not fitted")

    def fit(self, vectors: Any, *, metric: MetricName = DEFAULT_METRIC) -> "Fitted":
        """Fit in advance, to pass the result as a transform. To fit several in a row, see `transforms.fit`.

        Args:
            vectors: (n, d), as `add` takes them: a sample of those to be stored.
            metric: of the collection. For cosine the vectors are normalized first.

        Raises:
            VectorError: invalid vectors, or too few of them.
            ConfigError: fewer dimensions than the transform keeps.
        """
        return fit([self], vectors, metric=metric)[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size or ''})"


@dataclass(frozen=True, slots=True, repr=False)
class Truncate(Spec):
    """Keep the first d components, for models that are trained for it (Matryoshka). Needs no fitting."""

    d: int

    def __post_init__(self) -> None:
        _check_size(self, self.d)

    def rows_needed(self, dimension: int) -> int:
        return 1

    def fit_sample(self, sample: Floats) -> "Fitted":
        self.output_dimension(sample.shape[1])
        return Fitted(self, sample.shape[1])


@dataclass(frozen=True, slots=True, repr=False)
class Center(Spec):
    """Subtract the mean of the sample."""

    def rows_needed(self, dimension: int) -> int:
        return _MEAN_ROWS

    def fit_sample(self, sample: Floats) -> "Fitted":
        return Fitted(self, sample.shape[1], mean=_mean(sample))


@dataclass(frozen=True, slots=True, repr=False)
class Pca(Spec):
    """Project onto the d directions that hold most of the vectors' squared length.

    The mean is not subtracted, so dot products are kept as well as d dimensions can; exactly, with all of them. This is
    sklearn's TruncatedSVD. `[Center(), Pca(d)]` is its PCA.
    """

    d: int

    def __post_init__(self) -> None:
        _check_size(self, self.d)

    def fit_sample(self, sample: Floats) -> "Fitted":
        _, directions = _principal(sample, None, self.output_dimension(sample.shape[1]))
        return Fitted(self, sample.shape[1], matrix=directions.astype(np.float32))


@dataclass(frozen=True, slots=True, repr=False)
class Whiten(Spec):
    """Subtract the mean, project onto the d directions of largest variance, and scale each to variance 1.

    Without d it keeps all directions. It changes which vectors are near. This is sklearn's PCA(d, whiten=True).
    """

    d: int | None = None

    def __post_init__(self) -> None:
        if self.d is not None:
            _check_size(self, self.d)

    def fit_sample(self, sample: Floats) -> "Fitted":
        size, mean = self.output_dimension(sample.shape[1]), _mean(sample)
        variances, directions = _principal(sample, mean, size)
        varying = int(np.count_nonzero(variances > _SINGULAR * max(variances[0], 1e-300)))
        if varying < size:
            raise VectorError(
                f"the {len(sample)} vectors to fit {self} on vary in {varying} directions; it needs {size}. Use "
                f"Whiten({varying}) at most, or fit on vectors that differ more",
                expected=size,
                got=varying,
            )
        return Fitted(self, sample.shape[1], mean=mean, matrix=(directions / np.sqrt(variances)).astype(np.float32))


def fit(
    transforms: Iterable[Spec | Fitted], vectors: Any, *, metric: MetricName = DEFAULT_METRIC
) -> tuple[Fitted, ...]:
    """Fit transforms to a sample, each to the output of the one before.

    Args:
        vectors: (n, d), as `add` takes them.
        metric: of the collection. For cosine the vectors are normalized first.

    Raises:
        VectorError: invalid vectors, or too few of them.
        ConfigError: transforms that do not fit together, or do not fit the vectors.
    """
    specs = tuple(transforms)
    pinned = prepare(vectors, Space(metric, transforms=specs), name="vectors to fit on")[1].transforms
    fitted = tuple(each for each in pinned if isinstance(each, Fitted))
    if len(fitted) < len(specs):
        raise VectorError(f"there are no vectors to fit {specs[0]} on")
    return fitted


def _check_size(spec: Spec, d: Any) -> None:
    if not isinstance(d, (int, np.integer)) or isinstance(d, bool) or d < 1:
        raise ConfigError(f"{type(spec).__name__}({d!r}): the dimension to keep must be an integer of at least 1", d=d)
    object.__setattr__(spec, "d", int(d))


def _mean(sample: Floats) -> Doubles:
    mean: Doubles = np.mean(sample, axis=0, dtype=np.float64)
    return mean


def _principal(sample: Floats, mean: Doubles | None, size: int) -> tuple[Doubles, Doubles]:
    """Return the largest eigenvalues of the second moment about `mean` or zero, and their eigenvectors, (d, size)."""
    moment = np.zeros((sample.shape[1], sample.shape[1]))
    for start in range(0, len(sample), _CHUNK):
        part = sample[start : start + _CHUNK].astype(np.float64)
        if mean is not None:
            part -= mean
        moment += part.T @ part
    values, vectors = np.linalg.eigh(moment / max(1, len(sample) - (mean is not None)))
    values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
    # The sign of an eigenvector is arbitrary: make the largest component positive.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    signed: Doubles = vectors * np.sign(largest)
    return values, signed
