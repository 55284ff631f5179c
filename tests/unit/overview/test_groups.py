"""Groups of the map: by cluster, by value, and by ranges of numbers and dates."""

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.overview.groups import COLORS, groups, has_value
from theodolite.overview.map import project

EMPTY = project(np.empty((0, 0), np.float32), "cosine")


def grouped(values: list[Any]) -> dict[str, list[int]]:
    """Return the rows of each group of documents with these values in a field; MISSING leaves it out."""
    documents = [Document("", {} if value is ... else {"f": value}, f"d{n}") for n, value in enumerate(values)]
    return {group.name: group.rows.tolist() for group in groups(EMPTY, documents, "f")}


def test_each_frequent_value_is_a_group_the_largest_first() -> None:
    assert grouped(["b", "a", "a", ..., None, ["b", "c"], {"g": 1}, True]) == {
        "a": [1, 2],
        "b": [0, 5],
        "True": [7],
        "no value": [3, 4, 6],
    }


def test_rare_values_are_one_group() -> None:
    found = grouped([f"v{n % 12}" for n in range(24)] + [f"v{n}" for n in range(COLORS)])
    assert list(found) == [*(f"v{n}" for n in range(COLORS)), "other values"]
    assert len(found["other values"]) == 8


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        (list(range(80)), "0 to 9", "70 to 79"),
        ([n / 2 for n in range(80)], "0 to 4.5", "35 to 39.5"),
        ([date(2024, 1, 1 + n % 31) for n in range(31)], "2024-01-01 to 2024-01-04", "2024-01-29 to 2024-01-31"),
        ([f"20{n:02}-05-06T07:08:09Z" for n in range(16)], "2000-05-06 to 2001-05-06", "2014-05-06 to 2015-05-06"),
    ],
)
def test_many_numbers_and_dates_become_ranges(values: list[Any], first: str, last: str) -> None:
    found = grouped([*values, ...])
    assert len(found) == COLORS + 1
    names = list(found)
    assert (names[0], names[COLORS - 1], names[-1]) == (first, last, "no value")
    sizes = [len(rows) for rows in found.values()][:-1]
    assert max(sizes) - min(sizes) <= 1
    order = [values[row] for rows in list(found.values())[:-1] for row in rows]
    assert order == sorted(order)


def test_a_value_that_most_documents_have_is_a_range_of_its_own() -> None:
    found = grouped([7] * 90 + list(range(10, 20)))
    assert found["7"] == list(range(90))
    assert sorted(row for rows in found.values() for row in rows) == list(range(100))


def test_numbers_beside_texts_are_values() -> None:
    assert "other values" in grouped([*range(20), "x"])


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "b", "True", True, True, False, None],
        [1, 2, 2, 3.5],
        list(range(80)),
        [n / 7 for n in range(80)],
        [date(2024, 1, 1 + n % 31) for n in range(31)],
        [date(2024, 1, 1), date(2024, 1, 2), "2024-01-02"],
        [datetime(2024, 1, 1 + n % 31, n % 7, tzinfo=UTC) for n in range(31)],
        [f"20{n:02}-05-06T07:08:09Z" for n in range(16)],
    ],
)
def test_filters_find_the_groups(values: list[Any]) -> None:
    documents = [Document("", {"f": value}, f"d{n}") for n, value in enumerate(values)]
    with Retriever.open() as kb:
        kb.add(documents, vectors=np.ones((len(values), 2)))
        for group in groups(EMPTY, documents, "f"):
            assert (group.where is None) == (group.color == 0)
            if group.where is not None:
                found = [document.id for document in kb.documents(json.loads(json.dumps(group.where)))]
                assert set(found) >= {documents[row].id for row in group.rows}
                assert len(found) == len(group.rows)


def test_a_document_has_a_value() -> None:
    assert has_value(Document("", {"f": 0}), "f")
    assert not has_value(Document("", {"f": ""}), "f")
    assert not has_value(Document("", {"f": [None]}), "f")
    assert has_value(Document("", {"a": {"b": False}}), "a.b")
