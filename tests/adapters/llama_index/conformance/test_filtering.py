"""The promises of filters: one rule a row of `rules`, which hold for queries, and decide before the best are chosen."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from tests.adapters.llama_index.conformance.cases import Case, filters, names, node, question, where
from tests.adapters.llama_index.conformance.rules import RULES, Rule
from tests.adapters.llama_index.conformance.stores import StoreSpec

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

Stored = Mapping[str, dict[str, Any]]


def nodes_of(stored: Stored) -> list[TextNode]:
    return [node(name, source=f"doc-{name}", **metadata) for name, metadata in stored.items()]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[StoreSpec, Stored], Case]]:
    """Stores that are filled once for all rules on the same nodes."""
    made: dict[tuple[str, int], Case] = {}

    def filled(spec: StoreSpec, stored: Stored) -> Case:
        key = (spec.label, id(stored))
        if key not in made:
            case = Case(spec, tmp_path_factory.mktemp("shelf") / "store")
            case.add(*nodes_of(stored))
            made[key] = case
        return made[key]

    yield filled
    for case in made.values():
        case.close()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_filter(case: Case, rule: Rule, shelf: Callable[[StoreSpec, Stored], Case]) -> None:
    found = shelf(case.spec, rule.stored).found(filters=rule.filters)
    assert sorted(found) == sorted(rule.passing.split())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.simple], ids=lambda rule: rule.label)
def test_the_rules_are_those_of_llama_index(rule: Rule) -> None:
    simple = SimpleVectorStore()
    simple.add(nodes_of(rule.stored))
    assert sorted(names(simple.query(question(filters=rule.filters)).ids or ())) == sorted(rule.passing.split())


def test_a_filter_finds_top_k_however_far_they_are(case: Case) -> None:
    case.add(*(node(f"n{number}", (1, number / 100), far=int(number >= 95)) for number in range(100)))
    assert case.found(filters=where("far", "==", 1), similarity_top_k=4) == ["n95", "n96", "n97", "n98"]


def test_a_filter_on_an_empty_store_finds_nothing(case: Case) -> None:
    assert case.found(filters=where("n", "==", 1)) == []
    assert case.found(filters=filters()) == []
