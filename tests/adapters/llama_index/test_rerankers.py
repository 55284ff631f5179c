"""The reranker as a node postprocessor: scores that can be held to a threshold, and nodes that stay as they are."""

import copy
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public there
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import Field
from tests.adapters.agreement import BEST, QUERY, TEXTS, agreement
from tests.adapters.corpus import QUESTION, filled, newest_first
from tests.adapters.llama_index.corpus import ids

from llama_index_theodolite import TheodoliteRerank, TheodoliteRetriever
from theodolite import ConfigError, Rerank, RerankError


def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=name, text=text, metadata={"tags": [name]}), score=0.1)
        for name, text in zip("abcd", TEXTS, strict=True)
    ]


def reranker(function: Any = agreement, **fields: Any) -> TheodoliteRerank:
    return TheodoliteRerank(function, **{"mode": MetadataMode.NONE, **fields})


class TestRanking:
    def test_raw_scores_may_be_asked_for(self) -> None:
        assert reranker().raw_scores(nodes(), QUERY) == agreement(QUERY, TEXTS)
        assert reranker().raw_scores([], QUERY) == []

    def test_what_was_given_stays_as_it_is(self) -> None:
        given = nodes()
        before = copy.deepcopy(given)
        found = reranker().postprocess_nodes(given, query_str=QUERY)
        assert given == before
        assert found[0] is not given[2]
        assert found[0].node is given[2].node  # nodes are not copied

    def test_a_similarity_cutoff_after_it_keeps_what_it_should(self) -> None:
        def low(query: str, texts: Sequence[str]) -> list[float]:
            return [score - 1.0 for score in agreement(query, texts)]

        found = reranker(low).postprocess_nodes(nodes(), query_str=QUERY)
        assert ids(SimilarityPostprocessor(similarity_cutoff=0.5).postprocess_nodes(found)) == ["c", "b"]

    def test_what_is_read_of_a_node(self) -> None:
        read: list[str] = []

        def reading(query: str, texts: Sequence[str]) -> list[float]:
            read.extend(texts)
            return [0.0 for _ in texts]

        TheodoliteRerank(reading).postprocess_nodes(nodes()[:1], query_str=QUERY)
        reranker(reading).postprocess_nodes(nodes()[:1], query_str=QUERY)
        assert read == ["tags: ['a']\n\nI hate this office", "I hate this office"]

    def test_it_needs_the_question(self) -> None:
        with pytest.raises(ValueError, match="a reranker needs the question"):
            reranker().postprocess_nodes(nodes())

    def test_it_may_be_copied(self) -> None:
        found = copy.deepcopy(reranker(top_n=1)).postprocess_nodes(nodes(), query_str=QUERY)
        assert ids(found) == BEST[:1]


class TestFailures:
    def test_after_a_fallback_all_stays(self) -> None:
        def failing(query: str, texts: Sequence[str]) -> list[float]:
            raise OSError("out of order")

        stage = Rerank(failing, on_error="fallback")
        given = nodes()
        found = reranker(stage, top_n=2).postprocess_nodes(given, query_str=QUERY)
        assert [(one.node.node_id, one.score) for one in found] == [("a", 0.1), ("b", 0.1)]
        with pytest.raises(ConfigError, match="fallback"):
            reranker(stage, score_threshold=0.5)
        with pytest.raises(RerankError, match="out of order"):
            reranker(failing).postprocess_nodes(given, query_str=QUERY)

    @pytest.mark.parametrize(
        ("fields", "error", "message"),
        [
            ({"topn": 1}, TypeError, "TheodoliteRerank has no argument 'topn'; did you mean 'top_n'"),
            ({"model": "x"}, TypeError, "here that is reranker"),
        ],
    )
    def test_what_is_wrong_shows_when_it_is_made(self, fields: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            TheodoliteRerank(agreement, **fields)


class Noting(BaseEventHandler):
    events: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)


def test_instrumentation_and_callbacks_are_notified() -> None:
    root, noting, debug = get_dispatcher(), Noting(), LlamaDebugHandler(print_trace_on_end=False)
    given = nodes()
    root.add_event_handler(noting)
    try:
        found = reranker(top_n=2, callback_manager=CallbackManager([debug])).postprocess_nodes(given, query_str=QUERY)
    finally:
        root.event_handlers.remove(noting)
    start, end = noting.events
    assert (start.class_name(), end.class_name()) == ("ReRankStartEvent", "ReRankEndEvent")
    assert (start.nodes, start.top_n, start.query, start.model_name) == (given, 2, QueryBundle(QUERY), "agreement")
    assert end.nodes == found
    ((begun, ended),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload is not None
    assert ended.payload is not None
    assert begun.payload[EventPayload.QUERY_STR] == QUERY
    assert ended.payload[EventPayload.NODES] == found


async def test_a_query_engine_reranks() -> None:
    with filled() as kb:
        engine = RetrieverQueryEngine.from_args(
            TheodoliteRetriever(kb, similarity_top_k=5),
            llm=MockLLM(),
            node_postprocessors=[TheodoliteRerank(newest_first, top_n=1)],
        )
        for answer in (engine.query(QUESTION), await engine.aquery(QUESTION)):
            assert ids(answer.source_nodes) == ["new"]


class Unpicklable:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        return agreement(query, texts)


def test_copies_share_the_reranker_and_pickles_have_it_or_are_refused() -> None:
    given = reranker(Unpicklable(), top_n=2)
    again = pickle.loads(pickle.dumps(reranker(agreement, top_n=2)))  # noqa: S301 - our own
    for one in (copy.deepcopy(given), again):
        assert ids(one.postprocess_nodes(nodes(), query_str=QUERY)) == BEST[:2]
    with pytest.raises(TypeError, match="'Unpicklable' cannot be pickled"):
        pickle.dumps(given)
