"""Async twins: the same answers and errors, and an event loop that never waits for them."""

import asyncio
import inspect
import os
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from theodolite import Document, EmbedderOptions, InputError, Retriever
from theodolite.async_pool import THREADS, in_thread
from theodolite.testing import HashingEmbedder

TWINS = [
    *("add", "clear", "count", "delete", "get", "neighbors", "update"),
    *("search", "search_many", "search_with", "search_many_with"),
]
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class Waiting(HashingEmbedder):
    """Embeds queries only when allowed; records the callers."""

    def __init__(self) -> None:
        super().__init__(64)
        self.gate = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.running = self.most = 0
        self.tenants: list[str] = []
        self._lock = threading.Lock()

    def encode_query(self, texts: Sequence[str], /) -> Any:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.tenants.append(TENANT.get())
        self.began.release()
        assert self.gate.acquire(timeout=60)
        with self._lock:
            self.running -= 1
        return super().encode_query(texts)


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(64)) as kb:
        kb.add([Document(f"passage number {n}", {"n": n}, id=str(n)) for n in range(20)])
        yield kb


@pytest.fixture
def embedder() -> Waiting:
    return Waiting()


@pytest.fixture
def slow(embedder: Waiting) -> Iterator[Retriever]:
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off", query_cache=0)) as kb:
        kb.add([Document(f"passage number {n}", id=str(n)) for n in range(20)])
        yield kb


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_signature_of_its_method_and_is_a_coroutine_function(name: str) -> None:
    method, twin = getattr(Retriever, name), getattr(Retriever, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    assert twin.__name__ == f"a{name}"
    assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters)


async def test_twins_do_what_the_methods_do(kb: Retriever) -> None:
    found, expected = await kb.asearch("passage number 3", k=4), kb.search("passage number 3", k=4)
    assert found.items == expected.items
    assert [hits.items for hits in await kb.asearch_many(["number 3"], k=2)] == [kb.search("number 3", k=2).items]
    assert await kb.aadd([Document("a new one", id="new")]) == ["new"]
    assert await kb.aneighbors("3") == kb.neighbors("3") == kb.get("3")
    assert [document.id for document in await kb.aget(["new", "nowhere", "3"])] == ["new", "3"]
    ((document, vector),) = await kb.aget("3", vectors=True)
    assert (document.id, vector.shape) == ("3", (64,))
    await kb.aupdate("new", {"lang": "en"})
    assert await kb.acount({"lang": "en"}) == 1
    assert await kb.adelete("new") == 1
    await kb.aclear()
    assert kb.count() == 0


async def test_a_scope_awaits_within_itself(kb: Retriever) -> None:
    view = kb.scoped(n=7)
    assert [hit.document.id for hit in await view.asearch("passage", k=5)] == ["7"]
    assert await view.acount() == 1


async def test_subclasses_are_called_by_their_own_methods() -> None:
    class Loud(Retriever):
        def count(self, where: Any = None) -> int:
            return -super().count(where)

    with Loud.open(embedder=HashingEmbedder(64)) as kb:
        kb.add(["one", "two"])
        assert await kb.acount() == -2


async def test_errors_come_through(kb: Retriever) -> None:
    with pytest.raises(InputError, match="k is 0"):
        await kb.asearch("passage", k=0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(in_thread(lambda: next(iter(()))), 30)


async def test_the_loop_goes_on_while_a_search_waits(slow: Retriever, embedder: Waiting) -> None:
    task = asyncio.create_task(slow.asearch("number 3", k=1))
    while not embedder.began.acquire(blocking=False):  # were the loop held up, nobody would get here
        await asyncio.sleep(0)
    assert not task.done()
    embedder.gate.release()
    assert [hit.document.id for hit in await task] == ["3"]


async def test_two_hundred_at_once_share_a_bounded_pool(slow: Retriever, embedder: Waiting) -> None:
    tasks = [asyncio.create_task(slow.asearch(f"passage number {n % 20}", k=1)) for n in range(200)]
    while embedder.running < THREADS:
        await asyncio.sleep(0)
    for _ in tasks:
        embedder.gate.release()
    found = await asyncio.gather(*tasks)
    assert [hits[0].document.id for hits in found] == [str(n % 20) for n in range(200)]
    assert embedder.most == THREADS


async def test_what_is_cancelled_before_it_begins_never_begins(slow: Retriever, embedder: Waiting) -> None:
    running = [asyncio.create_task(slow.asearch(f"number {n}", k=1)) for n in range(THREADS)]
    while embedder.running < THREADS:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(slow.asearch("number 3", k=1))
    await asyncio.sleep(0)
    waiting.cancel()
    running[0].cancel()  # what has begun goes on, and nobody waits for it
    for task in (waiting, running[0]):
        with pytest.raises(asyncio.CancelledError):
            await task
    for _ in running:
        embedder.gate.release()
    assert all(len(hits) == 1 for hits in await asyncio.gather(*running[1:]))
    embedder.gate.release()
    assert len(await slow.asearch("number 5", k=1)) == 1  # the pool is whole
    assert len(embedder.tenants) == THREADS + 1


async def test_a_write_that_is_cancelled_is_there_whole_or_not_at_all() -> None:
    began, gate = threading.Event(), threading.Event()

    class Slow(HashingEmbedder):
        def encode_document(self, texts: Sequence[str], /) -> Any:
            began.set()
            assert gate.wait(60)
            return super().encode_document(texts)

    with Retriever.open(embedder=EmbedderOptions(Slow(64), canary="off")) as kb:
        task = asyncio.create_task(kb.aadd([f"text {n}" for n in range(50)], batch_size=None))
        while not began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kb.count() == 0
        gate.set()
        while not kb.count():
            await asyncio.sleep(0)
        assert kb.count() == 50


async def test_context_variables_reach_the_thread(slow: Retriever, embedder: Waiting) -> None:
    async def ask(tenant: str) -> None:
        TENANT.set(tenant)
        await slow.asearch("number 3", k=1)

    for _ in range(3):
        embedder.gate.release()
    await asyncio.gather(*(ask(name) for name in ("acme", "initech", "umbrella")))
    assert sorted(embedder.tenants) == ["acme", "initech", "umbrella"]


def test_each_loop_and_each_thread_can_await(kb: Retriever) -> None:
    found: list[int] = []

    def ask() -> None:
        found.append(len(asyncio.run(kb.asearch("passage", k=3))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_pool_of_its_own(kb: Retriever) -> None:
    asyncio.run(in_thread(int))  # the pool has threads, which the child does not have
    child = os.fork()
    if not child:
        code = 1
        try:
            code = asyncio.run(asyncio.wait_for(in_thread(lambda: 0), 60))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
