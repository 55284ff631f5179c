"""The readers for JSON and YAML: lists of records, or nested settings that are split at their keys."""

import json
from collections.abc import Iterator
from typing import Any

from theodolite.errors import DocumentError
from theodolite.files.readers.options import Options
from theodolite.files.readers.records import given_map, missing, parse_json, record_map, unit_of
from theodolite.files.readers.results import File, Skipped, Unit
from theodolite.files.readers.text import read_text, whole_text
from theodolite.plugins import optional

_SECTION = 1000  # characters; a part up to this size is not split
_DEPTH = 20  # levels at which parts are split
_PARSED = 5_000_000  # bytes; larger YAML is read as plain text, since parsing takes a hundred times its size in memory


def read_json(file: File, options: Options) -> Iterator[Unit | Skipped]:
    """Yield the records of a list of objects with a text, or the parts of another value with their keys as heading."""
    text = whole_text(file.path)
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        if "\n{" in text.strip() and _is_json(text.strip().split("\n", 1)[0]):
            raise DocumentError("not JSON but JSON Lines: --as json=jsonl (formats=) reads it") from None
        raise DocumentError(f"not JSON: {error}") from error
    if (records := _records(file, options, value)) is not None:
        yield from records
        return
    yield from _parts(value, (), text)


def read_yaml(file: File, options: Options) -> Iterator[Unit | Skipped]:
    """Yield the records of a list of mappings with a text, or the parts of another document with their keys as heading.

    The lines of a part are taken as they are written, with comments. A file that is not valid YAML, such as a template,
    is read as plain text.
    """
    with optional("cli"):
        import yaml
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if file.size > _PARSED:
        yield from read_text(file, options)
        return
    text = whole_text(file.path)
    value = None
    try:
        nodes = [node for node in yaml.compose_all(text, loader) if node is not None]
        # Not with aliases: each use would repeat the content.
        if len(nodes) == 1 and isinstance(nodes[0], yaml.SequenceNode) and not _has_aliases(yaml, text, loader):
            value = yaml.load(text, loader)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, RecursionError, ValueError):
        yield Unit(text)
        return
    if (records := _records(file, options, value)) is not None:
        yield from records
        return
    lines = text.splitlines(keepends=True)
    at = 0
    for node, end in zip(nodes, [*(node.start_mark.line for node in nodes[1:]), len(lines)], strict=True):
        yield from _yaml_parts(yaml, node, lines, at, end, ())
        at = end


def _records(file: File, options: Options, value: Any) -> Iterator[Unit | Skipped] | None:
    """Return the units of a list of records, or None for another value.

    Raises:
        DocumentError: the options map the fields of this file, and it has no such records.
    """
    fields = record_map(file, options)
    records = value if isinstance(value, list) else []
    names = dict.fromkeys(name for record in records if isinstance(record, dict) for name in record)
    if any(name in names for name in fields.text):
        return (
            unit_of(file.source, record, fields, number, "record") for number, record in enumerate(records, start=1)
        )
    if given_map(file, options) is not None:
        raise DocumentError(missing(fields, list(map(str, names)), "record") if names else "not a list of records")
    return None


def _has_aliases(yaml: Any, text: str, loader: Any) -> bool:
    return any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parts(value: Any, keys: tuple[str, ...], text: str | None = None) -> Iterator[Unit]:
    """Yield a JSON value, split at the keys of objects while it is larger than a section."""
    if text is None:
        text = json.dumps(value, ensure_ascii=False, indent=1, default=str)
    if len(text) > _SECTION and len(keys) < _DEPTH and isinstance(value, dict):
        small: dict[str, Any] = {}
        for key, inner in value.items():
            part = json.dumps(inner, ensure_ascii=False, indent=1, default=str)
            if len(part) > _SECTION:
                yield from _parts(inner, (*keys, str(key)), part)
            else:
                small[key] = inner
        if not small:
            return
        text = json.dumps(small, ensure_ascii=False, indent=1, default=str)
    yield _part(text, keys)


def _part(text: str, keys: tuple[str, ...]) -> Unit:
    return Unit(text, metadata={"heading": " > ".join(keys)} if keys else {})


def _yaml_parts(yaml: Any, node: Any, lines: list[str], start: int, end: int, keys: tuple[str, ...]) -> Iterator[Unit]:
    """Yield the lines of a YAML node, split before the keys of mappings while it is larger than a section."""
    text = "".join(lines[start:end])
    is_block = isinstance(node, yaml.MappingNode) and not node.flow_style
    if len(text) <= _SECTION or len(keys) >= _DEPTH or not is_block or len(node.value) < 1:
        if text.strip():
            yield _part(text, keys)
        return
    at = small = start
    places = [key.start_mark.line for key, _ in node.value]
    for (key, value), place, after in zip(node.value, places, [*places[1:], end], strict=True):
        size = sum(map(len, lines[place:after]))
        if size > _SECTION:
            if "".join(lines[small:place]).strip():
                yield _part("".join(lines[small:place]), keys)
            name = key.value if isinstance(key.value, str) else ""
            yield from _yaml_parts(yaml, value, lines, place, after, (*keys, name))
            small = after
        at = after
    if "".join(lines[small:at]).strip():
        yield _part("".join(lines[small:at]), keys)
