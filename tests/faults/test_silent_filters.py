"""A filter that cannot match is reported in the trace, as one warning, and on the command line. No other filter is."""

import json
import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters
from tests.ids import stable

from langchain_theodolite import TheodoliteRetriever as LangChainRetriever
from langchain_theodolite import TheodoliteVectorStore as LangChainStore
from llama_index_theodolite import TheodoliteRetriever as LlamaRetriever
from theodolite import Document, F, Freshness, Latest, MetadataWarning, Retriever, Valid
from theodolite.engines.local.search import field_summary as engine_fields
from theodolite.testing import HashingEmbedder

ORDERS: list[dict[str, Any]] = [
    {
        "city": "Oslo",
        "spend": "700",
        "year": 2024,
        "paid": True,
        "on": "2025-06-15",
        "tags": ["a", "b"],
        "at": {"x": 1},
    },
    {"city": "Rome", "spend": "20", "year": 2023, "paid": False, "on": date(2025, 6, 16), "tags": [], "at": {"x": 2}},
]

IMPOSSIBLE: list[tuple[Any, str]] = [
    ({"ctiy": "Oslo"}, "'ctiy' cannot match: no document has this field. Did you mean 'city'?"),
    ({"City": "Oslo"}, "Did you mean 'city'?"),
    ({"zzzzz": {"$exists": True}}, "no document has this field. Known fields: 'at', 'at.x', 'city'"),
    ({"spend": {"$gt": 500}}, "'spend' cannot match: it asks for numbers, and the field holds only strings"),
    ({"spend": 700}, "it asks for numbers, and the field holds only strings"),
    ({"year": "2024"}, "it asks for strings, and the field holds only numbers"),
    ({"year": ["2024", "2023"]}, "it asks for strings, and the field holds only numbers"),
    ({"year": {"$gte": "2024-01-01"}}, "it asks for dates, and the field holds only numbers"),
    ({"on": {"$gte": "2025"}}, "it asks for strings, and the field holds only dates"),
    ({"on": {"$gt": 2025}}, "it asks for numbers, and the field holds only dates"),
    ({"paid": "true"}, "it asks for strings, and the field holds only booleans"),
    ({"paid": 1}, "it asks for numbers, and the field holds only booleans"),
    ({"tags": 5}, "it asks for numbers, and the field holds only lists of strings"),
    ({"tags": {"$contains": 5}}, "it asks for lists with numbers, and the field holds only lists of strings"),
    ({"tags": {"$gt": 5}}, "it asks for numbers, and the field holds only lists of strings"),
    ({"year": {"$like": "20%"}}, "it asks for strings, and the field holds only numbers"),
    ({"at": "x"}, "the field holds only mappings. Name a field inside, such as 'at.x'"),
    ({"city": "Oslo", "ctiy": "Oslo"}, "Did you mean 'city'?"),
    ({"$or": [{"ctiy": "Oslo"}, {"spend": 5}]}, "Did you mean 'city'?"),
    ({"$not": {"ctiy": {"$ne": "Oslo"}}}, "Did you mean 'city'?"),
    ({"year": {"$between": ["a", "b"]}}, "it asks for strings"),
]

POSSIBLE: list[Any] = [
    {"city": "Bergen"},
    {"city": "oslo"},
    {"year": {"$gt": 3000}},
    {"year": 1.5},
    {"on": {"$lt": "1990-01-01"}},
    {"on": date(1990, 1, 1)},
    {"on": "1990-01-01"},
    {"on": {"$like": "199%"}},
    {"tags": "c"},
    {"tags": ["c", 5]},
    {"tags": {"$contains": "c"}},
    {"$id": "nobody"},
    {"city": []},
    {"city": "Oslo", "year": 2023},
    {"$or": [{"ctiy": "Oslo"}, {"city": "Bergen"}]},
]

PASSING: list[Any] = [
    {"ctiy": {"$exists": False}},
    {"ctiy": {"$ne": "Oslo"}},
    {"ctiy": {"$nin": ["Oslo"]}},
    {"ctiy": None},
    {"ctiy": {"$empty": True}},
    {"ctiy": {"$not": {"$gt": 5}}},
    {"spend": {"$not": {"$gt": 500}}},
    {"$nor": [{"ctiy": "Oslo"}]},
    {"ctiy": {"$not_contains": "Oslo"}},
    {"$or": [{"ctiy": "Oslo"}, {"city": "Oslo"}]},
]


