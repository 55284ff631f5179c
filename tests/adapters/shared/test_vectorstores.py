"""Vector stores: filters, unknown keywords, async twins, and arguments in the wrong place."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.corpus import DOCUMENTS, QUESTION, filled, found
from tests.adapters.shared.verbs import REFUSED, Adapter, Condition, ids, ids_and_scores

from theodolite import ConfigError, Document, EmbedderOptions, FilterError, InputError, Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with filled() as kb:
        yield kb


@pytest.fixture
def store(adapter: Adapter) -> Iterator[Any]:
    with adapter.store(None, HashingEmbedder(64)) as store:
        yield store


def names(store: Any) -> set[str]:
    return {document.id for document in store.kb.documents()}


CONDITIONS: list[list[Condition]] = [
    [],
    [("source", "$eq", "wiki")],
    [("source", "$ne", "policy")],
    [("source", "$in", ["wiki", "chat"])],
    [("source", "$nin", ["wiki", "chat"])],
    [("from", "$gt", "2024-02-01")],
    [("from", "$gte", "2024-02-01"), ("from", "$lt", "2025-01-01")],
    [("from", "$lte", "2023-06-01")],
    [("tags", "$contains", "a")],
    [("source", "$eq", "policy"), ("policy", "$eq", "refunds"), ("from", "$gt", "2024-01-01")],
]


@pytest.mark.parametrize("conditions", CONDITIONS)
async def test_a_filter_decides_before_the_best_are_chosen(
    adapter: Adapter, kb: Retriever, conditions: list[Condition]
) -> None:
    store = adapter.store_of(kb)
    where = {"$and": [{field: {operator: value}} for field, operator, value in conditions]} if conditions else None
    for k in (1, 5):
        expected = found(kb, k=k, where=where)
        assert expected
        assert ids_and_scores(adapter.find(store, QUESTION, k, conditions)) == expected
        assert ids_and_scores(await adapter.afind(store, QUESTION, k, conditions)) == expected


@pytest.mark.parametrize("condition", [("from", "$gt", [1]), ("source", "$in", 5)])
async def test_a_filter_with_a_wrong_value_is_refused(adapter: Adapter, kb: Retriever, condition: Condition) -> None:
    store = adapter.store_of(kb)
    with pytest.raises(FilterError, match=condition[0]):
        adapter.find(store, QUESTION, 1, [condition])
    with pytest.raises(FilterError, match=condition[0]):
        await adapter.afind(store, QUESTION, 1, [condition])


async def test_a_filter_deletes_the_matching_documents_only(adapter: Adapter, store: Any) -> None:
    adapter.add(store, DOCUMENTS)
    adapter.delete(store, [("source", "$eq", "wiki")])
    assert names(store) == {"old", "new", "chat"}
    await adapter.adelete(store, [("source", "$eq", "policy"), ("from", "$gt", "2024-01-01")])
    assert names(store) == {"old", "chat"}


@pytest.mark.parametrize(
    ("option", "meant"), [("boost", "boosts"), ("version", "versions"), ("scop", "scope"), ("as_off", "as_of")]
)
async def test_an_unknown_option_of_a_search_is_refused_with_what_was_meant(
    adapter: Adapter, kb: Retriever, option: str, meant: str
) -> None:
    store = adapter.store_of(kb)
    options: dict[str, Any] = {option: 1}
    message = f"has no argument '{option}'; did you mean '{meant}'"
    with pytest.raises(TypeError, match=message):
        adapter.find(store, QUESTION, 1, **options)
    with pytest.raises(TypeError, match=message):
        await adapter.afind(store, QUESTION, 1, **options)


@pytest.mark.parametrize(("option", "meant"), [("metrc", "metric"), ("partitions", "partition"), ("indx", "index")])
def test_an_unknown_option_of_the_opening_is_refused_with_what_was_meant(
    adapter: Adapter, tmp_path: Path, option: str, meant: str
) -> None:
    options: dict[str, Any] = {option: "x"}
    with pytest.raises(TypeError, match=f"has no argument '{option}'; did you mean '{meant}'"):
        adapter.store(tmp_path / "kb", HashingEmbedder(), **options)
    assert not list(tmp_path.iterdir())


async def test_unknown_keywords_write_and_delete_nothing(adapter: Adapter, store: Any) -> None:
    adapter.add(store, DOCUMENTS)
    more = [Document("more", id="more")]
    everything: list[Condition] = [("source", "$in", ["policy", "wiki", "chat"])]
    with pytest.raises(TypeError, match="has no argument 'namespace'"):
        adapter.add(store, more, namespace="x")
    with pytest.raises(TypeError, match="has no argument 'namespace'"):
        await adapter.aadd(store, more, namespace="x")
    with pytest.raises(TypeError, match="has no argument 'namespace'"):
        adapter.delete(store, everything, namespace="x")
    with pytest.raises(TypeError, match="has no argument 'namespace'"):
        await adapter.adelete(store, everything, namespace="x")
    assert names(store) == {document.id for document in DOCUMENTS}


async def test_async_twins_do_the_same(adapter: Adapter, store: Any) -> None:
    with adapter.store(None, HashingEmbedder(64)) as other:
        assert await adapter.aadd(other, DOCUMENTS) == adapter.add(store, DOCUMENTS)
        wanted = ["hours", "nowhere", "new"]
        assert await adapter.aby_ids(other, wanted) == adapter.by_ids(store, wanted)
        assert ids(adapter.by_ids(store, wanted)) == ["hours", "new"]
        assert await adapter.afind(other, QUESTION, 3) == adapter.find(store, QUESTION, 3)
        await other.aclear()
        assert names(other) == set()
        assert names(store) == {document.id for document in DOCUMENTS}


async def test_the_event_loop_never_waits(adapter: Adapter) -> None:
    """Each query waits for the other one to start. On the loop's thread neither would end."""
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(HashingEmbedder):
        def encode_query(self, texts: Any, /) -> Any:
            meeting.wait()
            return super().encode_query(texts)

    with Retriever.open(embedder=EmbedderOptions(Meeting(), canary="off")) as kb:
        kb.add(DOCUMENTS)
        store = adapter.store_of(kb)
        both = await asyncio.gather(*(adapter.afind(store, question, 1) for question in ("fourteen days", "at nine")))
    assert [ids(one) for one in both] == [["old"], ["hours"]]


