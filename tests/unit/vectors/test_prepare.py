"""prepare(): valid input, output, invalid input and its messages."""

import copy
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from theodolite.errors import VectorError
from theodolite.types import Norms, Space
from theodolite.vectors.metrics import MAX_NORM, MetricName
from theodolite.vectors.prepare import UNIT_RANGE, prepare

METRICS: tuple[MetricName, ...] = get_args(MetricName)

NUMBERS = np.array([[1.0, 2.0, 2.0], [0.5, 0.0, -4.0], [3.0, 1.0, 1.0]])
"""Exact in every dtype."""

UNITS = NUMBERS / np.linalg.norm(NUMBERS, axis=1, keepdims=True)

GIVEN: dict[str, Callable[[], Any]] = {
    "lists": NUMBERS.tolist,
    "tuples": lambda: tuple(tuple(row) for row in NUMBERS.tolist()),
    "list of arrays": lambda: list(NUMBERS.astype(np.float32)),
    "generator": lambda: (row for row in NUMBERS.tolist()),
    "float16": lambda: NUMBERS.astype(np.float16),
    "float32": lambda: NUMBERS.astype(np.float32),
    "float64": lambda: NUMBERS.copy(),
    "longdouble": lambda: NUMBERS.astype(np.longdouble),
    "other byte order": lambda: NUMBERS.astype(">f4"),
    "Fortran order": lambda: np.asfortranarray(NUMBERS),
    "every other column": lambda: np.repeat(NUMBERS, 2, axis=1)[:, ::2],
    "every other row": lambda: np.repeat(NUMBERS, 2, axis=0).astype(np.float32)[::2],
    "backwards": lambda: NUMBERS[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda: np.ascontiguousarray(NUMBERS.T).T,
    "read-only": lambda: _read_only(NUMBERS.astype(np.float32)),
    "tensor": lambda: torch.tensor(NUMBERS, dtype=torch.float32),
    "tensor of doubles": lambda: torch.tensor(NUMBERS),
    "half tensor": lambda: torch.tensor(NUMBERS, dtype=torch.float16),
    "bfloat16 tensor": lambda: torch.tensor(NUMBERS, dtype=torch.bfloat16),
    "tensor with gradient": lambda: torch.tensor(NUMBERS, dtype=torch.float32, requires_grad=True),
    "bfloat16 tensor with gradient": lambda: torch.tensor(NUMBERS, dtype=torch.bfloat16, requires_grad=True),
    "tensor view": lambda: torch.tensor(NUMBERS.T.copy()).T,
    "list of tensors": lambda: list(torch.tensor(NUMBERS, dtype=torch.float32)),
    "list of bfloat16 tensors": lambda: list(torch.tensor(NUMBERS, dtype=torch.bfloat16)),
    "list of tensors with gradient": lambda: list(torch.tensor(NUMBERS, requires_grad=True)),
}

INTEGERS: dict[str, Callable[[], Any]] = {
    "lists": lambda: [[1, 0, 0], [0, 2, 0]],
    "int16": lambda: np.array([[1, 0, 0], [0, 2, 0]], np.int16),
    "uint64": lambda: np.array([[1, 0, 0], [0, 2, 0]], np.uint64),
    "tensor": lambda: torch.tensor([[1, 0, 0], [0, 2, 0]]),
}


def _rows(vectors: Any) -> list[list[float]]:
    return [row.tolist() if hasattr(row, "tolist") else list(row) for row in vectors]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("how", GIVEN)
@pytest.mark.parametrize("metric", METRICS)
def test_takes(how: str, metric: MetricName) -> None:
    vectors, space = prepare(GIVEN[how](), Space(metric))
    expected = UNITS if metric == "cosine" else NUMBERS
    assert type(vectors) is np.ndarray
    assert vectors.dtype == np.dtype("=f4")
    assert vectors.flags.c_contiguous
    assert vectors.flags.writeable
    assert np.array_equal(vectors, expected.astype(np.float32))
    assert space == Space(metric, 3, "any")


@pytest.mark.parametrize("how", INTEGERS)
def test_takes_integers_beyond_8_bits(how: str) -> None:
    assert prepare(INTEGERS[how](), Space("cosine"))[0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert prepare(INTEGERS[how](), Space("dot"))[0].tolist() == [[1, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("how", [how for how in GIVEN if how != "generator"])
@pytest.mark.parametrize("metric", METRICS)
def test_never_changes_nor_keeps_what_it_is_given(how: str, metric: MetricName) -> None:
    given_ = GIVEN[how]()
    before = _rows(given_)
    vectors, _ = prepare(given_, Space(metric))
    vectors[:] = 7
    assert _rows(given_) == before
    if isinstance(given_, np.ndarray):
        assert not np.shares_memory(vectors, given_)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50), st.sampled_from((1, 2, 33, 384)), st.floats(-300, 300))
def test_cosine_gives_unit_length_whatever_the_magnitude(seed: int, n: int, d: int, exponent: float) -> None:
    draw = np.random.default_rng(seed)
    directions = draw.standard_normal((n, d)) + 0.01
    vectors, _ = prepare(directions * 10.0 ** (exponent + draw.uniform(-5, 5, (n, 1))), Space("cosine"))
    wide = vectors.astype(np.float64)
    assert np.abs(np.linalg.norm(wide, axis=1) - 1).max() < 1.2e-7
    expected = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.abs(wide - expected).max() < 6.1e-8


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-100, 1e-45, 1e-30, 1e30, 1e100, 1e200, 1e300])
@pytest.mark.parametrize("how", ["numpy", "lists", "tensor", "list of tensors"])
def test_extreme_doubles_keep_their_direction(size: float, how: str) -> None:
    """Also beside rows of ordinary size, and if only the tensor's doubles can hold them."""
    raw = np.array([[3.0, 4.0], [0.0, 1.0]]) * np.array([[size], [1.0]])
    ways: dict[str, Any] = {
        "numpy": raw,
        "lists": raw.tolist(),
        "tensor": torch.tensor(raw),
        "list of tensors": list(torch.tensor(raw)),
    }
    vectors, _ = prepare(ways[how], Space("cosine"))
    assert vectors.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 1]]


