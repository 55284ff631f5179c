"""Explanations of hits, word for word, and as data."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Document, Retriever
from theodolite.explanation import _number, _ordinal
from theodolite.types import Hit, Step, Version


def hit(name: str = "policy-2025", score: float = 0.61234, rank: int = 2, **parts: Any) -> Hit:
    scores = parts.pop("scores", {"similarity": score, "relevance": max(0.0, score)})
    return Hit(Document("text", id=name), score, rank, scores, **parts)


def test_a_plain_search() -> None:
    assert str(hit().explain()) == (
        "2nd of the list with score 0.612 (policy-2025)\n  similarity  0.612  2nd by similarity\n  relevance   0.612"
    )


def test_a_search_for_words() -> None:
    assert str(hit(score=12.34, rank=1, scores={"lexical": 12.34}).explain()) == (
        "1st of the list with score 12.3 (policy-2025)\n  lexical  12.3  1st by lexical"
    )


def test_every_stage() -> None:
    explained = hit(
        scores={"similarity": 0.701, "relevance": 0.402, "lexical": 7.25, "rerank": 3.21, "rerank_relevance": 0.9612},
        duplicates=(hit("a"), hit("b")),
        steps=(
            Step("similarity", 0.701, None, 1, "cosine"),
            Step("lexical", 7.25, None, 12),
            Step("freshness", 0.93, 1, 1, "published 2025-03-01, 264 days before 2025-11-20"),
            Step("authority", 0.94, 1, 2, "source wiki"),
            Step("fusion", 0.0312, 2, 4),
            Step("rerank", 3.21, 4, 2),
            Step("dedupe", 2.0, 2, 2),
            Step("diversity", 0.55, 2, 3),
        ),
    ).explain()
    assert str(explained) == (
        "2nd of the list with score 0.612 (policy-2025)\n"
        "  similarity   0.701  cosine, relevance 0.402: 1st by similarity\n"
        "  lexical       7.25  BM25: 12th by lexical\n"
        "  freshness   x0.930  published 2025-03-01, 264 days before 2025-11-20: stays 1st\n"
        "  authority   x0.940  source wiki: 1st -> 2nd\n"
        "  fusion      0.0312  sum of reciprocal ranks: 2nd -> 4th\n"
        "  rerank        3.21  0.961 calibrated: 4th -> 2nd\n"
        "  dedupe           2  near-duplicates left out for it (a, b): stays 2nd\n"
        "  diversity    0.550  largest similarity to a hit before it: 2nd -> 3rd"
    )


def test_an_id_cannot_look_like_a_line() -> None:
    forged = hit("a)\n  rerank  9.99", duplicates=(hit("b\u2028c"),))
    assert str(forged.explain()).splitlines()[0] == "2nd of the list with score 0.612 (a)   rerank  9.99)"
    assert len(str(forged.explain()).splitlines()) == 4


def test_the_first_of_a_diverse_list_is_like_none_before_it() -> None:
    explained = str(hit(steps=(Step("diversity", 0.0, 1, 1),)).explain())
    assert explained.endswith("\n  diversity  0.00  no hit is before it: stays 1st")


def test_many_duplicates_are_counted_and_some_named() -> None:
    explained = str(hit(duplicates=tuple(hit(f"d{n}") for n in range(7))).explain())
    assert explained.endswith("\n  dedupe          7  near-duplicates left out for it (d0, d1, d2, d3, d4 and 2 more)")
    one = str(hit(duplicates=(hit("d0"),)).explain())
    assert one.endswith("\n  dedupe          1  near-duplicate left out for it (d0)")
    none = str(hit(steps=(Step("dedupe", 0.0, 4, 3),)).explain())
    assert none.endswith("\n  dedupe  0  no near-duplicates of its own: 4th -> 3rd")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (Version(False, successors=(3333, 440)), "superseded by 3333, 440"),
        (Version(False, successors=(date(2025, 6, 1),)), "superseded by 2025-06-01"),
        (Version(False, ended=True), "its time is over"),
        (Version(False, successors=("v3",), ended=True), "its time is over; superseded by v3"),
        (Version(False), "not current"),
        (Version(absent=("314",)), "its successor 314 is not there, so it stays"),
        (Version(False, absent=("3", "4"), ended=True), "its time is over; its successors 3, 4 are not there"),
        (Version(substitutes=("v1", "v2")), "fails the filter, but succeeds v1, v2, which would pass it"),
        (Version(), "current"),
    ],
)
def test_versions(version: Version, words: str) -> None:
    assert str(hit(version=version).explain()).endswith(f"\n  version            {words}")


def test_as_data() -> None:
    explained = hit(
        scores={"similarity": 0.5, "freshness": 0.93},
        version=Version(False, successors=(date(2025, 6, 1), datetime(2025, 6, 1, tzinfo=UTC), "v3", 4)),
        duplicates=(hit("a", 0.6),),
        steps=(Step("similarity", 0.5, None, 1, "cosine"), Step("freshness", 0.93, 1, 2)),
    ).explain()
    data = explained.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data == {
        "id": "policy-2025",
        "rank": 2,
        "score": 0.61234,
        "scores": {"similarity": 0.5, "freshness": 0.93},
        "steps": [
            {"stage": "similarity", "value": 0.5, "before": None, "after": 1, "note": "cosine"},
            {"stage": "freshness", "value": 0.93, "before": 1, "after": 2, "note": ""},
        ],
        "version": {
            "current": False,
            "successors": ["2025-06-01", "2025-06-01T00:00:00+00:00", "v3", 4],
            "absent": [],
            "substitutes": [],
            "ended": False,
        },
        "duplicates": [{"id": "a", "score": 0.6}],
    }
    assert hit().explain().to_dict()["version"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (1.0, "1.00"),
        (-0.05678, "-0.0568"),
        (12.345, "12.3"),
        (123.45, "123"),
        (999.4, "999"),
        (999.7, "1,000"),
        (-12345.6, "-12,346"),
        (0.00001234, "1.23e-05"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert _number(value) == text


def test_ordinals() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 122, 1203)
    assert " ".join(map(_ordinal, numbers)) == "1st 2nd 3rd 4th 11th 12th 13th 21st 101st 111th 122nd 1,203rd"


class ByKind:
    """A boost that distinguishes values that filters treat as equal."""

    name, field = "kind", "value"

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        return np.array([1 / (1 + len(repr(value))) for value in values])


def test_the_explained_factor_is_the_applied_one() -> None:
    zone = timezone(timedelta(hours=2))
    values = [1, 1.0, True, {"a": 1}, {}, [1.0, {"a": 1}], [], "2024-01-01", None, 2**70, 0.5]
    values += [date(2024, 1, 1), datetime.fromisoformat("2024-01-01T00:00"), datetime(2024, 1, 1, tzinfo=zone)]
    with Retriever.open() as kb:
        for number, value in enumerate(values):  # each has a segment of its own
            kb.add([Document("text", {"value": value}, str(number))], vectors=[[1.0, 0.0]])
        for hit in kb.search(vector=[1.0, 0.0], k=len(values), boosts=[ByKind()]):
            assert hit.score == hit.scores["relevance"] * hit.scores["kind"], hit
