"""Functions as embedders."""

from typing import Any

import pytest
import torch
from tests.unit.models import Floats, hashed

from theodolite.embedders.functions import CallableEmbedder
from theodolite.errors import ConfigError, VectorError
from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract, HashingEmbedder


class TestCallableEmbedderContract(EmbedderContract):
    def embedder(self) -> Embedder:
        return CallableEmbedder(HashingEmbedder(16).encode_query, HashingEmbedder(16).encode_document)


class TestCallableEmbedder:
    def test_the_dimension_is_found_once(self) -> None:
        calls: list[list[str]] = []

        def encode(texts: list[str]) -> Floats:
            calls.append(texts)
            return hashed(texts)

        embedder = CallableEmbedder(encode, encode)
        assert not calls
        assert (embedder.dimension, embedder.dimension) == (8, 8)
        assert len(calls) == 1
        assert len(calls[0]) == 1

    def test_a_given_dimension_asks_nothing(self) -> None:
        def never(texts: list[str]) -> Floats:
            raise AssertionError("called")

        embedder = CallableEmbedder(never, never, dimension=5)
        assert embedder.dimension == 5
        assert embedder.encode_query([]).shape == (0, 5)

    def test_what_is_no_vector_has_no_dimension(self) -> None:
        with pytest.raises(VectorError, match=r"shape \(1,\)"):
            _ = CallableEmbedder(lambda texts: [1.0], lambda texts: [1.0]).dimension

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_another_number_of_vectors_than_texts(self, number: int) -> None:
        embedder = CallableEmbedder(lambda texts: [[1.0, 2.0]] * number, hashed)
        with pytest.raises(VectorError, match=f"encode_query returned {number} vectors for 2 texts") as caught:
            embedder.encode_query(["a", "b"])
        assert (caught.value.expected, caught.value.got) == (2, number)

    def test_the_other_side_is_named(self) -> None:
        with pytest.raises(VectorError, match="encode_document returned 0"):
            CallableEmbedder(hashed, lambda texts: []).encode_document(["a"])

    def test_no_vectors_at_all(self) -> None:
        with pytest.raises(VectorError, match="encode_query returned None for 1 texts"):
            CallableEmbedder(lambda texts: None, hashed).encode_query(["a"])

    def test_a_generator_is_read(self) -> None:
        embedder = CallableEmbedder(lambda texts: ([1.0, 2.0] for _ in texts), hashed)
        assert embedder.encode_query(["a", "b"]) == [[1.0, 2.0]] * 2

    def test_a_tensor_passes(self) -> None:
        embedder = CallableEmbedder(lambda texts: torch.ones(len(texts), 3), lambda texts: torch.ones(len(texts), 3))
        assert embedder.dimension == 3
        assert embedder.encode_query(["a", "b"]).shape == (2, 3)

    def test_the_function_may_change_its_list(self) -> None:
        def greedy(texts: list[str]) -> Floats:
            vectors = hashed(texts)
            texts.clear()
            return vectors

        texts = ["a", "b"]
        assert len(CallableEmbedder(greedy, greedy).encode_query(texts)) == 2
        assert texts == ["a", "b"]

    def test_errors_of_the_function_pass_through(self) -> None:
        def failing(texts: list[str]) -> Floats:
            raise TimeoutError("the API is slow")

        with pytest.raises(TimeoutError):
            CallableEmbedder(failing, failing).encode_query(["a"])

    @pytest.mark.parametrize("arguments", [(hashed, None), (3, hashed), (hashed, hashed, 0), (hashed, hashed, -1)])
    def test_wrong_settings(self, arguments: Any) -> None:
        with pytest.raises(ConfigError):
            CallableEmbedder(*arguments)
