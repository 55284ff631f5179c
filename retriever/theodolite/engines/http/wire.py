"""Requests, answers, documents and vectors as JSON values, without loss, between an engine and a server."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import MALFORMED, InputError, UnsupportedError, VectorError
from theodolite.filters import parse
from theodolite.filters.tree import to_dict
from theodolite.metadata import as_tagged, decode, encode
from theodolite.protocols import Answer, Fusion, Request, Scope
from theodolite.ranking.boost_json import boosts_from_json, boosts_to_json
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Versions
from theodolite.ranking.versions import from_json as rules_from_json
from theodolite.ranking.versions import to_json as rules_to_json
from theodolite.settings import Manifest
from theodolite.types import Document, Field, Space, Trace, Vectors, Version
from theodolite.vectors.transforms import encode_transform

_CLOSE = 1e-3  # how far from 1 the length of a normalized vector may be
_TRACE = tuple(each.name for each in fields(Trace))


def pack(vectors: NDArray[np.float32]) -> dict[str, Any]:
    """Return vectors, (n, d), as JSON values."""
    data = np.ascontiguousarray(vectors, "<f4")
    return {"shape": list(data.shape), "float32": base64.b64encode(data.tobytes()).decode("ascii")}


def unpack(value: Any) -> NDArray[np.float32]:
    """Return packed vectors, (n, d). Raises VectorError if they are not packed vectors."""
    try:
        rows, columns = value["shape"]
        data = np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4")
        return data.reshape(int(rows), int(columns)).astype(np.float32)
    except MALFORMED as error:
        raise VectorError(f"these are not packed vectors: {error}") from error


def prepared(value: Any, space: Space) -> Vectors:
    """Return packed vectors that were prepared for a space. Raises VectorError if they do not fit it."""
    vectors = unpack(value)
    if not np.isfinite(vectors).all():
        raise VectorError("the vectors have values that are not finite")
    if len(vectors) and space.dimension is not None and vectors.shape[1] != space.dimension:
        raise VectorError(
            f"the vectors have {vectors.shape[1]} dimensions, the collection {space.dimension}",
            expected=space.dimension,
            got=vectors.shape[1],
        )
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    if space.normalizes and len(lengths) and float(np.abs(lengths - 1).max()) > _CLOSE:
        raise VectorError("the vectors are not normalized, as this collection needs")
    return Vectors(np.ascontiguousarray(vectors))


def space_to_json(space: Space) -> dict[str, Any]:
    """Return a space."""
    values = {each.name: getattr(space, each.name) for each in fields(space)}
    return {**values, "transforms": [encode_transform(each) for each in space.transforms]}


def space_from_json(value: Any) -> Space:
    """Read a space. Raises InputError if no collection can have it."""
    try:
        text = json.dumps({"space": value, "uid": "0" * 32, "created": "", "embedder": None, "partition": None})
        manifest = Manifest.from_json(text)
        if manifest.is_possible():
            return manifest.space
    except Exception as error:
        raise InputError(f"this is not a space of vectors: {error}") from error
    raise InputError("this is not a space of vectors")


def scope_to_json(scope: Scope | None) -> dict[str, Any] | None:
    """Return a scope."""
    if scope is None:
        return None
    return {"partition": scope.partition, "where": None if scope.where is None else to_dict(scope.where)}


def document_to_json(document: Document) -> dict[str, Any]:
    """Return a document."""
    return {"id": document.id, "text": document.text, "metadata": as_tagged(document.metadata)}


def document_from_json(value: Any) -> Document:
    """Read a document. Raises InputError."""
    if not isinstance(value, Mapping):
        raise InputError("a document is not an object")
    try:
        text, metadata, name = value["text"], decode(json.dumps(value["metadata"])), value["id"]
    except MALFORMED as error:
        raise InputError(f"a document cannot be read: {error}") from error
    if not isinstance(metadata, dict) or not isinstance(text, str) or not isinstance(name, str):
        raise InputError("a document needs an id, a text and metadata")
    return Document(text, metadata, name)


def values_to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that metadata could hold, with their dates tagged."""
    written: dict[str, Any] = json.loads(encode(values))
    return written


