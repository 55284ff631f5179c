"""A search tool for agents, which knows what the collection can be filtered by."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema, create_model

from langchain_theodolite.documents import from_core
from langchain_theodolite.rerankers import as_stage
from langchain_theodolite.searching import collection, scoped
from theodolite import Boost, FilterError, Hits, InputError, Retriever, VectorError

_MOST = 20
"""Passages that a model may ask for, unless `k` is more."""
_FIELDS = 24
"""Fields that are offered where none are named: those that most documents have."""
_LONG = 64
"""Longer values are not told to the model as ones to choose from."""
_SHOWN = 256
"""Characters of a field's value that are shown with a passage."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # what the services of chat models take for a property's name
_RANGE = {"min": "$gte", "max": "$lte"}
_Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8192)]


def theodolite_tool(
    kb: Retriever,
    name: str = "search_documents",
    description: str = "Search the documents for passages that answer a question.",
    *,
    fields: Iterable[str] | None = None,
    scope: Any = None,
    k: int = 4,
    mode: Literal["dense", "lexical", "hybrid"] = "dense",
    boosts: Boost | Iterable[Boost] = (),
    versions: Any = None,
    rerank: Any = None,
    date_field: str | None = None,
) -> StructuredTool:
    """A tool for `create_agent` or `bind_tools`; what it takes is made from what the collection holds now.

    The model sees the query, how many passages, `since` and `until` where there is a `date_field`, and a `filter`: for
    each field its values where they are few, else a range or any text. What it sends is parsed as a filter, never
    evaluated; what is none comes back as a message it can correct itself by, as do fields that are not offered. Nothing
    it sends leads out of `scope`, nor out of `kb` if that is a scope.

    The names and values of fields are part of what the model reads: name `fields` where strangers write metadata. Of
    long values it reads the beginning.

    Args:
        kb: an open collection, a scope of one, or a store.
        name: the tool's name, for the model.
        description: when to use it, for the model.
        fields: what may be filtered by, and is shown with the passages. None takes up to 24 that most documents have,
            but for those that hold the same in all, and those whose names not every chat model takes.
        scope: a filter that confines the tool, such as `{"tenant": "acme"}`.
        k: passages, unless the model asks for another number, of at most 20.
        mode: `dense`, `lexical` or `hybrid`, as in `Retriever.search`, like `boosts`, `versions` and `rerank`.
        date_field: the field that `since` and `until` are about.

    Returns:
        A tool whose content is numbered passages with their ids, and whose artifact is the LangChain Documents, with
        `score` (higher is better) and `rank` under `theodolite` in their metadata.

    Raises:
        InputError: no document has a field that is named; k below 1. FilterError: `scope` is no filter. ConfigError:
            `rerank` is no reranker.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"k is {k!r}; it must be a whole number of at least 1")
    view = scoped(collection(kb, "theodolite_tool"), scope)
    stage = None if rerank is None else as_stage(rerank)
    known = view.fields()
    offered = _offered(known, view.count(), fields, date_field)
    dated = {field for field in offered if _kind(known[field]) == "date"}
    shown = [*offered, *([date_field] if date_field is not None and date_field not in offered else [])]

    def search(query: str, **arguments: Any) -> tuple[str, list[Document]]:
        where = list(_conditions(arguments.get("filter") or {}, offered, dated))
        if date_field is not None:
            where += _range(date_field, arguments.get("since"), arguments.get("until"))
        try:
            hits = view.search(
                query,
                k=arguments.get("k") or k,
                where={"$and": where} if where else None,
                mode=mode,
                boosts=boosts,
                versions=versions,
                rerank=stage,
            )
        except FilterError as error:
            raise ToolException(f"The filter does not work: {error}") from error
        except VectorError as error:
            raise ToolException(f"The query cannot be searched for, try other words: {error}") from error
        return _passages(hits, shown), [
            from_core(hit.document, theodolite={"score": hit.score, "rank": hit.rank}) for hit in hits
        ]

    return StructuredTool.from_function(
        search,
        name=name,
        description=description,
        args_schema=_arguments(name, {field: known[field] for field in offered}, k, date_field),
        infer_schema=False,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_refusal,
    )


def _offered(
    known: Mapping[str, Any], documents: int, fields: Iterable[str] | None, date_field: str | None
) -> list[str]:
    """The fields that may be filtered by. Raises InputError for those that are not there."""
    if isinstance(fields, str):
        raise InputError(f"fields is one str; pass a list: [{fields!r}]")
    named = None if fields is None else list(dict.fromkeys(fields))
    for field in [*(named or ()), *([] if date_field is None else [date_field])]:
        if field not in known:
            raise InputError(f"no document has the field {field!r}{_meant(field, known)}")
    if named is not None:
        return named
    same = {field for field, told in known.items() if len(told.values) == 1 and told.values[0][1] == documents}
    telling = [field for field in known if field != date_field and field not in same and _NAME.fullmatch(field)]
    telling = [field for field in telling if _kind(known[field])]
    return sorted(sorted(telling, key=lambda field: -known[field].count)[:_FIELDS])


def _kind(told: Any) -> str | None:
    """What the field holds for the most part; None where it cannot be filtered by."""
    return next((kind for kind in told.kinds if kind not in ("none", "mapping")), None)


def _arguments(name: str, offered: Mapping[str, Any], k: int, date_field: str | None) -> type[BaseModel]:
    """The schema of the tool's arguments."""
    most = max(k, _MOST)
    arguments: dict[str, Any] = {
        "query": (_Query, Field(description="What to look for, as a question or in words.")),
        "k": (_number(most), Field(k, description=f"How many passages, {most} at most.")),
    }
    if date_field is not None:
        for argument, what in (("since", "not before"), ("until", "not after")):
            shape = {
                "type": "string",
                "description": f"Only passages of which {date_field} is {what} this, such as 2024-07-01.",
            }
            arguments[argument] = (Annotated[str | None, WithJsonSchema(shape)], None)
    if offered:
        filters = {
            "type": "object",
            "description": "Only passages that fit all of these; leave out what does not matter.",
            "properties": {field: _shape(told) for field, told in offered.items()},
            "additionalProperties": False,
        }
        arguments["filter"] = (Annotated[dict[str, Any] | None, WithJsonSchema(filters)], None)
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **arguments)


