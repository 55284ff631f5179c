"""The options of a search: checked when they are made, or by the collection that is searched."""

import math
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from inspect import signature
from typing import Any

import numpy as np
import pytest

from theodolite import MMR, CollectionSettings, F, Retriever, SearchOptions
from theodolite.engines.local import LocalEngine
from theodolite.errors import ConfigError, FilterError, InputError, TheodoliteError
from theodolite.protocols import Answer, Boost, Fusion, Request
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.relevance import as_relevance
from theodolite.ranking.versions import Latest, Superseded, Valid, as_rules, from_json, to_json
from theodolite.types import Instant
from theodolite.vectors.metrics import MetricName

FRESH = Freshness("published", "180d")
RULE = Latest("a", "b")


def overlap(query: str, texts: list[str]) -> list[float]:
    return [float(len(set(query.split()) & set(text.split()))) for text in texts]


def request_of(options: SearchOptions, metric: MetricName = "cosine", relevance: Any = None) -> Request:
    """The request that a collection's engine is given for a search with these options."""
    asked: list[Request] = []

    class Noting(LocalEngine):
        def search(self, request: Request) -> list[Answer]:
            asked.append(request)
            return super().search(request)

    with Retriever(Noting.open(None, CollectionSettings(metric)), relevance=relevance) as kb:
        kb.add(["text"], vectors=np.ones((1, 2)))
        kb.search_with(options, "text" if options.reads_text else None, vector=np.ones(2))
    return asked[0]


@pytest.mark.parametrize(
    ("method", "own"),
    [
        (Retriever.search, {"query", "vector", "like"}),
        (Retriever.asearch, {"query", "vector", "like"}),
        (Retriever.search_many, {"queries", "vectors"}),
        (Retriever.asearch_many, {"queries", "vectors"}),
    ],
)
def test_each_search_has_the_same_options_and_defaults(method: Any, own: set[str]) -> None:
    def of(function: Any) -> dict[str, Any]:
        parameters = signature(function).parameters
        return {name: (one.default, one.annotation) for name, one in parameters.items() if name not in {"self", *own}}

    assert of(method) == of(SearchOptions.__init__)
    assert set(signature(method).parameters) - of(method).keys() == {"self", *own}


def test_nothing_asked_for_is_plain() -> None:
    assert SearchOptions().plain
    assert SearchOptions(versions=[RULE], min_relevance=0.5).plain  # the engine applies them
    assert not SearchOptions(boosts=[FRESH]).plain
    assert not SearchOptions(dedupe=0.9).plain
    assert not SearchOptions(mode="hybrid").plain


