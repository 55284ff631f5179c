"""A search with all its options against the same on plain documents: ids, scores and their parts, bit for bit."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.oracle.test_versions import FIELDS, INSTANTS, TENANTS, canonical, versions
from tests.sampling import sampled
from tests.unit.engines.local.derived.version_rules import moment

from theodolite import Authority, Document, Freshness, Hits, Retriever
from theodolite.errors import InputError
from theodolite.filters import In, parse
from theodolite.protocols import Boost, Request, Scope
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Versions
from theodolite.testing.reference_search import ReferenceSearch, Stored
from theodolite.types import Space
from theodolite.vectors.metrics import MetricName, get_metric
from theodolite.vectors.prepare import prepare

DIMENSION = 4
SEEDS = 23  # few, so that equal vectors tie
WORDS = ["refund", "parcel", "invoice", "E-1234", "getUserName", "the"]


class Shortness:
    """A boost of somebody else's that cannot be hashed."""

    name, field = "shortness", "lang"
    __hash__ = None  # type: ignore[assignment]  # on purpose: an engine may not keep its factors

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        return np.array([1 / (1 + len(value)) if isinstance(value, str) else 0.9 for value in values], np.float64)


@dataclass(frozen=True)
class Kind:
    """Another boost, for any values of a field."""

    name: str = "kind"
    field: str = "order"

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        known = {type(None): 1.0, int: 0.5, float: 0.5, str: 0.7, list: 0.3}
        return np.array([known.get(type(value), 0.8) for value in values], np.float64)


BOOSTS: list[Any] = [
    Freshness("start", "30d", weight=0.5),
    Freshness("order", "1y", weight=1.0, floor=0.1, missing="oldest", name="late"),
    Freshness("end", "12h", grace="90d", missing="error", name="strict"),
    Freshness("start", "30d", future="error", name="past"),
    Authority("key", {"a": 1.0, "b": 0.5, 1: 0.25, None: 0.75}, weight=0.9),
    Authority("by", {"a": 0.2, "d": 1.0, True: 0.4}, default=0.1, name="links"),
    Shortness(),
    Kind(),
]
boosts = st.lists(st.sampled_from(BOOSTS), max_size=3, unique_by=id)
wheres = st.sampled_from([None, None, {"lang": "en"}, {"n": 1}, {"start": {"$gte": "2025-02-01"}}, {"lang": "never"}])
seeds = st.integers(0, SEEDS - 1)
texts = st.lists(st.sampled_from([*WORDS, "e1234", "get user name", "refunds"]), min_size=1, max_size=3).map(" ".join)
metadata = st.fixed_dictionaries({"tenant": st.sampled_from(TENANTS)}, optional=FIELDS)


def vector_of(seed: int) -> NDArray[np.float32]:
    if seed >= SEEDS - 6:  # near one another
        return (vector_of(seed - 6) + 0.05 * np.random.default_rng(seed).standard_normal(DIMENSION)).astype(np.float32)
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def logistic(products: NDArray[np.float64]) -> NDArray[np.float64]:
    squashed: NDArray[np.float64] = 1 / (1 + np.exp(-products))
    return squashed


RELEVANCES: dict[MetricName, list[Any]] = {"cosine": [None, 0.3], "l2": [None], "dot": [logistic]}


@dataclass
class Both:
    """A collection beside a dictionary of what it holds, by tenant and id."""

    kb: Retriever
    metric: MetricName
    partition: str | None
    relevance: Any
    stored: dict[tuple[str, str], Stored] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        return Space(self.metric, DIMENSION, "any")

    @property
    def relevance_fn(self) -> Relevance:
        floor = isinstance(self.relevance, float)
        return Relevance(self.metric, self.relevance if floor else 0.0, None if floor else self.relevance)

    def add(self, given: dict[str, tuple[dict[str, Any], int, str]]) -> None:
        if not given:
            return
        documents = [Document(text, metadata, name) for name, (metadata, _, text) in given.items()]
        raw = np.stack([vector_of(seed) for _, seed, _ in given.values()])
        self.kb.add(documents, vectors=raw, batch_size=None)
        for document, vector in zip(documents, prepare(raw, self.space)[0], strict=True):
            self.stored[self.key(document)] = document, vector

    def delete(self, tenant: Any, name: str) -> None:
        (self.kb.scoped(tenant=tenant) if self.partition else self.kb).delete(name)
        self.stored.pop((repr(tenant) if self.partition else "", name), None)

    def key(self, document: Document) -> tuple[str, str]:
        return repr(document.metadata["tenant"]) if self.partition else "", document.id

    def within(self, scope: Scope, key: tuple[str, str]) -> bool:
        """Whether a key is in the scope's partition."""
        return scope.partition is None or key[0] == repr(scope.partition)

    def view(self, scope: Scope | None) -> Retriever:
        if scope is None:
            return self.kb
        view = self.kb if scope.partition is None else self.kb.scoped(tenant=scope.partition)
        return view if scope.where is None else view.scoped(scope.where)

    def query(self, seed: int) -> NDArray[np.float32]:
        return prepare([vector_of(seed)], self.space)[0]


