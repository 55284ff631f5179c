"""What filters promise: one rule a row of `rules`, which hold for queries, and decide before the best are chosen."""

import pytest
from llama_index.core.vector_stores import SimpleVectorStore
from tests.adapters.llama_index.conformance.cases import Case, filters, names, node, question, where
from tests.adapters.llama_index.conformance.rules import RULES, Rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_filter(case: Case, rule: Rule) -> None:
    case.add(*(node(name, source=f"doc-{name}", **metadata) for name, metadata in rule.stored.items()))
    assert sorted(case.found(filters=rule.filters)) == sorted(rule.passing.split())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.simple], ids=lambda rule: rule.label)
def test_the_rules_are_those_of_llama_index(rule: Rule) -> None:
    simple = SimpleVectorStore()
    simple.add([node(name, source=f"doc-{name}", **metadata) for name, metadata in rule.stored.items()])
    assert sorted(names(simple.query(question(filters=rule.filters)).ids or ())) == sorted(rule.passing.split())


def test_a_filter_finds_top_k_however_far_they_are(case: Case) -> None:
    case.add(*(node(f"n{number}", (1, number / 100), far=int(number >= 95)) for number in range(100)))
    assert case.found(filters=where("far", "==", 1), similarity_top_k=4) == ["n95", "n96", "n97", "n98"]


def test_a_filter_on_an_empty_store_finds_nothing(case: Case) -> None:
    assert case.found(filters=where("n", "==", 1)) == []
    assert case.found(filters=filters()) == []
