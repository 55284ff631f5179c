"""The awaited side of the vector store: the same answers, nothing on the event loop, natively async embeddings."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from tests.adapters.langchain.tables import Native, Table

from langchain_theodolite import TheodoliteVectorStore
from langchain_theodolite.embeddings import as_embedder
from theodolite import DocumentError, EmbedderDriftError, InputError, VectorError

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

Store = TheodoliteVectorStore


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    with Store(Table({}, 8)) as store:
        await store.aadd_texts([f"text {n}" for n in range(40)], [{"n": n} for n in range(40)])
        yield store


VECTOR = Table({}, 8).vector("question")

PAIRS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "similarity_search": (("question",), {"k": 3, "filter": {"n": {"$gte": 9}}}),
    "similarity_search_with_score": (("question", 3), {"filter": lambda document: document.metadata["n"] > 30}),
    "similarity_search_with_relevance_scores": (("question",), {"k": 30, "score_threshold": 0.2}),
    "similarity_search_by_vector": ((VECTOR,), {"k": 3}),
    "similarity_search_with_score_by_vector": ((VECTOR, 3), {}),
    "max_marginal_relevance_search": (("question",), {"k": 3, "fetch_k": 30, "lambda_mult": 0.2}),
    "max_marginal_relevance_search_by_vector": ((VECTOR,), {"k": 3, "fetch_k": 30}),
    "search": (("question", "mmr"), {"k": 5}),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_awaited_searches_find_the_same(store: Store, name: str) -> None:
    places, options = PAIRS[name]
    expected = getattr(store, name)(*places, **options)
    assert expected
    assert await getattr(store, f"a{name}")(*places, **options) == expected


async def test_awaited_from_documents() -> None:
    with await Store.afrom_documents((Document(text) for text in "ab"), Table({}, 8)) as store:
        assert len(store.kb) == 2


async def test_awaited_writes() -> None:
    store = await Store.afrom_texts(["a"], Table({}, 8), [{"n": 1}], ids=["1"])
    with store:
        assert await store.aadd_documents([Document("b", id="2"), Document("c")], ids=["2", "3"]) == ["2", "3"]
        assert await store.aadd_texts((text for text in "de"), ids=["4", "5"], batch_size=1) == ["4", "5"]
        assert [document.id for document in await store.aget_by_ids(["5", "9", "1"])] == ["5", "1"]
        assert await store.adelete(["1", "9"]) is True
        assert await store.adelete([]) is True
        assert await store.adelete(filter=lambda document: document.page_content == "b") is True
        assert await store.adelete(filter={"n": 1}) is True
        assert len(store.kb) == 3
        with pytest.raises(ValueError, match=r"clear\(\)"):
            await store.adelete()
        await store.aclear()
        assert len(store.kb) == 0
    with await Store.afrom_documents([Document("b", id="2")], Table({}, 8)) as store:
        assert len(store.kb) == 1


async def test_errors_are_the_same(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="did you mean 'filter'"):
        await store.asimilarity_search("question", filters={})
    with pytest.raises(ValueError, match="k is 0"):
        await store.asimilarity_search("question", k=0)
    with pytest.raises(InputError, match="Nothing is stored"):
        await store.aadd_texts(["a", "b"], ids=["1"])
    with pytest.raises(ValueError, match="Nothing is stored"):
        await Store.afrom_texts(["a", "b"], Table({}, 8), ids=["1"], location=tmp_path / "kb")
    with Store(Table({}, 8), tmp_path / "kb", lock_timeout=0.0) as again:
        await again.aadd_texts(["a"])


class Gated(Table):
    """Embeds only when allowed. If the event loop waited for it, the test would hang."""

    def __init__(self) -> None:
        super().__init__({}, 8)
        self.gate = threading.Event()
        self.waiting = 0

    def embed_query(self, text: str) -> list[float]:
        self.waiting += 1
        assert self.gate.wait(60)
        return super().embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.waiting += 1
        assert self.gate.wait(60)
        return super().embed_documents(texts)


AWAITED: dict[str, Callable[[Store], Any]] = {
    "asimilarity_search": lambda store: store.asimilarity_search("question"),
    "amax_marginal_relevance_search": lambda store: store.amax_marginal_relevance_search("question"),
    "aadd_texts": lambda store: store.aadd_texts(["new"]),
    "aadd_documents": lambda store: store.aadd_documents([Document("new")]),
    "ainvoke": lambda store: store.as_retriever().ainvoke("question"),
    "abatch": lambda store: store.as_retriever().abatch([f"question {n}" for n in range(20)]),
    "afrom_texts": lambda store: Store.afrom_texts(["a"], store.embeddings),
}


@pytest.mark.parametrize("name", AWAITED)
async def test_the_loop_goes_on_meanwhile(name: str) -> None:
    embeddings = Gated()
    embeddings.gate.set()
    with Store(embeddings, canary="off", query_cache=0) as store:
        store.add_texts([f"text {n}" for n in range(20)])
        embeddings.gate.clear()
        embeddings.waiting = 0
        task = asyncio.ensure_future(AWAITED[name](store))
        while not embeddings.waiting:
            await asyncio.sleep(0)
        assert not task.done()
        embeddings.gate.set()
        found = await task
        assert found
        if isinstance(found, Store):
            found.close()


async def test_natively_async_embeddings_are_awaited_and_nothing_is_embedded_twice() -> None:
    embeddings = Native()
    with Store(embeddings, canary="off") as store:
        embeddings.embedded.clear()  # its dimension was asked for
        await store.aadd_texts(["a", "b", "a"], ids=["1", "2", "3"])
        assert embeddings.awaited == ["a", "b"]
        found = await store.asimilarity_search_with_score("a", k=1, filter={})
        assert found[0][1] == pytest.approx(1.0)
        await store.amax_marginal_relevance_search("b")
        await store.as_retriever().ainvoke("c")
        assert embeddings.awaited == ["a", "b", "a", "b", "c"]
        assert await store.asimilarity_search("b", mode="lexical")
        await store.asimilarity_search_by_vector([1.0] * 8)
        assert embeddings.awaited == ["a", "b", "a", "b", "c"], "words and vectors need no embedding"
        assert embeddings.embedded == []
        assert store.similarity_search("d")
        assert embeddings.embedded == ["d"]


async def test_questions_that_are_remembered_are_not_awaited_again() -> None:
    embeddings = Native()
    with Store(embeddings, canary="off") as store:
        store.add_texts(["a"], ids=["1"])
        for _ in range(3):
            assert await store.asimilarity_search("question")
        assert await store.as_retriever().abatch(["question", "question"])
        assert embeddings.awaited == ["question"]
        store.similarity_search("another")
        await store.asimilarity_search("another")
        assert embeddings.awaited == ["question"]


async def test_embeddings_may_be_async_alone(tmp_path: Path) -> None:
    class Alone(Native):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        def embed_query(self, text: str) -> list[float]:
            raise NotImplementedError

        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.vector(text) for text in texts]

        async def aembed_query(self, text: str) -> list[float]:
            return self.vector(text)

    with Store(Alone(), tmp_path / "kb") as store:
        await store.aadd_texts(["a", "b"], ids=["1", "2"])
    with Store(Alone(), tmp_path / "kb") as store:
        assert (await store.asimilarity_search("b", k=1))[0].id == "2"
        assert store.similarity_search("a", k=1)[0].id == "1", "within a running loop, too"


async def test_what_is_refused_is_not_embedded_first() -> None:
    embeddings = Native()
    with Store(embeddings, canary="off") as store:
        with pytest.raises(DocumentError, match="no text"):
            await store.aadd_texts(["a", " "], ids=["1", "2"])
        with pytest.raises(InputError, match="query"):
            await store.asimilarity_search(" ")
        with pytest.raises(TypeError):
            await store.asimilarity_search("a", filters={})
        assert embeddings.awaited == []


async def test_awaited_vectors_are_of_their_own_task() -> None:
    embeddings = Native()
    with Store(embeddings, canary="off", query_cache=0) as store:
        texts = [f"text {n}" for n in range(100)]
        await asyncio.gather(*(store.aadd_texts([text], ids=[text]) for text in texts))
        found = await asyncio.gather(*(store.asimilarity_search(text, k=1) for text in texts))
        assert [documents[0].id for documents in found] == texts


async def test_the_guards_are_there_for_awaited_embeddings_too(tmp_path: Path) -> None:
    with Store(Native(), tmp_path / "kb") as store:
        await store.aadd_texts([f"text {n}" for n in range(30)])

    class Other(Native):
        def vector(self, text: str) -> list[float]:
            return super().vector(f"otherwise {text}")

    with Store(Other(), tmp_path / "kb", canary="first_use") as store:
        with pytest.raises(EmbedderDriftError):
            await store.asimilarity_search("text 1")
        with pytest.raises(EmbedderDriftError):
            await store.aadd_texts(["more"])


async def test_embeddings_that_lose_a_text_store_nothing() -> None:
    class Loses(Native):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            return (await super().aembed_documents(texts))[1:]

    with Store(Loses(), canary="off") as store:
        with pytest.raises(VectorError, match="1 vectors for 2 document texts"):
            await store.aadd_texts(["a", "b"])
        assert len(store.kb) == 0


async def test_questions_of_one_call_are_awaited_together_but_not_all_at_once() -> None:
    class Slow(Native):
        waiting = most = 0

        async def aembed_query(self, text: str) -> list[float]:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await asyncio.sleep(0.001)
            self.waiting -= 1
            return self.vector(text)

    embeddings = Slow()
    texts = [f"text {n}" for n in range(50)]
    assert await as_embedder(embeddings).aencode_query(texts) == [embeddings.vector(text) for text in texts]
    assert embeddings.most == 16
