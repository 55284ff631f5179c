"""The cache of query vectors."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.models import WAIT, Floats, hashed

from theodolite.embedders.cache import QueryCache
from theodolite.errors import ConfigError, VectorError
from theodolite.testing.checks import together


class Counting:
    """Encodes, and records the texts."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        self.calls.append(list(texts))
        return hashed(texts)


class TestQueryCache:
    def test_encodes_each_text_once_and_in_one_call(self) -> None:
        encode = Counting()
        cache = QueryCache(encode)
        texts = ["a", "b", "a", "c", "b"]
        np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))
        np.testing.assert_array_equal(cache.encode_query(["d", "c", "d", "a"]), hashed(["d", "c", "d", "a"]))
        np.testing.assert_array_equal(cache.encode_query(["a"]), hashed(["a"]))
        assert encode.calls == [["a", "b", "c"], ["d"]]

    def test_gives_float32_of_shape_n_d(self) -> None:
        vectors = QueryCache(hashed).encode_query(["a", "b"])
        assert vectors.dtype == np.float32
        assert vectors.shape == (2, 8)
        assert vectors.flags.c_contiguous

    def test_no_texts(self) -> None:
        assert QueryCache(hashed).encode_query([]).shape == (0, 8)

    def test_forgets_what_was_used_least_recently(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 2)
        for text in ("a", "b", "a", "c", "a", "b"):
            cache.encode_query([text])
        assert encode.calls == [["a"], ["b"], ["c"], ["b"]]

    def test_more_texts_at_once_than_it_keeps(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 2)
        texts = ["a", "b", "c", "d", "a"]
        np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))
        cache.encode_query(["d", "c"])
        assert encode.calls == [["a", "b", "c", "d"]]

    def test_size_0_is_off(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 0)
        for _ in range(2):
            np.testing.assert_array_equal(cache.encode_query(["a", "a"]), hashed(["a", "a"]))
        assert encode.calls == [["a", "a"], ["a", "a"]]

    def test_a_negative_size(self) -> None:
        with pytest.raises(ConfigError, match="size -1"):
            QueryCache(hashed, -1)

    def test_answers_are_the_callers_own(self) -> None:
        given: list[Floats] = []

        def encode(texts: Sequence[str]) -> Floats:
            given.append(hashed(texts))
            return given[-1]

        cache = QueryCache(encode)
        for _ in range(2):
            vectors = cache.encode_query(["a", "b"])
            np.testing.assert_array_equal(vectors, hashed(["a", "b"]))
            vectors[:] = 9
            given[0][:] = 7

    def test_a_row_does_not_keep_its_batch(self) -> None:
        cache = QueryCache(hashed)
        cache.encode_query([str(i) for i in range(100)])
        assert all(row.base is None for row in cache._rows.values())

    @pytest.mark.parametrize("size", [0, 10])
    @pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2,), (0, 8)])
    def test_another_number_of_vectors_than_texts(self, shape: tuple[int, ...], size: int) -> None:
        cache = QueryCache(lambda texts: np.zeros(shape, np.float32), size)
        with pytest.raises(VectorError, match=r"for 2 queries; expected \(2, dimension\)"):
            cache.encode_query(["a", "b"])

    def test_vectors_of_another_dimension_than_before(self) -> None:
        answers = iter([np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32)])
        cache = QueryCache(lambda texts: next(answers))
        cache.encode_query(["a"])
        with pytest.raises(VectorError, match="of 3 and of 4 dimensions"):
            cache.encode_query(["a", "b"])

    def test_an_error_leaves_nothing_behind(self) -> None:
        encode = Counting()
        fails = iter([True, False])

        def sometimes(texts: Sequence[str]) -> Floats:
            if next(fails):
                raise TimeoutError
            return encode(texts)

        cache = QueryCache(sometimes)
        with pytest.raises(TimeoutError):
            cache.encode_query(["a"])
        np.testing.assert_array_equal(cache.encode_query(["a"]), hashed(["a"]))
        assert encode.calls == [["a"]]

    def test_no_thread_waits_for_another_ones_encoding(self) -> None:
        begun, done = threading.Event(), threading.Event()

        def encode(texts: Sequence[str]) -> Floats:
            if texts == ["slow"]:
                begun.set()
                assert done.wait(WAIT)
            return hashed(texts)

        cache = QueryCache(encode)
        cache.encode_query(["known"])
        thread = threading.Thread(target=cache.encode_query, args=(["slow"],))
        thread.start()
        assert begun.wait(WAIT)
        np.testing.assert_array_equal(cache.encode_query(["known", "new"]), hashed(["known", "new"]))
        done.set()
        thread.join(WAIT)

    def test_threads(self) -> None:
        cache = QueryCache(hashed, 5)

        def work(seed: int) -> None:
            draw = np.random.default_rng(seed)
            for _ in range(200):
                texts = [str(number) for number in draw.integers(0, 12, draw.integers(1, 8))]
                np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))

        together(4, work)
        assert len(cache._rows) == 5
