"""The vector store: opening, adding, deleting; every trap of LangChain's own add path."""

import copy
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever
from tests.adapters.langchain.tables import Table

from langchain_theodolite import TheodoliteEmbeddings, TheodoliteVectorStore
from theodolite import ConfigError, DocumentError, Freshness, InputError, MetricMismatchError, Retriever, VectorError
from theodolite.testing import HashingEmbedder

Store = TheodoliteVectorStore


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(Table({}, 8)) as store:
        yield store


def stored(store: Store) -> dict[str, str]:
    return {document.id: document.text for document in store.kb.documents()}


def commits(store: Store) -> int:
    found: int = store.kb.info()["commits"]
    return found


# Adding.


def test_a_generator_is_stored_whole(store: Store) -> None:
    ids = store.add_texts((text for text in ("one", "two", "three")), ids=(name for name in "abc"))
    assert ids == ["a", "b", "c"]
    assert store.add_documents(Document(text) for text in ("four", "five"))
    assert sorted(stored(store).values()) == ["five", "four", "one", "three", "two"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"ids": ["1", "2"]},
        {"ids": ["1", "2", "3", "4"]},
        {"ids": []},
        {"metadatas": [{}]},
        {"metadatas": [{}] * 4},
    ],
)
def test_lengths_that_differ_store_nothing(store: Store, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"for 3 texts; each needs one\. Nothing is stored"):
        store.add_texts(["a", "b", "c"], **arguments)
    with pytest.raises(ValueError, match="for 3 documents"):
        store.add_documents([Document(text) for text in "abc"], ids=["1", "2"])
    assert stored(store) == {}


def test_ids_of_their_own_none_and_empty_ones_mix(store: Store) -> None:
    first, second, third = store.add_documents([Document("a", id="X"), Document("b"), Document("c", id="")])
    assert first == "X"
    assert stored(store) == {"X": "a", second: "b", third: "c"}
    assert None not in (second, third)
    assert len({first, second, third}) == 3
    given = store.add_texts(["d", "e"], ids=[None, "Y"])
    assert given[1] == "Y"
    assert stored(store)[given[0]] == "d"


def test_ids_that_are_passed_go_before_the_documents_own(store: Store) -> None:
    assert store.add_documents([Document("a", id="X"), Document("b", id="Y")], ids=["1", "2"]) == ["1", "2"]
    assert stored(store) == {"1": "a", "2": "b"}


def test_the_same_again_without_ids_replaces_itself(store: Store) -> None:
    first = store.add_texts(["a", "b"], [{"n": 1}, {"n": 1}])
    assert store.add_texts(["a", "b"], [{"n": 1}, {"n": 2}])[0] == first[0]
    assert len(store.kb) == 3


def test_of_one_id_in_a_batch_the_last_stays(store: Store) -> None:
    assert store.add_texts(["old", "other", "new"], ids=["1", "2", "1"]) == ["1", "2", "1"]
    assert stored(store) == {"1": "new", "2": "other"}


def test_an_id_is_an_upsert(store: Store) -> None:
    store.add_texts(["old"], [{"a": 1}], ids=["1"])
    store.add_texts(["new"], [{"b": 2}], ids=["1"])
    (document,) = store.get_by_ids(["1"])
    assert (document.page_content, document.metadata) == ("new", {"b": 2})
    assert store.similarity_search_with_score("new", k=3)[0][1] == pytest.approx(1.0)


def test_one_call_is_one_commit(store: Store) -> None:
    store.add_texts(["first"])
    before = commits(store)
    store.add_texts([f"text {n}" for n in range(3000)], batch_size=100)
    assert commits(store) == before + 1


