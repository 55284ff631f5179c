"""Hits, documents and fields as JSON values. Dates in metadata are tagged, as stored: `{"$date": "2025-03-01"}`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.metadata import as_json, as_tagged, decode
from theodolite.types import Document, Field, Hit, Hits, Trace

if TYPE_CHECKING:
    from theodolite.analysis.highlights import Highlight

_HIGHLIGHTS = 3  # sentences of a hit
_TRACE = tuple(each.name for each in fields(Trace))


def hits_as_json(query: str | None, hits: Hits, *, highlight: bool = True, explain: bool = False) -> dict[str, Any]:
    """Return the result of a search. See `hit_as_json`."""
    listed = [hit_as_json(hit, highlight=highlight, explain=explain) for hit in hits]
    verdict = None if hits.verdict is None else hits.verdict.to_dict()
    return {"query": query, "hits": listed, "trace": _trace_as_json(hits.trace), "verdict": verdict}


def hit_as_json(hit: Hit, *, highlight: bool = True, explain: bool = False) -> dict[str, Any]:
    """Return a hit.

    Args:
        highlight: with the sentences that have most words of the query, at most three, best first.
        explain: with all of `hit.explain()`, as data and in words.
    """
    values: dict[str, Any] = {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "id": hit.document.id,
        "text": hit.document.text,
        "metadata": as_tagged(hit.document.metadata),
    }
    if highlight:
        values["highlights"] = [asdict(each) for each in _best(hit.highlights)]
    if hit.version is not None:
        values["version"] = {name: as_json(value) for name, value in asdict(hit.version).items()}
    if hit.duplicates:
        values["duplicates"] = [duplicate.document.id for duplicate in hit.duplicates]
    if explain:
        explanation = hit.explain()
        values["explanation"] = {**explanation.to_dict(), "words": str(explanation)}
    return values


def _best(highlights: "Sequence[Highlight]") -> "Sequence[Highlight]":
    """Return the first three that are at least two thirds as good as the best one."""
    return [each for each in highlights[:_HIGHLIGHTS] if 3 * each.score >= 2 * highlights[0].score]


def _trace_as_json(trace: Trace) -> dict[str, Any]:
    # Not `asdict`, which copies each value: this runs in every search.
    values = {name: getattr(trace, name) for name in _TRACE}
    return {**values, "timings": dict(trace.timings), "notes": list(trace.notes)}


def document_as_json(document: Document) -> dict[str, Any]:
    """Return a document."""
    return {"id": document.id, "text": document.text, "metadata": as_tagged(document.metadata)}


def metadata_from_json(value: Any) -> dict[str, Any]:
    """Return metadata with its dates. Raises InputError if it is not an object, or has a tag that is not a date."""
    if not isinstance(value, Mapping):
        raise InputError("metadata is not an object", param="metadata")
    try:
        decoded = decode(json.dumps(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"metadata cannot be read: {error}", param="metadata") from error
    if not isinstance(decoded, dict):
        raise InputError("metadata is a date, not an object", param="metadata")
    return decoded


def field_as_json(field: Field) -> dict[str, Any]:
    """Return the summary of a metadata field."""
    return {
        "count": field.count,
        "kinds": dict(field.kinds),
        "values": [{"value": as_json(value), "count": count} for value, count in field.values],
        "numbers": as_json(field.numbers),
        "dates": as_json(field.dates),
        "elements": dict(field.elements),
        "unreadable_dates": field.unreadable_dates,
    }
