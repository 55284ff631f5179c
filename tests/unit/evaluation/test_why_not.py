"""`kb.why_not` gives the true reason for each stage that can keep a document out of the hits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import Authority, Document, Latest, Retriever, SearchOptions, Superseded, Valid
from theodolite.errors import CollectionNotFoundWarning, ConfigError, InputError
from theodolite.evaluation.why_not import Reason, WhyNot
from theodolite.testing import HashingEmbedder
from theodolite.types import VectorLike

NEAR = (1.0, 0.0, 0.0)


def turned(degrees: float, axis: int = 1) -> list[float]:
    """Return a unit vector at an angle to `NEAR`."""
    vector = [float(np.cos(np.radians(degrees))), 0.0, 0.0]
    vector[axis] = float(np.sin(np.radians(degrees)))
    return vector


def collection(rows: dict[str, tuple[float, dict[str, Any]]], **settings: Any) -> Retriever:
    """Return a collection of documents at angles to the query, with metadata."""
    kb = Retriever.open(embedder=None, **settings)
    documents = [Document(f"Text of {name}", metadata, name) for name, (_, metadata) in rows.items()]
    kb.add(documents, vectors=[turned(angle) for angle, _ in rows.values()])
    return kb


def asked(kb: Retriever, name: str, vector: VectorLike = NEAR, **options: Any) -> WhyNot:
    """Ask why a document is not found. What is said must agree with the search itself."""
    chosen = SearchOptions(**options)
    answer = kb.why_not(name, vector=vector, options=chosen)
    hits = kb.search_with(chosen, vector=vector)
    assert answer.found == (name in [hit.document.id for hit in hits])
    assert bool(answer.reasons) != answer.found
    json.dumps(answer.to_dict(), allow_nan=False)
    for reason in answer.reasons:
        assert reason.message in str(answer)
    return answer


def only(answer: WhyNot) -> Reason:
    (reason,) = answer.reasons
    return reason


def test_a_hit_has_its_rank_and_no_reason() -> None:
    with collection({"a": (0, {}), "b": (10, {})}) as kb:
        answer = asked(kb, "b")
        assert (answer.found, answer.rank, answer.reasons) == (True, 2, ())
        assert "rank 2" in str(answer)


def test_a_document_that_is_not_stored() -> None:
    with collection({"a": (0, {})}) as kb:
        assert only(asked(kb, "b")).kind == "absent"
    with Retriever.open(embedder=HashingEmbedder(), create=True) as kb:
        assert only(kb.why_not("b", "a question")).kind == "absent"


def test_a_collection_that_does_not_exist_yet_has_no_documents(tmp_path: Path) -> None:
    """As in a search, which warns, too."""
    with Retriever.open(tmp_path / "none", embedder=None) as kb:
        with pytest.warns(CollectionNotFoundWarning):
            assert only(kb.why_not("b", vector=NEAR)).kind == "absent"
        assert not (tmp_path / "none").exists()


def test_a_document_outside_the_scope_is_as_absent_as_one_that_does_not_exist() -> None:
    with collection({"a": (0, {"team": "x"}), "b": (1, {"team": "y"})}) as kb:
        scope = kb.scoped(team="x")
        outside, missing = only(asked(scope, "b")), only(asked(scope, "nothing"))
        assert outside == missing
        assert "scope" in outside.message


def test_a_document_to_search_by() -> None:
    with collection({"a": (0, {}), "b": (10, {})}) as kb:
        assert only(kb.why_not("a", like=["a"])).kind == "asked"


def test_each_condition_of_the_filter_that_fails_is_named_with_the_values_of_its_fields() -> None:
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "a": (0, {"lang": "en", "year": 2024}),
        "b": (1, {"lang": "de", "year": 2020, "kind": "memo"}),
    }
    with collection(rows) as kb:
        where = {"$and": [{"lang": "en"}, {"$and": [{"year": {"$gte": 2023}}, {"kind": {"$ne": "letter"}}]}]}
        first, second = asked(kb, "b", where=where).reasons
        assert (first.kind, first.condition, first.values) == ("filter", {"lang": {"$eq": "en"}}, {"lang": "de"})
        assert (second.condition, second.values) == ({"year": {"$gte": 2023}}, {"year": 2020})
        either = only(asked(kb, "b", where={"$or": [{"lang": "en"}, {"absent": 1}]}))
        assert either.values == {"lang": "de"}
        assert "no absent" in either.message
        assert only(asked(kb, "b", where={"$id": ["a"]})).values == {}


def test_a_function_that_refuses_it() -> None:
    with collection({"a": (0, {}), "b": (1, {})}) as kb:
        assert only(asked(kb, "b", accept=lambda document: document.id == "a")).kind == "accept"


def test_the_newer_version_is_named() -> None:
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "old": (0, {"policy": "p", "date": "2024-01-01"}),
        "new": (40, {"policy": "p", "date": "2025-01-01"}),
        "later": (1, {"policy": "p", "date": "2999-01-01"}),
        "other": (5, {"policy": "q", "date": "2025-01-01"}),
    }
    with collection(rows, versions=[Latest("policy", "date")]) as kb:
        reason = only(asked(kb, "old"))
        assert (reason.kind, reason.documents) == ("version", ("new",))
        assert "not begun" in only(asked(kb, "later")).message
        assert asked(kb, "old", as_of="2024-06-01").found
        assert asked(kb, "old", superseded="show").found
        both = asked(kb, "old", where={"policy": "q"}).reasons
        assert [each.kind for each in both] == ["version", "filter"]


def test_a_successor_and_the_end_of_a_period_are_named() -> None:
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "1": (0, {"key": "one", "by": "two"}),
        "2": (3, {"key": "two"}),
        "ended": (1, {"key": "three", "until": "2020-01-01"}),
    }
    with collection(rows, versions=[Superseded("key", by="by"), Valid(end="until")]) as kb:
        reason = only(asked(kb, "1"))
        assert (reason.kind, reason.documents) == ("version", ("2",))
        ended = only(asked(kb, "ended"))
        assert ended.kind == "version"
        assert "2020-01-01" in ended.message


def test_a_substitute_is_found_or_has_a_rank_and_others_fail_the_filter() -> None:
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "old": (0, {"policy": "p", "date": "2024-01-01", "lang": "en"}),
        "new": (40, {"policy": "p", "date": "2025-01-01", "lang": "de"}),
        "near": (5, {"policy": "q", "date": "2025-01-01", "lang": "en"}),
        "wrong": (1, {"policy": "r", "date": "2025-01-01", "lang": "de"}),
    }
    with collection(rows, versions=[Latest("policy", "date")]) as kb:
        options: dict[str, Any] = {"where": {"lang": "en"}, "superseded": "substitute"}
        assert asked(kb, "new", **options).found
        below = only(asked(kb, "new", k=1, **options))
        assert (below.kind, below.rank) == ("rank", 2)
        assert only(asked(kb, "wrong", **options)).kind == "filter"


def test_the_rank_below_k_with_both_scores() -> None:
    with collection({str(angle): (angle, {}) for angle in range(40)}) as kb:
        reason = only(asked(kb, "20", k=5))
        assert (reason.kind, reason.rank) == ("rank", 21)
        assert reason.score == pytest.approx(np.cos(np.radians(20)))
        assert reason.limit == pytest.approx(np.cos(np.radians(4)))


def test_ranks_are_found_far_below_k() -> None:
    with collection({str(number): (number / 20, {}) for number in range(1500)}) as kb:
        assert only(asked(kb, "1400", k=3)).rank == 1401


def test_relevance_below_the_threshold() -> None:
    with collection({"a": (0, {}), "b": (60, {})}) as kb:
        reason = only(asked(kb, "b", min_relevance=0.7))
        assert (reason.kind, reason.limit) == ("threshold", 0.7)
        assert reason.score == pytest.approx(0.5)
        reason = only(asked(kb, "b", min_relevance=0.7, boosts=[Authority("x", {"y": 1.0, None: 0.5})]))
        assert reason.kind == "threshold"


def test_a_boost_that_moves_it_down() -> None:
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "a": (0, {"source": "wiki"}),
        "b": (10, {"source": "policy"}),
        "c": (80, {"source": "wiki"}),
    }
    with collection(rows) as kb:
        boost = Authority("source", {"policy": 1.0, "wiki": 0.0}, weight=0.5)
        reason = only(asked(kb, "a", k=1, boosts=[boost]))
        assert (reason.kind, reason.rank) == ("boost", 2)
        assert only(asked(kb, "c", k=1, boosts=[boost])).kind == "rank"


def by_length(query: str, texts: list[str]) -> Any:
    return [float(len(text)) for text in texts]


def test_the_reranker_that_moves_it_down_or_does_not_read_it() -> None:
    from theodolite.rerankers.stage import Rerank

    with Retriever.open(embedder=None) as kb:
        texts = [
            "short",
            "a longer text",
            "the longest text of all of them",
            "never read, though it is by far the longest",
        ]
        kb.add([Document(text, id=str(i)) for i, text in enumerate(texts)], vectors=[turned(i) for i in range(4)])
        options = SearchOptions(k=1, rerank=Rerank(by_length, candidates=3))
        moved = only(kb.why_not("0", "a question", vector=NEAR, options=options))
        assert (moved.kind, moved.rank) == ("rerank", 3)
        assert only(kb.why_not("3", "a question", vector=NEAR, options=options)).kind == "rank"
        assert kb.why_not("2", "a question", vector=NEAR, options=options).found


def test_the_near_duplicate_that_stands_for_it() -> None:
    with collection({"a": (0, {}), "b": (0.5, {}), "c": (50, {})}) as kb:
        reason = only(asked(kb, "b", dedupe=0.99))
        assert (reason.kind, reason.documents) == ("duplicate", ("a",))


def test_diversity_that_prefers_others() -> None:
    with Retriever.open(embedder=None) as kb:
        kb.add([Document(name, id=name) for name in "abc"], vectors=[turned(0), turned(2), turned(30, axis=2)])
        reason = only(asked(kb, "b", k=2, diversity=0.9))
        assert reason.kind == "diversity"
        assert kb.search(vector=NEAR, k=2)[1].document.id == "b"


@pytest.fixture
def worded() -> Retriever:
    kb = Retriever.open(embedder=HashingEmbedder())
    kb.add([Document("refunds take days", id="a"), Document("refunds, refunds", id="b"), Document("shipping", id="c")])
    return kb


def test_a_lexical_search_without_a_word_of_the_query_in_the_text(worded: Retriever) -> None:
    with worded as kb:
        options = SearchOptions(mode="lexical", k=1)
        assert only(kb.why_not("c", "refunds", options=options)).kind == "words"
        below = only(kb.why_not("a", "refunds", options=options))
        assert (below.kind, below.rank) == ("rank", 2)


def test_a_hybrid_search_has_the_rank_of_its_fused_list(worded: Retriever) -> None:
    with worded as kb:
        full = [hit.document.id for hit in kb.search("refunds", mode="hybrid", k=3)]
        reason = only(kb.why_not(full[2], "refunds", options=SearchOptions(mode="hybrid", k=1)))
        assert (reason.kind, reason.rank) == ("rank", 3)


def test_what_the_approximate_index_misses() -> None:
    generator = np.random.default_rng(5)
    vectors = generator.standard_normal((3000, 24)).astype(np.float32)
    with Retriever.open(embedder=None) as kb:
        kb.add([Document("text", id=str(row)) for row in range(3000)], vectors=vectors)
        kb.reindex("faiss:IVF64,Flat", target_recall=0.5)
        for query in generator.standard_normal((200, 24)).astype(np.float32):
            found = {hit.document.id for hit in kb.search(vector=query, k=10)}
            exact = np.argsort(-(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ query)[:10]
            missed = [str(row) for row in exact if str(row) not in found]
            if missed:
                assert only(asked(kb, missed[0], query)).kind == "index"
                return
        pytest.fail("the index missed nothing; make it worse")


def test_nothing_is_recorded_as_a_search_of_a_user(worded: Retriever) -> None:
    from theodolite.monitoring.monitor import Monitor

    worded.close()
    with Retriever.open(embedder=HashingEmbedder(), monitor=Monitor()) as kb:
        kb.add([Document("refunds take days", id="a")])
        assert kb.monitor is not None
        kb.why_not("z", "refunds")
        kb.monitor.flush()
        assert kb.monitor.report()["searches"] == 0
        kb.search("refunds")
        kb.monitor.flush()
        assert kb.monitor.report()["searches"] == 1


def test_a_list_of_any_length_is_refused(worded: Retriever) -> None:
    with worded as kb, pytest.raises(ConfigError, match="pass k="):
        kb.why_not("a", "refunds", options=SearchOptions(coverage=0.9))


def test_ids_of_several_partitions_are_refused() -> None:
    with collection({"a": (0, {"tenant": "x"}), "b": (1, {"tenant": "y"})}, partition="tenant") as kb:
        with pytest.raises(InputError, match="partitioned"):
            kb.why_not("a", vector=NEAR)
        assert only(asked(kb.scoped(tenant="x"), "b")).kind == "absent"
