"""The tools for agents: what they take, what they answer, and that a token budget and a scope hold."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.hostile import ARGUMENTS, FILTERS, two_tenants
from tests.serving import handbook

from theodolite import CollectionSettings, Document, InputError, Retriever, TheodoliteError
from theodolite.protocols import Answer, Request, refuse_parts
from theodolite.serving.access import Grant
from theodolite.serving.collections import Collections, Served
from theodolite.serving.errors import HttpError
from theodolite.serving.limits import Limits
from theodolite.serving.mcp.budget import LEAST, count_tokens
from theodolite.serving.mcp.tools import Tools
from theodolite.testing import DictEngine, HashingEmbedder

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

ALL = Grant()
WRITER = Grant(write=True)


class Called:
    """The tools of some collections, called as a grant."""

    def __init__(self, *served: Served, grant: Grant = ALL, max_tokens: int = 8000) -> None:
        self.tools, self.grant = Tools(Collections(served), Limits(), max_tokens), grant

    def __call__(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        return asyncio.run(self.tools.call(name, arguments, self.grant))

    def schemas(self) -> dict[str, Any]:
        return {tool.name: tool.schema for tool in asyncio.run(self.tools.available(self.grant))}

    def refuses(self, name: str, **arguments: Any) -> str:
        with pytest.raises((InputError, HttpError)) as caught:
            self(name, **arguments)
        return str(caught.value)


def ids(answer: dict[str, Any]) -> list[str]:
    return [passage["id"] for passage in answer["passages"]]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with handbook(tmp_path_factory.mktemp("book")).kb as kb:
        yield Served("handbook", kb)


@pytest.fixture(scope="module")
def long() -> Iterator[Served]:
    """A document in passages, one of which is long, and records of a file."""
    story = " ".join(f"Sentence {n} of the story, with größe, 退款 and 😀." for n in range(3000))
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(
            [
                *(Document(f"Part {n} of the guide.", {"path": "guide.md"}, f"guide.md#{n}") for n in range(2, 6)),
                Document("Part 1 of the guide.", {"path": "guide.md"}, "guide.md"),
                Document(story, {"path": "story.txt", "many": "x" * 5000}, "story.txt"),
                *(Document(f"Record {n}.", {"record": n}, f"faq.csv#{n}") for n in range(1, 4)),
                Document("Record 2, continued.", {"record": 2}, "faq.csv#2#2"),
            ]
        )
        yield Served("long", kb)


@pytest.fixture(scope="module")
def tenants() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


class WithoutWords(DictEngine):
    """An engine without lexical search."""

    def search(self, request: Request) -> list[Answer]:
        refuse_parts(self, request, {"lexical"})
        return super().search(request)


class TestSearch:
    def test_it_finds_what_the_library_finds(self, book: Served) -> None:
        call = Called(book)
        for given in ({}, {"k": 3}, {"mode": "dense"}, {"mode": "lexical"}, {"filter": {"team": ["acme"]}}):
            answer = call("search", query="refunds take 7 days", **given)
            where = {"team": "acme"} if "filter" in given else None
            options: Any = {"k": given.get("k", 5), "mode": given.get("mode", "hybrid"), "where": where}
            expected = book.kb.search("refunds take 7 days", **options)
            assert ids(answer) == [hit.document.id for hit in expected]
            assert [one["text"] for one in answer["passages"]] == [hit.document.text for hit in expected]
            assert answer["passages"][0]["metadata"] == {"number": 7, "team": "acme"}

    def test_the_schema_is_that_of_the_fields(self, book: Served) -> None:
        schema = Called(book).schemas()["search"]
        properties = schema["properties"]
        assert list(properties) == ["query", "k", "mode", "filter", "max_tokens"]
        assert properties["filter"]["properties"]["team"]["items"]["enum"] == ["acme", "zeta"]
        assert properties["mode"]["enum"] == ["hybrid", "dense", "lexical"]
        assert (schema["required"], schema["additionalProperties"]) == (["query"], False)

    def test_of_several_collections_one_is_named(self, book: Served, long: Served) -> None:
        call = Called(book, long)
        schema = call.schemas()["search"]
        assert schema["required"] == ["collection", "query"]
        assert schema["properties"]["collection"]["enum"] == ["handbook", "long"]
        assert {"team", "path", "record"} <= set(schema["properties"]["filter"]["properties"])
        assert call("search", collection="long", query="guide")["collection"] == "long"
        assert "handbook, long" in call.refuses("search", query="guide")
        assert "Did you mean 'handbook'?" in call.refuses("search", query="guide", collection="handbok")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"k": 1_000_000}, "k must be a whole number from 1 to 20"),
            ({"filter": {"taem": ["acme"]}}, "did you mean 'team'?"),
            ({"filter": "team"}, "filter must be an object"),
            ({"query": ""}, "query must be a text"),
            ({"mode": "dence"}, "did you mean 'dense'?"),
            ({"querry": "x"}, "did you mean 'query'?"),
            ({"collection": 7}, "collection must be the name"),
            ({"max_tokens": 1}, "max_tokens must be a whole number from 200 to 8,000"),
            ({"max_tokens": True}, "max_tokens must be a whole number"),
        ],
    )
    def test_what_is_wrong_is_said(self, book: Served, given: dict[str, Any], said: str) -> None:
        assert said in Called(book).refuses("search", **{"query": "refunds", **given})

    def test_values_that_are_not_there_are_named(self, book: Served) -> None:
        answer = Called(book)("search", query="refunds", filter={"team": ["acne"]})
        assert answer["passages"] == []
        assert 'Did you mean "acme"?' in answer["notes"][0]

    def test_without_an_embedder_words_are_searched_and_it_is_said(self, book: Served) -> None:
        missing = Served("handbook", book.kb, problem="the package is not installed")
        call = Called(missing)
        assert call.schemas()["search"]["properties"]["mode"]["enum"] == ["lexical"]
        answer = call("search", query="7", k=1)
        assert (ids(answer), answer["notes"]) == (["d/7"], [ONLY_WORDS])
        assert call("collections")["collections"][0]["problem"] == ONLY_WORDS
        assert "not a mode" in call.refuses("search", query="7", mode="dense")

    def test_vectors_without_an_embedder_are_searched_by_words(self) -> None:
        with Retriever.open() as kb:
            kb.add([Document("Refunds take a week.", id="a")], vectors=[[1.0, 0.0]])
            assert ids(Called(Served("bare", kb))("search", query="refunds")) == ["a"]

    def test_an_engine_without_words_is_searched_by_meaning(self) -> None:
        with Retriever(WithoutWords.open(None, CollectionSettings()), HashingEmbedder()) as kb:
            kb.add([Document("Refunds take a week.", id="a")])
            call = Called(Served("plain", kb))
            assert ids(call("search", query="refunds")) == ["a"]
            assert call.schemas()["search"]["properties"]["mode"]["enum"] == ["dense"]

    def test_an_empty_collection_has_the_tools(self) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            call = Called(Served("new", kb))
            assert set(call.schemas()) == {"search", "read", "fields", "collections"}
            assert call("search", query="refunds")["passages"] == []
            assert call("fields")["fields"] == {}


ONLY_WORDS = "The embedder of this collection cannot be loaded, so only lexical search works, by words."


class TestRead:
    def test_neighbors_are_in_the_order_of_the_document(self, long: Served) -> None:
        call = Called(long)
        assert ids(call("read", id="guide.md#3")) == ["guide.md#2", "guide.md#3", "guide.md#4"]
        assert ids(call("read", id="guide.md#2", neighbors=0)) == ["guide.md#2"]
        assert ids(call("read", id="guide.md", neighbors=2)) == ["guide.md", "guide.md#2", "guide.md#3"]
        assert ids(call("read", id="guide.md#4", neighbors=10)) == ["guide.md", *(f"guide.md#{n}" for n in range(2, 6))]
        assert ids(call("read", id="faq.csv#2")) == ["faq.csv#1", "faq.csv#2", "faq.csv#2#2"]

    def test_a_long_passage_is_read_on(self, long: Served) -> None:
        call = Called(long, max_tokens=2000)
        (stored,) = long.kb.get("story.txt")
        texts: list[str] = []
        start: int | None = 0
        while start is not None:
            (passage,) = call("read", id="story.txt", start=start)["passages"]
            assert passage["metadata"] == {"path": "story.txt"}
            texts.append(passage["text"])
            start = passage.get("continues_at")
        assert "".join(texts) == stored.text
        assert len(texts) > 10

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"id": "guide"}, "There is no passage 'guide' in long"),
            ({"id": 1}, "id must be the id of a passage"),
            ({"id": "guide.md", "neighbors": 11}, "neighbors must be a whole number from 0 to 10"),
            ({"id": "guide.md", "start": 100}, "start must be below 20"),
            ({"id": "guide.md", "neighbours": 1}, "Did you mean 'neighbors'?"),
        ],
    )
    def test_what_is_wrong_is_said(self, long: Served, given: dict[str, Any], said: str) -> None:
        assert said in Called(long).refuses("read", **given)


class TestBudget:
    @pytest.mark.parametrize("tokens", [LEAST, 500, 3000, 8000])
    def test_no_answer_is_longer(self, book: Served, long: Served, tokens: int) -> None:
        call = Called(book, long)
        for name, given in [
            *(("search", {"query": words, "k": 20}) for words in ("refunds", "story", "guide", "Sentence 7")),
            *(("read", {"id": name, "neighbors": 10}) for name in ("guide.md", "story.txt")),
            ("fields", {}),
        ]:
            collection = "handbook" if given.get("query") == "refunds" else "long"
            answer = call(name, collection=collection, max_tokens=tokens, **given)
            assert count_tokens(json.dumps(answer, ensure_ascii=False)) <= tokens
            assert answer.get("passages", answer.get("fields"))  # something is always shown

    def test_what_does_not_fit_is_named(self, book: Served) -> None:
        answer = Called(book)("search", query="refunds", k=20, max_tokens=500)
        hits = book.kb.search("refunds", k=20, mode="hybrid")
        assert 1 < len(answer["passages"]) < 20
        assert ids(answer) + answer["not_shown"] == [hit.document.id for hit in hits]

    def test_the_estimate_is_near_what_a_tokenizer_counts(self) -> None:
        """The numbers on the right are those of cl100k_base, the tokenizer of GPT-4."""
        texts = {
            "Refunds take five working days.": 6,
            "Die Rückerstattung dauert sieben Werktage.": 12,
            "退款需要七个工作日": 9,
            "8f14e45f-ceea-467f-a0e6-2b3c1f5b9d11": 24,
        }
        for text, tokens in texts.items():
            assert tokens * 0.7 <= count_tokens(text) <= tokens * 1.7, text


class TestWrites:
    @pytest.fixture
    def writable(self, tmp_path: Path) -> Iterator[Served]:
        served = handbook(tmp_path, write=True)
        yield served
        served.kb.close()

    def test_documents_are_added_and_deleted(self, writable: Served) -> None:
        call = Called(writable, grant=WRITER)
        assert {"add", "delete"} <= set(call.schemas())
        document = {"id": "new", "text": "Gifts cannot be returned.", "metadata": {"team": "acme"}}
        assert call("add", documents=[document]) == {"ids": ["new"]}
        assert ids(call("search", query="gifts returned", k=1)) == ["new"]
        assert call("delete", ids=["new", "missing"]) == {"deleted": 1}
        assert writable.kb.get("new") == []

    def test_only_who_may_write_is_offered_it(self, writable: Served, book: Served) -> None:
        for served, grant in [(writable, ALL), (writable, Grant(write=True, anonymous=True)), (book, WRITER)]:
            call = Called(served, grant=grant)
            assert not {"add", "delete"} & set(call.schemas())
            before = served.kb.count()
            call.refuses("add", documents=[{"text": "x"}])
            call.refuses("delete", ids=["d/1"])
            assert served.kb.count() == before

    def test_bad_documents_are_refused_whole(self, writable: Served) -> None:
        call, before = Called(writable, grant=WRITER), writable.kb.count()
        for documents in (
            [],
            [{"txt": "a"}],
            [{"text": "a"}, {"text": ""}],
            [{"text": 1}],
            ["a"],
            [{"text": "a"}] * 1001,
        ):
            with pytest.raises(TheodoliteError):
                call("add", documents=documents)
        assert writable.kb.count() == before


def sent(call: Called, name: str, /, **arguments: Any) -> bool:
    """Call a tool; nothing of bolt may be in its answer. Return whether it was an error."""
    error: Exception | None = None
    try:
        said = json.dumps(call(name, **arguments))
    except (TheodoliteError, HttpError) as refusal:
        error, said = refusal, str(refusal)
    assert "secret of bolt, number" not in said
    assert "bolt-" not in said.replace(repr(arguments.get("id")), "")
    assert error is None or len(said) < 2000
    return error is not None


class TestScope:
    """A prompt cannot leave the scope: the hostile calls of the search tool, and those of the other tools."""

    CONFINED = Grant(frozenset({"kb"}), {"tenant": "acme"}, write=True)

    @pytest.fixture(params=["partition", "filter"])
    def call(self, tenants: Retriever, request: pytest.FixtureRequest) -> Called:
        scope = {"tenant": "acme"} if request.param == "partition" else {"tenant": {"$eq": "acme"}}
        grant = Grant(frozenset({"kb"}), scope, write=True)
        return Called(Served("kb", tenants, write=True), Served("bolt", tenants), grant=grant)

    def test_no_search_leads_out(self, call: Called) -> None:
        for given in [*({"filter": one, "k": 20} for one in FILTERS), *ARGUMENTS]:
            sent(call, "search", **{"query": "the secret of bolt", **given})
        assert len(call("search", query="the secret of bolt", k=20)["passages"]) == 5

    def test_no_other_tool_leads_out(self, call: Called) -> None:
        for name in (
            "bolt-1",
            "bolt-5",
            "bolt-1#2",
            "bolt\0",
            "../bolt-1",
            "acme-1/../bolt-1",
            ["bolt-1"],
            {"$ne": ""},
        ):
            assert sent(call, "read", id=name)
            assert sent(call, "read", id=name, neighbors=10)
        if isinstance((call.grant.scope or {})["tenant"], str):
            assert ids(call("read", id="acme-1")) == ["acme-1"]
        else:
            assert "divided by 'tenant'" in call.refuses("read", id="acme-1")
        for given in ({}, {"where": {"tenant": "bolt"}}, {"tenant": "bolt"}, {"scope": {"tenant": "bolt"}}):
            sent(call, "fields", **given)
        assert call("fields")["fields"]["n"]["count"] == 5
        assert "bolt" not in json.dumps(call("fields"))

    def test_other_collections_do_not_exist(self, call: Called) -> None:
        assert [one["name"] for one in call("collections")["collections"]] == ["kb"]
        assert "bolt" not in json.dumps(call.schemas())
        for name in ("search", "read", "fields", "add", "delete"):
            given = {"query": "x", "id": "bolt-1", "documents": [{"text": "x"}], "ids": ["bolt-1"]}
            known = {key: given[key] for key in call.schemas().get(name, {"required": []})["required"]}
            other = call.refuses(name, collection="bolt", **known)
            assert other == call.refuses(name, collection="nowhere", **known).replace("nowhere", "bolt")

    def test_writes_stay_within(self, tenants: Retriever) -> None:
        call = Called(Served("kb", tenants, write=True), grant=self.CONFINED)
        assert call("delete", ids=["bolt-1", "bolt-2"]) == {"deleted": 0}
        assert sent(call, "add", documents=[{"text": "x", "metadata": {"tenant": "bolt"}}])
        assert sent(call, "delete", where={"tenant": "bolt"})
        assert tenants.scoped(tenant="bolt").count() == 5

    def test_the_checks_could_fail(self, tenants: Retriever) -> None:
        call = Called(Served("kb", tenants))
        with pytest.raises(AssertionError):
            sent(call, "search", query="the secret of bolt", k=20)
