"""The promises of a query: similarities, top_k, modes, MMR. SimpleVectorStore is the oracle where it is right.

It is not for MMR of more than two nodes, as it compares a candidate with the last that was chosen only; nor for MMR's
similarities, which are what it chose by; nor with a threshold of 0, where it begins with the first node that was added;
nor for vectors of zeros or NaN.
"""

import copy
import math
import random

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from tests.adapters.llama_index.conformance.cases import (
    COSINES,
    Case,
    Mode,
    node,
    question,
    refusal,
    uid,
    vector,
    where,
)
from tests.adapters.llama_index.conformance.stores import DIMENSION

QUESTIONS = 10
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def draw(count: int, seed: int) -> list[TextNode]:
    """Random nodes of unit length, for stores that take inner products for cosines."""
    made = random.Random(seed)
    nodes = []
    for number in range(count):
        values = [made.gauss(0, 1) for _ in range(DIMENSION)]
        length = math.hypot(*values)
        nodes.append(node(f"n{number}", [value / length for value in values], group=number % 7))
    return nodes


def oracle(nodes: list[TextNode]) -> SimpleVectorStore:
    made = SimpleVectorStore()
    made.add(nodes)
    return made


def test_similarities_are_cosines(case: Case) -> None:
    case.filled()
    found = case.query()
    assert found.similarities == pytest.approx(list(COSINES.values()), abs=1e-6)


def test_the_nearest_come_first_and_higher_is_better(case: Case) -> None:
    case.filled()
    found = case.query()
    assert case.found() == list(COSINES)
    assert found.similarities is not None
    assert all(one > other for one, other in zip(found.similarities, found.similarities[1:], strict=False))


def test_similarities_are_floats(case: Case) -> None:
    found = case.filled().query()
    assert found.similarities
    assert all(isinstance(value, float) for value in found.similarities)


def test_the_length_of_vectors_changes_nothing(case: Case) -> None:
    case.add(node("near", (6, 8)), node("same", (0.1, 0)))
    assert case.found() == ["same", "near"]
    longer = case.query(query_embedding=vector(7, 0)).similarities
    assert longer == pytest.approx(case.query().similarities, abs=1e-6)


def test_random_nodes_are_found_as_by_simple(case: Case) -> None:
    nodes = draw(200, 1)
    case.add(*nodes)
    simple, store = oracle(nodes), case.store
    for asked in draw(QUESTIONS, 2):
        query = question(query_embedding=asked.embedding)
        assert store.query(query).ids == simple.query(query).ids


def test_random_similarities_are_those_of_simple(case: Case) -> None:
    nodes = draw(200, 3)
    case.add(*nodes)
    simple, store = oracle(nodes), case.store
    for asked in draw(QUESTIONS, 4):
        query = question(query_embedding=asked.embedding)
        assert store.query(query).similarities == pytest.approx(simple.query(query).similarities, abs=1e-6)


def test_random_nodes_with_a_filter_are_found_as_by_simple(case: Case) -> None:
    nodes = draw(200, 5)
    case.add(*nodes)
    simple, store = oracle(nodes), case.store
    for number, asked in enumerate(draw(QUESTIONS, 6)):
        query = question(query_embedding=asked.embedding, filters=where("group", "==", number % 7))
        assert store.query(query).ids == simple.query(query).ids


def test_all_are_found_where_top_k_is_larger(case: Case) -> None:
    case.filled()
    assert case.found(similarity_top_k=50) == list(COSINES)


def test_no_more_than_top_k_are_found(case: Case) -> None:
    case.filled()
    assert case.found(similarity_top_k=2) == ["same", "near"]


def test_no_top_k_is_refused_or_finds_nothing(case: Case) -> None:
    case.filled()
    for top_k in (0, -1):
        with refusal():
            assert case.found(similarity_top_k=top_k) == []


def test_an_empty_store_finds_nothing(case: Case) -> None:
    assert case.found() == []


def test_a_query_of_another_length_is_refused_in_words(case: Case) -> None:
    case.filled()
    with pytest.raises(Exception, match=str(DIMENSION - 1)):
        case.query(query_embedding=vector()[1:])


def test_a_query_of_nan_is_refused(case: Case) -> None:
    case.filled()
    with pytest.raises(Exception, match=r"(?i)nan|finite"):
        case.query(query_embedding=vector(math.nan, 1))


