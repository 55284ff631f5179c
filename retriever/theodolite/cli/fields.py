"""The command `fields`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, Where, parse_where
from theodolite.metadata import as_json
from theodolite.types import Field

_SHOWN = 8  # values in a line


def fields(
    location: Collection,
    where: Where = None,
    values: Annotated[
        int, typer.Option("--values", metavar="N", help="List the values of fields with at most N different ones.")
    ] = 20,
    json_: Json = False,
) -> None:
    """Show the metadata fields and counts of their values.

    \b
    Examples:
      theodolite fields kb
      theodolite fields kb --where '{"lang": "en"}'
      theodolite fields kb --json | jq '.fields.lang.values'
    """
    tree = parse_where(where)
    with open_collection(location) as kb:
        known, documents = kb.fields(tree, values=values), kb.count(tree)
    if json_:
        output.say_json({"documents": documents, "fields": {name: _as_json(field) for name, field in known.items()}})
        return
    _show(known)
    noun = "document" if documents == 1 else "documents"
    output.note(f"{documents:,} {noun}, {len(known):,} {'field' if len(known) == 1 else 'fields'}")


def _show(known: Mapping[str, Field]) -> None:
    if not known:
        return
    rows = [
        (output.one_line(name), f"{field.count:,}", ", ".join(field.kinds), _line(field))
        for name, field in known.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, count, kinds, line in rows:
        output.say(f"{name:<{widths[0]}}  {count:>{widths[1]}}  {kinds:<{widths[2]}}  {line}".rstrip())


def _line(field: Field) -> str:
    """Describe the values in a line: each with its number of documents, or else their range."""
    if field.values:
        listed = [f"{_text(value)} ({count:,})" for value, count in field.values[:_SHOWN]]
        more = len(field.values) - _SHOWN
        return ", ".join([*listed, f"and {more:,} more"] if more > 0 else listed)
    ranges: list[tuple[Any, Any]] = [each for each in (field.numbers, field.dates) if each is not None]
    return ", ".join(f"{_text(low)} to {_text(high)}" for low, high in ranges)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat()
    return output.one_line(str(as_json(value)))


def _as_json(field: Field) -> dict[str, Any]:
    return {
        "count": field.count,
        "kinds": dict(field.kinds),
        "values": [{"value": as_json(value), "count": count} for value, count in field.values],
        "numbers": as_json(field.numbers),
        "dates": as_json(field.dates),
        "elements": dict(field.elements),
        "unreadable_dates": field.unreadable_dates,
    }
