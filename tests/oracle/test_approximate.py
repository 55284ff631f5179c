"""Approximate search against the exact answer: full lists, right scores, and the promised recall."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracle.clustered import Clustered
from tests.sampling import sampled

from theodolite.errors import CorruptionError
from theodolite.indexes.ann import Approximate, Calibration, Costs, calibrate, synthetic_queries
from theodolite.indexes.ann.calibration import Kind, Rung, lower_bound
from theodolite.indexes.flat.index import FlatIndex, Found
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.testing import brute_force, top_k
from theodolite.testing.checks import together
from theodolite.testing.oracle import ArraySource
from theodolite.types import Mask, Rows, Space, Vectors
from theodolite.vectors.metrics import MetricName

METRICS: tuple[MetricName, ...] = get_args(MetricName)

# Proposals cost next to nothing, or the exact answer does.
INDEX = Costs(scan=1.0, batch=1.0, score=0.0, pick=0.0, call=0.0, proposals=((1, 1e-9), (1_000_000, 1e-3)))
EXACT = Costs(scan=0.0, batch=0.0, score=0.0, pick=0.0, call=0.0, proposals=((1, 1.0),))


# Indexes with their packages and the proposals that they need. Codes of one bit are coarse for so few dimensions.
INDEXES = {
    "hnsw:M=12,ef_construction=80": ("hnswlib", 80),
    "faiss:IVF32,Flat": ("faiss", 80),
    "symqg": ("rabitqlib", 240),
}


@cache
def empty(spec: str, metric: MetricName) -> Candidates:
    """Return an index that is built once for each metric."""
    pytest.importorskip(INDEXES[spec][0])
    return make_index(spec)


class Sorted:
    """Candidates by brute force. Each is missed with the probability miss / n."""

    def __init__(self, miss: float = 0.0) -> None:
        self.miss = miss
        self.vectors = np.empty((0, 0), np.float32)
        self.asked: list[int] = []
        self.known: dict[bytes, Rows] = {}

    def __len__(self) -> int:
        return len(self.vectors)

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        self.vectors, self.space = vectors, space

    def propose(self, query: Vectors, n: int) -> Rows:
        self.asked.append(n)
        rows = self.ranked(query)
        if not self.miss:
            return rows[:n]
        rows = rows[: 2 * n]
        draw = np.random.default_rng(np.frombuffer(query.tobytes(), np.uint32).sum())
        return rows[draw.random(len(rows)) >= self.miss / n][:n]

    def ranked(self, query: Vectors) -> Rows:
        """All rows, nearest first."""
        key = query.tobytes()
        if key not in self.known:
            self.known[key] = top_k(query[0], self.vectors, self.space.metric, len(self))[0]
        return self.known[key]

    def save(self, path: Path) -> None: ...

    def load(self, path: Path, space: Space) -> None: ...


class Nothing(Sorted):
    def propose(self, query: Vectors, n: int) -> Rows:
        return np.empty(0, np.int64)


class Few(Sorted):
    def propose(self, query: Vectors, n: int) -> Rows:
        return super().propose(query, n)[:3]


class Hidden(Sorted):
    """Proposes only rows that the filter excludes."""

    mask: Mask

    def propose(self, query: Vectors, n: int) -> Rows:
        rows = self.ranked(query)
        return rows[~self.mask[rows]][:n]


class Case(Clustered):
    def __init__(self, metric: MetricName, rows: int = 3000, seed: int = 1, dimension: int = 16) -> None:
        super().__init__(metric, rows, seed, dimension, questions=20)

    def over(
        self, rows: Any, candidates: Any = None, *, n: int = 40, rescored: int = 20, costs: Costs | None = INDEX
    ) -> Approximate:
        """Build from these rows."""
        rows = np.arange(rows) if isinstance(rows, int) else rows
        candidates = Sorted() if candidates is None else candidates
        candidates.build(Vectors(self.vectors[rows]), self.space)
        return Approximate(candidates, rows, Calibration(0.99, 10, n, rescored, 1.0, 1.0, 1, "given"), costs)

    def check(self, found: Found, number: int, k: int, mask: Mask | None) -> None:
        """The list is full, its rows are eligible, and scores and order are those of the flat index."""
        eligible = len(self.vectors) if mask is None else int(mask.sum())
        assert len(found.rows) >= min(k, eligible)
        assert len(np.unique(found.rows)) == len(found.rows)
        if mask is not None:
            assert mask[found.rows].all()
        scores = self.flat.score(self.queries[number], found.rows, self.source)
        assert scores.tobytes() == found.scores.tobytes()
        assert (np.lexsort((found.rows, -found.scores)) == np.arange(len(found.rows))).all()
        if len(found.rows) > k:
            assert (found.scores[k - 1 :] == found.scores[k - 1]).all()

    def recall(self, found: Found, number: int, k: int, mask: Mask | None) -> float:
        _, best = top_k(self.queries[number], self.vectors, self.space.metric, k, mask)
        close = 1e-6 * max(1.0, float(np.abs(best).max(initial=0)))
        return float(np.mean(found.scores[: len(best)] >= best[-1] - close)) if len(best) else 1.0


@settings(max_examples=sampled(150), deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    indexed=st.sampled_from([1, 500, 1700, 2999, 3000]),
    dead=st.sampled_from([0.0, 0.1, 0.6]),
    eligible=st.sampled_from([1.0, 0.9, 0.5, 0.2, 0.1, 0.01, 0.0005, 0.0]),
    k=st.sampled_from([1, 2, 10, 11, 40, 300, 2999, 3000, 3005]),
    batch=st.booleans(),
    costs=st.sampled_from([INDEX, EXACT, None]),
    seed=st.integers(0, 5),
)
@pytest.mark.thorough
def test_what_is_proposed_rightly_is_found(
    metric: MetricName, indexed: int, dead: float, eligible: float, k: int, batch: bool, costs: Costs | None, seed: int
) -> None:
    """For any filter, tail and deleted rows: if the candidates miss nothing, the result misses nothing."""
    case = Case(metric, seed=seed)
    alive = case.draw.random(3000) >= dead
    rows = np.flatnonzero(alive[:indexed]) if alive[:indexed].any() else np.arange(1)
    alive[rows[-1] + 1 : indexed] = False
    alive &= case.draw.random(3000) >= dead / 2  # deleted since the index was built
    mask = None if dead == 0 and eligible == 1 else alive & (case.draw.random(3000) < eligible)
    index = case.over(rows, costs=costs)
    parts = [case.queries] if batch else [Vectors(case.queries[i : i + 1]) for i in range(len(case.queries))]
    found = [one for part in parts for one in index.search(part, k, case.flat, case.source, mask)]
    for number, one in enumerate(found):
        case.check(one, number, k, mask)
        assert case.recall(one, number, k, mask) == 1
        assert one.complete == (one.path != "index")
        assert one.proposed == 0 or one.path == "index"
        if costs is EXACT:
            assert one.path != "index"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("candidates", [Nothing, Few, Hidden])
@pytest.mark.parametrize("batch", [False, True])
def test_hostile_candidates_get_the_exact_answer(metric: MetricName, candidates: type[Sorted], batch: bool) -> None:
    case = Case(metric)
    hostile = candidates()
    index = case.over(2900, hostile)
    for number in range(0, 20, 5):
        scores = brute_force(case.queries[number], case.vectors, metric)
        mask = scores > np.median(scores)
        if isinstance(hostile, Hidden):
            hostile.mask = mask
        some = case.queries[number : number + 1].repeat(3 if batch else 1, axis=0)
        for found in index.search(Vectors(some), 10, case.flat, case.source, mask):
            case.check(found, number, 10, mask)
            assert found.complete
            assert case.recall(found, number, 10, mask) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_one_query_that_is_not_answered_leaves_the_others(metric: MetricName) -> None:
    """In a batch, each query is answered by proposals or exactly, independently of the others."""
    case = Case(metric)

    class Once(Sorted):
        def propose(self, query: Vectors, n: int) -> Rows:
            return super().propose(query, n)[: 5 if (query == case.queries[3]).all() else None]

    found = case.over(3000, Once()).search(case.queries, 10, case.flat, case.source)
    assert [one.complete for one in found] == [number == 3 for number in range(20)]
    for number, one in enumerate(found):
        case.check(one, number, 10, None)


@pytest.mark.parametrize("spec", INDEXES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.1, 0.04, 0.01, 0.001, 0.0001])
def test_indexes_on_clustered_rows(spec: str, metric: MetricName, share: float) -> None:
    case, n = Case(metric, 12_000), INDEXES[spec][1]
    index = case.over(11_500, empty(spec, metric), n=n, rescored=n // 3)
    mask = None if share == 1 else case.draw.random(12_000) < share
    found = index.search(case.queries, 10, case.flat, case.source, mask)
    for number, one in enumerate(found):
        case.check(one, number, 10, mask)
    # Inner products are no metric: on rows of different lengths a graph of them misses more.
    least = 0.99 if metric != "dot" else 0.5
    assert np.mean([case.recall(one, number, 10, mask) for number, one in enumerate(found)]) >= least
    if share >= 0.1:
        assert {one.path for one in found} == {"index"}


@pytest.mark.parametrize("metric", METRICS)
def test_a_filter_against_the_query(metric: MetricName) -> None:
    """The filter excludes the nearest rows: more and more rows are proposed, then exact search takes over."""
    case = Case(metric)
    index = case.over(3000)
    for number in range(5):
        scores = brute_force(case.queries[number], case.vectors, metric)
        for excluded in (0.01, 0.1, 0.5):
            mask = scores < np.quantile(scores, 1 - excluded)
            (found,) = index.search(Vectors(case.queries[number : number + 1]), 10, case.flat, case.source, mask)
            case.check(found, number, 10, mask)
            assert case.recall(found, number, 10, mask) == 1


def test_no_more_is_spent_on_proposals_than_half_of_the_exact_answer() -> None:
    case = Case("cosine")
    scores = brute_force(case.queries[0], case.vectors, "cosine")
    mask = scores < np.median(scores)
    candidates = Sorted()
    costs = Costs(scan=1.0, batch=1.0, score=0.0, pick=0.0, call=0.0, proposals=((1, 1.0), (3000, 3000.0)))
    (found,) = case.over(3000, candidates, costs=costs).search(
        Vectors(case.queries[:1]), 10, case.flat, case.source, mask
    )
    assert found.path == "scan"
    assert len(candidates.asked) > 1
    assert sum(candidates.asked) <= 1500


def test_proposals_grow_with_the_filter() -> None:
    """As many eligible rows are needed as rows without a filter."""
    case = Case("cosine")
    candidates = Sorted()
    index = case.over(3000, candidates, n=40)
    mask = np.arange(3000) % 4 == 0
    for part, needed in ((None, 40), (mask, 160)):
        candidates.asked.clear()
        (found,) = index.search(Vectors(case.queries[:1]), 10, case.flat, case.source, part)
        assert found.path == "index"
        assert found.proposed == sum(candidates.asked)
        assert needed <= candidates.asked[0] <= 1.5 * needed
        assert found.scored == 20


def test_longer_lists_need_more_proposals() -> None:
    case = Case("cosine")
    candidates = Sorted()
    index = case.over(3000, candidates, n=40, rescored=20)
    for k, asked, scored in ((1, 40, 20), (10, 40, 20), (15, 60, 30), (100, 400, 200)):
        candidates.asked.clear()
        (found,) = index.search(Vectors(case.queries[:1]), k, case.flat, case.source)
        assert (candidates.asked, found.scored) == ([asked], scored)


def test_a_batch_is_scanned_where_that_is_cheaper() -> None:
    case = Case("cosine")
    costs = Costs(scan=1.0, batch=1e-9, score=0.0, pick=0.0, call=0.0, proposals=((1, 0.1), (3000, 0.1)))
    index = case.over(3000, costs=costs)
    assert {one.path for one in index.search(case.queries, 10, case.flat, case.source)} == {"scan"}
    (alone,) = index.search(Vectors(case.queries[:1]), 10, case.flat, case.source)
    assert alone.path == "index"


def test_a_batch_shares_the_cost_of_proposals() -> None:
    case = Case("cosine")
    for shared, path in ((1.0, "scan"), (0.5, "index")):
        costs = Costs(
            scan=1.0, batch=1e-4, score=0.0, pick=0.0, call=0.0, proposals=((1, 0.35), (3000, 0.35)), shared=shared
        )
        found = case.over(3000, costs=costs).search(case.queries, 10, case.flat, case.source)
        assert {one.path for one in found} == {path}


def test_rows_beyond_the_index_are_found_as_it_grows() -> None:
    case = Case("cosine")
    index = case.over(2000)
    for size in (2000, 2001, 2300, 3000):
        flat = FlatIndex("cosine", 16).grown(case.source, size)
        for number in range(20):
            (found,) = index.search(Vectors(case.queries[number : number + 1]), 10, flat, case.source)
            assert found.path == "index"
            best, _ = top_k(case.queries[number], case.vectors[:size], "cosine", 10)
            assert np.isin(best, found.rows).mean() == 1


def test_rows_missing_below_the_last_are_never_lost() -> None:
    """Without a mask all rows are alive; if some are not in the index, it cannot be used."""
    case = Case("cosine")
    (found,) = case.over(np.arange(0, 3000, 2)).search(Vectors(case.queries[:1]), 10, case.flat, case.source)
    assert found.complete
    case.check(found, 0, 10, None)


def test_threads_get_what_one_alone_gets() -> None:
    case = Case("cosine")
    index = case.over(2900, costs=None)  # measured by whoever comes first
    masks = [None, case.draw.random(3000) < 0.3, np.arange(3000) >= 2000]

    def work(number: int) -> None:
        for turn in range(30):
            at, mask = (number + turn) % 20, masks[(number + turn) % 3]
            (found,) = index.search(Vectors(case.queries[at : at + 1]), 10, case.flat, case.source, mask)
            case.check(found, at, 10, mask)
            if case.recall(found, at, 10, mask) != 1:
                raise AssertionError("a row is missing")

    together(3, work)


def test_no_queries() -> None:
    case = Case("cosine")
    assert case.over(3000).search(Vectors(case.queries[:0]), 10, case.flat, case.source) == []


def test_candidates_must_stand_for_the_rows() -> None:
    case = Case("cosine")
    candidates = Sorted()
    calibration = Calibration(0.99, 10, 10, 10, 1.0, 1.0, 1, "given")
    with pytest.raises(ValueError, match="there are 0 candidates for 5 rows"):
        Approximate(candidates, np.arange(5), calibration)
    candidates.build(case.vectors, case.space)
    with pytest.raises(ValueError, match="there are 3000 candidates for 5 rows"):
        Approximate(candidates, np.arange(5), calibration)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("target", [0.9, 0.99])
def test_the_promised_recall_holds_for_other_queries(metric: MetricName, target: float) -> None:
    case = Case(metric, 3000)
    rows = np.arange(3000)
    candidates = Sorted(miss=1.0)
    candidates.build(case.vectors, case.space)
    queries = synthetic_queries(case.vectors[case.draw.integers(3000, size=600)], case.space)
    calibration = calibrate(
        candidates, rows, case.flat, case.source, None, Vectors(queries[:300]), target_recall=target
    )
    (rung,) = [rung for rung in calibration.ladder if rung.n == calibration.n]
    assert calibration.recall == rung.recall >= target + rung.stderr
    assert not any(rung.reaches(target) for rung in calibration.ladder if rung.n < calibration.n)
    index = Approximate(candidates, rows, calibration, INDEX)
    case.queries = Vectors(queries[300:])
    found = index.search(case.queries, 10, case.flat, case.source)
    assert {one.path for one in found} == {"index"}
    assert np.mean([case.recall(one, number, 10, None) for number, one in enumerate(found)]) >= target - 0.01


def test_calibration_counts_what_is_alive_and_indexed() -> None:
    """Dead rows are never returned, and the tail does not concern the index."""
    case = Case("cosine")
    mask = case.draw.random(3000) < 0.7
    rows = np.arange(2000)
    candidates = Sorted()
    candidates.build(Vectors(case.vectors[:2000]), case.space)
    calibration = calibrate(candidates, rows, case.flat, case.source, mask)
    assert calibration.recall > 0.99
    assert (calibration.kind, calibration.queries) == ("noise", 500)
    first = calibration.ladder[0]
    assert (first.n, calibration.ladder[-1].n) == (10, calibration.n)
    assert 0.6 < first.recall < 0.8  # of ten proposals about seven are alive


def test_few_queries_prove_little() -> None:
    case = Case("cosine")
    index = case.over(3000)
    rows = np.arange(3000)

    def calibrated(count: int) -> Calibration:
        queries = Vectors(np.repeat(case.queries, 40, axis=0)[:count])
        return calibrate(index.candidates, rows, case.flat, case.source, None, queries, target_recall=0.99)

    few, many = calibrated(20), calibrated(800)
    assert few.recall == many.recall == 1
    assert few.lower < 0.99 <= many.lower
    assert (few.proven, many.proven) == (False, True)
    assert few.n == many.n == 10  # where nothing is gained by more, the least is taken


@pytest.mark.thorough
def test_what_does_not_reach_its_target_takes_the_best() -> None:
    case = Case("cosine")
    candidates = Sorted(miss=3.0)
    candidates.build(case.vectors, case.space)
    calibration = calibrate(candidates, np.arange(3000), case.flat, case.source, None, target_recall=0.9999)
    assert not calibration.proven
    assert calibration.n == max(calibration.ladder, key=lambda rung: (rung.recall, -rung.n)).n


@pytest.mark.parametrize("mean", [0.9, 0.99, 1.0])
def test_a_lower_bound_holds_at_every_look(mean: float) -> None:
    """Of 300 histories, each looked at twelve times, at most one in twenty may ever show a bound above the mean."""
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        found = draw.binomial(10, mean, size=2048)
        looks = [lower_bound(np.bincount(found[: 1 << step], minlength=11)) for step in range(12)]
        wrong += max(looks) > mean
        assert all(0 <= look <= found[: 1 << step].mean() / 10 for step, look in enumerate(looks))
    assert wrong <= 15
    assert looks[-1] > mean - 0.02  # and it is worth something


def test_a_sample_without_a_miss_proves_a_recall_once_it_is_large() -> None:
    bounds = [lower_bound(np.array([0] * 10 + [count])) for count in (1, 100, 400, 500, 2000)]
    assert bounds == sorted(bounds)
    assert bounds[1] < 0.97 < bounds[2] < 0.99 < bounds[3] < bounds[4] < 1


def test_later_queries_are_added_to_a_calibration() -> None:
    case = Case("cosine", 3000)
    rows = np.arange(3000)
    candidates = Sorted(miss=1.0)
    candidates.build(case.vectors, case.space)
    queries = synthetic_queries(case.vectors[case.draw.integers(3000, size=700)], case.space)

    def calibrated(part: slice, before: Calibration | None = None, kind: Kind = "logged") -> Calibration:
        return calibrate(
            candidates, rows, case.flat, case.source, None, Vectors(queries[part]), kind=kind, before=before
        )

    def counts(calibration: Calibration, n: int) -> list[int]:
        return [count for rung in calibration.ladder if rung.n == n for count in rung.found]

    first, second = calibrated(slice(100)), calibrated(slice(100, 700))
    both = calibrated(slice(100, 700), first)
    assert both.queries in (600, 700)  # 600 if the first hundred queries had not tried as many proposals
    tried = {rung.n for rung in first.ladder} & {rung.n for rung in second.ladder} & {both.n}
    for n in tried:
        assert counts(both, n) == [a + b for a, b in zip(counts(first, n), counts(second, n), strict=True)]
    # The least that all queries together ask for, and no step of the first hundred that was far below is tried again.
    alone = calibrated(slice(700))
    steps = sorted({rung.n for rung in (*alone.ladder, *both.ladder)})
    assert abs(steps.index(both.n) - steps.index(alone.n)) <= 1
    assert calibrated(slice(100, 700), first, "given").queries == 600  # other kinds of queries do not mix


def test_a_calibration_of_an_earlier_version_is_read_and_begun_again() -> None:
    case = Case("cosine")
    index = case.over(3000)
    old = Calibration(
        0.99, 10, 40, 20, 0.995, 0.991, 150, "logged", (Rung(10, 0.9, 0.88), Rung(40, 0.995, 0.991)), (100, 300, 200)
    )
    written = old.to_dict()
    written["ladder"] = [{"n": rung.n, "recall": rung.recall, "lower": rung.lower} for rung in old.ladder]
    read = Calibration.from_dict(json.loads(json.dumps(written)))
    assert read == old
    again = calibrate(
        index.candidates, index.rows, case.flat, case.source, None, case.queries, kind="logged", before=read
    )
    assert again.queries == len(case.queries)


def test_progress_may_end_a_calibration() -> None:
    case = Case("cosine")
    candidates = Sorted(miss=3.0)
    candidates.build(case.vectors, case.space)
    seen: list[int] = []

    def progress(n: int) -> None:
        seen.append(n)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(candidates, np.arange(3000), case.flat, case.source, None, progress=progress)
    assert seen == [10, 15, 20]


def test_calibrating_next_to_nothing() -> None:
    case = Case("cosine", 100)
    candidates = Sorted()
    candidates.build(Vectors(case.vectors[:3]), case.space)
    calibration = calibrate(candidates, np.arange(3), case.flat, case.source, None, case.queries)
    assert (calibration.k, calibration.n, calibration.recall) == (3, 3, 1.0)
    dead = calibrate(candidates, np.arange(3), case.flat, case.source, np.zeros(100, np.bool_), case.queries)
    assert dead.recall == 0
    assert not dead.proven


def test_a_calibration_survives_json() -> None:
    case = Case("l2")
    index = case.over(3000)
    calibration = calibrate(index.candidates, index.rows, case.flat, case.source, None, case.queries, kind="logged")
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    assert again.kind == "logged"


@pytest.mark.thorough
def test_longer_lists_are_measured_too() -> None:
    """Between the two lengths the numbers grow more slowly than k, and beyond in proportion to k."""
    case = Case("cosine", 6000)
    rows = np.arange(6000)
    candidates = Sorted(miss=0.3)
    candidates.build(case.vectors, case.space)
    measured = calibrate(candidates, rows, case.flat, case.source, None)
    assert measured.longer is not None
    far, n, rescored = measured.longer
    assert far == 100
    assert [measured.needed(k) for k in (1, 10)] == [(measured.n, measured.rescored)] * 2
    assert [measured.needed(k) for k in (100, 300)] == [(n, rescored), (3 * n, 3 * rescored)]
    needed = [measured.needed(k) for k in range(10, 101)]
    assert needed == sorted(needed)
    assert all(k <= score <= ask for k, (ask, score) in enumerate(needed, 10))
    index = Approximate(candidates, rows, measured, INDEX)
    case.queries = synthetic_queries(case.vectors[:300], case.space, seed=9)
    for k in (30, 100, 200):
        found = index.search(case.queries, k, case.flat, case.source)
        assert np.mean([case.recall(one, number, k, None) for number, one in enumerate(found)]) >= 0.98


@pytest.mark.thorough
def test_an_index_that_is_good_at_the_top_only_is_not_asked_under_a_filter() -> None:
    class Top(Sorted):
        """Propose the fifty nearest rows, and then arbitrary ones."""

        def propose(self, query: Vectors, n: int) -> Rows:
            rows = self.ranked(query)
            return np.concatenate([rows[:50], rows[50:][::-1]])[:n]

    case = Case("cosine", 6000)
    rows = np.arange(6000)
    candidates = Top()
    candidates.build(case.vectors, case.space)
    calibration = calibrate(candidates, rows, case.flat, case.source, None)
    assert calibration.proven
    assert not calibration.filters
    index = Approximate(candidates, rows, calibration, INDEX)
    for share, path in ((1.0, "index"), (0.9, "index"), (0.3, "scan"), (0.1, "scan")):
        mask = case.draw.random(6000) < share
        (found,) = index.search(Vectors(case.queries[:1]), 10, case.flat, case.source, mask)
        assert found.path == path


@pytest.mark.parametrize(
    "change",
    [
        {"longer": [100, 50, 100]},
        {"longer": [1]},
        {"n": 0},
        {"rescored": 50},
        {"k": "ten"},
        {"ladder": [3]},
        {"ladder": None},
        {"other": 1},
    ],
)
def test_what_is_no_calibration(change: dict[str, Any]) -> None:
    good = Calibration(0.99, 10, 40, 20, 1.0, 1.0, 1, "given").to_dict()
    assert Calibration.from_dict(good).n == 40
    with pytest.raises(CorruptionError, match="the calibration of the index is damaged"):
        Calibration.from_dict(good | change)


@pytest.mark.parametrize("metric", METRICS)
def test_honest_queries_are_harder_than_rows(metric: MetricName) -> None:
    case = Case(metric, dimension=64)
    sample = case.vectors[:200]
    queries = synthetic_queries(sample, case.space, seed=4)
    assert queries.dtype == np.float32
    assert (queries == synthetic_queries(sample, case.space, seed=4)).all()
    assert (queries != synthetic_queries(sample, case.space, seed=5)).any()
    center = sample.mean(axis=0) if metric == "l2" else 0.0
    before, after = (np.linalg.norm(each - center, axis=1) for each in (sample, queries))
    np.testing.assert_allclose(after, before, rtol=1e-4)
    cosines = ((sample - center) * (queries - center)).sum(axis=1) / before**2
    assert 0.3 < cosines.mean() < 0.6  # 1 / √5, but for chance


def test_honest_queries_for_l2_move_with_the_data() -> None:
    case = Case("l2")
    moved = synthetic_queries(case.vectors[:50] + np.float32(64), case.space)
    np.testing.assert_allclose(moved - 64, synthetic_queries(case.vectors[:50], case.space), atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_costs_are_measured(metric: MetricName) -> None:
    case = Case(metric)
    alone = Costs.measure(case.flat, case.source)
    assert min(alone.scan, alone.batch, alone.call) > 0
    assert alone.score >= 0
    assert alone.propose(10) == np.inf
    assert alone.exact(case.flat, 3000, 1) > alone.exact(case.flat, 1, 1) > 0
    index = case.over(3000)
    both = Costs.measure(case.flat, case.source, index.candidates)
    assert both.proposals[0][0] == 16
    assert min(*(took for _, took in both.proposals), both.shared) > 0


def test_costs_between_and_beyond_what_was_measured() -> None:
    costs = Costs(0.0, 0.0, 0.0, 0.0, 0.0, ((10, 1.0), (20, 3.0)))
    assert [costs.propose(n) for n in (1, 10, 15, 20, 40)] == [1.0, 1.0, 2.0, 3.0, 6.0]


def test_costs_of_an_empty_index() -> None:
    flat = FlatIndex("cosine", 4)
    assert Costs.measure(flat, ArraySource(np.empty((0, 4), np.float32))).exact(flat, 0, 1) == 0