def test_options_are_values() -> None:
    options = SearchOptions(
        k=5,
        where={"lang": "en"},
        boosts=iter([FRESH]),
        versions=RULE,
        as_of=date(2025, 3, 1),
        diversity=0.3,
        mode=Fusion(lexical=2.0),
    )
    assert options == SearchOptions(
        k=5,
        where=F("lang") == "en",
        boosts=FRESH,
        versions=[RULE],
        as_of="2025-03-01T00:00Z",
        diversity=MMR(0.3),
        mode=Fusion(lexical=2.0),
    )
    assert (options.boosts, options.versions, options.arms) == ((FRESH,), (RULE,), "hybrid")
    assert options.as_of == datetime(2025, 3, 1, tzinfo=UTC)
    assert replace(options, k=7) == replace(replace(options, k=3), k=7) != options
    assert replace(options, k=7).fusion == Fusion(lexical=2.0)
    assert SearchOptions(diversity=0) == SearchOptions(diversity=0.0) == SearchOptions()
    with pytest.raises(AttributeError):
        options.k = 3  # type: ignore[misc]  # that is what is tested
    with pytest.raises(TypeError, match="divresity"):
        SearchOptions(divresity=0.3)  # type: ignore[call-arg]  # that is what is tested


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"k": 0}, InputError, "k is 0"),
        ({"where": {"a": {"$gtt": 1}}}, FilterError, "gtt"),
        ({"mode": "sparse"}, InputError, "'dense', 'lexical', 'hybrid'"),
        ({"mode": 0.5}, InputError, "Fusion"),
        ({"boosts": "fresh"}, ConfigError, "list"),
        ({"boosts": [Freshness("published", "180d", name="rerank_relevance")]}, ConfigError, "taken"),
        ({"boosts": ["fresh"]}, ConfigError, "not a Boost"),
        ({"boosts": [FRESH, Freshness("updated", "1y")]}, ConfigError, "another name"),
        ({"versions": ["newest"]}, ConfigError, "'newest' is not a rule"),
        ({"mode": "lexical", "min_relevance": 0.5}, ConfigError, "dense"),
        ({"mode": "hybrid", "min_relevance": 0.5}, ConfigError, "dense"),
        ({"mode": Fusion(), "min_relevance": 0.5}, ConfigError, "in hybrid mode"),
        ({"min_relevance": "high"}, InputError, "number"),
        ({"min_relevance": 7}, InputError, "number"),
        ({"min_relevance": True}, InputError, "number"),
        ({"mode": Fusion(dense=0, lexical=0)}, ConfigError, "weights"),
        ({"mode": Fusion(dense=-1)}, ConfigError, "weights"),
        ({"mode": Fusion(dense=math.nan)}, ConfigError, "weights"),
        ({"mode": Fusion(dense="1")}, ConfigError, "weights"),  # type: ignore[arg-type]  # that is what is tested
        ({"mode": Fusion(constant="60")}, ConfigError, "constant"),  # type: ignore[arg-type]  # that is what is tested
        ({"mode": Fusion(depth=1.5)}, ConfigError, "depth"),  # type: ignore[arg-type]  # that is what is tested
        ({"mode": Fusion(depth=0)}, ConfigError, "depth"),
        ({"superseded": "keep"}, InputError, "'hide', 'show', 'substitute'"),
        ({"superseded": True}, InputError, "superseded is True"),
        ({"as_of": "soon"}, InputError, "as_of is 'soon'"),
        ({"as_of": 10**12}, InputError, "as_of is 1000000000000"),
        ({"as_of": 10**400}, InputError, "as_of is 1000"),
        ({"as_of": math.nan}, InputError, "as_of is nan"),
        ({"diversity": 1.5}, InputError, "diversity"),
        ({"diversity": "0.5"}, InputError, "diversity"),
        ({"diversity": True}, InputError, "diversity"),
        ({"dedupe": "0.5"}, InputError, "dedupe"),
        ({"dedupe": math.nan}, InputError, "dedupe"),
        ({"dedupe": 0.0}, InputError, "dedupe"),
        ({"dedupe": 1.1}, InputError, "dedupe"),
        ({"accept": 3}, InputError, "accept is 3"),
        ({"rerank": 3}, ConfigError, "rerank"),
    ],
)
def test_what_does_not_fit_is_refused(options: Any, error: type[TheodoliteError], says: str) -> None:
    with pytest.raises(error, match=says):
        SearchOptions(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"as_of": "2025-01-01"}, "as_of would do nothing"),
        ({"superseded": "show"}, "superseded='show' would do nothing"),
        ({"superseded": "substitute", "as_of": 3}, "as_of and superseded='substitute' would do nothing"),
        ({"superseded": "show", "as_of": 3, "boosts": [FRESH]}, "^superseded='show' would do nothing"),
    ],
)
def test_options_that_would_do_nothing_in_this_collection_are_refused(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        request_of(SearchOptions(**options))
    assert request_of(SearchOptions(**options, versions=RULE)).versions


@pytest.mark.parametrize("options", [{"boosts": [FRESH]}, {"min_relevance": 0.1}])
def test_dot_products_need_a_scale(options: Any) -> None:
    with pytest.raises(ConfigError, match="relevance="):
        request_of(SearchOptions(**options), "dot")
    relevance = request_of(SearchOptions(**options), "dot", lambda scores: scores / 100).relevance
    assert relevance is not None
    assert relevance(np.array([50.0])).tolist() == [0.5]


def test_relevance_begins_at_the_floor() -> None:
    relevance = as_relevance("cosine", 0.75)
    assert relevance is not None
    np.testing.assert_allclose(relevance(np.array([0.75, 1.0, 0.875, 0.5])), [0.0, 1.0, 0.5, -1.0])
    assert relevance.of_hits([0.875, 0.5]) == [0.5, 0.0]
    others: list[MetricName] = ["l2", "dot"]
    for metric in others:
        with pytest.raises(ConfigError):
            as_relevance(metric, 0.75)
    words = as_relevance("dot", lambda scores: ["high"] * len(scores))  # type: ignore[arg-type, return-value]  # wrong
    assert words is not None
    with pytest.raises(ConfigError, match="returned a list"):
        words(np.array([3.0]))
    far = as_relevance("dot", lambda scores: scores)
    assert far is not None
    with pytest.raises(ConfigError, match="at most 1"):
        far(np.array([3.0]))


def test_boosts_of_no_weight_leave_the_plain_ranking() -> None:
    none: list[Boost] = [Freshness("published", "180d", weight=0.0), Authority("source", {"a": 1.0}, weight=0.0)]
    assert SearchOptions(boosts=none).plain
    assert request_of(SearchOptions(boosts=none), "dot").boosts == ()


def test_the_present_is_in_full_minutes_and_as_of_moves_it() -> None:
    before = time.time()
    now = request_of(SearchOptions(boosts=[FRESH])).now
    assert before <= now <= time.time() + 60
    assert now % 60 == 0
    assert request_of(SearchOptions(boosts=[FRESH], as_of=date(2025, 1, 1))).now == 1735689600.0
    assert request_of(SearchOptions(boosts=[FRESH], as_of=12.5)).now == 60.0
    moved = request_of(SearchOptions(boosts=[FRESH], versions=[RULE], as_of="2025-01-01T00:00:01"))
    assert moved.now == 1735689660.0
    assert moved.versions is not None
    assert moved.versions.as_of == 1735689601_000_000


def test_as_of_takes_any_time() -> None:
    zone = timezone(timedelta(hours=2))
    times: list[Instant] = [
        "2025-03-01T10:00+02:00",
        datetime(2025, 3, 1, 10, tzinfo=zone),
        "2025-03-01 08:00",
        1740816000,
    ]
    assert {SearchOptions(as_of=when).as_of for when in times} == {datetime(2025, 3, 1, 8, tzinfo=UTC)}


def test_the_candidates_are_enough_for_every_stage() -> None:
    assert SearchOptions(k=10).candidates == 10
    assert SearchOptions(k=10, rerank=overlap).candidates == 50
    assert SearchOptions(k=80, rerank=overlap).candidates == 80
    assert SearchOptions(k=20, diversity=0.5).candidates == 100
    assert SearchOptions(k=20, diversity=MMR(0.5, pool=30)).candidates == 30
    assert SearchOptions(k=5, dedupe=0.9).candidates > 10


def test_rules_are_data() -> None:
    rules = (Latest("policy", "from"), Valid(end="until"), Superseded("pep", "by", "replaces", "created"))
    assert from_json(to_json(rules)) == rules
    assert as_rules(rules[0]) == rules[:1]
    for wrong in ("latest", {"kind": "latest"}, ["latest"], 3):
        with pytest.raises(ConfigError):
            as_rules(wrong)
    broken: list[Any] = [[{"kind": "newest"}], [{"kind": "latest", "per": 3, "by": "b"}], 7, [{}]]
    for wrong in broken:
        with pytest.raises(ConfigError):
            from_json(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Latest("", "by"),
        lambda: Latest("per", None),  # type: ignore[arg-type]  # on purpose
        lambda: Valid(),
        lambda: Valid(start=""),
        lambda: Superseded("key"),
        lambda: Superseded("", by="by"),
    ],
)
def test_rules_name_fields(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()
