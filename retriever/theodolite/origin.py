"""Origin: the way back from hits to their collection."""

from collections.abc import Callable
from typing import Any


class Origin:
    """Where hits come from: the question, and the collection, which they do not keep open.

    A copy that was pickled knows the question only.

    Attributes:
        collection: returns the collection, or None if it is gone.
        question: the text of the query; None if it was a vector.
        scope: the part of the collection that was searched.
        where, accept: the filter of the search, and its function of documents; None without one.
        versions: the rules for versions that the search followed, and their present; None without rules.
    """

    __slots__ = ("accept", "collection", "question", "scope", "versions", "where")

    def __init__(
        self,
        collection: Callable[[], Any],
        question: str | None,
        scope: Any = None,
        *,
        where: Any = None,
        accept: Callable[[Any], bool] | None = None,
        versions: Any = None,
    ) -> None:
        self.collection = collection
        self.question = question
        self.scope = scope
        self.where, self.accept, self.versions = where, accept, versions

    def __reduce__(self) -> tuple[Any, ...]:
        return Origin, (_gone, self.question)


def _gone() -> None:
    """Return None: the collection of a pickled `Origin`."""
