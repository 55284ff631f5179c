"""Conversion of LlamaIndex `MetadataFilters` to filters of the core, which apply before the best are selected.

The filters match the predicate of llama-index-core 0.14.25 (`build_metadata_filter_fn`) wherever it returns a bool.
docs/llama-index.md describes each operator, and the differences where the predicate returns no bool.
"""

import math
import re
from collections.abc import Callable, Iterable
from datetime import date
from functools import reduce
from itertools import product
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from theodolite import F, FilterError, instant

_DEEPEST = 64  # levels, as in the core; far below Python's recursion limit
_LONGEST_TEXT = 100  # characters; such a text has about 5,000 substrings
_LONGEST = 8  # maximum 0s and 1s in a list compared as a whole: each may also be a bool


def as_where(filters: Any) -> Any:
    """Convert filters to a filter of the core, or None if all nodes pass.

    Args:
        filters: `MetadataFilters`, a `MetadataFilter`, or a theodolite filter, which is returned unchanged.

    Raises:
        FilterError: an operator has an invalid value, or filters are nested more than 64 levels deep.
    """
    return _where(filters, 1)


def _where(filters: Any, level: int) -> Any:
    if isinstance(filters, MetadataFilter):
        return _condition(filters)
    if isinstance(filters, (list, tuple)):
        raise FilterError("filters is a list; pass MetadataFilters(filters=[...])")
    if not isinstance(filters, MetadataFilters):
        return filters or None if isinstance(filters, dict) else filters
    if level > _DEEPEST:
        raise FilterError(f"the filters are nested deeper than {_DEEPEST} levels")
    parts = [_where(part, level + 1) for part in filters.filters]
    if not parts:
        return None
    if filters.condition in (None, FilterCondition.AND):
        return _joined(parts)
    if any(part is None for part in parts):  # an empty nested filter, which every node passes
        return None if filters.condition is FilterCondition.OR else _nothing("id")
    passes = _either(parts)
    return passes if filters.condition is FilterCondition.OR else ~passes


def _joined(parts: Iterable[Any]) -> Any:
    given = [part for part in parts if part is not None]
    return reduce(lambda one, other: one & other, given) if given else None


def _condition(one: MetadataFilter) -> Any:
    field, operator, value = one.key, one.operator, one.value
    match operator:
        case FilterOperator.EQ:
            return _equal(field, value)
        case FilterOperator.NE:
            return ~_equal(field, value)
        case FilterOperator.IN:
            return _among(field, _members(one))
        case FilterOperator.NIN:
            return ~_among(field, _members(one))
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            return _ordered(one)
        case FilterOperator.CONTAINS:
            return _contains(field, value)
        case FilterOperator.ANY:
            values = _listed(one)
            return _either(_contains(field, item) for item in values) if values else _nothing(field)
        case FilterOperator.ALL:
            values = _listed(one)
            # For an empty list, every node with the field passes.
            return _joined(_contains(field, item) for item in values) if values else _present(field)
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE:
            if not isinstance(value, str):
                raise _refused(one, "a string")
            pattern = "%" + re.sub(r"([\\%_])", r"\\\1", value) + "%"
            return F(field).like(pattern) if operator is FilterOperator.TEXT_MATCH else F(field).ilike(pattern)
        case FilterOperator.IS_EMPTY:
            return F(field).empty()
    raise FilterError(f"unknown operator {operator!r} on field {field!r}", operator=str(operator), field=field)


def _equal(field: str, value: Any) -> Any:
    if value is None:
        return _nothing(field)  # a field that is None equals nothing, as in SQL
    if not isinstance(value, list):
        return _among(field, [value])
    if sum(item in (0, 1) for item in value) > _LONGEST:
        raise FilterError(
            f"field {field!r} is compared with a list that has more than {_LONGEST} numbers that are 0 or 1, each of "
            "which may be a bool, too; use the operator 'all'",
            field=field,
        )
    whole = [list(items) for items in product(*map(_forms, value))] if _known(value) else []
    return _either(F(field).isin([items]) & ~F(field).contains(items) for items in whole) if whole else _nothing(field)


