"""Metadata in the columns `tokens` and `fields`: tokens for equality, under a GIN index, and typed scalars.

`remote.field_tokens` has the tokens. In lists, all dates have the form of their instant, and `l:path` in the scalars
holds the strings themselves, for a second look (see `where`).

The typed scalars are one JSON object: `n:path` has numbers, exactly as Python compares them (a float is its decimal
expansion), `i:path` instants in microseconds, `s:path` strings.
"""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from theodolite.engines.postgres.binary import sized, text_array
from theodolite.engines.remote.escaping import escape
from theodolite.engines.remote.field_tokens import date_strings, field_tokens, list_form, reachable
from theodolite.filters.dates import instant
from theodolite.filters.values import kind_of

_WORD = 1 << 63


def encode_fields(metadata: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the tokens of stored metadata as an array in binary form, and its typed scalars as JSON."""
    tokens: list[bytes] = []
    scalars: list[str] = []
    for path, value in reachable(metadata).items():
        kind: Any = type(value)
        if kind in _SCALARS:
            found, typed = _remembered(path, kind, value)
        elif kind is list and _SCALARS.issuperset(types := tuple(map(type, value))):
            found, typed = _remembered_list(path, types, tuple(value))
        else:
            found, typed = _encoded(path, kind, value)
        tokens += found
        if typed:
            scalars.append(typed)
    return text_array(tokens), "{" + ",".join(scalars) + "}"


def _encoded(path: str, kind: type, value: Any) -> tuple[tuple[bytes, ...], str]:
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
_remembered = lru_cache(maxsize=1 << 14)(_encoded)  # most fields have few different values


@lru_cache(maxsize=1 << 13)
def _remembered_list(path: str, types: tuple[type, ...], values: tuple[Any, ...]) -> tuple[tuple[bytes, ...], str]:
    return _encoded(path, list, list(values))


def scalar_key(kind: str, path: str) -> str:
    """Return the name of a typed scalar; `kind` is n, i, s or l."""
    return f"{kind}:{escape(path)}"


def decimal_text(value: int | float) -> str:
    """Return a finite number as an exact decimal."""
    if isinstance(value, int) and -_WORD < value < _WORD:
        return str(value)
    return format(Decimal(value), "f")


def _date_variants(value: list[Any]) -> dict[str, list[list[str | None]]]:
    """Return the strings in a list that name instants: by the form of the list, or of an element that is a list."""
    variants: dict[str, list[list[str | None]]] = {}
    candidates = [("=", value), *(("*", item) for item in value if isinstance(item, list))]
    for place, candidate in candidates:
        strings = date_strings(candidate)
        if strings:
            variants.setdefault(place + list_form(candidate), []).append(strings)
    return {form: found for form, found in variants.items() if any(map(any, found))}


def _entry(kind: str, path: str, value: str) -> str:
    return f"{json.dumps(scalar_key(kind, path), ensure_ascii=False)}:{value}"