@contextmanager
def opened(data: st.DataObject) -> Iterator[Both]:
    metric: MetricName = data.draw(st.sampled_from(["cosine", "l2", "dot"]))
    relevance = data.draw(st.sampled_from(RELEVANCES[metric]))
    partition = "tenant" if data.draw(st.booleans()) else None
    with Retriever.open(None, metric=metric, partition=partition, relevance=relevance) as kb:
        both = Both(kb, metric, partition, relevance)
        both.add(data.draw(batches(6, 24)))
        yield both


@st.composite
def batches(draw: st.DrawFn, least: int, most: int) -> dict[str, tuple[dict[str, Any], int, str]]:
    names = st.sampled_from([f"d{number:02}" for number in range(30)])
    text = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
    return draw(st.dictionaries(names, st.tuples(metadata, seeds, text), min_size=least, max_size=most))


@st.composite
def scopes(draw: st.DrawFn, partitioned: bool) -> Scope | None:
    # In a partitioned collection always one of its partitions, so that ids are distinct.
    where = draw(st.sampled_from([None, None, In("n", (1,)), In("lang", ("en",))]))
    tenant = draw(st.sampled_from(TENANTS)) if partitioned else None
    return None if where is None and tenant is None else Scope(tenant, where)


def options_of(request: Request) -> dict[str, Any]:
    rules = request.versions
    return {
        "k": request.k,
        "where": request.where,
        "boosts": request.boosts,
        "min_relevance": request.min_relevance,
        "versions": [] if rules is None else rules.rules,
        **({} if rules is None else {"as_of": rules.as_of / 1e6, "superseded": rules.superseded}),
        **({"as_of": request.now} if rules is None and request.boosts else {}),
    }


def check(both: Both, request: Request, seed: int) -> Hits | None:
    """One search in dense mode gives what plain documents give."""
    inside = [pair for key, pair in both.stored.items() if request.scope is None or both.within(request.scope, key)]
    view = both.view(request.scope)
    try:
        (answer,) = ReferenceSearch(inside, both.metric, both.partition).answers(request)
    except InputError as refusal:
        with pytest.raises(InputError, match=str(refusal).split(":")[0]):
            view.search(vector=vector_of(seed), **options_of(request))
        return None
    hits = view.search(vector=vector_of(seed), **options_of(request))
    scores = answer.similarities if answer.scores is None else answer.scores
    assert [(hit.document.id, hit.score, hit.scores["similarity"]) for hit in hits] == [
        (document.id, score, similarity)
        for document, score, similarity in zip(answer.documents, scores, answer.similarities, strict=True)
    ]
    assert [hit.document for hit in hits] == answer.documents
    for hit in hits:
        relevance = both.relevance_fn(np.array([hit.scores["similarity"]]))[0]
        assert hit.scores["relevance"] == max(0.0, relevance)
        for boost in request.boosts:
            value = hit.document.metadata.get(boost.field)
            assert hit.scores[boost.name] == boost.factors([value], request.now)[0]
    if request.versions is not None:
        assert [canonical(hit.version) for hit in hits] == [canonical(one) for one in answer.versions]
    trace = hits.trace
    expected = answer.trace
    assert (trace.rows, trace.eligible, trace.superseded) == (expected.rows, expected.eligible, expected.superseded)
    return hits


@st.composite
def requests(draw: st.DrawFn, both: Both, seed: int) -> Request:
    chosen: list[Boost] = draw(boosts)
    least = draw(st.sampled_from([None, None, None, 0.0, 0.4, 0.9, -0.5]))
    if least is not None and both.stored and draw(st.booleans()):  # exactly what one of them has
        _, vector = draw(st.sampled_from(list(both.stored.values())))
        (least,) = both.relevance_fn(get_metric(both.metric).scores(both.query(seed)[0], vector[None])).tolist()
    rules: Versions | None = draw(st.none() | versions())
    present = moment(draw(st.sampled_from(INSTANTS))) if rules is None else rules.as_of
    return Request(
        both.query(seed),  # type: ignore[arg-type]  # a NewType in the engine's signature
        draw(st.sampled_from([1, 2, 5, 100])),
        parse(draw(wheres)),
        draw(scopes(both.partition is not None)),
        boosts=tuple(chosen),
        now=math.ceil(present / 60e6) * 60.0,
        versions=rules,
        relevance=both.relevance_fn if chosen or least is not None else None,
        min_relevance=least,
    )


def compare(data: st.DataObject) -> None:
    with opened(data) as both:
        for _ in range(data.draw(st.integers(1, 4))):
            for _ in range(3):
                seed = data.draw(seeds)
                check(both, data.draw(requests(both, seed)), seed)
            if data.draw(st.booleans()):
                both.delete(data.draw(st.sampled_from(TENANTS)), f"d{data.draw(st.integers(0, 29)):02}")
            both.add(data.draw(batches(0, 4)))


@given(st.data())
@settings(max_examples=sampled(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_search_is_what_plain_documents_give(data: st.DataObject) -> None:
    compare(data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_search_is_what_plain_documents_give_many_times(data: st.DataObject) -> None:
    compare(data)
