"""The promises of adding nodes: ids, upserts, all or nothing."""

import math

import pytest
from llama_index.core.schema import TextNode
from tests.adapters.llama_index.conformance.cases import Case, node, refusal, uid, vector


def test_the_ids_come_back_in_order(case: Case) -> None:
    assert case.add(node("b"), node("a"), node("c")) == ["b", "a", "c"]


def test_no_nodes_are_no_error(case: Case) -> None:
    case.filled()
    assert case.add() == []
    assert len(case.found()) == 4


def test_the_same_id_again_replaces(case: Case) -> None:
    case.add(node("a", (1, 0)), node("b", (0.6, 0.8)))
    case.add(node("a", (0, 1)))
    assert case.found() == ["b", "a"]


def test_of_equal_ids_in_a_call_the_last_stays(case: Case) -> None:
    case.add(node("b", (0.6, 0.8)))
    case.add(node("a", (1, 0)), node("a", (0, 1)))
    assert case.found() == ["b", "a"]


def test_a_replaced_node_has_its_new_metadata_only(case: Case) -> None:
    case.add(node("a", old=1, kept=1))
    case.add(node("a", kept=2))
    assert case.node("a").metadata == {"kept": 2}


def test_nodes_may_have_different_metadata(case: Case) -> None:
    case.add(node("a", (1, 0), one=1))
    case.add(node("b", (0, 1), two="x"))
    assert (case.node("a").metadata, case.node("b").metadata) == ({"one": 1}, {"two": "x"})


def test_a_node_without_embedding_is_refused_and_nothing_is_stored(case: Case) -> None:
    case.filled()
    bare = TextNode(id_=uid("bare"), text="bare")
    with pytest.raises(ValueError, match="embedding"):
        case.add(node("good"), bare)
    assert len(case.found()) == 4


def test_a_vector_of_another_length_is_refused_and_nothing_is_stored(case: Case) -> None:
    case.filled()
    short = TextNode(id_=uid("short"), text="short", embedding=vector()[1:])
    with pytest.raises(Exception, match=r"\S"):
        case.add(node("good"), short)
    assert len(case.found()) == 4


def test_a_vector_of_nan_is_refused_and_nothing_is_stored(case: Case) -> None:
    case.filled()
    with pytest.raises(Exception, match=r"(?i)nan|finite"):
        case.add(node("good"), node("bad", (math.nan, 1)))
    assert len(case.found()) == 4


def test_a_vector_of_zeros_is_refused_or_is_as_an_orthogonal_one(case: Case) -> None:
    case.filled()
    with refusal():
        case.add(node("zero", (0, 0)))
    found = case.query()
    reported = dict(zip(found.ids or (), found.similarities or (), strict=True))
    orthogonal = reported[uid("orthogonal")]
    assert reported.pop(uid("zero"), orthogonal) == pytest.approx(orthogonal, abs=1e-6)
    assert len(reported) == 4
