"""What commands print: for people at a terminal, for programs behind a pipe, and as JSON.

Answers go to stdout, everything else to stderr.
"""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from theodolite.metadata import encode
from theodolite.sync import Progress as Done
from theodolite.sync import Report
from theodolite.types import Document, Hits

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False)

_LINES = 3  # of a passage, at a terminal
_SHOWN = 20  # skipped files
_PAUSE = 5.0  # seconds between two lines of progress where there is no terminal


def say(text: str, style: str = "") -> None:
    """A line of an answer."""
    console.print(text, markup=False, style=style)


def say_json(value: Any) -> None:
    """One JSON value, as a line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def note(text: str) -> None:
    """A line beside the answer."""
    errors.print(text, markup=False, soft_wrap=True)


def record(document: Document, vector: Any = None) -> str:
    """A document as a line of JSON, as `add` and `index` read it."""
    parts = [
        f'"id": {json.dumps(document.id, ensure_ascii=False)}',
        f'"text": {json.dumps(document.text, ensure_ascii=False)}',
        f'"metadata": {encode(document.metadata)}',
    ]
    if vector is not None:
        parts.append(f'"vector": {json.dumps(vector.tolist())}')
    return "{" + ", ".join(parts) + "}\n"


def hits_as_json(query: str, hits: Hits) -> dict[str, Any]:
    """An answer as JSON values; dates in metadata are tagged as they are stored."""
    return {
        "query": query,
        "hits": [
            {
                "rank": hit.rank,
                "score": hit.score,
                "scores": dict(hit.scores),
                "id": hit.document.id,
                "text": hit.document.text,
                "metadata": json.loads(encode(hit.document.metadata)),
            }
            for hit in hits
        ],
        "trace": asdict(hits.trace),
    }


def show_hits(hits: Hits) -> None:
    """For people: score, id, place, and the first lines. Behind a pipe: tab-separated, a line each."""
    if not console.is_terminal:
        for hit in hits:
            text = " ".join(hit.document.text.split())
            sys.stdout.write(f"{hit.rank}\t{hit.score:.4f}\t{_line(hit.document.id)}\t{text}\n")
        return
    for hit in hits:
        metadata = hit.document.metadata
        place = " · ".join(str(metadata[name]) for name in ("heading", "title", "page") if metadata.get(name))
        console.print(f"{hit.rank:2}. {hit.score:.3f}  ", end="", markup=False, style="bold")
        console.print(hit.document.id, end="  ", markup=False, style="cyan")
        console.print(place, markup=False, style="dim")
        text = " ".join(hit.document.text.split())
        width = max(40, min(console.width, 120)) - 6
        for line in textwrap.wrap(text, width, max_lines=_LINES, placeholder=" …"):
            console.print(f"      {line}", markup=False)
    if not hits:
        note("Nothing is eligible.")


def show_mapping(values: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values))
    for name, value in values.items():
        said = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        say(f"{name.replace('_', ' '):<{width}}  {'-' if said is None else said}")


def report_as_json(report: Report) -> dict[str, Any]:
    return asdict(report)


def show_report(report: Report) -> None:
    """What has happened to passages, then what was left out."""
    names = ("added", "replaced", "moved", "unchanged", "removed")
    parts = [f"{getattr(report, name):,} {name}" for name in names if getattr(report, name)]
    rate = f", {report.passages / report.seconds:,.0f} passages/s" if report.seconds else ""
    say(f"{report.files:,} files, {report.passages:,} passages: {', '.join(parts) or 'nothing to do'}")
    note(f"{report.seconds:.1f} s{rate}")
    if report.truncated:
        note(f"{report.truncated:,} passages are longer than the embedder reads")
    if report.skipped:
        note(f"{len(report.skipped):,} skipped:")
        for item in report.skipped[:_SHOWN]:
            note(f"  {item.source}: {item.reason}")
        if len(report.skipped) > _SHOWN:
            note(f"  … and {len(report.skipped) - _SHOWN:,} more; --json lists them all")


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show at a terminal that something takes its time."""
    if quiet or not errors.is_terminal:
        yield
        return
    with errors.status(what):
        yield


@contextmanager
def counting(what: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many more are done."""
    with _bar(quiet) as bar:
        task = bar.add_task(what, total=total)
        done, said = 0, time.monotonic()

        def advance(number: int) -> None:
            nonlocal done, said
            done += number
            bar.advance(task, number)
            if _due(quiet, said):
                said = time.monotonic()
                note(f"{what}: {done:,}{f' of {total:,}' if total else ''}")

        yield advance


@contextmanager
def indexing(*, quiet: bool = False) -> Iterator[Callable[[Done], None]]:
    """A bar over the bytes of all files, with the passages and their rate."""
    with _bar(quiet) as bar:
        task = bar.add_task("indexing", total=None)
        started = said = time.monotonic()

        def at(done: Done) -> None:
            nonlocal said
            rate = done.passages / max(1e-9, time.monotonic() - started)
            text = f"{done.passages:,} passages, {rate:,.0f}/s, {done.source}"
            bar.update(task, completed=done.files, total=done.of_files, description=text)
            if _due(quiet, said):
                said = time.monotonic()
                note(f"{done.files:,} of {done.of_files:,} files, {done.passages:,} passages, {rate:,.0f}/s")

        yield at


def _bar(quiet: bool) -> Progress:
    said = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), said)
    return Progress(*columns, console=errors, transient=True, disable=quiet or not errors.is_terminal)


def _due(quiet: bool, said: float) -> bool:
    return not quiet and not errors.is_terminal and time.monotonic() - said > _PAUSE


def _line(text: str) -> str:
    return " ".join(text.split())