def filled(documents: list[dict[str, Any]] = ORDERS, **options: Any) -> Retriever:
    kb = Retriever.open(embedder=HashingEmbedder(), **options)
    kb.add(Document("an order", metadata, id=str(number)) for number, metadata in enumerate(documents))
    return kb


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("where", "reason"), IMPOSSIBLE, ids=stable)
def test_what_cannot_match_is_said(where: Any, reason: str, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:  # as in a collection of many documents
        monkeypatch.setattr(engine_fields, "MAX_READ", 0)
    with filled() as kb:
        with pytest.warns(MetadataWarning) as caught:
            hits = kb.search("order", where=where)
        assert not hits
        assert any(reason in note for note in hits.trace.notes), hits.trace.notes
        assert [str(one.message) for one in caught] == list(hits.trace.notes)
        assert {one.filename for one in caught} == {__file__}
        # Said once as a warning, and each time in the trace.
        assert kb.count(where) == kb.delete(where=where) == 0
        assert kb.search("order", where=where).trace.notes == hits.trace.notes
        for mode in ("lexical", "hybrid"):
            assert kb.search("order", where=where, mode=mode).trace.notes == hits.trace.notes


@pytest.mark.parametrize("where", [*POSSIBLE, *PASSING], ids=stable)
def test_what_could_match_is_not_said(where: Any) -> None:
    with filled() as kb:
        hits = kb.search("order", where=where)
        assert hits.trace.notes == ()
        assert len(hits) == kb.count(where)
        assert bool(hits) == (where in PASSING)
        kb.delete(where=where)


@pytest.mark.parametrize("call", ["count", "delete"])
def test_counts_and_deletions_warn(call: str) -> None:
    with filled() as kb:
        with pytest.warns(MetadataWarning, match="'ctiy' cannot match"):
            assert (kb.count({"ctiy": "x"}) if call == "count" else kb.delete(where={"ctiy": "x"})) == 0
        assert len(kb) == 2


def test_empty_collections_do_not_warn() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        for _ in range(2):
            for where, _ in IMPOSSIBLE:
                assert kb.search("order", where=where).trace.notes == ()
                assert kb.count(where) == kb.delete(where=where) == 0
            kb.add([Document("a", {"city": "x"}, id="a")])
            kb.clear()


def test_fields_may_come_later() -> None:
    with filled() as kb:
        with pytest.warns(MetadataWarning):
            assert not kb.search("order", where={"status": "new"})
        kb.add([Document("a new order", {"status": "new"}, id="new")])
        assert kb.search("order", where={"status": "new"}).trace.notes == ()
        kb.delete("new")
        assert kb.search("order", where={"status": "new"}).trace.notes


def test_a_scope_tells_of_nothing_outside() -> None:
    documents: list[dict[str, Any]] = [
        {"tenant": "a", "city": "Oslo", "v": 1},
        {"tenant": "b", "secret_city": "Rome", "v": "x"},
    ]
    with filled(documents, partition="tenant") as kb, warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        for view in (kb.scoped(tenant="a"), kb.scoped({"tenant": "a"})):
            notes = [
                *view.search("order", where={"secret_city": "Rome"}).trace.notes,
                *view.search("order", where={"secret_cit": "Rome"}).trace.notes,
                *view.search("order", where={"v": "x"}).trace.notes,
            ]
            assert len(notes) == 3
            assert all("no document of this scope has this field" in note for note in notes[:2])
            assert "secret_city" not in notes[1]
            assert "holds only numbers" in notes[2]
        empty = kb.scoped(tenant="nobody")
        assert empty.search("order", where={"ctiy": 1}).trace.notes == ()
        assert empty.count({"ctiy": 1}) == 0
        both = kb.scoped({"city": "Oslo"}).search("order", where={"secret_cit": 1}).trace.notes
        assert "secret_city" not in both[0]


def test_many_values_and_long_names_stay_quick() -> None:
    with filled() as kb, warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        notes = kb.search("order", where={"year": {"$in": [str(n) for n in range(200_000)]}}).trace.notes
        assert notes == ("the filter on 'year' cannot match: it asks for strings, and the field holds only numbers",)
        (note,) = kb.search("order", where={"n" * 10_000: 1}).trace.notes
        assert len(note) < 500


def test_adapters_pass_it_on(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        kb.add(Document("an order", metadata, id=str(number)) for number, metadata in enumerate(ORDERS))
    with LangChainStore(HashingEmbedder(), tmp_path / "kb") as store:
        with pytest.warns(MetadataWarning, match="Did you mean 'city'"):
            assert store.similarity_search("order", filter={"ctiy": "Oslo"}) == []
        with pytest.warns(MetadataWarning, match="'town' cannot match"):
            store.delete(filter={"town": "Oslo"})
        retriever = LangChainRetriever.from_store(store, filter={"spend": {"$gt": 500}})
        with pytest.warns(MetadataWarning, match="holds only strings"):
            assert retriever.invoke("order") == []
        assert store.similarity_search("order", k=1, filter={"city": "Oslo"})[0].id == "0"
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        for operator in (FilterOperator.EQ, FilterOperator.GT, FilterOperator.IN, FilterOperator.TEXT_MATCH):
            value: Any = ["Oslo"] if operator is FilterOperator.IN else "Oslo"
            field = f"ctiy{operator.name.lower()[:1]}"
            filters = MetadataFilters(filters=[MetadataFilter(key=field, value=value, operator=operator)])
            with pytest.warns(MetadataWarning, match=f"'{field}' cannot match"):
                assert LlamaRetriever(kb, filters=filters).retrieve("order") == []
        filters = MetadataFilters(filters=[MetadataFilter(key="ctiy", value="Oslo", operator=FilterOperator.NE)])
        LlamaRetriever(kb, filters=filters).retrieve("order")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "theodolite", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_the_command_line_notes_it(tmp_path: Path) -> None:
    kb = str(tmp_path / "kb")
    with Retriever.open(kb) as filling:
        filling.add([Document("an order", ORDERS[0], id="1")], vectors=np.ones((1, 3)))
    where = ["--where", '{"ctiy": "Oslo"}']
    found = run("search", kb, "order", "--mode", "lexical", *where)
    assert (found.returncode, found.stdout) == (0, "")
    assert "Did you mean 'city'?" in found.stderr
    found = run("search", kb, "order", "--mode", "lexical", *where, "--json")
    assert "Did you mean 'city'?" in json.loads(found.stdout)["trace"]["notes"][0]
    assert json.loads(found.stderr.splitlines()[0])["warning"] == "MetadataWarning"
    assert "Did you mean 'city'?" in run("export", kb, *where).stderr
    found = run("search", kb, "order", "--mode", "lexical", "--where", '{"city": "Oslo"}')
    assert found.stderr == ""
    assert found.stdout.count("\n") == 1


def test_dates_that_cannot_be_read_are_counted_and_said() -> None:
    documents = [{"since": "2025-06-15", "kind": "a"}, {"since": "3/1/2025", "kind": "b"}, {"kind": "c"}]
    note = "1 of 2 documents have a string in 'since' that looks like a date but is not one, such as '3/1/2025'"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("filter", {"where": {"since": {"$gte": "2024-01-01"}}}),
        ("equality", {"where": F("since") == date(2025, 6, 15)}),
        ("versions", {"versions": Valid("since"), "as_of": "2026-01-01"}),
        ("latest", {"versions": Latest("kind", "since")}),
        ("boost", {"boosts": Freshness("since", "30d")}),
    ]
    for _, options in asked:
        with filled(documents) as kb:
            assert kb.fields()["since"].unreadable_dates == 1
            assert kb.info()["unreadable_dates"] == {"since": 1}
            # No filter that takes it for text, or another field.
            for where in ({"since": "3/1/2025"}, {"since": {"$gte": "3"}}, {"kind": "a"}):
                assert kb.search("order", where=where).trace.notes == ()
            with pytest.warns(MetadataWarning) as caught:
                hits = kb.search("order", **options)
            assert len(caught) == 1
            assert hits.trace.notes[0].startswith(note)
            assert kb.search("order", **options).trace.notes == hits.trace.notes
            kb.delete("1")
            assert kb.search("order", **options).trace.notes == ()
            assert kb.info()["unreadable_dates"] == {}


def test_counts_and_scopes_tell_of_their_own_unreadable_dates() -> None:
    documents = [{"tenant": "b", "at": at} for at in ("June 3, 2025", "x", "2025-06-15")]
    documents.append({"tenant": "a", "at": "2025-06-15"})
    with filled(documents, partition="tenant") as kb:
        ours, theirs = kb.scoped(tenant="a"), kb.scoped(tenant="b")
        assert ours.count({"at": {"$gte": "2024-01-01"}}) == 1
        assert ours.search("order", where={"at": {"$gte": "2024-01-01"}}).trace.notes == ()
        with pytest.warns(MetadataWarning, match=r"1 of 3 documents .* 'June 3, 2025'"):
            assert theirs.count({"at": {"$lt": "2026-01-01"}}) == 1
        assert "unreadable_dates" not in ours.info()


def test_large_collections_tell_of_fields_that_were_read_as_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.engines.local.search.field_summary.MAX_READ", 0)
    with filled([{"at": "2025-06-15", "other": "1/2/2025"}, {"at": "15.06.2025"}]) as kb:
        assert kb.info()["unreadable_dates"] == {}
        with pytest.warns(MetadataWarning):
            kb.count({"at": {"$gte": "2025-01-01"}})
        assert kb.info()["unreadable_dates"] == {"at": 1}
