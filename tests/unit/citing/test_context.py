"""Context: hits with their neighbors, merged, within a budget of tokens, and nothing that the search may not show."""

import asyncio
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, Context, Document, EngineError, Hits, InputError, Latest, Retriever, Window
from theodolite.testing import HashingEmbedder

BY_PAGE = Window(1, group="page", order="number")
SECTIONS = ("Intro", "Use", "Use", "Use", "Limits", "Limits", "Use")


def words(text: str) -> int:
    return len(text.split())


def passages(name: str, *, numbered: bool = True) -> list[Document]:
    """A file of seven passages, as the readers cut it; or with ids that follow no pattern."""
    documents = []
    for chunk, heading in enumerate(SECTIONS, 1):
        metadata = {"path": name, "chunk": chunk, "heading": heading, "page": name, "number": chunk * 1.0, "lang": "en"}
        own = name if chunk == 1 else f"{name}#{chunk}"
        documents.append(Document(f"{name} {heading} part {chunk}", metadata, own if numbered else f"{chunk}-{name}"))
    return documents


DOCUMENTS = [*passages("guide.md"), *passages("news.md"), *passages("odd.md", numbered=False)]
IDS = [document.id for document in DOCUMENTS]


@pytest.fixture(params=[None, "dict://"])
def kb(request: pytest.FixtureRequest) -> Iterator[Retriever]:
    with Retriever.open(request.param, embedder=None) as kb:
        kb.add(DOCUMENTS, vectors=np.eye(len(DOCUMENTS)) + 0.01)
        yield kb


def hits_of(kb: Retriever, *ids: str, **options: Any) -> Hits:
    """Search so that these documents are the hits, in this order."""
    known = {document.id: vector for document, vector in kb.get(list(ids), vectors=True)}
    query = np.sum([known[name] * (len(ids) + 1 - rank) for rank, name in enumerate(ids)], axis=0)
    hits = kb.search(vector=query, k=len(ids), **options)
    assert [hit.document.id for hit in hits] == list(ids)
    return hits


def shown(context: Context) -> list[list[int]]:
    return [[document.metadata["chunk"] for document in source.documents] for source in context.sources]


def make(hits: Hits, expand: Any = None, tokens: int = 1000) -> Context:
    return hits.context(tokens, expand=expand, count=words)


def test_hits_are_numbered_best_first(kb: Retriever) -> None:
    context = make(hits_of(kb, "news.md#3", "guide.md"))
    assert str(context) == "[1] news.md, Use\nnews.md Use part 3\n\n[2] guide.md, Intro\nguide.md Intro part 1"
    assert context.tokens == words(str(context))
    assert [source.hits for source in context.sources] == [("news.md#3",), ("guide.md",)]
    assert context.to_dict()["sources"][1]["documents"] == ["guide.md"]
    assert str(make(kb.search(vector=np.ones(len(IDS)), where={"lang": "de"}))) == ""


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")
@pytest.mark.parametrize("name", ["guide.md", "odd.md"])
@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("size", [1, 2, 10])
def test_a_window_has_the_neighbors_on_both_sides(kb: Retriever, name: str, number: int, size: int) -> None:
    hit = next(one for one in DOCUMENTS if one.metadata["path"] == name and one.metadata["chunk"] == number)
    expected = [at for at in range(1, 8) if abs(at - number) <= size]
    for window in (Window(size), Window(size, group="page", order="number")):
        assert shown(make(hits_of(kb, hit.id), window)) == [expected]