@pytest.mark.parametrize(
    ("texts", "arguments", "error"),
    [
        (["a", ""], {}, DocumentError),
        (["a", "b"], {"ids": ["1", 2]}, DocumentError),
        (["a", "b"], {"metadatas": [{}, {"x": object()}]}, DocumentError),
        ("one text", {}, InputError),
        (["a"], {"ids": [0]}, DocumentError),
        (["a"], {"ids": [False]}, DocumentError),
        (["a"], {"metadatas": [[]]}, DocumentError),
        (["a"], {"ids": "1"}, InputError),
        (["a"], {"metadatas": {"x": 1}}, InputError),
        (["a"], {"batchsize": 3}, TypeError),
        (["a"], {"namespace": "x"}, TypeError),
    ],
)
def test_what_cannot_be_stored_stores_nothing(store: Store, texts: Any, arguments: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        store.add_texts(texts, **arguments)
    assert stored(store) == {}


@pytest.mark.parametrize("documents", [["a text"], [Document("one"), None], Document("not in a list")])
def test_what_is_no_document_stores_nothing(store: Store, documents: Any) -> None:
    with pytest.raises(InputError, match="Document"):
        store.add_documents(documents)
    with pytest.raises(DocumentError, match="not a string"):
        store.add_documents([Document("text")], ids=[0])  # type: ignore[list-item]
    assert stored(store) == {}


def test_nothing_to_add_is_fine(store: Store) -> None:
    assert store.add_texts([]) == store.add_documents([]) == []


METADATA: dict[str, Any] = {
    "int": 1,
    "float": 2.5,
    "true": True,
    "none": None,
    "text": "é\x00🙂",
    "date": date(2025, 3, 1),
    "list": [1, [2, {"deep": [3]}]],
    "a.b": {"c": {}},
    "id": "not the id",
}


def test_metadata_comes_back_as_it_went_in_and_shares_nothing(store: Store) -> None:
    given = copy.deepcopy(METADATA)
    document = Document("a", metadata=given, id="1")
    store.add_documents([document])
    assert document == Document("a", metadata=METADATA, id="1"), "the caller's document is not touched"
    document.metadata["list"][1][1]["deep"].append(4)
    finds: list[Callable[[], Document]] = [
        lambda: store.get_by_ids(["1"])[0],
        lambda: store.similarity_search("a", k=1)[0],
    ]
    for find in finds:
        found = find()
        assert found.metadata == METADATA
        assert [type(value) for value in found.metadata.values()] == [type(value) for value in METADATA.values()]
        found.metadata["list"][1].append("mine")
        found.metadata["new"] = 1
        assert find().metadata == METADATA


def test_none_is_no_metadata(store: Store) -> None:
    store.add_texts(["a", "b"], [None, {"n": 1}], ids=["1", "2"])
    assert [document.metadata for document in store.get_by_ids(["2", "1"])] == [{"n": 1}, {}]


def test_get_by_ids_keeps_the_order_and_skips_what_is_not_there(store: Store) -> None:
    store.add_texts(["a", "b", "c"], ids=["1", "2", "3"])
    assert [document.id for document in store.get_by_ids(["3", "nowhere", "1"])] == ["3", "1"]
    assert store.get_by_ids([]) == []


# Deleting.


def test_delete_without_anything_names_clear(store: Store) -> None:
    store.add_texts(["a"])
    for wrong in ({}, {"ids": None}):
        with pytest.raises(ValueError, match=r"clear\(\)"):
            store.delete(**wrong)
    with pytest.raises(ValueError, match=r"clear\(\)"):
        store.delete(filter={})
    with pytest.raises(ValueError, match="either"):
        store.delete(["1"], filter={"a": 1})
    with pytest.raises(TypeError, match=r"clear\(\)"):
        store.delete(delete_all=True)
    assert len(store.kb) == 1
    store.clear()
    assert len(store.kb) == 0


def test_delete_is_true_whatever_was_there(store: Store) -> None:
    store.add_texts(["a", "b"], ids=["1", "2"])
    assert store.delete([]) is True
    assert len(store.kb) == 2
    assert store.delete(["1", "nowhere"]) is True
    assert store.delete("2") is True
    assert store.delete(["2"]) is True
    assert len(store.kb) == 0


@pytest.mark.parametrize("chosen", [{"n": {"$gte": 3}}, lambda document: document.metadata["n"] >= 3])
def test_delete_by_filter(store: Store, chosen: Any) -> None:
    store.add_texts([f"text {n}" for n in range(6)], [{"n": n} for n in range(6)], ids=[str(n) for n in range(6)])
    assert store.delete(filter=chosen) is True
    assert sorted(stored(store)) == ["0", "1", "2"]
    assert store.delete(filter=chosen) is True


# Opening.


def test_from_texts_and_from_documents(tmp_path: Path) -> None:
    with Store.from_texts([], Table({}, 8)) as empty:
        assert empty.similarity_search("anything", k=3) == []
    with Store.from_texts(["a"], Table({}, 8), [{"n": 1}], ids=["1"], location=tmp_path / "kb", index="flat") as store:
        assert stored(store) == {"1": "a"}
    documents = [Document("b", id="2"), Document("c")]
    with Store.from_documents(documents, Table({}, 8), location=tmp_path / "kb") as store:
        assert sorted(stored(store).values()) == ["a", "b", "c"], "it adds to what is there"
    with Store.from_documents((Document(text) for text in "ab"), Table({}, 8)) as store:
        assert sorted(stored(store).values()) == ["a", "b"], "a generator is read once"


def test_a_store_that_cannot_be_filled_is_closed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nothing is stored"):
        Store.from_texts(["a", "b"], Table({}, 8), ids=["1"], location=tmp_path / "kb")
    with Store.from_texts(["a"], Table({}, 8), location=tmp_path / "kb", lock_timeout=0.0) as store:
        assert len(store.kb) == 1


def test_options_of_open_pass_through(tmp_path: Path) -> None:
    with Store(Table({}, 8), tmp_path / "kb", metric="l2", partition="tenant", query_cache=0) as store:
        store.add_texts(["a"], [{"tenant": "acme"}])
        assert store.kb.info()["metric"] == "l2"
        assert store.kb.info()["partition"] == "tenant"
    with pytest.raises(MetricMismatchError):
        Store(Table({}, 8), tmp_path / "kb", metric="cosine")
    with pytest.raises(ConfigError, match="9 dimensions"):
        Store(Table({}, 9), tmp_path / "kb")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("persist_directory", "location"),
        ("collection_name", "location"),
        ("relevance_score_fn", "relevance"),
        ("distance_strategy", "metric"),
        ("embedder", "embedding"),
        ("kb", r"from_retriever\(kb\)"),
        ("zzz", "it takes"),
    ],
)
def test_options_that_there_are_not_are_refused_with_what_was_meant(option: str, hint: str) -> None:
    options: dict[str, Any] = {option: "x"}
    with pytest.raises(TypeError, match=f"has no argument '{option}'.*{hint}"):
        Store(Table(), **options)
    with pytest.raises(TypeError, match=hint):
        Store.from_texts(["a"], Table(), **options)


