"""Filters written in Python: `(F("year") >= 2024) & ~F("lang").isin(["de", "fr"])`."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from theodolite.filters.operands import check_field
from theodolite.filters.parse import condition, named
from theodolite.filters.tree import Filter


class F:
    """A field of the metadata; comparing it gives a filter. Combine filters with `&`, `|` and `~`.

    A dotted name reaches into mappings. Each method is the operator of the same name in the dictionary form.
    """

    __hash__ = None  # type: ignore[assignment]  # == builds a filter

    def __init__(self, name: str) -> None:
        check_field(name)
        self._name = name

    @staticmethod
    def ids(ids: str | Iterable[str]) -> Filter:
        """`$id`: the documents with these ids."""
        return named("$eq" if isinstance(ids, str) else "$in", ids if isinstance(ids, str) else _listed(ids))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]  # a filter, as in every query builder
        return condition(self._name, "$eq", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]  # a filter
        return condition(self._name, "$ne", value)

    def __gt__(self, value: Any) -> Filter:
        return condition(self._name, "$gt", value)

    def __ge__(self, value: Any) -> Filter:
        return condition(self._name, "$gte", value)

    def __lt__(self, value: Any) -> Filter:
        return condition(self._name, "$lt", value)

    def __le__(self, value: Any) -> Filter:
        return condition(self._name, "$lte", value)

    def isin(self, values: Iterable[Any]) -> Filter:
        """`$in`: equal to one of the values, or with an element that is."""
        return condition(self._name, "$in", _listed(values))

    def notin(self, values: Iterable[Any]) -> Filter:
        """`$nin`: not `isin`; so it holds where the field is missing."""
        return condition(self._name, "$nin", _listed(values))

    def all(self, values: Iterable[Any]) -> Filter:
        """`$all`: a list that has each of the values."""
        return condition(self._name, "$all", _listed(values))

    def between(self, low: Any, high: Any) -> Filter:
        """`$between`: from `low` to `high`, both included."""
        return condition(self._name, "$between", [low, high])

    def exists(self, there: bool = True) -> Filter:
        """`$exists`: the field is there, be it None."""
        return condition(self._name, "$exists", there)

    def empty(self, is_empty: bool = True) -> Filter:
        """`$empty`: missing, None, an empty string or an empty list."""
        return condition(self._name, "$empty", is_empty)

    def contains(self, value: Any) -> Filter:
        """`$contains`: an element of a list, or a substring of a string."""
        return condition(self._name, "$contains", value)

    def like(self, pattern: str) -> Filter:
        """`$like`: a pattern for the whole string, % for any characters, _ for one."""
        return condition(self._name, "$like", pattern)

    def ilike(self, pattern: str) -> Filter:
        """`$ilike`: as `like`, small and capital letters alike."""
        return condition(self._name, "$ilike", pattern)


def _listed(values: Any) -> Any:
    """Any iterable as a list; what the operator refuses stays as it is."""
    refused = isinstance(values, (str, bytes, Mapping, np.ndarray)) or not isinstance(values, Iterable)
    return values if refused else list(values)
