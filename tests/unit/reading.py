"""Shared by the tests of readers: a file's passages and notes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from theodolite import Document
from theodolite.files.readers import Note, Options, Repaired, Skipped, Splitter, find, read

Item = Document | Skipped | Repaired | Note


class _Reads:
    """An embedder that reads any length and does not count tokens: four characters are one."""

    max_tokens = 10_000_000


def items(path: Path, **options: Any) -> Iterator[Item]:
    """Everything that finding and reading a file or folder yields."""
    given = Options(**options)
    splitter = Splitter(_Reads(), given.chunk_tokens, given.overlap)
    for found in find([path], given):
        if isinstance(found, Skipped):
            yield found
        else:
            for item in read(found, given, splitter):
                yield from item if isinstance(item, list) else [item]


def documents(path: Path, **options: Any) -> list[Document]:
    """The passages, where nothing is skipped."""
    found = list(items(path, **options))
    assert not any(isinstance(item, (Skipped, Repaired)) for item in found), found
    return [item for item in found if isinstance(item, Document)]


def notes(path: Path, **options: Any) -> list[str]:
    return [item.text for item in items(path, **options) if isinstance(item, Note)]


def skipped(path: Path, **options: Any) -> dict[str, str]:
    """The reasons of what is skipped, by file."""
    return {item.source: item.reason for item in items(path, **options) if isinstance(item, Skipped)}


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
