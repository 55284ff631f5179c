"""Every method works or raises a clear error on collections that are empty, cleared, or have one document."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery, VectorStoreQueryMode
from tests.unit.shell import Shell

from langchain_theodolite import TheodoliteRetriever as LangChainRetriever
from langchain_theodolite import TheodoliteVectorStore as LangChainStore
from langchain_theodolite import theodolite_tool
from llama_index_theodolite import TheodoliteRetriever as LlamaRetriever
from llama_index_theodolite import TheodoliteVectorStore as LlamaStore
from llama_index_theodolite import as_tool
from theodolite import (
    Authority,
    Center,
    CollectionNotFoundError,
    Document,
    F,
    Freshness,
    Latest,
    Pca,
    Retriever,
    SearchOptions,
    SearchTool,
    Superseded,
    TheodoliteError,
    Valid,
)
from theodolite.cli.run import run
from theodolite.testing import HashingEmbedder

STATES = ["missing", "new", "one", "cleared", "deleted"]  # a missing one is made by its first documents
MANY = {"n": 1, "at": "2025-06-15", "source": "wiki"}
QUERY = np.ones(64, np.float32)


def fill(kb: Retriever, state: str) -> None:
    if state not in ("missing", "new"):
        kb.add([Document("a refund", MANY, id="a")])
    if state == "cleared":
        kb.clear()
    if state == "deleted":
        kb.delete("a")


@pytest.fixture(params=["memory", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "kb" if request.param == "folder" else None


@pytest.fixture(params=["flat", "hnsw"])
def index(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kb(place: Path | None, index: str, state: str) -> Iterator[Retriever]:
    create = None if state == "missing" else True
    with Retriever.open(place, embedder=HashingEmbedder(), monitor=True, create=create) as kb:
        if index != "flat":
            kb.reindex(index)
        fill(kb, state)
        if index != "flat":
            kb.reindex(index)
        yield kb


READS: dict[str, list[Callable[[Retriever], Any]]] = {
    "why_not": [lambda kb: kb.why_not("a", "refund"), lambda kb: kb.why_not("b", vector=QUERY)],
    "search": [
        lambda kb: kb.search("refund"),
        lambda kb: kb.search("refund", k=1000, where={"n": 1}),
        lambda kb: kb.search("refund", mode="lexical"),
        lambda kb: kb.search("refund", mode="hybrid", where=F("n") > 0),
        lambda kb: kb.search(vector=QUERY),
        lambda kb: kb.search(like="a"),
        lambda kb: kb.search("refund", boosts=[Freshness("at", "30d"), Authority("source", {"wiki": 0.5})]),
        lambda kb: kb.search("refund", versions=[Latest("source", "at"), Valid("at"), Superseded("n", by="source")]),
        lambda kb: kb.search("refund", versions=Latest("source", "at"), superseded="show", as_of="2025-01-01"),
        lambda kb: kb.search("refund", versions=Latest("source", "at"), superseded="substitute", where={"n": 2}),
        lambda kb: kb.search("refund", diversity=0.5, dedupe=0.9, min_relevance=0.1),
        lambda kb: kb.search("refund", rerank=lambda query, texts: [1.0] * len(texts), dedupe=0.9),
        lambda kb: kb.search("refund", accept=lambda document: False),
    ],
    "search_many": [
        lambda kb: kb.search_many([]),
        lambda kb: kb.search_many(["refund", "other"]),
        lambda kb: kb.search_many(vectors=np.ones((2, 64))),
        lambda kb: kb.search_many(["refund"], vectors=np.ones((1, 64)), mode="hybrid"),
    ],
    "asearch": [lambda kb: asyncio.run(kb.asearch("refund"))],
    "asearch_many": [lambda kb: asyncio.run(kb.asearch_many(["refund"]))],
    "search_with": [lambda kb: kb.search_with(SearchOptions(mode="hybrid", where={"n": 1}), "refund")],
    "asearch_with": [lambda kb: asyncio.run(kb.asearch_with(SearchOptions(), "refund"))],
    "search_many_with": [lambda kb: kb.search_many_with(SearchOptions(k=2), ["refund"])],
    "asearch_many_with": [lambda kb: asyncio.run(kb.asearch_many_with(SearchOptions(k=2), ["refund"]))],
    "neighbors": [lambda kb: kb.neighbors("a"), lambda kb: kb.neighbors("b", 0)],
    "aneighbors": [lambda kb: asyncio.run(kb.aneighbors("a"))],
    "get": [lambda kb: kb.get("a"), lambda kb: kb.get([]), lambda kb: kb.get(["a", "b"], vectors=True)],
    "aget": [lambda kb: asyncio.run(kb.aget("a"))],
    "documents": [lambda kb: list(kb.documents()), lambda kb: list(kb.documents({"n": 1}, after="x", vectors=True))],
    "count": [lambda kb: kb.count(), lambda kb: kb.count({"n": {"$ne": 1}})],
    "acount": [lambda kb: asyncio.run(kb.acount())],
    "fields": [lambda kb: kb.fields(), lambda kb: kb.fields(values=0), lambda kb: kb.fields(where={"n": 1})],
    "afields": [lambda kb: asyncio.run(kb.afields())],
    "duplicates": [lambda kb: list(kb.duplicates()), lambda kb: list(kb.duplicates(where={"n": 1}))],
    "info": [lambda kb: json.dumps(kb.info()), repr, len],
    "to_dict": [lambda kb: json.dumps(kb.to_dict())],
    "highlight": [lambda kb: kb.highlight(kb.search("refund"))],
    "ahighlight": [lambda kb: asyncio.run(kb.ahighlight(kb.search("refund")))],
    "warm": [lambda kb: kb.warm(), lambda kb: kb.warm("n", "nothing")],
    "verify": [lambda kb: kb.verify().sound],
    "repair": [lambda kb: kb.repair().sound],
    "audit": [lambda kb: kb.audit(), lambda kb: kb.audit(queries=np.ones((3, 64)))],
    "report": [
        lambda kb: kb.report().html(),
        lambda kb: kb.report(questions={"q": "refund"}, judgments={"q": {"a": 1}}).markdown(),
        lambda kb: json.dumps(kb.report(where={"n": 2}).to_dict()),
        lambda kb: kb.scoped({"n": 1}).report().to_arrow(),
    ],
    "areport": [lambda kb: asyncio.run(kb.areport())],
    "recall": [lambda kb: kb.recall(), lambda kb: kb.recall(["refund"]), lambda kb: kb.recall(["x"], where={"n": 1})],
    "evaluate": [
        lambda kb: kb.evaluate({"q": "refund"}, {"q": {"a": 1}}),
        lambda kb: kb.evaluate({"q": "refund"}, {"q": {"x": 1}}, by="source", mode="hybrid"),
    ],
    "evaluate_with": [lambda kb: kb.evaluate_with(SearchOptions(), {"q": "refund"}, {"q": {"a": 1}})],
    "calibrate": [lambda kb: kb.calibrate({"q": "refund"}, {"q": {"a": 1}})],
    "acalibrate": [lambda kb: asyncio.run(kb.acalibrate({"q": "refund"}, {"q": {"a": 1}}))],
    "calibrate_with": [lambda kb: kb.calibrate_with(SearchOptions(), {"q": "refund"}, {"q": {"a": 1}})],
    "synthetic_questions": [lambda kb: kb.synthetic_questions(3)],
    "check_embedder": [lambda kb: kb.check_embedder().message()],
    "monitor": [lambda kb: kb.monitor],
    "dimension": [lambda kb: kb.dimension],
    "embedder": [lambda kb: kb.embedder],
    "location": [lambda kb: kb.location],
    "metric": [lambda kb: kb.metric],
    "relevance": [lambda kb: kb.relevance],
    "partition": [lambda kb: kb.partition],
    "writable": [lambda kb: kb.writable],
    "scoped": [
        lambda kb: kb.scoped({"n": 1}).search("refund"),
        lambda kb: kb.scoped({"n": 1}).info(),
        lambda kb: kb.scoped(n=1).fields(),
        lambda kb: kb.scoped(n=1).audit(),
        lambda kb: list(kb.scoped(n=1).duplicates()),
        lambda kb: kb.scoped(n=1).search("refund", mode="hybrid", boosts=Freshness("at", "30d")),
        lambda kb: SearchTool(kb).search({"query": "refund"}),
        lambda kb: SearchTool(kb, scope={"n": 1}).parameters,
    ],
}

WRITES: dict[str, list[Callable[[Retriever], Any]]] = {
    "update": [lambda kb: kb.update([], {"n": 2}), lambda kb: kb.update("a", {"n": 2})],
    "aupdate": [lambda kb: asyncio.run(kb.aupdate("a", {"n": 3}))],
    "delete": [lambda kb: kb.delete(where={"n": 77}), lambda kb: kb.delete("nothing"), lambda kb: kb.delete([])],
    "adelete": [lambda kb: asyncio.run(kb.adelete("nothing"))],
    "reindex": [
        lambda kb: kb.reindex("hnsw", queries=["refund"]),
        lambda kb: kb.reindex("flat"),
        lambda kb: kb.reindex("hnsw", queries=np.ones((2, 64))),
    ],
    "feedback": [lambda kb: kb.feedback(kb.search("refund"), "a", 1)],
    "afeedback": [lambda kb: asyncio.run(kb.afeedback(kb.search("refund"), "a", 1))],
    "export_judgments": [lambda kb: kb.export_judgments()],
    "keep_versions": [lambda kb: kb.keep_versions(Latest("source", "at")), lambda kb: kb.keep_versions([])],
    "clear": [lambda kb: kb.clear(), lambda kb: kb.clear()],
    "aclear": [lambda kb: asyncio.run(kb.aclear())],
    "add": [lambda kb: kb.add([]), lambda kb: kb.add([], vectors=np.empty((0, 64))), lambda kb: kb.add(["a text"])],
    "aadd": [lambda kb: asyncio.run(kb.aadd([])), lambda kb: asyncio.run(kb.aadd(["another"]))],
}

REFUSED = {"like", "audit", "recall", "update", "aupdate", "evaluate", "evaluate_with", "feedback", "afeedback"}
REFUSED |= {"calibrate", "acalibrate", "calibrate_with", "export_judgments", "synthetic_questions"}
STORED = {"verify", "repair"}  # they look at what a missing collection has none of


def in_words(call: Callable[[Retriever], Any], kb: Retriever, name: str) -> None:
    """Call it. Errors of ours are allowed; any other error fails the test."""
    try:
        call(kb)
    except CollectionNotFoundError:
        assert name in STORED
    except TheodoliteError:
        if name not in {*REFUSED, "search", "scoped"}:
            raise


def test_every_public_name_is_tried() -> None:
    public = {name for name, _ in inspect.getmembers(Retriever) if not name.startswith("_")}
    assert public - {"open", "close", "aclose", "backup", "compact", "copy_to"} <= {*READS, *WRITES}


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning", "ignore::theodolite.CollectionNotFoundWarning")
def test_every_method_works(kb: Retriever, state: str) -> None:
    count = int(state == "one")
    for name, calls in READS.items():
        for call in calls:
            in_words(call, kb, name)
    assert len(kb.search("refund")) == len(kb.search("refund", mode="lexical")) == len(list(kb.documents())) == count
    assert len(kb) == kb.count({"n": 1}) == count
    for name, calls in WRITES.items():
        for call in calls:
            in_words(call, kb, name)
    assert len(kb.search("a text")) == 2
    assert kb.verify().sound


def test_copies_of_it_work(kb: Retriever, state: str, tmp_path: Path) -> None:
    try:
        kb.backup(tmp_path / "copy")
    except CollectionNotFoundError:
        assert state == "missing"
        return
    for options in ({}, {"read_only": True}):
        with Retriever.open(tmp_path / "copy", embedder=HashingEmbedder(), **options) as copy:  # type: ignore[arg-type]
            assert len(copy) == len(copy.search("refund")) == int(state == "one")
            assert copy.verify().sound


@pytest.mark.parametrize("transforms", [[Pca(2)], [Center()]], ids=["pca", "center"])
def test_transforms_wait_for_documents(transforms: list[Any]) -> None:
    with Retriever.open(embedder=HashingEmbedder(), transforms=transforms) as kb:
        for call in (*READS["search"][:5], *READS["search_many"], *READS["info"], *READS["verify"]):
            in_words(call, kb, "search")


@pytest.mark.filterwarnings("ignore::theodolite.CollectionNotFoundWarning")
@pytest.mark.parametrize("index", ["flat"], indirect=True)
def test_adapters_work(place: Path | None, index: str, state: str) -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="n", value=1)])
    count = int(state == "one")
    with Retriever.open(place, embedder=HashingEmbedder(), create=None if state == "missing" else True) as kb:
        fill(kb, state)
        store = LangChainStore.from_retriever(kb)
        reads: list[Callable[[], Any]] = [
            lambda: store.similarity_search("refund", filter={"n": 1}),
            lambda: store.similarity_search("refund", filter=lambda document: True),
            lambda: store.similarity_search_with_score("refund"),
            lambda: store.similarity_search_with_relevance_scores("refund", score_threshold=0.0),
            lambda: store.similarity_search_by_vector(QUERY.tolist()),
            lambda: store.max_marginal_relevance_search("refund"),
            lambda: store.max_marginal_relevance_search_by_vector(QUERY.tolist()),
            lambda: store.get_by_ids(["a"]),
            lambda: LangChainRetriever.from_store(store, with_scores=True).invoke("refund"),
            lambda: LangChainRetriever.from_store(store, mode="hybrid").invoke("refund"),
            lambda: store.as_retriever(search_type="similarity").invoke("refund"),
            lambda: store.as_retriever(search_type="mmr").invoke("refund"),
            lambda: store.as_retriever(search_type="hybrid").invoke("refund"),
            lambda: asyncio.run(store.asimilarity_search("refund")),
        ]
        for read in reads:
            assert len(read()) == count
        assert isinstance(theodolite_tool(kb).invoke({"query": "refund"}), str)
        nodes = LlamaStore.from_retriever(kb)
        for mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR, VectorStoreQueryMode.HYBRID):
            query = VectorStoreQuery(query_embedding=QUERY.tolist(), query_str="refund", mode=mode, filters=filters)
            assert len(nodes.query(query).nodes or []) == count
        words = VectorStoreQuery(query_str="refund", mode=VectorStoreQueryMode.TEXT_SEARCH)
        assert len(nodes.query(words).nodes or []) == count
        assert len(nodes.get_nodes(None, filters)) == len(nodes.get_nodes(["a"])) == count
        assert len(LlamaRetriever(kb, filters=filters, with_scores=True).retrieve("refund")) == count
        assert not as_tool(kb)(query="refund").is_error
        changes: list[Callable[[], Any]] = [
            lambda: store.delete(["nothing"]),
            lambda: store.delete([]),
            lambda: store.add_documents([]),
            lambda: store.add_texts([]),
            lambda: nodes.add([]),
            lambda: nodes.delete("nothing"),
            lambda: nodes.delete_nodes([]),
            lambda: nodes.delete_nodes(None, filters),
            store.clear,
            nodes.clear,
        ]
        for change in changes:
            change()
        store.add_documents([LangChainDocument("a refund")])
        nodes.add([TextNode(text="a refund", embedding=HashingEmbedder().encode_document(["a refund"])[0].tolist())])
        assert len(kb) == 2


COMMANDS: dict[str, list[list[str]]] = {
    "info": [["{kb}"], ["{kb}", "--json"]],
    "export": [["{kb}"], ["{kb}", "--vectors", "-o", "{new}"], ["{kb}", "--where", '{"n": 1}', "--json"]],
    "search": [
        ["{kb}", "refund"],
        ["{kb}", "refund", "--mode", "hybrid", "--explain", "--json"],
        ["{kb}", "refund", "--mode", "lexical", "--where", '{"n": 1}'],
        ["{kb}", "refund", "--latest", "source:at", "--freshness", "at:30d", "--dedupe", "0.9"],
    ],
    "verify": [["{kb}"], ["{kb}", "--json"], ["{kb}", "--repair"]],
    "backup": [["{kb}", "-o", "{new}"], ["{kb}", "-o", "{new}", "--json"]],
    "copy": [["{kb}", "{new}"], ["{kb}", "{new}", "--json"]],
    "fields": [["{kb}"], ["{kb}", "--json"]],
    "audit": [["{kb}"], ["{kb}", "--json"]],
    "duplicates": [["{kb}"], ["{kb}", "--json"]],
    "recall": [["{kb}"], ["{kb}", "--json"]],
    "report": [["{kb}", "--markdown"], ["{kb}", "--json"], ["{kb}", "-o", "{new}.html", "--embedder", "words"]],
    "evaluate": [["{kb}", "--questions", "{questions}", "--qrels", "{qrels}", "--json"]],
    "calibrate": [["{kb}", "--questions", "{questions}", "--qrels", "{qrels}", "--json"]],
    "diff": [
        ["{kb}", "{kb}", "--questions", "{questions}", "--qrels", "{qrels}"],
        ["{kb}", "{kb}", "--questions", "{questions}", "--mode-b", "lexical", "--json"],
    ],
    "monitor": [["{kb}"], ["{kb}", "--json"]],
    "reindex": [["{kb}", "hnsw"], ["{kb}", "flat"], ["{kb}", "hnsw", "--json"]],
    "delete": [["{kb}", "nothing"], ["{kb}", "--where", '{"n": 7}', "--yes", "--json"]],
    "add": [["{kb}", "--text", "x"]],
    "index": [["{kb}", "{empty}"], ["{kb}", "{empty}", "--json"]],
}


def test_every_command_is_tried() -> None:
    import typer

    from theodolite.cli.commands import app

    group: Any = typer.main.get_command(app)
    elsewhere = {
        "demo",
        "compact",
        "doctor",
        "explore",
        "judge",
        "mcp",
        "serve",
    }  # judge needs a terminal, mcp a client
    assert set(group.commands) - elsewhere <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning", "ignore::theodolite.CollectionNotFoundWarning")
def test_every_command_works(
    command: str,
    state: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "questions.tsv").write_text("q\trefund\n")
    (tmp_path / "qrels.tsv").write_text("q\t0\ta\t1\n")
    monkeypatch.syspath_prepend(Shell(tmp_path / "shell").plugin)  # which brings an embedder that a name leads to
    with Retriever.open(tmp_path / "kb", embedder="words", create=None if state == "missing" else True) as kb:
        fill(kb, state)
    may_refuse = command in ("audit", "recall", "monitor", "index", "add", "evaluate", "calibrate", "diff")
    for number, given in enumerate(COMMANDS[command]):
        places = {
            "{kb}": tmp_path / "kb",
            "{empty}": tmp_path / "empty",
            "{new}": tmp_path / f"new-{number}",
            "{new}.html": tmp_path / f"new-{number}.html",
            "{questions}": tmp_path / "questions.tsv",
            "{qrels}": tmp_path / "qrels.tsv",
        }
        arguments = [str(places.get(part, part)) for part in given]
        code = run([command, *arguments])
        captured = capsys.readouterr()
        if state == "missing" and command not in ("add", "index"):
            assert code == (2 if command == "audit" else 3)  # an audit also takes files of vectors
            assert ("does not exist" if command == "audit" else "there is no collection") in captured.err
        else:
            assert code in ((0, 1, 2, 4) if may_refuse else (0,)), captured.err
        assert "Traceback" not in captured.err
        if code:  # an audit says on stdout what it found
            assert (captured.out if command == "audit" and code == 4 else captured.err).strip()
        if "--json" in arguments and code in (0, 4):
            for line in captured.out.splitlines():
                json.loads(line)


def test_info_after_an_indexing_that_was_stopped_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(), create=True).close()
    assert run(["info", str(tmp_path / "kb")]) == 0
    assert "documents" in capsys.readouterr().out
