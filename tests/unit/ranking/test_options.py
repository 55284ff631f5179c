"""What a search may be asked for, and what it is refused."""

import math
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from theodolite.errors import ConfigError, InputError, TheodoliteError
from theodolite.protocols import Fusion
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.options import Ranking, ranking
from theodolite.ranking.versions import Latest, Superseded, Valid, as_rules, from_json, to_json
from theodolite.vectors.metrics import MetricName

FRESH = Freshness("published", "180d")
DEFAULTS: Mapping[str, Any] = {
    "mode": "dense",
    "boosts": (),
    "rules": (),
    "as_of": None,
    "include_superseded": False,
    "substitute": False,
    "now": None,
    "relevance": None,
    "min_relevance": None,
    "fusion": None,
    "rerank": None,
    "diversity": 0.0,
    "dedupe": None,
}


def asked(metric: MetricName = "cosine", **options: Any) -> Ranking:
    return ranking(metric, **{**DEFAULTS, **options})


def overlap(query: str, texts: list[str]) -> list[float]:
    return [float(len(set(query.split()) & set(text.split()))) for text in texts]


def test_nothing_asked_for_is_plain() -> None:
    assert asked().plain
    assert asked("dot").plain
    assert asked(rules=[Latest("a", "b")]).plain  # the engine applies them
    assert not asked(boosts=[FRESH]).plain
    assert not asked(dedupe=0.9).plain


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"mode": "sparse"}, InputError, "'dense', 'lexical', 'hybrid'"),
        ({"boosts": "fresh"}, ConfigError, "list"),
        ({"boosts": [Freshness("published", "180d", name="rerank_relevance")]}, ConfigError, "taken"),
        ({"boosts": ["fresh"]}, ConfigError, "no boost"),
        ({"boosts": [FRESH, Freshness("updated", "1y")]}, ConfigError, "give it another"),
        ({"mode": "lexical", "min_relevance": 0.5}, ConfigError, "dense"),
        ({"mode": "hybrid", "min_relevance": 0.5}, ConfigError, "dense"),
        ({"min_relevance": "high"}, InputError, "number"),
        ({"min_relevance": 7}, InputError, "number"),
        ({"fusion": Fusion()}, ConfigError, "hybrid"),
        ({"mode": "hybrid", "fusion": Fusion(dense=0, lexical=0)}, ConfigError, "weights"),
        ({"mode": "hybrid", "fusion": Fusion(dense=-1)}, ConfigError, "weights"),
        ({"mode": "hybrid", "fusion": Fusion(dense=math.nan)}, ConfigError, "weights"),
        ({"mode": "hybrid", "fusion": Fusion(depth=0)}, ConfigError, "depth"),
        ({"mode": "hybrid", "fusion": 0.5}, ConfigError, "Fusion"),
        ({"as_of": "2025-01-01"}, ConfigError, "as_of would do nothing"),
        ({"include_superseded": True, "substitute": True}, ConfigError, "include_superseded and substitute"),
        ({"rules": [Latest("a", "b")], "as_of": "soon"}, InputError, "as_of is 'soon'"),
        ({"rules": [Latest("a", "b")], "as_of": 10**12}, InputError, "as_of is 1000000000000"),
        ({"rules": [Latest("a", "b")], "as_of": math.nan}, InputError, "as_of is nan"),
        ({"min_relevance": True}, InputError, "number"),
        ({"mode": "hybrid", "fusion": Fusion(dense="1")}, ConfigError, "weights"),  # type: ignore[arg-type]
        ({"mode": "hybrid", "fusion": Fusion(constant="60")}, ConfigError, "constant"),  # type: ignore[arg-type]
        ({"mode": "hybrid", "fusion": Fusion(depth=1.5)}, ConfigError, "depth"),  # type: ignore[arg-type]
        ({"diversity": 1.5}, InputError, "diversity"),
        ({"diversity": "0.5"}, InputError, "diversity"),
        ({"diversity": None}, InputError, "diversity"),
        ({"dedupe": "0.5"}, InputError, "dedupe"),
        ({"dedupe": math.nan}, InputError, "dedupe"),
        ({"diversity": True}, InputError, "diversity"),
        ({"dedupe": 0.0}, InputError, "dedupe"),
        ({"dedupe": 1.1}, InputError, "dedupe"),
        ({"now": math.nan}, InputError, "now"),
        ({"now": "soon"}, InputError, "now is 'soon'"),
        ({"now": 10**400}, InputError, "now is 1000"),
        ({"rerank": 3}, ConfigError, "rerank"),
    ],
)
def test_what_does_not_fit_is_refused(options: Any, error: type[TheodoliteError], says: str) -> None:
    with pytest.raises(error, match=says):
        asked(**options)


