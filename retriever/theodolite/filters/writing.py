"""Filters as dictionaries again."""

from datetime import date, datetime
from typing import Any, assert_never

from theodolite.filters.operands import ID
from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or


def to_dict(tree: Filter | None) -> dict[str, Any]:
    """The dictionary form of a filter, of JSON values only: `parse` makes the same tree of it.

    Dates are written as `{"$date": "2025-03-01"}` and datetimes as `{"$datetime": ...}`, as metadata stores them.
    """
    match tree:
        case None:
            return {}
        case In(field=field, values=(value,)):
            return {field: {"$eq": _plain(value)}}
        case In(field=field, values=values):
            return {field: {"$in": [_plain(value) for value in values]}}
        case Compare(field=field, order=order, value=value):
            return {field: {order: _plain(value)}}
        case Exists(field=field):
            return {field: {"$exists": True}}
        case Empty(field=field):
            return {field: {"$empty": True}}
        case Contains(field=field, value=value):
            return {field: {"$contains": _plain(value)}}
        case Like(field=field, pattern=pattern, ignore_case=ignore_case):
            return {field: {"$ilike" if ignore_case else "$like": pattern}}
        case Ids(ids=ids):
            return {ID: sorted(ids)}
        case Not(part=part):
            return {"$not": to_dict(part)}
        case And(parts=parts):
            return {"$and": [to_dict(part) for part in parts]} if parts else {}
        case Or(parts=parts):
            return {"$or": [to_dict(part) for part in parts]} if parts else {"$not": {}}
        case _:
            assert_never(tree)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