def test_smallest_values_keep_their_direction() -> None:
    tiny = np.array([[5e-324, 0], [15e-324, -20e-324]])
    assert prepare(tiny, Space("cosine"))[0].tolist() == [[1, 0], [np.float32(0.6), np.float32(-0.8)]]
    least = np.array([[1e-45, 0], [0, -1e-45]], np.float32)
    assert prepare(least, Space("cosine"))[0].tolist() == [[1, 0], [0, -1]]


def test_a_tensor_of_doubles_gives_what_the_array_gives() -> None:
    raw = np.random.default_rng(1).standard_normal((50, 20)) / 3
    for metric in METRICS:
        expected = prepare(raw, Space(metric))[0]
        assert prepare(torch.tensor(raw), Space(metric))[0].tobytes() == expected.tobytes()
        assert prepare(list(torch.tensor(raw)), Space(metric))[0].tobytes() == expected.tobytes()


def test_dot_and_l2_keep_the_values() -> None:
    raw = np.random.default_rng(2).standard_normal((30, 5)) * 10.0 ** np.arange(-12, 18)[:, None]
    raw[3] = 0
    for metric in METRICS[1:]:
        vectors, _ = prepare(raw, Space(metric))
        assert vectors.tobytes() == raw.astype(np.float32).tobytes()


def test_zero_is_a_vector_for_dot_and_l2() -> None:
    assert prepare([[0.0, 0.0]], Space("dot"))[0].tolist() == [[0, 0]]
    assert prepare([[0.0, 0.0]], Space("l2"))[0].tolist() == [[0, 0]]


EMPTY: tuple[Any, ...] = ([], (), np.zeros((0, 5)), np.zeros((0, 0), np.float32), torch.zeros((0, 5)))


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_an_empty_batch_settles_nothing(empty: Any) -> None:
    for space in (Space(), Space("dot", 5), Space("l2", 5, "any")):
        vectors, settled = prepare(empty, space)
        assert vectors.shape == (0, space.dimension or 0)
        assert vectors.dtype == np.float32
        assert settled == space


# Refused input.

