"""Two sets of questions are compared by the distribution of what they find, and by nothing else."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from theodolite import Document, InputError, Retriever, diff
from theodolite.evaluation.question_sets import ONLY, QuestionSetDiff, _by_chance

DRAW = np.random.default_rng(3)
ROWS = DRAW.standard_normal((400, 16))


def asked(count: int, noise: float, seed: int) -> dict[str, list[float]]:
    """Questions near stored passages; the more noise, the lower their scores."""
    draw = np.random.default_rng(seed)
    vectors = ROWS[draw.integers(len(ROWS), size=count)] + noise * draw.standard_normal((count, 16))
    return {f"q{number}": vector.tolist() for number, vector in enumerate(vectors)}


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=None) as kb:
        kb.add([Document(f"passage {number}", id=f"d{number}") for number in range(len(ROWS))], vectors=ROWS)
        yield kb


def test_samples_of_one_distribution_do_not_differ(kb: Retriever) -> None:
    false = sum(diff(kb, kb, asked(80, 0.5, n), questions_b=asked(60, 0.5, n + 500)).share > 0 for n in range(100))
    assert false <= 5  # 1 is expected


def test_harder_questions_are_noticed(kb: Retriever) -> None:
    found = diff(kb, kb, asked(80, 0.3, 1), questions_b=asked(120, 1.5, 2))
    assert isinstance(found, QuestionSetDiff)
    first = found.distributions[0]
    assert first.name in ("first score", "gap", "last score")
    assert found.share == first.distance > 0.3
    assert {each.name: each.a[1] > each.b[1] for each in found.distributions}["first score"]
    assert found.questions == (80, 120)


def test_the_result_says_what_it_compares(kb: Retriever) -> None:
    texts = {"synthetic:1": "passage 1", "q2": "passage 2"}
    found = diff(kb, kb, texts, questions_b={"q1": "passage 300 and more", "q7": "nothing"}, mode="lexical", k=3)
    assert str(found).startswith(f"note: {ONLY}\n")
    assert "A has 2 questions: only large differences show" in str(found)
    assert "1 of the questions of A are synthetic" in str(found)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["notes"][0] == ONLY
    assert "causes" not in values
    assert "words" in {each["name"] for each in values["distributions"]}


def test_equal_sets_are_equal_and_disjoint_ones_share_nothing(kb: Retriever) -> None:
    same = diff(kb, kb, asked(50, 0.5, 1), questions_b=asked(50, 0.5, 1))
    assert (same.share, same.common) == (0.0, 1.0)
    assert all(each.distance == 0 and each.p == 1 for each in same.distributions)
    few = diff(kb, kb, {"q": ROWS[0].tolist()}, questions_b={"q": (-ROWS[0]).tolist()}, k=1)
    assert few.common == 0


def test_judgments_are_refused(kb: Retriever) -> None:
    with pytest.raises(InputError, match="compared by their distribution, without judgments"):
        diff(kb, kb, {"q": "x"}, {"q": {"d1": 1}}, questions_b={"q": "y"})  # type: ignore[call-overload]  # on purpose


@pytest.mark.parametrize(
    ("distance", "n", "m", "p"), [(0.2, 100, 100, 0.0314), (0.1, 300, 200, 0.1744), (1, 50, 50, 0)]
)
def test_p_is_that_of_the_two_sample_test(distance: float, n: int, m: int, p: float) -> None:
    assert _by_chance(distance, n, m) == pytest.approx(p, abs=0.01)
