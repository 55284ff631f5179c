"""Metadata in the columns `tokens` and `fields`: tokens for equality, under a GIN index, and typed scalars.

`remote.field_tokens` defines the tokens. The typed scalars are one JSON object: `n:path` holds numbers, exactly as
Python compares them (a float as its decimal expansion), `i:path` instants in microseconds, and `s:path` strings.

Range filters compare sort keys of these scalars, which have a bounded size, so that an index can hold them: a number
rounded to float8, an instant, and the first characters of a string. A sort key orders as its scalar does, except that
different scalars may have the same.

The token of a list treats all dates and strings of one instant as equal. `l:path` keeps the strings, so that `where`
can compare them exactly.
"""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from theodolite.engines.postgres.binary import sized, text_array
from theodolite.engines.remote.escaping import escape
from theodolite.engines.remote.field_tokens import BEYOND_INT64, date_strings, field_tokens, list_form, reachable
from theodolite.filters.dates import instant
from theodolite.filters.values import kind_of

SORT_KEYS: dict[str, str] = {
    "n": "(CASE WHEN fields ? {0} THEN least(greatest((fields->{0}::text)::numeric, -1e300), 1e300)::float8 END)",
    "i": "(fields->{0}::text)::bigint",
    "s": '(left(fields->>{0}::text, 500)) COLLATE "C"',
}
"""The sort key in SQL for each kind of scalar; {0} is the name of the scalar. NULL where there is none."""

MAX_SORT_TEXT = 500  # characters, of at most four bytes each: an entry of PostgreSQL's index has at most 2,704

_LARGEST_SORTED = 1e300
_EXACT = 1 << 53


def encode_fields(metadata: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the tokens of stored metadata as an array, and its typed scalars as jsonb, both in binary form."""
    tokens: list[bytes] = []
    scalars: list[str] = []
    for path, value in reachable(metadata).items():
        kind: Any = type(value)
        if kind in _SCALARS:
            found, typed = _encode_cached(path, kind, value)
        elif kind is list and _SCALARS.issuperset(types := tuple(map(type, value))):
            found, typed = _encode_list_cached(path, types, tuple(value))
        else:
            found, typed = _encode(path, kind, value)
        tokens += found
        if typed:
            scalars.append(typed)
    return text_array(tokens), b"\1{" + ",".join(scalars).encode() + b"}"


def _encode(path: str, kind: type, value: Any) -> tuple[tuple[bytes, ...], str]:
    """Return the tokens of one field, and its typed scalars, joined. `kind` keeps 1 and True apart in a cache."""
    kind_name = kind_of(value)
    tokens = field_tokens(path, value)
    scalars: list[str] = []
    if isinstance(value, list):
        variants = _date_variants(value)
        if variants:
            scalars.append(_entry("l", path, json.dumps(variants, ensure_ascii=False)))
    elif isinstance(value, (str, date)):
        if isinstance(value, str):
            scalars.append(_entry("s", path, json.dumps(escape(value), ensure_ascii=False)))
        moment = instant(value)
        if moment is not None:
            scalars.append(_entry("i", path, str(moment)))
    elif kind_name == "number":
        scalars.append(_entry("n", path, decimal_text(value)))
    return tuple(sized(token.encode()) for token in tokens), ",".join(scalars)


_SCALARS = frozenset({str, int, float, bool, type(None)})
_encode_cached = lru_cache(maxsize=1 << 14)(_encode)  # most fields have few different values


@lru_cache(maxsize=1 << 13)
def _encode_list_cached(path: str, types: tuple[type, ...], values: tuple[Any, ...]) -> tuple[tuple[bytes, ...], str]:
    return _encode(path, list, list(values))


def scalar_key(kind: str, path: str) -> str:
    """Return the name of a typed scalar; `kind` is n, i, s or l."""
    return f"{kind}:{escape(path)}"


def number_sort_key(number: int | float) -> tuple[float, bool]:
    """Return a number's sort key, and whether no other number has the same."""
    clamped = float(max(min(number, _LARGEST_SORTED), -_LARGEST_SORTED))
    return clamped, abs(number) < _EXACT


def decimal_text(value: int | float) -> str:
    """Return a finite number as an exact decimal."""
    if isinstance(value, int) and -BEYOND_INT64 < value < BEYOND_INT64:
        return str(value)
    return format(Decimal(value or 0), "f")  # without the sign of -0.0, which jsonb does not keep


def _date_variants(value: list[Any]) -> dict[str, list[list[str | None]]]:
    """Return the date strings in a list, by the form of the list or of the nested list that holds them."""
    variants: dict[str, list[list[str | None]]] = {}
    candidates = [("=", value), *(("*", item) for item in value if isinstance(item, list))]
    for place, candidate in candidates:
        strings = date_strings(candidate)
        if strings:
            variants.setdefault(place + list_form(candidate), []).append(strings)
    return {form: found for form, found in variants.items() if any(map(any, found))}


def _entry(kind: str, path: str, value: str) -> str:
    return f"{json.dumps(scalar_key(kind, path), ensure_ascii=False)}:{value}"
