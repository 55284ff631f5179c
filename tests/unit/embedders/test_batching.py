"""Batches: texts of like length together, vectors in the order of the texts, and how far it is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.unit.models import FakeModel, Floats, hashed, wrapped

from theodolite.embedders.batching import encode_in_batches
from theodolite.errors import VectorError

TEXTS = ["a", "dddd", "bb", "eeeee", "ccc"]


class Recording:
    """Encodes, and records the texts."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        self.batches.append(list(texts))
        return hashed(texts)


def test_texts_of_like_length_are_together() -> None:
    compute = Recording()
    np.testing.assert_array_equal(encode_in_batches(TEXTS, 2, compute, name="m"), hashed(TEXTS))
    assert compute.batches == [["eeeee", "dddd"], ["ccc", "bb"], ["a"]]


def test_lengths_in_tokens_come_before_characters() -> None:
    compute = Recording()
    vectors = encode_in_batches(TEXTS, 2, compute, name="m", lengths=[5, 1, 3, 2, 4])
    np.testing.assert_array_equal(vectors, hashed(TEXTS))
    assert compute.batches == [["a", "ccc"], ["bb", "eeeee"], ["dddd"]]


def test_a_much_shorter_text_is_not_padded_to_the_longest() -> None:
    compute = Recording()
    vectors = encode_in_batches(TEXTS, 4, compute, name="m", lengths=[200, 150, 90, 40, 30])
    np.testing.assert_array_equal(vectors, hashed(TEXTS))
    assert compute.batches == [["a", "dddd"], ["bb"], ["eeeee", "ccc"]]


def test_short_texts_share_a_batch() -> None:
    compute = Recording()
    encode_in_batches(TEXTS, 8, compute, name="m", lengths=[32, 3, 4, 5, 6])
    assert len(compute.batches) == 1


def test_any_float_becomes_float32() -> None:
    vectors = encode_in_batches(TEXTS, 2, lambda texts: hashed(texts).astype(np.float16), name="m")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, hashed(TEXTS), atol=1e-3)


@pytest.mark.parametrize(
    "lose", [lambda vectors: vectors[1:], lambda vectors: vectors[:, 1:], lambda vectors: vectors[0]]
)
def test_vectors_that_do_not_fit(lose: Callable[[Floats], Floats]) -> None:
    def compute(texts: list[str]) -> Any:
        return lose(hashed(texts)) if "a" in texts else hashed(texts)

    with pytest.raises(VectorError, match=r"m returned an array of shape .* for 1 texts; expected \(1, 8\)"):
        encode_in_batches(TEXTS, 2, compute, name="m")


def test_progress_adds_up() -> None:
    done: list[int] = []
    encode_in_batches(TEXTS, 2, hashed, name="m", progress=done.append)
    assert done == [2, 2, 1]


def test_progress_comes_after_the_batch() -> None:
    compute = Recording()
    encode_in_batches(TEXTS, 2, compute, name="m", progress=lambda done: compute.batches.append([str(done)]))
    assert [len(batch) for batch in compute.batches] == [2, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("side", ["encode_query", "encode_document"])
def test_an_embedder_tells_of_each_side(side: str) -> None:
    done: list[int] = []
    getattr(wrapped(FakeModel(), batch_size=2), side)(TEXTS, progress=done.append)
    assert done == [2, 2, 1]
    getattr(wrapped(FakeModel()), side)([], progress=done.append)
    assert done == [2, 2, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_progress_raises_passes_and_the_embedder_stays_usable(error: type[BaseException]) -> None:
    embedder = wrapped(FakeModel(), batch_size=2)

    def stop(done: int) -> None:
        raise error

    with pytest.raises(error):
        embedder.encode_document(TEXTS, progress=stop)
    np.testing.assert_array_equal(embedder.encode_document(TEXTS), hashed(TEXTS))
    np.testing.assert_array_equal(wrapped(FakeModel()).encode_query(TEXTS), hashed(TEXTS))


@pytest.mark.parametrize(("device", "size"), [("cpu", 8), ("cuda:0", 32), (None, 8)])
def test_batches_are_small_on_a_cpu(device: str | None, size: int) -> None:
    model = FakeModel()
    if device is not None:
        model.device = device  # type: ignore[attr-defined]
    wrapped(model).encode_document(["x"] * 40)
    assert [len(batch) for batch in model.batches] == [size] * (40 // size) + [40 % size] * bool(40 % size)
