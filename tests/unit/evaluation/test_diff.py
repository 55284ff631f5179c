"""Diff: planted differences between two collections are named, and nothing else is."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import (
    CollectionNotFoundError,
    CollectionSettings,
    ConfigError,
    Diff,
    Document,
    Freshness,
    InputError,
    Latest,
    Retriever,
    Truncate,
    VectorError,
    diff,
)
from theodolite.engines.local import LocalEngine
from theodolite.evaluation.diff_result import CAUSES
from theodolite.protocols import Answer, Engine, Request
from theodolite.testing import DictEngine, HashingEmbedder
from theodolite.types import Norms
from theodolite.vectors.metrics import MetricName

COUNT, WIDTH = 240, 16
DRAW = np.random.default_rng(7)
TOPICS = DRAW.standard_normal((12, WIDTH))
TOPIC = DRAW.integers(12, size=COUNT)
RAW = (TOPICS[TOPIC] + 0.7 * DRAW.standard_normal((COUNT, WIDTH))) * DRAW.uniform(0.4, 3.0, (COUNT, 1))
ASKED = TOPICS + 0.4 * DRAW.standard_normal((12, WIDTH))
TURN = np.linalg.qr(DRAW.standard_normal((WIDTH, WIDTH)))[0]
DOCUMENTS = [
    Document(f"passage {n}", {"lang": ("en", "de")[n % 3 == 0], "day": n % 28}, id=f"d{n}") for n in range(COUNT)
]
QUESTIONS = {f"q{n}": vector for n, vector in enumerate(ASKED)}
Vectors = NDArray[np.float64]


class Misses(LocalEngine):
    """Misses every third of the nearest documents, as an index of low recall does."""

    def search(self, request: Request) -> list[Answer]:
        if request.exact:
            return super().search(request)
        answers = super().search(replace(request, k=request.k * 2))
        return [self._thinned(answer, request.k) for answer in answers]

    def _thinned(self, answer: Answer, k: int) -> Answer:
        kept = [n for n in range(len(answer.documents)) if n % 3 != 1][:k]
        return replace(
            answer,
            documents=[answer.documents[n] for n in kept],
            similarities=[answer.similarities[n] for n in kept],
            scores=None if answer.scores is None else [answer.scores[n] for n in kept],
            versions=[answer.versions[n] for n in kept] if answer.versions else (),
            trace=replace(answer.trace, path="index", complete=False),
        )


def unit(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


@dataclass
class Plan:
    """How a collection is made. A planted cause changes it."""

    metric: MetricName = "dot"
    norms: Norms = "any"
    vectors: Vectors = field(default_factory=lambda: unit(RAW))
    asked: Vectors = field(default_factory=lambda: ASKED)
    documents: Sequence[Document] = tuple(DOCUMENTS)
    engine: type[LocalEngine] = LocalEngine
    where: dict[str, Any] | None = None

    def open(self) -> Retriever:
        kb = Retriever(self.engine.open(None, CollectionSettings(self.metric, self.norms)), None)
        by_id = {document.id: vector for document, vector in zip(DOCUMENTS, self.vectors, strict=True)}
        kb.add(self.documents, vectors=np.array([by_id[document.id] for document in self.documents]))
        return kb


def _updated(plan: Plan) -> Plan:
    """The plan with other texts, and so other vectors, of every third document."""
    vectors = plan.vectors.copy()
    vectors[1::3] = np.roll(vectors[1::3], 1, axis=0)
    documents = [
        Document("rewritten", document.metadata, document.id) if int(document.id[1:]) % 3 == 1 else document
        for document in plan.documents
    ]
    return replace(plan, vectors=vectors, documents=documents)


PLANTED: dict[str, Callable[[Plan], Plan]] = {
    "absent": lambda plan: replace(plan, documents=[each for each in plan.documents if int(each.id[1:]) % 2]),
    "behind": _updated,
    "filter": lambda plan: replace(plan, where={"lang": "en"}),
    "metric": lambda plan: replace(plan, metric="l2"),
    "embedder": lambda plan: replace(plan, vectors=plan.vectors @ TURN, asked=plan.asked + TOPICS[::-1]),
    "norms": lambda plan: replace(plan, vectors=plan.vectors * np.linalg.norm(RAW, axis=1, keepdims=True)),
    "index": lambda plan: replace(plan, engine=Misses),
}


def compared(a: Plan, b: Plan, **options: Any) -> Diff:
    with a.open() as one, b.open() as other:
        questions = {name: f"question {name}" for name in QUESTIONS}
        found: Diff = diff(
            one,
            other,
            questions,
            vectors=a.asked,
            vectors_b=b.asked,
            options_b={"where": b.where},
            **options,
        )
        return found


# Unit vectors rank alike by dot and l2, so a metric alone changes nothing there: it is planted among raw vectors.
def base(names: Sequence[str]) -> Plan:
    return Plan(vectors=RAW) if "metric" in names and "norms" not in names else Plan()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cause_is_named_first(name: str) -> None:
    plan = base([name])
    found = compared(plan, PLANTED[name](plan))
    assert found.causes[0].name == name, str(found)
    assert found.share > 0.1
    assert {cause.name for cause in found.causes} == {name}, str(found)
    assert sum(cause.hits for cause in found.causes) == len(found.changes)


@pytest.mark.parametrize("pair", list(itertools.combinations(PLANTED, 2)), ids="+".join)
def test_two_planted_causes_are_the_first_two(pair: tuple[str, str]) -> None:
    plan = base(pair)
    changed = PLANTED[pair[1]](PLANTED[pair[0]](plan))
    found = compared(plan, changed)
    assert {cause.name for cause in found.causes[:2]} == set(pair), str(found)
    turned = compared(changed, plan) if "filter" not in pair else found
    assert {cause.name for cause in turned.causes[:2]} == set(pair), str(turned)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("options", [{}, {"where": {"lang": "de"}}, {"k": 3, "boosts": Freshness("day", "5d")}])
def test_identical_collections_have_no_differences(metric: MetricName, options: dict[str, Any]) -> None:
    plan = Plan(metric=metric, vectors=RAW)
    if "boosts" in options and metric == "dot":
        options = {"k": 3}  # dot products have no relevance
    with plan.open() as a, plan.open() as b:
        found = diff(a, b, QUESTIONS, **options)
    assert found.share == 0
    assert not found.causes
    assert not found.changes
    assert found.hits == 12 * options.get("k", 10)


TEXTS = [
    ("refunds", "Refunds take five working days after we receive the parcel.", {"lang": "en", "day": "2026-01-05"}),
    ("cards", "Gift cards cannot be returned or refunded.", {"lang": "en", "day": "2025-03-01"}),
    ("hours", "The shop is open from nine to six on working days.", {"lang": "en", "day": "2026-02-01"}),
    ("parcels", "Parcels take two working days to arrive.", {"lang": "en", "day": "2024-06-01"}),
    ("karten", "Gift cards: Geschenkkarten werden nicht erstattet.", {"lang": "de", "day": "2026-01-01"}),
    ("returns", "Return a parcel within thirty days of the order.", {"lang": "en", "day": "2023-01-01"}),
]
ASKS = {"q1": "how long do refunds take", "q2": "are gift cards returned", "q3": "when do parcels arrive"}
GRADES = {"q1": {"refunds": 2, "parcels": 1}, "q2": {"cards": 2, "karten": 1}, "q3": {"parcels": 3}}


def shop(location: Any = None, *, embedder: Any = None, **settings: Any) -> Retriever:
    kb = Retriever.open(location, embedder=embedder or HashingEmbedder(128), **settings)
    kb.add(Document(text, metadata, id=name) for name, text, metadata in TEXTS)
    return kb


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with shop() as kb:
        yield kb


def causes(found: Diff) -> list[str]:
    return [cause.name for cause in found.causes]


@pytest.mark.filterwarnings("ignore::theodolite.JudgmentWarning")  # judged documents are deleted on purpose
def test_effects_of_the_causes_add_up_to_the_difference_of_ndcg(kb: Retriever) -> None:
    pytest.importorskip("ir_measures")
    with shop() as other:
        other.delete(["refunds", "cards"])
        other.update("parcels", {"lang": "xx"})
        found = diff(kb, other, ASKS, GRADES, k=3, where={"lang": "en"})
        expected = [each.evaluate(ASKS, GRADES, k=3, where={"lang": "en"}, index=False).metrics for each in (kb, other)]
    assert set(causes(found)) == {"absent", "behind"}
    for name in ("nDCG@3", "recall@3"):
        assert found.metrics[name] == pytest.approx([each[name] for each in expected])
    a, b = found.metrics["nDCG@3"]
    assert b - a == pytest.approx(sum(cause.effect or 0 for cause in found.causes))
    assert b - a < -0.1
    assert found.judged == 3


def test_judgments_may_name_files() -> None:
    pytest.importorskip("ir_measures")
    pages = {"q1": {"b": 1}, "q2": {"a": 1, "b": 2}}
    questions = {"q1": [1.0, 0, 0.1, 0], "q2": [0.2, 0, 0, 1.0]}
    with Retriever.open(embedder=None) as kb, Retriever.open(embedder=None) as other:
        documents = [Document(name, {"path": name[0]}, name) for name in ("a1", "a2", "b1", "b2")]
        kb.add(documents, vectors=np.eye(4) + 0.1)
        other.add(documents[:-1], vectors=np.eye(4)[:-1] + 0.1)
        found = diff(kb, other, questions, pages, k=4, by="path")
        expected = [each.evaluate(questions, pages, k=4, by="path", index=False).metrics for each in (kb, other)]
        assert found.metrics["nDCG@4"] == pytest.approx([each["nDCG@4"] for each in expected])
        a, b = found.metrics["nDCG@4"]
        assert b - a == pytest.approx(sum(cause.effect or 0 for cause in found.causes))
        with pytest.raises(InputError, match=r"no document has this field\. Did you mean 'path'"):
            diff(kb, other, questions, pages, by="paths")
        with pytest.raises(InputError, match="by= names the field that judgments use"):
            diff(kb, other, questions, by="path")


def test_a_backup_is_behind_by_later_writes(tmp_path: Path) -> None:
    with shop(tmp_path / "kb") as kb:
        kb.backup(tmp_path / "copy")
        with Retriever.open(tmp_path / "copy", embedder=HashingEmbedder(128)) as copy:
            assert diff(kb, copy, ASKS, k=3).share == 0
            kb.add([Document("Refunds take how long? Refunds take long.", id="new")])
            kb.delete("cards")
            found = diff(kb, copy, ASKS, k=3)
    assert causes(found) == ["behind"]
    said = {(change.document, change.detail) for change in found.changes}
    assert ("new", "B has no document with this id, and B lacks later commits") in said
    assert ("cards", "A has no document with this id, and B lacks later commits") in said


def test_another_model_is_named_with_texts_alone(kb: Retriever) -> None:
    for embedder in (HashingEmbedder(96), HashingEmbedder(128, query_prefix="parcels gift ")):
        with shop(embedder=embedder) as other:
            found = diff(kb, other, ASKS, k=3)
            assert causes(found) == ["embedder"], str(found)


def test_transforms_are_named(kb: Retriever) -> None:
    with shop(transforms=[Truncate(16)]) as other:
        assert causes(diff(kb, other, ASKS, k=3)) == ["transforms"]


def test_other_settings_of_words_are_named() -> None:
    texts = [f"{'refund ' * (n + 1)}{'filler ' * 3 * n}" for n in range(5)]
    documents = [Document(text, id=f"d{n}") for n, text in enumerate(texts)]
    with Retriever.open(embedder=None) as kb, Retriever.open(embedder=None, b=0) as other:
        for each in (kb, other):
            each.add(documents, vectors=np.eye(len(texts)) + 0.1)
        found = diff(kb, other, {"q": "refund"}, mode="lexical")
        assert causes(found) == ["bm25"]
        assert found.causes[0].example.detail == "k1=1.2, b=0.75 in A, k1=1.2, b=0 in B"
        assert causes(diff(kb, other, {"q": "refund"}, vectors=[[1.0] * 5], mode="hybrid")) == ["bm25"]
        assert diff(kb, other, {"q": "refund"}, vectors=[[1.0] * 5]).share == 0


@pytest.mark.parametrize(
    ("cause", "shared", "options_b"),
    [
        ("mode", {}, {"mode": "lexical"}),
        ("filter", {}, {"where": {"lang": "de"}}),
        ("filter", {}, {"accept": lambda document: document.id != "refunds"}),
        ("boost", {"as_of": "2026-03-01"}, {"boosts": Freshness("day", "30d", weight=0.9)}),
        ("threshold", {}, {"min_relevance": 0.2}),
        ("rerank", {}, {"rerank": lambda query, texts: [len(text) for text in texts]}),
        ("diversity", {}, {"diversity": 0.9}),
        ("version", {}, {"versions": Latest("lang", "day")}),
    ],
)
def test_settings_are_named(kb: Retriever, cause: str, shared: dict[str, Any], options_b: dict[str, Any]) -> None:
    if shared:  # as_of alone would do nothing
        shared = {**shared, "boosts": Freshness("day", "30d", weight=0.01)}
    found = diff(kb, kb, ASKS, k=3, options_b=options_b, **shared)
    assert causes(found) == [cause], str(found)
    assert found.causes[0].example.detail


def test_an_older_version_is_found_because_the_newer_one_is_absent() -> None:
    documents = [Document(f"policy {n} of refunds", {"policy": n % 4, "v": n}, id=f"p{n}") for n in range(24)]
    with Retriever.open(embedder=HashingEmbedder(128)) as kb, Retriever.open(embedder=HashingEmbedder(128)) as other:
        kb.add(documents)
        other.add(documents[:-2])
        found = diff(kb, other, ASKS, versions=Latest("policy", "v"))
    assert causes(found) == ["absent"]
    assert any(change.detail.startswith("it is no longer current in A, because of") for change in found.changes)


def test_a_reranker_that_both_use_is_no_cause(kb: Retriever) -> None:
    with shop() as other:
        other.delete("hours")
        found = diff(kb, other, ASKS, k=3, rerank=lambda query, texts: [len(text) for text in texts])
    assert causes(found) == ["absent"]


def test_the_filter_of_a_scope_is_named(kb: Retriever) -> None:
    assert causes(diff(kb, kb.scoped({"lang": "de"}), ASKS, k=3)) == ["filter"]


def test_partitions_are_compared_in_scopes() -> None:
    with shop(partition="lang") as kb, shop(partition="lang") as other:
        other.scoped(lang="en").delete("refunds")
        with pytest.raises(InputError, match=r"A is partitioned by 'lang'.*pass kb.scoped\(lang=...\)"):
            diff(kb, other, ASKS)
        assert causes(diff(kb.scoped(lang="en"), other.scoped(lang="en"), ASKS, k=3)) == ["absent"]


def test_metadata_matters_where_it_is_read(kb: Retriever) -> None:
    with shop() as other:
        other.update("refunds", {"day": "2020-01-01"})
        assert diff(kb, other, ASKS).share == 0
        boosts = Freshness("day", "30d", weight=0.9)
        assert causes(diff(kb, other, ASKS, boosts=boosts, as_of="2026-03-01")) == ["behind"]


def test_word_statistics_of_missing_documents_are_named(kb: Retriever) -> None:
    with shop() as other:
        other.delete("hours")
        found = diff(kb, other, ASKS, k=2, mode="hybrid")
        assert set(causes(found)) <= {"absent"}


def test_equal_scores_are_ties_and_noise_is_rounding() -> None:
    class Backwards(DictEngine):
        def search(self, request: Request) -> list[Answer]:
            return [_swapped(answer) for answer in super().search(request)]

    vectors = np.eye(3)[[0, 0, 1]]
    documents = [Document(name, id=name) for name in "abc"]
    with Retriever.open(embedder=None) as kb, Retriever.open("dict://", embedder=None) as other:
        for each in (kb, other):
            each.add(documents, vectors=vectors)
        assert isinstance(other._engine, DictEngine)
        backwards = Retriever(Backwards(other._engine._contents), None)
        assert causes(diff(kb, backwards, {"q": [1, 0, 0]})) == ["tie"]
        other.add([Document("a", id="a")], vectors=vectors[:1] + 1e-3)
        assert causes(diff(kb, other, {"q": [1, 0, 0]})) == ["rounding"]


def _swapped(answer: Answer) -> Answer:
    one, two, *others = answer.documents
    return replace(answer, documents=[two, one, *others])


@pytest.mark.parametrize("name", ["absent", "behind", "metric", "norms"])
def test_another_engine_takes_part(name: str) -> None:
    plan = base([name])
    changed = PLANTED[name](plan)
    with plan.open() as kb, Retriever.open("dict://", embedder=None, metric=plan.metric, norms="any") as other:
        vectors = {document.id: vector for document, vector in zip(DOCUMENTS, plan.vectors, strict=True)}
        other.add(plan.documents, vectors=np.array([vectors[document.id] for document in plan.documents]))
        assert isinstance(other._engine, Engine)
        assert diff(kb, other, QUESTIONS).share == 0
        with changed.open() as third:
            assert causes(diff(other, third, QUESTIONS)) == [name]


def test_the_result_is_a_page_and_json(kb: Retriever) -> None:
    with shop() as other:
        other.delete("refunds")
        found = diff(kb, other, ASKS, GRADES, k=2)
    page = str(found)
    assert len(page.splitlines()) < 60
    for part in ("absent", "document 'refunds': rank", CAUSES["absent"].advice):
        assert part in page
    values = json.loads(json.dumps(found.to_dict()))
    assert values["share"] == found.share == len(values["changes"]) / found.hits
    assert values["causes"][0]["cause"] == "absent"
    assert "Diff" in repr(found)
    assert "absent" in found._repr_html_()


def test_bad_input_is_explained(kb: Retriever, tmp_path: Path) -> None:
    with ExitStack() as stack:
        empty, bare, narrow = (
            stack.enter_context(Retriever.open(embedder=each)) for each in (HashingEmbedder(128), None, None)
        )
        missing = stack.enter_context(Retriever.open(tmp_path / "none"))
        bare.add(["a"], vectors=np.ones((1, 128)))
        narrow.add(["a"], vectors=np.ones((1, 7)))
        one = {"q": np.ones(128)}
        with pytest.raises(InputError, match=r"A takes vectors of 128 numbers, and B of 7.*vectors_b="):
            diff(kb, narrow, one)
        assert diff(kb, narrow, one, vectors_b=[np.ones(7)]).questions == 1
        with pytest.raises(VectorError):
            diff(kb, bare, {"q": np.ones(5)})
        with pytest.raises(InputError, match="there are no questions"):
            diff(kb, kb, {})
        with pytest.raises(TypeError, match="diff has no search option 'wehre'; did you mean 'where'"):
            diff(kb, kb, ASKS, wehre={})
        with pytest.raises(TypeError, match="options_b has no search option 'k'"):
            diff(kb, kb, ASKS, options_b={"k": 3})
        with pytest.raises(CollectionNotFoundError, match="there is no collection"):
            diff(kb, missing, ASKS)
        with pytest.raises(InputError, match="neither collection has documents"):
            diff(empty, empty, ASKS)
        with pytest.raises(ConfigError, match="without an embedder"):
            diff(kb, bare, ASKS)
        with pytest.raises(InputError, match=r"b is a str; pass two open collections"):
            diff(kb, "kb", ASKS)  # type: ignore[call-overload]  # wrong on purpose
        with pytest.raises(InputError, match="there are 3 questions and 1 vectors"):
            diff(kb, kb, ASKS, vectors=np.ones((3, 128)), vectors_b=np.ones((1, 128)))
        for pair in ((kb, empty), (empty, kb)):
            assert causes(diff(*pair, ASKS)) == ["absent"]
            assert diff(*pair, ASKS).share == 1
