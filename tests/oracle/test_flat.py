"""The flat index against the float64 oracle: the true top k, with the same scores on every path."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.codes import BLOCK, NARROW, quantize
from theodolite.indexes.flat.index import FlatIndex, Found
from theodolite.indexes.flat.sources import VectorSource
from theodolite.testing import brute_force, top_k
from theodolite.testing.checks import together
from theodolite.testing.oracle import ArraySource
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.usefixtures("code_bits")

Doubles = NDArray[np.float64]

METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")
DIMENSIONS = (1, 2, 3, 5, 8, 31, 32, 33, 64, 127, 200, 384, 768, 1040, 1041, 1536, 2048)
VALUES = 1_200_000  # at most this many components in one example, for speed
ROTATED = 400  # the largest dimension hypothesis draws what is rotated for: large rotations take seconds to make
CLOSE = 1e-6  # largest error of a score, relative to ‖q‖‖x‖; for L2, of d² relative to itself

# Ways to make data hard; see `draw_rows`.
TURNED = {"outliers", "sparse", "extreme"}  # these make the codes rotated, or may
TRAITS = ("duplicates", "near", "offset", "outliers", "lengths", "zeros", "clusters", "extreme", "sparse")
MASKS = ("none", "all", "half", "tenth", "hundredth", "one", "nothing", "run")

bounded = settings(
    max_examples=sampled(300),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(repr=False)
class Case:
    """Prepared rows and queries."""

    metric: MetricName
    vectors: Vectors
    queries: Vectors
    draw: np.random.Generator
    made_by: str = ""

    def __repr__(self) -> str:
        return self.made_by or f"Case({self.metric!r}, {self.vectors.shape}, ...)"

    @property
    def dimension(self) -> int:
        return int(self.queries.shape[1])

    @property
    def source(self) -> ArraySource:
        return ArraySource(self.vectors)

    def index(self, *stops: int) -> FlatIndex:
        """Return the index, grown in these steps and then to all rows."""
        index = FlatIndex(self.metric, self.dimension)
        for stop in (*stops, len(self.vectors)):
            index = index.grown(ArraySource(self.vectors[:stop]), stop)
        return index


@st.composite
def cases(draw: st.DrawFn, most: int = 4000, dimensions: tuple[int, ...] = DIMENSIONS) -> Case:
    """Only shapes and a seed are drawn; numpy fills the arrays."""
    metric = draw(st.sampled_from(METRICS))
    d = draw(st.sampled_from(dimensions))
    n = min(draw(st.one_of(st.integers(0, 300), st.integers(0, most))), VALUES // d)
    traits = draw(st.sets(st.sampled_from(TRAITS), max_size=3))
    if d > ROTATED:
        traits -= TURNED
    return made(metric, n, d, traits, draw(st.integers(0, 2**32 - 1)))


def made(metric: MetricName, n: int, d: int, traits: set[str], seed: int) -> Case:
    draw = np.random.default_rng(seed)
    raw = draw_rows(n, d, traits, draw)
    if metric == "cosine":
        raw[~raw.any(axis=1)] = 1.0
        raw_queries = draw_queries(raw, d, draw)
        raw_queries[~raw_queries.any(axis=1)] = 1.0
    else:
        raw_queries = draw_queries(raw, d, draw)
        if "zeros" in traits:
            raw_queries[0] = 0
    space = Space(metric, d, "any")
    vectors, queries = prepare(raw, space)[0], prepare(raw_queries, space)[0]
    return Case(metric, vectors, queries, draw, f"made({metric!r}, {n}, {d}, {traits}, {seed})")


def draw_rows(n: int, d: int, traits: set[str], draw: np.random.Generator) -> Doubles:
    rows = draw.standard_normal((n, d))
    if not n:
        return rows
    if "clusters" in traits:
        rows = 0.05 * rows + draw.standard_normal((5, d))[draw.integers(5, size=n)]
    if "sparse" in traits:
        rows *= draw.random((n, d)) < 0.05
    if "extreme" in traits:
        # Every component as large as the largest: codes of ±127 alone, and products beyond 2²⁴ for large d.
        rows = np.sign(rows[:1]) * np.sign(rows[:, :1]) * np.where(draw.random((n, d)) < 1 / d, -1.0, 1.0)
    if "outliers" in traits:
        rows[:, draw.integers(d, size=max(1, d // 100))] *= 40
    if "offset" in traits:
        # A common part three times as long as what differs: a mean cosine of 0.9.
        rows += 3 * draw.standard_normal(d)
    if "near" in traits:
        rows = rows[draw.integers(max(1, n // 10), size=n)] * (1 + 1e-7 * draw.standard_normal((n, d)))
    if "duplicates" in traits:
        rows = rows[draw.integers(max(1, n // 5), size=n)]
    if "lengths" in traits:
        rows *= 10.0 ** draw.uniform(-6, 6, (n, 1))
    if "zeros" in traits:
        rows[draw.random(n) < 0.1] = 0
    return rows


def draw_queries(rows: Doubles, d: int, draw: np.random.Generator) -> Doubles:
    """A random query, a row, one near a row, the mean, minus a row, and the first one again."""
    queries = draw.standard_normal((6, d))
    if len(rows):
        picked = rows[draw.integers(len(rows), size=6)]
        queries[1] = picked[1]
        queries[2] = picked[2] * (1 + 1e-3 * queries[2])
        queries[3] = rows.mean(axis=0)
        queries[4] = -picked[4]
    queries[5] = queries[0]
    return queries


def draw_mask(kind: str, n: int, draw: np.random.Generator) -> NDArray[np.bool_] | None:
    match kind:
        case "none":
            return None
        case "all":
            return np.ones(n, np.bool_)
        case "half":
            return draw.random(n) < 0.5
        case "tenth":
            return draw.random(n) < 0.1
        case "hundredth":
            return draw.random(n) < 0.01
        case "run":
            first = int(draw.integers(n + 1))
            return (np.arange(n) >= first) & (np.arange(n) < first + n // 2)
        case "one":
            return np.arange(n) == int(draw.integers(n)) if n else np.zeros(0, np.bool_)
        case _:
            return np.zeros(n, np.bool_)


def all_scores(case: Case, index: FlatIndex) -> list[NDArray[np.float32]]:
    """Return the index's own score of every row, for each query."""
    by_row = []
    for found in index.search(case.queries, len(case.vectors), case.source):
        assert np.array_equal(np.sort(found.rows), np.arange(len(case.vectors)))
        by_row.append(found.scores[np.argsort(found.rows)])
    return by_row


