"""Filters written in Python: `(F("year") >= 2024) & ~F("lang").isin(["de", "fr"])`."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from theodolite.filters.parse import check_field, field_condition, id_condition
from theodolite.filters.tree import Filter


class F:
    """A field of the metadata. Comparing it gives a filter; combine filters with `&`, `|` and `~`.

    A dotted name reaches into mappings. Each method is the operator of the same name in the dictionary form.
    """

    __hash__ = None  # type: ignore[assignment]  # == builds a filter

    def __init__(self, name: str) -> None:
        check_field(name)
        self._name = name

    @staticmethod
    def ids(ids: str | Iterable[str]) -> Filter:
        """`$id`: the document has one of these ids."""
        return id_condition("$eq", ids) if isinstance(ids, str) else id_condition("$in", _as_list(ids))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]  # a filter, as in every query builder
        return self._condition("$eq", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]  # a filter
        return self._condition("$ne", value)

    def __gt__(self, value: Any) -> Filter:
        return self._condition("$gt", value)

    def __ge__(self, value: Any) -> Filter:
        return self._condition("$gte", value)

    def __lt__(self, value: Any) -> Filter:
        return self._condition("$lt", value)

    def __le__(self, value: Any) -> Filter:
        return self._condition("$lte", value)

    def isin(self, values: Iterable[Any]) -> Filter:
        """`$in`: the field, or an element of its list, equals one of the values."""
        return self._condition("$in", _as_list(values))

    def notin(self, values: Iterable[Any]) -> Filter:
        """`$nin`: the opposite of `isin`, so it also holds if the field is missing."""
        return self._condition("$nin", _as_list(values))

    def all(self, values: Iterable[Any]) -> Filter:
        """`$all`: the field is a list that contains each of the values."""
        return self._condition("$all", _as_list(values))

    def between(self, low: Any, high: Any) -> Filter:
        """`$between`: from `low` to `high`, both included."""
        return self._condition("$between", [low, high])

    def exists(self, exists: bool = True) -> Filter:
        """`$exists`: the field exists; its value may be None."""
        return self._condition("$exists", exists)

    def empty(self, empty: bool = True) -> Filter:
        """`$empty`: the field is missing, None, an empty string or an empty list."""
        return self._condition("$empty", empty)

    def contains(self, value: Any) -> Filter:
        """`$contains`: the field is a list with this element, or a string with this substring."""
        return self._condition("$contains", value)

    def like(self, pattern: str) -> Filter:
        """`$like`: the whole string matches a pattern, in which % is any characters and _ is one."""
        return self._condition("$like", pattern)

    def ilike(self, pattern: str) -> Filter:
        """`$ilike`: like `like`, ignoring case."""
        return self._condition("$ilike", pattern)

    def _condition(self, operator: str, value: Any) -> Filter:
        return field_condition(self._name, operator, value)


def _as_list(values: Any) -> Any:
    """Return any iterable as a list. Values that the operator refuses are returned unchanged."""
    refused = isinstance(values, (str, bytes, Mapping, np.ndarray)) or not isinstance(values, Iterable)
    return values if refused else list(values)
