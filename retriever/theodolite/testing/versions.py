"""A simple, slow implementation of version rules: the reference for every engine.

It follows the definition of the rules, one document at a time, and is independent of the code in engines.
"""

from collections.abc import Callable, Sequence
from typing import Any

from theodolite.filters import instant, lookup
from theodolite.filters.values import orderable
from theodolite.ranking.versions import Latest, Rule, Superseded, Valid, Versions
from theodolite.types import Document, Version

Passes = Callable[[Document], bool]


class Reference:
    """The documents of one scope, with version rules for them.

    Args:
        documents: all documents in the scope.
        versions: the rules, and the instant.
        where: returns whether a document passes the filter; by default, all do.
        partition: the field that partitions the collection, or None. Documents of different partitions are independent.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        versions: Versions,
        where: Passes = lambda _: True,
        partition: str | None = None,
    ) -> None:
        self._documents = list(documents)
        self._versions = versions
        self._where = where
        self._partition = partition
        self._begun = [document for document in self._documents if self._has_begun(document)]
        self._current = [one for one in self._begun if all(self._holds(rule, one) for rule in versions.rules)]

    @property
    def superseded(self) -> int:
        """The number of documents that the rules leave out."""
        return len(self._documents) - len(self._begun if self._versions.superseded == "show" else self._current)

    def found(self) -> list[Document]:
        """Return the documents that a search may find."""
        return [document for document in self._documents if self._may_be_found(document)]

    def version(self, document: Document) -> Version | None:
        """Return the version status of a document that is found; None if it is simply current.

        Its values have the form that `plain` returns, in arbitrary order.
        """
        successors: list[Any] = []
        absent: list[Any] = []
        substitutes: list[Any] = []
        current = document in self._current
        for rule in self._versions.rules:
            if isinstance(rule, Latest) and not self._holds(rule, document):
                successors.append(self._newest(rule, document))
            if isinstance(rule, Superseded):
                reached = self._ahead(rule, document)
                there = [key for key in reached if self._there(rule, key, document)]
                if there:
                    successors += [key for key in there if self._is_last(rule, key, document)]
                else:
                    absent += reached
            if current and not self._where(document):
                substitutes += self._stands_in(rule, document)
        ended = any(isinstance(rule, Valid) and not self._holds(rule, document) for rule in self._versions.rules)
        version = Version(current, tuple(successors), tuple(absent), tuple(substitutes), ended)
        return None if version == Version() else version

    def _may_be_found(self, document: Document) -> bool:
        shown = self._begun if self._versions.superseded == "show" else self._current
        if document in shown and self._where(document):
            return True
        if self._versions.superseded != "substitute" or document not in self._current:
            return False
        return any(self._succeeds(rule, document, old) for rule in self._versions.rules for old in self._gone())

    def _gone(self) -> list[Document]:
        """Return the documents that pass the filter but are no longer current."""
        return [one for one in self._begun if one not in self._current and self._where(one)]

    def _has_begun(self, document: Document) -> bool:
        dates = []
        for rule in self._versions.rules:
            match rule:
                case Latest(by=field) | Valid(start=str(field)) | Superseded(since=str(field)):
                    dates.append(instant(lookup(document.metadata, field)))
        return all(date is None or date <= self._versions.as_of for date in dates)

    def _holds(self, rule: Rule, document: Document) -> bool:
        """Return whether a document that has begun is current by this rule."""
        match rule:
            case Latest():
                return not self._newer(rule, document)
            case Valid():
                end = None if rule.end is None else instant(lookup(document.metadata, rule.end))
                return end is None or self._versions.as_of < end
            case Superseded():
                return not any(self._there(rule, key, document) for key in self._ahead(rule, document))

    def _succeeds(self, rule: Rule, new: Document, old: Document) -> bool:
        match rule:
            case Latest():
                return new in self._newer(rule, old)
            case Valid():
                return False
            case Superseded():
                return self._beside(new, old) and _key(new, rule.key) in self._ahead(rule, old)

    def _stands_in(self, rule: Rule, document: Document) -> list[Any]:
        """Return the groups or keys that a document is a substitute for."""
        old = [one for one in self._gone() if self._succeeds(rule, document, one)]
        match rule:
            case Latest():
                return [_key(document, rule.per)] if old else []
            case Valid():
                return []
            case Superseded():
                return list({_key(one, rule.key) for one in old})

    def _beside(self, one: Document, other: Document) -> bool:
        if self._partition is None:
            return True
        first, second = (document.metadata[self._partition] for document in (one, other))
        return type(first) is type(second) and bool(first == second)

    # Latest

    def _newer(self, rule: Latest, document: Document) -> list[Document]:
        """Return the documents of the same group that have begun and have a higher `by`."""
        group = _key(document, rule.per)
        if group is None:
            return []
        return [
            one
            for one in self._begun
            if self._beside(one, document)
            and _key(one, rule.per) == group
            and _order(rule, one) > _order(rule, document)
        ]

    def _newest(self, rule: Latest, document: Document) -> Any:
        order = max(_order(rule, one) for one in self._newer(rule, document))
        return ("instant", order[1]) if order[0] == 2 else order[1]

    # Superseded

    def _links(self, rule: Superseded, beside: Document) -> list[tuple[Any, Any]]:
        """Return pairs of old and new keys, as named by the documents of one partition."""
        links = []
        for document in self._documents:
            key = _key(document, rule.key)
            if key is not None and self._beside(document, beside):
                links += [(key, new) for new in _keys(document, rule.by)]
                links += [(old, key) for old in _keys(document, rule.replaces)]
        return links

    def _reached(self, rule: Superseded, key: Any, beside: Document) -> set[Any]:
        links = self._links(rule, beside)
        found: set[Any] = set()
        left = [key]
        while left:
            old = left.pop()
            new = {other for one, other in links if one == old} - found
            found |= new
            left += new
        return found

    def _beyond(self, rule: Superseded, key: Any, beside: Document) -> set[Any]:
        """Return the keys that a key leads to and that do not lead back to it."""
        reached = self._reached(rule, key, beside)
        return {other for other in reached if other != key and key not in self._reached(rule, other, beside)}

    def _ahead(self, rule: Superseded, document: Document) -> set[Any]:
        key = _key(document, rule.key)
        return set() if key is None else self._beyond(rule, key, document)

    def _there(self, rule: Superseded, key: Any, beside: Document) -> bool:
        return any(self._beside(one, beside) and _key(one, rule.key) == key for one in self._begun)

    def _is_last(self, rule: Superseded, key: Any, beside: Document) -> bool:
        return not any(self._there(rule, other, beside) for other in self._beyond(rule, key, beside))


def plain(value: Any) -> Any:
    """Return a group or key value in a form that Python compares like filters do; None if it cannot be one.

    1 equals 1.0 but not True; a date equals the ISO-8601 string of the same instant.
    """
    moment = instant(value)
    if moment is not None:
        return ("instant", moment)
    if isinstance(value, bool):
        return ("bool", value)
    return value if isinstance(value, (int, float, str)) and value != "" else None


def _key(document: Document, field: str) -> Any:
    return plain(lookup(document.metadata, field))


def _keys(document: Document, field: str | None) -> list[Any]:
    value = None if field is None else lookup(document.metadata, field)
    return [plain(one) for one in (value if isinstance(value, list) else [value]) if plain(one) is not None]


def _order(rule: Latest, document: Document) -> tuple[Any, ...]:
    found = orderable(lookup(document.metadata, rule.by))
    if found is None or found[0] == "text":
        return (0,)
    return (1 if found[0] == "number" else 2, found[1])
