"""The engine contract: summaries of metadata fields."""

import warnings
from datetime import UTC, datetime
from typing import Any

from theodolite.errors import MetadataWarning
from theodolite.filters import Compare, In, matches
from theodolite.filters.summary import summarize_documents
from theodolite.protocols import Scope
from theodolite.testing.checks import check
from theodolite.testing.engine_filters import NESTED, VALUES
from theodolite.testing.engine_writes import METADATA
from theodolite.testing.reference import EngineUnderTest, Pair, drawn
from theodolite.types import Document, Field, Space
from theodolite.vectors.prepare import prepare

_NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)

TOLD: tuple[tuple[tuple[dict[str, Any], ...], dict[str, Field]], ...] = (
    ((), {}),
    (({}, {}), {}),
    (({"a": None}, {}), {"a": Field(1, {"none": 1})}),
    (
        ({"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": "b"}, {"a": "b"}),
        {
            "a": Field(
                6, {"string": 3, "number": 2, "boolean": 1}, ((1, 2), ("b", 2), (True, 1), ("1", 1)), numbers=(1, 1)
            )
        },
    ),
    (
        ({"tags": ["x", "y", "x"]}, {"tags": ["x", 3, None, [1], {}]}, {"tags": []}, {"tags": "x"}),
        {
            "tags": Field(
                4,
                {"list": 3, "string": 1},
                (("x", 3), (3, 1), ("y", 1)),
                elements={"string": 2, "list": 1, "mapping": 1, "none": 1, "number": 1},
            )
        },
    ),
    (
        ({"l": [True, "2025-01-01", _NEW_YEAR]}, {"l": [2**70, 1.5]}, {"l": [["a"]]}, {"l": ["3/1/2025"]}),
        {
            "l": Field(
                4,
                {"list": 4},
                ((True, 1), (_NEW_YEAR, 1), (1.5, 1), (2**70, 1), ("2025-01-01", 1), ("3/1/2025", 1)),
                elements={"boolean": 1, "date": 1, "list": 1, "number": 1, "string": 1},
            )
        },
    ),
    (
        ({"on": "3/1/2025"}, {"on": "2025-02-30"}, {"on": "Jan 5, 2025"}, {"on": " 2025-01-01"}, {"on": "20250101"}),
        {
            "on": Field(
                5,
                {"string": 5},
                ((" 2025-01-01", 1), ("2025-02-30", 1), ("20250101", 1), ("3/1/2025", 1), ("Jan 5, 2025", 1)),
                unreadable_dates=4,
            )
        },
    ),
    (
        ({"on": "2025-01-01"}, {"on": _NEW_YEAR.date()}, {"on": _NEW_YEAR}, {"on": "2025"}),
        {
            "on": Field(
                4,
                {"date": 3, "string": 1},
                ((_NEW_YEAR, 2), ("2025", 1), ("2025-01-01", 1)),
                dates=(_NEW_YEAR, _NEW_YEAR),
            )
        },
    ),
    (
        ({"n": 2**70}, {"n": -1.5}, {"n": 3}, {"n": float(2**70)}),
        {"n": Field(4, {"number": 4}, ((2**70, 2), (-1.5, 1), (3, 1)), numbers=(-1.5, 2**70))},
    ),
    # A literal key takes precedence over the path, as in filters.
    (
        ({"a": {"b": 1}, "a.b": 2}, {"a": {"b": {"c": {"d": {"e": 1}}}}}, {"a.b.c.d.e": 1}, {"$x": 1}),
        {
            "$x": Field(1, {"number": 1}, ((1, 1),), (1, 1)),
            "a": Field(2, {"mapping": 2}),
            "a.b": Field(2, {"mapping": 1, "number": 1}, ((2, 1),), (2, 2)),
            "a.b.c": Field(1, {"mapping": 1}),
            "a.b.c.d": Field(1, {"mapping": 1}),
        },
    ),
)
"""Metadata, and the expected summary of its fields."""


