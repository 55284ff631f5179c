"""The promises of the async methods: the same as the others, and a loop that goes on meanwhile."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from tests.adapters.llama_index.conformance.cases import Case, names, node, question, uid, uids, where


async def turns(work: Awaitable[Any]) -> int:
    """Count how often another task ran until the work was done."""
    counted = 0

    async def other() -> None:
        nonlocal counted
        while True:
            counted += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await work
    task.cancel()
    return counted


async def test_aquery_is_query(case: Case) -> None:
    store = case.filled().store
    query = question(similarity_top_k=2)
    awaited, plain = await store.aquery(query), store.query(query)
    assert names(awaited.ids) == ["same", "near"]
    assert (awaited.ids, awaited.similarities, awaited.nodes) == (plain.ids, plain.similarities, plain.nodes)


async def test_async_add_is_add(case: Case) -> None:
    assert names(await case.store.async_add([node("b", (0, 1)), node("a")])) == ["b", "a"]
    assert case.found() == ["a", "b"]


async def test_adelete_is_delete(case: Case) -> None:
    await case.filled().store.adelete(uid("doc0"))
    assert case.found() == ["near", "opposite"]


async def test_adelete_nodes_is_delete_nodes(case: Case) -> None:
    await case.filled().store.adelete_nodes(uids("same", "near"))
    assert case.found() == ["orthogonal", "opposite"]


async def test_adelete_nodes_passes_filters_on(case: Case) -> None:
    await case.filled().store.adelete_nodes(uids("same", "near"), where("number", "==", 1))
    assert case.found() == ["same", "orthogonal", "opposite"]


async def test_aget_nodes_is_get_nodes(case: Case) -> None:
    store = case.filled().store
    awaited, plain = await store.aget_nodes(uids("near")), store.get_nodes(uids("near"))
    assert awaited == plain
    assert names(one.node_id for one in awaited) == ["near"]


async def test_aclear_is_clear(case: Case) -> None:
    await case.filled().store.aclear()
    assert case.found() == []


async def test_queries_may_be_awaited_together(case: Case) -> None:
    store = case.filled().store
    queries = [question(similarity_top_k=top_k) for top_k in (1, 2, 3, 4) * 4]
    found = await asyncio.gather(*(store.aquery(query) for query in queries))
    assert [len(one.ids) for one in found] == [1, 2, 3, 4] * 4


async def test_a_loop_goes_on_while_a_query_is_awaited(case: Case) -> None:
    store = case.filled().store
    assert await turns(store.aquery(question())) > 0


async def test_a_loop_goes_on_while_nodes_are_added(case: Case) -> None:
    store = case.store
    assert await turns(store.async_add([node("a")])) > 0
