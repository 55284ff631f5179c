"""Retrievers pass on every search option and ignore none."""

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.corpus import DOCUMENTS, NOW, QUESTION, dated, filled, found, newest_first
from tests.adapters.shared.verbs import REFUSED, Adapter, ids, ids_and_scores

from theodolite import (
    Authority,
    ConfigError,
    Document,
    EmbedderOptions,
    F,
    Freshness,
    Fusion,
    Latest,
    ManifestError,
    MetadataWarning,
    Rerank,
    Retriever,
)
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with filled() as kb:
        yield kb


VERSIONS = [Latest(per="policy", by="from")]
FRESH = [Freshness("from", half_life="365d", weight=0.9)]
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # an option, and what it must differ from: the same search without it
    ({"mode": "lexical"}, {}),
    ({"mode": "hybrid"}, {}),
    ({"mode": Fusion(dense=1.0, lexical=0.01)}, {"mode": "hybrid"}),
    ({"boosts": [Authority("source", {"policy": 0.0, "chat": 1.0}, weight=0.9)]}, {}),
    ({"boosts": FRESH}, {}),
    ({"boosts": FRESH, "as_of": "2023-01-02"}, {"boosts": FRESH}),
    ({"versions": VERSIONS}, {}),
    ({"versions": VERSIONS, "as_of": "2024-01-01"}, {"versions": VERSIONS}),
    ({"versions": VERSIONS, "superseded": "show"}, {"versions": VERSIONS}),
    ({"min_relevance": 0.3}, {}),
    ({"rerank": newest_first}, {}),
    ({"rerank": Rerank(newest_first, min_relevance=0.5)}, {"rerank": newest_first}),
    ({"diversity": 0.9}, {}),
    ({"dedupe": 0.5}, {}),
    ({"where": {"source": "wiki"}}, {}),
    ({"where": F("source") == "wiki"}, {}),
    ({"k": 2}, {}),
]
ELSEWHERE = {"self", "query", "vector", "like", "accept", "coverage"}
"""Parameters that a retriever has no name for: its questions are texts, LangChain's `filter` takes functions, and
`coverage` excludes `k`, which a retriever always has."""


@pytest.mark.parametrize(("given", "without"), OPTIONS)
async def test_every_option_reaches_the_core(
    adapter: Adapter, kb: Retriever, given: dict[str, Any], without: dict[str, Any]
) -> None:
    expected = found(kb, **given)
    assert expected != found(kb, **without)
    options = dated({"k": 5, **given})
    if "where" in options:
        options["filter"] = options.pop("where")
    retriever = adapter.retriever(kb, with_scores=True, **options)
    assert ids_and_scores(adapter.retrieve(retriever, QUESTION)) == expected
    assert ids_and_scores(await adapter.aretrieve(retriever, QUESTION)) == expected


def test_iterators_last(adapter: Adapter, kb: Retriever) -> None:
    given: dict[str, Any] = {"boosts": iter(FRESH), "versions": iter(VERSIONS), "as_of": NOW, "k": 5}
    retriever = adapter.retriever(kb, with_scores=True, **given)
    for _ in range(2):
        assert ids_and_scores(adapter.retrieve(retriever, QUESTION)) == found(kb, boosts=FRESH, versions=VERSIONS)


def test_a_filter_decides_before_the_best_are_chosen(adapter: Adapter, kb: Retriever) -> None:
    retriever = adapter.retriever(kb, k=1, filter={"source": "chat"})
    assert ids(adapter.retrieve(retriever, "We open at nine.")) == ["chat"]


def test_a_filter_that_cannot_match_is_warned_of(adapter: Adapter) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:  # its own, because a collection warns once
        kb.add([Document("a refund", {"source": "wiki"})])
        retriever = adapter.retriever(kb, filter={"sorce": "chat"})
        with pytest.warns(MetadataWarning, match="sorce"):
            assert adapter.retrieve(retriever, QUESTION) == []


def test_a_scope_confines_whatever_the_filter_says(adapter: Adapter) -> None:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        for tenant in ("acme", "bolt"):
            kb.scoped(tenant=tenant).add([Document(f"Refunds at {tenant}.", id="refunds")])
        everything = {"$or": [{"tenant": "bolt"}, {"tenant": {"$exists": True}}]}
        for retriever in (
            adapter.retriever(kb, scope={"tenant": "acme"}, filter=everything),
            adapter.retriever(kb.scoped(tenant="acme"), filter=everything),
            adapter.retriever(kb, scope=F("tenant") == "acme", filter=everything),
        ):
            assert [one.text for one in adapter.retrieve(retriever, "refunds at bolt")] == ["Refunds at acme."]