def _among(field: str, values: list[Any]) -> Any:
    """Match stored values that are one of `values` and not a list."""
    values = [value for value in values if _known([value])]
    texts, numbers = ([value for value in values if isinstance(value, str) is kind] for kind in (True, False))
    parts = []
    if texts:  # order comparisons match only scalars, so they exclude lists
        parts.append(F(field).isin(texts) & _either([F(field) >= "", F(field) >= date.min]))
    if numbers:
        parts.append(F(field).isin(numbers) & (F(field) >= -math.inf))
    parts += _bools(field, lambda stored: stored in numbers)
    return _either(parts) if parts else _nothing(field)


def _ordered(one: MetadataFilter) -> Any:
    field, operator, value = one.key, one.operator, one.value
    if isinstance(value, str):
        # Text that is not a date is compared with stored dates as strings, and the reverse.
        if instant(value) is not None:
            text, upwards = value + "\0", operator in (FilterOperator.GT, FilterOperator.GTE)
            return _compare(field, operator, value) | (F(field) >= text if upwards else F(field) < text)
        day = _first_day_after(value)
        if operator in (FilterOperator.GT, FilterOperator.GTE):
            dates = _nothing(field) if day is None else F(field) >= day
        else:
            dates = F(field) >= date.min if day is None else F(field) < day
        return _compare(field, operator, value) | dates
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _refused(one, "a number or a string")
    if not _known([value]):
        return _nothing(field)
    passes = {
        FilterOperator.GT: lambda stored: stored > value,
        FilterOperator.GTE: lambda stored: stored >= value,
        FilterOperator.LT: lambda stored: stored < value,
        FilterOperator.LTE: lambda stored: stored <= value,
    }[operator]
    return _either([_compare(field, operator, value), *_bools(field, passes)])


def _compare(field: str, operator: FilterOperator, value: Any) -> Any:
    match operator:
        case FilterOperator.GT:
            return F(field) > value
        case FilterOperator.GTE:
            return F(field) >= value
        case FilterOperator.LT:
            return F(field) < value
        case _:
            return F(field) <= value


def _contains(field: str, value: Any) -> Any:
    if isinstance(value, list):
        return F(field).contains(value) if _known(value) else _nothing(field)
    return _either(F(field).contains(form) for form in _forms(value)) if _known([value]) else _nothing(field)


def _bools(field: str, passes: Callable[[bool], bool]) -> list[Any]:
    """Match stored bools as numbers. In Python True is 1 and False is 0; in the core bools are not numbers."""
    return [F(field).isin([stored]) & ~F(field).contains(stored) for stored in (False, True) if passes(stored)]


def _forms(value: Any) -> list[Any]:
    return [value, bool(value)] if not isinstance(value, str) and value in (0, 1) else [value]


def _known(values: list[Any]) -> bool:
    """Return whether every value can equal something. NaN equals nothing."""
    return all(value == value for value in values)


def _members(one: MetadataFilter) -> list[Any]:
    """Return the members of the value. As in Python, the members of a string are all its substrings."""
    if not isinstance(one.value, str):
        return _listed(one)
    if len(one.value) > _LONGEST_TEXT:
        raise _refused(one, f"a list of values, or a string of at most {_LONGEST_TEXT} characters")
    ends = range(len(one.value) + 1)
    return list({one.value[start:end] for end in ends for start in ends[: end + 1]})


def _listed(one: MetadataFilter) -> list[Any]:
    if not isinstance(one.value, (list, str)):
        raise _refused(one, "a list of values")
    return list(one.value)


def _present(field: str) -> Any:
    return ~F(field).isin([None]) | F(field).contains(None)


def _nothing(field: str) -> Any:
    return F(field).isin([])


def _either(parts: Iterable[Any]) -> Any:
    return reduce(lambda one, other: one | other, parts)


def _first_day_after(text: str) -> date | None:
    """Return the first day whose ISO string sorts after the text, or None."""
    low, high = date.min.toordinal(), date.max.toordinal() + 1
    while low < high:
        middle = (low + high) // 2
        if date.fromordinal(middle).isoformat() > text:
            high = middle
        else:
            low = middle + 1
    return None if low > date.max.toordinal() else date.fromordinal(low)


def _refused(one: MetadataFilter, wanted: str) -> FilterError:
    operator = one.operator.value
    return FilterError(
        f"{operator!r} on {one.key!r} takes {wanted}, not {one.value!r}", operator=operator, field=one.key
    )
