"""The contract of embedders: right ones pass, and each of its tests can fail."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract, HashingEmbedder

Floats = NDArray[np.float32]


class TestHashingEmbedder(EmbedderContract):
    def embedder(self) -> Embedder:
        return HashingEmbedder()


class TestHashingEmbedderWithPrefix(EmbedderContract):
    def embedder(self) -> Embedder:
        return HashingEmbedder(256, query_prefix="query: ")


class Lists(HashingEmbedder):
    """Nested lists are fine."""

    def encode_query(self, texts: Sequence[str], /) -> Any:
        return super().encode_query(texts).tolist()

    def encode_document(self, texts: Sequence[str], /) -> Any:
        return super().encode_document(texts).tolist()


class Tensors(HashingEmbedder):
    """So are tensors."""

    def encode_query(self, texts: Sequence[str], /) -> Any:
        return torch.from_numpy(super().encode_query(texts)).requires_grad_()

    def encode_document(self, texts: Sequence[str], /) -> Any:
        return torch.from_numpy(super().encode_document(texts)).to(torch.bfloat16)


class Awaited(HashingEmbedder):
    """Coroutines may be there, too."""

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        return self.encode_query(texts).tolist()

    async def aencode_document(self, texts: Sequence[str], /) -> Any:
        return self.encode_document(texts)


class AwaitedOtherwise(HashingEmbedder):
    """The coroutine forgets the prefix."""

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        return self.encode_query([f"query: {text}" for text in texts])


class Rounding(HashingEmbedder):
    """Batches differ by rounding, as those of models do."""

    def encode_document(self, texts: Sequence[str], /) -> Floats:
        vectors = super().encode_document(texts)
        vectors *= 1 + 1e-4 * len(texts)
        return vectors + np.float32(1e-5 * len(texts))


@pytest.mark.parametrize("make", [Lists, Tensors, Awaited, Rounding])
class TestOthers(EmbedderContract):
    @pytest.fixture(autouse=True)
    def chosen(self, make: Callable[[], Embedder]) -> None:
        self.make = make

    def embedder(self) -> Embedder:
        return self.make()


class NoQueries:
    dimension = 8

    def encode_document(self, texts: Sequence[str], /) -> Floats:
        return HashingEmbedder(8).encode_document(texts)


class NoDimension(HashingEmbedder):
    @property
    def dimension(self) -> Any:
        return None


class OtherDimension(HashingEmbedder):
    @property
    def dimension(self) -> int:
        return 65


class OneForAll(HashingEmbedder):
    def encode_query(self, texts: Sequence[str], /) -> Floats:
        return super().encode_query(texts)[:1]


class NotNumbers(HashingEmbedder):
    def encode_document(self, texts: Sequence[str], /) -> Floats:
        vectors = super().encode_document(texts)
        vectors[-1:, 3] = np.nan
        return vectors


class EatsItsTexts(HashingEmbedder):
    def encode_query(self, texts: Sequence[str], /) -> Floats:
        vectors = super().encode_query(texts)
        if isinstance(texts, list):
            texts.clear()
        return vectors


class FlatWhenEmpty(HashingEmbedder):
    def encode_query(self, texts: Sequence[str], /) -> Floats:
        return super().encode_query(texts) if texts else np.zeros(0, np.float32)


class Sorting(HashingEmbedder):
    """Sorts texts by length to batch them, and forgets to put the vectors back."""

    def encode_document(self, texts: Sequence[str], /) -> Floats:
        return super().encode_document(sorted(texts, key=len))


class Constant(HashingEmbedder):
    def encode_query(self, texts: Sequence[str], /) -> Floats:
        return np.ones((len(texts), self.dimension), np.float32)


class Padding(HashingEmbedder):
    """The other texts of a batch leak into each vector."""

    def encode_document(self, texts: Sequence[str], /) -> Floats:
        vectors = super().encode_document(texts)
        return np.asarray(vectors + 0.01 * max((len(text) for text in texts), default=0) / 1000, np.float32)


class Moody(HashingEmbedder):
    """Dropout is still on."""

    def __init__(self) -> None:
        super().__init__()
        self._draw = np.random.default_rng(1)

    def encode_query(self, texts: Sequence[str], /) -> Floats:
        vectors = super().encode_query(texts)
        return np.where(self._draw.random(vectors.shape) < 0.9, vectors, np.float32(0))


class Buffered(HashingEmbedder):
    """All threads share one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer: Sequence[str] = ()

    def encode_document(self, texts: Sequence[str], /) -> Floats:
        self._buffer = texts
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.001)
        return super().encode_document(self._buffer)


BROKEN: list[tuple[Callable[[], Any], str]] = [
    (NoQueries, "test_fits_the_protocol"),
    (NoDimension, "test_fits_the_protocol"),
    (OtherDimension, "test_one_vector_for_each_text"),
    (OneForAll, "test_one_vector_for_each_text"),
    (NotNumbers, "test_one_vector_for_each_text"),
    (EatsItsTexts, "test_one_vector_for_each_text"),
    (FlatWhenEmpty, "test_no_texts_give_no_vectors"),
    (OtherDimension, "test_no_texts_give_no_vectors"),
    (Sorting, "test_vectors_come_in_the_order_of_the_texts"),
    (Constant, "test_vectors_come_in_the_order_of_the_texts"),
    (Padding, "test_a_text_has_the_same_vector_in_and_out_of_a_batch"),
    (AwaitedOtherwise, "test_what_is_awaited_is_the_same"),
    (Moody, "test_a_text_has_the_same_vector_in_and_out_of_a_batch"),
    (Buffered, "test_threads_get_what_one_alone_gets"),
]


class Contract(EmbedderContract):
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def embedder(self) -> Any:
        return self.make()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_a_broken_embedder_fails(broken: Callable[[], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_of_the_contract_can_fail() -> None:
    assert {test for _, test in BROKEN} == {name for name in dir(EmbedderContract) if name.startswith("test_")}