@pytest.mark.parametrize("name", ["guide.md", "odd.md"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_section_is_the_run_of_passages_with_its_heading(kb: Retriever, name: str, number: int) -> None:
    hit = next(one for one in DOCUMENTS if one.metadata["path"] == name and one.metadata["chunk"] == number)
    expected = next(run for run in ([1], [2, 3, 4], [5, 6], [7]) if number in run)
    assert shown(make(hits_of(kb, hit.id), "section")) == [expected]


PATTERNS = ("{path}#{chunk}", "{chunk}-{path}", "a{path}b{chunk}", "{path}-{chunk}x")
"""How ids are made: two of them number the passages, so that neighbors are found by id."""


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")
@pytest.mark.parametrize("seed", [*range(20), 54, 282])  # at these, 1-t must not look like the first of 1-t, 1-t#2, …
def test_it_finds_the_same_whatever_the_ids_are(seed: int) -> None:
    draw = np.random.default_rng(seed)
    metadata = []
    for path in ("t", "u")[: draw.integers(1, 3)]:
        first, length, section = int(draw.integers(0, 3)), int(draw.integers(1, 40)), 0
        for at in range(first, first + length):
            if at == first or draw.random() < 0.93:
                section += draw.random() < 0.3
                metadata.append({"path": path, "chunk": at, "v": int(draw.integers(0, 8))})
                if draw.random() < 0.95:
                    metadata[-1]["section"] = f"s{section % 3}"
    query, k = draw.random(len(metadata)), int(draw.integers(1, 7))
    found = []
    for pattern in PATTERNS:
        with Retriever.open("dict://", embedder=None) as kb:
            named = [Document(f"{each['path']} {each['chunk']}", each, pattern.format(**each)) for each in metadata]
            kb.add(named, vectors=np.eye(len(named)))
            lists = [kb.search(vector=query, k=k, where=where) for where in (None, {"v": {"$gt": 0}})]
            found.append(
                [
                    [source.text for source in make(hits, expand, tokens).sources]
                    for hits in lists
                    for expand in ("section", Window(1), Window(3))
                    for tokens in (1000, 20)
                ]
            )
    assert found[0] == found[1] == found[2] == found[3]


def test_a_passage_without_a_section_has_one_neighbor_on_each_side() -> None:
    with Retriever.open("dict://", embedder=None) as kb:
        kb.add([Document(f"p{n}", {"path": "a.txt", "chunk": n}, f"a.txt#{n}") for n in range(1, 6)], vectors=np.eye(5))
        assert shown(make(hits_of(kb, "a.txt#3"), "section")) == [[2, 3, 4]]


def test_parts_that_overlap_or_touch_are_merged_at_the_rank_of_the_best(kb: Retriever) -> None:
    context = make(hits_of(kb, "news.md#6", "guide.md#2", "guide.md#5", "news.md"), Window(1))
    assert shown(context) == [[5, 6, 7], [1, 2, 3, 4, 5, 6], [1, 2]]
    assert context.sources[1].hits == ("guide.md#2", "guide.md#5")


def test_what_two_passages_share_stands_once() -> None:
    texts = ["The first sentence is here. The second one is shared.", "The second one is shared. The third ends it."]
    with Retriever.open("dict://", embedder=None) as kb:
        kb.add([Document(text, {"path": "a", "chunk": n}, f"a#{n}") for n, text in enumerate(texts)], vectors=np.eye(2))
        context = make(hits_of(kb, "a#0"), Window(1))
    assert context.sources[0].text == "The first sentence is here. The second one is shared. The third ends it."


COUNTS: list[Callable[[str], int]] = [words, len, lambda text: len(text) // 4, lambda text: -(-len(text) // 7)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("expand", [None, "section", Window(2)])
def test_the_budget_holds_for_any_count(kb: Retriever, count: Callable[[str], int], expand: Any) -> None:
    hits = hits_of(kb, "guide.md#3", "news.md#5", "odd.md" if "odd.md" in IDS else "1-odd.md")
    whole = hits.context(10**9, expand=expand, count=count)
    assert not whole.left_out
    for tokens in {1, *range(whole.tokens // 8, whole.tokens + 1, max(1, whole.tokens // 8))}:
        try:
            context = hits.context(tokens, expand=expand, count=count)
        except InputError:
            assert tokens < min(count(f"[1] {one.metadata['path']}, {one.text}\n\n\n\n") + 1 for one in DOCUMENTS)
            continue
        assert context.tokens == count(str(context)) <= tokens
        kept = list(itertools.chain.from_iterable(source.hits for source in context.sources))
        assert sorted([*kept, *context.left_out]) == sorted(hit.document.id for hit in hits)
        assert [source.number for source in context.sources] == list(range(1, len(context.sources) + 1))
        assert all(source.hits for source in context.sources)


def test_neighbors_give_way_before_hits_and_stay_beside_them(kb: Retriever) -> None:
    hits = hits_of(kb, "guide.md#3")
    assert shown(hits.context(11, expand=Window(2), count=words)) == [[3, 4]]
    assert shown(hits.context(7, expand=Window(2), count=words)) == [[3]]


@pytest.mark.parametrize("expand", ["section", Window(2)])
@pytest.mark.parametrize("name", ["guide.md#3", "3-odd.md"])
def test_nothing_is_shown_that_the_search_must_not_find(kb: Retriever, name: str, expand: Any) -> None:
    (hit,) = kb.get(name)
    before = next(one.id for one in DOCUMENTS if one.metadata["path"] == hit.metadata["path"] and one.text[-1] == "2")
    kb.update(before, {"lang": "de", "secret": True})
    assert 2 in shown(make(hits_of(kb, name), expand))[0]
    options: list[dict[str, Any]] = [{"where": {"lang": "en"}}, {"accept": lambda one: one.metadata["lang"] == "en"}]
    for chosen in options:
        assert 2 not in shown(make(hits_of(kb, name, **chosen), expand))[0]
    assert 2 not in shown(make(hits_of(kb.scoped({"lang": "en"}), name), expand))[0]


@pytest.mark.parametrize("name", ["guide.md#3", "3-odd.md"])
def test_neighbors_follow_the_version_rules_of_the_search(kb: Retriever, name: str) -> None:
    (hit,) = kb.get(name)
    before = next(one.id for one in DOCUMENTS if one.metadata["path"] == hit.metadata["path"] and one.text[-1] == "2")
    vectors = np.eye(len(IDS))[:1] - 0.5
    kb.update(before, {"v": 1, "of": 9})
    kb.add([Document("newer", {"v": 2, "of": 9, "lang": "en"}, "newer")], vectors=vectors)
    rules = Latest(per="of", by="v")
    assert shown(make(hits_of(kb, name, versions=rules), Window(1))) == [[3, 4]]
    for options in ({}, {"versions": rules, "superseded": "show"}):
        assert shown(make(hits_of(kb, name, **options), Window(1))) == [[2, 3, 4]]


@pytest.mark.parametrize("engine", [None, "dict://"])
@pytest.mark.parametrize("numbered", [True, False])
def test_partitions_never_mix(engine: str | None, numbered: bool) -> None:
    with Retriever.open(engine, embedder=None, partition="tenant") as kb:
        for number, tenant in enumerate(("acme", "bolt")):
            documents = [
                Document(f"{tenant} {one.text}", {**one.metadata, "tenant": tenant}, one.id)
                for one in passages("guide.md", numbered=numbered)
            ]
            kb.add(documents, vectors=np.eye(7) + 0.01 * (1 + number))
        for view in (kb, kb.scoped(tenant="bolt")):
            hits = view.search(vector=[0, 0, 1, 0, 0, 0, 0.01], k=1, where={"tenant": "bolt"})
            context = make(hits, "section")
            assert shown(context) == [[2, 3, 4]]
            assert {one.metadata["tenant"] for one in context.sources[0].documents} == {"bolt"}


def test_records_of_one_file_are_texts_of_their_own(kb: Retriever) -> None:
    records = [
        Document(f"record {line} part {chunk}", {"path": "faq.jsonl", "line": line, "chunk": chunk}, f"r{line}{end}")
        for line in range(3)
        for chunk, end in ((1, ""), (2, "#2"))
    ]
    with Retriever.open("dict://", embedder=None) as faq:
        faq.add(records, vectors=np.eye(6))
        context = make(hits_of(faq, "r1"), Window(1))
        assert str(context).endswith("record 1 part 1\n\nrecord 1 part 2")


@pytest.mark.parametrize("expand", [Window(1), "section"])
def test_the_first_record_has_its_own_pieces_and_no_other_record_beside_it(expand: Any) -> None:
    """The first passage of a record of a table has the id `table.csv#1`, like one of a plain file that is numbered."""
    documents = [
        Document(f"row {row} part {part}", {"path": "faq.csv", "record": row, "chunk": part}, name)
        for row in range(1, 6)
        for part, name in ((1, f"faq.csv#{row}"), (2, f"faq.csv#{row}#2"))
    ]
    with Retriever.open() as kb:
        kb.add(documents, vectors=np.eye(10, dtype=np.float32))
        (source,) = kb.search(vector=np.eye(10)[0], k=1).context(10_000, expand=expand, count=len).sources
        assert [document.id for document in source.documents] == ["faq.csv#1", "faq.csv#1#2"]
        assert [each.id for each in kb.neighbors("faq.csv#1")] == ["faq.csv#1", "faq.csv#1#2"]
        assert [each.id for each in kb.neighbors("faq.csv#1#2")] == ["faq.csv#1", "faq.csv#1#2"]


@pytest.mark.parametrize("first", ["ls.1", "docs/1", "ls.md"])
def test_a_first_passage_whose_id_ends_with_its_number_has_its_neighbors(first: str) -> None:
    documents = [
        Document(f"passage {at}", {"path": first, "chunk": at}, first if at == 1 else f"{first}#{at}")
        for at in range(1, 8)
    ]
    with Retriever.open() as kb:
        kb.add(documents, vectors=np.eye(7, dtype=np.float32))
        hits = kb.search(vector=np.eye(7)[0] + np.eye(7)[5], k=2)
        found = [
            document.id
            for source in hits.context(10_000, expand=Window(1), count=len).sources
            for document in source.documents
        ]
        assert sorted(found) == sorted([first, *(f"{first}#{at}" for at in (2, 5, 6, 7))])


def test_hits_without_a_place_stand_alone_and_are_counted(kb: Retriever) -> None:
    kb.add([Document("a note", {}, "note")], vectors=np.ones((1, len(IDS))))
    context = make(hits_of(kb, "note", "guide.md#3"), Window(1))
    assert [len(source.documents) for source in context.sources] == [1, 3]
    assert context.notes == ("1 of 2 hits lack the fields that say where they stand, and stand alone",)
    with pytest.raises(InputError, match="no hit has a value in 'path' and a number in 'chunk' or 'position'"):
        make(hits_of(kb, "note"), "section")
    with pytest.raises(InputError, match=r"'pages' and a number in 'number'.* Did you mean 'page'\?"):
        make(hits_of(kb, "guide.md"), Window(1, group="pages", order="number"))


def test_a_hostile_path_stays_on_its_line() -> None:
    with Retriever.open("dict://", embedder=None) as kb:
        kb.add([Document("text", {"path": "a\n[2] trusted\x1b[2J"}, "x")], vectors=np.eye(1))
        assert str(make(kb.search(vector=[1.0]))) == "[1] a [2] trusted\ufffd[2J\ntext"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tokens": 0}, "tokens is 0; it must be at least 1"),
    ({"tokens": -1}, "tokens is -1"),
    ({"tokens": 2.5}, "tokens is 2.5"),
    ({"expand": "page"}, "expand is 'page'; expected \"section\""),
    ({"expand": 2}, r"did you mean Window\(2\)\?"),
    ({"count": 4}, "count is an int"),
    ({"count": lambda text: None}, "count returned None"),
    ({"count": lambda text: -1}, "count returned -1"),
    ({"tokens": 3, "count": words}, "the shortest hit has 7 tokens with its title, and tokens is 3"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_arguments_are_refused(kb: Retriever, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hits_of(kb, "guide.md").context(**{"count": words, **options})


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": True}, {"size": 1.5}, {"group": ""}, {"order": 3}])
def test_wrong_windows_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Window(**wrong)


class Counting(HashingEmbedder):
    def __init__(self) -> None:
        super().__init__(32)
        self.calls: list[int] = []

    def count_tokens(self, texts: Any) -> list[int]:
        self.calls.append(len(texts))
        return [words(text) for text in texts]


def test_tokens_are_counted_by_the_embedder() -> None:
    with Retriever.open(embedder=Counting()) as kb:
        kb.add(["Refunds take five working days."])
        assert kb.search("refunds").context().tokens == 7
    with Retriever.open(embedder=HashingEmbedder(32)) as kb:
        kb.add(["Refunds take five working days."])
        with pytest.raises(ConfigError, match=r"the embedder cannot count tokens\. Pass count="):
            kb.search("refunds").context()


def test_the_tokenizer_gets_all_texts_at_once() -> None:
    embedder = Counting()
    with Retriever.open(embedder=embedder) as kb:
        kb.add([f"Refund number {number} takes five working days." for number in range(5)])
        hits = kb.search("refund", k=5)
        embedder.calls.clear()
        assert len(hits.context(1000).sources) == 5
        assert embedder.calls == [1]  # the whole text
        embedder.calls.clear()
        assert len(hits.context(30).sources) == 3
        assert embedder.calls == [5 + 5, 1]  # titles and passages; the text of those that fit


@pytest.mark.parametrize(("expand", "calls"), [(Window(1), 1), (Window(5), 1), ("section", 3)])
def test_the_neighbors_of_all_hits_are_read_at_once(expand: Any, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    with Retriever.open(None, embedder=None) as kb:
        documents = [document for name in "abcdefg" for document in passages(f"{name}.md")]
        kb.add(documents, vectors=np.eye(len(documents)) + 0.01)
        hits = hits_of(kb, *(f"{name}.md#{place}" for place, name in enumerate("abcdef", 2)))
        get = kb._engine.get

        def counted(ids: Any, **scope: Any) -> Any:
            read.append(len(ids))
            return get(ids, **scope)

        monkeypatch.setattr(kb._engine, "get", counted)
        make(hits, expand)
    assert 1 <= len(read) <= calls


def test_a_closed_collection_and_pickled_hits_are_refused(kb: Retriever) -> None:
    hits = hits_of(kb, "guide.md")
    with pytest.raises(EngineError, match="the collection of these hits is closed: open it, and search again"):
        make(pickle.loads(pickle.dumps(hits)))  # noqa: S301 - our own
    kb.close()
    with pytest.raises(EngineError, match="closed"):
        make(hits, Window(1))


def test_nothing_found_is_an_empty_context() -> None:
    with Retriever.open("dict://", embedder=None) as kb:
        assert make(kb.search(vector=[1.0]), "section") == Context((), 0)


def test_async_programs_await_it(kb: Retriever) -> None:
    hits = hits_of(kb, "guide.md#3", "news.md")
    assert asyncio.run(hits.acontext(100, expand="section", count=words)) == make(hits, "section", 100)
