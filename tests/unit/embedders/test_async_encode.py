"""Embedders that can be awaited: by the event loop, as many at a time as there are questions."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from theodolite import Document, DriftWarning, EmbedderDriftError, EmbedderOptions, InputError, Retriever, VectorError
from theodolite.async_pool import THREADS
from theodolite.testing import HashingEmbedder

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class Awaited(HashingEmbedder):
    """Records its texts by side, and how many of its coroutines wait at a time."""

    def __init__(self) -> None:
        super().__init__(64)
        self.called: list[str] = []
        self.awaited: list[str] = []
        self.tenants: list[str] = []
        self.gate: asyncio.Event | None = None
        self.waiting = self.most = 0

    def encode_query(self, texts: Sequence[str], /) -> Any:
        self.called += texts
        return super().encode_query(texts)

    def encode_document(self, texts: Sequence[str], /) -> Any:
        self.called += texts
        return super().encode_document(texts)

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        self.tenants.append(TENANT.get())
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.gate is not None:
            await self.gate.wait()
        self.waiting -= 1
        self.awaited += texts
        return super().encode_query(texts)

    async def aencode_document(self, texts: Sequence[str], /) -> Any:
        await asyncio.sleep(0)
        self.tenants.append(TENANT.get())
        self.awaited += texts
        return super().encode_document(texts)


@pytest.fixture
def embedder() -> Awaited:
    return Awaited()


@pytest.fixture
def kb(embedder: Awaited) -> Any:
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as opened:
        opened.add([Document(f"passage number {n}", id=str(n)) for n in range(20)])
        embedder.called.clear()
        yield opened


async def test_questions_are_awaited_once_and_found_as_without(kb: Retriever, embedder: Awaited) -> None:
    found = await kb.asearch("number 3", k=3)
    several = await kb.asearch_many(["number 3", "number 4", "number 4"], k=3)
    assert embedder.awaited == ["number 3", "number 4"]
    assert embedder.called == []
    assert found.items == kb.search("number 3", k=3).items == several[0].items
    assert several[1].items == several[2].items == kb.search("number 4", k=3).items
    assert embedder.called == [], "awaited vectors are cached"
    kb.search("number 5")
    assert embedder.called == ["number 5"], "nothing is awaited here"


async def test_documents_are_awaited_batch_by_batch(kb: Retriever, embedder: Awaited) -> None:
    done: list[int] = []
    ids = await kb.aadd((f"text {n}" for n in range(5)), batch_size=2, progress=done.append)
    assert embedder.awaited == [f"text {n}" for n in range(5)]
    assert (embedder.called, sum(done), len(ids), len(kb)) == ([], 5, 5, 25)


async def test_more_wait_at_a_time_than_there_are_threads(kb: Retriever, embedder: Awaited) -> None:
    embedder.gate = asyncio.Event()
    tasks = [asyncio.create_task(kb.asearch(f"number {n}", k=1)) for n in range(10 * THREADS)]
    while embedder.waiting < len(tasks):
        await asyncio.sleep(0)
    embedder.gate.set()
    assert [len(hits) for hits in await asyncio.gather(*tasks)] == [1] * len(tasks)
    assert (embedder.most, embedder.called) == (len(tasks), [])


@pytest.mark.parametrize("query_cache", [0, 1])
async def test_without_room_to_keep_them_they_are_awaited_all_the_same(query_cache: int, embedder: Awaited) -> None:
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off", query_cache=query_cache)) as kb:
        kb.add(["one", "two"])
        embedder.called.clear()
        found = await asyncio.gather(*(kb.asearch(text, k=1) for text in ("one", "two", "one")))
        assert [hits[0].document.text for hits in found] == ["one", "two", "one"]
        assert set(embedder.awaited) == {"one", "two"}
        assert embedder.called == []


@pytest.mark.parametrize("query_cache", [0, 1, 8])
async def test_more_questions_than_are_kept_are_awaited_once_each(query_cache: int, embedder: Awaited) -> None:
    texts = [f"number {n}" for n in range(10 * THREADS)]
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off", query_cache=query_cache)) as kb:
        kb.add(texts)
        embedder.called.clear()
        found = [hits[0].document.text for hits in await kb.asearch_many([*texts, texts[0]], k=1)]
        assert found == [*texts, texts[0]]
        assert embedder.awaited == texts
        embedder.awaited.clear()
        several = await asyncio.gather(*(kb.asearch(f"{text} again", k=1) for text in texts))
        assert (len(several), len(embedder.awaited), embedder.called) == (len(texts), len(texts), [])


async def test_only_what_is_searched_by_its_vector_is_awaited(kb: Retriever, embedder: Awaited) -> None:
    assert await kb.asearch("passage", mode="lexical")
    assert await kb.asearch(vector=embedder.encode_document(["x"])[0])
    assert await kb.asearch(like="3")
    with pytest.raises(InputError):
        await kb.asearch("number 3", like="3")
    with pytest.raises(InputError, match="mode"):
        await kb.asearch("number 3", mode="lexcal")  # type: ignore[arg-type]  # that is what is wrong
    for wrong in (" ", None, 7):
        with pytest.raises(InputError):
            await kb.asearch(wrong)  # type: ignore[arg-type]  # that is what is wrong
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as empty:
        assert not await empty.asearch("number 3")
    assert embedder.awaited == []


async def test_context_variables_reach_the_embedder(kb: Retriever, embedder: Awaited) -> None:
    TENANT.set("acme")
    await kb.asearch("number 3")
    await kb.aadd(["more"])
    assert embedder.tenants == ["acme", "acme"]


async def test_what_is_awaited_may_search_itself(embedder: Awaited) -> None:
    class Expanding(Awaited):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            for text in texts:
                assert other.search(f"what else is about {text}", k=1)
            return await super().aencode_document(texts)

    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as other:
        other.add(["one"])
        with Retriever.open(embedder=EmbedderOptions(Expanding(), canary="off")) as kb:
            assert len(await asyncio.wait_for(kb.aadd(["a", "b"]), 60)) == 2
    assert embedder.called == ["one", "what else is about a", "what else is about b"]


async def test_what_is_awaited_may_await_a_search_while_all_threads_wait_for_it(embedder: Awaited) -> None:
    class Expanding(Awaited):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            assert await other.asearch(f"what else is about {texts[0]}", k=1)
            return await super().aencode_document(texts)

    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as other:
        other.add(["one"])
        with Retriever.open(embedder=EmbedderOptions(Expanding(), canary="off")) as kb:
            adding = asyncio.gather(*(kb.aadd([f"text {n}"]) for n in range(2 * THREADS)))
            await asyncio.wait_for(adding, 60)
            assert len(kb) == 2 * THREADS


async def test_the_guards_are_there(tmp_path: Any) -> None:
    class Loses(Awaited):
        async def aencode_query(self, texts: Sequence[str], /) -> Any:
            return (await super().aencode_query(texts))[1:]

        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            return (await super().aencode_document(texts))[:, 1:]

    with Retriever.open(tmp_path / "kb", embedder=Awaited()) as kb:
        kb.add([f"text {n}" for n in range(20)])
    with Retriever.open(tmp_path / "kb", embedder=Loses()) as kb:
        with pytest.raises(VectorError, match="for 1 texts"):
            await kb.asearch("text 1")
        with pytest.raises(EmbedderDriftError, match="64 and 63 dimensions"):
            await kb.aadd(["text 1"])
        assert len(kb) == 20

    class Other(Awaited):
        def encode_query(self, texts: Sequence[str], /) -> Any:
            return super().encode_query([text[::-1] for text in texts])

    kb = Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Other(), canary="first_use"))
    with kb, pytest.raises(EmbedderDriftError):
        await kb.asearch("text 1")


async def test_what_a_changed_embedder_gave_is_not_kept(tmp_path: Any) -> None:
    class Changing(Awaited):
        changed = True

        def encode_query(self, texts: Sequence[str], /) -> Any:
            return super().encode_query([text[::-1] for text in texts] if self.changed else texts)

        async def aencode_query(self, texts: Sequence[str], /) -> Any:
            return await super().aencode_query([text[::-1] for text in texts] if self.changed else texts)

    with Retriever.open(tmp_path / "kb", embedder=Awaited()) as kb:
        kb.add([f"text {n}" for n in range(20)])
    embedder = Changing()
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(embedder, canary="first_use")) as kb:
        with pytest.raises(EmbedderDriftError):
            await kb.asearch("text 17")
        embedder.changed = False
        assert (await kb.asearch("text 17", k=1))[0].document.text == "text 17"


async def test_a_loop_that_gives_up_lets_the_thread_go(kb: Retriever, embedder: Awaited) -> None:
    embedder.gate = asyncio.Event()
    task = asyncio.create_task(kb.asearch("number 3"))
    while not embedder.waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    embedder.gate = None
    assert len(await kb.asearch("number 3", k=1)) == 1


async def test_what_is_cancelled_ends_with_a_whole_batch(embedder: Awaited) -> None:
    class Stuck(Awaited):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            if "text 2" in texts:
                await asyncio.Event().wait()
            return await super().aencode_document(texts)

    with Retriever.open(embedder=EmbedderOptions(Stuck(), canary="off")) as kb:
        task = asyncio.create_task(kb.aadd([f"text {n}" for n in range(4)], batch_size=2))
        while not len(kb):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [document.text for document in kb.documents()] in (["text 0", "text 1"], ["text 1", "text 0"])


async def test_what_is_awaited_is_held_to_what_the_collection_is_guarded_by(tmp_path: Any) -> None:
    class Forgets(Awaited):
        """Only the synchronous method normalizes."""

        async def aencode_query(self, texts: Sequence[str], /) -> Any:
            return 3 * await super().aencode_query(texts)

        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            return await super().aencode_document([text[::-1] for text in texts])

    with Retriever.open(tmp_path / "kb", embedder=Forgets()) as kb:
        kb.add([f"text {n}" for n in range(20)])
        for _ in range(2):
            with pytest.raises(EmbedderDriftError, match=r"encode_query and aencode_query .* norms of 1 and 3"):
                await kb.asearch("text 1")
            with pytest.raises(EmbedderDriftError, match=r"encode_document and aencode_document .* a cosine of"):
                await kb.aadd(["one", "two"])
        assert len(kb) == 20
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Forgets(), on_drift="warn")) as kb:
        with pytest.warns(DriftWarning, match="aencode_query"):
            await kb.asearch("text 1")
        assert await kb.asearch("text 2"), "the warning comes once"
    embedder = Awaited()
    with Retriever.open(tmp_path / "kb", embedder=embedder) as kb:
        embedder.called.clear()
        await kb.asearch("text 1")
        await kb.asearch("text 2")
        await kb.aadd(["one", "two"])
        await kb.aadd(["three"])
    assert embedder.called == ["text 1", "one"], "one text for each side"


async def test_an_embedders_own_timeout_is_raised(embedder: Awaited) -> None:
    class Slow(Awaited):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            raise TimeoutError("the model is slow")

    with (
        Retriever.open(embedder=EmbedderOptions(Slow(), canary="off")) as kb,
        pytest.raises(TimeoutError, match="slow"),
    ):
        await asyncio.wait_for(kb.aadd(["one"]), 30)
