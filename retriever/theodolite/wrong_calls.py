"""Better errors for wrong calls: argument names from other libraries, and options passed by position.

`explain_wrong_calls` looks at a call only after Python has rejected it. So the signatures stay visible to editors and
type checkers, and correct calls cost one more function call.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from inspect import Parameter, iscoroutinefunction, signature
from types import FunctionType
from typing import Any, TypeVar

from theodolite.errors import closest, short_repr

RENAMED = {
    "now": "as_of",
    "include_superseded": "superseded='show'",
    "substitute": "superseded='substitute'",
    "fusion": "mode=Fusion(...)",
}
"""Names that users may try for an option of a search, with the option to use instead."""

Class = TypeVar("Class", bound=type)
Explainer = Callable[[Sequence[Any], Mapping[str, Any]], TypeError | None]
"""Takes the arguments of a rejected call, and returns a better error if there is one."""

Meaning = tuple[str, str]
"""A parameter, and the text for the message if the method has it; `{value}` is the value that was passed."""

_DOCUMENT = "part of each document: Document(text, metadata, id=...)"
_K: tuple[Meaning, ...] = (("k", "k={value}"), ("limit", "limit={value}"))
_WHERE: tuple[Meaning, ...] = (("where", "where={value}"),)
_QUERY: tuple[Meaning, ...] = (("query", "query={value}"), ("queries", "queries, a list of texts"))
_QUERIES: tuple[Meaning, ...] = (
    ("queries", "queries={value}"),
    ("query", "query, one text; search_many takes several"),
)
_VECTOR: tuple[Meaning, ...] = (("vector", "vector"), ("vectors", "vectors"))
_VECTORS: tuple[Meaning, ...] = (("vectors", "vectors"), ("vector", "vector, one vector; search_many takes several"))
_PART: tuple[Meaning, ...] = (("documents", _DOCUMENT), ("metadata", "metadata"))
_LEAST: tuple[Meaning, ...] = (("min_relevance", "min_relevance={value}"), ("threshold", "threshold={value}"))
_SCOPE: tuple[Meaning, ...] = (("where", "a scope: kb.scoped(<partition field>={value})"),)

_FOREIGN: dict[str, tuple[Meaning, ...]] = {
    **dict.fromkeys(("top_k", "topk", "n_results", "num_results", "similarity_top_k", "n", "size"), _K),
    "limit": _K,
    "k": (("limit", "limit={value}"),),
    **dict.fromkeys(("filter", "filters", "query_filter", "filter_dict", "expr", "metadata_filter"), _WHERE),
    "where_document": (("accept", "accept, a function of documents; mode='lexical' finds words"),),
    **dict.fromkeys(("query_text", "text", "question", "q"), _QUERY),
    "query_texts": _QUERIES,
    **dict.fromkeys(("query_vector", "query_embedding", "embedding"), _VECTOR),
    **dict.fromkeys(("query_embeddings", "query_vectors", "embeddings"), _VECTORS),
    "texts": (("documents", "documents={value}"), *_QUERIES),
    **dict.fromkeys(("metadatas", "metadata", "payloads", "payload"), _PART),
    "ids": (("documents", _DOCUMENT), ("where", "where=F.ids(...)"), ("like", "like, to search near documents")),
    "id": (("ids", "ids={value}"), ("documents", _DOCUMENT)),
    **dict.fromkeys(("score_threshold", "similarity_threshold", "min_score", "threshold"), _LEAST),
    "reranker": (("rerank", "rerank"),),
    "alpha": (("mode", "mode=Fusion(dense=..., lexical=...)"),),
    "lambda_mult": (("diversity", "diversity, 0 for none: 1 - lambda_mult"),),
    **dict.fromkeys(("search_type", "query_type"), (("mode", "mode: 'dense', 'lexical' or 'hybrid'"),)),
    "include": (("query", "not needed: hits hold text, metadata and scores"), ("vectors", "vectors=True")),
    **dict.fromkeys(("with_vectors", "include_vectors"), (("vectors", "vectors={value}"),)),
    **dict.fromkeys(("with_payload", "include_metadata"), (("query", "not needed: hits hold their metadata"),)),
    **dict.fromkeys(("namespace", "tenant"), _SCOPE),
    "offset": (("after", "after, the last id of the page before"),),
    "delete_all": (("ids", "clear()"),),
    "embedding_function": (("embedder", "embedder"),),
    "embed_model": (("embedder", "embedder"),),
    **{name: (("as_of", text),) for name, text in RENAMED.items()},
}
"""Names from other libraries. The first meaning whose parameter the method has is used."""

# Probable meanings of a value by position, in order: the first parameter that the method takes by name.
_NUMBERS = ("k", "limit", "values", "batch_size")
_MAPPINGS = ("where", "metadata")

_PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def unknown_name(what: str, name: str, known: Collection[str], meaning: str | None = None) -> TypeError:
    """Return the error for an unknown keyword.

    Args:
        what: the name of the callable, for the message.
        known: the names that it takes.
        meaning: the replacement, if known.
    """
    if meaning is not None:
        hint = f"here that is {meaning}"
    elif (close := closest(name, known)) is not None:
        hint = f"did you mean {close!r}?"
    else:
        hint = f"it takes {', '.join(sorted(known))}" if known else "it takes no further arguments"
    return TypeError(f"{what} has no argument {name!r}; {hint}")


def explain_wrong_calls(constructor: str) -> Callable[[Class], Class]:
    """Return a class decorator: wrong calls of a public method raise a TypeError that names the right call.

    Args:
        constructor: the message for wrong calls of the class itself.
    """

    def decorate(cls: Class) -> Class:
        for name, member in list(vars(cls).items()):
            what = f"{cls.__name__}.{name}"
            if name == "__init__":
                setattr(cls, name, _explained(member, lambda *_: TypeError(constructor)))
            elif name.startswith("_"):
                continue
            elif isinstance(member, FunctionType):
                setattr(cls, name, _explained(member, _explainer(what, member, f"kb.{name}")))
            elif isinstance(member, classmethod):
                function = member.__func__
                setattr(cls, name, classmethod(_explained(function, _explainer(what, function, what))))
        return cls

    return decorate


def _explained(function: Callable[..., Any], explain: Explainer) -> Callable[..., Any]:
    """Return the function with better errors for calls that do not match its signature."""
    if iscoroutinefunction(function):

        @wraps(function)
        async def acall(*args: Any, **named: Any) -> Any:
            try:
                return await function(*args, **named)
            except TypeError as error:
                if not _refused(error) or (better := explain(args, named)) is None:
                    raise
            raise better

        return acall

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except TypeError as error:
            if not _refused(error) or (better := explain(args, named)) is None:
                raise
        raise better

    return call


def _refused(error: TypeError) -> bool:
    """Return whether Python rejected the call itself: errors from inside the function have its frame, too."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _explainer(what: str, function: Callable[..., Any], call: str) -> Explainer:
    """Return a function from a call's arguments to its error, or to None if Python's own error is good enough.

    Args:
        what: the name of the method, for the message.
        call: the method as callers write it.
    """

    def explain(args: Sequence[Any], named: Mapping[str, Any]) -> TypeError | None:
        parameters = list(signature(function).parameters.values())[1:]
        kinds = {each.kind for each in parameters}
        names = [each.name for each in parameters if each.kind in _NAMED]
        for name, value in named.items():
            if name not in names and Parameter.VAR_KEYWORD not in kinds:
                return unknown_name(what, name, names, _meaning(name, value, names))
        places = [each.name for each in parameters if each.kind in _PLACED]
        rest = [each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
        extra = () if Parameter.VAR_POSITIONAL in kinds else args[1 + len(places) :]
        if not extra or not rest:
            return None
        if "documents" in places and isinstance(extra[0], Sequence):
            return TypeError(f"{what} takes only documents by position; metadata and ids are {_DOCUMENT}")
        taken = " and ".join(places) or "nothing"
        right = ", ".join([*places, _by_name(extra[0], rest)])
        return TypeError(f"{what} takes only {taken} by position; pass the others by name: {call}({right})")

    return explain


def _meaning(name: str, value: Any, parameters: Collection[str]) -> str | None:
    for parameter, text in _FOREIGN.get(name, ()):
        if parameter in parameters:
            return text.format(value=short_repr(value))
    return None


def _by_name(value: Any, parameters: Sequence[str]) -> str:
    """Return how to pass a value by name that was passed by position."""
    likely: tuple[str, ...] = ()
    if isinstance(value, int) and not isinstance(value, bool):
        likely = _NUMBERS
    elif isinstance(value, Mapping):
        likely = _MAPPINGS
    for name in likely:
        if name in parameters:
            return f"{name}={short_repr(value)}"
    return f"{parameters[0]}=..."
