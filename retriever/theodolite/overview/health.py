"""Health: what the guards, the checks of stored data and the monitor say about a collection, as findings."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from theodolite.auditing.findings import Finding, share
from theodolite.engines.local.storage.folder import MONITOR, Folder
from theodolite.errors import CorruptionError, EngineError, TheodoliteError
from theodolite.guards import unfinished_copy
from theodolite.maintenance_reports import Verification
from theodolite.monitoring.journal import contents
from theodolite.monitoring.report import report
from theodolite.protocols import Engine, Maintenance
from theodolite.types import Field

if TYPE_CHECKING:  # a layer above; it is passed in
    from theodolite.retriever import Retriever

_WINDOWS = 48  # hours of the monitor
_EXAMPLES = 5  # fields or problems named in a sentence


def stored_data(kb: "Retriever", engine: Engine) -> Iterator[Finding]:
    """Verify everything stored."""
    if not isinstance(engine, Maintenance):
        return
    problems: tuple[Any, ...] = ()
    try:
        verified = kb.verify()
    except CorruptionError as error:
        found = error.details.get("verification")
        problems = found.problems if isinstance(found, Verification) else ()
        advice = "Restore a backup, or copy the sound documents to a new collection."
        if problems and all(problem.derived for problem in problems):
            advice = "Run `theodolite verify --repair`, or kb.repair(): it rebuilds what can be derived."
        meaning = "Files changed outside of theodolite, or a disk failed. Searches may miss documents."
        listed = "; ".join(problem.message for problem in problems[:_EXAMPLES]) or error.message
        yield Finding("stored data", "error", listed, meaning, advice, {"problems": max(1, len(problems))})
        return
    counts = ", ".join(f"{count:,} {part}" for part, count in verified.checked.items())
    yield Finding("stored data", "ok", f"sound: {counts}" if counts else "sound", "All checksums match.")
    for warning in verified.warnings[:_EXAMPLES]:
        yield Finding("stored data", "note", warning.message, "This is harmless.")


def embedder(kb: "Retriever", *, loaded: bool) -> Iterator[Finding]:
    """Compare the embedder with the vectors that the collection was built with.

    Args:
        loaded: whether the embedder is there; it is not loaded for this.
    """
    if not loaded:
        found = "not compared: the embedder is not loaded"
        meaning = "Whether it still gives the vectors that the collection was built with was not checked."
        yield Finding("embedder", "note", found, meaning, "Open the collection with its embedder to check it.")
        return
    try:
        check = kb.check_embedder()
    except TheodoliteError as error:
        yield Finding("embedder", "warning", f"could not be compared: {error}", "It was not checked.")
        return
    if not check.ok:
        yield Finding("embedder", "error", check.message(), "Questions no longer find what they should.")
    elif check.unsteady:
        yield Finding("embedder", "warning", check.unsteady, "The same text has different results at different times.")
    else:
        yield Finding("embedder", "ok", check.message(), "Questions are embedded as the documents were.")


def whole_collection(engine: Engine, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Check for an unfinished copy, and the state of the approximate index."""
    if (notice := unfinished_copy.notice(engine)) is not None:
        yield Finding("copy", "warning", notice, "Documents are missing.", "Run the copy again: it resumes.")
    index, recommended = info.get("approximate"), info.get("recommended")
    if index is not None and not index.get("ready", True):
        found = f"the index {info.get('index')!r} is not ready"
        yield Finding("index", "warning", found, "Searches are exact, and slower.", "Run `theodolite reindex`.")
    elif recommended is not None:
        found = f"none; {recommended['index']!r} would pay off"
        meaning = "Every search compares the question with all documents."
        yield Finding("index", "note", found, meaning, f"Run `theodolite reindex KB {recommended['index']}`.")


def texts(info: Mapping[str, Any]) -> Finding:
    """Check for texts that the embedder did not read to their end."""
    cut = int(info.get("truncated") or 0)
    if not cut:
        return Finding("truncated texts", "ok", "none", "The embedder read all of each text.", "", {"count": 0})
    found = f"{cut:,} texts ({share(cut, max(cut, int(info['documents'])))}) are longer than the embedder's limit"
    meaning = "What stands after the limit cannot be found by meaning."
    advice = "Split them into shorter passages, or use a model that reads longer texts."
    return Finding("truncated texts", "warning", found, meaning, advice, {"count": cut})


def dates(fields: Mapping[str, Field]) -> Iterator[Finding]:
    """Check for strings that look like dates and are not."""
    odd = {name: found.unreadable_dates for name, found in fields.items() if found.unreadable_dates}
    if odd:
        named = ", ".join(f"{name!r} ({count:,})" for name, count in list(odd.items())[:_EXAMPLES])
        meaning = "They are compared as texts, so filters and rules by date pass them over."
        found = f"strings that look like dates and are not, in {named}"
        yield Finding("dates", "warning", found, meaning, "Write dates as 2025-06-15.", {"fields": odd})


def versions(superseded: int | None, examples: tuple[str, ...]) -> Iterator[Finding]:
    """Say how many documents the version rules leave out; None: there are no rules."""
    if superseded is None:
        return
    if not superseded:
        yield Finding("old versions", "ok", "every document is current", "The version rules leave nothing out.")
        return
    named = f", such as {', '.join(examples)}" if examples else ""
    noun = "document is" if superseded == 1 else "documents are"
    found = f"{superseded:,} {noun} superseded or no longer valid{named}"
    meaning = "The version rules keep them from being found. They still take space and time."
    yield Finding(
        "old versions", "note", found, meaning, "Delete them if nobody asks for the past.", {"count": superseded}
    )


def monitored(kb: "Retriever") -> dict[str, Any] | None:
    """Return the report of the collection's monitor; None if nothing was recorded."""
    if kb.monitor is not None:
        values = kb.monitor.report(_WINDOWS)
        return values if values["searches"] else None
    location = kb.location
    if location is None:
        return None
    path = location / MONITOR
    try:
        journal = contents(path, Folder(location))
    except EngineError as error:
        return {"note": str(error), "searches": 0, "windows": [], "baseline": None, "recall": None, "alerts": []}
    return None if journal is None else report(journal, path, _WINDOWS)


def alerts(values: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Return the alerts of a monitor's report, the latest first."""
    for alert in reversed([] if values is None else values["alerts"][-_EXAMPLES:]):
        found = f"{alert['at'][:16].replace('T', ' ')} UTC: {alert['message']}"
        meaning = f"Searches differ from the baseline ({alert['cause']})."
        yield Finding("monitor", "warning", found, meaning, "Compare with a backup: `theodolite diff` names causes.")
