"""Field summaries: both ways of the local engine agree with the reference, and cached ones are never stale."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sampling import sampled

from theodolite.engines.local.search import field_summary
from theodolite.errors import InputError
from theodolite.filters import MISSING, lookup
from theodolite.filters.summary import summarize_documents
from theodolite.retriever import Retriever
from theodolite.types import Document, Field


@pytest.fixture(params=["documents", "columns"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "columns":
        monkeypatch.setattr(field_summary, "MAX_READ", -1)


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open() as kb:
        yield kb


def fill(kb: Retriever, metadata: list[dict[str, Any]], first: int = 0) -> None:
    documents = [Document("", one, str(first + number)) for number, one in enumerate(metadata)]
    kb.add(documents, vectors=np.ones((len(documents), 2)))


def reference(kb: Retriever, most: int = 20) -> dict[str, Field]:
    return summarize_documents((document.metadata for document in kb.documents()), most)


_keys = st.sampled_from(["a", "b", "a.b", "", "$d", "quo'te", 'quo"te', "a.b.c", "\0", "é"])
_dates = st.dates() | st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.just("2025-01-01")
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
) | (st.text(max_size=3) | _dates)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=3), max_leaves=6
)
_metadata = st.lists(st.dictionaries(_keys, _values, max_size=4), min_size=1, max_size=12)


@settings(max_examples=sampled(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_metadata, _metadata, st.integers(0, 4))
def test_fields_agree_with_the_reference(
    kb: Retriever, first: list[dict[str, Any]], second: list[dict[str, Any]], most: int
) -> None:
    kb.clear()
    fill(kb, first)
    assert kb.fields(values=most) == reference(kb, most)
    fill(kb, second, len(first) // 2)
    kb.delete("0")
    assert kb.fields(values=most) == reference(kb, most)
    assert list(kb.fields()) == sorted(kb.fields())
    part = kb.scoped(a={"$exists": True})
    assert part.fields(values=most) == reference(part, most)


@settings(max_examples=sampled(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_metadata)
def test_fields_are_what_filters_find(kb: Retriever, metadata: list[dict[str, Any]]) -> None:
    """Checked through filters, independently of the reference."""
    kb.clear()
    fill(kb, metadata)
    found = kb.fields(values=100)
    for name, field in found.items():
        if name.startswith("$"):
            continue  # no filter names it
        assert field.count == kb.count({name: {"$exists": True}}) == sum(field.kinds.values())
        assert field.kinds.get("none", 0) == sum(lookup(d.metadata, name) is None for d in kb.documents())
        for value, count in field.values:
            if not isinstance(value, (date, str)):  # a date and a string of one instant pass one another's filters
                assert count == kb.count({name: {"$eq": value}})
        if field.numbers is not None:
            low, high = field.numbers
            numbers = field.kinds["number"]
            assert kb.count({name: {"$between": [low, high]}}) == numbers
            assert kb.count({name: {"$gt": low}}) < numbers
            assert kb.count({name: {"$lt": high}}) < numbers
    for document in kb.documents():
        assert all(name in found for name in document.metadata if name.count(".") < 4)


def test_fields_of_deleted_documents_are_gone(kb: Retriever) -> None:
    fill(kb, [{"old": 1}, {"new": 2}])
    assert list(kb.fields()) == ["new", "old"]
    kb.delete("0")
    assert list(kb.fields()) == ["new"]
    kb.clear()
    assert kb.fields() == {}


def test_callers_may_change_what_they_get(kb: Retriever) -> None:
    fill(kb, [{"a": 1}])
    found = kb.fields()
    dict.clear(found["a"].kinds)  # type: ignore[arg-type]  # a mapping to read, which is a dictionary
    found.clear()
    assert kb.fields()["a"].kinds == {"number": 1}


def test_instants_beyond_the_range_of_datetime_are_clipped(kb: Retriever) -> None:
    fill(kb, [{"on": "0001-01-01T00:00:00+14:00"}, {"on": "9999-12-31T23:59:59-12:00"}])
    assert kb.fields()["on"].dates == (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("values", [-1, 1.5, "20", True, None])
def test_values_is_a_number(kb: Retriever, values: Any) -> None:
    with pytest.raises(InputError, match=r"values is .*; it must be a whole number of at least 0"):
        kb.fields(values=values)


def test_answers_are_of_one_commit(kb: Retriever) -> None:
    """Each answer during writes is of one commit: all documents of a commit have its number."""
    fill(kb, [{"commit": 0, "only0": True} for _ in range(20)])
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = kb.fields()
            (value, count), *more = found["commit"].values
            if more or count != 20 or list(found) != ["commit", f"only{value}"]:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 40):
        fill(kb, [{"commit": number, f"only{number}": True} for _ in range(20)])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_the_reference_skips_what_no_name_leads_to() -> None:
    metadata = {"a.b": {"c": 1}}
    assert lookup(metadata, "a.b.c") is MISSING
    assert list(summarize_documents([metadata], 5)) == ["a.b"]
