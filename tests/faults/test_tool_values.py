"""An agent that asks for missing values of a field gets a list of the existing ones."""

import asyncio
from datetime import date
from typing import Any

import pytest
from tests.ids import stable

from langchain_theodolite import theodolite_tool
from llama_index_theodolite import as_tool
from theodolite import Document, Retriever, SearchTool
from theodolite.testing import HashingEmbedder

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")

ASKED: list[tuple[dict[str, Any], str]] = [
    ({"source": "Policy"}, 'No passage has "Policy" in source. Did you mean "policy"? There are "policy", "wiki".'),
    ({"source": ["polcy"]}, 'Did you mean "policy"?'),
    ({"source": 5}, "source holds strings, and 5 is a number. There are"),
    ({"final": "true"}, 'final holds booleans, and "true" is a string. There are true, false.'),
    ({"year": "2021"}, 'year holds numbers, and "2021" is a string. There are numbers from 2020 to 2049.'),
    ({"year": {"min": "2021"}}, 'year holds numbers, and "2021" is a string.'),
    ({"year": {"min": 2100}}, "Of year: There are numbers from 2020 to 2049."),
    ({"year": 1066}, "No passage has 1066 in year. There are numbers from 2020 to 2049."),
    ({"on": {"min": "2100-01-01"}}, "Of on: There are dates from 2025-01-01 to 2025-01-30."),
    ({"tags": "money"}, 'No passage has "money" in tags.'),
    ({"author": "someone"}, 'No passage has "someone" in author.'),
    ({"source": "wiki", "year": 2020}, "No passages fit. Try other words, or a wider filter."),
]


@pytest.fixture
def kb() -> Any:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(
            Document(
                f"refund text {i}",
                {
                    "year": 2020 + i,
                    "source": ["policy", "wiki"][i % 2],
                    "final": i > 2,
                    "on": date(2025, 1, 1 + i),
                    "tags": ["refund"] * (1 + i % 2) + ["x"] * (i % 3),
                    "author": f"author {i}",
                },
                id=str(i),
            )
            for i in range(30)
        )
        yield kb


@pytest.mark.parametrize(("filter", "reported"), ASKED, ids=stable)
def test_what_is_not_there_is_named(kb: Retriever, filter: dict[str, Any], reported: str) -> None:
    arguments = {"query": "refund", "filter": filter}
    tool = SearchTool(kb, k=1)
    hits = tool.search(arguments)
    assert not hits
    assert reported in tool.passages(hits)
    assert tool.passages(hits).startswith("No passages fit.")
    assert asyncio.run(tool.asearch(arguments)).trace.notes == hits.trace.notes
    assert theodolite_tool(kb, k=1).invoke(arguments) == tool.passages(hits)
    assert as_tool(kb, k=1)(**arguments).content == tool.passages(hits)


@pytest.mark.parametrize(
    "filter",
    [{"source": "policy"}, {"source": ["polcy", "wiki"]}, {"final": True}, {"year": 2021}, {"year": {"min": 2021}}, {}],
    ids=stable,
)
def test_what_is_there_is_found(kb: Retriever, filter: dict[str, Any]) -> None:
    tool = SearchTool(kb, k=1)
    hits = tool.search({"query": "refund", "filter": filter})
    assert len(hits) == 1
    assert hits.trace.notes == ()


def test_values_of_others_stay_theirs(kb: Retriever) -> None:
    tool = SearchTool(kb, scope={"source": "policy"}, fields=["year", "author"], k=1)
    hits = tool.search({"query": "refund", "filter": {"year": 1}})
    assert "There are 2020, 2022, 2024" in tool.passages(hits)
    assert "2021" not in tool.passages(hits)
    hits = tool.search({"query": "refund", "filter": {"author": "author 1"}})
    assert 'No passage has "author 1" in author.' in tool.passages(hits)


def test_what_came_later_is_known(kb: Retriever) -> None:
    tool = SearchTool(kb, k=1)
    kb.add([Document("refund", {"source": "mail"}, id="mail")])
    assert '"mail"' in tool.passages(tool.search({"query": "refund", "filter": {"source": "male"}}))
    kb.clear()
    assert tool.passages(tool.search({"query": "refund", "filter": {"source": "male"}})) == (
        "No passages fit. Try other words, or a wider filter."
    )
