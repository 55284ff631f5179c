"""Transforms: steps that every vector passes before it is stored, fitted once and pinned with the collection.

`Truncate(d)`, `Pca(d)`, `Center()` and `Whiten(d)` are specifications. The first batch fits them, or `fit` does so
beforehand; the result is a `Fitted`. `vectors.prepare` applies them to documents and queries alike.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, ManifestError, VectorError
from theodolite.types import Norms, Space, Transform
from theodolite.vectors.metrics import DEFAULT_METRIC, MetricName
from theodolite.vectors.prepare import check_centering, prepare

ROWS_EACH = 4
"""Rows to fit on for each direction that is kept. Dozens are better; with fewer than this, recall drops visibly."""

_MEAN_ROWS = 16  # rows that a mean needs
_SINGULAR = 1e-9  # a share of the largest variance; smaller ones are rounding in float32 vectors
_CHUNK = 4096  # rows summed at a time
_BITS = 26  # the bits of an integer in the fixed-point product

Floats = NDArray[np.float32] | NDArray[np.float64]
Doubles = NDArray[np.float64]


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
        """Fit in advance, to pass the result as a transform. To fit several in a row, see `fit`.

        Args:
            vectors: (n, d), as `add` takes them: a sample of those to be stored.
            metric: the metric of the collection. For cosine the vectors are normalized first.

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


