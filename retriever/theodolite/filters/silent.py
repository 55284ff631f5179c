"""Filters that cannot match: their fields are nowhere, or hold other kinds of values than the filter asks for.

That is no error, since such documents may come later; but a misspelt field looks just like it.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

from theodolite.filters.operands import shown
from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or, Test
from theodolite.filters.values import kind_of, orderable
from theodolite.types import Field, FieldKind

_MANY: Mapping[FieldKind, str] = {
    "string": "strings",
    "number": "numbers",
    "boolean": "booleans",
    "date": "dates",
    "list": "lists",
    "mapping": "mappings",
    "none": "None",
}
_ORDERED: Mapping[str, FieldKind] = {"number": "number", "instant": "date", "text": "string"}
_LISTED = 8  # fields that a note names where none is like the one that is missing
_LONG = 64  # longer names are not compared: that takes time with the square of their length


def silent_notes(
    tree: Filter, known: Mapping[str, Field], names: Callable[[], Iterable[str]], *, where: str = "document"
) -> tuple[str, ...]:
    """Why no document can pass a filter; nothing where one could.

    Args:
        known: what documents hold in the fields that the filter names, as far as some document has them.
        names: gives fields that documents have, for what may have been meant.
        where: what lacks the fields, in words.
    """
    _, blamed = _impossible(tree, known, negated=False)
    wanted: dict[str, list[str]] = {}
    for test in blamed:
        asked = wanted.setdefault(test.field, [])
        asked += [kind for kind in _wanted(test) if kind not in asked]
    return tuple(
        f"the filter on {shown(field)} cannot match: "
        + (_other_kinds(field, known[field], asked, names) if field in known else _nowhere(field, names(), where))
        for field, asked in wanted.items()
    )


def meant(name: Any, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None where none is."""
    if not isinstance(name, str) or len(name) > _LONG:
        return None
    folded = {one.casefold(): one for one in known if len(one) <= _LONG}
    close = difflib.get_close_matches(name.casefold(), folded, 1)
    return folded[close[0]] if close else None


def _impossible(tree: Filter, known: Mapping[str, Field], *, negated: bool) -> tuple[bool, list[Test]]:
    """Whether no document can pass, and the tests that are the reason."""
    match tree:
        case Not(part=part):
            return _impossible(part, known, negated=not negated)
        case And(parts=parts) | Or(parts=parts):
            found = [_impossible(part, known, negated=negated) for part in parts]
            stuck = [never for never, _ in found]
            never = all(stuck) if isinstance(tree, Or) != negated else any(stuck)
            return never, [test for stuck, tests in found if stuck and never for test in tests]
        case Ids():
            return False, []
        case In(values=()):
            return not negated, []  # says itself that nothing passes
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            never = not negated and not _possible(tree, known.get(tree.field))
            return never, [tree] if never else []
        case _:
            assert_never(tree)


def _possible(test: Test, field: Field | None) -> bool:
    """Whether a field with these kinds of values may pass."""
    held = set() if field is None else set(field.kinds)
    inner = set() if field is None else set(field.elements)
    match test:
        case In(values=values):
            return any(value is None or _among(value, held | inner) for value in values)
        case Compare(value=value):
            order = orderable(value)
            return order is not None and _ORDERED[order[0]] in held
        case Contains(value=value):
            return _among(value, inner) or (isinstance(value, str) and bool({"string", "date"} & held))
        case Like():
            return bool({"string", "date"} & held)
        case Exists():
            return bool(held)
        case Empty():
            return True
        case _:
            assert_never(test)


def _among(value: Any, kinds: set[FieldKind]) -> bool:
    """Whether a value is of one of the kinds. Reads a string as a date only where that decides."""
    if isinstance(value, str) and ("string" in kinds) == ("date" in kinds):
        return "string" in kinds
    return kind_of(value) in kinds


def _wanted(test: Test) -> list[str]:
    """The kinds of values that a test asks for, in words."""
    match test:
        case In(values=values):
            found = list(dict.fromkeys(map(kind_of, values[:_LISTED])))
        case Compare(value=value):
            found = [_ORDERED[order[0]] for order in [orderable(value)] if order is not None]
        case Contains(value=value):
            return [f"lists with {_MANY[kind_of(value)]}"] + ["strings"] * isinstance(value, str)
        case _:
            found = ["string"]
    return [_MANY[kind] for kind in found]


def _nowhere(field: str, names: Iterable[str], where: str) -> str:
    listed = sorted(names)
    close = meant(field, listed)
    if close is not None:
        return f"no {where} has this field. Did you mean {shown(close)}?"
    there = ", ".join(map(shown, listed[:_LISTED])) + (", ..." if len(listed) > _LISTED else "")
    return f"no {where} has this field" + (f". There are {there}" if listed else "")


def _other_kinds(field: str, held: Field, asked: list[str], names: Callable[[], Iterable[str]]) -> str:
    kinds = [kind for kind in held.kinds if kind != "none"]
    words = [_MANY[kind] if kind != "list" or not held.elements else _lists(held) for kind in kinds]
    inside = sorted(name for name in names() if name.startswith(f"{field}.")) if "mapping" in held.kinds else []
    hint = f". Name a field inside, such as {shown(inside[0])}" if inside else ""
    return f"it asks for {_joined(asked)}, and the field holds only {_joined(words) or 'None'}{hint}"


def _lists(held: Field) -> str:
    return f"lists of {_joined([_MANY[kind] for kind in held.elements])}"


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