def test_a_store_of_an_open_collection_leaves_it_open(adapter: Adapter, kb: Retriever) -> None:
    with adapter.store_of(kb) as store:
        assert ids(adapter.find(store, QUESTION, 1)) == ["old"]
    assert kb.count() == len(DOCUMENTS)


def test_a_store_of_one_partition_sees_and_writes_only_that(adapter: Adapter) -> None:
    with Retriever.open(embedder=HashingEmbedder(64), partition="tenant") as kb:
        acme, bolt = (adapter.store_of(kb.scoped(tenant=tenant)) for tenant in ("acme", "bolt"))
        adapter.add(acme, [Document("Refunds take five days.", id="a")])
        adapter.add(bolt, [Document("Refunds take nine days.", id="a")])
        assert [one.text for one in adapter.find(acme, "nine days", 5)] == ["Refunds take five days."]
        adapter.delete(acme, [("tenant", "$in", ["acme", "bolt"])])
        assert [document.text for document in kb.documents()] == ["Refunds take nine days."]


class TestArguments:
    def test_in_the_other_order(self, adapter: Adapter, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"location is a HashingEmbedder.*the order is") as caught:
            adapter.store(HashingEmbedder(), tmp_path / "kb")
        assert adapter.order() in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_an_open_collection_as_location_or_embedder(self, adapter: Adapter, kb: Retriever) -> None:
        for location, embedder in ((kb, None), (None, kb), ("kb", kb)):
            with pytest.raises(InputError, match="an open collection goes to from_retriever"):
                adapter.store(location, embedder)

    def test_a_folder_where_an_open_collection_is_expected(self, adapter: Adapter, tmp_path: Path) -> None:
        for folder in (tmp_path, str(tmp_path)):
            with pytest.raises((ConfigError, InputError), match="Retriever"):
                adapter.store_of(folder)
            with pytest.raises(REFUSED, match=r"location|Retriever\.open"):
                adapter.retriever(folder)