@pytest.mark.parametrize("options", [{"boosts": [FRESH]}, {"min_relevance": 0.1}])
def test_dot_products_need_a_scale(options: Any) -> None:
    with pytest.raises(ConfigError, match="relevance="):
        asked("dot", **options)
    told = asked("dot", relevance=lambda scores: scores / 100, **options).relevance
    assert told is not None
    assert told(np.array([50.0])).tolist() == [0.5]


def test_relevance_begins_at_the_floor() -> None:
    told = asked(relevance=0.75, boosts=[FRESH]).relevance
    assert told is not None
    np.testing.assert_allclose(told(np.array([0.75, 1.0, 0.875, 0.5])), [0.0, 1.0, 0.5, -1.0])
    others: list[MetricName] = ["l2", "dot"]
    for metric in others:
        with pytest.raises(ConfigError):
            asked(metric, relevance=0.75)
    words = asked("dot", relevance=lambda scores: ["high"] * len(scores), boosts=[FRESH]).told
    assert words is not None
    with pytest.raises(ConfigError, match="gives a list"):
        words(np.array([3.0]))
    far = asked("dot", relevance=lambda scores: scores, boosts=[FRESH]).told
    assert far is not None
    with pytest.raises(ConfigError, match="at most 1"):
        far(np.array([3.0]))


def test_boosts_of_no_weight_leave_the_plain_ranking() -> None:
    none = [Freshness("published", "180d", weight=0.0), Authority("source", {"a": 1.0}, weight=0.0)]
    assert asked(boosts=none).plain
    assert asked("dot", boosts=none).plain


def test_the_present_is_told_to_the_minute_and_as_of_moves_it() -> None:
    before = time.time()
    now = asked(boosts=[FRESH]).now
    assert before <= now <= time.time() + 60
    assert now % 60 == 0
    assert asked(boosts=[FRESH], now=date(2025, 1, 1)).now == 1735689600.0
    assert asked(boosts=[FRESH], now=12.5).now == 12.5
    moved = asked(boosts=[FRESH], rules=[Latest("a", "b")], as_of="2025-01-01")
    assert moved.now == 1735689600.0
    assert moved.versions is not None
    assert moved.versions.as_of == 1735689600_000_000
    apart = asked(boosts=[FRESH], rules=[Latest("a", "b")], as_of="2025-01-01", now="2026-01-01")
    assert (apart.now, apart.versions and apart.versions.as_of) == (1767225600.0, 1735689600_000_000)


def test_as_of_takes_any_time() -> None:
    zone = timezone(timedelta(hours=2))
    times = ["2025-03-01T10:00+02:00", datetime(2025, 3, 1, 10, tzinfo=zone), "2025-03-01 08:00", 1740816000]
    rules = [Valid(start="from")]
    assert {asked(rules=rules, as_of=when).versions.as_of for when in times} == {1740816000_000_000}  # type: ignore[union-attr]  # there are rules


def test_the_pool_is_wide_enough_for_every_stage() -> None:
    assert asked().wanted(10) == 10
    assert asked(rerank=overlap).wanted(10) == 50
    assert asked(rerank=overlap).wanted(80) == 80
    assert asked(diversity=0.5).wanted(20) == 100
    assert asked(dedupe=0.9).wanted(5) > 10


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