def check_scores(case: Case, scores: list[NDArray[np.float32]]) -> None:
    """Every score is the exact one, rounded once; equal rows have equal scores."""
    wide = case.vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    same = np.zeros(0, np.int64)
    if len(wide):
        same = np.unique(case.vectors + 0.0, axis=0, return_inverse=True)[1]  # + 0.0: no minus zero
    for query, got in zip(case.queries, scores, strict=True):
        assert got.dtype == np.float32
        assert np.isfinite(got).all()
        assert not np.signbit(got[got == 0]).any(), "minus zero"
        exact = brute_force(query, case.vectors, case.metric)
        if case.metric == "l2":
            sizes = np.abs(exact)
            assert (np.abs(np.square(got.astype(np.float64)) - np.square(exact)) <= CLOSE * np.square(exact)).all()
        else:
            sizes = lengths * np.linalg.norm(query.astype(np.float64))
            assert (np.abs(got - exact) <= CLOSE * sizes).all()
            # For cosine the rows are the exact data, though float32 leaves them not quite of unit length.
            exact = brute_force(query, case.vectors, "dot")
            if case.metric == "cosine":
                exact = np.clip(exact, -1, 1)
        # Half a unit in float32's last place, and what the order of a sum in float64 can change.
        assert (np.abs(got - exact) <= 0.51 * np.spacing(np.abs(got)) + 1e-12 * sizes).all()
        first = np.zeros(len(got), np.float32)
        first[same] = got
        assert np.array_equal(first[same], got), "equal rows have different scores"


def check_found(found: Found, scores: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None) -> None:
    """`found` is the start of the whole ranking, and is not cut between equal scores."""
    eligible = np.arange(len(scores)) if mask is None else np.flatnonzero(mask)
    ranking = eligible[np.lexsort((eligible, -scores[eligible]))]
    size = len(found.rows)
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert size >= min(k, len(eligible))
    assert np.array_equal(found.rows, ranking[:size])
    assert found.scores.tobytes() == scores[found.rows].tobytes(), "another path gives other scores"
    if 0 < size < len(ranking):
        assert scores[ranking[size]] < scores[ranking[size - 1]], "a row tied with the last is missing"
    # No more than the ties of the k-th: the caller sorts them by id.
    if size > k:
        assert scores[ranking[size - 1]] == scores[ranking[k - 1]]


