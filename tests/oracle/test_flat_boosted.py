"""Boosted search against brute force over all rows: the same order, and the same bits on every path."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite.errors import ConfigError
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.indexes.flat.codes import BLOCK
from theodolite.indexes.flat.index import FlatIndex, Found
from theodolite.ranking.relevance import Relevance
from theodolite.testing.oracle import ArraySource
from theodolite.types import Mask, Space, Vectors
from theodolite.vectors.metrics import MetricName, get_metric
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.usefixtures("code_bits")

Doubles = NDArray[np.float64]

METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")
MASKS = ("none", "all", "half", "tenth", "few", "one", "nothing")
FACTORS = ("random", "ones", "levels", "tiny", "rare", "farthest")
TRAITS = ("plain", "clusters", "duplicates", "equal", "offset", "opposite", "outliers")

bounded = settings(
    max_examples=sampled(150), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def sigmoid(values: Doubles) -> Doubles:
    """1 above a certain similarity, so that many rows tie."""
    return 0.5 + 0.5 * np.tanh(values / 8)


def relevance_for(metric: MetricName, floor: float = 0.0) -> Relevance:
    return Relevance(metric, floor if metric == "cosine" else 0.0, sigmoid if metric == "dot" else None)


class Case:
    """Rows and queries, and their similarities one by one."""

    def __init__(self, metric: MetricName, n: int, d: int, trait: str = "plain", seed: int = 0) -> None:
        self.metric: MetricName = metric
        self.draw = draw = np.random.default_rng(seed)
        rows = draw.standard_normal((n, d))
        queries = draw.standard_normal((3, d))
        match trait:
            case "clusters":
                rows = 0.1 * rows + draw.standard_normal((5, d))[draw.integers(5, size=n)]
            case "duplicates":
                rows = rows[draw.integers(max(1, n // 20), size=n)]
            case "equal":
                rows[:] = rows[0]
            case "offset":
                rows += 3 * draw.standard_normal(d)
            case "opposite":
                rows = 0.1 * rows - queries[0]
            case "outliers":
                rows[:, 0] *= 40
        queries[1] = rows[draw.integers(n)]
        space = Space(metric, d, "any")
        self.vectors, self.queries = prepare(rows, space)[0], prepare(queries, space)[0]
        self.flat = FlatIndex(metric, d).grown(self.source, n)

    @property
    def source(self) -> ArraySource:
        return ArraySource(self.vectors)

    def scores(self, number: int) -> NDArray[np.float32]:
        scores = get_metric(self.metric).scores(self.queries[number], self.vectors)
        return np.clip(scores, -1, 1) if self.metric == "cosine" else scores

    def mask(self, kind: str) -> Mask | None:
        n = len(self.vectors)
        shares = {"all": 1.0, "half": 0.5, "tenth": 0.1, "few": 0.01, "nothing": 0.0}
        if kind == "none":
            return None
        return np.arange(n) == n // 2 if kind == "one" else self.draw.random(n) < shares[kind]

    def factors(self, kind: str) -> Doubles:
        n, draw = len(self.vectors), self.draw
        match kind:
            case "ones":
                return np.ones(n)
            case "levels":
                return np.linspace(0.6, 1, 12)[draw.integers(12, size=n)]
            case "tiny":
                return np.where(draw.random(n) < 0.5, 1e-6, 1e-6 * draw.random(n) + 1e-9)
            case "rare":
                return np.where(draw.random(n) < 0.005, 1.0, 0.05)
            case "farthest":  # what is least similar has the largest factor
                factors = np.full(n, 0.01)
                factors[np.argsort(self.scores(0))[: max(1, n // 100)]] = 1.0
                return factors
            case _:
                return draw.uniform(0.6, 1, n)

    def check(self, found: Found, number: int, k: int, mask: Mask | None, boost: BoostedScore) -> None:
        """Check a result against the boosted scores of all rows."""
        scores = self.scores(number)
        relevance = boost.relevance(scores)
        boosted = np.where(relevance > 0, relevance * boost.factors, relevance)
        eligible = np.ones(len(scores), np.bool_) if mask is None else mask
        rows = np.flatnonzero(eligible & (relevance >= boost.least))
        ranking = rows[np.lexsort((rows, -scores[rows], -boosted[rows]))]
        size = len(found.rows)
        assert found.boosted is not None
        assert found.boosted.dtype == np.float64
        assert found.rows.tolist() == ranking[:size].tolist()
        assert found.scores.tobytes() == scores[found.rows].tobytes()
        assert found.boosted.tobytes() == boosted[found.rows].tobytes()
        # As many as asked for, with all that tie with the last of them, and no more.
        assert size >= min(k, len(ranking))
        if size:
            last = ranking[min(k, size) - 1]
            ties = (boosted[ranking] == boosted[last]) & (scores[ranking] == scores[last])
            assert size == max(min(k, len(ranking)), int(ties.nonzero()[0][-1]) + 1)


@bounded
@given(
    st.sampled_from(METRICS),
    st.integers(1, 6000),
    st.sampled_from((1, 2, 16, 65, 200)),
    st.sampled_from(TRAITS),
    st.sampled_from(FACTORS),
    st.sampled_from(MASKS),
    st.sampled_from((1, 3, 10, 100, 7000)),
    st.sampled_from((0.0, 0.3, 0.7)),
    st.sampled_from((-np.inf, 0.0, 0.2, 0.5, 0.9, 2.0)),
    st.integers(0, 2**32 - 1),
)
def test_the_answer_is_the_true_top_k(
    metric: MetricName,
    n: int,
    d: int,
    trait: str,
    factors: str,
    kind: str,
    k: int,
    floor: float,
    least: float,
    seed: int,
) -> None:
    case = Case(metric, n, d, trait, seed)
    boost = BoostedScore(case.factors(factors), relevance_for(metric, floor), least)
    mask = case.mask(kind)
    together = case.flat.search(case.queries, k, case.source, mask, boost)
    for number, found in enumerate(together):
        case.check(found, number, k, mask, boost)
        (alone,) = case.flat.search(Vectors(case.queries[number : number + 1]), k, case.source, mask, boost)
        assert alone.rows.tolist() == found.rows.tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("trait", ["plain", "clusters", "offset"])
def test_several_blocks_and_a_short_tail(metric: MetricName, factors: str, trait: str) -> None:
    case = Case(metric, 2 * BLOCK + 77, 8, trait, 5)
    boost = BoostedScore(case.factors(factors), relevance_for(metric))
    for kind in ("none", "half", "tenth", "few"):
        mask = case.mask(kind)
        for k in (1, 10, 200):
            for number, found in enumerate(case.flat.search(case.queries, k, case.source, mask, boost)):
                case.check(found, number, k, mask, boost)
    # The tail of an approximate index, with factors of all rows.
    first = 2 * BLOCK - 1000
    tail = case.flat.tail(first)
    beyond = np.arange(len(case.vectors)) >= first
    for number, found in enumerate(tail.search(case.queries, 10, case.source, None, boost)):
        case.check(found, number, 10, beyond, boost)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", MASKS)
def test_factors_of_one_are_the_plain_ranking(metric: MetricName, kind: str) -> None:
    case = Case(metric, BLOCK + 3000, 16, "duplicates", 2)
    boost = BoostedScore(np.broadcast_to(1.0, len(case.vectors)), relevance_for(metric))
    mask = case.mask(kind)
    plain = case.flat.search(case.queries, 25, case.source, mask)
    for one, other in zip(plain, case.flat.search(case.queries, 25, case.source, mask, boost), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()
        assert (one.path, one.boosted) == (other.path, None)


def test_what_is_farther_than_any_number_of_candidates_is_found() -> None:
    """One row of 20,000, far down by similarity, wins by its factor."""
    case = Case("cosine", 20_000, 32, "plain", 3)
    scores = case.scores(0)
    order = np.argsort(-scores)
    far = int(order[np.count_nonzero(scores > 0.05)])
    factors = np.full(20_000, 0.04)
    factors[far] = 1.0
    (found,) = case.flat.search(
        Vectors(case.queries[:1]), 1, case.source, None, BoostedScore(factors, Relevance("cosine"))
    )
    assert np.count_nonzero(scores > scores[far]) > 5000
    assert found.rows.tolist() == [far]
    assert found.scored < 2000


def test_no_boost_overturns_a_larger_gap_than_its_weight() -> None:
    for seed in range(20):
        case = Case("cosine", 3000, 16, "plain", seed)
        weight = case.draw.random() * 0.9
        boost = BoostedScore(case.draw.uniform(1 - weight, 1, 3000), Relevance("cosine"))
        (found,) = case.flat.search(Vectors(case.queries[:1]), 3000, case.source, None, boost)
        relevance = boost.relevance(found.scores)
        # Whatever stands behind has at most as much relevance as what stands before, over 1 − weight.
        best_behind = np.maximum.accumulate(relevance[::-1])[::-1]
        here = relevance > 0
        assert (best_behind[here] * (1 - weight) <= relevance[here] * (1 + 1e-12)).all()


def test_negative_relevance_is_not_boosted() -> None:
    case = Case("cosine", 5000, 16, "opposite", 1)
    boost = BoostedScore(case.factors("random"), Relevance("cosine"))
    (plain,) = case.flat.search(Vectors(case.queries[:1]), 50, case.source)
    (found,) = case.flat.search(Vectors(case.queries[:1]), 50, case.source, None, boost)
    assert plain.scores.max() < 0
    assert found.rows.tolist() == plain.rows.tolist()
    assert found.boosted is not None
    assert found.boosted.tolist() == plain.scores.tolist()


def test_fewer_where_too_little_is_relevant() -> None:
    case = Case("cosine", 5000, 32, "plain", 4)
    scores = case.scores(0)
    least = float(np.sort(scores)[-7])
    for mask in (None, case.mask("tenth")):
        boost = BoostedScore(case.factors("random"), Relevance("cosine"), least)
        (found,) = case.flat.search(Vectors(case.queries[:1]), 10, case.source, mask, boost)
        case.check(found, 0, 10, mask, boost)
        assert len(found.rows) == np.count_nonzero((scores >= least) & (True if mask is None else mask))
        (nothing,) = case.flat.search(
            Vectors(case.queries[:1]), 10, case.source, mask, BoostedScore(boost.factors, boost.relevance, 1.1)
        )
        assert len(nothing.rows) == len(nothing.scores) == 0
        assert nothing.boosted is not None


def test_nothing_where_some_groups_have_rows_and_none_is_relevant() -> None:
    case = Case("cosine", BLOCK, 8, "plain", 7)
    mask = np.arange(BLOCK) % 256 >= 220  # the last groups of the block, which are looked at last
    boost = BoostedScore(case.factors("random"), Relevance("cosine"), 1.1)
    for found in case.flat.search(case.queries, 1, case.source, mask, boost):
        assert (found.path, len(found.rows)) == ("scan", 0)


def test_a_relevance_function_is_only_held_to_its_word_for_similarities() -> None:
    """A relevance function may be undefined at a bound, but not at a document's similarity."""
    case = Case("dot", 4000, 8, "plain", 6)
    scores = np.concatenate([case.scores(number) for number in range(3)]).astype(np.float64)
    low, high = scores.min(), scores.max()

    def root(values: Any) -> Any:
        return np.sqrt((values - low) / (high - low))  # no number below, above 1 beyond

    boost = BoostedScore(case.factors("random"), Relevance("dot", mapping=root))
    for k in (10, 4000):
        for number, found in enumerate(case.flat.search(case.queries, k, case.source, None, boost)):
            case.check(found, number, k, None, boost)
    wrong = BoostedScore(boost.factors, Relevance("dot", mapping=lambda values: 3 + 0 * values))
    with pytest.raises(ConfigError, match="for one of"):
        case.flat.search(case.queries, 10, case.source, None, wrong)
    short = BoostedScore(boost.factors, Relevance("dot", mapping=lambda values: values[:1]))
    with pytest.raises(ConfigError, match="shape"):
        case.flat.search(case.queries, 10, case.source, None, short)
