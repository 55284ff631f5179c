"""Notes on filters that cannot match and dates that cannot be read, from the answers of a source."""

from collections.abc import Sequence

from theodolite.engines.remote.source import Source
from theodolite.filters import Filter, fields
from theodolite.filters.non_matching import non_matching_notes
from theodolite.protocols import Scope
from theodolite.ranking.notes import NoteWarnings, filter_dates, unreadable_note


class RemoteNotes:
    """Writes notes on searches, counts and deletions. Each note is also a warning the first time."""

    def __init__(self) -> None:
        self._warnings = NoteWarnings()

    def notes(
        self, source: Source, where: Filter | None, scope: Scope | None, *, matching: int, dates: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return the notes.

        Args:
            where: the filter.
            matching: number of documents of the scope that pass it.
            dates: fields that boosts or version rules read as dates.
        """
        notes: tuple[str, ...] = ()
        names = sorted({*filter_dates(where), *dates})
        if names:
            unreadable = source.unreadable_dates(scope, names)
            notes = tuple(
                unreadable_note(name, dates.count, dates.total, dates.example) for name, dates in unreadable.items()
            )
        if not matching and where is not None:
            known = source.summaries(scope, sorted(fields(where)))
            place = "document" if scope is None else "document of this scope"
            notes += non_matching_notes(where, known, lambda: source.sample_names(scope), where=place)
        self._warnings.warn(notes)
        return notes
