"""The searches of the vector store: scores, thresholds, MMR, filters, k at its edges, keywords."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from tests.adapters.langchain.tables import REFERENCE, Table

from langchain_theodolite import TheodoliteVectorStore
from theodolite import ConfigError, F, FilterError, InputError, Retriever, VectorError

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

Store = TheodoliteVectorStore

COUNT, SIZE = 120, 8
COSINES = {"same": 1.0, "near": 0.9, "orthogonal": 0.0, "opposite": -1.0}
DISTANCES = [0.0, math.sqrt(0.2), math.sqrt(2), 2.0]


@pytest.fixture
def reference() -> Iterator[Store]:
    with Store(Table()) as store:
        store.add_texts(list(COSINES), ids=list(COSINES))
        yield store


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store(Table({}, SIZE)) as store:
        metadatas = [{"n": n, "group": "abc"[n % 3], "tenant": "acme" if n < 60 else "initech"} for n in range(COUNT)]
        store.add_texts([f"text {n}" for n in range(COUNT)], metadatas, ids=[str(n) for n in range(COUNT)])
        yield store


def names(documents: list[Document]) -> list[str]:
    return [str(document.id) for document in documents]


def named(scored: list[tuple[Document, float]]) -> dict[str, float]:
    return {str(document.id): score for document, score in scored}


def cosines(question: str) -> np.ndarray[Any, Any]:
    table = Table({}, SIZE)
    query = np.array(table.vector(question))
    rows = np.array([table.vector(f"text {n}") for n in range(COUNT)])
    found: np.ndarray[Any, Any] = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    return found


# Scores.


def test_scores_are_cosines_and_relevance_is_clamped(reference: Store) -> None:
    scored = reference.similarity_search_with_score("question", k=4)
    assert names([document for document, _ in scored]) == list(COSINES)
    assert named(scored) == pytest.approx(COSINES, abs=1e-6)
    assert named(reference.similarity_search_with_score_by_vector(REFERENCE["question"], 4)) == named(scored)
    relevant = reference.similarity_search_with_relevance_scores("question", k=4)
    assert named(relevant) == pytest.approx({**COSINES, "opposite": 0.0}, abs=1e-6)
    assert all(0 <= score <= 1 for _, score in relevant)
    tell = reference._select_relevance_score_fn()
    assert {name: tell(score) for name, score in named(scored).items()} == pytest.approx(named(relevant))


def test_scores_agree_with_numpy(store: Store) -> None:
    expected = cosines("a question")
    scored = store.similarity_search_with_score("a question", k=COUNT)
    assert names([document for document, _ in scored]) == [str(n) for n in np.argsort(-expected)]
    assert [score for _, score in scored] == pytest.approx(np.sort(expected)[::-1].tolist(), abs=1e-6)
    assert names(store.similarity_search("a question", k=9)) == [str(n) for n in np.argsort(-expected)[:9]]


@pytest.mark.parametrize(
    ("metric", "scores", "relevance"),
    [
        (
            "l2",
            [0.0, -math.sqrt(0.2), -math.sqrt(2), -2.0],
            [1.0, 1 / (1 + math.sqrt(0.2)), 1 / (1 + math.sqrt(2)), 1 / 3],
        ),
        ("dot", [1.0, 0.9, 0.0, -1.0], None),
    ],
)
def test_other_metrics(metric: str, scores: list[float], relevance: list[float] | None) -> None:
    with Store(Table(), metric=metric) as store:
        store.add_texts(list(COSINES), ids=list(COSINES))
        assert [score for _, score in store.similarity_search_with_score("question")] == pytest.approx(scores, abs=1e-6)
        if relevance is None:
            for ask in (
                lambda: store.similarity_search_with_relevance_scores("question"),
                lambda: store.similarity_search("question", score_threshold=0.5),
                store._select_relevance_score_fn,
            ):
                with pytest.raises(ConfigError, match=r"dot (products|scores)"):
                    ask()
            return
        found = [score for _, score in store.similarity_search_with_relevance_scores("question")]
        assert found == pytest.approx(relevance, abs=1e-6)
        assert [store._select_relevance_score_fn()(score) for score in scores] == pytest.approx(relevance, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "relevance"), [("dot", lambda scores: (scores + 1) / 2), ("cosine", 0.5), ("l2", np.exp)]
)
def test_the_relevance_of_the_store_is_used_everywhere(metric: str, relevance: Any) -> None:
    with Store(Table(), metric=metric, relevance=relevance) as store:
        store.add_texts(list(COSINES), ids=list(COSINES))
        to_relevance = store._select_relevance_score_fn()
        scores = [score for _, score in store.similarity_search_with_score("question")]
        found = [score for _, score in store.similarity_search_with_relevance_scores("question")]
        assert [to_relevance(score) for score in scores] == pytest.approx(found, abs=1e-6)
        assert found != pytest.approx(scores, abs=1e-3)


SEARCHES: dict[str, Callable[..., list[Any]]] = {
    "similarity_search": lambda store, **options: store.similarity_search("question", **options),
    "with_score": lambda store, **options: store.similarity_search_with_score("question", **options),
    "relevance": lambda store, **options: store.similarity_search_with_relevance_scores("question", **options),
    "by_vector": lambda store, **options: store.similarity_search_by_vector(REFERENCE["question"], **options),
    "score_by_vector": lambda store, **options: store.similarity_search_with_score_by_vector(
        REFERENCE["question"], **options
    ),
    "mmr": lambda store, **options: store.max_marginal_relevance_search("question", **options),
    "mmr_by_vector": lambda store, **options: store.max_marginal_relevance_search_by_vector(
        REFERENCE["question"], **options
    ),
    "retriever": lambda store, **options: store.as_retriever(search_kwargs=options).invoke("question"),
    "mmr_retriever": lambda store, **options: store.as_retriever(search_type="mmr", search_kwargs=options).invoke(
        "question"
    ),
    "search": lambda store, **options: store.search("question", "similarity", **options),
}

every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


def found_by(answer: list[Any]) -> set[str]:
    return {str((one[0] if isinstance(one, tuple) else one).id) for one in answer}


@every_search
def test_a_threshold_is_honoured_everywhere(reference: Store, search: Callable[..., list[Any]]) -> None:
    assert found_by(search(reference, k=4, score_threshold=0.95)) == {"same"}
    assert found_by(search(reference, k=4, score_threshold=0.5)) == {"same", "near"}
    assert found_by(search(reference, k=4, score_threshold=0.0)) == set(COSINES), "relevance is never below 0"
    for wrong in (-0.1, 1.1, "0.5", True, math.nan):
        with pytest.raises(ValueError, match="score_threshold"):
            search(reference, score_threshold=wrong)


@every_search
def test_a_filter_is_honoured_everywhere(reference: Store, search: Callable[..., list[Any]]) -> None:
    reference.add_texts(["same", "near"], [{"lang": "en"}, {"lang": "de"}], ids=["same-en", "near-de"])
    assert found_by(search(reference, k=4, filter={"lang": "de"})) == {"near-de"}
    assert found_by(search(reference, k=4, filter=lambda document: document.metadata.get("lang") == "de")) == {
        "near-de"
    }
    assert found_by(search(reference, k=4, scope={"lang": "de"})) == {"near-de"}
    assert found_by(search(reference, k=4, scope={"$or": [{"lang": "de"}]}, filter={"lang": "en"})) == set()


@every_search
def test_k_at_its_edges(reference: Store, search: Callable[..., list[Any]]) -> None:
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="k is"):
            search(reference, k=wrong)
    assert len(search(reference, k=1)) == 1
    assert len(search(reference)) == 4
    assert len(search(reference, k=100)) == 4


@every_search
@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("filters", "did you mean 'filter'"),
        ("where", "here that is filter"),
        ("top_k", "here that is k"),
        ("zz", "takes"),
    ],
)
def test_no_keyword_is_swallowed(reference: Store, search: Callable[..., list[Any]], keyword: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"has no argument '{keyword}'.*{hint}"):
        search(reference, **{keyword: {"a": 1}})


@every_search
def test_of_an_empty_store_nothing_is_found(search: Callable[..., list[Any]]) -> None:
    with Store(Table()) as empty:
        assert search(empty, k=3) == []


def test_a_threshold_of_the_retriever(reference: Store) -> None:
    retriever = reference.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 4}
    )
    assert names(retriever.invoke("question")) == ["same", "near"]


# MMR.


@pytest.mark.parametrize("lambda_mult", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("k", "fetch_k"), [(1, 20), (5, 5), (5, 20), (20, 60), (10, 500)])
@pytest.mark.parametrize("chosen", [None, {"group": "b"}, lambda document: document.metadata["group"] == "b"])
def test_mmr_agrees_with_langchain(store: Store, lambda_mult: float, k: int, fetch_k: int, chosen: Any) -> None:
    table = Table({}, SIZE)
    for question in ("first question", "second question"):
        candidates = store.similarity_search(question, k=fetch_k, filter=chosen)
        vectors = [table.vector(document.page_content) for document in candidates]
        query = np.array(table.vector(question), np.float32)
        order = maximal_marginal_relevance(query, vectors, lambda_mult=lambda_mult, k=k)
        expected = [str(candidates[place].id) for place in order]
        options = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": chosen}
        assert names(store.max_marginal_relevance_search(question, **options)) == expected
        by_vector = store.max_marginal_relevance_search_by_vector(table.vector(question), **options)
        assert names(by_vector) == expected
        assert names(store.similarity_search(question, **options)) == expected


def test_mmr_gives_k_even_where_fetch_k_is_less(store: Store) -> None:
    assert len(store.max_marginal_relevance_search("question", k=30, fetch_k=4)) == 30


def test_mmr_options_are_checked(store: Store) -> None:
    for wrong in (
        {"lambda_mult": 1.5},
        {"lambda_mult": -0.1},
        {"lambda_mult": "0.5"},
        {"fetch_k": 0},
        {"diversity": 0.5},
    ):
        with pytest.raises(InputError):
            store.max_marginal_relevance_search("question", **wrong)


def test_mmr_takes_its_arguments_by_place(store: Store) -> None:
    asked = store.max_marginal_relevance_search("question", 3, 40, 0.3, {"group": "a"})
    assert asked == store.max_marginal_relevance_search(
        "question", k=3, fetch_k=40, lambda_mult=0.3, filter={"group": "a"}
    )
    assert store.similarity_search("question", 3, {"group": "a"}) == store.similarity_search(
        "question", k=3, filter={"group": "a"}
    )


# Filters.


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, lambda m: True),
        ({"group": "a"}, lambda m: m["group"] == "a"),
        ({"group": ["a", "b"]}, lambda m: m["group"] in "ab"),
        ({"group": "a", "n": {"$gte": 30, "$lt": 90}}, lambda m: m["group"] == "a" and 30 <= m["n"] < 90),
        ({"$and": [{"group": "a"}], "n": {"$lt": 9}}, lambda m: m["group"] == "a" and m["n"] < 9),
        ({"group": {"$ne": "a"}}, lambda m: m["group"] != "a"),
        ({"missing": {"$ne": 1}}, lambda m: True),
        ({"missing": 1}, lambda m: False),
        ({"group": {"$in": []}}, lambda m: False),
        (F("n") > 110, lambda m: m["n"] > 110),
        (lambda document: document.metadata["n"] == 77, lambda m: m["n"] == 77),
        (lambda document: document.page_content.endswith("1"), lambda m: m["n"] % 10 == 1),
    ],
)
@pytest.mark.parametrize("k", [1, 4, 25, 500])
def test_the_best_of_those_that_pass_are_found(store: Store, chosen: Any, expected: Any, k: int) -> None:
    order = np.argsort(-cosines("a question")).tolist()
    passing = [str(n) for n in order if expected({"n": n, "group": "abc"[n % 3]})]
    assert names(store.similarity_search("a question", k=k, filter=chosen)) == passing[:k]
    assert names(store.similarity_search("a question", k=k, filter=chosen, fetch_k=2)) == passing[:k]


@pytest.mark.parametrize(
    "wrong",
    [{"n": {"gte": 1}}, {"n": {"$foo": 1}}, {"$and": []}, {"n": {"$in": "abc"}}, "n == 1", {"n": {"$gt": None}}],
)
def test_filters_that_say_nothing_are_errors(store: Store, wrong: Any) -> None:
    with pytest.raises(FilterError):
        store.similarity_search("question", filter=wrong)


def test_a_function_on_metadata_gets_an_explanation(store: Store) -> None:
    with pytest.raises((TypeError, FilterError), match=r"document.metadata\["):
        store.similarity_search("question", filter=lambda metadata: metadata["n"] == 1)


def test_a_scope_confines_and_is_never_empty(store: Store) -> None:
    found = store.similarity_search("question", k=COUNT, scope={"tenant": "acme"}, filter={"$or": [{"n": {"$gte": 0}}]})
    assert {document.metadata["tenant"] for document in found} == {"acme"}
    with pytest.raises(InputError, match="scope"):
        store.similarity_search("question", scope={})


def test_a_scope_of_a_partition() -> None:
    with Store(Table({}, SIZE), partition="tenant") as store:
        store.add_texts(["a", "a"], [{"tenant": "acme"}, {"tenant": "initech"}], ids=["1", "1"])
        for name in ("acme", "initech"):
            (document,) = store.similarity_search("a", scope={"tenant": name})
            assert document.metadata == {"tenant": name}
            assert len(store.max_marginal_relevance_search("a", scope={"tenant": name})) == 1
        assert len(store.max_marginal_relevance_search("a", filter=lambda d: d.metadata["tenant"] == "acme")) == 1


# Options of the core's search.


def test_words_alone_and_with_similarity(store: Store) -> None:
    assert names(store.similarity_search("77", k=3, mode="lexical")) == ["77"]
    assert "77" in names(store.similarity_search("77", k=3, mode="hybrid"))
    vector = Table({}, SIZE).vector("77")
    by_both = store.similarity_search_by_vector(vector, k=3, query="77", mode="hybrid")
    assert names(by_both) == names(store.similarity_search("77", k=3, mode="hybrid"))
    for mode in ("lexical", "hybrid"):
        with pytest.raises(ConfigError, match="relevance"):
            store.similarity_search_with_relevance_scores("77", mode=mode)
        with pytest.raises(ConfigError, match="min_relevance"):
            store.similarity_search("77", mode=mode, score_threshold=0.5)
    with pytest.raises(InputError, match="mode"):
        store.similarity_search("77", mode="sparse")


class LastDigit:
    """Reranks by the last digit of the text; 5 and above are relevant."""

    def score(self, query: str, texts: Any) -> Any:
        return np.array([float(text[-1]) for text in texts])

    def calibrate(self, scores: Any) -> Any:
        return np.asarray(scores) / 10


def test_a_reranker_orders_and_its_calibrated_score_is_the_relevance(store: Store) -> None:
    scored = store.similarity_search_with_score("question", k=3, rerank=LastDigit(), filter={"n": {"$lt": 10}})
    assert named(scored) == {"9": 9.0, "8": 8.0, "7": 7.0}
    relevant = store.similarity_search_with_relevance_scores(
        "question", k=9, rerank=LastDigit(), filter={"n": {"$lt": 10}}, score_threshold=0.75
    )
    assert named(relevant) == pytest.approx({"9": 0.9, "8": 0.8})
    hybrid = store.similarity_search_with_relevance_scores("text", k=1, mode="hybrid", rerank=LastDigit())
    assert [score for _, score in hybrid] == pytest.approx([0.9])


def test_near_duplicates_and_least_relevance(reference: Store) -> None:
    reference.add_texts(["same"], ids=["again"])
    assert names(reference.similarity_search("question", k=2, dedupe=0.99)) == ["again", "near"]
    assert names(reference.similarity_search("question", k=5, min_relevance=0.95)) == ["again", "same"]
    with pytest.raises(InputError, match="one of them"):
        reference.similarity_search("question", min_relevance=0.5, score_threshold=0.5)


def test_versions_reach_the_search(reference: Store) -> None:
    from theodolite import Latest

    reference.add_texts(["same", "near"], [{"p": 1, "v": 1}, {"p": 1, "v": 2}], ids=["v1", "v2"])
    rule = Latest(per="p", by="v")
    assert names(reference.similarity_search("question", k=9, filter={"p": 1}, versions=rule)) == ["v2"]
    everything = reference.similarity_search("question", k=9, filter={"p": 1}, versions=rule, superseded="show")
    assert names(everything) == ["v1", "v2"]


def test_vectors_of_another_length_are_refused(reference: Store) -> None:
    for wrong in ([1.0, 2.0], [], [[1.0, 2.0]], [math.nan] * 3, [0.0] * 3):
        with pytest.raises(VectorError):
            reference.similarity_search_by_vector(wrong)  # type: ignore[arg-type]  # one of them is nested


def test_the_hits_are_the_cores_own(store: Store) -> None:
    kb: Retriever = store.kb
    hits = kb.search("a question", k=7)
    assert names(store.similarity_search("a question", k=7)) == [hit.document.id for hit in hits]