def test_a_query_without_embedding_is_refused_in_words(case: Case) -> None:
    case.filled()
    with pytest.raises(ValueError, match="embedding"):
        case.query(query_embedding=None)


def test_an_unknown_mode_is_refused(case: Case) -> None:
    case.filled()
    with pytest.raises(ValueError, match="mode"):
        case.query(mode="no such mode", query_str="opposite")


def test_a_mode_for_words_reads_them_or_is_refused(case: Case) -> None:
    case.filled()
    for mode in (Mode.TEXT_SEARCH, Mode.SPARSE, Mode.HYBRID):
        with refusal():
            assert case.found(mode=mode, query_str="opposite", alpha=0.0)[0] == "opposite"


def test_an_unknown_keyword_is_refused(case: Case) -> None:
    store = case.filled().store
    with pytest.raises((TypeError, ValueError), match="filter"):
        store.query(question(), filter={"number": 1})


def test_the_query_stays_as_it_was(case: Case) -> None:
    case.filled()
    query = question(node_ids=[], query_str="x")
    before = copy.deepcopy(query)
    case.store.query(query)
    assert query == before


def maximal_marginal_relevance(asked: TextNode, nodes: list[TextNode], threshold: float, count: int) -> list[str]:
    """The original definition: a candidate is discounted by its similarity to the nearest chosen one."""
    rows = np.array([one.embedding for one in nodes])
    relevance, between = rows @ np.array(asked.embedding), rows @ rows.T
    chosen = [int(relevance.argmax())]
    while len(chosen) < count:
        worth = threshold * relevance - (1 - threshold) * between[chosen].max(axis=0)
        worth[chosen] = -math.inf
        chosen.append(int(worth.argmax()))
    return [nodes[place].node_id for place in chosen]


def test_mmr_chooses_two_as_simple_does(case: Case) -> None:
    nodes = draw(8, 7)  # some choose from no more than four times top_k
    case.add(*nodes)
    simple, store = oracle(nodes), case.store
    for asked in draw(QUESTIONS, 8):
        query = question(query_embedding=asked.embedding, mode=Mode.MMR, similarity_top_k=2)
        for threshold in THRESHOLDS:
            expected = simple.query(query, mmr_threshold=threshold).ids
            assert store.query(query, mmr_threshold=threshold).ids == expected, threshold


def test_mmr_looks_at_all_that_were_chosen(case: Case) -> None:
    nodes = draw(12, 9)
    case.add(*nodes)
    store = case.store
    for asked in draw(QUESTIONS, 10):
        query = question(query_embedding=asked.embedding, mode=Mode.MMR, similarity_top_k=4)
        for threshold in THRESHOLDS:
            expected = maximal_marginal_relevance(asked, nodes, threshold, 4)
            assert store.query(query, mmr_threshold=threshold).ids == expected, threshold


def test_mmr_with_a_threshold_of_0_is_as_different_as_can_be(case: Case) -> None:
    case.add(node("near", (0.6, 0.8)), node("same"), node("opposite", (-1, 0)))
    found = case.store.query(question(mode=Mode.MMR, similarity_top_k=2), mmr_threshold=0)
    assert found.ids == [uid("same"), uid("opposite")]


def test_mmr_takes_the_threshold_of_the_query(case: Case) -> None:
    case.filled()
    assert case.found(mode=Mode.MMR, similarity_top_k=2, mmr_threshold=1.0) == ["same", "near"]
    assert case.found(mode=Mode.MMR, similarity_top_k=2, mmr_threshold=0.05) == ["same", "opposite"]


def test_mmr_tells_cosines(case: Case) -> None:
    case.filled()
    found = case.store.query(question(mode=Mode.MMR, similarity_top_k=3), mmr_threshold=0.2)
    assert found.ids
    expected = {uid(name): cosine for name, cosine in COSINES.items()}
    assert found.similarities == pytest.approx([expected[one] for one in found.ids], abs=1e-6)


def test_a_filter_binds_mmr(case: Case) -> None:
    case.filled()
    assert set(case.found(mode=Mode.MMR, similarity_top_k=3, filters=where("number", ">=", 2))) == {
        "orthogonal",
        "opposite",
    }
