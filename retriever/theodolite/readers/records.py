"""JSON Lines and CSV: a record with text, and often a name and metadata."""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from theodolite.errors import DocumentError
from theodolite.metadata import decode
from theodolite.readers.decoding import opened
from theodolite.readers.files import File, Options, Skipped
from theodolite.readers.units import Unit

_OURS = ('"$date"', '"$datetime"', '"$$')  # how `export` writes what JSON does not have


def read_json_lines(file: File, options: Options) -> Iterator[Unit | Skipped]:
    with opened(file.path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = decode(line) if any(mark in line for mark in _OURS) else json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Skipped(file.source, f"line {number} is not JSON: {error}")
                continue
            if not isinstance(record, dict):
                yield Skipped(file.source, f"line {number} is not an object with fields")
                continue
            given = record.get("metadata")
            known = given if isinstance(given, dict) and options.metadata is None else _others(record, options)
            yield _record(file.source, number, record, known, options)


def read_csv(file: File, options: Options) -> Iterator[Unit | Skipped]:
    # It holds for the whole process; by default longer fields are an error.
    csv.field_size_limit(max(csv.field_size_limit(), min(options.max_bytes, 2**31 - 1)))
    with opened(file.path, newline="") as lines:
        first = lines.readline()
        tabs = file.path.suffix.lower() == ".tsv"
        separator = "\t" if tabs else next((each for each in ",;\t" if options.text in _cells(first, each)), ",")
        # strict: a quote that is never closed would make one record of all that follows.
        rows = csv.reader(chain([first], lines), delimiter=separator, strict=True)
        try:
            names = next(rows)
            _check(names, options)
            line = rows.line_num
            for row in rows:
                line, number = rows.line_num, line + 1
                if len(row) > len(names):
                    yield Skipped(file.source, f"line {number} has more values than the first line has names")
                elif row:
                    filled = {name: value for name, value in zip(names, row, strict=False) if value}
                    yield _record(file.source, number, filled, _others(filled, options), options)
        except csv.Error as error:
            raise DocumentError(f"line {rows.line_num}: {error}") from error


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _check(names: list[str], options: Options) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DocumentError(f"two columns are called {twice!r}")
    if options.text not in names:
        raise DocumentError(f"no column is called {options.text!r}; there are {', '.join(names)}")


def _others(record: dict[str, Any], options: Options) -> dict[str, Any]:
    if options.metadata is None:
        return {name: value for name, value in record.items() if name not in (options.text, options.id)}
    inner = record.get("metadata")
    both = {**(inner if isinstance(inner, dict) else {}), **record}
    return {name: both[name] for name in options.metadata if name in both}


def _record(
    source: str, number: int, record: dict[str, Any], metadata: dict[str, Any], options: Options
) -> Unit | Skipped:
    text, name = record.get(options.text), record.get(options.id)
    if not isinstance(text, str) or not text.strip():
        return Skipped(source, f"line {number} has no text in {options.text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return Skipped(source, f"line {number} holds half of a surrogate pair, which is no character")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and not isinstance(name, str):
        return Skipped(source, f"line {number} has no name in {options.id!r}: {name!r:.40}")
    return Unit(text, metadata=metadata, line=number, id=name or None)
