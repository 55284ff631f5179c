"""Contract tests for candidate indexes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError, TheodoliteError, UnsupportedError
from theodolite.protocols import Candidates
from theodolite.testing.checks import check, raising, together
from theodolite.testing.oracle import brute_force, top_k
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

_THREADS = 3
_MANY = 10_000  # rows that an index should add in more than one part
_FULL = Path("/dev/full")  # writing to it fails as on a full disk; exists on Linux


class CandidatesContract:
    """The contract for approximate indexes, checked for each metric an index supports.

    class TestMyIndex(CandidatesContract):
        def candidates(self):
            return MyIndex()
    """

    least = 1
    """The minimum number of rows to build the index from, if it needs training; at most 2,000."""

    def candidates(self) -> Candidates:
        """Return a new index that is not built."""
        raise NotImplementedError

    def test_fits_the_protocol(self) -> None:
        index = self.candidates()
        check(isinstance(index, Candidates), f"{type(index).__name__} lacks a method of Candidates")

    def test_a_new_index_is_empty(self) -> None:
        index = self.candidates()
        check(len(index) == 0, f"a new index has {len(index)} rows")
        rows = index.propose(_queries(*_clustered(10, Space()))[0], 5)
        check(len(rows) == 0, f"a new index proposes {rows!r}")

    def test_length_is_the_number_of_rows(self) -> None:
        for _, vectors, index in self._built(self._size):
            check(len(index) == len(vectors), f"an index over {len(vectors)} rows has length {len(index)}")

    def test_validates_what_it_loads_if_it_says_so(self) -> None:
        """Changed files raise CorruptionError, or load as an index that proposes valid rows."""
        if getattr(type(self.candidates()), "validates", False) is not True:
            return
        draw = np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            for space, vectors, index in self._built(300):
                path = Path(folder) / "index"
                index.save(path)
                good = np.fromfile(path, np.uint8)
                for _ in range(300):
                    bad = good.copy()
                    at = int(draw.integers(len(bad)))
                    bad[at : at + int(draw.choice([1, 4, 8]))] = draw.choice([0, 1, 127, 255])
                    bad[: len(bad) if draw.random() < 0.9 else at].tofile(path)
                    loaded = self.candidates()
                    try:
                        loaded.load(path, space)
                    except CorruptionError:
                        continue
                    _valid(loaded.propose(_queries(vectors, space)[0], 5), 5, len(vectors))

    def test_proposes_distinct_rows_of_its_own(self) -> None:
        for space, vectors, index in self._built():
            for n in (1, 7, 100):
                for query in _queries(vectors, space):
                    _valid(index.propose(query, n), n, len(vectors))

    def test_proposes_distinct_rows_among_equal_vectors(self) -> None:
        for space in _spaces():
            vectors, settled = _clustered(2000, space)
            vectors[500:1000] = vectors[500]
            index = self.candidates()
            if _build(index, vectors, settled):
                for n in (1, 100, 700):
                    rows = index.propose(Vectors(vectors[500:501]), n)
                    _valid(rows, n, len(vectors))
                    check(len(rows) > 0, "nothing is proposed for a vector that many rows have")

    def test_more_may_be_asked_than_there_are(self) -> None:
        for size in (self.least, self.least + 9):
            for space, vectors, index in self._built(size):
                for query in _queries(vectors, space)[:5]:
                    rows = index.propose(query, size + 10)
                    _valid(rows, size, size)
                    check(len(rows) > 0, f"nothing is proposed out of {size} rows")

    def test_proposes_what_is_near(self) -> None:
        for space, vectors, index in self._built():
            found = []
            for query in _queries(vectors, space):
                best, _ = top_k(query[0], vectors, space.metric, 10)
                found.append(np.isin(best, index.propose(query, 100)).mean())
            recall = float(np.mean(found))
            check(
                recall >= 0.5,
                f"100 of {len(vectors)} rows hold {recall:.2f} of the 10 nearest ({space.metric}); at least 0.5",
            )

    def test_proposes_the_nearest_first(self) -> None:
        for space, vectors, index in self._built():
            lead = []
            for query in _queries(vectors, space):
                near = brute_force(query[0], vectors, space.metric)[index.propose(query, 100)]
                half = len(near) // 2
                lead.append(near[:half].mean() - near[half:].mean())
            check(np.mean(lead) > 0, f"the first half of the proposals is farther than the second ({space.metric})")

    def test_build_leaves_the_vectors_alone(self) -> None:
        for space in _spaces():
            vectors, settled = _clustered(self._size, space)
            before = vectors.tobytes()
            if _build(self.candidates(), vectors, settled):
                check(vectors.tobytes() == before, "build changes the vectors it is given")

    def test_vectors_may_be_a_memory_map(self) -> None:
        for space, vectors, index in self._built():
            queries = _queries(vectors, space)
            with _mapped(vectors) as mapped:
                other = self.candidates()
                other.build(mapped, space)
                near, far = _recall(index, queries, vectors, space), _recall(other, queries, vectors, space)
            check(abs(near - far) <= 0.1, f"recall of mapped vectors is {far:.2f}, of the same in memory {near:.2f}")

    def test_progress_counts_every_row_once(self) -> None:
        for space in _spaces():
            vectors, settled = _clustered(self._size, space)
            index = self.candidates()
            done: list[int] = []
            try:
                index.build(vectors, settled, done.append)
            except UnsupportedError:
                continue
            check(sum(done) == len(vectors), f"progress counts {sum(done)} of {len(vectors)} rows")
            done.clear()
            index.build(vectors, settled, done.append)
            check(len(index) == len(vectors) and sum(done) == 0, "a second build indexes rows again")

    def test_an_interrupted_build_goes_on(self) -> None:
        """From where it was saved, or from the start if the index is empty: not every library can stop half-way."""
        for space in _spaces():
            vectors, settled = _clustered(_MANY, space)
            whole, index = self.candidates(), self.candidates()
            if not _build(whole, vectors, settled):
                continue
            with raising(_Interrupt, "a build whose progress raises"):
                index.build(vectors, settled, _interrupt)
            so_far = len(index)
            check(so_far <= _MANY, f"after a part of {_MANY} rows the length is {so_far}")
            if so_far:
                index = self._reloaded(index, settled)
                check(len(index) == so_far, f"{so_far} rows were saved, {len(index)} loaded")
            done: list[int] = []
            index.build(vectors, settled, done.append)
            check(
                len(index) == _MANY and sum(done) == _MANY - so_far,
                f"after {so_far} of {_MANY} rows, {sum(done)} are indexed and the length is {len(index)}",
            )
            queries = _queries(vectors, settled)
            once, twice = (_recall(each, queries, vectors, settled) for each in (whole, index))
            check(twice >= once - 0.1, f"recall after an interruption is {twice:.2f}, without one {once:.2f}")

    def test_what_was_saved_proposes_the_same(self) -> None:
        for space, vectors, index in self._built():
            # The folder is deleted by now: the loaded index must not need the file.
            loaded = self._reloaded(index, space)
            check(len(loaded) == len(index), f"{len(index)} rows were saved, {len(loaded)} loaded")
            for query in _queries(vectors, space):
                before, after = index.propose(query, 20).tolist(), loaded.propose(query, 20).tolist()
                check(before == after, f"after save and load the proposals are others ({space.metric})")

    def test_saving_where_nothing_can_be_saved_raises(self) -> None:
        for _, _, index in self._built(self._size):
            with tempfile.TemporaryDirectory() as folder:
                with raising(OSError, "saving into a folder that does not exist"):
                    index.save(Path(folder) / "nowhere" / "index")
                (Path(folder) / "taken").mkdir()
                with raising(OSError, "saving to a path that is a folder"):
                    index.save(Path(folder) / "taken")
            if _FULL.exists():
                with raising(OSError, "saving to a full disk"):
                    index.save(_FULL)

    def test_loading_what_does_not_fit_raises(self) -> None:
        for space, vectors, index in self._built(self._size):
            other: MetricName = "cosine" if space.metric == "l2" else "l2"
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "index"
                index.save(path)
                whole = path.read_bytes()
                for wrong in (Space(space.metric, vectors.shape[1] + 1), Space(other, space.dimension)):
                    with raising(TheodoliteError, f"loading as {wrong} what is {space}"):
                        self.candidates().load(path, wrong)
                for damaged in (b"", whole[:50], whole[:-1], whole + b"x"):
                    path.write_bytes(damaged)
                    with raising(CorruptionError, f"loading {len(damaged)} of {len(whole)} bytes"):
                        self.candidates().load(path, space)

    def test_threads_get_what_one_alone_gets(self) -> None:
        for space, vectors, index in self._built():
            queries = _queries(vectors, space)
            sizes = (20, 3, 60)  # different for each thread: threads must not share the effort
            expected = [[index.propose(query, n).tolist() for query in queries] for n in sizes]

            def work(number: int) -> None:
                for i in np.roll(np.arange(len(queries)), 5 * number):  # noqa: B023 - used up in this round
                    rows = index.propose(queries[i], sizes[number])  # noqa: B023
                    check(rows.tolist() == expected[number][i], "a thread gets other proposals")  # noqa: B023

            together(_THREADS, work)

    @property
    def _size(self) -> int:
        return max(300, self.least)

    def _built(self, size: int = 2000) -> list[tuple[Space, Vectors, Candidates]]:
        """Build an index for each supported metric."""
        built = []
        for space in _spaces():
            vectors, settled = _clustered(size, space)
            index = self.candidates()
            if _build(index, vectors, settled):
                built.append((settled, vectors, index))
        check(built, "no metric is supported")
        return built

    def _reloaded(self, index: Candidates, space: Space) -> Candidates:
        loaded = self.candidates()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            index.save(path)
            loaded.load(path, space)
        return loaded


class _Interrupt(Exception):
    """The exception that interrupts a build."""


def _interrupt(_: int) -> None:
    raise _Interrupt


def _spaces() -> list[Space]:
    metrics: tuple[MetricName, ...] = get_args(MetricName)
    return [Space(metric) for metric in metrics]


def _clustered(size: int, space: Space) -> tuple[Vectors, Space]:
    draw = np.random.default_rng(20)
    centers = draw.standard_normal((40, 32))
    return prepare(centers[draw.integers(40, size=size)] + 0.3 * draw.standard_normal((size, 32)), space)


def _queries(vectors: Vectors, space: Space) -> list[Vectors]:
    """Return twenty queries of shape (1, d), each near some rows."""
    draw = np.random.default_rng(21)
    near = vectors[draw.integers(len(vectors), size=20)].astype(np.float64)
    near += 0.2 * np.abs(near).mean() * draw.standard_normal(near.shape)
    return [prepare(query[None], space)[0] for query in near]


@contextmanager
def _mapped(vectors: Vectors) -> Iterator[Vectors]:
    """Yield the vectors as a read-only memory map."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors"
        vectors.tofile(path)
        mapped: NDArray[np.float32] = np.memmap(path, np.float32, "r", shape=vectors.shape)
        yield Vectors(mapped)


def _build(index: Candidates, vectors: Vectors, space: Space) -> bool:
    try:
        index.build(vectors, space)
    except UnsupportedError:
        return False
    return True


def _recall(index: Candidates, queries: list[Vectors], vectors: Vectors, space: Space) -> float:
    """Return the share of the ten nearest rows among 500 proposals."""
    return float(
        np.mean(
            [np.isin(top_k(query[0], vectors, space.metric, 10)[0], index.propose(query, 500)) for query in queries]
        )
    )


def _valid(rows: Rows, most: int, size: int) -> None:
    check(isinstance(rows, np.ndarray) and rows.dtype == np.int64, f"proposals are {rows!r}, not int64 rows")
    check(rows.ndim == 1, f"proposals have shape {rows.shape}, not (n,)")
    check(len(rows) <= most, f"{len(rows)} rows are proposed where at most {most} can be")
    check(len(np.unique(rows)) == len(rows), "a row is proposed twice")
    check(((rows >= 0) & (rows < size)).all(), f"proposals lie outside the rows 0 to {size - 1}")
