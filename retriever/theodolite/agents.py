"""A search tool for agents in any framework: builds a JSON schema from a collection's fields, and runs the calls."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from theodolite.async_pool import in_thread
from theodolite.errors import FilterError, InputError, VectorError, closest, short_repr, type_of
from theodolite.filters import parse
from theodolite.filters.dates import read_date
from theodolite.filters.parse import check_field
from theodolite.filters.values import equal, kind_of
from theodolite.ranking.options import SearchOptions
from theodolite.types import Field, Hits

if TYPE_CHECKING:
    from theodolite.retriever import Retriever

_MOST = 20
"""Maximum passages that a model may ask for, unless `k` is higher."""
_FIELDS = 24
"""Maximum fields offered by default: those that most documents have."""
_LONG = 64
"""Maximum characters of a value that the schema lists as a choice."""
_SHOWN = 256
"""Maximum characters of a field's value shown with a passage."""
_QUERY = 8192
"""Maximum characters of a query."""
_MODES = "dense finds passages by meaning, lexical by words such as names and error codes, hybrid by both."

_VERDICTS = {
    "strong": "These passages probably answer the question (probability {:.2f}).",
    "weak": "These passages may not answer the question (probability {:.2f}). Check them, and say what stays open.",
    "none": "These passages probably do not answer the question (probability {:.2f}). Say that you do not know, unless "
    "one of them clearly answers it.",
}

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # property names that every chat model service accepts
_RANGE = {"min": "$gte", "max": "$lte"}


