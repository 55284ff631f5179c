"""The tools for agents: what they are called, what they take, and what they answer. Knows nothing of the protocol."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from theodolite.agents import SearchTool
from theodolite.async_pool import in_thread
from theodolite.errors import ConfigError, InputError, TheodoliteError, UnsupportedError, short_repr
from theodolite.metadata import as_json
from theodolite.serving.access import Grant
from theodolite.serving.bodies import check_known, documents_of, ids_of
from theodolite.serving.collections import Collections, Served
from theodolite.serving.errors import logger
from theodolite.serving.limits import Limits
from theodolite.serving.mcp.budget import DEFAULT, LEAST, budget_of, longest_that_fits, tokens_of
from theodolite.serving.results import field_as_json
from theodolite.types import Document, Hits

_K = 5
_NEIGHBORS = 10
"""Maximum neighbors on each side that `read` returns."""
_FIELDS = 24
"""Maximum fields in the schema of a filter for several collections."""
_PLACE = ("path", "source", "title", "heading", "page", "url")  # metadata fields that say where a passage is from

_LEXICAL = "The embedder of this collection cannot be loaded, so only lexical search works, by words."

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as agents see it.

    Attributes:
        name, title, description, schema: of the tool, and the JSON schema of its arguments.
        write, destructive: whether it writes, and whether it can remove something.
    """

    name: str
    title: str
    description: str
    schema: dict[str, Any]
    write: bool = False
    destructive: bool = False


