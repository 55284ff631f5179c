"""The stored form of metadata: JSON, plus dates and datetimes.

Dates are stored as `{"$date": "2025-03-01"}` and datetimes as `{"$datetime": "2025-03-01T09:00:00+02:00"}`. A user's
key that starts with `$` is stored with one more `$`, so it cannot be confused with a tag.

Values that JSON does not have:

- Tuples become lists. Subclasses of str, int, float and dict, and numpy scalars, become plain values.
- A datetime keeps its instant and its offset from UTC, but not the name of its time zone. A naive one stays naive.
- Names of more than 10,000 characters raise DocumentError, since no filter could use them.
- NaN and infinities, keys that are not strings, lone surrogates (which are not text), other types (sets, bytes,
  Decimal, ...) and more than 64 levels (or a cycle) raise DocumentError. Nothing is changed silently.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any

import numpy as np

from theodolite.errors import MALFORMED, CorruptionError, DocumentError, type_of

MAX_DEPTH = 64

MAX_FIELD = 10_000
"""Maximum characters of a field's name, dots included: SQLite would parse a longer filter path for every document.

Earlier versions stored longer names. Such documents can still be read and updated.
"""

_DEEPEST = MAX_DEPTH + 1  # a date is stored as a mapping
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_PLAIN = frozenset({str, int, bool, type(None)})
_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def as_json(value: Any) -> Any:
    """Return a metadata value as plain JSON: dates and datetimes as ISO-8601 strings, indistinguishable from text.

    `encode` keeps them apart.
    """
    if isinstance(value, date):  # datetimes are dates
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def encode(metadata: Mapping[str, Any], *, canonical: bool = False) -> str:
    """Return `metadata` as JSON, with keys in their order, or sorted if `canonical`.

    Raises:
        DocumentError: a value or key cannot be stored; the message names the path to it.
    """
    if not isinstance(metadata, Mapping):
        raise DocumentError(f"metadata is {type_of(metadata)}, not a mapping of names to values")
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
        # The only remaining cause is an int too long for Python to print (sys.set_int_max_str_digits).
        raise DocumentError(f"metadata cannot be written as JSON: {error}") from None
    return text


def as_tagged(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored metadata as the JSON values that `encode` writes, with dates as `{"$date": ...}`."""
    return _packed_mapping(metadata, "metadata", 1)


def encode_to_store(metadata: Mapping[str, Any]) -> str:
    """Return new metadata as JSON. Raises DocumentError like `encode`, and for names that are too long."""
    text = encode(metadata)
    if len(text) > MAX_FIELD:  # shorter JSON cannot contain a name that is too long
        check_names(metadata)
    return text


def check_names(metadata: Mapping[str, Any]) -> None:
    """Raise DocumentError if the name of a field is too long."""
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
    """Return the metadata from the output of `encode`, or one value from a part of that output."""
    text = text.strip(" \t\n\r")
    found, end = (_TAGGED if "$" in text else _PLAINLY).raw_decode(text)  # twice as fast as json.loads for short texts
    if end != len(text):
        raise ValueError(f"there is more after character {end}")
    return found


def decode_stored(metadata: str) -> Any:
    """Decode stored metadata, or one value of it. Raises CorruptionError if it is damaged."""
    try:
        return decode(metadata)
    except MALFORMED as error:
        raise _damaged(metadata, error) from error


def stored_metadata(metadata: str) -> dict[str, Any]:
    """Decode the stored metadata of a document. Raises CorruptionError if it is damaged."""
    # Each hit of a search comes through here: few calls.
    if len(metadata) > 2 * _DEEPEST and metadata.count("{") + metadata.count("[") > _DEEPEST:
        check_depth(metadata)
    try:
        decoded = decode(metadata)
    except MALFORMED as error:
        raise _damaged(metadata, error) from error
    if not isinstance(decoded, dict):
        raise CorruptionError(f"stored metadata is damaged: it is not a mapping: {metadata!r:.80}")
    return decoded


def check_depth(metadata: str) -> None:
    """Raise CorruptionError for JSON nested more deeply than we ever store: decoding it would recurse."""
    if metadata.count("{") + metadata.count("[") <= _DEEPEST:
        return
    depth = 0
    for mark in _MARKS.findall(metadata):
        depth += (mark in "[{") - (mark in "]}")
        if depth > _DEEPEST:
            raise CorruptionError(f"stored metadata is damaged: it is nested too deeply: {metadata!r:.80}")


def _damaged(metadata: str, error: Exception) -> CorruptionError:
    return CorruptionError(f"stored metadata is damaged ({error}): {metadata!r:.80}. Restore it from a copy")


def stored_key(key: str) -> str:
    """Return the name of `key` in the stored JSON."""
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
        f"{path} is {type_of(value)}; metadata takes strings, numbers, booleans, None, dates, "
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
    """Return the path to the first string or key that is not valid text; None if all are valid."""
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
    """Return a numpy scalar as a Python value. Raises DocumentError for times that Python cannot represent."""
    plain = value.item()
    if not isinstance(value, (np.datetime64, np.timedelta64)) or isinstance(plain, date):
        return plain
    # item() returns nanoseconds as a plain number.
    if isinstance(value, np.datetime64) and not np.isnat(value):
        micro = value.astype("datetime64[us]")
        if micro == value and isinstance(moment := micro.item(), datetime):
            return moment
    raise DocumentError(f"{path} is {value!r}, which is not a datetime in whole microseconds", path=path)


def plain_datetime(value: datetime, path: str) -> datetime:
    """Return a plain datetime, naive or at a fixed offset. Raises DocumentError for nanoseconds and bad time zones."""
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
        raise DocumentError(f"{path} is {value!r}, which is not a datetime in whole microseconds", path=path) from None
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