REFUSED: dict[str, tuple[Any, str]] = {
    "one vector": ([1.0, 2.0], r"shape \(2,\).*wrap a single vector in a list"),
    "one vector as an array": (np.ones(3), r"shape \(3,\).*wrap a single vector in a list"),
    "one vector as a tensor": (torch.ones(3), r"shape \(3,\).*wrap a single vector in a list"),
    "one list of numbers from numpy": (list(np.ones(3)), r"shape \(3,\)"),
    "three dimensions": (np.ones((2, 3, 4)), r"shape \(2, 3, 4\)"),
    "a number": (3.0, "float"),
    "a number as an array": (np.array(3.0), r"shape \(\)"),
    "None": (None, "are None"),
    "text": ("0.1 0.2", "str"),
    "bytes": (b"\0\0\0\0", "bytes"),
    "no columns": (np.ones((3, 0)), "dimension 0"),
    "lists of nothing": ([[], []], "dimension 0"),
    "int8": (np.ones((2, 3), np.int8), "int8.*quantized"),
    "uint8": (np.ones((2, 3), np.uint8), "uint8.*binary"),
    "int8 tensor": (torch.ones((2, 3), dtype=torch.int8), "int8.*quantized"),
    "bools": (np.ones((2, 3), np.bool_), "bool"),
    "lists of bools": ([[True, False]], "bool"),
    "bool tensor": (torch.ones((2, 3), dtype=torch.bool), "bool"),
    "complex": (np.ones((2, 3), np.complex64), "complex64"),
    "strings": ([["0.1", "0.2"]], "expected floating point numbers"),
    "one string": (["0.1 0.2"], "expected floating point numbers"),
    "an array of strings": (np.array([["1", "2"]]), "expected floating point numbers"),
    "objects": (np.array([[1.0, 2.0]], object), "object"),
    "lists with None": ([[1.0, None]], "object"),
    "huge integers": ([[10**30, 1]], "object"),
    "dates": (np.array([["2025-01-01"]], "datetime64[D]"), "datetime64"),
    "mapping": ({"a": [1.0]}, "expected floating point numbers"),
    "sparse tensor": (torch.ones((2, 3)).to_sparse(), "vectors"),
    "list of sparse tensors": ([torch.ones(3).to_sparse()], "vectors"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("metric", METRICS)
def test_refuses(what: str, metric: MetricName) -> None:
    vectors, message = REFUSED[what]
    with pytest.raises(VectorError, match=message):
        prepare(vectors, Space(metric))


@pytest.mark.parametrize("metric", METRICS)
def test_refuses_masked_values(metric: MetricName) -> None:
    """Masked values are missing: the numbers beneath the mask mean nothing."""
    masked = np.ma.masked_array(NUMBERS, mask=NUMBERS == 3)
    for vectors in (masked, list(masked)):
        with pytest.raises(VectorError):
            prepare(vectors, Space(metric))


RAGGED: dict[str, Callable[[], Any]] = {
    "lists": lambda: [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]],
    "arrays": lambda: [np.ones(2), np.ones(2), np.ones(3)],
    "tensors": lambda: [torch.ones(2), torch.ones(2), torch.ones(3)],
}


@pytest.mark.parametrize("how", RAGGED)
def test_refuses_ragged_rows(how: str) -> None:
    with pytest.raises(VectorError, match="ragged: row 0 has 2 values, row 2 has 3") as error:
        prepare(RAGGED[how](), Space())
    assert error.value.rows == [2]


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [1.0, [2.0]]], [[1.0, 2.0], 3.0], [3.0, [1.0]], [None, [1.0]]], ids=repr)
def test_refuses_rows_of_mixed_depth_and_names_the_odd_one(rows: Any) -> None:
    with pytest.raises(VectorError) as error:
        prepare(rows, Space())
    message = str(error.value)
    assert "-1" not in message
    assert "row 0 has 2 values, row 0 has 2" not in message