@bounded
@given(cases(), st.sampled_from(MASKS), st.sampled_from((1, 2, 10, 37, 100, 5000)))
def test_the_answer_is_the_true_top_k(case: Case, kind: str, k: int) -> None:
    index = case.index()
    scores = all_scores(case, index)
    check_scores(case, scores)
    mask = draw_mask(kind, len(case.vectors), case.draw)
    answers = index.search(case.queries, k, case.source, mask)
    assert len(answers) == len(case.queries)
    for found, score in zip(answers, scores, strict=True):
        check_found(found, score, k, mask)


@bounded
@given(
    cases(most=1500), st.sampled_from(MASKS), st.sampled_from((1, 5, 40)), st.lists(st.integers(0, 1500), max_size=5)
)
def test_every_path_gives_the_same_scores(case: Case, kind: str, k: int, stops: list[int]) -> None:
    """For one query and a batch, any mask, and any steps in which the index has grown."""
    n = len(case.vectors)
    mask = draw_mask(kind, n, case.draw)
    whole = case.index()
    scores = all_scores(case, whole)
    grown = case.index(*sorted(min(stop, n) for stop in stops))
    for i, score in enumerate(scores):
        for index in (grown, whole):
            (alone,) = index.search(Vectors(case.queries[i : i + 1]), k, case.source, mask)
            check_found(alone, score, k, mask)
    # A large batch, in which each query occurs several times.
    many = np.concatenate([case.queries] * 4)
    for i, found in enumerate(grown.search(Vectors(many), k, case.source, mask)):
        check_found(found, scores[i % len(case.queries)], k, mask)


