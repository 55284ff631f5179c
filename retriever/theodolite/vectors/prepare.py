"""prepare(): check, convert and normalize vectors. No other code makes `Vectors`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, VectorError, type_of
from theodolite.types import Norms, Space, Vectors
from theodolite.vectors.metrics import MAX_NORM, get_metric

UNIT_RANGE = (0.98, 1.02)
"""The range of norms that `norms="unit"` accepts."""

_SAMPLE = 20_000  # rows of the first batch, evenly spaced, on which transforms are fitted
_NOTHING = 1e-6  # a vector shortened to this share is rounding, without a direction
_CHUNK = 4096  # rows copied to float64 at a time


def prepare(
    vectors: Any,
    space: Space,
    *,
    ids: Sequence[str] | None = None,
    name: str = "vectors",
    seen: Callable[[NDArray[np.float64]], object] | None = None,
) -> tuple[Vectors, Space]:
    """Check and convert vectors, normalize them if the metric does, and apply the space's transforms.

    Args:
        vectors: (n, d): lists, a numpy array of a float dtype (or integers beyond 8 bits), or a torch tensor.
        space: the settings of the collection. If its dimension is None, its norms `auto` or its transforms not fitted,
            this batch settles them.
        ids: the documents' ids, row by row, for messages.
        name: the name of the rows in messages.
        seen: called with the norms as given, (n,), of a batch that is accepted.

    Returns:
        The vectors, (n, d) float32, C-contiguous, finite, and of unit length if the metric normalizes (norms are
        computed in float64); and the space with dimension, norms and transforms settled, unless the batch is empty.

    Raises:
        VectorError: vectors that are ragged, not two-dimensional, of another dimension, NaN or infinite, of zero length
            or of a norm that the metric or the collection refuses; or too few rows to fit the transforms. The message
            says how many, the first row, its document id and what to do; `rows` lists all offending rows.
        ConfigError: transforms that do not fit this dimension.
    """
    raw = as_array(vectors, name)
    if raw.ndim != 2:
        raise VectorError(
            f"{name} have shape {raw.shape}; expected (n, dimension)"
            + (", so wrap a single vector in a list" if raw.ndim == 1 else ""),
            shape=raw.shape,
        )
    count, dimension = raw.shape
    if not count:
        empty = np.zeros((0, space.dimension or 0), np.float32)
        return Vectors(empty), space
    if dimension != (space.raw_dimension or dimension) or not dimension:
        _refuse_dimension(dimension, space, name)
    metric = get_metric(space.metric)
    out = np.empty((count, dimension), np.float32)
    norms = np.empty(count)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        norms[part] = _convert(raw[part], out[part], normalize=metric.normalizes)
    smallest, largest = np.minimum.reduce(norms), np.maximum.reduce(norms)
    if not (smallest > 0 and largest <= MAX_NORM):  # rare, and true for NaN
        _check(norms, space, ids, name)
    low, high = UNIT_RANGE
    unit = bool(low <= smallest and largest <= high)
    settled = space
    if space.dimension is None or space.norms == "auto":
        settled = replace(space, dimension=space.dimension or dimension, norms=_settled_norms(space, unit=unit))
    if settled.norms == "unit" and not unit:
        _refuse(
            ~((norms >= low) & (norms <= high)),
            f"have norms outside [{low}, {high}], in a collection of unit vectors",
            "Was a normalization step skipped? Normalize them, or create the collection with norms='any'",
            ids,
            name,
            norms,
        )
    if seen is not None:
        seen(norms)
    if not space.transforms:
        return Vectors(out), settled
    if space.dimension is None:
        settled = _fitted(out, settled)
    return _transformed(out, settled, ids, name), settled


def check_centering(space: Space) -> None:
    """Raise ConfigError for transforms that subtract a mean from vectors of any length under an inner product."""
    centering = next((transform.spec for transform in space.transforms if transform.subtracts_mean), None)
    if centering is not None and get_metric(space.metric).grows_with_norm and space.norms == "any":
        raise ConfigError(
            f"{centering} subtracts a mean, which changes the dot products of vectors of any length, and their order. "
            "Pass unit vectors, use metric='cosine' or 'l2', or leave it out (Pca alone keeps dot products)",
            metric=space.metric,
        )


def _fitted(rows: NDArray[np.float32], space: Space) -> Space:
    """Return the space with its transforms fitted, each to the output of the one before."""
    check_centering(space)
    sample: NDArray[Any] = rows
    if len(rows) > _SAMPLE:
        sample = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
    done = []
    for transform in space.transforms:
        transform.output_dimension(sample.shape[1])
        wanted = transform.rows_needed(sample.shape[1])
        if len(sample) < wanted:
            raise VectorError(
                f"{transform} is fitted on the first batch. It has {len(sample)} vectors; it needs at least {wanted}, "
                f"better more. Add them in one batch (batch_size={wanted} or more), or pass "
                f"{transform}.fit(vectors) of a sample as the transform. Nothing is stored",
                expected=wanted,
                got=len(sample),
            )
        done.append(transform.fit_sample(sample))
        sample = done[-1].apply(sample)
    return replace(space, dimension=sample.shape[1], transforms=tuple(done))


def _transformed(rows: NDArray[np.float32], space: Space, ids: Sequence[str] | None, name: str) -> Vectors:
    out = np.empty((len(rows), space.dimension or 0), np.float32)
    norms = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        steps: NDArray[Any] = rows[part]
        for transform in space.transforms:
            steps = transform.apply(steps)
        norms[part] = _convert(steps, out[part], normalize=space.normalizes)
    if space.normalizes:
        least = _NOTHING
        for transform in space.transforms:
            least *= transform.gain
        if norms.min() <= least:
            _refuse_empty(rows, norms <= least, space, ids, name)
    elif not norms.max() <= MAX_NORM:
        _check(norms, space, ids, f"{name} after the transforms")
    out += 0.0  # -0.0 equals 0.0 but has other bits
    return Vectors(out)


def _refuse_empty(
    rows: NDArray[np.float32], bad: NDArray[np.bool_], space: Space, ids: Sequence[str] | None, name: str
) -> None:
    """Raise VectorError, naming the transform after which nothing is left of the first bad row."""
    first = int(bad.argmax())
    row: NDArray[Any] = rows[first : first + 1]
    least, culprit = _NOTHING, space.transforms[-1]
    for transform in space.transforms:
        row, least = transform.apply(row), least * transform.gain
        if float(np.sqrt(np.einsum("ij,ij->i", row, row, dtype=np.float64)[0])) <= least:
            culprit = transform
            break
    _refuse(
        bad,
        f"have nothing left after {culprit.spec!r}, so they have no direction",
        f"Drop these documents, or build the collection without {culprit.spec!r}",
        ids,
        name,
    )


def _refuse_dimension(dimension: int, space: Space, name: str) -> None:
    known, advice = space.raw_dimension, "Was another embedding model used?"
    if space.transforms and dimension == space.dimension:
        steps = ", ".join(repr(transform.spec) for transform in space.transforms)
        advice = f"They look as if [{steps}] were applied already; pass vectors as the embedder returns them"
    raise VectorError(
        f"{name} have dimension {dimension}; the collection has {known or 'none yet'}. {advice}",
        expected=known,
        got=dimension,
    )


def _convert(raw: NDArray[Any], out: NDArray[np.float32], *, normalize: bool) -> NDArray[np.float64]:
    """Write `raw`, normalized on request, to `out`. Return the raw norms; they are NaN or inf for rows that are."""
    with np.errstate(all="ignore"):  # rows that are not finite are found by their norms
        wide = raw.astype(np.float64)
        norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        if not (np.minimum.reduce(norms) >= 1e-100 and np.maximum.reduce(norms) <= 1e100):
            extreme = ~((norms >= 1e-100) & (norms <= 1e100))
            # Squares under- or overflow: divide by the largest component first.
            largest = np.abs(wide[extreme]).max(axis=1)
            safe = np.where(largest > 0, largest, 1.0)
            scaled = wide[extreme] / safe[:, None]
            lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
            norms[extreme] = lengths * safe
            if normalize:
                wide[extreme] = scaled
                scale = norms.copy()
                scale[extreme] = lengths
                np.divide(wide, scale[:, None], out=out, casting="unsafe")
                return norms
        if normalize:
            np.divide(wide, norms[:, None], out=out, casting="unsafe")
        else:
            out[...] = wide
    return norms


def _check(norms: NDArray[np.float64], space: Space, ids: Sequence[str] | None, name: str) -> None:
    # A norm in float64 is finite exactly if all components are, except for the largest doubles.
    broken = ~np.isfinite(norms)
    if broken.any():
        _refuse(broken, "hold NaN or infinity", "Drop these documents or check the embedder", ids, name)
    metric = get_metric(space.metric)
    if not metric.allows_zero:
        _refuse(
            norms == 0,
            f"have zero length, which {metric.name} cannot compare",
            "Empty text? Drop these documents or pass another embedder",
            ids,
            name,
        )
    _refuse(
        norms > metric.max_norm,
        f"are longer than {metric.max_norm:g}, so their scores would overflow",
        "Scale them down",
        ids,
        name,
        norms,
    )


def _refuse(
    bad: NDArray[np.bool_],
    what: str,
    advice: str,
    ids: Sequence[str] | None,
    name: str,
    norms: NDArray[np.float64] | None = None,
) -> None:
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    first = int(rows[0])
    where = f"first at row {first}"
    if ids is not None:
        where += f" (document {ids[first]!r})"
    if norms is not None:
        where += f" with norm {norms[first]:.4g}"
    raise VectorError(
        f"{len(rows)} of {len(bad)} {name} {what}, {where}. {advice}.",
        rows=rows.tolist(),
        ids=None if ids is None else [ids[int(row)] for row in rows],
        norms=None if norms is None else norms[rows].tolist(),
        total=len(bad),
    )


def _settled_norms(space: Space, *, unit: bool) -> Norms:
    if space.norms != "auto":
        return space.norms
    return "unit" if unit and get_metric(space.metric).grows_with_norm else "any"


def as_array(vectors: Any, name: str) -> NDArray[Any]:
    """Return the vectors that a caller passed as an array of numbers, of any shape. Raises VectorError."""
    if hasattr(vectors, "detach"):
        array = _from_torch(vectors, name)
    elif isinstance(vectors, np.ndarray):
        array = _unmasked(vectors, name)
    elif isinstance(vectors, Iterable) and not isinstance(vectors, (str, bytes)):
        array = _stacked([_row(row, name) for row in vectors], name)
    else:
        raise VectorError(f"{name} are {type_of(vectors)}; expected an array of shape (n, dimension)")
    return _numeric(array, name)


def _row(row: Any, name: str) -> Any:
    return _from_torch(row, name) if hasattr(row, "detach") else _unmasked(row, name)


def _unmasked(vectors: Any, name: str) -> Any:
    if isinstance(vectors, np.ma.MaskedArray):
        raise VectorError(f"{name} are a masked array: fill the masked values, or drop these rows")
    return vectors


def _from_torch(tensor: Any, name: str) -> NDArray[Any]:
    # Torch is not imported here. numpy has no bfloat16, but float32 holds all its values.
    try:
        tensor = tensor.detach().cpu()
        converted: NDArray[Any] = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantized or without data
        raise VectorError(f"{name} cannot be read from a tensor: {error}") from error
    return converted


def _stacked(rows: list[Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(rows) if rows else np.zeros((0, 0))
    except (ValueError, TypeError) as error:
        shapes = [_shape(row) for row in rows]
        odd = next((i for i, shape in enumerate(shapes) if len(shape) != 1 or shape != shapes[0]), 0)
        raise VectorError(
            f"{name} are ragged: {_counted(0, shapes)}, {_counted(odd, shapes)}. "
            "Was another embedding model used for some of them?",
            rows=[odd],
        ) from error


def _shape(row: Any) -> tuple[int, ...]:
    try:
        return np.shape(row)
    except (ValueError, TypeError):
        return (-1, -1)


def _counted(row: int, shapes: list[tuple[int, ...]]) -> str:
    shape = shapes[row]
    return f"row {row} has {shape[0]} values" if len(shape) == 1 else f"row {row} is not a list of numbers"


def _numeric(array: NDArray[Any], name: str) -> NDArray[Any]:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" or array.dtype.name == "bfloat16" or (kind in "iu" and size > 1):
        return array
    if kind in "iu":
        advice = "8-bit integers are codes of quantized or binary embeddings, not vectors; pass the floats"
    else:
        advice = "expected floating point numbers"
    raise VectorError(f"{name} have dtype {array.dtype}: {advice}", dtype=str(array.dtype))
