"""Notes on searches (`Trace.notes`): sentences about its filter, dates and words."""

from collections.abc import Iterable, Iterator
from datetime import date

from theodolite.errors import MetadataWarning, TheodoliteWarning, short_repr, warn_caller
from theodolite.filters import And, Compare, Filter, In, Not, Or, instant
from theodolite.protocols import Request
from theodolite.ranking.boosts import Freshness
from theodolite.ranking.versions import dates_of

_MAX_WARNED = 1000  # notes to remember


class NoteWarnings:
    """Issues each note as a warning the first time it is written."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warn(self, notes: Iterable[str], category: type[TheodoliteWarning] = MetadataWarning) -> None:
        for note in notes:
            if note not in self._warned and len(self._warned) < _MAX_WARNED:
                self._warned.add(note)
                warn_caller(note, category)


def request_dates(request: Request) -> list[str]:
    """Return the fields that rules and boosts read as dates."""
    fields = [boost.field for boost in request.boosts if isinstance(boost, Freshness)]
    for rule in () if request.versions is None else request.versions.rules:
        fields += dates_of(rule)
    return fields


def filter_dates(tree: Filter | None) -> Iterator[str]:
    """Yield the fields that a filter compares with dates."""
    match tree:
        case Not(part=part):
            yield from filter_dates(part)
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from filter_dates(part)
        case Compare(field=field, value=value):
            if instant(value) is not None:
                yield field
        case In(field=field, values=values):
            if any(issubclass(kind, date) for kind in set(map(type, values))):
                yield field


def unreadable_note(field: str, count: int, total: int, example: str) -> str:
    """Say how many of the documents that have a field hold a string that looks like a date but is not one."""
    return (
        f"{count:,} of {total:,} documents have a string in {short_repr(field)} that looks like a date but is not one, "
        f"such as {short_repr(example)}. It is treated as text and never compared with a date. Write dates as "
        "2025-06-15 or 2025-06-15T12:30:45Z"
    )


def no_match_note(request: Request, *, has_terms: bool, known: bool) -> str:
    """Say why lexical search returned no document.

    Args:
        has_terms: whether the query has words that are looked up.
        known: whether any document of the scope has one of them, eligible or not.
    """
    if not has_terms:
        reason = "The query has no words"
    elif known:
        reason = "The query's words occur only in documents that the filter or the rules for versions exclude"
    else:
        reason = f"No document{'' if request.scope is None else ' in the scope'} has any of the query's words"
    return f"{reason}{', so only similarity ranks the hits' if request.mode == 'hybrid' else ''}."
