"""The engine of a collection over HTTP, for `theodolite.engines.http`: `/api/v1/collections/{name}/engine/{method}`.

It is not part of the described API, and may change with any version.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.routing import BaseRoute, Route

from theodolite.analysis.bm25 import BM25
from theodolite.async_pool import in_thread
from theodolite.engines.http import wire
from theodolite.errors import MALFORMED, InputError
from theodolite.filters import And, parse
from theodolite.inputs import check_questions
from theodolite.protocols import Answer, Notes, Request, Scope, require
from theodolite.retriever import Retriever
from theodolite.scopes import narrowed, plain_partition
from theodolite.serving.collections import Collections
from theodolite.serving.errors import HttpError, not_found
from theodolite.serving.json_response import json_body
from theodolite.serving.limits import Limits
from theodolite.serving.native import answering
from theodolite.serving.security import grant_of
from theodolite.settings import DEFAULT_BM25
from theodolite.vectors.metrics import get_metric

_WIDER = 10  # times the limit of hits: searches with later stages ask for more candidates
_OPEN_NOTE = "versions"  # the note that every reader of a collection needs

Method = Callable[[Retriever, Mapping[str, Any], Limits], Any]


def routes(collections: Collections, limits: Limits) -> Iterator[BaseRoute]:
    """Yield the route of the engine."""

    async def engine(request: HttpRequest) -> Any:
        name, method = request.path_params["name"], request.path_params["method"]
        grant = grant_of(request)
        if method not in (*_READS, *_WRITES):
            raise not_found(f"method {method!r:.100}")
        body = await json_body(request, strict=False)
        writes = method in _WRITES
        kb = collections.writable(name, grant) if writes else collections.get(name, grant).seen_by(grant)
        if "note" in method and kb._scope is not None and (writes or body.get("name") != _OPEN_NOTE):
            return _no_notes(method)
        if method == "manifest":
            body = {"writable": grant.write and collections.get(name, grant).write}
        return await in_thread(_called, {**_READS, **_WRITES}[method], kb, body, limits)

    yield Route("/api/v1/collections/{name}/engine/{method}", answering(engine, limits), methods=["POST"])


def _called(method: Method, kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    try:
        return method(kb, body, limits)
    except KeyError as error:
        raise InputError(f"the request lacks {error}") from error


def _no_notes(method: str) -> list[str] | None:
    """Answer for a scope: the notes of the guards hold texts of the whole collection."""
    if method == "write_note":
        raise HttpError(403, "Forbidden", "this token is limited to a scope, and may not write notes")
    return [] if method == "note_names" else None


def _scope(kb: Retriever, given: Any) -> Scope | None:
    """Return the scope of a call, within the scope of the token."""
    if given is None:
        return kb._scope
    if not isinstance(given, Mapping):
        raise InputError("scope is not an object")
    partition, where = given.get("partition"), parse(given.get("where"))
    field = kb._engine.partition
    if partition is not None and plain_partition(partition) is None:
        raise InputError("the partition of the scope is not a string or an int")
    if field is None and partition is not None:
        return Scope(partition, where)  # which the engine refuses
    inside = {} if field is None or partition is None else {field: partition}
    return narrowed(kb._scope, field, where, inside)[0] if inside or where is not None else kb._scope


def _manifest(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    engine = kb._engine
    writable = body["writable"] and kb.writable
    bm25: BM25 = getattr(engine, "bm25", DEFAULT_BM25)
    return {
        "space": wire.space_to_json(engine.space),
        "partition": engine.partition,
        "k1": bm25.k1,
        "b": bm25.b,
        "writable": writable,
    }


def _search(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    engine, given = kb._engine, body["request"]
    if not isinstance(given, Mapping):
        raise InputError("request is not an object")
    k = given.get("k")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _WIDER * limits.k:
        raise InputError(f"k is {k!r:.40}; expected a whole number from 1 to {_WIDER * limits.k:,}", param="k")
    request = wire.request_from_json(given, engine.space, _scope(kb, body["scope"]))
    cut: list[int] = []
    if request.mode != "lexical" and request.texts and not request.vectors.shape[1]:
        request, cut = _embedded(kb, request)
    if len(request.vectors) > limits.queries:
        raise InputError(f"the request has {len(request.vectors):,} queries, at most {limits.queries}")
    answers = engine.search(request)
    return [wire.answer_to_json(answer) for answer in (_told(answers, cut) if cut else answers)]


def _embedded(kb: Retriever, request: Request) -> tuple[Request, list[int]]:
    """Return the request with the vectors of its texts, and how many tokens of each were not read."""
    parts = kb._session.parts
    parts.texts.check_available()
    check_questions(request.texts)
    parts.texts.guard.ensure_checked()
    vectors, cut = parts.texts.encoder.queries(request.texts)
    space = parts.engine.space
    if get_metric(space.metric).grows_with_norm and space.norms == "any":
        parts.norms.check(vectors)
    return replace(request, vectors=vectors), list(cut)


def _told(answers: list[Answer], cut: list[int]) -> list[Answer]:
    return [
        replace(answer, trace=replace(answer.trace, truncated_tokens=tokens))
        for answer, tokens in zip(answers, cut, strict=True)
    ]


def _get(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    return wire.pairs_to_json(kb._engine.get(_ids(body["ids"]), scope=_scope(kb, body["scope"])))


def _documents(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    limit, after = limits.check_k(body["limit"], "limit"), body["after"]
    if not isinstance(after, str):
        raise InputError("after is not a string")
    where = parse(body["where"])
    listed = kb._engine.documents(where, after=after, limit=limit, scope=_scope(kb, body["scope"]))
    return wire.pairs_to_json(list(islice(listed, limit)))


def _count(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    return kb._engine.count(parse(body["where"]), scope=_scope(kb, body["scope"]))


def _fields(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    values = body["values"]
    if isinstance(values, bool) or not isinstance(values, int) or values < 0:
        raise InputError("values is not a whole number of at least 0")
    where = parse(body["where"])
    found = kb._engine.fields(where, values=values, scope=_scope(kb, body["scope"]))
    return [[name, wire.field_to_json(field)] for name, field in found.items()]


def _info(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    return {name: value for name, value in kb.info().items() if name not in ("location", "columns")}


def _add(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    documents, space = _read_documents(body), wire.space_from_json(body["space"])
    vectors = wire.prepared(body["vectors"], space)
    if len(vectors) != len(documents):
        raise InputError("the request has not as many vectors as documents")
    truncated = body["truncated"]
    if not isinstance(truncated, list) or not all(type(each) is int for each in truncated):
        raise InputError("truncated is not a list of positions")
    kb._engine.add(documents, vectors, space, truncated=set(truncated), scope=_scope(kb, body["scope"]))


def _add_texts(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    documents, scope = _read_documents(body), _scope(kb, body["scope"])
    inside = kb
    if scope is not None and scope != kb._scope:
        where = scope.where
        partition = {} if scope.partition is None else {str(kb._engine.partition): scope.partition}
        inside = kb.scoped(where, **partition) if kb._scope is None else kb.scoped(None, **partition)
    inside.add(documents, batch_size=None)


def _update(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    try:
        changes = {str(name): wire.values_from_json(values) for name, values in body["changes"]}
    except MALFORMED as error:
        raise InputError(f"changes cannot be read: {error}") from error
    kb._engine.update(changes, replace=body["replace"] is True, scope=_scope(kb, body["scope"]))


def _delete(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    scope = _scope(kb, body["scope"])
    if body["ids"] is not None:
        return kb._engine.delete(_ids(body["ids"]), scope=scope)
    tree = parse(body["where"])
    return kb._engine.delete(And(()) if tree is None else tree, scope=scope)


def _clear(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    kb._engine.clear(scope=_scope(kb, body["scope"]))


def _read_note(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    return require(kb._engine, Notes, "read_note()").read_note(_name(body))


def _note_names(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    return require(kb._engine, Notes, "note_names()").note_names()


def _write_note(kb: Retriever, body: Mapping[str, Any], limits: Limits) -> Any:
    value = body["value"]
    if value is not None and not isinstance(value, str):
        raise InputError("value is not a string")
    notes = require(kb._engine, Notes, "write_note()")
    notes.write_note(_name(body), value, replace=body["replace"] is True, wait=body["wait"] is True)


def _name(body: Mapping[str, Any]) -> str:
    name = body["name"]
    if not isinstance(name, str) or name.startswith("engine:"):
        raise InputError(f"{name!r:.100} is not the name of a note")
    return name


def _ids(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise InputError("ids is not a list of ids")
    return given


def _read_documents(body: Mapping[str, Any]) -> Any:
    documents = body["documents"]
    if not isinstance(documents, list):
        raise InputError("documents is not a list")
    return [wire.document_from_json(each) for each in documents]


_READS: dict[str, Method] = {
    "manifest": _manifest,
    "search": _search,
    "get": _get,
    "documents": _documents,
    "count": _count,
    "fields": _fields,
    "info": _info,
    "read_note": _read_note,
    "note_names": _note_names,
}
_WRITES: dict[str, Method] = {
    "add": _add,
    "add_texts": _add_texts,
    "update": _update,
    "delete": _delete,
    "clear": _clear,
    "write_note": _write_note,
}