_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Truncate, Pca, Center, Whiten)}


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """A fitted transform: x becomes (x − mean) · matrix. Equal if the hash is equal.

    Attributes:
        spec: the specification it was fitted from.
        input_dimension: the dimension of the vectors it takes.
        mean: (input_dimension,) float64, or None.
        matrix: (input_dimension, d) float32, or None.
    """

    spec: Transform
    input_dimension: int
    mean: Doubles | None = None
    matrix: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for array in (self.mean, self.matrix):
            if array is not None:
                array.setflags(write=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the specification, the dimension and the arrays, in hexadecimal."""
        found: str = encode_transform(self)["sha256"]
        return found

    @property
    def gain(self) -> float:
        """The largest factor by which it can lengthen a vector."""
        return self._fixed[2] if self.matrix is not None else 1.0

    @property
    def subtracts_mean(self) -> bool:
        return self.mean is not None

    def output_dimension(self, dimension: int) -> int:
        """Return the output dimension. Raises ConfigError if it was fitted for another input dimension."""
        if dimension != self.input_dimension:
            raise ConfigError(
                f"{self.spec} was fitted for {self.input_dimension} dimensions, but vectors have {dimension} there",
                expected=self.input_dimension,
                got=dimension,
            )
        return self.spec.output_dimension(dimension)

    def rows_needed(self, dimension: int) -> int:
        return 0

    def fit_sample(self, sample: Floats) -> "Fitted":
        self.output_dimension(sample.shape[1])
        return self

    def apply(self, rows: Floats) -> Floats:
        """Transform rows, (n, input_dimension), to (n, d). No bit of a result depends on the other rows."""
        if self.mean is not None:
            rows = rows - self.mean
        if self.matrix is not None:
            return self._product(rows)
        return rows[:, : self.spec.output_dimension(self.input_dimension)]

    def _product(self, rows: Floats) -> Doubles:
        """Return rows · matrix, computed without rounding.

        The order in which BLAS adds depends on the number of rows, on threads and on the processor. Without rounding it
        does not matter: rows and columns are scaled by powers of two to a length of at most 1, and become integers in
        units of 2⁻²⁶. By Cauchy–Schwarz every sum of their products stays below 2⁵³.
        """
        wide = rows.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        scales = _power(lengths)[:, None]
        wide *= 2.0**_BITS / scales
        np.rint(wide, out=wide)
        columns, column_scales, _ = self._fixed
        product: Doubles = wide @ columns
        product *= scales
        product *= column_scales
        return product

    @cached_property
    def _fixed(self) -> tuple[Doubles, Doubles, float]:
        """Return the matrix as integers, the units of its columns' products, and its norm (columns are orthogonal)."""
        matrix = np.zeros((0, 0)) if self.matrix is None else self.matrix.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
        scales = _power(lengths)
        return np.rint(matrix * (2.0**_BITS / scales)), scales * 2.0 ** (-2 * _BITS), float(lengths.max(initial=0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fitted) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"{self.spec} fitted as {self.hash[:8]}"


def fit(
    transforms: Iterable[Spec | Fitted], vectors: Any, *, metric: MetricName = DEFAULT_METRIC
) -> tuple[Fitted, ...]:
    """Fit transforms to a sample, each to the output of the one before.

    Args:
        vectors: (n, d), as `add` takes them.
        metric: the metric of the collection. For cosine the vectors are normalized first.

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


def check_transforms(transforms: Any, metric: MetricName, norms: Norms) -> tuple[Transform, ...]:
    """Check transforms and return them as a tuple.

    Raises:
        ConfigError: something that is not a transform, the same kind twice, dimensions that do not fit together, or a
            mean subtracted from vectors of any length under an inner product.
    """
    if not isinstance(transforms, Iterable) or isinstance(transforms, (str, bytes)):
        raise ConfigError(f"transforms is {transforms!r}; expected a list such as [Center(), Pca(128)]")
    found: list[Transform] = []
    for place, each in enumerate(transforms):
        if not isinstance(each, (Spec, Fitted)):
            raise ConfigError(
                f"transforms[{place}] is {each!r}; expected Truncate(d), Pca(d), Center() or Whiten(d), fitted or not"
            )
        kinds = [type(other.spec) for other in found]
        if type(each.spec) in kinds:
            name = type(each.spec).__name__
            raise ConfigError(
                f"transforms has {name} twice, at places {kinds.index(type(each.spec))} and {place}; once is enough"
            )
        found.append(each)
    check_chain(found)
    check_centering(Space(metric, None, norms, tuple(found)))
    return tuple(found)


def check_chain(transforms: Iterable[Transform], dimension: int | None = None) -> None:
    """Raise ConfigError if vectors of `dimension` (None: unknown) cannot pass the transforms one after the other."""
    for each in transforms:
        entering = each.input_dimension if dimension is None else dimension
        dimension = each.spec.size if entering is None else each.output_dimension(entering)


def check_same(pinned: tuple[Transform, ...], given: tuple[Transform, ...]) -> None:
    """Raise ConfigError if `given` differs from `pinned`. A fitted transform equals an unfitted one of its kind."""

    def same(one: Transform, other: Transform) -> bool:
        both = isinstance(one, Fitted) and isinstance(other, Fitted)
        return one == other if both else one.spec == other.spec

    if len(pinned) != len(given) or not all(map(same, pinned, given)):
        raise ConfigError(
            f"the collection is pinned to {_listed(pinned)}, not {_listed(given)}, because its vectors are stored "
            "transformed. Open it without transforms=, or build another collection from the documents",
            pinned=pinned,
            asked=given,
        )


def encode_transform(transform: Transform) -> dict[str, Any]:
    """Return a transform as JSON values, with a hash."""
    spec: Any = transform.spec
    fitted = transform if isinstance(transform, Fitted) else None
    values = {
        "name": type(spec).__name__,
        "d": spec.size,
        "entered": transform.input_dimension,
        "mean": None if fitted is None else _text(fitted.mean, "<f8"),
        "matrix": None if fitted is None else _text(fitted.matrix, "<f4"),
    }
    return {**values, "sha256": _hash_of(values)}


def decode_transform(values: dict[str, Any]) -> Transform:
    """Return the transform that `encode_transform` wrote.

    Raises:
        ManifestError: its values do not match its hash.
    """
    rest = {name: value for name, value in values.items() if name != "sha256"}
    if _hash_of(rest) != values.get("sha256"):
        raise ManifestError(
            f"the pinned transform {values.get('name')}({values.get('d') or ''}) does not match its hash: the manifest "
            "is damaged. Restore the folder from a copy"
        )
    kind, d, entered = _KINDS[rest["name"]], rest["d"], rest["entered"]
    spec = kind() if d is None else kind(d)
    if entered is None:
        found: Transform = spec
        return found
    mean, matrix = _array(rest["mean"], "<f8", (entered,)), _array(rest["matrix"], "<f4", (entered, -1))
    return Fitted(spec, entered, mean, matrix)


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


def _hash_of(values: dict[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _text(array: Floats | None, dtype: str) -> str | None:
    return None if array is None else b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _power(lengths: Doubles) -> Doubles:
    """Return the smallest powers of two above the lengths, within a range in which scaling does not overflow."""
    powers: Doubles = np.ldexp(1.0, np.clip(np.frexp(lengths)[1], -900, 900))
    return powers


def _array(text: str | None, dtype: str, shape: tuple[int, ...]) -> Any:
    if text is None:
        return None
    return np.frombuffer(b64decode(text), dtype).reshape(shape).astype(dtype[1:])


def _listed(transforms: Sequence[Transform]) -> str:
    return f"transforms=[{', '.join(map(repr, transforms))}]" if transforms else "no transforms"
