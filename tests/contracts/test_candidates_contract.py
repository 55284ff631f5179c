"""The contract of candidate indexes: a right one passes, and each of its tests can fail."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.errors import UnsupportedError
from theodolite.protocols import Candidates
from theodolite.testing import CandidatesContract
from theodolite.types import Rows, Space, Vectors

CENTERS = 16


class Cells:
    """A toy: rows belong to the nearest of a few of the rows, and the cells nearest to the query are proposed."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, 0), np.float32)
        self.squared = False

    def build(self, vectors: Vectors, space: Space) -> None:
        self._set(vectors, space)

    def propose(self, query: Vectors, n: int) -> Rows:
        order = np.argsort(-self._near(query[0], self.centers), kind="stable")
        rows = np.concatenate([np.flatnonzero(self.cell == cell) for cell in order])[: max(n, 3 * n)]
        best = np.argsort(-self._near(query[0], self.vectors[rows]), kind="stable")[:n]
        return rows[best].astype(np.int64)

    def save(self, path: Path) -> None:
        path.write_bytes(self.vectors.tobytes())

    def load(self, path: Path, space: Space) -> None:
        vectors = np.frombuffer(path.read_bytes(), np.float32).reshape(-1, space.dimension or 1)
        self._set(vectors, space)

    def _set(self, vectors: Any, space: Space) -> None:
        self.squared = space.metric == "l2"
        self.vectors = np.array(vectors)
        self.centers = self.vectors[:: max(1, len(vectors) // CENTERS)]
        self.cell = np.array([np.argmax(self._near(vector, self.centers)) for vector in self.vectors])

    def _near(self, query: Any, vectors: Any) -> Any:
        products = vectors @ query
        return 2 * products - np.square(vectors).sum(axis=1) if self.squared else products


class NoDot(Cells):
    """Not every index knows every metric."""

    def build(self, vectors: Vectors, space: Space) -> None:
        if space.metric == "dot":
            raise UnsupportedError("dot is not supported")
        super().build(vectors, space)


class TestCells(CandidatesContract):
    def candidates(self) -> Candidates:
        return Cells()


class TestNoDot(CandidatesContract):
    def candidates(self) -> Candidates:
        return NoDot()


class NoLoad:
    def build(self, vectors: Vectors, space: Space) -> None: ...
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.arange(n)

    def save(self, path: Path) -> None: ...


class NoMetric(Cells):
    def build(self, vectors: Vectors, space: Space) -> None:
        raise UnsupportedError("nothing is supported")


class Twice(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.repeat(super().propose(query, n), 2)[:n]


class Padded(Cells):
    """Fills up with -1, as FAISS does."""

    def propose(self, query: Vectors, n: int) -> Rows:
        rows = super().propose(query, n)
        return np.concatenate([rows, np.full(n - len(rows), -1)])


class Beyond(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n) + 1950


class TooMany(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n + 1)


class Nested(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n)[None]


class Narrow(Cells):
    def propose(self, query: Vectors, n: int) -> Any:
        return super().propose(query, n).astype(np.int32)


class Silent(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n) if n < len(self.vectors) else np.empty(0, np.int64)


class Blind(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.arange(min(n, len(self.vectors)))


class Farthest(Cells):
    """Takes a distance for a similarity, for one of the metrics."""

    def _near(self, query: Any, vectors: Any) -> Any:
        return -super()._near(query, vectors) if self.squared else super()._near(query, vectors)


class Meddling(Cells):
    def build(self, vectors: Vectors, space: Space) -> None:
        super().build(vectors, space)
        vectors -= vectors.mean(axis=0)


class Forgetful(Cells):
    """Loads fewer rows than were saved."""

    def load(self, path: Path, space: Space) -> None:
        super().load(path, space)
        self._set(self.vectors[:1500], space)


class ForgetsTheMetric(Cells):
    def load(self, path: Path, space: Space) -> None:
        super().load(path, Space("cosine", space.dimension))


class SavesNowhere(Cells):
    """Returns normally when nothing was written, as hnswlib does."""

    def save(self, path: Path) -> None:
        if path.parent.is_dir() and not path.is_dir():
            super().save(path)


class SavesElsewhere(Cells):
    def save(self, path: Path) -> None:
        if path.is_dir():
            path = path / "index"
        super().save(path)


class Buffered(Cells):
    """All threads share one buffer."""

    def propose(self, query: Vectors, n: int) -> Rows:
        self.query = query
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.001)
        return super().propose(self.query, n)


BROKEN: list[tuple[Callable[[], Any], str]] = [
    (NoLoad, "test_fits_the_protocol"),
    (NoMetric, "test_proposes_what_is_near"),
    (Twice, "test_proposes_distinct_rows_of_its_own"),
    (Beyond, "test_proposes_distinct_rows_of_its_own"),
    (TooMany, "test_proposes_distinct_rows_of_its_own"),
    (Nested, "test_proposes_distinct_rows_of_its_own"),
    (Narrow, "test_proposes_distinct_rows_of_its_own"),
    (Padded, "test_more_may_be_asked_than_there_are"),
    (Silent, "test_more_may_be_asked_than_there_are"),
    (Blind, "test_proposes_what_is_near"),
    (Farthest, "test_proposes_what_is_near"),
    (Meddling, "test_build_leaves_the_vectors_alone"),
    (Forgetful, "test_what_was_saved_proposes_the_same"),
    (ForgetsTheMetric, "test_what_was_saved_proposes_the_same"),
    (SavesNowhere, "test_saving_where_nothing_can_be_saved_raises"),
    (SavesElsewhere, "test_saving_where_nothing_can_be_saved_raises"),
    (Buffered, "test_threads_get_what_one_alone_gets"),
]


class Contract(CandidatesContract):
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def candidates(self) -> Any:
        return self.make()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_a_broken_index_fails(broken: Callable[[], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_of_the_contract_can_fail() -> None:
    assert {test for _, test in BROKEN} == {name for name in dir(CandidatesContract) if name.startswith("test_")}