def test_refuses_another_dimension() -> None:
    for metric in METRICS:
        with pytest.raises(VectorError, match="vectors have dimension 3; the collection has 5") as error:
            prepare(NUMBERS, Space(metric, 5, "any"))
        assert (error.value.expected, error.value.got) == (5, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_refuses_what_is_not_finite(bad: float, metric: MetricName, dtype: Any) -> None:
    vectors = np.ones((10, 4), dtype)
    vectors[3, 0] = vectors[3, 1] = vectors[7, 3] = bad
    ids = [f"doc-{i}" for i in range(10)]
    with pytest.raises(VectorError) as error:
        prepare(vectors, Space(metric), ids=ids, name="rows")
    message = str(error.value)
    assert message.startswith("2 of 10 rows hold NaN or infinity, first at row 3 (document 'doc-3'). ")
    assert "check the embedder" in message
    assert error.value.rows == [3, 7]
    assert error.value.ids == ["doc-3", "doc-7"]
    assert error.value.total == 10


def test_refuses_not_finite_tensors_and_lists() -> None:
    for vectors in ([[1.0, float("nan")]], torch.tensor([[1.0, float("inf")]]), [torch.tensor([float("nan"), 1.0])]):
        with pytest.raises(VectorError, match="1 of 1 vectors hold NaN or infinity, first at row 0"):
            prepare(vectors, Space())


def test_refuses_zero_length_for_cosine() -> None:
    vectors = np.ones((120, 4))
    vectors[[17, 50, 119]] = 0
    vectors[50] = -0.0
    with pytest.raises(VectorError) as error:
        prepare(vectors, Space(), ids=[f"faq-{i}" for i in range(120)])
    message = str(error.value)
    assert message.startswith("3 of 120 vectors have zero length")
    assert "first at row 17 (document 'faq-17')" in message
    assert "Drop these documents" in message
    assert error.value.rows == [17, 50, 119]
    assert error.value.norms is None
    with pytest.raises(VectorError) as error:
        prepare(vectors, Space())
    assert "document '" not in str(error.value)
    assert error.value.ids is None


def test_rows_are_counted_over_large_batches() -> None:
    vectors = np.ones((20_000, 2), np.float32)
    vectors[[4095, 4096, 19_999], 1] = np.nan
    with pytest.raises(VectorError, match="3 of 20000 vectors hold NaN or infinity, first at row 4095") as error:
        prepare(vectors, Space())
    assert error.value.rows == [4095, 4096, 19_999]


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_refuses_lengths_whose_scores_overflow(metric: MetricName) -> None:
    for size in (1.1 * MAX_NORM, 1e30, 1e100, 1e300):
        message = r"1 of 2 vectors are longer than 1e\+18.*first at row 1.*Scale them down"
        with pytest.raises(VectorError, match=message):
            prepare([[1.0, 0.0], [0.0, size]], Space(metric))
    assert prepare([[MAX_NORM * 0.999, 0.0]], Space(metric))[0].shape == (1, 2)


def test_a_refused_batch_leaves_the_input_as_it_was() -> None:
    vectors = np.array([[1.0, 2.0], [np.nan, 0.0]], np.float32)
    before = copy.deepcopy(vectors)
    with pytest.raises(VectorError):
        prepare(vectors, Space())
    assert vectors.tobytes() == before.tobytes()


# Norms.


@pytest.mark.parametrize(
    ("space", "raw", "norms"),
    [
        (Space("dot"), UNITS, "unit"),
        (Space("dot"), UNITS * 1.015, "unit"),
        (Space("dot"), UNITS * 1.03, "any"),
        (Space("dot"), NUMBERS, "any"),
        (Space("dot", norms="any"), UNITS, "any"),
        (Space("dot", norms="unit"), UNITS, "unit"),
        (Space("cosine"), UNITS, "any"),
        (Space("cosine", norms="unit"), UNITS, "unit"),
        (Space("l2"), UNITS, "any"),
        (Space("l2", norms="unit"), UNITS, "unit"),
    ],
)
def test_the_first_batch_settles_norms(space: Space, raw: Any, norms: Norms) -> None:
    _, settled = prepare(raw, space)
    assert settled == Space(space.metric, 3, norms)
    assert prepare(raw, settled)[1] == settled


@pytest.mark.parametrize("metric", METRICS)
def test_refuses_other_norms_among_unit_vectors(metric: MetricName) -> None:
    space = Space(metric, 3, "unit")
    raw = np.tile(UNITS, (4, 1))
    raw[[5, 9]] *= [[2.0], [0.97]]
    with pytest.raises(VectorError) as error:
        prepare(raw, space, ids=[f"d{i}" for i in range(12)], name="queries")
    message = str(error.value)
    assert message.startswith("2 of 12 queries have norms outside [0.98, 1.02]")
    assert "first at row 5 (document 'd5') with norm 2." in message
    assert "normalization" in message
    assert "norms='any'" in message
    assert error.value.rows == [5, 9]
    assert error.value.ids == ["d5", "d9"]
    assert error.value.norms == pytest.approx(np.linalg.norm(raw[[5, 9]], axis=1).tolist())
    low, high = UNIT_RANGE
    for norm in (low + 1e-6, 1.0, high - 1e-6):
        assert prepare(UNITS * norm, space)[0].shape == (3, 3)
    for norm in (low - 1e-6, high + 1e-6, 1e-200, 0.0 if metric != "cosine" else 5.0):
        with pytest.raises(VectorError, match="3 of 3 vectors have norms outside"):
            prepare(UNITS * norm, space)


def test_half_precision_unit_vectors_are_unit() -> None:
    """Models that normalize in float16 or bfloat16 give norms a few thousandths off."""
    draw = np.random.default_rng(3).standard_normal((200, 384))
    units = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    assert prepare(units.astype(np.float16), Space("dot"))[1].norms == "unit"
    assert prepare(torch.tensor(units, dtype=torch.bfloat16), Space("dot"))[1].norms == "unit"


def test_the_incident() -> None:
    """An embedder that stops normalizing is refused, for documents and for queries."""
    _, pinned = prepare(UNITS, Space("dot"))
    for name in ("vectors", "queries"):
        with pytest.raises(VectorError, match=f"3 of 3 {name} have norms outside"):
            prepare(NUMBERS, pinned, name=name)


def test_norms_are_reported_unless_refused() -> None:
    seen: list[list[float]] = []

    def keep(norms: Any) -> None:
        seen.append(norms.tolist())

    prepare([[3, 4], [0, 1]], Space(), seen=keep)
    prepare([], Space(), seen=keep)
    with pytest.raises(VectorError):
        prepare([[0, 0]], Space(), seen=keep)
    assert seen == [[5, 1]]
