"""The promises of ids in a query. An index always passes `node_ids`, which are empty as a rule: no restriction."""

from tests.adapters.llama_index.conformance.cases import COSINES, Case, uids, where


def test_no_node_ids_are_no_restriction(case: Case) -> None:
    case.filled()
    assert case.found(node_ids=[]) == list(COSINES)
    assert case.found(node_ids=None) == list(COSINES)


def test_node_ids_narrow(case: Case) -> None:
    case.filled()
    assert case.found(node_ids=uids("opposite", "near")) == ["near", "opposite"]


def test_node_ids_narrow_before_the_best_are_chosen(case: Case) -> None:
    case.filled()
    assert case.found(node_ids=uids("opposite"), similarity_top_k=1) == ["opposite"]


def test_unknown_node_ids_find_nothing(case: Case) -> None:
    case.filled()
    assert case.found(node_ids=uids("unknown")) == []


def test_doc_ids_narrow(case: Case) -> None:
    case.filled()
    assert case.found(doc_ids=uids("doc1")) == ["near", "opposite"]
    assert case.found(doc_ids=uids("doc1"), similarity_top_k=1) == ["near"]
    assert case.found(doc_ids=None) == list(COSINES)


def test_no_doc_ids_find_nothing(case: Case) -> None:
    case.filled()
    assert case.found(doc_ids=[]) == []


def test_unknown_doc_ids_find_nothing(case: Case) -> None:
    case.filled()
    assert case.found(doc_ids=uids("unknown")) == []


def test_node_ids_doc_ids_and_filters_narrow_together(case: Case) -> None:
    case.filled()
    both = {"node_ids": uids("same", "near"), "doc_ids": uids("doc1")}
    assert case.found(**both) == ["near"]
    assert case.found(**both, filters=where("number", "==", 1)) == ["near"]
    assert case.found(**both, filters=where("number", "==", 3)) == []