def test_embedding_function_is_another_name() -> None:
    embeddings = Table({}, 8)
    with Store(embedding_function=embeddings) as store:
        assert store.embeddings is embeddings
    with pytest.raises(TypeError, match="pass one"):
        Store(embeddings, embedding_function=embeddings)


def test_a_folder_in_place_of_the_embedding_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "kb", str(tmp_path / "kb")):
        with pytest.raises(ConfigError, match=r"first argument is the embedding; if .*kb' is the folder .*location="):
            Store(folder)


def test_any_of_our_embedders_is_an_embedding() -> None:
    with Store(HashingEmbedder(16)) as store:
        store.add_texts(["refunds take five days"], ids=["1"])
        assert store.similarity_search_with_score("refunds take five days", k=1)[0][1] == pytest.approx(1.0)
        assert isinstance(store.embeddings, TheodoliteEmbeddings)
        assert len(store.embeddings.embed_query("a b")) == 16


def test_without_an_embedding_the_caller_brings_vectors() -> None:
    with Retriever.open() as kb:
        kb.add(["a"], vectors=[[1.0, 0.0]])
        store = Store.from_retriever(kb)
        assert store.embeddings is None
        assert store.similarity_search_by_vector([1.0, 0.0], k=1)[0].page_content == "a"
        with pytest.raises(ConfigError, match="without an embedder"):
            store.similarity_search("a")


