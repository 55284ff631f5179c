"""The contract of candidate indexes: a right one passes, and each of its tests can fail."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.errors import CorruptionError, UnsupportedError
from theodolite.protocols import Candidates
from theodolite.testing import CandidatesContract
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import MetricName

CENTERS = 16
HEAD = 24  # bytes

Progress = Callable[[int], object] | None


PART = 4000  # rows added at a time


class Cells:
    """A toy: rows belong to the nearest of a few of the rows, and the cells nearest to the query are proposed."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, 0), np.float32)
        self.squared = False

    def __len__(self) -> int:
        return len(self.vectors)

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        for start in range(len(self), len(vectors), PART):
            part = vectors[start : start + PART]
            self._set(np.concatenate([self.vectors.reshape(-1, vectors.shape[1]), part]), space)
            if progress is not None:
                progress(len(part))

    def propose(self, query: Vectors, n: int) -> Rows:
        if not len(self):
            return np.empty(0, np.int64)
        order = np.argsort(-self._near(query[0], self.centers), kind="stable")
        rows = np.concatenate([np.flatnonzero(self.cell == cell) for cell in order])[: max(n, 3 * n)]
        best = np.argsort(-self._near(query[0], self.vectors[rows]), kind="stable")[:n]
        return rows[best].astype(np.int64)

    def save(self, path: Path) -> None:
        head = np.array([self.squared, *self.vectors.shape], np.int64)
        with path.open("wb") as file:
            file.write(head.tobytes() + self.vectors.tobytes())

    def load(self, path: Path, space: Space) -> None:
        raw = path.read_bytes()
        squared, rows, dimension = np.frombuffer(raw, np.int64, 3) if len(raw) >= HEAD else (0, 0, -1)
        if (squared, dimension) != (space.metric == "l2", space.dimension) or len(raw) != HEAD + 4 * rows * dimension:
            raise CorruptionError("this is another index, or not all of it")
        self._set(np.frombuffer(raw[HEAD:], np.float32).reshape(rows, dimension), space)

    def _set(self, vectors: Any, space: Space) -> None:
        self.squared = space.metric == "l2"
        self.vectors = np.array(vectors)
        self.centers = self.vectors[:: max(1, len(vectors) // CENTERS)]
        near = [self._near(center, self.vectors) for center in self.centers]
        self.cell = np.argmax(near, axis=0)

    def _near(self, query: Any, vectors: Any) -> Any:
        products = vectors @ query
        return 2 * products - np.square(vectors).sum(axis=1) if self.squared else products


class NoDot(Cells):
    """Not every index knows every metric."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        if space.metric == "dot":
            raise UnsupportedError("dot is not supported")
        super().build(vectors, space, progress)


class TestCells(CandidatesContract):
    def candidates(self) -> Candidates:
        return Cells()


class TestNoDot(CandidatesContract):
    def candidates(self) -> Candidates:
        return NoDot()


class NoLoad:
    def __len__(self) -> int:
        return 0

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None: ...
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.arange(n)

    def save(self, path: Path) -> None: ...


class NoMetric(Cells):
    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
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


class EqualTwice(Cells):
    """Gives the first of equal vectors for each of them."""

    def propose(self, query: Vectors, n: int) -> Rows:
        rows = super().propose(query, n)
        if not len(rows):
            return rows
        _, first, of = np.unique(self.vectors, axis=0, return_index=True, return_inverse=True)
        return np.asarray(first[of.ravel()[rows]])


class Silent(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n) if n < len(self.vectors) else np.empty(0, np.int64)


class NeverEmpty(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n) if len(self) else np.arange(n)


class CountsFromOne(Cells):
    def __len__(self) -> int:
        return super().__len__() + 1 if len(self.vectors) else 0


class Backwards(Cells):
    """The right rows, the farthest first."""

    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n)[::-1].copy()


class Blind(Cells):
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.arange(min(n, len(self.vectors)))


class Farthest(Cells):
    """Takes a distance for a similarity, for one of the metrics."""

    def _near(self, query: Any, vectors: Any) -> Any:
        return -super()._near(query, vectors) if self.squared else super()._near(query, vectors)


class Meddling(Cells):
    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        super().build(vectors, space, progress)
        vectors -= vectors.mean(axis=0)


class WritesToThem(Cells):
    """Writes to the given vectors, so it fails on read-only ones and indexes different ones."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        super().build(vectors if vectors.flags.writeable else Vectors(np.zeros_like(vectors)), space, progress)


class CountsTooMuch(Cells):
    """Reports full parts, the last one too."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        super().build(vectors, space, progress and (lambda _: progress(PART)))


class Again(Cells):
    """Indexes rows again that it already has."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        self.vectors = self.vectors[:0]
        super().build(vectors, space, progress)


class SwallowsIt(Cells):
    """Swallows the exception that should end a build."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        with suppress(Exception):
            super().build(vectors, space, progress)
            return
        super().build(vectors, space)


class LosesThePart(Cells):
    """Continues after the interrupted part, which is missing."""

    def build(self, vectors: Vectors, space: Space, progress: Progress = None) -> None:
        try:
            super().build(vectors, space, progress)
        except Exception:
            self._set(np.where(np.arange(len(self))[:, None] < 100, self.vectors, 0), space)
            raise


class Forgetful(Cells):
    """Loads fewer rows than were saved."""

    def load(self, path: Path, space: Space) -> None:
        super().load(path, space)
        self._set(self.vectors[:1500], space)


class ForgetsTheMetric(Cells):
    def load(self, path: Path, space: Space) -> None:
        super().load(path, space)
        self._set(self.vectors, Space("cosine", space.dimension))


class SavesNowhere(Cells):
    """Returns normally when nothing was written, as hnswlib does."""

    def save(self, path: Path) -> None:
        if path.parent.is_dir() and not path.is_dir():
            super().save(path)


class Unchecked(Cells):
    """Loads any file, as hnswlib does."""

    def load(self, path: Path, space: Space) -> None:
        raw = path.read_bytes()[HEAD:]
        dimension = space.dimension or 1
        self._set(np.frombuffer(raw[: len(raw) // (4 * dimension) * 4 * dimension], np.float32), space)

    def _set(self, vectors: Any, space: Space) -> None:
        super()._set(vectors.reshape(-1, space.dimension or 1), space)


class SaysItValidates(Cells):
    """Claims to validate files, but loads any file and proposes rows that do not exist."""

    validates = True

    def load(self, path: Path, space: Space) -> None:
        rows = path.stat().st_size // (4 * (space.dimension or 1)) + 1
        self._set(np.zeros((rows, space.dimension or 1), np.float32), space)

    def propose(self, query: Vectors, n: int) -> Rows:
        return np.arange(n, dtype=np.int64) + len(self)


class AnyMetric(Cells):
    def load(self, path: Path, space: Space) -> None:
        (squared,) = np.frombuffer(path.read_bytes(), np.int64, 1) if path.stat().st_size >= HEAD else (0,)
        metric: MetricName = "l2" if squared else "cosine"
        super().load(path, Space(metric, space.dimension))


class SharesEffort(Cells):
    """Keeps the effort with the index, so that threads search with one another's."""

    def propose(self, query: Vectors, n: int) -> Rows:
        self.effort = n
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.001)
        return super().propose(query, max(n, self.effort))[: min(n, self.effort)]


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
    (SaysItValidates, "test_validates_what_it_loads_if_it_says_so"),
    (NeverEmpty, "test_a_new_index_is_empty"),
    (CountsFromOne, "test_length_is_the_number_of_rows"),
    (Twice, "test_proposes_distinct_rows_of_its_own"),
    (Beyond, "test_proposes_distinct_rows_of_its_own"),
    (TooMany, "test_proposes_distinct_rows_of_its_own"),
    (Nested, "test_proposes_distinct_rows_of_its_own"),
    (Narrow, "test_proposes_distinct_rows_of_its_own"),
    (EqualTwice, "test_proposes_distinct_rows_among_equal_vectors"),
    (Padded, "test_more_may_be_asked_than_there_are"),
    (Silent, "test_more_may_be_asked_than_there_are"),
    (Blind, "test_proposes_what_is_near"),
    (Farthest, "test_proposes_what_is_near"),
    (Backwards, "test_proposes_the_nearest_first"),
    (Meddling, "test_build_leaves_the_vectors_alone"),
    (WritesToThem, "test_vectors_may_be_a_memory_map"),
    (CountsTooMuch, "test_progress_counts_every_row_once"),
    (Again, "test_progress_counts_every_row_once"),
    (Again, "test_an_interrupted_build_goes_on"),
    (SwallowsIt, "test_an_interrupted_build_goes_on"),
    (LosesThePart, "test_an_interrupted_build_goes_on"),
    (Forgetful, "test_an_interrupted_build_goes_on"),
    (Forgetful, "test_what_was_saved_proposes_the_same"),
    (ForgetsTheMetric, "test_what_was_saved_proposes_the_same"),
    (SavesNowhere, "test_saving_where_nothing_can_be_saved_raises"),
    (SavesElsewhere, "test_saving_where_nothing_can_be_saved_raises"),
    (Unchecked, "test_loading_what_does_not_fit_raises"),
    (AnyMetric, "test_loading_what_does_not_fit_raises"),
    (SharesEffort, "test_threads_get_what_one_alone_gets"),
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
