"""The retriever passes on every search option and ignores none."""

import asyncio
import copy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public there
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilters
from pydantic import Field
from tests.adapters.corpus import DOCUMENTS, NOW, QUESTION, filled, found, newest_first
from tests.adapters.llama_index.corpus import ids, ids_and_scores
from tests.adapters.llama_index.nodes import Letters

from llama_index_theodolite import TheodoliteRetriever, as_embedder
from theodolite import (
    ConfigError,
    Document,
    EmbedderDriftError,
    EmbedderOptions,
    F,
    InputError,
    Latest,
    Retriever,
    UnsupportedError,
    VectorError,
)
from theodolite.testing import HashingEmbedder

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with filled() as kb:
        yield kb


VERSIONS = [Latest(per="policy", by="from")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (
            MetadataFilters.from_dicts([{"key": "source", "value": ["chat", "wiki"], "operator": "in"}]),
            "chat wiki hours",
        ),
        ({"source": "policy"}, "old new"),
        (F("source") == "chat", "chat"),
        (MetadataFilters(filters=[]), "old new chat wiki hours"),
        ({}, "old new chat wiki hours"),
        (None, "old new chat wiki hours"),
    ],
)
def test_filters_of_all_kinds(kb: Retriever, filters: Any, expected: str) -> None:
    assert set(ids(TheodoliteRetriever(kb, similarity_top_k=9, filters=filters).retrieve("x"))) == set(expected.split())


def test_two_are_found_unless_more_are_asked_for(kb: Retriever) -> None:
    assert len(TheodoliteRetriever(kb).retrieve("refunds")) == 2  # LlamaIndex's own default