@settings(bounded, max_examples=sampled(50))
@given(
    st.sampled_from(METRICS),
    st.integers(BLOCK - 1, 3 * BLOCK),
    st.sampled_from((1, 2, 4, 16)),
    st.sets(st.sampled_from(TRAITS), max_size=3),
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.sampled_from(MASKS),
)
@pytest.mark.thorough
def test_across_blocks(metric: MetricName, n: int, d: int, traits: set[str], seed: int, steps: int, kind: str) -> None:
    """Several full blocks and a tail, grown in steps that end at, near and far from a block's border."""
    case = made(metric, n, d, traits, seed)
    draw = case.draw
    borders = np.array([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 100])
    stops = np.concatenate([draw.integers(n, size=steps), draw.choice(borders, 2)])
    index = case.index(*sorted(int(stop) for stop in stops if stop <= n))
    scores = all_scores(case, case.index())
    mask = draw_mask(kind, n, draw)
    for k in (1, 20):
        for found, score in zip(index.search(case.queries, k, case.source, mask), scores, strict=True):
            check_found(found, score, k, mask)
    check_scores(case, scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("d", [2, 384, 2048])
def test_each_trait_alone(metric: MetricName, trait: str, d: int) -> None:
    """Cases that hypothesis may not draw in its few examples."""
    if trait in TURNED:
        d = min(d, ROTATED)
    case = made(metric, 600, d, {trait}, d)
    index = case.index()
    scores = all_scores(case, index)
    check_scores(case, scores)
    for found, score in zip(index.search(case.queries, 10, case.source), scores, strict=True):
        check_found(found, score, 10, None)


def test_outliers_are_rotated() -> None:
    """The data above reaches the code that rotates outliers."""
    draw = np.random.default_rng(1)
    assert quantize(draw_rows(500, 200, {"outliers"}, draw).astype(np.float32)).rotated
    assert not quantize(draw_rows(500, 200, set(), draw).astype(np.float32)).rotated


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_products_beyond_float32_integers(metric: MetricName, offset: float) -> None:
    """For d > 1,040 the products of extreme codes pass 2²⁴ and are rounded on their way to float32."""
    draw = np.random.default_rng(2)
    signs = np.where(draw.random(2048) < 0.5, -1.0, 1.0)
    raw = np.tile([signs, -signs], (350, 1))
    raw[np.arange(700), draw.integers(2048, size=700)] *= 1 - 1e-3 * draw.random(700)
    raw += offset
    space = Space(metric, 2048, "any")
    case = Case(metric, prepare(raw, space)[0], prepare(np.stack([signs, -signs, raw[3]]), space)[0], draw)
    if metric != "cosine" or not offset:
        codes = quantize(case.vectors)
        assert not codes.rotated
        assert (np.square(codes.codes, dtype=np.int64).sum(axis=1) > 1.9 * 2**24).all()
    index = case.index()
    scores = all_scores(case, index)
    check_scores(case, scores)
    for k in (1, 10, 100):
        for found, score in zip(index.search(case.queries, k, case.source), scores, strict=True):
            check_found(found, score, k, None)


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("exponent", [-30, -25, -22, -20, -19, -15, -12, -10, 10, 15, 17])
def test_very_small_and_very_large_vectors(metric: MetricName, exponent: int) -> None:
    """Everything that prepare() accepts, including products that underflow float32."""
    draw = np.random.default_rng(3)
    raw = draw.standard_normal((400, 16)) * 10.0**exponent
    raw[:10] = raw[10]
    space = Space(metric, 16, "any")
    for scale in (1.0, 10.0 ** min(0, -exponent)):
        queries = prepare(np.concatenate([raw[8:12], draw.standard_normal((3, 16)) * 10.0**exponent]) * scale, space)[0]
        case = Case(metric, prepare(raw, space)[0], queries, draw)
        index = case.index()
        scores = all_scores(case, index)
        for query, got in zip(queries, scores, strict=True):
            exact = brute_force(query, case.vectors, metric)
            assert (np.abs(got - exact) <= np.maximum(1e-6 * np.abs(exact), 1e-6 * np.abs(exact).max() + 1e-44)).all()
        for found, score in zip(index.search(queries, 7, case.source), scores, strict=True):
            check_found(found, score, 7, None)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_at_and_near_the_mean(metric: MetricName) -> None:
    """Here the codes carry almost no information, and every rounding counts."""
    draw = np.random.default_rng(4)
    for d in (1, 2, 3, 64, 2048):
        raw = draw.standard_normal((300, d)) * 5 + 2
        center = raw.mean(axis=0)
        queries = np.stack([center, center * (1 + 1e-6), center + 1e-3 * draw.standard_normal(d), np.ones(d)])
        space = Space(metric, d, "any")
        case = Case(metric, prepare(raw, space)[0], prepare(queries, space)[0], draw)
        index = case.index()
        scores = all_scores(case, index)
        check_scores(case, scores)
        for found, score in zip(index.search(case.queries, 5, case.source), scores, strict=True):
            check_found(found, score, 5, None)


@pytest.mark.parametrize("d", [3, 17, 130, 1000])
def test_sums_that_cancel(d: int) -> None:
    """Products whose sum is pure rounding: another order of summation gives another score."""
    draw = np.random.default_rng(d)
    one = draw.standard_normal((40, d)).astype(np.float32)
    raw = np.repeat(np.hstack([one, -one]), 20, axis=0)[draw.permutation(800)]
    space = Space("dot", 2 * d, "any")
    query = 1 + 1e-3 * draw.standard_normal(d)
    queries = prepare([np.hstack([query, query]), np.ones(2 * d)], space)[0]
    case = Case("dot", prepare(raw, space)[0], queries, draw)
    index = case.index()
    scores = all_scores(case, index)
    check_scores(case, scores)
    for row in range(0, 800, 50):
        for size in (1, 2, 7):
            mask = (np.arange(800) >= row) & (np.arange(800) < row + size)
            for found, score in zip(index.search(queries, 1, case.source, mask), scores, strict=True):
                check_found(found, score, 1, mask)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_on_a_grid(metric: MetricName) -> None:
    """Codes without any residual: the bounds consist of rounding alone."""
    for columns in (1, 2, 3):
        raw = np.zeros((60, columns))
        raw[:, 0] = np.arange(60) + (metric == "cosine")
        space = Space(metric, columns, "any")
        queries = np.zeros((2, columns)) if metric == "l2" else np.ones((2, columns))
        case = Case(metric, prepare(raw, space)[0], prepare(queries, space)[0], np.random.default_rng(5))
        check_scores(case, all_scores(case, case.index()))


@pytest.mark.parametrize("metric", METRICS)
def test_no_rows_and_no_queries(metric: MetricName) -> None:
    empty = Vectors(np.zeros((0, 8), np.float32))
    index = FlatIndex(metric, 8)
    queries = prepare(np.eye(8), Space(metric))[0]
    for mask in (None, np.zeros(0, np.bool_)):
        answers = index.search(queries, 5, ArraySource(empty), mask)
        assert [len(found.rows) for found in answers] == [0] * 8
        assert [len(found.scores) for found in answers] == [0] * 8
    assert index.grown(ArraySource(empty), 0).rows == 0
    filled = index.grown(ArraySource(queries), 8)
    assert filled.search(empty, 5, ArraySource(queries)) == []
    assert [len(found.rows) for found in filled.search(queries, 5, ArraySource(queries), np.zeros(8, np.bool_))] == [
        0
    ] * 8


@pytest.mark.parametrize("metric", METRICS)
def test_large_batches(metric: MetricName) -> None:
    """More queries than are scanned together, over full blocks and a tail."""
    case = made(metric, BLOCK + 500, 8, {"clusters"}, 11)
    index = case.index()
    queries = Vectors(np.concatenate([case.queries, case.vectors[:: len(case.vectors) // 150]]))
    for mask in (None, draw_mask("half", len(case.vectors), case.draw)):
        for i, found in enumerate(index.search(queries, 10, case.source, mask)):
            (alone,) = index.search(Vectors(queries[i : i + 1]), 10, case.source, mask)
            assert np.array_equal(found.rows, alone.rows)
            assert found.scores.tobytes() == alone.scores.tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_codes_of_8_bits_take_over_where_4_rule_out_too_little(metric: MetricName) -> None:
    """For single queries, too, and with the same answers throughout."""
    case = made(metric, BLOCK + 3000, 200, set(), 13)  # nothing is near anything
    index = FlatIndex(metric, 200).grown(case.source, len(case.vectors))
    far = Vectors(prepare(case.draw.standard_normal((150, 200)), Space(metric, 200))[0])
    expected = index.search(far, 10, case.source)
    for i, one in enumerate(expected):
        (found,) = index.search(Vectors(far[i : i + 1]), 10, case.source)
        assert np.array_equal(found.rows, one.rows)
        assert found.scores.tobytes() == one.scores.tobytes()
        top, _ = top_k(far[i], case.vectors, metric, 10, None)
        assert set(top.tolist()) == set(found.rows[:10].tolist())


def test_codes_of_8_bits_are_dropped_when_they_are_not_used() -> None:
    """And made again for the next batches."""
    draw = np.random.default_rng(14)
    raw = draw.standard_normal((400, 192))[draw.integers(400, size=BLOCK + 100)]
    vectors = prepare(raw + 0.5 * draw.standard_normal(raw.shape), Space("cosine", 192))[0]
    case = Case("cosine", vectors, Vectors(vectors[:6]), draw)
    index = FlatIndex("cosine", 192).grown(case.source, len(case.vectors))
    batch = Vectors(np.concatenate([case.queries] * 30))

    def sizes() -> list[int]:
        return [block.bits for block in index._scan_for(2, case.source).blocks]

    alone = index.search(Vectors(case.queries[:1]), 5, case.source)[0]
    assert NARROW in sizes()
    for _ in range(2):
        index.search(batch, 5, case.source)
        assert NARROW not in sizes()
        for _ in range(1000):
            (found,) = index.search(Vectors(case.queries[:1]), 5, case.source)
        assert np.array_equal(found.rows, alone.rows)
        assert NARROW in sizes()


@pytest.mark.parametrize("metric", METRICS)
def test_threads_do_not_disturb_one_another(metric: MetricName) -> None:
    """One index, searched by several threads with batches of the same and of other sizes."""
    case = made(metric, BLOCK + 2000, 8, {"duplicates"}, 12)
    index = case.index(2000)
    half = draw_mask("half", len(case.vectors), case.draw)
    expected = [index.search(case.queries, 7, case.source, mask) for mask in (None, half)]

    def work(number: int) -> None:
        size = 1 + number // 3
        for first in range(6 - size):
            part = slice(first, first + size)
            for mask, answers in zip((None, half), expected, strict=True):
                found = index.search(Vectors(case.queries[part]), 7, case.source, mask)
                for one, other in zip(found, answers[part], strict=True):
                    assert np.array_equal(one.rows, other.rows)
                    assert one.scores.tobytes() == other.scores.tobytes()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            together(5, work)
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("metric", METRICS)
def test_an_index_stays_as_it_was_when_it_grows(metric: MetricName) -> None:
    case = made(metric, 3000, 16, set(), 6)
    first = ArraySource(case.vectors[:1000])
    small = FlatIndex(metric, 16).grown(first, 1000)
    before = small.search(case.queries, 10, first)
    assert small.grown(first, 1000).rows == 1000
    large = small.grown(case.source, 3000)
    assert (small.rows, large.rows) == (1000, 3000)
    for old, new in zip(before, small.search(case.queries, 10, first), strict=True):
        assert np.array_equal(old.rows, new.rows)
        assert np.array_equal(old.scores, new.scores)


@pytest.mark.parametrize("metric", METRICS)
def test_codes_from_a_cache_give_the_same_answers(metric: MetricName) -> None:
    case = made(metric, 2 * BLOCK + 50, 4, set(), 7)
    asked = []

    def cached(source: VectorSource, start: int, stop: int, *, wide: bool = False) -> Any:
        asked.append((start, stop))
        return quantize(source.span(start, stop))

    index = FlatIndex(metric, 4).grown(case.source, len(case.vectors), cached)
    assert sorted(asked) == [(0, BLOCK), (BLOCK, 2 * BLOCK)]
    for one, other in zip(
        index.search(case.queries, 10, case.source), case.index().search(case.queries, 10, case.source), strict=True
    ):
        assert np.array_equal(one.rows, other.rows)
        assert one.scores.tobytes() == other.scores.tobytes()


DAMAGE = {
    "negated": lambda vector: -vector,
    "larger": lambda vector: vector * 3,
    "zeroed": lambda vector: vector * 0,
    "not a number": lambda vector: vector * np.nan,
    "infinite": lambda vector: vector * np.inf,
    "one high bit": lambda vector: np.where(np.arange(len(vector)) == 3, vector * 2.0**64, vector),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("masked", [False, True])
def test_a_damaged_vector_is_noticed_when_it_is_scored(metric: MetricName, how: str, masked: bool) -> None:
    case = made(metric, 2000, 64, set(), 8)
    index = case.index()
    damaged = case.vectors.copy()
    damaged[1234] = DAMAGE[how](damaged[1234])
    # By its code row 1234 is the best, so it is scored.
    query = Vectors(case.vectors[1234:1235])
    mask = np.arange(2000) % 2 == 0 if masked else None
    (whole,) = index.search(query, 1, case.source, mask)
    if metric != "dot":  # where a longer row may be better than the row itself
        assert whole.rows.tolist() == [1234]
    if how == "zeroed" and metric == "l2":
        assert np.linalg.norm(query) > 1
    with np.errstate(all="ignore"), pytest.raises(CorruptionError, match="row 1234") as error:
        index.search(query, 40, ArraySource(Vectors(damaged)), mask)
    assert error.value.rows == [1234]


def test_small_damage_within_the_bound_changes_that_score_alone() -> None:
    """Damage that codes cannot show is left to the checksums of the store; other rows are not affected."""
    case = made("cosine", 2000, 64, set(), 9)
    index = case.index()
    query = Vectors(case.vectors[7:8])
    (before,) = index.search(query, 50, case.source)
    damaged = case.vectors.copy()
    damaged[7, 0] += np.float32(1e-6)
    (after,) = index.search(query, 50, ArraySource(Vectors(damaged)))
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores[1:], after.scores[1:])


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_without_an_eligible_row_leave_nothing_of_earlier_scans(metric: MetricName) -> None:
    """Buffers are reused between scans; with a large k the threshold admits any value left in them."""
    count = BLOCK + 600
    vectors, _ = prepare(np.random.default_rng(5).standard_normal((count, 8)), Space(metric))
    source = ArraySource(vectors)
    index = FlatIndex(metric, 8).grown(source, count)
    mask = np.arange(count) >= BLOCK
    index.search(Vectors(vectors[:1]), 10, source)
    for k in (1, 100, 590, 600, 700):
        (found,) = index.search(Vectors(vectors[:1]), k, source, mask)
        expected, _ = top_k(vectors[0], vectors, metric, min(k, 600), mask)
        assert set(found.rows.tolist()) == set(expected.tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("first", [0, 1, 700, BLOCK - 1, BLOCK, BLOCK + 900, 2 * BLOCK + 99, 2 * BLOCK + 100])
def test_a_tail_is_the_index_over_its_last_rows(metric: MetricName, first: int) -> None:
    """Searching a tail is like masking all rows before it, with any other mask."""
    case = made(metric, 2 * BLOCK + 100, 8, {"clusters", "duplicates"}, 3)
    index = case.index(BLOCK + 300)
    tail = index.tail(first)
    within = np.arange(index.rows) >= first
    for k in (1, 10):
        for kind in MASKS:
            mask = draw_mask(kind, index.rows, case.draw)
            found = tail.search(case.queries, k, case.source, mask)
            expected = index.search(case.queries, k, case.source, within if mask is None else within & mask)
            for one, other in zip(found, expected, strict=True):
                assert (one.rows == other.rows).all()
                assert (one.scores == other.scores).all()
