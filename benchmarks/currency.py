"""Is the current document first? Collections in which some documents supersede others.

PEPs: the questions are the titles of superseded PEPs, and the last successors are current. The headers of the PEPs say
which supersedes which. FAQ: of several answers to one question, the one with the latest date is current; the questions
are paraphrases by people. Many of these answers have equal similarity, so ids break the tie: the ids grow with time, as
counters do.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.judged import Judged, ask, records
from theodolite import Authority, Freshness, Hits, Latest, Retriever, Superseded
from theodolite.types import Mode

DEPTH = 50

SUCCESSION = Superseded(key="pep", by="superseded_by", replaces="replaces", since="created")
STATUS = {
    "Active": 1.0,
    "Final": 1.0,
    "Accepted": 1.0,
    "Draft": 0.7,
    "Deferred": 0.4,
    "Withdrawn": 0.0,
    "Rejected": 0.0,
    "Superseded": 0.0,
}
PEPS: dict[str, dict[str, Any]] = {
    "neither": {},
    "Freshness 5y, 0.2": {"boosts": [Freshness("created", "5y", weight=0.2)]},
    "Authority of status, 0.2": {"boosts": [Authority("status", STATUS, weight=0.2)]},
    "both boosts": {"boosts": [Freshness("created", "5y", weight=0.2), Authority("status", STATUS, weight=0.2)]},
    "Superseded": {"versions": [SUCCESSION]},
    "Superseded, both boosts": {
        "versions": [SUCCESSION],
        "boosts": [Freshness("created", "5y", weight=0.2), Authority("status", STATUS, weight=0.2)],
    },
}
FAQ: dict[str, dict[str, Any]] = {
    "neither": {},
    "Freshness 7d, 0.2": {"boosts": [Freshness("date", "7d", weight=0.2)]},
    "Freshness 1d, 0.5": {"boosts": [Freshness("date", "1d", weight=0.5)]},
    "Latest": {"versions": [Latest(per="title", by="date")]},
}


def peps(kb: Retriever, collection: Judged, folder: Path, mode: Mode) -> dict[str, Any]:
    """Count, for each way of searching, the questions in `queries.jsonl` that find the current document."""
    asked = list(records(folder / "queries.jsonl"))
    ways = {}
    for name, options in PEPS.items():
        answers = ask(kb, collection.queries, collection.asked, mode, k=DEPTH, **_as_of("2026-01-01", options))
        ways[name] = _counted(
            [_numbers(hits) for hits in answers],
            [set(query["current"]) for query in asked],
            [{query["old"]} for query in asked],
        )
    return {"k": DEPTH, "ways": ways}


def numbered_by_date(collection: Judged) -> Judged:
    """Return the same documents with ids that begin with their date."""
    names = {document.id: f"{document.metadata['date']} {document.id}" for document in collection.documents}
    return replace(
        collection,
        documents=[replace(document, id=names[document.id]) for document in collection.documents],
        grades=[{names[name]: grade for name, grade in grades.items()} for grades in collection.grades],
    )


def faq(kb: Retriever, collection: Judged) -> dict[str, Any]:
    """Do the same for questions with answers of several dates."""
    dates = {document.id: str(document.metadata["date"]) for document in collection.documents}
    chosen, current, older = [], [], []
    for number, grades in enumerate(collection.grades):
        last = max(dates[name] for name in grades)
        old = {name for name in grades if dates[name] < last}
        if old:
            chosen.append(number)
            older.append(old)
            current.append(set(grades) - old)
    ways = {}
    for name, options in FAQ.items():
        texts, vectors = [collection.queries[i] for i in chosen], collection.asked[chosen]
        answers = ask(kb, texts, vectors, k=DEPTH, **_as_of("2020-03-28", options))
        ways[name] = _counted([[hit.document.id for hit in hits] for hits in answers], current, older)
    return {"k": DEPTH, "ways": ways}


def promises(kb: Retriever, collection: Judged, folder: Path) -> dict[str, Any]:
    """Measure the effect of version rules on the PEPs.

    Returns:
        `found`: questions with a successor in the first 50; `older`: hits that are superseded, in all of them;
        `taken_back`: old PEPs that are found as of the day before their first successor, of those that had `begun`;
        `named`: old PEPs found with `superseded="show"` all of whose hits name just their successors.
    """
    asked = list(records(folder / "queries.jsonl"))
    created = {document.metadata["pep"]: document.metadata["created"] for document in collection.documents}
    with (folder / "supersedes.tsv").open(encoding="utf-8", newline="") as lines:
        edges = [(int(old), int(new)) for old, new in csv.reader(lines, delimiter="\t")]
    replaced = {old for old, _ in edges}
    outcome = {"k": DEPTH, "queries": len(asked), "found": 0, "older": 0, "begun": 0, "taken_back": 0, "named": 0}
    for query, vector in zip(asked, collection.asked, strict=True):
        old, current = query["old"], set(query["current"])

        def found(vector: Any = vector, **options: Any) -> Hits:
            return kb.search(vector=vector, k=DEPTH, versions=[SUCCESSION], **options)

        numbers = _numbers(found())
        outcome["found"] += not current.isdisjoint(numbers)
        outcome["older"] += int(np.isin(numbers, list(replaced)).sum())
        before = date.fromisoformat(min(created[new] for was, new in edges if was == old)) - timedelta(days=1)
        if created[old] <= before.isoformat():
            outcome["begun"] += 1
            outcome["taken_back"] += old in _numbers(found(as_of=before))
        marked = [hit for hit in found(superseded="show") if hit.document.metadata["pep"] == old]
        outcome["named"] += bool(marked) and all(
            hit.version is not None and not hit.version.current and set(hit.version.successors) == current
            for hit in marked
        )
    return outcome


def _as_of(present: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, with `as_of` if anything depends on it."""
    return {**options, "as_of": present} if options else {}


def _numbers(hits: Hits) -> list[int]:
    return [hit.document.metadata["pep"] for hit in hits]


def _counted(found: Sequence[list[Any]], current: Sequence[set[Any]], older: Sequence[set[Any]]) -> dict[str, int]:
    """Count questions whose first hit is current, or older; with a current hit first, or at all; and older hits."""
    counts = {"queries": len(found), "first": 0, "older_first": 0, "before": 0, "found": 0, "older": 0}
    for names, new, old in zip(found, current, older, strict=True):
        firsts = [next((place for place, name in enumerate(names) if name in kind), len(names)) for kind in (new, old)]
        counts["first"] += firsts[0] == 0
        counts["older_first"] += firsts[1] == 0
        counts["before"] += firsts[0] < firsts[1]
        counts["found"] += firsts[0] < len(names)
        counts["older"] += sum(name in old for name in names)
    return counts