def test_filters_may_be_replaced_for_a_call(kb: Retriever) -> None:
    retriever = TheodoliteRetriever(kb, similarity_top_k=5, filters={"source": "policy"}, versions=VERSIONS, as_of=NOW)
    assert ids(retriever.retrieve(QUESTION)) == ["new"]
    assert ids(retriever.with_options(filters={"source": "chat"}).retrieve(QUESTION)) == ["chat"]
    assert ids(retriever.with_options(as_of="2024-01-01").retrieve(QUESTION)) == ["old"]
    assert ids(retriever.with_options(scope={"source": "chat"}).retrieve(QUESTION)) == []
    assert ids(retriever.retrieve(QUESTION)) == ["new"]
    with pytest.raises(TypeError, match="did you mean 'filters'"):
        retriever.with_options(filter_s={})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"filter": {}}, TypeError, "TheodoliteRetriever has no argument 'filter'; here that is filters"),
        ({"k": 1}, TypeError, "here that is similarity_top_k"),
        ({"similarity_topk": 1}, TypeError, "did you mean 'similarity_top_k'"),
        ({"zzz": 1}, TypeError, "it takes as_of, boosts"),
        ({"similarity_top_k": True}, InputError, "similarity_top_k is True"),
    ],
)
def test_what_is_wrong_shows_when_it_is_made(
    kb: Retriever, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TheodoliteRetriever(kb, **options)


def test_a_folder_is_no_collection() -> None:
    with pytest.raises(
        InputError, match=r"TheodoliteRetriever takes a theodolite Retriever or .*, not str; .*Retriever\.open"
    ):
        TheodoliteRetriever("kb")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
def test_collections_of_every_kind_have_one(metric: Any, mode: Any) -> None:
    """Even empty collections and those without an embedder: creating a retriever embeds nothing."""
    vector = [1.0] + [0.0] * 63
    with Retriever.open(metric=metric) as kb:
        retriever = TheodoliteRetriever(kb, mode=mode)
        assert retriever.retrieve(QueryBundle("refunds", embedding=vector)) == []
        kb.add([Document("Refunds.", id="a")], vectors=[vector])
        again = TheodoliteRetriever(kb, mode=mode).retrieve(QueryBundle("refunds", embedding=vector))
        assert ids(again) == ids(retriever.retrieve(QueryBundle("refunds", embedding=vector))) == ["a"]
        if mode != "lexical":
            for bundle in (QueryBundle("refunds"), QueryBundle("refunds", custom_embedding_strs=["a", "b"])):
                with pytest.raises(ConfigError, match="without an embedder"):
                    retriever.retrieve(bundle)


class Counting(HashingEmbedder):
    """Counts the embedded texts, and records the threads."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[str] = []
        self.threads: set[int] = set()

    def encode_query(self, texts: Any, /) -> Any:
        self.queries += texts
        self.threads.add(threading.get_ident())
        return super().encode_query(texts)


@pytest.fixture
def counted() -> Iterator[tuple[Retriever, Counting]]:
    embedder = Counting()
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as kb:
        kb.add(DOCUMENTS)
        yield kb, embedder


OPTIONS_WITH_WORDS: list[dict[str, Any]] = [{}, {"mode": "hybrid"}, {"rerank": newest_first}]


class TestBundles:
    @pytest.mark.parametrize("options", [*OPTIONS_WITH_WORDS, {"mode": "lexical"}])
    async def test_a_given_embedding_is_taken(self, counted: tuple[Retriever, Counting], options: Any) -> None:
        kb, embedder = counted
        retriever = TheodoliteRetriever(kb, similarity_top_k=5, **options)
        vector = HashingEmbedder().encode_query(["we open at nine"])[0]
        bundle = QueryBundle(QUESTION, embedding=vector.tolist())
        if options.get("mode") == "lexical":
            expected = found(kb, **options)
        elif options:
            expected = found(kb, vector=vector, **options)
        else:
            expected = found(kb, None, vector=vector)
            assert expected[0][0] == "hours"
        assert ids(retriever.retrieve(bundle)) == [name for name, _ in expected]
        assert ids(await retriever.aretrieve(bundle)) == [name for name, _ in expected]
        assert embedder.queries == []

    @pytest.mark.parametrize("options", [*OPTIONS_WITH_WORDS, {"mode": "lexical"}])
    async def test_a_bundle_is_never_changed(self, kb: Retriever, options: Any) -> None:
        retriever = TheodoliteRetriever(kb, **options)
        for bundle in (QueryBundle(QUESTION), QueryBundle(QUESTION, custom_embedding_strs=["nine", "open"])):
            before = copy.deepcopy(bundle)
            assert retriever.retrieve(bundle)
            assert await retriever.aretrieve(bundle)
            assert bundle == before
            assert bundle.embedding is None

    @pytest.mark.parametrize("options", OPTIONS_WITH_WORDS)
    async def test_an_embedding_of_another_model_is_refused(self, kb: Retriever, options: Any) -> None:
        retriever = TheodoliteRetriever(kb, **options)
        bundle = QueryBundle(QUESTION, embedding=[1.0, 2.0])
        with pytest.raises(VectorError, match=r"dimension 2; the collection has 64.*Pass a new QueryBundle"):
            retriever.retrieve(bundle)
        with pytest.raises(VectorError, match=r"dimension 2; the collection has 64.*Pass a new QueryBundle"):
            await retriever.aretrieve(bundle)

    async def test_other_words_may_be_embedded(self, counted: tuple[Retriever, Counting]) -> None:
        kb, embedder = counted
        retriever = TheodoliteRetriever(kb, similarity_top_k=5)
        one = QueryBundle(QUESTION, custom_embedding_strs=["We open at nine."])
        assert ids(retriever.retrieve(one))[0] == ids(await retriever.aretrieve(one))[0] == "hours"
        several = QueryBundle(QUESTION, custom_embedding_strs=["We open at nine.", "Error E-1234"])
        mean = np.mean(HashingEmbedder().encode_query(["We open at nine.", "Error E-1234"]), axis=0)
        assert ids_and_scores(retriever.retrieve(several)) == found(kb, None, vector=mean)
        assert ids_and_scores(await retriever.aretrieve(several)) == found(kb, None, vector=mean)
        assert set(embedder.queries) == {"We open at nine.", "Error E-1234"}
        words = TheodoliteRetriever(kb, mode="hybrid").retrieve(QueryBundle("E-1234", custom_embedding_strs=["nine"]))
        assert set(ids(words)) == {"wiki", "hours"}

    async def test_questions_that_cannot_be_asked(self, kb: Retriever) -> None:
        retriever = TheodoliteRetriever(kb)
        with pytest.raises(InputError, match="string that is not blank"):
            retriever.retrieve("")
        with pytest.raises(InputError, match="string that is not blank"):
            await retriever.aretrieve(QueryBundle("", custom_embedding_strs=[]))
        with pytest.raises(UnsupportedError, match="images are not embedded"):
            retriever.retrieve(QueryBundle("", image_path="cat.png"))


def test_copies_share_the_collection(kb: Retriever) -> None:
    given = TheodoliteRetriever(kb, rerank=newest_first)
    other = copy.deepcopy(given)
    assert other.kb is kb
    assert ids_and_scores(other.retrieve(QUESTION)) == ids_and_scores(given.retrieve(QUESTION))
    other.options["mode"] = "lexical"
    assert given.options["mode"] == "dense"


def test_scores_may_be_put_into_the_metadata(kb: Retriever) -> None:
    retriever = TheodoliteRetriever(kb, with_scores=True, versions=VERSIONS, as_of=NOW)
    (hit, *_), (one, *_) = kb.search(QUESTION, k=2, versions=VERSIONS, as_of=NOW), retriever.retrieve(QUESTION)
    assert one.score == hit.score
    known = one.node.metadata["theodolite"]
    assert (known["score"], known["rank"], known["scores"]) == (hit.score, 1, dict(hit.scores))
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "theodolite" not in one.node.get_content(mode)
        assert "source: chat" in one.node.get_content(mode)


async def test_the_event_loop_never_waits() -> None:
    """Each query waits for the other one to start. On the loop's thread neither would end."""
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(HashingEmbedder):
        def encode_query(self, texts: Any, /) -> Any:
            meeting.wait()
            return super().encode_query(texts)

    with Retriever.open(embedder=EmbedderOptions(Meeting(), canary="off")) as kb:
        kb.add(DOCUMENTS)
        retriever = TheodoliteRetriever(kb, similarity_top_k=1)
        bundles = [QueryBundle("?", custom_embedding_strs=[text, text]) for text in ("fourteen days", "open at nine")]
        both = await asyncio.gather(*map(retriever.aretrieve, bundles))
        assert [ids(nodes) for nodes in both] == [["old"], ["hours"]]


class Noting(BaseEventHandler):
    names: list[str] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.names.append(event.class_name())


async def test_instrumentation_is_notified(kb: Retriever) -> None:
    root, noting = get_dispatcher(), Noting()
    root.add_event_handler(noting)
    try:
        retriever = TheodoliteRetriever(kb)
        retriever.retrieve(QUESTION)
        await retriever.aretrieve(QUESTION)
    finally:
        root.event_handlers.remove(noting)
    assert noting.names == ["RetrievalStartEvent", "RetrievalEndEvent"] * 2


def test_index_nodes_lead_to_their_objects(kb: Retriever) -> None:
    """`objects` is LlamaIndex's own recursion; it needs the constructor of its base class."""
    target = IndexNode(text="x", index_id="somewhere", obj=TextNode(text="there", id_="there"))
    retriever = TheodoliteRetriever(kb, objects=[target])
    asked = retriever._handle_recursive_retrieval(
        QueryBundle("x"), [NodeWithScore(node=IndexNode(text="x", index_id="somewhere"), score=0.5)]
    )
    assert ids_and_scores(asked) == [("there", 0.5)]


async def test_a_query_engine_answers_from_it(kb: Retriever) -> None:
    retriever = TheodoliteRetriever(kb, filters={"source": "policy"}, versions=VERSIONS, as_of=NOW)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for answer in (engine.query(QUESTION), await engine.aquery(QUESTION)):
        assert ids(answer.source_nodes) == ["new"]
        assert "Refunds take five working days." in str(answer)


class TestLocation:
    def test_one_without_the_other(self, kb: Retriever) -> None:
        for half in ({"location": "kb", "kb": kb}, {"embed_model": HashingEmbedder()}, {"kb": kb, "embed_model": 1}):
            with pytest.raises(ConfigError, match="pass kb, or location= and embed_model="):
                TheodoliteRetriever(**half)
        with pytest.raises(InputError, match="not NoneType"):
            TheodoliteRetriever()


@pytest.mark.parametrize("several", [["aaa"], ["aaa", "bbb"]])
async def test_what_embeds_other_words_is_looked_at_first(tmp_path: Path, several: list[str]) -> None:
    class Other(Letters):
        def _get_query_embedding(self, query: str) -> list[float]:
            return super()._get_query_embedding(query)[::-1]

    with Retriever.open(tmp_path / "kb", embedder=as_embedder(Letters(embed_dim=4))) as kb:
        kb.add(["aaa", "bbb", "cc", "abc"])
    bundle = QueryBundle("?", custom_embedding_strs=several)
    with Retriever.open(
        tmp_path / "kb", embedder=EmbedderOptions(as_embedder(Other(embed_dim=4)), canary="first_use")
    ) as kb:
        with pytest.raises(EmbedderDriftError):
            TheodoliteRetriever(kb).retrieve(bundle)
        with pytest.raises(EmbedderDriftError):
            await TheodoliteRetriever(kb).aretrieve(bundle)