def values_from_json(value: Any) -> dict[str, Any]:
    """Read the output of `values_to_json`. Raises InputError."""
    try:
        values: dict[str, Any] = decode(json.dumps(value))
    except MALFORMED as error:
        raise InputError(f"metadata cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError("metadata is not an object")
    return values


def field_to_json(field: Field) -> dict[str, Any]:
    """Return the summary of a metadata field."""
    values = {each.name: getattr(field, each.name) for each in fields(field)}
    return values_to_json({**values, "kinds": dict(field.kinds), "elements": dict(field.elements)})


def field_from_json(value: Any) -> Field:
    """Read the summary of a metadata field."""
    values = values_from_json(value)
    values["values"] = tuple((each, count) for each, count in values["values"])
    for name in ("numbers", "dates"):
        values[name] = None if values[name] is None else tuple(values[name])
    return Field(**values)


def request_to_json(request: Request, engine: str) -> dict[str, Any]:
    """Return a request.

    Raises:
        UnsupportedError: it has a boost or a function of the program's own, whose code cannot be sent.
    """
    boosts = boosts_to_json(request.boosts)
    relevance = request.relevance
    if boosts is None or (boosts and relevance is not None and relevance.mapping is not None):
        what = "a boost of a class of your own" if boosts is None else "boosting with a relevance function of your own"
        raise UnsupportedError(
            f"{what} is not supported by the engine {engine}: its code cannot be sent. Use Freshness or Authority, and "
            "a number for relevance=",
            engine=engine,
            part="boosts",
        )
    versions = request.versions
    return {
        "vectors": pack(request.vectors),
        "k": request.k,
        "where": None if request.where is None else to_dict(request.where),
        "exact": request.exact,
        "probe": request.probe,
        "texts": list(request.texts),
        "mode": request.mode,
        "boosts": boosts,
        "now": request.now,
        "versions": None if versions is None else {**asdict(versions), "rules": rules_to_json(versions.rules)},
        "relevance": None if relevance is None or relevance.mapping is not None else relevance.floor,
        "min_relevance": None if relevance is not None and relevance.mapping is not None else request.min_relevance,
        "fusion": asdict(request.fusion),
        "with_vectors": request.with_vectors,
    }


def request_from_json(value: Mapping[str, Any], space: Space, scope: Scope | None) -> Request:
    """Read a request. Vectors without columns stand for texts that are not embedded yet.

    Raises:
        InputError, VectorError, FilterError, ConfigError: it cannot be read.
    """
    try:
        mode, texts, versions = value["mode"], value["texts"], value["versions"]
        floor, least, now = value["relevance"], value["min_relevance"], float(value["now"])
        fusion = Fusion(**value["fusion"])
        rules = None if versions is None else rules_from_json(versions["rules"])
        settled = None if rules is None else Versions(rules, int(versions["as_of"]), versions["superseded"])
        k, packed, where = value["k"], value["vectors"], value["where"]
        flags = [value[name] for name in ("exact", "probe", "with_vectors")]
        columns = packed["shape"][1]
        numbers = (fusion.dense, fusion.lexical, fusion.constant, now)
        sound = (
            mode in ("dense", "lexical", "hybrid")
            and isinstance(texts, list)
            and all(isinstance(each, str) for each in texts)
            and all(isinstance(each, bool) for each in flags)
            and all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers)
            and type(fusion.depth) is int
            and (least is None or (isinstance(least, (int, float)) and math.isfinite(least)))
            and (settled is None or settled.superseded in ("hide", "show", "substitute"))
        )
    except MALFORMED as error:
        raise InputError(f"the request cannot be read: {error!r:.200}") from error
    if not sound:
        raise InputError("the request has a value of a wrong type")
    vectors = Vectors(np.empty((len(texts), 0), np.float32)) if columns == 0 else prepared(packed, space)
    if texts and len(texts) != len(vectors):
        raise InputError("the request has not as many texts as vectors")
    exact, probe, with_vectors = flags
    return Request(
        vectors,
        k,
        parse(where),
        scope,
        exact=exact,
        probe=probe,
        texts=texts,
        mode=mode,
        boosts=boosts_from_json(value["boosts"]),
        now=now,
        versions=settled,
        relevance=None if floor is None else Relevance(space.metric, floor=floor),
        min_relevance=least,
        fusion=fusion,
        with_vectors=with_vectors,
    )


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return an answer."""
    versions = [None if each is None else values_to_json(asdict(each)) for each in answer.versions]
    return {
        "documents": [document_to_json(each) for each in answer.documents],
        "similarities": list(answer.similarities),
        "trace": {**{name: getattr(answer.trace, name) for name in _TRACE}, "timings": dict(answer.trace.timings)},
        "scores": None if answer.scores is None else list(answer.scores),
        "lexical": list(answer.lexical),
        "versions": versions,
        "vectors": None if answer.vectors is None else pack(answer.vectors),
    }


def answer_from_json(value: Mapping[str, Any]) -> Answer:
    """Read an answer."""
    trace = value["trace"]
    return Answer(
        [Document(each["text"], decode_metadata(each["metadata"]), each["id"]) for each in value["documents"]],
        value["similarities"],
        Trace(**{**trace, "notes": tuple(trace["notes"])}),
        value["scores"],
        value["lexical"],
        [None if each is None else _version(each) for each in value["versions"]],
        None if value["vectors"] is None else unpack(value["vectors"]),
    )


def decode_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Return metadata from the JSON values of `document_to_json`; faster than `values_from_json` for plain values."""
    if all(type(each) in (str, int, float, bool, type(None)) and name[:1] != "$" for name, each in value.items()):
        return value
    return values_from_json(value)


def _version(value: Any) -> Version:
    values = values_from_json(value)
    lists = ("successors", "absent", "substitutes")
    return Version(**{**values, **{name: tuple(values[name]) for name in lists}})


def pairs_to_json(pairs: Sequence[tuple[Document, NDArray[np.float32]]]) -> dict[str, Any]:
    """Return documents with their vectors."""
    vectors = np.stack([vector for _, vector in pairs]) if pairs else np.empty((0, 0), np.float32)
    return {"documents": [document_to_json(document) for document, _ in pairs], "vectors": pack(vectors)}


def pairs_from_json(value: Mapping[str, Any]) -> list[tuple[Document, NDArray[np.float32]]]:
    """Read documents with their vectors."""
    documents = [document_from_json(each) for each in value["documents"]]
    return list(zip(documents, unpack(value["vectors"]), strict=True)) if documents else []
