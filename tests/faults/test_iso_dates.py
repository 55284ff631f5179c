"""Filters, versions, boosts, columns and tools read every date format of ISO 8601 and RFC 3339."""

import itertools
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling import sampled

from theodolite import (
    Document,
    FilterError,
    Freshness,
    InputError,
    Latest,
    MetadataWarning,
    Retriever,
    SearchTool,
    Valid,
)
from theodolite.columns import dictionary
from theodolite.columns.instants import instants
from theodolite.engines.local.derived.columns import column_files
from theodolite.filters import F, instant, matches, parse, to_dict
from theodolite.filters.dates import is_unreadable
from theodolite.testing import HashingEmbedder

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_DATES = [
    *("2025", "2025-06", "20250615", "2025W033", "2025-W03", "2025-166", "2025-6-15", "25-06-15", "2025/06/15"),
    *("3/1/2025", "01.03.2025", "15 Jun 2025", "June 15, 2025", "Sun, 15 Jun 2025 12:30:45 GMT"),
    *("2025-06-15 12:30:45 CET", "2025-06-15T12:30:45 UTC", "2025-06-15T12:30[Europe/Paris]", "2025-06-15Z"),
    *("2025-02-30", "2025-13-01", "2025-00-10", "0000-01-01", "2025-W54-1", "2025-W03-8", "2025-W00-1", "2025-w03-2"),
    *("2025-06-15T", "2025-06-15T1", "2025-06-15T12:3", "2025-06-15T123", "2025-06-15T12:30:4", "2025-06-15T25:00"),
    *("2025-06-15T12:60", "2025-06-15T12:30:61", "2025-06-15T12:30:60Z", "2025-06-15T23:59:60+02:00"),
    *("2025-06-15T24:00:01", "2025-06-15T24:01", "2025-06-15T24:00:00.000000001", "9999-12-31T24:00"),
    *("2025-06-15T12:30:45.", "2025-06-15T12:30:45.0123456789", "2025-06-15T12:30.5", "2025-06-15T12.5"),
    *("2025-06-15T12:3045", "2025-06-15T1230:45", "2025-0615", "202506-15T12", "2025-06-15_12:30", "2025-06-15  12:30"),
    *("2025-06-15 12", "2025-06-15 1230", "20250615 123045", "20250615 12:30"),
    *("2025-06-15T12:30 Z", "2025-06-15T12:30+24", "2025-06-15T12:30+05:60", "2025-06-15T12:30+5", "2025-06-15T12+053"),
    *(" 2025-06-15", "2025-06-15 ", "2025-06-15\n", "+2025-06-15", "12025-06-15", "\u0662\u0660\u0662\u0665-06-15"),
    *("2025-06-15T12:30\u221205:00", "2025-06-15T12:30:45\u0663", "a date", "", "0123456789abcdef0123456789abcdef"),
]


def spellings(moment: datetime) -> Iterator[tuple[str, int]]:
    """Spellings of dates and times, with their microseconds since 1970."""
    year, week, weekday = moment.isocalendar()
    days = [(f"{moment:%m-%d}", f"{moment:%m%d}"), (f"W{week:02}-{weekday}", f"W{week:02}{weekday}")]
    years = [moment.year, year]
    nano = f"{moment.microsecond:06}789"
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    sign, hours, rest = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
    offsets = [f"{sign}{hours:02}:{rest:02}", f"{sign}{hours:02}{rest:02}"] + [f"{sign}{hours:02}"] * (not rest)
    offsets += ["Z", "z", "", "-00:00"] * (not minutes)

    def since(cut: datetime) -> int:
        return (cut - EPOCH) // timedelta(microseconds=1)

    midnight = (moment.replace(tzinfo=UTC, hour=0, minute=0, second=0, microsecond=0) - EPOCH) // timedelta(
        microseconds=1
    )
    for (extended, basic), of in zip(days, years, strict=True):
        yield f"{of:04}-{extended}", midnight
        for offset in offsets:
            dates = [(f"{of:04}-{extended}T", True), (f"{of:04}-{extended}t", True), (f"{of:04}{basic}T", False)]
            for (day, _), colon in itertools.product(dates, (":", "")):
                yield f"{day}{moment:%H}{offset}", since(moment.replace(minute=0, second=0, microsecond=0))
                minute = f"{day}{moment:%H}{colon}{moment:%M}"
                yield minute + offset, since(moment.replace(second=0, microsecond=0))
                yield f"{minute}{colon}{moment:%S}{offset}", since(moment.replace(microsecond=0))
                for digits, point in itertools.product(range(1, 10), ".,"):
                    kept = int(nano[:digits][:6].ljust(6, "0"))
                    yield (
                        f"{minute}{colon}{moment:%S}{point}{nano[:digits]}{offset}",
                        since(moment.replace(microsecond=kept)),
                    )
            spaced = f"{of:04}-{extended} {moment:%H:%M}"
            yield spaced + offset, since(moment.replace(second=0, microsecond=0))
            yield f"{spaced}:{moment:%S}.{nano}{offset}", since(moment)


