"""The promises of deleting: by source document, by id, by filter; empty arguments delete nothing."""

from typing import Any

from tests.adapters.llama_index.conformance.cases import (
    COSINES,
    Case,
    condition,
    filters,
    node,
    refusal,
    uid,
    uids,
    where,
)


def test_delete_takes_the_nodes_of_a_document(case: Case) -> None:
    case.filled().store.delete(uid("doc0"))
    assert case.found() == ["near", "opposite"]


def test_delete_of_an_unknown_document_deletes_nothing(case: Case) -> None:
    case.filled().store.delete(uid("unknown"))
    assert case.found() == list(COSINES)


def test_delete_does_not_take_the_id_of_a_node(case: Case) -> None:
    case.filled().store.delete(uid("near"))
    assert case.found() == list(COSINES)


def test_delete_of_no_document_keeps_nodes_without_one(case: Case) -> None:
    case.add(node("orphan"))
    for nothing in (None, "", "None"):  # LlamaIndex writes "None" where a node has no document
        with refusal():
            case.store.delete(nothing)
        assert case.found() == ["orphan"], nothing


def test_delete_nodes_by_id(case: Case) -> None:
    case.filled().store.delete_nodes(uids("same", "opposite"))
    assert case.found() == ["near", "orthogonal"]


def test_delete_nodes_passes_over_unknown_ids(case: Case) -> None:
    case.filled().store.delete_nodes(uids("same", "unknown"))
    assert case.found() == ["near", "orthogonal", "opposite"]


def test_delete_nodes_by_filter(case: Case) -> None:
    case.filled().store.delete_nodes(filters=where("number", ">=", 2))
    assert case.found() == ["same", "near"]


def test_delete_nodes_by_id_and_filter_takes_those_that_are_both(case: Case) -> None:
    case.filled().store.delete_nodes(uids("same", "near"), where("number", ">=", 1))
    assert case.found() == ["same", "orthogonal", "opposite"]


def test_delete_nodes_by_id_and_either_filter_takes_those_that_are_both(case: Case) -> None:
    either = filters(condition("number", "==", 1), condition("number", "==", 2), how="or")
    case.filled().store.delete_nodes(uids("same", "near"), either)
    assert case.found() == ["same", "orthogonal", "opposite"]


def test_delete_nodes_of_nothing_deletes_nothing(case: Case) -> None:
    case.filled()
    nothing: list[tuple[Any, ...]] = [(), (None, None), ([],), (None, filters())]
    for arguments in nothing:
        with refusal():
            case.store.delete_nodes(*arguments)
        assert case.found() == list(COSINES), arguments


def test_what_was_deleted_may_come_again(case: Case) -> None:
    case.filled().store.delete_nodes(uids("same"))
    case.add(node("same", (0.8, 0.6)))
    assert case.found() == ["same", "near", "orthogonal", "opposite"]


def test_clear_deletes_all(case: Case) -> None:
    case.filled().store.clear()
    assert case.found() == []


def test_after_clear_nodes_may_be_added(case: Case) -> None:
    case.filled().store.clear()
    case.add(node("same"))
    assert case.found() == ["same"]


def test_clear_and_delete_of_an_empty_store_are_no_error(case: Case) -> None:
    case.store.delete(uid("doc0"))
    case.store.delete_nodes(uids("same"))
    case.store.clear()
    assert case.found() == []
