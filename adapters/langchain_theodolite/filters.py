"""Filters: what the store can decide itself, and functions on documents."""

from collections.abc import Callable
from typing import Any

from langchain_core.documents import Document

Predicate = Callable[[Document], bool]


def split_filter(filter: Any) -> tuple[Any, Predicate | None]:
    """A filter for the store (`where`), and a function on LangChain documents: one of them, or neither."""
    if filter is None or not callable(filter):
        return filter, None

    def passes(document: Document) -> bool:
        try:
            return bool(filter(document))
        except TypeError as error:
            if "'Document' object" not in str(error):
                raise
            raise TypeError(
                f"{error}: a filter that is a function is given a Document, so write document.metadata['field'], or "
                "pass a dict such as {'field': value}, which is quicker"
            ) from error

    return None, passes
