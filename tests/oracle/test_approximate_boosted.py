"""Boosted search with an approximate index: full lists, and nothing lost that was proposed or may lie beyond."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.oracle.clustered import Clustered
from tests.sampling import sampled

from theodolite.indexes.ann import Approximate, Calibration, Costs
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.indexes.flat.index import Found
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.ranking.relevance import Relevance
from theodolite.testing import top_k
from theodolite.types import Mask, Rows, Space, Vectors
from theodolite.vectors.metrics import MetricName

METRICS: tuple[MetricName, ...] = get_args(MetricName)

# Proposals cost next to nothing; and so much that few are affordable.
CHEAP = Costs(scan=1.0, batch=1.0, score=0.0, pick=0.0, call=0.0, proposals=((1, 1e-9), (1_000_000, 1e-3)))
DEAR = Costs(scan=1.0, batch=1.0, score=0.0, pick=0.0, call=0.0, proposals=((1, 20.0), (10_000, 200_000.0)))


class Sorted:
    """Candidates that miss nothing."""

    def __init__(self) -> None:
        self.vectors = np.empty((0, 0), np.float32)
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.vectors)

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        self.vectors, self.space = vectors, space

    def propose(self, query: Vectors, n: int) -> Rows:
        self.asked.append(n)
        return top_k(query[0], self.vectors, self.space.metric, n)[0]

    def save(self, path: Path) -> None: ...

    def load(self, path: Path, space: Space) -> None: ...


class Case(Clustered):
    def __init__(self, metric: MetricName, rows: int = 3000, seed: int = 1, dimension: int = 16) -> None:
        super().__init__(metric, rows, seed, dimension, questions=6)
        mapping = (lambda values: np.tanh(values / 50)) if metric == "dot" else None
        self.relevance = Relevance(metric, mapping=mapping)

    def over(self, rows: Rows, candidates: Candidates, costs: Costs = CHEAP, n: int = 40) -> Approximate:
        candidates.build(Vectors(self.vectors[rows]), self.space)
        return Approximate(candidates, rows, Calibration(0.99, 10, n, 20, 1.0, 1.0, 1, "given"), costs)

    def exact(self, k: int, mask: Mask | None, boost: BoostedScore) -> list[Found]:
        return self.flat.search(self.queries, k, self.source, mask, boost)


def boosted(found: Found) -> NDArray[np.float64]:
    assert found.boosted is not None
    return found.boosted


@settings(max_examples=sampled(120), deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    indexed=st.sampled_from([500, 1700, 2999, 3000]),
    dead=st.sampled_from([0.0, 0.3]),
    eligible=st.sampled_from([1.0, 0.9, 0.5, 0.2, 0.01, 0.0]),
    weight=st.sampled_from([0.0, 0.1, 0.4, 0.95]),
    least=st.sampled_from([-np.inf, 0.3, 0.9]),
    k=st.sampled_from([1, 2, 10, 40, 300, 3000]),
    costs=st.sampled_from([CHEAP, DEAR]),
    seed=st.integers(0, 5),
)
def test_what_is_proposed_rightly_is_found(
    metric: MetricName,
    indexed: int,
    dead: float,
    eligible: float,
    weight: float,
    least: float,
    k: int,
    costs: Costs,
    seed: int,
) -> None:
    """If the candidates miss nothing, the result is exact, for any filter, tail and factors."""
    case = Case(metric, seed=seed)
    alive = case.draw.random(3000) >= dead
    rows = np.flatnonzero(alive[:indexed])
    alive[rows[-1] + 1 : indexed] = False
    mask = None if dead == 0 and eligible == 1 else alive & (case.draw.random(3000) < eligible)
    boost = BoostedScore(case.draw.uniform(1 - weight, 1, 3000), case.relevance, least)
    index = case.over(rows, Sorted(), costs)
    alone = [
        index.search(Vectors(case.queries[i : i + 1]), k, case.flat, case.source, mask, boost)[0]
        for i in range(len(case.queries))
    ]
    together = index.search(case.queries, k, case.flat, case.source, mask, boost)
    for found, other, exact in zip(alone, together, case.exact(k, mask, boost), strict=True):
        assert found.rows.tolist() == exact.rows.tolist() == other.rows.tolist()
        assert found.scores.tobytes() == exact.scores.tobytes() == other.scores.tobytes()
        assert boosted(found).tobytes() == boosted(exact).tobytes() == boosted(other).tobytes()
        assert found.complete == (found.path != "index")
        assert found.proposed == 0 or found.path == "index"


def test_proposals_are_widened_until_the_bound_holds() -> None:
    case = Case("cosine")
    candidates = Sorted()
    index = case.over(np.arange(3000), candidates)
    boost = BoostedScore(case.draw.uniform(0.8, 1, 3000), case.relevance)
    (found,) = index.search(Vectors(case.queries[:1]), 10, case.flat, case.source, None, boost)
    assert found.path == "index"
    assert candidates.asked == [40, 160]
    assert found.proposed == 200
    proposed = case.flat.score(case.queries[0], candidates.propose(Vectors(case.queries[:1]), 160), case.source)
    assert proposed.min() <= boosted(found)[9] < np.sort(proposed)[-40]


def test_a_document_beyond_what_proposals_are_worth_makes_the_answer_exact() -> None:
    """A row far down may always score higher, so the search stops requesting proposals."""
    case = Case("cosine")
    candidates = Sorted()
    index = case.over(np.arange(3000), candidates, DEAR)
    scores = case.flat.score(case.queries[0], np.arange(3000), case.source)
    far = int(np.argsort(-scores)[1000])
    assert scores[far] > 0.05 * scores.max()
    factors = np.full(3000, 0.05)
    factors[far] = 1.0
    (found,) = index.search(
        Vectors(case.queries[:1]), 1, case.flat, case.source, None, BoostedScore(factors, case.relevance)
    )
    assert found.rows.tolist() == [far]
    assert found.complete
    assert sum(candidates.asked) < 1000


def test_the_tail_is_worth_as_much_as_what_is_indexed() -> None:
    case = Case("l2")
    index = case.over(np.arange(2000), Sorted())
    factors = np.full(3000, 0.3)
    factors[2500:] = 1.0
    boost = BoostedScore(factors, case.relevance)
    for found, exact in zip(
        index.search(case.queries, 10, case.flat, case.source, None, boost), case.exact(10, None, boost), strict=True
    ):
        assert found.path == "index"
        assert found.rows.tolist() == exact.rows.tolist()
        assert np.count_nonzero(found.rows >= 2500) >= 9


@pytest.mark.parametrize(
    ("package", "spec", "n"), [("hnswlib", "hnsw:M=12,ef_construction=80", 80), ("rabitqlib", "symqg", 400)]
)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_graphs_find_as_much_as_without_boosts(package: str, spec: str, n: int, metric: MetricName) -> None:
    pytest.importorskip(package)
    case = Case(metric, 8000)
    index = case.over(np.arange(7500), make_index(spec), n=n)
    boost = BoostedScore(case.draw.uniform(0.9, 1, 8000), case.relevance)
    ones = BoostedScore(np.broadcast_to(1.0, 8000), case.relevance)
    recalls = []
    for asked in (ones, boost):
        for mask in (None, case.draw.random(8000) < 0.5):
            answers = index.search(case.queries, 10, case.flat, case.source, mask, asked)
            shared = []
            for found, exact in zip(answers, case.exact(10, mask, asked), strict=True):
                assert len(found.rows) >= 10
                assert (np.diff(boosted(found)) <= 0).all()
                shared.append(np.mean(boosted(found)[:10] >= boosted(exact)[9]))
            recalls.append(np.mean(shared))
    assert min(recalls) >= 0.97
