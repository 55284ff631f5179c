"""Metadata as it is stored: JSON, plus dates and datetimes.

Dates travel as `{"$date": "2025-03-01"}` and datetimes as `{"$datetime": "2025-03-01T09:00:00+02:00"}`; a key of the
caller's own that starts with `$` is stored with one more `$`, so that nothing a caller writes can be taken for a tag.

What happens to values JSON does not have:

- tuples are stored, and come back, as lists; subclasses of str, int, float and dict, and numpy
  scalars, as plain values;
- a datetime keeps its instant and its offset from UTC, not the name of its zone; a naive one stays naive;
- names of more than 10,000 characters, which nothing could be filtered by, are refused with DocumentError;
- NaN and infinities, keys that are not strings, lone surrogates (which are not text), other types (sets, bytes,
  Decimal, ...) and more than 64 levels (or a cycle) are refused with DocumentError: nothing is changed in silence.
"""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any

import numpy as np

from theodolite.errors import DocumentError

MAX_DEPTH = 64

MAX_FIELD = 10_000
"""Characters of a field's name, dots included: SQLite would parse a longer one of a filter once for each document.

Earlier versions stored longer names: such documents are read, and can be updated.
"""

_PLAIN = frozenset({str, int, bool, type(None)})
_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def encode(metadata: Mapping[str, Any], *, canonical: bool = False) -> str:
    """The JSON text of `metadata`, keys in their order, or sorted with `canonical`.

    Raises:
        DocumentError: for a value or key that cannot be stored (the message names the path to it).
    """
    if not isinstance(metadata, Mapping):
        raise DocumentError(f"metadata is a {type(metadata).__name__}, not a mapping of names to values")
    try:
        text = (_canonical if canonical else _dumps)(_packed_mapping(metadata, "metadata", 1))
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        path = _not_text(metadata, "metadata") or "metadata"
        raise DocumentError(
            f"{path} holds a lone surrogate, which is not text and cannot be stored; decode the source with "
            "errors='replace'",
            path=path,
        ) from None
    except ValueError as error:
        if isinstance(error, DocumentError):
            raise
        # The only one left: an int too long for Python to print (sys.set_int_max_str_digits).
        raise DocumentError(f"metadata cannot be written as JSON: {error}") from None
    return text


def encode_to_store(metadata: Mapping[str, Any]) -> str:
    """The JSON text of new metadata. Raises DocumentError as `encode`, and for the name of a field that is too long."""
    text = encode(metadata)
    if len(text) > MAX_FIELD:  # no name is longer than all of it
        check_names(metadata)
    return text


def check_names(metadata: Mapping[str, Any]) -> None:
    """Raises DocumentError for the name of a field that is too long."""
    places: list[tuple[Any, int]] = [(metadata, 0)]
    while places:
        value, before = places.pop()
        if isinstance(value, Mapping):
            for key, item in value.items():
                if before + len(key) > MAX_FIELD:
                    raise DocumentError(
                        f"metadata has a field whose name has {before + len(key):,} characters ({key!r:.60}…); names "
                        f"have at most {MAX_FIELD:,}",
                        length=before + len(key),
                        limit=MAX_FIELD,
                    )
                places.append((item, before + len(key) + 1))
        elif isinstance(value, (list, tuple)):
            places += [(item, before) for item in value]


def decode(text: str) -> Any:
    """What `encode` was given, in new objects; also reads one value cut out of its text."""
    text = text.strip(" \t\n\r")
    found, end = (_TAGGED if "$" in text else _PLAINLY).raw_decode(text)  # half the time of json.loads for short ones
    if end != len(text):
        raise ValueError(f"there is more after character {end}")
    return found


def stored_key(key: str) -> str:
    """The name `key` has in the stored JSON."""
    return "$" + key if key.startswith("$") else key


def _packed(value: Any, path: str, depth: int) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic):
        value = plain_scalar(value, path)
    match value:
        case bool() | None:
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            if math.isfinite(value):
                return float(value)
            raise DocumentError(f"{path} is {value}, which JSON does not have; use None for a missing value", path=path)
        case datetime():
            return {"$datetime": plain_datetime(value, path).isoformat()}
        case date():
            return {"$date": date(value.year, value.month, value.day).isoformat()}
        case list() | tuple():
            _check_depth(path, depth + 1)
            return [_packed(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        case Mapping():
            return _packed_mapping(value, path, depth + 1)
    raise DocumentError(
        f"{path} is a {type(value).__name__}; metadata takes strings, numbers, booleans, None, dates, "
        "datetimes, and lists and mappings of these",
        path=path,
    )


def _packed_mapping(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    _check_depth(path, depth)
    packed = {}
    for key, item in value.items():
        if type(key) is not str and not isinstance(key, str):
            raise DocumentError(
                f"{path} has the key {key!r} ({type(key).__name__}); keys are strings, use {str(key)!r}",
                path=path,
            )
        packed["$" + key if key[:1] == "$" else key] = (
            item if type(item) in _PLAIN else _packed(item, f"{path}[{key!r}]", depth)
        )
    return packed


def _not_text(value: Any, path: str) -> str | None:
    """The path to the first string that is not text, be it a key; None where all are."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if _not_text(key, path) is not None:
                return f"the key {key!r:.80} of {path}"
            if (found := _not_text(item, f"{path}[{key!r}]")) is not None:
                return found
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            if (found := _not_text(item, f"{path}[{place}]")) is not None:
                return found
    return None


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DocumentError(f"metadata is nested deeper than {MAX_DEPTH} levels, or holds itself", path=path[:80])


def plain_scalar(value: np.generic, path: str) -> Any:
    """A numpy scalar as Python's own value. Raises DocumentError for times that Python cannot hold."""
    plain = value.item()
    if not isinstance(value, (np.datetime64, np.timedelta64)) or isinstance(plain, date):
        return plain
    # item() gives nanoseconds as a bare number.
    if isinstance(value, np.datetime64) and not np.isnat(value):
        micro = value.astype("datetime64[us]")
        if micro == value and isinstance(moment := micro.item(), datetime):
            return moment
    raise DocumentError(f"{path} is {value!r}, which is no datetime to the microsecond", path=path)


def plain_datetime(value: datetime, path: str) -> datetime:
    """A datetime at a fixed offset, or naive. Raises DocumentError for nanoseconds and zones without an offset."""
    try:
        offset = value.utcoffset()
        zone = None if offset is None else timezone(offset)
        plain = datetime(
            value.year,
            value.month,
            value.day,
            value.hour,
            value.minute,
            value.second,
            value.microsecond,
            zone,
        )
        if getattr(value, "nanosecond", 0):  # a pandas Timestamp
            raise ValueError("nanoseconds")
    except (TypeError, ValueError):
        raise DocumentError(f"{path} is {value!r}, which is no datetime to the microsecond", path=path) from None
    return plain


def _unpacked_pairs(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1:
        key, value = pairs[0]
        if key == "$date":
            return date.fromisoformat(value)
        if key == "$datetime":
            return datetime.fromisoformat(value)
    return {key[1:] if key.startswith("$") else key: value for key, value in pairs}


_PLAINLY = json.JSONDecoder()
_TAGGED = json.JSONDecoder(object_pairs_hook=_unpacked_pairs)