def test_from_retriever_shares_and_leaves_open() -> None:
    with Retriever.open(embedder=HashingEmbedder(16), partition="tenant") as kb:
        with Store.from_retriever(kb.scoped(tenant="acme")) as ours, Store.from_retriever(kb) as whole:
            ours.add_texts(["ours"], ids=["1"])
            kb.add([{"id": "1", "text": "theirs", "metadata": {"tenant": "initech"}}])
            assert [d.metadata for d in ours.similarity_search("ours theirs", k=5)] == [{"tenant": "acme"}]
            assert len(whole.similarity_search("ours theirs", k=5)) == 2
        assert kb.count() == 2


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    with Store(Table({}, 8), tmp_path / "kb") as store:
        store.add_texts([f"text {n}" for n in range(50)], [{"n": n} for n in range(50)])
        before = store.similarity_search_with_score("text 7", k=50)
    with Store(Table({}, 8), tmp_path / "kb", create=False) as store:
        assert store.similarity_search_with_score("text 7", k=50) == before
    store.close()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ([[1.0] * 7] * 2, VectorError),
        ([[0.0] * 8] * 2, VectorError),
        ([[float("nan")] * 8] * 2, VectorError),
        ([[1.0] * 8], VectorError),
    ],
)
def test_vectors_that_do_not_fit_store_nothing(wrong: list[list[float]], error: type[Exception]) -> None:
    embeddings = Table({}, 8)
    with Store(embeddings, canary="off") as store:
        store.add_texts(["a"])
        embeddings.embed_documents = lambda texts: wrong  # type: ignore[method-assign]  # a model that has changed
        with pytest.raises(error):
            store.add_texts(["b", "c"], ids=["1", "2"])
        assert len(store.kb) == 1


def test_as_retriever_is_strict() -> None:
    with Store(Table({}, 8)) as store:
        store.add_texts(["a", "b", "c"])
        retriever = store.as_retriever(search_kwargs={"k": 2}, tags=["mine"])
        assert isinstance(retriever, VectorStoreRetriever)
        assert retriever.tags == ["mine"]
        assert store.as_retriever().tags == ["TheodoliteVectorStore", "Table"]
        assert len(retriever.invoke("a")) == 2
        assert len(retriever.invoke("a", k=1)) == 1
        with pytest.raises(ValueError, match="filter"):
            store.as_retriever(filter={"n": 1})
        with pytest.raises(TypeError, match="did you mean 'filter'"):
            retriever.invoke("a", filtr={"n": 1})


def test_sixteen_threads_read_and_write(store: Store) -> None:
    store.add_texts([f"text {n}" for n in range(100)], [{"n": n} for n in range(100)], ids=[str(n) for n in range(100)])
    failures: list[BaseException] = []

    def guarded(task: Callable[[int], None], number: int) -> None:
        try:
            for _ in range(10):
                task(number)
        except BaseException as error:
            failures.append(error)

    def write(number: int) -> None:
        store.add_texts([f"more {number}"], [{"n": 1000 + number}], ids=[f"more-{number}"])
        store.delete([f"more-{number}"])

    def read(number: int) -> None:
        (document,) = store.similarity_search(f"text {number}", k=1, filter={"n": {"$lt": 1000}})
        assert (document.id, document.metadata) == (str(number), {"n": number})
        assert len(store.max_marginal_relevance_search(f"text {number}", k=5)) == 5

    threads = [threading.Thread(target=guarded, args=(write if n < 4 else read, n)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.kb) == 100


def test_boosts_reach_the_search(store: Store) -> None:
    store.add_texts(["a", "a "], [{"day": "2020-01-01"}, {"day": "2025-01-01"}], ids=["old", "new"])
    boost = Freshness("day", half_life="30d", weight=0.9)
    assert store.similarity_search("a", k=2)[0].id == "old"
    found = store.similarity_search_with_relevance_scores("a", k=2, boosts=[boost], as_of="2025-01-02")
    scored = store.similarity_search_with_score("a", k=2, boosts=[boost], as_of="2025-01-02")
    assert {document.id: score for document, score in found}["old"] == pytest.approx(1.0), "whatever boosts say"
    assert {document.id: score for document, score in scored}["old"] == pytest.approx(0.1, abs=0.01)
