"""Contract tests for embedders, rerankers and boosts."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import TheodoliteError
from theodolite.protocols import Boost, Embedder, Reranker
from theodolite.testing.checks import check, together
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

TEXTS = (
    "How long do refunds take?",
    "The parcel arrives within five working days.",
    "Théodolites measure angles; they are checked before every use.",
    "7 × 6 = 42",
    "退款需要多长时间",
    " spaces  around, and\na line break\t",
    "one word after another " * 100,
)
"""Sample texts: short and long, in several scripts, not empty, and all different."""

_SAME = 1e-4  # maximum distance from 1 of the cosine between two vectors of one text
_THREADS = 3


class EmbedderContract:
    """The contract for embedders.

    class TestMyEmbedder(EmbedderContract):
        def embedder(self):
            return MyEmbedder()
    """

    def embedder(self) -> Embedder:
        """Return the embedder under test."""
        raise NotImplementedError

    def test_fits_the_protocol(self) -> None:
        embedder = self.embedder()
        check(isinstance(embedder, Embedder), f"{type(embedder).__name__} lacks a method of Embedder")
        dimension = embedder.dimension
        check(isinstance(dimension, int) and dimension > 0, f"dimension is {dimension!r}, not a positive int")

    def test_one_vector_for_each_text(self) -> None:
        for name, encode, dimension in self._sides():
            for texts in (TEXTS, list(TEXTS), TEXTS[:1]):
                given = list(texts)
                vectors = _vectors(encode(texts), name)
                expected = (len(texts), dimension)
                check(vectors.shape == expected, f"{name} gives shape {vectors.shape}, not {expected}")
                check(list(texts) == given, f"{name} changes the texts it is given")

    def test_no_texts_give_no_vectors(self) -> None:
        for name, encode, dimension in self._sides():
            vectors = encode([])
            shape = tuple(getattr(vectors, "shape", (len(vectors), dimension)))
            check(shape == (0, dimension), f"{name}([]) has shape {shape}, not {(0, dimension)}")

    def test_vectors_come_in_the_order_of_the_texts(self) -> None:
        for name, encode, _ in self._sides():
            forward = _vectors(encode(TEXTS), name)
            backward = _vectors(encode(TEXTS[::-1]), name)
            _same(forward, backward[::-1], f"{name} of the texts in reverse order")
            apart = 1 - (_unit(forward) @ _unit(forward).T)[~np.eye(len(TEXTS), dtype=np.bool_)]
            check((apart > _SAME).all(), f"{name} gives different texts the same vector")

    def test_a_text_has_the_same_vector_in_and_out_of_a_batch(self) -> None:
        for name, encode, _ in self._sides():
            batch = _vectors(encode(TEXTS), name)
            alone = np.concatenate([_vectors(encode([text]), name) for text in TEXTS])
            _same(batch, alone, f"{name} of each text alone")
            _same(batch, _vectors(encode(TEXTS), name), f"{name} a second time")

    def test_threads_get_what_one_alone_gets(self) -> None:
        for name, encode, _ in self._sides():
            expected = _vectors(encode(TEXTS), name)

            def work(number: int) -> None:
                for _ in range(2):
                    order = np.roll(np.arange(len(TEXTS)), number)
                    found = _vectors(encode([TEXTS[i] for i in order]), name)  # noqa: B023 - used up in this round
                    _same(expected[order], found, f"{name} in several threads")  # noqa: B023

            together(_THREADS, work)

    def test_what_is_awaited_is_the_same(self) -> None:
        for name, encode, dimension in self._sides():
            awaited = getattr(self.embedder(), f"a{name}", None)
            if awaited is not None:
                found = _vectors(asyncio.run(awaited(TEXTS)), f"a{name}")
                check(found.shape == (len(TEXTS), dimension), f"a{name} gives shape {found.shape}")
                _same(_vectors(encode(TEXTS), name), found, f"a{name}")

    def _sides(self) -> Iterator[tuple[str, Callable[[Sequence[str]], Any], int]]:
        embedder = self.embedder()
        yield "encode_query", embedder.encode_query, embedder.dimension
        yield "encode_document", embedder.encode_document, embedder.dimension


def _vectors(given: Any, name: str) -> NDArray[np.float32]:
    try:
        return prepare(given, Space("dot", norms="any"), name=name)[0]
    except TheodoliteError as error:
        raise AssertionError(f"{name} gives no vectors: {error}") from error


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    check((norms > 0).all(), "a text with words has a vector of zero length")
    units: NDArray[np.float64] = wide / norms
    return units


def _same(expected: NDArray[np.float32], got: NDArray[np.float32], what: str) -> None:
    check(expected.shape == got.shape, f"{what} has shape {got.shape}, not {expected.shape}")
    cosines = (_unit(expected) * _unit(got)).sum(axis=1)
    check((cosines >= 1 - _SAME).all(), f"{what} differs: cosine {cosines.min():.6f} to the vector in a batch")


class RerankerContract:
    """The contract for rerankers.

    class TestMyReranker(RerankerContract):
        def reranker(self):
            return MyReranker()
    """

    def reranker(self) -> Reranker:
        """Return the reranker under test."""
        raise NotImplementedError

    def test_fits_the_protocol(self) -> None:
        reranker = self.reranker()
        check(isinstance(reranker, Reranker), f"{type(reranker).__name__} lacks a method of Reranker")

    def test_one_finite_score_for_each_text(self) -> None:
        reranker = self.reranker()
        for texts in (list(TEXTS), TEXTS, TEXTS[:1]):
            scores = reranker.score("How long do refunds take?", texts)
            _numbers(scores, len(texts), "score")
            _numbers(reranker.calibrate(scores), len(texts), "calibrate")

    def test_no_texts_give_no_scores(self) -> None:
        reranker = self.reranker()
        scores = reranker.score("How long do refunds take?", [])
        _numbers(scores, 0, "score")
        _numbers(reranker.calibrate(scores), 0, "calibrate")

    def test_calibrated_scores_keep_the_order(self) -> None:
        reranker = self.reranker()
        given = np.sort(reranker.score("How long do refunds take?", TEXTS))
        for raw in (given, np.linspace(-20, 20, 401), np.array([-1e4, -1.0, 0.0, 1.0, 1e4])):
            calibrated = reranker.calibrate(raw)
            _numbers(calibrated, len(raw), "calibrate")
            check((np.diff(calibrated) >= 0).all(), "calibrate gives a higher score a lower value")

    def test_calibrated_scores_lie_between_0_and_1(self) -> None:
        reranker = self.reranker()
        for raw in (np.linspace(-20, 20, 401), np.array([-1e4, 1e4]), np.array([-1e4, 1e4], np.float32)):
            calibrated = reranker.calibrate(raw)
            _numbers(calibrated, len(raw), "calibrate")
            check(((calibrated >= 0) & (calibrated <= 1)).all(), "calibrate leaves [0, 1]")


def _numbers(values: Any, count: int, name: str) -> None:
    check(
        isinstance(values, np.ndarray) and values.dtype.kind == "f",
        f"{name} gives {values!r}, not an array of floats",
    )
    check(values.shape == (count,), f"{name} gives shape {values.shape}, not {(count,)}")
    check(np.isfinite(values).all(), f"{name} gives values that are not finite")


class BoostContract:
    """The contract for boosts.

    class TestMyBoost(BoostContract):
        def boost(self):
            return MyBoost("source", {"policy": 1.0, "wiki": 0.5})
        def values(self):
            return ["policy", "wiki", "unheard of"]
    """

    def boost(self) -> Boost:
        """Return the boost under test."""
        raise NotImplementedError

    def values(self) -> Sequence[Any]:
        """Return sample values of the boost's field, usual and unusual ones. The tests always add None."""
        raise NotImplementedError

    def test_fits_the_protocol(self) -> None:
        boost = self.boost()
        check(isinstance(boost, Boost), f"{type(boost).__name__} lacks a method of Boost")
        for what, name in (("name", boost.name), ("field", boost.field)):
            check(isinstance(name, str) and name, f"{what} is {name!r}; it must be a string that is not empty")

    def test_one_factor_for_each_value(self) -> None:
        boost = self.boost()
        for values in ([], [None], list(self.values()), [*self.values(), None], [*self.values()] * 100):
            _factors(boost, values, 1.7e9)

    def test_factors_lie_above_0_and_up_to_1(self) -> None:
        boost = self.boost()
        for now in (0.0, 1.7e9, 4e9):
            factors = _factors(boost, [*self.values(), None], now)
            check(((factors > 0) & (factors <= 1)).all(), f"factors {factors} leave (0, 1]")

    def test_a_factor_depends_on_its_own_value_only(self) -> None:
        boost = self.boost()
        values = [*self.values(), None]
        factors = _factors(boost, values, 1.7e9)
        check((_factors(boost, values[::-1], 1.7e9)[::-1] == factors).all(), "factors depend on the order")
        alone = [_factors(boost, [value], 1.7e9)[0] for value in values]
        check((np.array(alone) == factors).all(), "a value alone has another factor than among others")


def _factors(boost: Boost, values: Sequence[Any], now: float) -> NDArray[np.float64]:
    given = list(values)
    try:
        factors = boost.factors(values, now)
    except (TypeError, ValueError, AttributeError) as error:
        raise AssertionError(f"factors raises {error!r} for {given[-1:]} at the end") from error
    check(
        isinstance(factors, np.ndarray) and factors.dtype == np.float64,
        f"factors are {factors!r}, not float64",
    )
    check(factors.shape == (len(given),), f"factors have shape {factors.shape}, not {(len(given),)}")
    check(list(values) == given, "factors changes the values it is given")
    return factors
