"""The contract of near-duplicates: each of its tests fails an engine that does not keep it."""

from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite.errors import EngineError
from theodolite.filters import Filter
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents
from theodolite.testing.engine_duplicates import DuplicatesContract
from theodolite.types import Duplicate, Space

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Products(DictEngine):
    """Ignores the lengths."""

    def _cosines(self, vector: Floats, vectors: Floats) -> Doubles:
        return vectors.astype(np.float64) @ vector


class Rounds(DictEngine):
    def _cosines(self, vector: Floats, vectors: Floats) -> Doubles:
        return super()._cosines(vector.astype(np.float16), vectors.astype(np.float16))


class NeverReaches(DictEngine):
    """Rounding keeps a cosine below one."""

    def _cosines(self, vector: Floats, vectors: Floats) -> Doubles:
        return super()._cosines(vector, vectors) * (1 - 1e-7)


class ZerosAreEqual(DictEngine):
    def _cosines(self, vector: Floats, vectors: Floats) -> Doubles:
        return np.where(vector.any() | vectors.any(axis=1), super()._cosines(vector, vectors), 1.0)


class Both(DictEngine):
    """Each pair comes in either order."""

    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        for found in super().duplicates(*arguments, **options):
            yield found
            yield Duplicate(found.second, found.first, found.similarity)


class MissesSome(DictEngine):
    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        for number, found in enumerate(super().duplicates(*arguments, **options)):
            if number % 50 != 49:
                yield found


class Unfiltered(DictEngine):
    def duplicates(self, threshold: float, where: Filter | None = None, **options: Any) -> Iterator[Duplicate]:
        return super().duplicates(threshold, **options)


class Unscoped(DictEngine):
    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        return super().duplicates(*arguments, **{**options, "scope": None})


class WithItself(DictEngine):
    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        yield from super().duplicates(*arguments, **options)
        for document, _ in self.documents():
            yield Duplicate(document, document, 1.0)


class AsOfNow(DictEngine):
    """Looks documents up by id only when a pair is reached."""

    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        for found in super().duplicates(*arguments, **options):
            now = [document for document, _ in self.get([found.first.id, found.second.id])]
            if len(now) == 2:
                yield changed(found, first=now[0], second=now[1])


class BeginsAgain(DictEngine):
    """A concurrent write makes it start over."""

    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        began = self._contents.stored
        yield from super().duplicates(*arguments, **options)
        if self._contents.stored is not began:
            yield from super().duplicates(*arguments, **options)


class CountsDocuments(DictEngine):
    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        progress = options.pop("progress", None)
        yield from super().duplicates(*arguments, **options)
        if progress is not None:
            progress(len(self._contents.stored))


class OpenForever(DictEngine):
    def duplicates(self, *arguments: Any, **options: Any) -> Iterator[Duplicate]:
        try:
            yield from super().duplicates(*arguments, **options)
        except EngineError:
            return


TRUTH, ONE = "test_duplicates_agree_with_brute_force", "test_equal_directions_reach_a_cosine_of_one"
FEW, COMMIT = "test_few_documents_have_no_duplicates", "test_duplicates_are_of_one_commit"
BROKEN: list[tuple[Callable[[Contents], Any], str]] = [
    (Products, TRUTH),
    (Rounds, TRUTH),
    (Both, TRUTH),
    (MissesSome, TRUTH),
    (Unfiltered, TRUTH),
    (Products, ONE),
    (NeverReaches, ONE),
    (MissesSome, ONE),
    (ZerosAreEqual, FEW),
    (WithItself, FEW),
    (AsOfNow, COMMIT),
    (BeginsAgain, COMMIT),
    (MissesSome, COMMIT),
    (CountsDocuments, "test_duplicates_report_progress"),
    (Unscoped, "test_duplicates_stay_in_a_scope"),
    (Unfiltered, "test_duplicates_stay_in_a_scope"),
    (OpenForever, "test_duplicates_of_a_closed_engine_raise"),
]
TESTS = sorted(name for name in vars(DuplicatesContract) if name.startswith("test_"))


class Contract(DuplicatesContract):
    def __init__(self, make: Callable[[Contents], Any]) -> None:
        self.make = make

    def engine(self, space: Space) -> Any:
        return self.make(Contents(space))


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_keep_it_fails(broken: Callable[[Contents], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)
