"""The lines that show hits, from their JSON values: behind a pipe, and at a terminal.

It imports neither numpy nor rich, so that a search through a running server starts fast.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from theodolite.display import one_line, printable

NOTHING = "No documents match."

Segment = tuple[str, str]
"""A part of a line, and its style: `bold`, `cyan`, `dim`, or none."""

_PLACE = ("source", "heading", "title", "page", "published")  # common metadata fields that say where a passage is from
_LINES = 3  # of a passage
_TAGS = ("$date", "$datetime")


def piped(hits: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines for programs: rank, score, id and text, separated by tabs; and an explanation, indented."""
    for hit in hits:
        yield f"{hit['rank']}\t{_score(hit['score'], 4)}\t{one_line(hit['id'])}\t{one_line(hit['text'])}\n"
        for line in _explanation(hit):
            yield f"\t{line}\n"


def at_terminal(hits: Iterable[Mapping[str, Any]], width: int) -> Iterator[list[Segment]]:
    """Yield the lines for people, each in segments.

    Args:
        width: of the text, in columns.
    """
    for hit in hits:
        head = (f"{hit['rank']:2}. {_score(hit['score'], 3)}  ", "bold")
        yield [head, (f"{one_line(hit['id'])}  ", "cyan"), (place(hit["id"], hit["metadata"]), "dim")]
        for line in textwrap.wrap(_best_part(hit), width, max_lines=_LINES, placeholder=" …"):
            yield [(f"      {line}", "")]
        for line in _explanation(hit):
            yield [(f"      {line}", "dim")]


def closing(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines below the hits: that there are none, and the verdict."""
    if not found["hits"]:
        yield NOTHING
    verdict = found["verdict"]
    if verdict is not None and verdict["probability"] is None:
        yield printable(f"Verdict: unknown, because {verdict['reason']}")
    elif verdict is not None:
        yield f"Verdict: {verdict['label']}, answered with a probability of {verdict['probability']:.2f}"


def place(name: str, metadata: Mapping[str, Any]) -> str:
    """Say where a passage is from; its path only if the id does not begin with it."""
    path = str(metadata.get("path", ""))
    parts = [path] if not name.startswith(path) else []
    parts += [_plain(metadata[field]) for field in _PLACE if metadata.get(field)]
    return " · ".join(map(one_line, parts))


def _best_part(hit: Mapping[str, Any]) -> str:
    """Return the passage on one line, beginning with the sentence that contains most words of the query."""
    text, highlights = hit["text"], hit["highlights"]
    start = highlights[0]["start"] if highlights else 0
    return f"… {one_line(text[start:])}" if text[:start].strip() else one_line(text)


def _explanation(hit: Mapping[str, Any]) -> list[str]:
    return [printable(line) for line in hit["explanation"]["words"].splitlines()] if "explanation" in hit else []


def _plain(value: Any) -> str:
    """Return a metadata value as text; a date without its tag."""
    if isinstance(value, dict) and len(value) == 1:
        (tag, inner) = next(iter(value.items()))
        if tag in _TAGS:
            return re.sub(r"(?<=\d)T(?=\d)", " ", str(inner))
    return str(value)


def _score(score: float, digits: int) -> str:
    """Format a score; small ones (reciprocal ranks, some BM25) keep the same number of significant digits."""
    return f"{score:.{digits}f}" if abs(score) >= 0.1 or not score else f"{score:#.{digits}g}"
