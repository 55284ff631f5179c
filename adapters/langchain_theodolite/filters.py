"""Conversion of `filter=` arguments, and of the structured queries of self-query retrievers."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from langchain_core.documents import Document
from langchain_core.structured_query import (
    Comparator,
    Comparison,
    FilterDirective,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from theodolite import FilterError

Predicate = Callable[[Document], bool]

_AWAITED = "filter {} has to be awaited; give a function that returns a bool"


def split_filter(filter: Any) -> tuple[Any, Predicate | None]:
    """Split `filter=` into a theodolite filter (`where`) and a predicate. At most one of them is not None.

    Dictionaries and filters built with `theodolite.F` become `where`. The core parses them and rejects invalid ones. A
    function becomes a predicate that takes a Document.

    Raises:
        FilterError: `filter` is a coroutine function. Its result, a coroutine, is truthy, so every document would pass.
            A function that returns an awaitable raises the same error when it is called.
    """
    if not callable(filter):
        return (None if isinstance(filter, Mapping) and not filter else filter), None
    if inspect.iscoroutinefunction(filter):
        raise FilterError(_AWAITED.format(_name(filter)))

    def predicate(document: Document) -> bool:
        given = _Given.model_construct(**document.__dict__)
        try:
            passes = filter(given)
        except AttributeError as error:
            if error.obj is not given:
                raise
            raise FilterError(
                f"filter {_name(filter)} treats document {document.id!r} as its metadata, as with FAISS. It gets the "
                "Document: write document.metadata['field'], or pass {'field': value}",
                id=document.id,
            ) from error
        if inspect.isawaitable(passes):
            if inspect.iscoroutine(passes):
                passes.close()  # Avoids a warning: the coroutine is never awaited.
            raise FilterError(_AWAITED.format(_name(filter)), id=document.id)
        return bool(passes)

    return None, predicate


class _Given(Document):
    """A document that raises an error if a filter treats it as a dict. Plain `in` would silently return False."""

    def __contains__(self, key: object) -> bool:
        raise AttributeError("a document has no keys", obj=self)

    def __getitem__(self, key: object) -> Any:
        raise AttributeError("a document has no keys", obj=self)


class TheodoliteTranslator(Visitor):
    """Translates structured queries for `SelfQueryRetriever(structured_query_translator=TheodoliteTranslator(), ...)`.

    Supports all comparators and operators of langchain-core. `contain` matches an element of a list or a substring.
    `like` matches the whole string against a pattern: % stands for any characters, _ for one. Dates compare as
    instants.
    """

    allowed_comparators = tuple(Comparator)
    allowed_operators = tuple(Operator)

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return the dictionary form of an operation.

        Raises:
            FilterError: there are no conditions, or `not` has several conditions, which is ambiguous.
        """
        parts = [_visited(self, argument) for argument in operation.arguments]
        if not parts:
            raise FilterError(
                f"{operation.operator.value} has no conditions to join", operator=operation.operator.value
            )
        match operation.operator:
            case Operator.AND:
                return {"$and": parts}
            case Operator.OR:
                return {"$or": parts}
            case Operator.NOT:
                if len(parts) > 1:
                    raise FilterError(
                        f"not takes one condition, and there are {len(parts)}; write not(and(...)) or not(or(...))",
                        operator="not",
                    )
                return {"$not": parts[0]}
            case _:
                assert_never(operation.operator)

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return the dictionary form of a comparison. The search that uses the filter checks the values."""
        value = comparison.value
        if comparison.comparator in (Comparator.IN, Comparator.NIN):
            values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
            operand: Any = [_plain(item) for item in values]
        else:
            operand = _plain(value)
        return {comparison.attribute: {_OPERATORS[comparison.comparator]: operand}}

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the query and the keyword arguments of a search: `filter` and `k`, if the query sets them."""
        arguments: dict[str, Any] = {}
        if structured_query.filter is not None:
            arguments["filter"] = _visited(self, structured_query.filter)
        if structured_query.limit is not None:
            arguments["k"] = structured_query.limit
        return structured_query.query, arguments


_OPERATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.CONTAIN: "$contains",
    Comparator.LIKE: "$like",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
}


def _visited(visitor: TheodoliteTranslator, directive: FilterDirective) -> dict[str, Any]:
    found: dict[str, Any] = directive.accept(visitor)
    return found


def _plain(value: Any) -> Any:
    """Convert dates from the query language, {"date": ..., "type": "date"}, to the filter form."""
    if isinstance(value, Mapping) and value.get("type") in ("date", "datetime") and len(value) == 2:
        kind = value["type"]
        if kind in value:
            return {f"${kind}": value[kind]}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
