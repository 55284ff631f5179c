"""SearchTool: its schema from a collection, and its handling of a model's arguments."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from tests.adapters.hostile import ARGUMENTS, FILTERS, deep, two_tenants

from theodolite import Authority, Document, F, FilterError, InputError, Retriever, SearchTool
from theodolite.testing import HashingEmbedder

# Calls here name missing fields on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")

DAYS = 30


def passages() -> list[Document]:
    """Thirty days, each field of another shape."""
    return [
        Document(
            f"Refunds of day {n} take {n} days.",
            {
                "lang": "de" if n % 2 else "en",
                "level": n % 3,
                "open": n % 2 == 0,
                "mixed": n % 2 or "none",
                "tags": ["refund", "money"][: n % 3],
                "author": {"name": f"Ada {n}", "team": {"$id": n}},
                "year": 2000 + n,
                "published": f"2025-01-{n:02d}T12:00:00Z",
                "seen": date(2025, 2, min(n, 28)),
                "long": f"{'x' * 65}{n % 2}",
                "same": "all",
                "nothing": None,
                "$ref": n,
                "größe": n,
            },
            id=str(n),
        )
        for n in range(1, DAYS + 1)
    ]


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(passages())
        yield kb


@pytest.fixture(scope="module")
def tenants() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


def offered(tool: SearchTool) -> dict[str, Any]:
    found: dict[str, Any] = tool.parameters["properties"]["filter"]["properties"]
    return found


def days(tool: SearchTool, **sent: Any) -> list[int]:
    return sorted(int(hit.document.id) for hit in tool.search({"query": "refunds", "k": DAYS, **sent}))


def bounds(kind: str) -> dict[str, Any]:
    return {"min": {"type": kind}, "max": {"type": kind}}


def listed(levels: int) -> Any:
    inner: Any = "en"
    for _ in range(levels):
        inner = [inner]
    return inner


class TestSchema:
    def test_arguments(self, kb: Retriever) -> None:
        schema = SearchTool(kb, k=3).parameters
        assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["query"], False)
        assert list(schema["properties"]) == ["query", "k", "filter"]
        k = schema["properties"]["k"]
        assert (k["type"], k["minimum"], k["maximum"], k["default"]) == ("integer", 1, 20, 3)
        assert SearchTool(kb, k=25).parameters["properties"]["k"]["maximum"] == 25
        assert schema["properties"]["filter"]["additionalProperties"] is False
        assert json.loads(json.dumps(schema)) == schema

    def test_a_date_field_has_arguments_of_its_own(self, kb: Retriever) -> None:
        tool = SearchTool(kb, date_field="published")
        properties = tool.parameters["properties"]
        assert list(properties) == ["query", "k", "since", "until", "filter"]
        assert "published is not before" in properties["since"]["description"]
        assert "published is not after" in properties["until"]["description"]
        assert "published" not in offered(tool)

    def test_what_is_offered(self, kb: Retriever) -> None:
        """No constant fields, no mappings, and no names that some chat models reject."""
        assert list(offered(SearchTool(kb))) == [
            *("author.name", "lang", "level", "long", "mixed", "open", "published", "seen", "tags", "year")
        ]
        assert "lang" not in offered(SearchTool(kb, leave_out={"lang"}))
        assert list(offered(SearchTool(kb, fields=["same", "lang", "same"], leave_out={"lang"}))) == ["same", "lang"]
        assert "filter" not in SearchTool(kb, fields=[]).parameters["properties"]

    @pytest.mark.parametrize(
        ("field", "items"),
        [
            ("lang", {"type": "string", "enum": ["de", "en"]}),
            ("level", {"type": "number", "enum": [0, 1, 2]}),
            ("open", {"type": "boolean", "enum": [False, True]}),
            ("mixed", {"enum": [1, "none"]}),
            ("tags", {"type": "string", "enum": ["refund", "money"]}),  # those that lists hold, most frequent first
            ("author.name", {"type": "string"}),  # too many
            ("long", {"type": "string"}),
        ],
    )
    def test_values_to_choose_from(self, kb: Retriever, field: str, items: dict[str, Any]) -> None:
        schema = offered(SearchTool(kb))[field]
        assert (schema["type"], schema["items"]) == ("array", items)
        assert schema["description"].startswith("Any of these")

    @pytest.mark.parametrize(
        ("field", "kind", "description"),
        [
            ("year", "number", "A range of numbers; there are 2001 to 2030."),
            ("published", "string", "A range of dates; there are 2025-01-01 to 2025-01-30."),
            ("seen", "string", "A range of dates; there are 2025-02-01 to 2025-02-28."),
        ],
    )
    def test_ranges(self, kb: Retriever, field: str, kind: str, description: str) -> None:
        schema = offered(SearchTool(kb))[field]
        assert (schema["type"], schema["properties"], schema["description"]) == ("object", bounds(kind), description)
        assert schema["additionalProperties"] is False

    def test_of_many_fields_the_most_common_are_offered(self) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            common = {f"common{n:02d}": 0 for n in range(24)}
            kb.add([Document("One.", {**common, "rare": 1}), Document("Two.", dict.fromkeys(common, 1))])
            assert list(offered(SearchTool(kb))) == list(common)
            assert list(offered(SearchTool(kb, fields=["rare"]))) == ["rare"]

    def test_of_an_empty_collection(self) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            tool = SearchTool(kb)
            assert list(tool.parameters["properties"]) == ["query", "k"]
            assert not tool.search({"query": "refunds"})


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"fields": ["langg"]}, InputError, "no document has the field 'langg'; did you mean 'lang'?"),
            ({"fields": ["q"]}, InputError, r"no document has the field 'q'\. There are \$ref, author, "),
            ({"fields": "lang"}, InputError, r"fields is one str; pass a list: \['lang'\]"),
            ({"fields": ["$ref"]}, FilterError, r"field '\$ref': field names do not begin with \$"),
            ({"date_field": "$ref"}, FilterError, r"field '\$ref': field names do not begin with \$"),
            ({"date_field": "publish"}, InputError, "did you mean 'published'"),
            ({"k": 0}, InputError, "k is 0; it must be a whole number of at least 1"),
            ({"k": True}, InputError, "k is True"),
            ({"scope": {"lang": {"gte": 1}}}, FilterError, r"\$gte"),
            ({"mod": "hybrid"}, TypeError, "mod"),
        ],
    )
    def test_refused(self, kb: Retriever, options: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            SearchTool(kb, **options)

    def test_names_inside_mappings_may_begin_so(self, kb: Retriever) -> None:
        tool = SearchTool(kb, fields=["author.team.$id"], k=DAYS)
        assert days(tool, filter={"author.team.$id": {"min": 29}}) == [29, 30]

    def test_options_are_those_of_a_search(self, kb: Retriever) -> None:
        boost = Authority("author.name", {"Ada 9": 1.0}, default=0.1, weight=0.9)
        (best,) = SearchTool(kb, boosts=boost, k=1).search({"query": "Refunds of day 7"})
        assert best.document.id == "9"


class TestSearch:
    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ({}, range(1, 31)),
            ({"filter": {}}, range(1, 31)),
            ({"filter": None, "since": None, "until": None}, range(1, 31)),
            ({"filter": {"lang": None, "year": {"min": None, "max": None}}}, range(1, 31)),
            ({"filter": {"lang": "en"}}, range(2, 31, 2)),
            ({"filter": {"lang": ["en", "fr"]}}, range(2, 31, 2)),
            ({"filter": {"lang": []}}, []),
            ({"filter": {"mixed": [1], "level": [0]}}, range(3, 31, 6)),
            ({"filter": {"open": [True], "year": {"max": 2004}}}, [2, 4]),
            ({"filter": {"tags": ["money"]}}, range(2, 31, 3)),
            ({"filter": {"year": {"min": 2010, "max": 2012}}}, [10, 11, 12]),
            ({"filter": {"author.name": ["Ada 7"]}}, [7]),
            ({"filter": {"seen": {"min": "2025-02-27", "max": None}}}, [27, 28, 29, 30]),
            ({"filter": {"seen": {"max": "2025-02-02"}}}, [1, 2]),
            ({"since": "2025-01-29"}, [29, 30]),
            ({"until": "2025-01-02"}, [1, 2]),  # the last day as a whole
            ({"until": "2025-01-02T11:59:59Z"}, [1]),
            ({"since": "2025-01-29T13:00:00+01:00", "until": "9999-12-31"}, [29, 30]),
        ],
    )
    def test_what_is_sent_is_what_is_filtered(self, kb: Retriever, sent: dict[str, Any], expected: Any) -> None:
        assert days(SearchTool(kb, date_field="published", k=DAYS), **sent) == list(expected)

    def test_the_query_is_stripped_and_k_is_the_default(self, kb: Retriever) -> None:
        tool = SearchTool(kb, k=2)
        expected = kb.search("Refunds of day 7", k=2)
        for sent in ({"query": " Refunds of day 7\n"}, {"query": "Refunds of day 7", "k": None}):
            assert [hit.document.id for hit in tool.search(sent)] == [hit.document.id for hit in expected]

    @pytest.mark.parametrize(
        ("sent", "message"),
        [
            ({}, "query must be a text of 1 to 8192 characters."),
            ({"query": " "}, "query must be a text of 1 to 8192 characters."),
            ({"query": "x" * 8193}, "query must be a text of 1 to 8192 characters."),
            ({"query": "\ud800"}, "query holds half a character"),
            ({"query": "x", "k": 21}, "k must be a whole number from 1 to 20."),
            ({"query": "x", "k": 1.5}, "k must be a whole number from 1 to 20."),
            ({"query": "x", "filters": {}}, "There is no argument 'filters'; did you mean 'filter'?"),
            ({"query": "x", "where": {}}, "There is no argument 'where'. There are query, k, since, until, filter."),
            ({"query": "x", "filter": ["en"]}, "filter must be an object"),
            ({"query": "x", "filter": {"levl": 1}}, "There is no field 'levl' to filter by; did you mean 'level'?"),
            ({"query": "x", "filter": {"size": 1}}, "There is no field 'size' to filter by. There are author.name, "),
            ({"query": "x", "filter": {"$or": [{"lang": "en"}]}}, "There is no field '$or' to filter by"),
            ({"query": "x", "filter": {"y" * 999: 1}}, f"There is no field {'y' * 64!r} to filter by"),
            ({"query": "x", "filter": {"lang": {"gte": "a"}}}, "The filter does not work: unknown operator 'gte'"),
            ({"query": "x", "filter": {"seen": {"min": "2025"}}}, "'2025' is not a date; write it as 2024-07-01"),
            ({"query": "x", "since": "yesterday"}, "'yesterday' is not a date; write it as 2024-07-01"),
            ({"query": "x", "until": 3}, "An int is not a date"),
        ],
    )
    def test_invalid_arguments_are_reported(self, kb: Retriever, sent: dict[str, Any], message: str) -> None:
        tool = SearchTool(kb, date_field="published")
        with pytest.raises(InputError) as caught:
            tool.search(sent)
        assert str(caught.value).startswith(message)
        with pytest.raises(InputError) as awaited:
            asyncio.run(tool.asearch(sent))
        assert str(awaited.value) == str(caught.value)

    @pytest.mark.parametrize(
        "nested",
        [
            lambda levels: deep(levels, {"$eq": "en"}, "$not"),
            lambda levels: deep(levels, "en", "$in"),
            lambda levels: deep(levels, "en", "$eq"),
            lambda levels: {"min": deep(levels, 1, "min")},
            lambda levels: listed(levels),
            lambda levels: {"$gt": listed(levels)},
            lambda levels: {"$date": listed(levels)},
        ],
        ids=["$not", "$in", "$eq", "min", "list", "$gt", "$date"],
    )
    @pytest.mark.parametrize("levels", [66, 3_000, 10_000])
    def test_nesting_ends_in_a_message(self, kb: Retriever, nested: Callable[[int], Any], levels: int) -> None:
        with pytest.raises(InputError, match="The filter does not work: ") as caught:
            SearchTool(kb).search({"query": "x", "filter": {"lang": nested(levels)}})
        assert len(str(caught.value)) < 500
        assert isinstance(caught.value.__cause__, FilterError)

    def test_too_deep_is_called_so(self, kb: Retriever) -> None:
        for levels in (66, 3_000):
            for sent in (deep(levels, {"$eq": "en"}, "$not"), listed(levels)):
                with pytest.raises(InputError, match="nested deeper than 64 levels"):
                    SearchTool(kb).search({"query": "x", "filter": {"lang": sent}})
        assert days(SearchTool(kb, k=DAYS), filter={"lang": deep(60, {"$eq": "en"}, "$not")}) == list(range(2, 31, 2))


class TestPassages:
    def test_numbered_with_what_may_be_filtered_by(self, kb: Retriever) -> None:
        tool = SearchTool(kb, fields=["lang", "author.name"], date_field="seen")
        hits = tool.search({"query": "Refunds of day 7", "filter": {"lang": "de"}, "k": 2})
        first, second = tool.passages(hits).split("\n\n")
        name = hits[0].document.id
        expected = {"lang": "de", "author.name": f"Ada {name}", "seen": f"2025-02-{min(int(name), 28):02d}"}
        assert first == f"[1] {name} {json.dumps(expected)}\n{hits[0].document.text}"
        assert second.startswith("[2] ")

    def test_no_hits(self, kb: Retriever) -> None:
        tool = SearchTool(kb)
        hits = tool.search({"query": "refunds", "filter": {"lang": []}})
        assert tool.passages(hits) == "No passages fit. Try other words, or a wider filter."

    def test_of_long_values_the_beginning_is_shown(self) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            kb.add(
                [Document("One.", {"a": "é" * 257, "b": list(range(200)), "when": datetime(2025, 1, 1, tzinfo=UTC)})]
            )
            tool = SearchTool(kb, fields=["a", "b", "when"])
            text = tool.passages(tool.search({"query": "one"}))
            shown = json.loads(text.partition(" ")[2].partition(" ")[2].partition("\n")[0])
            assert shown["a"] == "é" * 256 + "…"
            assert shown["b"].startswith("[0, 1, 2, ")
            assert len(shown["b"]) == 257
            assert shown["when"] == "2025-01-01 00:00:00+00:00"

    def test_what_is_not_there_is_not_shown(self) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            kb.add([Document("One.", {"a": 1}, id="one"), Document("Two.", {"a": None}, id="two")])
            tool = SearchTool(kb, fields=["a"])
            text = tool.passages(tool.search({"query": "One."}))
            assert text == '[1] one {"a": 1}\nOne.\n\n[2] two\nTwo.'


class TestScope:
    CONFINED: tuple[Callable[[Retriever], SearchTool], ...] = (
        lambda kb: SearchTool(kb, scope={"tenant": "acme"}, date_field="on"),
        lambda kb: SearchTool(kb, scope=F("tenant") == "acme", date_field="on"),
        lambda kb: SearchTool(kb.scoped(tenant="acme"), date_field="on"),
        lambda kb: SearchTool(kb, scope={"tenant": "acme"}, fields=["tenant", "lang", "a.b"], date_field="on"),
        lambda kb: SearchTool(kb, scope={"tenant": "acme"}, date_field="on", mode="hybrid"),
    )

    @pytest.mark.parametrize("made", CONFINED, ids=["scope=", "filter", "scoped", "tenant offered", "words"])
    def test_nothing_that_is_sent_leads_out(self, tenants: Retriever, made: Callable[[Retriever], SearchTool]) -> None:
        tool = made(tenants)
        assert "bolt" not in json.dumps(tool.parameters)
        found, messages = 0, []
        for sent in [*({"filter": one, "k": 20} for one in FILTERS), *ARGUMENTS]:
            try:
                hits = tool.search({"query": "the secret of bolt", **sent})
            except InputError as error:
                messages.append(str(error))
                continue
            found += len(hits)
            assert {hit.document.metadata["tenant"] for hit in hits} <= {"acme"}
            assert "secret of bolt" not in tool.passages(hits)
        assert found
        assert max(map(len, messages)) < 2000
        assert not any("bolt-" in message for message in messages)

    def test_unconfined_the_other_is_found(self, tenants: Retriever) -> None:
        hits = SearchTool(tenants).search({"query": "the secret of bolt", "k": 20})
        assert {hit.document.metadata["tenant"] for hit in hits} == {"acme", "bolt"}

    def test_a_scope_within_a_scope_narrows(self, tenants: Retriever) -> None:
        tool = SearchTool(tenants.scoped(tenant="acme"), scope={"lang": "de"})
        found = [hit.document.id for hit in tool.search({"query": "secret", "k": 20})]
        assert sorted(found) == ["acme-1", "acme-3", "acme-5"]
        assert "lang" not in offered(tool)
