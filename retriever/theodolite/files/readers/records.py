"""The readers for JSON Lines and CSV. Each record has a text, and often an id and metadata."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from theodolite.errors import DocumentError, did_you_mean
from theodolite.files.readers.ignore import compiled
from theodolite.files.readers.options import Options, RecordMap
from theodolite.files.readers.results import File, Note, Skipped, Unit
from theodolite.files.readers.text import opened
from theodolite.metadata import decode

_FIELDS = 10_000  # metadata fields of a record; each of its passages gets a copy
_NAMED = 20  # columns listed in a message
_OURS = ('"$date"', '"$datetime"', '"$$')  # `export` writes values that JSON lacks this way
_HELD = 1000  # records without a text that are held back
_EXACT = 2**53  # above it, not every integer is a float, which other programs read JSON numbers as


def record_map(file: File, options: Options) -> RecordMap:
    """Return the fields of a file's records."""
    return given_map(file, options) or _default(options)


def given_map(file: File, options: Options) -> RecordMap | None:
    """Return the mapping that the options have for a file, or None."""
    for pattern, fields in options.maps.items():
        if matches(pattern, file) and isinstance(fields, RecordMap):
            return fields
    return None


def _default(options: Options) -> RecordMap:
    own = None if options.id == Options().id else options.id
    return RecordMap((options.text,), own, options.metadata)


def matches(pattern: str, file: File) -> bool:
    """Return whether a pattern names a file: by its name, by its path in a given folder, or by its absolute path."""
    if Path(pattern).is_absolute():
        return Path(pattern) == file.path
    spec = compiled([pattern.removeprefix("./")])
    below = file.source.partition("/")[2]
    return bool(spec.match_file(file.source) or (below and spec.match_file(below)))