@pytest.mark.parametrize("option", ["filtr", "mod", "boost", "version"])
def test_an_unknown_option_is_refused_with_what_was_meant(adapter: Adapter, kb: Retriever, option: str) -> None:
    with pytest.raises(REFUSED, match=f"has no argument '{option}'.*did you mean '{option[:3]}"):
        adapter.retriever(kb, **{option: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "0|greater than or equal to 1"),
        ({"mode": "sparse"}, "'dense', 'lexical' or 'hybrid'|mode is 'sparse'"),
        ({"boosts": "x"}, "boosts is 'x'; expected a list of boosts"),
        ({"boosts": [*FRESH, "x"]}, "'x'|a str"),
        ({"versions": "x"}, "versions is 'x'; expected a list of rules"),
        ({"versions": VERSIONS, "as_of": "x"}, "as_of is 'x'"),
        ({"as_of": "2024-01-01"}, "as_of would do nothing"),
        ({"superseded": "show"}, "superseded"),
        ({"rerank": 3}, "the reranker is an int"),
        ({"diversity": 3}, "diversity is 3"),
        ({"mode": "lexical", "min_relevance": 0.5}, "min_relevance"),
        ({"filter": {"year": {"gte": 1}}}, r"\$gte"),
        ({"filter": {"a": {"$x": 1}}}, "unknown operator"),
        ({"scope": {"a": {"$x": 1}}}, "unknown operator"),
        ({"scope": {}}, "a scope needs a filter"),
    ],
)
def test_what_is_wrong_shows_when_it_is_made(
    adapter: Adapter, kb: Retriever, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(REFUSED, match=message):
        adapter.retriever(kb, **options)


def test_documents_are_the_callers_own(adapter: Adapter, kb: Retriever) -> None:
    retriever = adapter.retriever(kb, k=1)
    (first,) = adapter.retrieve(retriever, QUESTION)
    assert first.metadata == DOCUMENTS[0].metadata
    first.metadata["tags"].append("mine")
    first.metadata["mine"] = True
    assert adapter.retrieve(retriever, QUESTION)[0].metadata == DOCUMENTS[0].metadata


def test_scores_may_be_put_into_the_metadata(adapter: Adapter, kb: Retriever) -> None:
    retriever = adapter.retriever(kb, k=5, with_scores=True, versions=VERSIONS, superseded="show", as_of=NOW)
    hits = kb.search(QUESTION, k=5, versions=VERSIONS, superseded="show", as_of=NOW)
    for hit, one in zip(hits, adapter.retrieve(retriever, QUESTION), strict=True):
        known = one.metadata["theodolite"]
        assert (known["score"], known["rank"], known["scores"]) == (hit.score, hit.rank, dict(hit.scores))
        assert json.loads(json.dumps(known)) == known
        assert known.get("version", {}).get("current", True) == (hit.version is None or hit.version.current)
        assert {**one.metadata, "theodolite": None} == {**hit.document.metadata, "theodolite": None}


async def test_the_event_loop_never_waits(adapter: Adapter) -> None:
    """Each query waits for the other one to start. On the loop's thread neither would end."""
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(HashingEmbedder):
        def encode_query(self, texts: Any, /) -> Any:
            meeting.wait()
            return super().encode_query(texts)

    with Retriever.open(embedder=EmbedderOptions(Meeting(), canary="off")) as kb:
        kb.add(DOCUMENTS)
        retriever = adapter.retriever(kb, k=1)
        asked = ("refunds in fourteen days", "open at nine")
        both = await asyncio.gather(*(adapter.aretrieve(retriever, question) for question in asked))
    assert [ids(one) for one in both] == [["old"], ["hours"]]


class TestLocation:
    def test_a_folder_and_a_model(self, adapter: Adapter, tmp_path: Path) -> None:
        model = adapter.model(4)
        with Retriever.open(tmp_path / "kb", embedder=adapter.as_embedder(model)) as kb:
            kb.add(["aaa", "bbb"])
        retriever = adapter.retriever(location=tmp_path / "kb", embedder=model, k=1)
        assert [one.text for one in adapter.retrieve(retriever, "bbb")] == ["bbb"]
        retriever.kb.close()

    def test_our_embedders(self, adapter: Adapter, tmp_path: Path) -> None:
        filled(tmp_path / "kb").close()
        retriever = adapter.retriever(location=str(tmp_path / "kb"), embedder=HashingEmbedder(), k=1)
        assert ids(adapter.retrieve(retriever, QUESTION)) == ["old"]
        retriever.kb.close()

    def test_nothing_is_made_or_left_open(self, adapter: Adapter, tmp_path: Path) -> None:
        with pytest.raises(ManifestError):
            adapter.retriever(location=tmp_path / "kb", embedder=HashingEmbedder())
        assert not (tmp_path / "kb").exists()
        filled(tmp_path / "kb").close()
        with pytest.raises(REFUSED, match="diversity is 2"):  # ResourceWarning, if it were left open, is an error here
            adapter.retriever(location=tmp_path / "kb", embedder=HashingEmbedder(), diversity=2)

    def test_one_without_the_other(self, adapter: Adapter, kb: Retriever) -> None:
        for half in ({"location": "kb", "kb": kb}, {"embedder": HashingEmbedder()}):
            with pytest.raises((ConfigError, ValueError)):
                adapter.retriever(**half)
        with pytest.raises(REFUSED):
            adapter.retriever()


def test_no_option_of_the_core_is_missing() -> None:
    known = set(inspect.signature(Retriever.search).parameters) - ELSEWHERE
    assert {name for given, _ in OPTIONS for name in given} >= known
