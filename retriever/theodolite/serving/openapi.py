"""The OpenAPI description of the native API and of OpenAI's shape."""

from collections.abc import Mapping
from typing import Any

from theodolite.serving.limits import Limits

_STRING: dict[str, Any] = {"type": "string"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_OBJECT: dict[str, Any] = {"type": "object"}
_IDS: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_VECTOR: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 1}
_ERRORS = {
    "400": "The request is wrong.",
    "401": "The token is missing or wrong.",
    "403": "The request is from elsewhere, or may not do this.",
    "404": "There is no such thing.",
    "405": "The path has other methods.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "503": "The server is busy, or the embedder is missing.",
    "504": "It took too long.",
}


def describe(limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI description, with the limits of a server."""
    where = {**_OBJECT, "description": 'A filter, such as {"year": {"$gte": 2024}}.'}
    count = {"type": "integer", "minimum": 1, "maximum": limits.k}
    search = _search(limits, where, count)
    one = "/api/v1/collections/{name}"
    document = _object({"id": _STRING, "text": _STRING, "metadata": _OBJECT}, "text")
    ids = {**_IDS, "maxItems": limits.k}
    paths: dict[str, Any] = {
        "/api/v1/collections": {"get": _operation("listCollections", "List the collections.")},
        one: {"get": _operation("info", "A collection's contents and settings.", "name")},
        f"{one}/search": _post("search", "Find the best passages for a query.", _object(search)),
        f"{one}/explain": _post(
            "explain", "Explain the rank of a document.", _object({**search, "id": {**_STRING, "minLength": 1}}, "id")
        ),
        f"{one}/get": _post("get", "Documents by id.", _object({"ids": ids, "vectors": _BOOLEAN}, "ids")),
        f"{one}/list": _post(
            "list",
            "List documents in the order of their ids; `next` is the `after` of the next page.",
            _object({"where": where, "limit": count, "after": _STRING, "vectors": _BOOLEAN}),
        ),
        f"{one}/count": _post("count", "Count the documents that pass a filter.", _object({"where": where})),
        f"{one}/fields": _post(
            "fields",
            "Summarize the metadata fields.",
            _object({"where": where, "values": {"type": "integer", "minimum": 0, "maximum": limits.k}}),
        ),
        f"{one}/add": _post(
            "add",
            "Store documents in one commit.",
            _object(
                {
                    "documents": {"type": "array", "items": document, "minItems": 1},
                    "vectors": {"type": "array", "items": _VECTOR},
                },
                "documents",
            ),
        ),
        f"{one}/update": _post(
            "update",
            "Merge metadata into documents, or replace it.",
            _object({"ids": _IDS, "metadata": _OBJECT, "replace": _BOOLEAN}, "ids", "metadata"),
        ),
        f"{one}/delete": _post("delete", "Delete documents by id or filter.", _object({"ids": _IDS, "where": where})),
        **_openai(),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "theodolite", "version": "1", "description": "Collections over HTTP."},
        "security": [{"token": []}, {}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error()},
        },
        "paths": paths,
    }


def _search(limits: Limits, where: Mapping[str, Any], count: Mapping[str, Any]) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "query": _STRING,
        "vector": _VECTOR,
        "like": {"anyOf": [_STRING, _IDS], "description": "Ids of documents to search by."},
        "k": count,
        "where": where,
        "mode": {
            "anyOf": [
                {"type": "string", "enum": ["dense", "lexical", "hybrid"]},
                _object({"dense": number, "lexical": number, "constant": number, "depth": {"type": "integer"}}),
            ]
        },
        "boosts": {
            "type": "array",
            "items": {"type": "object", "properties": {"kind": {"enum": ["freshness", "authority"]}}},
        },
        "versions": {
            "type": "array",
            "items": {"type": "object", "properties": {"kind": {"enum": ["latest", "valid", "superseded"]}}},
        },
        "as_of": {"anyOf": [_STRING, number]},
        "superseded": {"type": "string", "enum": ["hide", "show", "substitute"]},
        "min_relevance": {**number, "maximum": 1},
        "rerank": {**_BOOLEAN, "description": "Whether the server's reranker orders the hits."},
        "diversity": {
            "anyOf": [
                {**number, "minimum": 0, "maximum": 1},
                _object({"diversity": number, "pool": {"type": "integer"}}),
            ]
        },
        "dedupe": {**number, "exclusiveMinimum": 0, "maximum": 1},
        "coverage": {**number, "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "highlight": {**_BOOLEAN, "description": "With the best sentences of each hit, at most three."},
        "explain": _BOOLEAN,
    }


def _openai() -> dict[str, Any]:
    one = "/v1/vector_stores/{vector_store_id}"
    file = f"{one}/files/{{file_id}}"
    page = [
        _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "query"),
        _parameter("order", {"type": "string", "enum": ["asc", "desc"]}, "query"),
        _parameter("after", _STRING, "query"),
        _parameter("before", _STRING, "query"),
    ]
    search = _object(
        {
            "query": {"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1}]},
            "filters": _OBJECT,
            "max_num_results": {"type": "integer", "minimum": 1, "maximum": 50},
            "ranking_options": _object({"ranker": _STRING, "score_threshold": {"type": "number"}}),
            "rewrite_query": _BOOLEAN,
        },
        "query",
    )
    listing = {**_operation("listStores", "OpenAI's shape: list the collections."), "parameters": page}
    files = _operation("listFiles", "OpenAI's shape: list documents.", "vector_store_id")
    return {
        "/v1/vector_stores": {"get": listing},
        one: {"get": _operation("retrieveStore", "OpenAI's shape: a collection.", "vector_store_id")},
        f"{one}/search": _post("searchStore", "OpenAI's shape: search.", search, "vector_store_id"),
        f"{one}/files": {"get": {**files, "parameters": [*files["parameters"], *page]}},
        file: {"get": _operation("retrieveFile", "OpenAI's shape: a document.", "vector_store_id", "file_id")},
        f"{file}/content": {"get": _operation("content", "OpenAI's shape: its text.", "vector_store_id", "file_id")},
    }


def _post(name: str, summary: str, schema: Mapping[str, Any], *parameters: str) -> dict[str, Any]:
    operation = _operation(name, summary, *(parameters or ("name",)))
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"post": {**operation, "requestBody": body}}


def _operation(name: str, summary: str, *parameters: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {status: {"description": what, "content": error} for status, what in _ERRORS.items()}
    answers["200"] = {"description": "OK", "content": {"application/json": {"schema": _OBJECT}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_parameter(each, {**_STRING, "minLength": 1}, "path") for each in parameters],
        "responses": answers,
    }


def _parameter(name: str, schema: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    described = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**described, "required": list(required)} if required else described


def _error() -> dict[str, Any]:
    nullable = {"type": ["string", "null"]}
    inner = {"message": _STRING, "type": _STRING, "param": nullable, "code": nullable, "details": _OBJECT}
    return _object({"error": _object(inner, "message", "type")}, "error")
