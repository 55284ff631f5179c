"""Lists: what searches find for each question, as documents or as the files that passages belong to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, closest, short_repr, type_of
from theodolite.evaluation.questions import Questions
from theodolite.evaluation.result import Ranked
from theodolite.filters import MISSING, Ids, lookup, parse
from theodolite.filters.parse import check_field
from theodolite.filters.values import kind_of
from theodolite.protocols import Engine, Scope
from theodolite.ranking.options import SearchOptions
from theodolite.types import Document, FieldKind, Hits, Vectors

if TYPE_CHECKING:  # a layer above; it is passed in
    from theodolite.searcher import Searcher

_PASSAGES = 4  # passages fetched for each place of a list of files, at first
_WIDER = 4  # factor by which more are fetched where too few files are among them
_LISTED = 8  # known fields named in a message


@dataclass(frozen=True, slots=True)
class Collection:
    """The collection to evaluate: what searches need."""

    searcher: "Searcher"
    engine: Engine
    scope: Scope | None


@dataclass(slots=True)
class Lists:
    """The lists of several questions.

    Attributes:
        found: the list of each question, best first.
        vectors: the questions' vectors in batches, as the engine searched with them; none in lexical mode.
        loose: ids of passages without the field that is judged. Each takes a place of its own.
    """

    found: list[list[Ranked]] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)

    def search(
        self,
        collection: Collection,
        options: SearchOptions,
        questions: Questions,
        *,
        by: str | None,
        length: int,
        enough: int,
    ) -> None:
        """Add the lists of some questions.

        Args:
            by: the field that is judged; None for documents.
            length: the length of the lists.
            enough: how many different values a list can have. More passages are fetched until there are as many.
        """
        searcher = collection.searcher
        depth = length if by is None else max(length, enough * _PASSAGES)
        options = replace(options, k=depth)
        lexical = options.arms == "lexical"
        texts = questions.texts if options.reads_text or questions.vectors is None else None
        prepared = searcher.prepare(
            options, texts, None if lexical else questions.vectors, collection.scope, probe=True
        )
        if prepared.request is not None and not lexical:
            self.vectors.append(prepared.request.vectors)
        lists: list[list[Ranked]] = [[] for _ in questions.ids]
        hits, pending = searcher.run(options, prepared), list(range(len(lists)))
        while pending:
            for number, each in zip(pending, hits, strict=True):
                lists[number] = self._ranked(each, by)
            pending = [
                number
                for number, each in zip(pending, hits, strict=True)
                if len(lists[number]) < enough and len(each) == options.k
            ]
            if pending:
                options = replace(options, k=options.k * _WIDER)
                hits = searcher.run(options, searcher.some_of(prepared, options, pending))
        self.found += [each[:length] for each in lists]

    def _ranked(self, hits: Hits, by: str | None) -> list[Ranked]:
        """Return the list of some hits: a value ranks where its best passage does."""
        ranked: dict[str, Ranked] = {}
        for hit in hits:
            name = hit.document.id
            value = name if by is None else value_of(hit.document, by)
            if value is None:
                self.loose.add(name)
                value = name
            if value not in ranked:
                ranked[value] = Ranked(value, hit.score, name)
        return list(ranked.values())


def count_values(collection: Collection, options: SearchOptions, by: str, length: int) -> int:
    """Return how many different values of a field a list of this length can have.

    Raises:
        InputError: no document has the field.
    """
    check_field(by)
    engine, scope = collection.engine, collection.scope
    fields = engine.fields(options.where, values=length, scope=scope)
    if by not in fields:
        known = engine.fields(None, values=0, scope=scope)
        if known and by not in known:
            raise _no_field(by, list(known))
        return length
    found = fields[by]
    complete = found.values and found.count == engine.count(options.where, scope=scope)
    return min(length, len(found.values)) if complete else length


def unknown_names(collection: Collection, by: str | None, names: Sequence[str]) -> list[str]:
    """Return the names that no document has: as its id, or as the value of a field."""
    engine, scope = collection.engine, collection.scope
    if not names:
        return []
    if by is None:
        known = {document.id for document, _ in engine.documents(Ids(frozenset(names)), scope=scope)}
        return [name for name in names if name not in known]
    kinds = _kinds(collection).get(by, frozenset())
    return [name for name in names if not _stored(collection, by, kinds, [name])]


def field_with(collection: Collection, names: Sequence[str]) -> str | None:
    """Return the metadata field that has one of these names as its value; None if no field has."""
    return next((name for name, kinds in _kinds(collection).items() if _stored(collection, name, kinds, names)), None)


def _kinds(collection: Collection) -> dict[str, frozenset[FieldKind]]:
    """Return the kinds of values that each field has, by its name."""
    fields = collection.engine.fields(None, values=0, scope=collection.scope)
    return {name: frozenset(summary.kinds) for name, summary in fields.items()}


def _stored(collection: Collection, name: str, kinds: frozenset[FieldKind], names: Sequence[str]) -> bool:
    """Return whether a document has one of the names as the value of a field that holds these kinds of values."""
    # Only values that the field could hold: a filter that cannot match would warn.
    values = [value for each in names for value in _values(each) if kind_of(value) in kinds]
    return bool(values) and collection.engine.count(parse({name: {"$in": values}}), scope=collection.scope) > 0


def value_of(document: Document, by: str) -> str | None:
    """Return the value of a document's field as files of judgments hold it; None if it has none.

    Raises:
        InputError: it is a list or a mapping.
    """
    value: Any = lookup(document.metadata, by)
    if value is MISSING or value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple, Mapping)):
        raise InputError(
            f"the field {by!r} of document {document.id!r} is {type_of(value)}; judge by a field with one value",
            field=by,
        )
    return f"{int(value)}" if isinstance(value, float) and value.is_integer() else str(value)


def _values(name: str) -> list[Any]:
    """Return the values that a name in a file may stand for."""
    values: list[Any] = [name]
    if name in ("True", "False"):
        values.append(name == "True")
    for read in (int, float):
        try:
            number = read(name)
            if math.isfinite(number):
                return [*values, number]
        except (ValueError, OverflowError):
            continue
    return values


def _no_field(by: str, known: list[str]) -> InputError:
    close = closest(by, known)
    if close is not None:
        hint = f" Did you mean {close!r}?"
    else:
        shown = ", ".join(map(short_repr, sorted(known)[:_LISTED])) + (", ..." if len(known) > _LISTED else "")
        hint = f" Known fields: {shown}"
    return InputError(f"by is {by!r}: no document has this field.{hint}", field=by, known=known)
