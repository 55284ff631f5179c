"""The steps of each document, from the orders of the stages."""

import math

import numpy as np
import pytest

from theodolite.ranking.pipeline import Stage, steps
from theodolite.types import Step


def test_each_document_has_its_value_and_places() -> None:
    first, second, third = steps(
        3,
        [
            Stage("similarity", np.array([0.5, 0.25, 0.125], np.float32), None, [0, 1, 2], ["cosine"] * 3),
            Stage("freshness", [0.8, 1.0, 0.9], [0, 1, 2], np.array([1, 0, 2])),
        ],
    )
    assert [step.stage for step in first] == ["similarity", "freshness"]
    assert first[0] == Step("similarity", 0.5, None, 1, "cosine")
    assert first[1] == Step("freshness", 0.8, 1, 2)
    assert second[1] == Step("freshness", 1.0, 2, 1)
    assert third[1] == Step("freshness", 0.9, 3, 3)
    assert type(first[0].value) is float  # of numpy's float32, for JSON


def test_no_value_no_step() -> None:
    found = steps(
        3, [Stage("similarity", [0.9, 0.8, math.nan], None, [0, 1]), Stage("lexical", [None, 4.5, 7.0], None, [2, 1])]
    )
    assert found == [
        (Step("similarity", 0.9, None, 1),),
        (Step("similarity", 0.8, None, 2), Step("lexical", 4.5, None, 2)),
        (Step("lexical", 7.0, None, 1),),
    ]


def test_an_order_may_leave_documents_out() -> None:
    found = steps(3, [Stage("dedupe", [1, 0, 0], [0, 2, 1], [0, 1])])
    assert found == [
        (Step("dedupe", 1.0, 1, 1),),
        (Step("dedupe", 0.0, 3, 2),),
        (Step("dedupe", 0.0, 2, None),),
    ]


def test_nothing_happened() -> None:
    assert steps(2, []) == [(), ()]
    assert steps(0, [Stage("similarity", [], None, [])]) == []


def test_values_for_other_documents_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        steps(2, [Stage("similarity", [0.9], None, [0])])
