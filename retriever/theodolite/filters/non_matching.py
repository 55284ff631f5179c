"""Explain why a filter cannot match: no document has its fields, or they hold other kinds of values.

Such a filter is not an error, since matching documents may be added later. But a misspelled field looks the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, assert_never

from theodolite.errors import closest, short_repr
from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or, Test
from theodolite.filters.values import kind_of, orderable
from theodolite.types import Field, FieldKind

_PLURALS: Mapping[FieldKind, str] = {
    "string": "strings",
    "number": "numbers",
    "boolean": "booleans",
    "date": "dates",
    "list": "lists",
    "mapping": "mappings",
    "none": "None",
}
_ORDERED: Mapping[str, FieldKind] = {"number": "number", "instant": "date", "text": "string"}
_LISTED = 8  # fields named in a note if no field is similar to the missing one


def non_matching_notes(
    tree: Filter, known: Mapping[str, Field], names: Callable[[], Iterable[str]], *, where: str = "document"
) -> tuple[str, ...]:
    """Explain why no document can match a filter, with a note for each field; empty if a document could.

    Args:
        known: the filter's fields that some document has, with their kinds of values.
        names: returns names of fields that documents have, to suggest one.
        where: the noun for what lacks the fields.
    """
    _, failing = _impossible(tree, known, negated=False)
    wanted: dict[str, list[str]] = {}
    for test in failing:
        kinds = wanted.setdefault(test.field, [])
        kinds += [kind for kind in _wanted_kinds(test) if kind not in kinds]
    return tuple(
        f"the filter on {short_repr(field)} cannot match: "
        + (_other_kinds(field, known[field], kinds, names) if field in known else missing_field(field, names(), where))
        for field, kinds in wanted.items()
    )


def _impossible(tree: Filter, known: Mapping[str, Field], *, negated: bool) -> tuple[bool, list[Test]]:
    """Return whether no document can match, and the tests that are the reason."""
    match tree:
        case Not(part=part):
            return _impossible(part, known, negated=not negated)
        case And(parts=parts) | Or(parts=parts):
            results = [_impossible(part, known, negated=negated) for part in parts]
            impossible = [never for never, _ in results]
            # A negated `and` is an `or` of negations, and the other way round.
            never = all(impossible) if isinstance(tree, Or) != negated else any(impossible)
            return never, [test for stuck, tests in results if stuck and never for test in tests]
        case Ids():
            return False, []
        case In(values=()):
            return not negated, []  # an empty list of values is meant to match nothing
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            never = not negated and not _possible(tree, known.get(tree.field))
            return never, [tree] if never else []
        case _:
            assert_never(tree)


def _possible(test: Test, field: Field | None) -> bool:
    """Return whether a field with these kinds of values may pass the test."""
    kinds = set() if field is None else set(field.kinds)
    elements = set() if field is None else set(field.elements)
    match test:
        case In(values=values):
            return _any_among(values, kinds | elements)
        case Compare(value=value):
            order = orderable(value)
            return order is not None and _ORDERED[order[0]] in kinds
        case Contains(value=value):
            return _is_among(value, elements) or (isinstance(value, str) and bool({"string", "date"} & kinds))
        case Like():
            return bool({"string", "date"} & kinds)
        case Exists():
            return bool(kinds)
        case Empty():
            return True
        case _:
            assert_never(test)


def _any_among(values: Sequence[Any], kinds: set[FieldKind]) -> bool:
    """Return whether one of the values is None or of one of the kinds. There may be a million values."""
    by_type = {type(value): value for value in values}  # one of each type decides, except for strings
    if any(value is None or _is_among(value, kinds) for value in by_type.values()):
        return True
    return ("string" in kinds) != ("date" in kinds) and any(_is_among(v, kinds) for v in values if isinstance(v, str))


def _is_among(value: Any, kinds: set[FieldKind]) -> bool:
    """Return whether a value is of one of the kinds. Parses a string as a date only if necessary."""
    if isinstance(value, str) and ("string" in kinds) == ("date" in kinds):
        return "string" in kinds
    return kind_of(value) in kinds


def _wanted_kinds(test: Test) -> list[str]:
    """Return the kinds of values that a test asks for, in words."""
    match test:
        case In(values=values):
            found = list(dict.fromkeys(map(kind_of, values[:_LISTED])))
        case Compare(value=value):
            found = [_ORDERED[order[0]] for order in [orderable(value)] if order is not None]
        case Contains(value=value):
            return [f"lists with {_PLURALS[kind_of(value)]}"] + ["strings"] * isinstance(value, str)
        case _:
            found = ["string"]
    return [_PLURALS[kind] for kind in found]


def missing_field(field: str, names: Iterable[str], where: str = "document") -> str:
    """Say that no document has a field, and suggest one of these names."""
    listed = sorted(names)
    close = closest(field, listed)
    if close is not None:
        return f"no {where} has this field. Did you mean {short_repr(close)}?"
    names_shown = ", ".join(map(short_repr, listed[:_LISTED])) + (", ..." if len(listed) > _LISTED else "")
    return f"no {where} has this field" + (f". Known fields: {names_shown}" if listed else "")


def _other_kinds(field: str, stored: Field, wanted: list[str], names: Callable[[], Iterable[str]]) -> str:
    kinds = [kind for kind in stored.kinds if kind != "none"]
    words = [_PLURALS[kind] if kind != "list" or not stored.elements else _lists(stored) for kind in kinds]
    inside = sorted(name for name in names() if name.startswith(f"{field}.")) if "mapping" in stored.kinds else []
    hint = f". Name a field inside, such as {short_repr(inside[0])}" if inside else ""
    return f"it asks for {_enumerate(wanted)}, and the field holds only {_enumerate(words) or 'None'}{hint}"


def _lists(stored: Field) -> str:
    return f"lists of {_enumerate([_PLURALS[kind] for kind in stored.elements])}"


def _enumerate(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
