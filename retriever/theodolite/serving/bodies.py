"""Bodies of requests: the fields of JSON, checked and turned into search options."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from theodolite.errors import ConfigError, InputError, did_you_mean
from theodolite.protocols import Fusion
from theodolite.ranking.boost_json import boosts_from_json
from theodolite.ranking.diversity import MMR
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.versions import from_json as rules_from_json
from theodolite.serving.collections import Served
from theodolite.serving.errors import param_error
from theodolite.serving.limits import Limits
from theodolite.serving.results import metadata_from_json
from theodolite.types import Document

SEARCH = (
    "query",
    "vector",
    "like",
    "k",
    "where",
    "mode",
    "boosts",
    "versions",
    "as_of",
    "superseded",
    "min_relevance",
    "rerank",
    "diversity",
    "dedupe",
    "coverage",
    "highlight",
    "explain",
)
"""The fields of a search's body."""


def check_known(body: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for a field that the API does not have."""
    fields = tuple(known)
    for name in body:
        if name not in fields:
            hint = did_you_mean(name, fields) or f" Known: {', '.join(fields)}"
            raise param_error(name[:100], f"unknown field {name!r:.100}.{hint}")


def text_of(body: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text, or None. Raises InputError."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise param_error(name, f"{name} is not a string")
    return value


def flag_of(body: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false. Raises InputError."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise param_error(name, f"{name} is not true or false")
    return value


def ids_of(body: Mapping[str, Any], name: str = "ids") -> list[str]:
    """Return a field that is a list of ids, or one id. Raises InputError."""
    value = body.get(name)
    ids = [value] if isinstance(value, str) else value
    if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
        raise param_error(name, f"{name} is not a list of ids")
    return ids


def documents_of(body: Mapping[str, Any], name: str = "documents") -> list[Document]:
    """Return a field that is a list of documents, as objects with `text`. Raises InputError."""
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise param_error(name, f"{name} is not a list of objects with 'text'")
    return [_document(each, number) for number, each in enumerate(value)]


def _document(value: Any, number: int) -> Document:
    if not isinstance(value, dict):
        raise param_error("documents", f"document {number} is not an object")
    check_known(value, ("id", "text", "metadata"))
    text, name = value.get("text"), value.get("id", "")
    if not isinstance(text, str) or not isinstance(name, str):
        raise param_error("documents", f"document {number}: text and id must be strings")
    return Document(text, metadata_from_json(value.get("metadata", {})), name)


def vector_of(value: Any, name: str = "vector") -> list[float] | None:
    """Return a field that is a list of numbers, or None. Raises InputError."""
    if value is None:
        return None
    if not isinstance(value, list) or not value or not {*map(type, value)} <= {int, float}:
        raise param_error(name, f"{name} is not a list of numbers")
    try:
        return [float(each) for each in value]
    except OverflowError:
        raise param_error(name, f"{name} has a number that is too large") from None


def search_options(body: Mapping[str, Any], served: Served, limits: Limits) -> SearchOptions:
    """Return the options of a search from its body. Raises InputError, with the field in `param`."""
    mode = body.get("mode", "dense")
    diversity = body.get("diversity")
    with_rerank = flag_of(body, "rerank")
    if with_rerank and served.rerank is None:
        raise param_error("rerank", "this server has no reranker: start it with --rerank NAME")
    boosts, versions, as_of = body.get("boosts"), body.get("versions"), body.get("as_of")
    if as_of is not None and (isinstance(as_of, bool) or not isinstance(as_of, (str, int, float))):
        raise param_error("as_of", "as_of is not a date, such as '2025-03-01', or seconds since 1970")
    return SearchOptions(
        k=None if body.get("k") is None else limits.check_k(body["k"]),
        where=limits.check_where(body.get("where")),
        mode=_made("mode", lambda: Fusion(**mode)) if isinstance(mode, dict) else _choice("mode", mode),
        boosts=() if boosts is None else _made("boosts", lambda: boosts_from_json(boosts)),
        versions=None if versions is None else _made("versions", lambda: rules_from_json(versions)),
        as_of=as_of,
        superseded=_choice("superseded", body.get("superseded", "hide")),
        min_relevance=body.get("min_relevance"),
        rerank=served.rerank if with_rerank else None,
        diversity=_made("diversity", lambda: MMR(**diversity)) if isinstance(diversity, dict) else diversity,
        dedupe=body.get("dedupe"),
        coverage=body.get("coverage"),
    )


def _choice(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise param_error(name, f"{name} is not a string")
    return value


def _made(name: str, make: Callable[[], Any]) -> Any:
    """Return the result of a function; its errors name the field."""
    try:
        return make()
    except (ConfigError, InputError, TypeError, ValueError) as error:
        message = getattr(error, "message", None) or f"{name} cannot be read: {error}"
        raise param_error(name, f"{message}".replace("__init__()", name)) from error