class SearchTool:
    """A search tool without a framework; the adapters wrap it.

    Attributes:
        parameters: the JSON schema of the arguments: `query`, `k`, `mode` if there are `modes`, `since` and `until` if
            there is a `date_field`, and `filter`. The filter lists each field's values if there are few, else it takes
            a range or any text.
    """

    def __init__(
        self,
        kb: "Retriever",
        *,
        fields: Iterable[str] | None = None,
        scope: Any = None,
        k: int = 4,
        date_field: str | None = None,
        leave_out: Collection[str] = (),
        modes: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """
        Args:
            kb: an open collection, or a scope of one.
            fields: the fields to filter by and to show with the passages. The default is up to 24 fields that most
                documents have, without those that hold the same value everywhere and those with names that some chat
                models reject.
            scope: limits the tool to a part of the collection: fields with their values, or a filter.
            k: the default number of passages; the model may ask for up to 20, or up to `k` if that is higher.
            date_field: the field that `since` and `until` apply to.
            leave_out: fields to offer only if `fields` names them.
            modes: the search modes that the model may choose from; by default it cannot choose.
            options: `SearchOptions` for every search, except `where`, which the model chooses.

        Raises:
            InputError: no document has one of the named fields, or an option is out of range.
            FilterError: `scope` is not a filter, or a named field starts with $.
            TypeError: an option is unknown.
        """
        if "where" in options:
            raise TypeError("SearchTool has no argument 'where'; pass scope=, which the model cannot leave")
        ready = SearchOptions(k=k, **options)
        plain = isinstance(scope, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in scope)
        view = kb if scope is None else kb.scoped(**scope) if plain else kb.scoped(scope)
        known = view.fields()
        self._view, self._most, self._options = view, max(k, _MOST), ready
        self._date_field, self._modes = date_field, tuple(modes)
        self._offered = _offered(known, view.count(), fields, date_field, leave_out)
        self._dated = {field for field in self._offered if _kind(known[field]) == "date"}
        self.parameters = self._schema({field: known[field] for field in self._offered})

    def search(self, arguments: Mapping[str, Any]) -> Hits:
        """Search with the arguments a model has sent. They are parsed, never evaluated, and cannot leave the scope.

        Args:
            arguments: the arguments that `parameters` describes; None in a filter, `since` or `until` is ignored.

        Raises:
            InputError: the arguments are invalid; the message tells the model how to correct them.
        """
        try:
            query, options = self._asked(arguments)
            return self._noted(self._view.search_with(options, query), arguments)
        except (FilterError, VectorError) as error:
            raise _as_input_error(error) from error

    async def asearch(self, arguments: Mapping[str, Any]) -> Hits:
        """Search as `search` does, without blocking the event loop."""
        try:
            query, options = self._asked(arguments)
            return await in_thread(self._noted, await self._view.asearch_with(options, query), arguments)
        except (FilterError, VectorError) as error:
            raise _as_input_error(error) from error

    def passages(self, hits: Hits) -> str:
        """Return the text for the model: numbered passages with their ids and the values of the filter fields.

        Where searches are calibrated, it begins with the verdict, in words.
        """
        if not hits:
            return f"No passages fit. {' '.join(hits.trace.notes) or 'Try other words, or a wider filter.'}"
        parts = []
        for hit in hits:
            held = self.details(hit.document.metadata)
            details = f" {json.dumps(held, ensure_ascii=False, default=str)}" if held else ""
            parts.append(f"[{hit.rank}] {hit.document.id}{details}\n{hit.document.text}")
        verdict = hits.verdict
        if verdict is not None and verdict.probability is not None:
            parts.insert(0, _VERDICTS[verdict.label].format(verdict.probability))
        return "\n\n".join(parts)

    def details(self, metadata: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
        """Return the metadata to show with a passage: `more` and the filter fields. Long values are truncated."""
        dates = () if self._date_field is None else (self._date_field,)
        shown = dict.fromkeys([*more, *self._offered, *dates])
        return {field: _cut(value) for field in shown if (value := _value(metadata, field)) is not None}

    def _noted(self, hits: Hits, sent: Mapping[str, Any]) -> Hits:
        """Return the hits. If there are none, add notes on filter values that no passage has."""
        chosen = {field: value for field, value in (sent.get("filter") or {}).items() if value is not None}
        if hits or not chosen or not self._view.count():
            return hits
        known = self._view.fields()
        notes = [note for field, value in chosen.items() for note in self._unlike(field, value, known.get(field))]
        return replace(hits, trace=replace(hits.trace, notes=(*notes, *(() if notes else hits.trace.notes))))

    def _unlike(self, field: str, value: Any, held: Field | None) -> Iterator[str]:
        """Yield notes on the values asked for in one field that no passage holds."""
        if held is None:
            yield f"No passage has the field {field} now."
            return
        kinds = {*held.kinds, *held.elements}
        is_range = isinstance(value, Mapping)
        given = list(value.values()) if is_range else value if isinstance(value, list) else [value]
        asked = [one for one in given if one is not None]
        other = [one for one in asked if kind_of(one) not in kinds and not (isinstance(one, str) and "date" in kinds)]
        if other:
            yield f"{field} holds {_words(held)}, and {_json(other[0])} is a {kind_of(other[0])}. {_range_of(held)}"
        elif is_range:
            if _range_of(held):
                yield f"Of {field}: {_range_of(held)}"
        elif asked:
            values = [stored for stored, _ in held.values]
            absent = [
                one
                for one in asked
                if not (any(equal(stored, one) for stored in values) if values else self._view.count({field: one}))
            ]
            if absent:
                close = closest(absent[0], [one for one in values if isinstance(one, str)])
                hint = f" Did you mean {_json(close)}?" if close is not None else ""
                yield f"No passage has {_json(absent[0])} in {field}.{hint} {_range_of(held)}"

    def _asked(self, sent: Mapping[str, Any]) -> tuple[str, SearchOptions]:
        """Parse the arguments into a query and search options."""
        for name in sent:
            if name not in self.parameters["properties"]:
                raise InputError(f"There is no argument {name[:_LONG]!r}{_meant(name, self.parameters['properties'])}")
        query, k, chosen = sent.get("query"), sent.get("k"), sent.get("filter")
        k = self._options.k if k is None else k
        mode = sent.get("mode")
        if mode is None:
            mode = self._options.mode
        elif mode not in self._modes:
            raise InputError(f"{_json(mode)} is not a mode{_meant(mode, self._modes)}")
        if not isinstance(query, str) or not query.strip() or len(query.strip()) > _QUERY:
            raise InputError(f"query must be a text of 1 to {_QUERY} characters.")
        try:
            query.encode()
        except UnicodeEncodeError as error:
            raise InputError("query holds half a character, a lone surrogate.") from error
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self._most:
            raise InputError(f"k must be a whole number from 1 to {self._most}.")
        if chosen is not None and not isinstance(chosen, Mapping):
            raise InputError("filter must be an object: fields with what each is filtered by.")
        where = list(_conditions(chosen or {}, self._offered, self._dated))
        if self._date_field is not None:
            where += _range(self._date_field, sent.get("since"), sent.get("until"))
        tree = parse({"$and": where}) if where else None
        return query.strip(), replace(self._options, k=k, where=tree, mode=mode)

    def _schema(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of the tool's arguments."""
        properties: dict[str, Any] = {
            "query": {"type": "string", "description": "What to look for, as a question or in words."},
            "k": {
                "type": "integer",
                "minimum": 1,
                "maximum": self._most,
                "default": self._options.k,
                "description": f"How many passages, {self._most} at most.",
            },
        }
        if self._modes:
            properties["mode"] = {
                "type": "string",
                "enum": list(self._modes),
                "default": self._options.arms,
                "description": _MODES,
            }
        if self._date_field is not None:
            for argument, what in (("since", "not before"), ("until", "not after")):
                description = f"Only passages whose {self._date_field} is {what} this, such as 2024-07-01."
                properties[argument] = {"type": "string", "description": description}
        if offered:
            properties["filter"] = {
                "type": "object",
                "description": "Only passages that fit all of these; leave out what does not matter.",
                "properties": {name: _shape(field) for name, field in offered.items()},
                "additionalProperties": False,
            }
        return {"type": "object", "properties": properties, "required": ["query"], "additionalProperties": False}


def _as_input_error(error: Exception) -> InputError:
    if isinstance(error, FilterError):
        return InputError(f"The filter does not work: {error}")
    return InputError(f"The query cannot be searched for, try other words: {error}")


def _offered(
    known: Mapping[str, Any], documents: int, fields: Iterable[str] | None, date_field: str | None, out: Collection[str]
) -> list[str]:
    """Return the fields to offer for filtering. Raises InputError for fields that do not exist or cannot be named."""
    if isinstance(fields, str):
        raise InputError(f"fields is one str; pass a list: [{fields!r}]")
    named = None if fields is None else list(dict.fromkeys(fields))
    for field in [*(named or ()), *([] if date_field is None else [date_field])]:
        if field not in known:
            raise InputError(f"no document has the field {field!r}{_meant(field, known)}")
        check_field(field)
    if named is not None:
        return named
    same = {name for name, each in known.items() if len(each.values) == 1 and each.values[0][1] == documents}
    telling = [field for field in known if field != date_field and field not in same and _NAME.fullmatch(field)]
    telling = [field for field in telling if field not in out and _kind(known[field])]
    return sorted(sorted(telling, key=lambda field: -known[field].count)[:_FIELDS])


def _kind(field: Any) -> str | None:
    """Return the most common kind of value in the field; None if the field cannot be filtered by."""
    return next((kind for kind in field.kinds if kind not in ("none", "mapping")), None)


def _shape(field: Any) -> dict[str, Any]:
    """Return the JSON schema of the filter on one field."""
    kind = _kind(field)
    values = [value for value, _ in field.values]
    if kind == "date" and field.dates is not None:
        first, last = (moment.date().isoformat() for moment in field.dates)
        return _bounds("string", f"A range of dates; there are {first} to {last}.")
    if values and all(isinstance(value, (str, int, float)) and len(str(value)) <= _LONG for value in values):
        kinds = {
            "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
            for value in values
        }
        one: dict[str, Any] = {"type": kinds.pop()} if len(kinds) == 1 else {}
        return {"type": "array", "items": {**one, "enum": values}, "description": "Any of these."}
    if kind == "number" and field.numbers is not None:
        low, high = field.numbers
        return _bounds("number", f"A range of numbers; there are {low} to {high}.")
    return {"type": "array", "items": {"type": "string"}, "description": "Any of these, written exactly so."}


def _words(held: Field) -> str:
    """Describe the kinds of values a field holds."""
    kinds = dict.fromkeys(kind for kind in (*held.kinds, *held.elements) if kind not in ("none", "list"))
    return " and ".join(f"{kind}s" for kind in kinds) or "nothing"


def _range_of(held: Field) -> str:
    """Describe the values or the range of a field, as far as known."""
    values = [value for value, _ in held.values]
    if values and all(len(str(value)) <= _LONG for value in values):
        return f"There are {', '.join(map(_json, values))}."
    if held.numbers is not None:
        return f"There are numbers from {held.numbers[0]} to {held.numbers[1]}."
    if held.dates is not None:
        return f"There are dates from {held.dates[0].date()} to {held.dates[1].date()}."
    return ""


def _json(value: Any) -> str:
    """Return a value as JSON, truncated if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # an int with thousands of digits
        text = short_repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _bounds(kind: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": {end: {"type": kind} for end in _RANGE},
        "additionalProperties": False,
    }


def _conditions(sent: Mapping[str, Any], offered: Sequence[str], dated: set[str]) -> Iterator[dict[str, Any]]:
    """Convert the filter argument to filters. Skip nulls, since some models fill in every property."""
    for field, value in sent.items():
        if field not in offered:
            raise InputError(f"There is no field {field[:_LONG]!r} to filter by{_meant(field, offered)}")
        if isinstance(value, Mapping) and value and value.keys() <= _RANGE.keys():
            if field in dated:
                yield from _range(field, value.get("min"), value.get("max"))
            else:
                yield from ({field: {_RANGE[end]: bound}} for end, bound in value.items() if bound is not None)
        elif value is not None:
            yield {field: value}


def _range(field: str, since: Any, until: Any) -> Iterator[dict[str, Any]]:
    """Yield filters for a range of dates or times. A plain date as the end includes that whole day."""
    if since is not None:
        yield {field: {"$gte": _moment(since)}}
    if until is not None:
        last = _moment(until)
        if isinstance(last, datetime) or last == date.max:
            yield {field: {"$lte": last}}
        else:
            yield {field: {"$lt": last + timedelta(days=1)}}


def _moment(sent: Any) -> date:
    found = read_date(sent) if isinstance(sent, str) else None
    if found is not None:
        return found
    shown = repr(sent[:_LONG]) if isinstance(sent, str) else type_of(sent)
    raise InputError(f"{shown[:1].upper()}{shown[1:]} is not a date; write it as 2024-07-01 or 2024-07-01T09:00:00Z")


def _meant(field: str, known: Iterable[str]) -> str:
    names = list(known)
    close = closest(field, names)
    return f"; did you mean {close!r}?" if close else f". There are {', '.join(names[:_FIELDS]) or 'none'}."


def _cut(value: Any) -> Any:
    """Return a value, truncated if it is long: metadata may be larger than a model can read."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _value(metadata: Any, field: str) -> Any:
    """Return the value at a dotted name, as filters find it; None if there is none."""
    if not isinstance(metadata, Mapping):
        return None
    if field in metadata:
        return metadata[field]
    head, dot, rest = field.partition(".")
    return _value(metadata.get(head), rest) if dot else None