class Tools:
    """The tools on a server's collections. A call sees only what its grant covers, whatever its arguments say."""

    NAMES = ("search", "read", "fields", "collections", "add", "delete")

    def __init__(self, collections: Collections, limits: Limits, max_tokens: int = DEFAULT) -> None:
        """
        Args:
            max_tokens: of an answer, about.
        """
        self._collections = collections
        self._limits = limits
        self._max_tokens = max_tokens
        self._lexical: dict[str, bool] = {}
        self._without_words: set[str] = set()  # collections of engines that have no lexical search

    async def available(self, grant: Grant) -> list[Tool]:
        """Return the tools that a grant may use."""
        return await in_thread(self._available, grant)

    async def call(self, name: str, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        """Call the tool of one of the `NAMES`.

        Raises:
            HttpError: a collection that does not exist for the grant, or may not be written to.
            TheodoliteError, TimeoutError.
        """
        tools: dict[str, Callable[[Mapping[str, Any], Grant], Awaitable[Answer]]] = {
            "search": self._search,
            "read": self._read,
            "fields": self._fields,
            "collections": self._describe,
            "add": self._add,
            "delete": self._delete,
        }
        async with asyncio.timeout(self._limits.seconds):
            return await tools[name](arguments, grant)

    # ----- what there is

    def _available(self, grant: Grant) -> list[Tool]:
        names = self._collections.names(grant)
        common = self._common(names)
        number = f"How many on each side, at most {_NEIGHBORS}."
        passage = {
            "id": {"type": "string", "description": "The id of a passage, as search returns it."},
            "neighbors": {"type": "integer", "minimum": 0, "maximum": _NEIGHBORS, "default": 1, "description": number},
            "start": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "The character to begin at, to go on reading a long passage.",
            },
        }
        about = "" if len(names) == 1 else " Call collections first to see what there is."
        tools = [
            Tool(
                "search",
                "Search",
                f"Find the passages that answer a question, each with its id and source.{about}",
                self._search_schema(names, grant),
            ),
            Tool(
                "read",
                "Read a passage",
                "Read a passage with the passages before and after it in its document.",
                _schema({**common, **passage, **self._tokens()}, ["id"], names),
            ),
            Tool(
                "fields",
                "Metadata fields",
                "List the metadata fields to filter a search by, with their values or ranges.",
                _schema({**common, **self._tokens()}, [], names),
            ),
            Tool("collections", "Collections", "List the collections, with their sizes and search modes.", _schema({})),
        ]
        if not grant.anonymous and grant.write and any(each.write and grant.covers(each.name) for each in self._served):
            document = {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "id": {"type": "string", "description": "Replaces the document of this id; new if left out."},
                    "metadata": {"type": "object"},
                },
                "required": ["text"],
                "additionalProperties": False,
            }
            documents = {"type": "array", "items": document, "minItems": 1}
            ids = {"type": "array", "items": {"type": "string"}, "minItems": 1}
            schema = _schema({**common, "documents": documents}, ["documents"], names)
            tools.append(Tool("add", "Add documents", "Store documents, all or none.", schema, True, True))
            schema = _schema({**common, "ids": ids}, ["ids"], names)
            tools.append(Tool("delete", "Delete documents", "Delete documents by their ids.", schema, True, True))
        return tools

    def _search_schema(self, names: list[str], grant: Grant) -> dict[str, Any]:
        """Return the schema of `search`: that of the collection, or of several with all their fields."""
        schemas = []
        for name in names:
            try:
                schemas.append(self._tool(self._collections.get(name, grant), grant).parameters)
            except TheodoliteError:  # a call will say what is wrong with it
                continue
        if not schemas:
            return _schema({**self._common(names), "query": {"type": "string"}}, ["query"], names)
        first = schemas[0]["properties"]
        if len(names) == 1:
            return _schema({**first, **self._tokens()}, ["query"])
        properties = {**self._common(names), **first}
        shapes: dict[str, list[Any]] = {}
        for schema in schemas:
            for field, shape in schema["properties"].get("filter", {}).get("properties", {}).items():
                if shape not in shapes.setdefault(field, []):
                    shapes[field].append(shape)
        properties.pop("filter", None)
        modes = [schema["properties"]["mode"] for schema in schemas]
        properties["mode"] = {
            "type": "string",
            "enum": list(dict.fromkeys(mode for each in modes for mode in each["enum"])),
            "description": modes[0]["description"],
        }
        if shapes:
            listed = sorted(shapes, key=lambda field: -len(shapes[field]))[:_FIELDS]
            properties["filter"] = {
                "type": "object",
                "description": "Only passages that fit all of these. The tool fields lists those of each collection.",
                "properties": {
                    field: shapes[field][0] if len(shapes[field]) == 1 else {"anyOf": shapes[field]}
                    for field in sorted(listed)
                },
            }
        return _schema({**properties, **self._tokens()}, ["query"], names)

    def _common(self, names: list[str]) -> dict[str, Any]:
        described = "Which collection." if len(names) != 1 else "There is only this one."
        return {"collection": {"type": "string", "enum": names, "description": described}} if names else {}

    def _tokens(self) -> dict[str, Any]:
        return {
            "max_tokens": {
                "type": "integer",
                "minimum": min(LEAST, self._max_tokens),
                "maximum": self._max_tokens,
                "default": self._max_tokens,
                "description": "Length of the answer, in tokens, about.",
            }
        }

    @property
    def _served(self) -> list[Served]:
        return [*self._collections]

    # ----- the tools

    async def _search(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        served, budget = self._chosen(arguments, grant), budget_of(arguments, self._max_tokens)
        tool = await in_thread(self._tool, served, grant)
        sent = {name: value for name, value in arguments.items() if name not in ("collection", "max_tokens")}
        try:
            hits = await tool.asearch(sent)
        except UnsupportedError:
            if sent.get("mode") is not None or served.name in self._without_words:
                raise
            self._without_words.add(served.name)
            tool = await in_thread(self._tool, served, grant)
            hits = await tool.asearch(sent)
        return await in_thread(self._found, served, tool, hits, budget)

    def _found(self, served: Served, tool: SearchTool, hits: Hits, budget: int) -> Answer:
        """Return hits as an answer: whole passages as long as they fit, then only the ids of the others."""
        notes = [*hits.trace.notes]
        if self._is_lexical(served):
            notes.insert(0, _LEXICAL)
        if not hits and not notes:
            notes = ["No passages fit. Try other words, or a wider filter."]
        answer: Answer = {"collection": served.name, "passages": []}
        if notes:
            answer["notes"] = notes
        ids: Any = [hit.document.id for hit in hits]
        listed = tokens_of(ids) <= budget // 4  # else the ids of passages that do not fit are only counted
        left = budget - tokens_of({**answer, "not_shown": ids if listed else len(ids)})
        for hit in hits:
            passage = {
                "rank": hit.rank,
                "id": hit.document.id,
                "score": round(hit.score, 4),
                "metadata": _limited(tool.details(hit.document.metadata, _PLACE), budget // 8),
            }
            shown = _fitting(passage, hit.document.text, left, whole=bool(answer["passages"]))
            if shown is None:
                break
            answer["passages"].append(shown)
            left -= tokens_of(shown)
        rest = ids[len(answer["passages"]) :]
        if rest:
            answer["not_shown"] = rest if listed else len(rest)
        return answer

    async def _read(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        served, budget = self._chosen(arguments, grant), budget_of(arguments, self._max_tokens)
        check_known(arguments, ("collection", "id", "neighbors", "start", "max_tokens"))
        name = arguments.get("id")
        if not isinstance(name, str) or not name:
            raise InputError("id must be the id of a passage, as search returns it.")
        count = _whole(arguments, "neighbors", 1, _NEIGHBORS)
        start = _whole(arguments, "start", 0, 2**53)
        kb = served.seen_by(grant)
        partition = (await in_thread(served.kb.info)).get("partition")
        if partition is not None and kb.partition is None:
            raise InputError(
                f"This collection is divided by {partition!r:.100}, and ids are unique only within a part: passages "
                "are read in a scope of one part. Use the texts that search returns."
            )
        passages = await kb.aneighbors(name, 0 if start else count)
        if not passages:
            raise InputError(f"There is no passage {name!r:.200} in {served.name}. Ids are those that search returns.")
        place = next(number for number, each in enumerate(passages) if each.id == name)
        return await in_thread(_reading, served.name, passages, place, start, budget)

    async def _fields(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        served, budget = self._chosen(arguments, grant), budget_of(arguments, self._max_tokens)
        check_known(arguments, ("collection", "max_tokens"))
        known = await served.seen_by(grant).afields()
        answer: Answer = {"collection": served.name, "fields": {}}
        used = tokens_of({**answer, "not_shown": len(known)})
        for name in sorted(known, key=lambda field: (-known[field].count, field)):
            held = {key: value for key, value in field_as_json(known[name]).items() if value}
            held = held if tokens_of(held) <= budget // 4 else {"count": held["count"], "kinds": held["kinds"]}
            used += tokens_of({name: held})
            if used > budget:
                answer["not_shown"] = len(known) - len(answer["fields"])
                break
            answer["fields"][name] = held
        return answer

    async def _describe(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        check_known(arguments, ())
        return {"collections": [await in_thread(self._summary, name, grant) for name in self._collections.names(grant)]}

    def _summary(self, name: str, grant: Grant) -> Answer:
        served = self._collections.get(name, grant)
        try:
            kb = served.seen_by(grant)
            writable = served.write and grant.write and not grant.anonymous and kb.writable
            summary = {"name": name, "documents": kb.count(), "modes": self._modes(served), "writable": writable}
        except TheodoliteError as error:
            return {"name": name, "problem": f"it cannot be read: {type(error).__name__}"}
        return {**summary, "problem": _LEXICAL} if self._is_lexical(served) else summary

    async def _add(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        kb = self._collections.writable(self._chosen(arguments, grant).name, grant)
        check_known(arguments, ("collection", "documents"))
        documents = documents_of(arguments)
        if len(documents) > self._limits.k:
            raise InputError(f"documents has {len(documents):,} documents, at most {self._limits.k:,}.")
        return {"ids": await kb.aadd(documents, batch_size=None)}

    async def _delete(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        kb = self._collections.writable(self._chosen(arguments, grant).name, grant)
        check_known(arguments, ("collection", "ids"))
        return {"deleted": await kb.adelete(ids_of(arguments))}

    # ----- collections

    def _chosen(self, arguments: Mapping[str, Any], grant: Grant) -> Served:
        """Return the collection that a call names; it may leave out the only one."""
        name, names = arguments.get("collection"), self._collections.names(grant)
        if name is None and len(names) == 1:
            (name,) = names
        if not isinstance(name, str):
            given = "" if name is None else f", not {short_repr(name)}"
            raise InputError(
                f"collection must be the name of a collection{given}: {', '.join(names) or 'none is here'}"
            )
        return self._collections.get(name, grant)

    def _tool(self, served: Served, grant: Grant) -> SearchTool:
        """Return the search tool of a collection, with its fields as they are now."""
        modes = self._modes(served)
        return SearchTool(served.seen_by(grant), k=_K, modes=modes, mode=modes[0])

    def _modes(self, served: Served) -> list[str]:
        """Return the search modes of a collection, the default first."""
        if self._is_lexical(served):
            return ["lexical"]
        return ["dense"] if served.name in self._without_words else ["hybrid", "dense", "lexical"]

    def _is_lexical(self, served: Served) -> bool:
        """Return whether only lexical search is possible, because there is no embedder for the texts of queries."""
        if served.problem is not None:
            return True
        if served.name not in self._lexical:
            try:
                self._lexical[served.name] = served.kb.embedder is None
            except ConfigError as error:
                logger.warning("%s is served without dense search: %s", served.name, error.message)
                self._lexical[served.name] = True
        return self._lexical[served.name]


def _schema(properties: dict[str, Any], required: list[str] | None = None, names: list[str] | None = None) -> Answer:
    """Return the schema of an object. The collection is needed if there are several."""
    needed = [*(["collection"] if names is not None and len(names) > 1 else []), *(required or [])]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _whole(arguments: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"{name} must be a whole number from 0 to {most:,}.")
    return value


def _fitting(passage: Answer, text: str, budget: int, *, whole: bool) -> Answer | None:
    """Return a passage with its text, cut off where the budget ends; None if it does not fit.

    Args:
        whole: only if all of it fits.
    """
    shown = {**passage, "text": text}
    if tokens_of(shown) <= budget:
        return shown
    if whole:
        return None
    start = passage.get("start", 0)

    def cut(length: int) -> Answer:
        return {**passage, "text": text[:length], "continues_at": start + length}

    length = longest_that_fits(len(text) - 1, lambda length: tokens_of(cut(length)) <= budget)
    return cut(length) if length else None


def _reading(name: str, passages: list[Document], place: int, start: int, budget: int) -> Answer:
    """Return passages as an answer: the one that was asked for, then neighbors, nearest first, as long as they fit."""
    asked = passages[place]
    if start and start >= len(asked.text):
        raise InputError(f"start must be below {len(asked.text):,}, the characters of {asked.id!r:.200}.")
    answer: Answer = {"collection": name, "passages": []}
    left = budget - tokens_of(answer)
    head: Answer = {
        "id": asked.id,
        **({"start": start} if start else {}),
        "metadata": _limited(asked.metadata, budget // 4),
    }
    first = _fitting(head, asked.text[start:], left, whole=False)
    if first is None:
        raise InputError("max_tokens is too small for this passage.")
    chosen = {place: first}
    left -= tokens_of(first)
    order = sorted(set(range(len(passages))) - {place}, key=lambda each: (abs(each - place), each))
    for each in order if "continues_at" not in first else ():
        beside = _fitting({"id": passages[each].id}, passages[each].text, left, whole=True)
        if beside is None:
            break
        chosen[each] = beside
        left -= tokens_of(beside)
    answer["passages"] = [chosen[each] for each in sorted(chosen)]
    return answer


def _limited(metadata: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """Return metadata as JSON values; of much metadata, the fields that fit."""
    shown: dict[str, Any] = {}
    for field, value in as_json(metadata).items():
        used = tokens_of({field: value})
        if used <= budget:
            shown[field] = value
            budget -= used
    return shown
