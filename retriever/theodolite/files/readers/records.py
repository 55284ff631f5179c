"""The readers for JSON Lines and CSV. Each record has a text, and often an id and metadata."""

import csv
import json
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from theodolite.errors import DocumentError
from theodolite.files.readers.decoding import opened
from theodolite.files.readers.find import File, Options, Skipped
from theodolite.files.readers.splitting import Unit
from theodolite.metadata import decode

_FIELDS = 10_000  # metadata fields of a record; each of its passages gets a copy
_NAMED = 20  # columns listed in a message
_OURS = ('"$date"', '"$datetime"', '"$$')  # `export` writes values that JSON lacks this way


def read_json_lines(file: File, options: Options) -> Iterator[Unit | Skipped]:
    with opened(file.path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            if "\0" in line:
                line = line.replace("\0", "\\u0000")  # the JSON escape
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
    # This limit applies to the whole process. By default longer fields are an error.
    csv.field_size_limit(max(csv.field_size_limit(), min(options.max_bytes, 2**31 - 1)))
    with opened(file.path, newline="") as lines:
        first = lines.readline()
        tabs = file.path.suffix.lower() == ".tsv"
        separator = "\t" if tabs else next((each for each in ",;\t" if options.text in _cells(first, each)), ",")

        def rows() -> Any:
            lines.seek(0)
            # strict: an unclosed quote would merge all following lines into one record.
            return csv.reader(lines, delimiter=separator, strict=True)

        checked = rows()
        try:
            names: list[str] = next(checked, [])
            _check(names, options)
            deque(checked, maxlen=0)  # read to the end, so nothing is stored from a damaged file
        except csv.Error as error:
            raise DocumentError(f"line {checked.line_num}: {error}") from error
        read = rows()
        next(read, None)
        line = read.line_num
        for row in read:
            line, number = read.line_num, line + 1
            if len(row) > len(names):
                yield Skipped(file.source, f"line {number} has more values than the first line has names")
            elif row:
                filled = {name: value for name, value in zip(names, row, strict=False) if value}
                yield _record(file.source, number, filled, _others(filled, options), options)


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _check(names: list[str], options: Options) -> None:
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DocumentError(f"two columns are called {twice!r:.80}")
    if options.text not in names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        raise DocumentError(f"no column is called {options.text!r}; there are {', '.join(names[:_NAMED])}{more}")


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
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and not isinstance(name, str):
        return Skipped(source, f"line {number} has no name in {options.id!r}: {name!r:.40}")
    if len(metadata) > _FIELDS:
        reason = f"line {number} has {len(metadata):,} fields of metadata, more than {_FIELDS:,}; name those to keep"
        return Skipped(source, f"{reason}, --metadata-field (metadata=)")
    return Unit(text, metadata=metadata, line=number, id=name or None)