MOMENTS = [
    datetime(2025, 6, 15, 12, 30, 45, 123456, timezone(timedelta(hours=hours, minutes=minutes)))
    for hours, minutes in ((0, 0), (2, 0), (-5, 0), (5, 45), (-9, -30), (23, 59))
] + [
    datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2021, 1, 3, 0, 0, 0, 1, tzinfo=UTC),  # in the last week of the year before
    datetime(2000, 2, 29, 6, 7, 8, 90, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(1, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    datetime(9999, 12, 30, 3, 4, 5, 6, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_every_spelling_names_its_instant(moment: datetime) -> None:
    known = dict(spellings(moment))
    assert len(known) > 150
    assert {text: instant(text) for text in known} == known
    is_date, found = instants(list(known))
    assert is_date.all()
    assert found.tolist() == list(known.values())
    assert not any(map(is_unreadable, known))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2016-12-31T23:59:60.9Z", "2016-12-31T23:59:59.999999Z"),
        ("1990-12-31T15:59:60-08:00", "1990-12-31T23:59:59.999999Z"),
        ("20161231T235960", "2016-12-31T23:59:59.999999Z"),
        ("2025-06-15T24:00", "2025-06-16"),
        ("2025-12-31T24", "2026-01-01"),
        ("20241231T240000.000Z", "2025-01-01"),
        ("2025-06-15T24:00:00+02:00", "2025-06-15T22:00:00Z"),
        ("1880-01-01T00:00:00+00:53:28", "1879-12-31T23:06:32Z"),
    ],
)
def test_leap_seconds_and_24_hours(text: str, same: str) -> None:
    assert instant(text) == instant(same) is not None
    assert instants([text])[1].tolist() == [instant(same)]


@pytest.mark.parametrize("text", NO_DATES)
def test_nothing_is_guessed(text: str) -> None:
    assert instant(text) is None
    assert not instants([text])[0].any()
    # As text it is ordered with text, never with dates.
    assert not matches(parse({"at": {"$gte": date(1, 1, 1)}}), {"at": text})
    assert matches(parse({"at": {"$gte": text}}), {"at": text})


letters = st.text("0123456789-:TtZzW +.,\u0663", max_size=36)
edited = st.tuples(
    st.sampled_from([text for moment in MOMENTS[:3] for text, _ in spellings(moment)] + NO_DATES),
    st.integers(0, 40),
    st.sampled_from(["", *"0123456789-:TtZzW +.,"]),
    st.integers(0, 2),
).map(lambda edit: edit[0][: edit[1]] + edit[2] + edit[0][edit[1] + edit[3] :])


@settings(max_examples=sampled(100), deadline=None)
@given(st.lists(letters | edited, max_size=60))
def test_columns_read_what_one_document_reads(texts: list[str]) -> None:
    is_date, found = instants(texts)
    expected = [instant(text) for text in texts]
    assert is_date.tolist() == [moment is not None for moment in expected]
    assert found.tolist() == [moment or 0 for moment in expected]


def test_the_outdated_policy_does_not_win() -> None:
    with Retriever.open(embedder=HashingEmbedder(), versions=[Latest(per="policy", by="since")]) as kb:
        kb.add(
            [
                Document("Fourteen days.", {"policy": "refunds", "since": "2023-01-01T00:00:00Z"}, id="2023"),
                Document("Five days.", {"policy": "refunds", "since": "2025-01-01T00:00:00.0000000Z"}, id="2025"),
            ]
        )
        assert [hit.document.id for hit in kb.search("how long do refunds take?")] == ["2025"]


FORMS = ["2025-06-15T12:30:45.123456789Z", "2025-06-15T12:30:45.1234567Z", "2025-06-15T12:30:45+0000", "2025-W24-7"]
FORMS += ["2025-06-15T12Z", "20250615T123045Z", "2025-06-15T12:30:45Z", "2025-06-15 12:30:45+00", "2025-06-14T24:00"]


@pytest.mark.parametrize("text", FORMS)
def test_filters_versions_boosts_and_tools_agree(text: str) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(
            [
                Document("a note", {"at": text, "kind": "note"}, id="note"),
                Document("other", {"at": "2020-01-01"}, id="o"),
            ]
        )
        assert kb.count({"at": {"$gte": "2025-01-01", "$lt": "2026-01-01"}}) == 1
        assert kb.count({"at": {"$lt": text}}) == 1
        assert kb.count(F("at") == kb_datetime(text)) == 1
        assert kb.fields()["at"].kinds == {"date": 2}
        assert [hit.document.id for hit in kb.search("note", versions=Valid("at"), as_of="2021-01-01")] == ["o"]
        assert len(kb.search("note", versions=Valid("at"), as_of=text)) == 2
        boosted = kb.search("note", boosts=Freshness("at", "30d", missing="error"), as_of="2025-07-15")
        assert boosted[0].document.id == "note"
        tool = SearchTool(kb, fields=["at"], date_field="at")
        assert [hit.document.id for hit in tool.search({"query": "note", "since": text})] == ["note"]
        assert [hit.document.id for hit in tool.search({"query": "note", "filter": {"at": {"max": "2020-W01-3"}}})] == [
            "o"
        ]


def kb_datetime(text: str) -> datetime:
    return EPOCH + timedelta(microseconds=instant(text) or 0)


def test_tagged_dates_are_read_alike_and_written_again() -> None:
    for text in FORMS:
        tree = parse({"at": {"$datetime": text}})
        assert parse(to_dict(tree)) == tree
        assert matches(tree, {"at": kb_datetime(text)})
    assert parse({"at": {"$date": "2025-W24-7"}}) == parse({"at": date(2025, 6, 15)})
    for wrong in ({"$date": "2025-06-15T12"}, {"$date": "20250615"}, {"$datetime": "3/1/2025"}, {"$datetime": 3}):
        with pytest.raises(FilterError, match=r"takes an ISO 8601 (date|time) such as"):
            parse({"at": wrong})


def test_a_tool_refuses_what_is_no_date() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document("a", {"at": "2025-06-15"}, id="a"), Document("b", {"at": "2025-06-16"}, id="b")])
        tool = SearchTool(kb, date_field="at")
        for text in ("3/1/2025", "20250615", "yesterday"):
            with pytest.raises(InputError, match="is not a date"):
                tool.search({"query": "a", "since": text})


