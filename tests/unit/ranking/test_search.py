"""Searching with all stages, through the public API."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.errors import ConfigError, InputError, RerankError
from theodolite.protocols import Fusion
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Latest, Superseded, Valid
from theodolite.rerankers.stage import Rerank
from theodolite.types import Hits

NOW = "2025-11-20"
AUTHORITY = Authority("source", {"policy": 1.0, "wiki": 0.5, "chat": 0.0}, weight=0.2)


def at(cosine: float) -> list[float]:
    """A vector of this cosine with (1, 0, 0)."""
    return [cosine, math.sqrt(1 - cosine * cosine), 0.0]


DOCUMENTS = [
    (Document("Refunds take fourteen days.", {"source": "policy", "policy": "r", "from": "2023-01-01"}, "old"), 0.95),
    (Document("Refunds take five days.", {"source": "policy", "policy": "r", "from": "2025-01-01"}, "new"), 0.9),
    (Document("Refunds take ages, I think.", {"source": "chat", "from": "2025-11-01"}, "chat"), 0.92),
    (Document("Error E-1234: refund blocked.", {"source": "wiki", "from": "2024-01-01"}, "wiki"), 0.6),
    (Document("We open at nine.", {"source": "wiki"}, "hours"), -0.3),
]
ASKED = [1.0, 0.0, 0.0]


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open() as kb:
        kb.add([document for document, _ in DOCUMENTS], vectors=np.array([at(c) for _, c in DOCUMENTS]))
        yield kb


def ids(hits: Hits) -> list[str]:
    return [hit.document.id for hit in hits]


def find(kb: Retriever, query: str | None = None, **options: Any) -> Hits:
    vector = None if options.get("mode") == "lexical" else ASKED
    present = {"as_of": NOW} if options.get("boosts") else {}
    return kb.search(query, vector=vector, **{"k": 5, **present, **options})


def test_boosts_multiply_relevance_and_say_so(kb: Retriever) -> None:
    assert ids(find(kb)) == ["old", "chat", "new", "wiki", "hours"]
    hits = find(kb, boosts=[AUTHORITY])
    assert ids(hits) == ["old", "new", "chat", "wiki", "hours"]
    chat = hits[2]
    assert chat.scores["authority"] == pytest.approx(0.8)
    assert chat.score == pytest.approx(0.92 * 0.8)
    assert chat.scores["similarity"] == pytest.approx(0.92)
    assert hits[4].score == pytest.approx(-0.3)  # what is not relevant is not made less so
    assert [(step.stage, step.before, step.after) for step in chat.steps] == [
        ("similarity", None, 2),
        ("authority", 2, 3),
    ]
    assert "2nd -> 3rd" in str(chat.explain())


def test_several_boosts_multiply(kb: Retriever) -> None:
    fresh = Freshness("from", "365d", weight=0.5)
    for hit in find(kb, boosts=[AUTHORITY, fresh]):
        if hit.scores["similarity"] > 0:
            product = hit.scores["relevance"] * hit.scores["authority"] * hit.scores["freshness"]
            assert hit.score == pytest.approx(product)


def test_boosts_of_no_weight_change_nothing_at_all(kb: Retriever) -> None:
    none = [Freshness("from", "365d", weight=0.0), Authority("source", {"chat": 0.0}, weight=0.0)]
    plain, boosted = find(kb), find(kb, boosts=none, as_of=None)
    assert [(hit.document, hit.score, dict(hit.scores)) for hit in plain] == [
        (hit.document, hit.score, dict(hit.scores)) for hit in boosted
    ]


def test_a_boost_never_overturns_a_larger_gap(kb: Retriever) -> None:
    # chat has 0.92 / 0.95 of the best one's relevance, a gap of 3.2 %.
    harsh = Authority("source", {"policy": 0.0, "chat": 1.0, "wiki": 0.0}, weight=0.03)
    assert ids(find(kb, boosts=[harsh]))[0] == "old"
    assert ids(find(kb, boosts=[Authority("source", {"policy": 0.0, "chat": 1.0}, weight=0.04)]))[0] == "chat"


def test_a_boost_that_refuses_names_the_document(kb: Retriever) -> None:
    strict = Freshness("from", "365d", missing="error")
    with pytest.raises(InputError, match=r"1 of 5 eligible documents have no date in 'from'.*'hours'"):
        find(kb, boosts=[strict])
    assert len(find(kb, boosts=[strict], where={"from": {"$exists": True}})) == 4


def test_min_relevance_may_leave_no_answer(kb: Retriever) -> None:
    assert ids(find(kb, min_relevance=0.91)) == ["old", "chat"]
    assert ids(find(kb, min_relevance=0.96)) == []
    # It looks at relevance, whatever boosts make of it.
    assert ids(find(kb, min_relevance=0.91, boosts=[AUTHORITY], k=2)) == ["old", "chat"]


def test_relevance_above_a_floor(kb: Retriever) -> None:
    vectors = np.array([at(c) for _, c in DOCUMENTS])
    with Retriever.open(relevance=0.9) as narrow:
        narrow.add([document for document, _ in DOCUMENTS], vectors=vectors)
        hits = find(narrow, boosts=[AUTHORITY])
    assert hits[0].scores["relevance"] == pytest.approx(0.5, abs=1e-6)
    # Above the floor the gap between chat and new is large: the boost does not close it.
    assert ids(hits)[:2] == ["old", "chat"]


def test_versions_are_standing_rules_of_the_collection(tmp_path: Any) -> None:
    rules = [Latest(per="policy", by="from")]
    vectors = np.array([at(c) for _, c in DOCUMENTS])
    with Retriever.open(tmp_path / "kb", versions=rules) as kb:
        kb.add([document for document, _ in DOCUMENTS], vectors=vectors)
        assert ids(find(kb)) == ["chat", "new", "wiki", "hours"]
        assert find(kb).trace.superseded == 1
        assert ids(find(kb, versions=[]))[0] == "old"
        assert ids(find(kb, as_of="2024-06-01"))[0] == "old"
    with Retriever.open(tmp_path / "kb") as kb:
        assert ids(find(kb)) == ["chat", "new", "wiki", "hours"]
        assert kb.search_many(vectors=[ASKED], k=5)[0][0].document.id == "chat"
    with pytest.raises(ConfigError, match="keep_versions"):
        Retriever.open(tmp_path / "kb", versions=[Valid(end="until")])
    with Retriever.open(tmp_path / "kb", read_only=True, versions=rules) as kb:
        assert "old" not in ids(find(kb))
    with Retriever.open(tmp_path / "kb") as kb:
        kb.keep_versions([])
    with Retriever.open(tmp_path / "kb") as kb:
        assert ids(find(kb))[0] == "old"


def test_versions_by_search(kb: Retriever) -> None:
    rule = Latest(per="policy", by="from")
    assert ids(find(kb, versions=rule)) == ["chat", "new", "wiki", "hours"]
    back = find(kb, versions=[rule], as_of="2024-06-01")
    assert "old" in ids(back)
    assert "new" not in ids(back)
    shown = find(kb, versions=[rule], superseded="show")
    old = next(hit for hit in shown if hit.document.id == "old")
    assert old.version is not None
    assert not old.version.current
    assert old.version.successors == ("2025-01-01",)
    assert "superseded by 2025-01-01" in str(old.explain())
    instead = find(kb, versions=[rule], where={"from": {"$lt": "2024-01-01"}})
    assert ids(instead) == []
    instead = find(kb, versions=[rule], where={"from": {"$lt": "2024-01-01"}}, superseded="substitute")
    assert ids(instead) == ["new"]
    assert instead[0].version is not None
    assert instead[0].version.substitutes


def test_words(kb: Retriever) -> None:
    hits = find(kb, "E1234", mode="lexical")
    assert ids(hits) == ["wiki"]
    assert set(hits[0].scores) == {"lexical"}
    assert hits[0].score == hits[0].scores["lexical"] > 0
    assert hits.trace.mode == "lexical"
    boosted = find(kb, "refunds", mode="lexical", boosts=[AUTHORITY])
    assert boosted[-1].document.id == "chat"
    assert boosted[-1].score == pytest.approx(boosted[-1].scores["lexical"] * 0.8)
    assert ids(find(kb, "refunds", mode="lexical", where={"source": "chat"})) == ["chat"]
    assert ids(find(kb, "refunds", mode="lexical", versions=[Latest("policy", "from")])) != []
    assert "old" not in ids(find(kb, "refunds", mode="lexical", versions=[Latest("policy", "from")]))


@pytest.mark.parametrize("stages", [{"dedupe": 0.9}, {"diversity": 0.5}, {"dedupe": 0.9, "diversity": 0.5}])
def test_where_there_is_nothing_no_stage_minds(kb: Retriever, stages: dict[str, Any]) -> None:
    for nothing in (kb.scoped(source="nobody"), kb.scoped(source="wiki").scoped(source="chat")):
        assert ids(find(nothing, **stages)) == []
        assert ids(find(nothing, "refunds", mode="lexical", **stages)) == []
    assert ids(find(kb, where={"source": "nobody"}, **stages)) == []
    kb.clear()
    assert ids(find(kb, **stages)) == []


def test_relevance_is_at_most_one() -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))  # a cosine may be, by the rounding of unit vectors
    assert Relevance("cosine").of_hits([above, -above, 0.5]) == [1.0, 0.0, 0.5]


def test_words_need_no_embedder_and_no_vectors(kb: Retriever) -> None:
    assert ids(kb.search("nine", mode="lexical")) == ["hours"]
    assert [ids(hits) for hits in kb.search_many(["nine", "blocked", "qwertz"], mode="lexical")] == [
        ["hours"],
        ["wiki"],
        [],
    ]
    with Retriever.open() as empty:
        assert ids(empty.search("nine", mode="lexical")) == []


def test_hybrid_fuses_ranks(kb: Retriever) -> None:
    hits = find(kb, "blocked refund", mode="hybrid")
    wiki = next(hit for hit in hits if hit.document.id == "wiki")
    assert wiki.scores["fusion"] == wiki.score == pytest.approx(1 / 64 + 0.8 / 61)
    assert wiki.scores["similarity"] == pytest.approx(0.6)
    hours = next(hit for hit in hits if hit.document.id == "hours")
    assert "lexical" not in hours.scores
    assert hours.score == pytest.approx(1 / 65)
    words = find(kb, "blocked refund", mode=Fusion(dense=0.0))
    assert words[0].document.id == "wiki"


def test_what_only_words_have_found_has_its_similarity(kb: Retriever) -> None:
    hits = find(kb, "nine", mode=Fusion(depth=1), k=1)
    both = find(kb, "nine", mode=Fusion(dense=0.1, depth=1), k=2)
    assert len(hits) == 1
    assert both[0].document.id == "hours"
    assert both[0].scores["similarity"] == pytest.approx(-0.3)


def length(query: str, texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def test_a_reranker_orders_by_its_raw_score(kb: Retriever) -> None:
    hits = find(kb, "refunds", rerank=length)
    assert ids(hits) == sorted(ids(hits), key=lambda name: -len(dict_of()[name].text))
    assert hits.trace.rerank == "ok"
    assert hits[0].scores["rerank"] == hits[0].score == float(len(hits[0].document.text))
    assert hits[0].scores["rerank_relevance"] == pytest.approx(1.0)
    assert hits.trace.timings["rerank"] >= 0
    few = find(kb, "refunds", k=2, rerank=Rerank(length, candidates=3))
    assert set(ids(few)) <= {"old", "chat", "new"}


def test_boosts_multiply_the_calibrated_score(kb: Retriever) -> None:
    hits = find(kb, "refunds", rerank=lambda query, texts: [0.0] * len(texts), boosts=[AUTHORITY])
    for hit in hits:
        assert hit.score == pytest.approx(0.5 * hit.scores["authority"])
    assert ids(hits)[-1] == "chat"


def test_a_reranker_that_fails_is_seen(kb: Retriever) -> None:
    def broken(query: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no memory")

    with pytest.raises(RerankError, match="no memory"):
        find(kb, "refunds", rerank=broken)
    hits = find(kb, "refunds", rerank=Rerank(broken, on_error="fallback"))
    assert ids(hits) == ids(find(kb))
    assert "no memory" in hits.trace.rerank
    assert "rerank" not in hits[0].scores


@pytest.mark.parametrize("stages", [{}, {"dedupe": 0.9999}, {"diversity": 0.5}, {"boosts": [AUTHORITY]}])
def test_a_reranker_leaves_out_what_is_not_relevant_enough(kb: Retriever, stages: dict[str, Any]) -> None:
    asked: list[int] = []

    def sure(query: str, texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        return [2.0 if "days" in text else -2.0 for text in texts]

    def found(least: float) -> Hits:
        return kb.search("q", vector=ASKED, rerank=Rerank(sure, min_relevance=least), **stages)

    assert sorted(ids(found(0.88))) == ["new", "old"]
    assert len(found(0.11)) == 5
    hits = found(0.9)
    assert (len(hits), hits.trace.rerank) == (0, "ok")
    assert asked == [5, 5, 5]  # nothing is read again to make up for it


def test_words_are_needed_where_they_are_read(kb: Retriever) -> None:
    for options in ({"mode": "lexical"}, {"mode": "hybrid"}, {"rerank": length}):
        with pytest.raises(InputError, match="query="):
            kb.search(vector=ASKED, **options)
        with pytest.raises(InputError, match="like"):
            kb.search(like="old", **options)
    with pytest.raises(InputError):
        kb.search("  ", mode="lexical")
    with pytest.raises(InputError, match="2 queries and 1 vectors"):
        kb.search_many(["a", "b"], vectors=[ASKED], mode="hybrid")
    with pytest.raises(ConfigError, match="without an embedder"):
        kb.search("refunds")


def test_near_duplicates_become_one_hit_and_k_come_back() -> None:
    rng = np.random.default_rng(7)
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    vectors = np.repeat(directions, 100, axis=0) + rng.normal(size=(800, 8)) * 1e-4
    query = directions.T @ np.linspace(1.0, 0.3, 8)
    with Retriever.open() as kb:
        kb.add([Document(str(n), id=f"{n:03}") for n in range(800)], vectors=vectors)
        hits = kb.search(vector=query, k=6, dedupe=0.99)
        assert [int(hit.document.id) // 100 for hit in hits] == [0, 1, 2, 3, 4, 5]
        assert hits[0].duplicates
        alike = hits[0].duplicates
        assert all(int(hit.document.id) // 100 == 0 for hit in alike)
        assert [hit.rank for hit in alike] == list(range(1, len(alike) + 1))
        assert all(one.score >= other.score for one, other in itertools.pairwise(alike))
        assert len(kb.search(vector=query, k=50, dedupe=0.99)) == 8
        head, *_, last = str(alike[0].explain()).splitlines()
        assert head.startswith("1st of the near-duplicates left out with score")
        assert last.split(maxsplit=1) == ["dedupe", "left out for a better hit"]


@pytest.mark.parametrize("candidates", [1, 3, 10, 50])
def test_k_come_back_however_few_a_reranker_reads(candidates: int) -> None:
    asked: list[int] = []

    def number(query: str, texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        return [float(text) for text in texts]

    with Retriever.open() as kb:
        kb.add([Document(str(n), id=f"{n:02}") for n in range(25)], vectors=np.repeat(np.eye(5) + 0.2, 5, axis=0))
        hits = kb.search("x", vector=[5, 4, 3, 2, 1], k=5, dedupe=0.99, rerank=Rerank(number, candidates=candidates))
        assert sorted(int(hit.document.id) // 5 for hit in hits) == [0, 1, 2, 3, 4]
        asked.clear()
        assert len(kb.search("x", vector=[5, 4, 3, 2, 1], k=9, dedupe=0.99, rerank=Rerank(number, candidates))) == 5
        assert asked[-1] == 25

    def broken(query: str, texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        raise RuntimeError

    with Retriever.open() as kb:
        kb.add([Document(str(n), id=str(n)) for n in range(3)], vectors=np.ones((3, 2)))
        asked.clear()
        stage = Rerank(broken, candidates=1, batch=100, on_error="fallback")
        assert len(kb.search("x", vector=[1, 1], k=2, dedupe=0.9, rerank=stage)) == 1
        assert asked == [3]  # there is nothing more to read


def test_among_near_duplicates_a_reranker_reads_once() -> None:
    read: list[int] = []

    def score(query: str, texts: Sequence[str]) -> list[float]:
        read.append(len(texts))
        return [float(text) for text in texts]

    vectors = np.repeat(np.eye(3)[:2], [900, 100], axis=0)
    with Retriever.open() as kb:
        kb.add([Document(str(n), id=f"{n:03}") for n in range(1000)], vectors=vectors)
        asked: dict[str, Any] = {"vector": [1.0, 0.5, 0.0], "dedupe": 0.99, "rerank": score}
        hits = kb.search("?", k=1, **asked)
        assert (ids(hits), read) == (["049"], [50])
        hits = kb.search("?", k=2, **asked)
        assert (ids(hits), read) == (["900", "899"], [50, 901])
        assert len(kb.search("?", k=3, **asked)) == 2
        assert read == [50, 901, 1000]


def test_diversity_keeps_hits_apart(kb: Retriever) -> None:
    assert ids(find(kb, diversity=0.0)) == ids(find(kb))
    with Retriever.open() as apart:
        apart.add(
            [Document("a", id="a"), Document("a again", id="again"), Document("b", id="b")],
            vectors=[[1.0, 0.2, 0.0], [1.0, 0.21, 0.0], [0.7, -0.7, 0.0]],
        )
        assert ids(apart.search(vector=ASKED, k=2)) == ["a", "again"]
        hits = apart.search(vector=ASKED, k=2, diversity=0.6)
        assert ids(hits) == ["a", "b"]
        assert hits[1].scores["similarity"] == hits[1].score
        assert hits[1].steps[-1].stage == "diversity"


def test_like_takes_the_stages_too(kb: Retriever) -> None:
    assert ids(kb.search(like="old", k=2)) == ["chat", "new"]
    assert ids(kb.search(like="old", k=2, boosts=[AUTHORITY])) == ["new", "chat"]
    assert ids(kb.search(like=["old", "chat"], k=3, diversity=0.2))[0] == "new"


def test_batches_are_single_searches(kb: Retriever) -> None:
    queries = ["blocked refund", "nine", "fourteen days"]
    vectors = [ASKED, at(0.5), at(-0.9)]
    options: dict[str, Any] = {
        "mode": "hybrid",
        "boosts": [AUTHORITY],
        "versions": [Latest("policy", "from"), Superseded("policy", replaces="old")],
        "as_of": NOW,
        "diversity": 0.3,
        "rerank": length,
    }
    batch = kb.search_many(queries, vectors=vectors, k=3, **options)
    for hits, query, vector in zip(batch, queries, vectors, strict=True):
        alone = kb.search(query, vector=vector, k=3, **options)
        assert [(hit.document.id, hit.score, hit.scores) for hit in hits] == [
            (hit.document.id, hit.score, hit.scores) for hit in alone
        ]


def test_scopes_bind_every_arm(kb: Retriever) -> None:
    view = kb.scoped(source="wiki")
    assert set(ids(find(view, "refund blocked", mode="hybrid"))) == {"wiki", "hours"}
    assert ids(find(view, "refunds", mode="lexical")) == ["wiki"]
    assert find(view, "refunds", mode="lexical").trace.path == "scope"


def dict_of() -> dict[str, Document]:
    return {document.id: document for document, _ in DOCUMENTS}