class FieldsContract(EngineUnderTest):
    """Tests of field summaries: exactly the names, kinds, values and ranges of the documents in scope."""

    def test_fields_are_what_the_manual_says(self) -> None:
        for metadata, expected in TOLD:
            with self.opened() as pair:
                _add(pair, metadata)
                _check(pair.engine.fields(), expected, f"of {metadata}")

    def test_fields_agree_with_the_reference(self) -> None:
        with self.opened() as pair:
            _add(pair, ({"f": value, "g": [value]} for value in VALUES))
            _add(pair, [*METADATA, *NESTED], "m")
            _check_pair(pair)
            # Repeat after the values have moved: no cached value may be stale.
            pair.update({f"d{i}": {"f": VALUES[i - 1], "new": i} for i in range(0, len(VALUES), 2)}, replace=True)
            _check_pair(pair)
            pair.delete([f"m{i}" for i in range(len(METADATA))])
            _check_pair(pair)
            pair.clear()
            _check_pair(pair)
            _add(pair, ({"f": 1}, {"h": {"i": None}}))
            _check_pair(pair)

    def test_at_most_the_requested_values_are_listed(self) -> None:
        with self.opened() as pair:
            _add(pair, ({"n": i % 4, "t": [str(i % 3)], "i": i} for i in range(12)))
            for most in (0, 2, 3, 4, 11, 12):
                found = {name: len(field.values) for name, field in pair.engine.fields(values=most).items()}
                expected = {name: size if size <= most else 0 for name, size in (("i", 12), ("n", 4), ("t", 3))}
                check(found == expected, f"asked for at most {most} values it tells {found}, not {expected}")

    def test_fields_of_a_scope_are_its_own(self) -> None:
        """Check, on every engine, that no names, counts or values of documents outside the scope leak."""
        with self.opened() as pair:
            _add(pair, ({"side": i % 2, f"only{i % 2}": i, "n": 10 * i, "t": [i % 2]} for i in range(10)))
            found = pair.engine.fields(scope=Scope(None, In("side", (1,))))
            mine = [document for document in pair.documents if document.metadata["side"] == 1]
            _check(found, _reference(mine, 20), "of a scope")
            check(not pair.engine.fields(scope=Scope(None, In("side", (3,)))), "an empty scope has fields")
        engine = self.partitioned(Space("cosine"), "tenant")
        if engine is None:
            return
        made = [
            Document("", {"tenant": tenant, f"of-{tenant}": 1, "n": number}, str(number))
            for tenant in ("acme", 7, "7")
            for number in range(3)
        ]
        vectors, space = prepare(drawn(1, len(made)), engine.space)
        engine.add(made, vectors, space)
        for tenant in ("acme", 7, "7"):
            mine = [one for one in made if one.metadata["tenant"] == tenant]
            _check(engine.fields(scope=Scope(tenant)), _reference(mine, 20), f"of the partition {tenant!r}")
        check(engine.fields()["n"].count == len(made), "outside of scopes not all documents count")
        engine.close()

    def test_fields_under_a_filter_are_of_documents_that_pass(self) -> None:
        with self.opened() as pair:
            _add(pair, ({"side": i % 2, f"only{i % 2}": i, "n": 10 * i, "t": [i % 3]} for i in range(12)))
            for where, scope in (
                (In("side", (1,)), None),
                (Compare("n", "$gte", 60), None),
                (In("t", (2,)), Scope(None, In("side", (1,)))),
                (In("side", (0,)), Scope(None, In("side", (1,)))),
                (In("missing", (0,)), None),
            ):
                inside = [where] if scope is None or scope.where is None else [where, scope.where]
                mine = [one for one in pair.documents if all(matches(tree, one.metadata, one.id) for tree in inside)]
                with warnings.catch_warnings(action="ignore", category=MetadataWarning):
                    found = pair.engine.fields(where, scope=scope)
                _check(found, _reference(mine, 20), f"under {where} in {scope}")


def _add(pair: Pair, metadata: Any, name: str = "d") -> None:
    made = [Document("", one, f"{name}{i}") for i, one in enumerate(metadata)]
    if made:
        pair.add(made, drawn(1, len(made)))


def _reference(documents: list[Document], most: int) -> dict[str, Field]:
    return summarize_documents((document.metadata for document in documents), most)


def _check_pair(pair: Pair) -> None:
    for most in (20, 1000):
        _check(pair.engine.fields(values=most), _reference(pair.documents, most), f"with at most {most} values")


def _check(found: dict[str, Field], expected: dict[str, Field], what: str) -> None:
    check(list(found) == list(expected), f"fields {what}: it names {list(found)}, not {list(expected)}")
    for name, field in expected.items():
        # Compare as strings too: in Python True equals 1.
        same = found[name] == field and [str(one[0]) for one in found[name].values] == [
            str(one[0]) for one in field.values
        ]
        check(same, f"fields {what}: {name!r} is {found[name]}, not {field}")
