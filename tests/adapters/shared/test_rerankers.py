"""Rerankers over a framework's documents: calibrated scores, and documents that stay as they are."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from tests.adapters.agreement import BEST, QUERY, TEXTS, agreement
from tests.adapters.shared.verbs import Adapter, ids

from theodolite import ConfigError, Document, Rerank, RerankError

DOCUMENTS = [Document(text, {"tags": [name]}, id=name) for name, text in zip("abcd", TEXTS, strict=True)]


def failing(query: str, texts: Sequence[str]) -> list[float]:
    raise OSError("out of order")


async def test_best_first_with_calibrated_scores(adapter: Adapter) -> None:
    reranker = adapter.reranker(agreement)
    for found in (
        adapter.rerank(reranker, adapter.given(DOCUMENTS), QUERY),
        await adapter.arerank(reranker, adapter.given(DOCUMENTS), QUERY),
    ):
        assert ids(found) == BEST
        for one in found:
            (raw,) = agreement(QUERY, [one.text])
            assert one.score == pytest.approx(1 / (1 + math.exp(-raw)))
            assert one.metadata["tags"] == [one.id]


def test_what_is_given_stays_as_it_is(adapter: Adapter) -> None:
    given = adapter.given(DOCUMENTS)
    before = copy.deepcopy(given)
    adapter.rerank(adapter.reranker(agreement), given, QUERY)
    assert given == before


@pytest.mark.parametrize(("top_n", "count"), [(None, 4), (1, 1), (3, 3), (9, 4)])
def test_top_n(adapter: Adapter, top_n: int | None, count: int) -> None:
    reranker = adapter.reranker(agreement, top_n=top_n)
    assert ids(adapter.rerank(reranker, adapter.given(DOCUMENTS), QUERY)) == BEST[:count]


def test_the_threshold_is_on_the_calibrated_score(adapter: Adapter) -> None:
    for threshold, expected in ((0.5, ["c", "b"]), (0, BEST), (1, [])):
        reranker = adapter.reranker(agreement, score_threshold=threshold)
        assert ids(adapter.rerank(reranker, adapter.given(DOCUMENTS), QUERY)) == expected


def test_equal_scores_keep_the_order(adapter: Adapter) -> None:
    reranker = adapter.reranker(lambda query, texts: [0.0] * len(texts))
    assert ids(adapter.rerank(reranker, adapter.given(DOCUMENTS), QUERY)) == ["a", "b", "c", "d"]


def test_all_are_read(adapter: Adapter) -> None:
    many = [Document("word " * number, id=str(number)) for number in range(1, 101)]
    stage = Rerank(lambda query, texts: [float(len(text)) for text in texts], candidates=2)
    found = adapter.rerank(adapter.reranker(stage, top_n=2), adapter.given(many), "q")
    assert ids(found) == ["100", "99"]


def test_nothing_is_asked_for_nothing(adapter: Adapter) -> None:
    assert adapter.rerank(adapter.reranker(failing), [], QUERY) == []


def test_a_failure_is_an_error_or_the_order_before(adapter: Adapter) -> None:
    with pytest.raises(RerankError, match="OSError: out of order"):
        adapter.rerank(adapter.reranker(failing), adapter.given(DOCUMENTS), QUERY)
    fallback = Rerank(failing, on_error="fallback")
    assert ids(adapter.rerank(adapter.reranker(fallback, top_n=2), adapter.given(DOCUMENTS), QUERY)) == ["a", "b"]
    with pytest.raises(ConfigError, match="min_relevance needs calibrated scores"):
        adapter.reranker(fallback, score_threshold=0.5)


def test_scores_that_are_none_are_refused(adapter: Adapter) -> None:
    reranker = adapter.reranker(lambda query, texts: [math.nan for _ in texts])
    with pytest.raises(RerankError, match="4 of 4 values that are not finite"):
        adapter.rerank(reranker, adapter.given(DOCUMENTS), QUERY)


@pytest.mark.parametrize(
    "fields",
    [{"topn": 3}, {"top_n": 0}, {"score_threshold": 1.5}, {"score_threshold": -0.1}],
    ids=lambda fields: next(iter(fields)),
)
def test_fields_that_do_not_fit(adapter: Adapter, fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValidationError), match=next(iter(fields))):
        adapter.reranker(agreement, **fields)


def test_what_is_no_reranker_is_refused(adapter: Adapter) -> None:
    with pytest.raises(ConfigError, match="the reranker is an int"):
        adapter.reranker(3)
