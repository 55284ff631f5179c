"""The Milvus engine gives the answers of the local engine, and rejects unsupported calls before sending anything."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from tests.oracle.congruence import Drawn, compare, fill
from tests.oracle.filters import Draw

from theodolite import Document, Retriever
from theodolite.engines.local import LocalEngine
from theodolite.engines.milvus import MilvusEngine
from theodolite.errors import ConfigError, DocumentError, EngineError, InputError, UnsupportedError
from theodolite.filters import matches, parse
from theodolite.protocols import Request
from theodolite.settings import CollectionSettings
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"),  # for filters that match nothing
]

NewUrl = Callable[[], str]


@pytest.mark.parametrize("metric", get_args(MetricName))
def test_the_answers_are_those_of_the_local_engine(new_url: NewUrl, metric: MetricName) -> None:
    drawn = Drawn(7, 5000)
    settings = CollectionSettings(metric, partition="tenant")
    local, milvus = LocalEngine.open(None, settings), MilvusEngine.open(new_url(), settings)
    fill(local, drawn)
    fill(milvus, drawn)
    for number in range(100):
        request = drawn.request(local, lexical=False)
        for expected, found in zip(local.search(request), milvus.search(request), strict=True):
            compare(expected, found, f"request {number}: {request}")
    local.close()
    milvus.close()


def test_random_filters_agree_with_the_reference(new_url: NewUrl) -> None:
    draw = Draw(5)
    engine = MilvusEngine.open(new_url(), CollectionSettings())
    documents = [Document("", draw.metadata(), f"d{number:03}") for number in range(300)]
    vectors, space = prepare(np.random.default_rng(1).standard_normal((300, 4)), engine.space)
    engine.add(documents, vectors, space)
    stored = [document for document, _ in engine.documents()]
    assert len(stored) == 300
    for number in range(1000):
        tree = parse(draw.where())
        expected = sum(matches(tree, document.metadata, document.id) for document in stored)
        assert engine.count(tree) == expected, f"filter {number}: {tree}"
    engine.close()


def test_many_vectors_are_compared_exactly(new_url: NewUrl) -> None:
    raw = np.random.default_rng(2).standard_normal((20_000, 32))
    local, milvus = (
        LocalEngine.open(None, CollectionSettings("l2")),
        MilvusEngine.open(new_url(), CollectionSettings("l2")),
    )
    for engine in (local, milvus):
        for start in range(0, len(raw), 5000):
            vectors, space = prepare(raw[start : start + 5000], engine.space)
            engine.add([Document("", {}, f"d{number}") for number in range(start, start + 5000)], vectors, space)
    request = Request(prepare(raw[:64] + 0.01, local.space, name="queries")[0], 20)
    for expected, found in zip(local.search(request), milvus.search(request), strict=True):
        compare(expected, found, "20,000 vectors")
    local.close()
    milvus.close()


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (Document("é" * 40_000, {}, "long"), "the text has 80,000 bytes, and Milvus stores at most 65,535"),
        (Document("", {"a": "x" * 70_000}, "long"), "the metadata has 70,008 bytes"),
        (Document("", {}, "i" * 40_000), "the id with its partition has"),
        (Document("", {"a": list(range(5000))}, "long"), r"its metadata has .* values to filter by, at most 4,096"),
    ],
    ids=["text", "metadata", "id", "values"],
)
def test_documents_beyond_a_limit_are_refused_before_anything_is_sent(
    new_url: NewUrl, document: Document, why: str
) -> None:
    engine = MilvusEngine.open(new_url(), CollectionSettings())
    vectors, space = prepare(np.eye(4), engine.space)
    with pytest.raises(DocumentError, match=why):
        engine.add([Document("fine", {}, "a"), document], Vectors(vectors[:2]), space)
    assert engine.count() == 0
    assert engine.space == Space("cosine")
    engine.close()


def test_what_cannot_be_done_is_refused(new_url: NewUrl) -> None:
    url = new_url()
    with Retriever.open(url, embedder=None) as kb:
        kb.add([Document("text", {"n": 1}, "a")], vectors=[[1.0, 0.0]])
        with pytest.raises(UnsupportedError, match="lexical search is not supported"):
            kb.search("text", mode="lexical")
        with pytest.raises(UnsupportedError, match=r"verify\(\) is not supported"):
            kb.verify()
        with pytest.raises(ConfigError, match=r"there are no indexes named 'hnws'. Did you mean 'hnsw'"):
            kb.reindex("hnws")
    with pytest.raises(ConfigError, match="consistency is 'Weak'"):
        MilvusEngine.open(url, CollectionSettings(), consistency="Weak")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "url",
    [
        "milvus://user:secret@host:19530/9lives",
        "milvus://user:secret@/name",
        "milvus://user:secret@host:port/name",
        "milvus://user:secret@host/name?databse=x",
    ],
)
def test_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(InputError) as caught:
        MilvusEngine.open(url, CollectionSettings())
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"milvus://user@127\.0\.0\.1:9/kb: cannot connect") as caught:
        MilvusEngine.open("milvus://user:secret@127.0.0.1:9/kb", CollectionSettings(), timeout=1.0)
    assert "secret" not in repr(caught.value)


def test_an_index_keeps_the_promise_of_k_results(new_url: NewUrl) -> None:
    drawn = Drawn(3, 3000)
    engine = MilvusEngine.open(new_url(), CollectionSettings())
    fill(engine, drawn)
    queries = prepare(drawn.raw[:20] + 0.1, engine.space, name="queries")[0]
    exact = engine.search(Request(queries, 10))
    for index in ("hnsw", "ivf"):
        engine.reindex(index, target_recall=0.95)
        found = engine.search(Request(queries, 10))
        assert all(len(answer.documents) == 10 and not answer.trace.complete for answer in found)
        assert all(answer.trace.path == "index" for answer in found)
        shared = [
            len({one.id for one in first.documents} & {one.id for one in second.documents})
            for first, second in zip(exact, found, strict=True)
        ]
        assert np.mean(shared) >= 9
        for answer, expected in zip(engine.search(Request(queries, 10, exact=True)), exact, strict=True):
            compare(expected, answer, index)
    engine.reindex("flat")
    assert engine.search(Request(queries, 10))[0].trace.path == "scan"
    engine.close()