def test_dates_at_the_ends_of_time_do_not_break_their_field() -> None:
    late = datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))
    early = datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))
    with Retriever.open() as kb:
        for name, moment in (("late", late), ("early", early), ("text", late.isoformat()), ("now", date(2025, 1, 1))):
            kb.add([Document("a", {"at": moment, "all": [moment]}, id=name)], vectors=np.ones((1, 3)))
        kb.add([Document("b", {"at": late}, id="again")], vectors=np.ones((1, 3)))
        assert kb.count({"at": {"$gt": "2025-01-01"}}) == 3
        assert kb.count({"at": {"$lt": "2025-01-01"}}) == 1
        assert kb.count(F("at") == late) == 3
        assert kb.count(F("all") == early) == 1
        assert len(kb.search(vector=np.ones(3), boosts=Freshness("at", "30d"))) == 5


def test_columns_saved_by_the_old_rule_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_files, "_MIN_ROWS", 1)
    where: dict[str, Any] = {"at": {"$gte": "2025-01-01"}}
    monkeypatch.setattr(column_files, "_MAGIC", b"theocol1")
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([Document("a", {"at": "2025-06-15T12Z"}, id="a")], vectors=np.ones((1, 3)))

        def none(strings: list[str]) -> tuple[Any, Any]:
            """Read no dates, as earlier versions did."""
            return np.zeros(len(strings), np.bool_), np.zeros(len(strings), np.int64)

        monkeypatch.setattr(dictionary, "instants", none)
        with pytest.warns(MetadataWarning, match="holds only strings"):
            assert kb.count(where) == 0
    monkeypatch.undo()
    monkeypatch.setattr(column_files, "_MIN_ROWS", 1)
    (path,) = (tmp_path / "kb").glob("columns-*/*.column")
    assert path.read_bytes()[:8] == b"theocol1"
    shutil.copytree(tmp_path / "kb", tmp_path / "copy")
    with Retriever.open(tmp_path / "copy", read_only=True) as kb:
        assert kb.count(where) == 1
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.verify().sound
        assert not kb.verify().warnings
        assert kb.count(where) == 1
    assert path.read_bytes()[:8] == b"theocol2"
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.verify().checked["columns"] == 1
        assert kb.count(where) == 1