def read_json_lines(file: File, options: Options) -> Iterator[Unit | Skipped]:
    fields = record_map(file, options)
    without: list[Skipped] = []  # records without a text, until one has a text
    found = False
    names: dict[str, None] = {}
    with opened(file.path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            if "\0" in line:
                line = line.replace("\0", "\\u0000")  # the JSON escape
            try:
                record = parse_json(line)
            except (ValueError, RecursionError) as error:
                yield Skipped(file.source, f"line {number} is not JSON: {error}")
                continue
            unit = unit_of(file.source, record, fields, number)
            if isinstance(unit, Unit) and not found:
                found = True
                yield from without
            if isinstance(unit, Unit) or found or not isinstance(record, dict) or len(without) >= _HELD:
                yield unit
            else:
                without.append(unit)
                names.update(dict.fromkeys(map(str, list(record)[:_NAMED])))
    if without and not found:
        raise DocumentError(missing(fields, list(names), "record"))


def parse_json(text: str) -> Any:
    """Return a JSON value, with dates as `export` writes them. Raises ValueError or RecursionError."""
    return decode(text) if any(mark in text for mark in _OURS) else json.loads(text)


def unit_of(
    source: str, record: Any, fields: RecordMap, number: int, counted: Literal["line", "record"] = "line"
) -> Unit | Skipped:
    """Return the unit of a record of JSON or YAML."""
    if not isinstance(record, dict):
        return Skipped(source, f"{counted} {number} is not an object with fields")
    given = record.get("metadata")
    known = given if isinstance(given, dict) and fields.metadata is None else _others(record, fields)
    unit = _record(source, number, record, known, fields, counted)
    return replace(unit, counted=counted) if isinstance(unit, Unit) else unit


def read_csv(file: File, options: Options) -> Iterator[Unit | Skipped | Note]:
    # This limit applies to the whole process. By default longer fields are an error.
    csv.field_size_limit(max(csv.field_size_limit(), min(options.max_bytes, 2**31 - 1)))
    fields = record_map(file, options)
    with opened(file.path, newline="") as lines:
        first = lines.readline()
        tabs = file.path.suffix.lower() == ".tsv"
        separator = "\t" if tabs else next((each for each in ",;\t" if fields.text[0] in _cells(first, each)), ",")

        def rows() -> Any:
            lines.seek(0)
            # strict: an unclosed quote would merge all following lines into one record.
            return csv.reader(lines, delimiter=separator, strict=True)

        checked = rows()
        try:
            names: list[str] = next(checked, [])
            _check(names, fields, strict=given_map(file, options) is not None)
            kept = fields.metadata if fields.metadata is not None else set(names) - {*fields.text, _id(fields)}
            columns = [(place, _Column(name)) for place, name in enumerate(names) if name in kept]
            # Read to the end, so nothing is stored from a damaged file, and a type is that of all values.
            for row in checked:
                for place, column in () if options.keep_strings else columns:
                    if place < len(row) and row[place]:
                        column.see(row[place])
        except csv.Error as error:
            raise DocumentError(f"line {checked.line_num}: {error}") from error
        types = {} if options.keep_strings else {column.name: column.kind for _, column in columns if column.kind}
        yield from _notes(file.source, types, [column for _, column in columns])
        read = rows()
        next(read, None)
        line = read.line_num
        for row in read:
            line, number = read.line_num, line + 1
            if len(row) > len(names):
                yield Skipped(file.source, f"line {number} has more values than the first line has names")
            elif row:
                filled: dict[str, Any] = {name: value for name, value in zip(names, row, strict=False) if value}
                others = {
                    name: _TYPES[types[name]](value) if name in types else value
                    for name, value in _others(filled, fields).items()
                }
                yield _record(file.source, number, filled, others, fields)


class _Column:
    """Finds out whether all values of a column are numbers or dates that can be written back as they were."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loses: str | None = None  # the first number that would not be written back, such as 01234
        self._seen = False
        self._possible = list(_TYPES)
        self._numeric = True

    def see(self, value: str) -> None:
        self._seen = True
        if self._possible:
            self._possible = [kind for kind in self._possible if _fits(kind, value)]
        if self._numeric:
            self._numeric = _is_numeric(value)
            if self._numeric and self.loses is None and not (_fits("integers", value) or _fits("numbers", value)):
                self.loses = value

    @property
    def kind(self) -> str | None:
        return self._possible[0] if self._seen and self._possible else None

    @property
    def lossy(self) -> bool:
        """Whether all values are numbers, but some would not be written back as they were."""
        return self._seen and self._numeric and self.kind is None and self.loses is not None


def _number(value: str) -> int | float:
    return int(value) if _fits("integers", value) else float(value)


_TYPES: Mapping[str, Callable[[str], Any]] = {
    "integers": int,
    "numbers": _number,
    "dates": date.fromisoformat,
    "datetimes": datetime.fromisoformat,
}
"""The types of columns, narrowest first."""


def _fits(kind: str, value: str) -> bool:
    """Return whether a value is of a type and would be written back exactly so: not `01234`, `1.50` or `1e3`."""
    if len(value) > 40 or not value.isascii():
        return False
    try:
        match kind:
            case "integers":
                return str(int(value)) == value and abs(int(value)) <= _EXACT
            case "numbers":
                return _fits("integers", value) or (math.isfinite(float(value)) and repr(float(value)) == value)
            case "dates":
                return date.fromisoformat(value).isoformat() == value
            case _:
                return len(value) > len("2025-01-01") and datetime.fromisoformat(value).isoformat() in (
                    value.replace(" ", "T", 1),
                    f"{value.removesuffix('Z').replace(' ', 'T', 1)}+00:00",
                )
    except ValueError:
        return False


def _is_numeric(value: str) -> bool:
    try:
        return math.isfinite(float(value)) and "_" not in value
    except ValueError:
        return False


def _notes(source: str, types: Mapping[str, str], columns: list[_Column]) -> Iterator[Note]:
    """Tell which columns are not strings, and which look like numbers but stay strings."""
    if types:
        read = ", ".join(f"{name!r:.80} as {kind}" for name, kind in list(types.items())[:_NAMED])
        more = f" and {len(types) - _NAMED:,} more" if len(types) > _NAMED else ""
        yield Note(source, f"columns read by their values: {read}{more}; --keep-strings (keep_strings=True) keeps text")
    for column in columns[:_NAMED]:
        if column.lossy and column.loses is not None:
            number = f"{column.loses!r} would become {_number(column.loses)}"
            yield Note(source, f"column {column.name!r:.80} stays text, though all values are numbers: {number}")


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _id(fields: RecordMap) -> str:
    return "id" if fields.id is None else fields.id


def _check(names: list[str], fields: RecordMap, *, strict: bool) -> None:
    """Raise DocumentError if the text's column is missing, or two columns have the same name.

    Args:
        strict: whether all columns must be there: a mapping of this file names them.
    """
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DocumentError(f"two columns are called {twice!r:.80}")
    if any(name not in names for name in (_named(fields) if strict else fields.text)):
        raise DocumentError(missing(fields, names))


def missing(fields: RecordMap, names: Sequence[str], of: str = "") -> str:
    """Return the message for fields that a mapping names and records lack.

    Args:
        names: the fields or columns that there are.
        of: "record" for fields that no record has. Default: columns.
    """
    name = next((name for name in _named(fields) if name not in names), fields.text[0])
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    begin = f"no record has a text in {name!r}" if of else f"no column is called {name!r}"
    kind = "field" if of else "column"
    return (
        f"{begin}; there are {', '.join(names[:_NAMED])}{more}.{did_you_mean(name, names)} "
        f"--map FILE:text={kind.upper()} (maps=) names the {kind}s to read"
    )


def _named(fields: RecordMap) -> tuple[str, ...]:
    return (*fields.text, *(() if fields.id is None else (fields.id,)), *(fields.metadata or ()))


def _others(record: Mapping[str, Any], fields: RecordMap) -> dict[str, Any]:
    if fields.metadata is None:
        used = (*fields.text, _id(fields))
        return {name: value for name, value in record.items() if name not in used}
    inner = record.get("metadata")
    both = {**(inner if isinstance(inner, dict) else {}), **record}
    return {name: both[name] for name in fields.metadata if name in both}


def _record(
    source: str,
    number: int,
    record: Mapping[str, Any],
    metadata: dict[str, Any],
    fields: RecordMap,
    counted: str = "line",
) -> Unit | Skipped:
    texts = [text for name in fields.text if isinstance(text := record.get(name), str) and text.strip()]
    if not texts:
        return Skipped(source, f"{counted} {number} has no text in {' or '.join(map(repr, fields.text))}")
    name = record.get(_id(fields))
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and not isinstance(name, str):
        return Skipped(source, f"{counted} {number} has no name in {_id(fields)!r}: {name!r:.40}")
    if len(metadata) > _FIELDS:
        reason = f"{counted} {number} has {len(metadata):,} fields of metadata, more than {_FIELDS:,}"
        return Skipped(source, f"{reason}; name those to keep: --map metadata=A+B (maps=)")
    return Unit("\n\n".join(texts), metadata=metadata, record=number, id=name or None)