def _number(most: int) -> Any:
    """A whole number for the model; null means that it does not matter."""
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Annotated[Annotated[int, Field(ge=1, le=most)] | None, WithJsonSchema(schema)]


def _shape(told: Any) -> dict[str, Any]:
    """The JSON schema of what one field is filtered by."""
    kind = _kind(told)
    values = [value for value, _ in told.values]
    if kind == "date" and told.dates is not None:
        first, last = (moment.date().isoformat() for moment in told.dates)
        return _bounds("string", f"A range of dates; there are {first} to {last}.")
    if values and all(isinstance(value, (str, int, float)) and len(str(value)) <= _LONG for value in values):
        kinds = {
            "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
            for value in values
        }
        one: dict[str, Any] = {"type": kinds.pop()} if len(kinds) == 1 else {}
        return {"type": "array", "items": {**one, "enum": values}, "description": "Any of these."}
    if kind == "number" and told.numbers is not None:
        low, high = told.numbers
        return _bounds("number", f"A range of numbers; there are {low} to {high}.")
    return {"type": "array", "items": {"type": "string"}, "description": "Any of these, written exactly so."}


def _bounds(kind: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": {end: {"type": kind} for end in _RANGE},
        "additionalProperties": False,
    }


def _conditions(sent: Mapping[str, Any], offered: Sequence[str], dated: set[str]) -> Iterator[dict[str, Any]]:
    """What the model has sent, as filters. Null means that it does not matter: some models fill in everything."""
    for field, value in sent.items():
        if field not in offered:
            raise ToolException(f"There is no field {field[:_LONG]!r} to filter by{_meant(field, offered)}")
        if isinstance(value, Mapping) and value and value.keys() <= _RANGE.keys():
            if field in dated:
                yield from _range(field, value.get("min"), value.get("max"))
            else:
                yield from ({field: {_RANGE[end]: bound}} for end, bound in value.items() if bound is not None)
        elif value is not None:
            yield {field: value}


def _range(field: str, since: Any, until: Any) -> Iterator[dict[str, Any]]:
    """From one date or time to another, the last day as a whole."""
    if since is not None:
        yield {field: {"$gte": _moment(since)}}
    if until is not None:
        last = _moment(until)
        if isinstance(last, datetime) or last == date.max:
            yield {field: {"$lte": last}}
        else:
            yield {field: {"$lt": last + timedelta(days=1)}}


def _moment(sent: Any) -> date:
    for read in (date.fromisoformat, datetime.fromisoformat):
        with suppress(TypeError, ValueError):
            return read(sent)
    shown = repr(sent[:_LONG]) if isinstance(sent, str) else f"A {type(sent).__name__}"
    raise ToolException(f"{shown} is no date; write it as 2024-07-01 or 2024-07-01T09:00:00Z")


def _meant(field: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(field[:_LONG], names, 1)
    return f"; did you mean {close[0]!r}?" if close else f". There are {', '.join(names[:_FIELDS]) or 'none'}."


def _passages(hits: Hits, shown: Sequence[str]) -> str:
    """What the model reads."""
    if not hits:
        return "No passages fit. Try other words, or a wider filter."
    parts = []
    for hit in hits:
        held = {field: _cut(value) for field in shown if (value := _value(hit.document.metadata, field)) is not None}
        told = f" {json.dumps(held, ensure_ascii=False, default=str)}" if held else ""
        parts.append(f"[{hit.rank}] {hit.document.id}{told}\n{hit.document.text}")
    return "\n\n".join(parts)


def _cut(value: Any) -> Any:
    """A value, or the beginning of a long one: metadata may be larger than what a model can read."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _value(metadata: Any, field: str) -> Any:
    """The value at a dotted name, as filters find it; None where there is none."""
    if not isinstance(metadata, Mapping):
        return None
    if field in metadata:
        return metadata[field]
    head, dot, rest = field.partition(".")
    return _value(metadata.get(head), rest) if dot else None


def _refusal(error: Any) -> str:
    """What was wrong with the arguments, for the model to correct."""
    if not isinstance(error, ValidationError):
        return "The arguments do not fit the tool."
    found = [f"{'.'.join(map(str, one['loc']))[:_LONG]}: {one['msg']}" for one in error.errors(include_input=False)[:5]]
    return "The arguments do not fit the tool. " + "; ".join(found)
