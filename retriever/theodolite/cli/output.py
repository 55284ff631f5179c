"""What commands print: for people at a terminal, for programs behind a pipe, and as JSON.

Answers go to stdout, everything else to stderr.
"""

import json
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from theodolite.files.sync import Progress as Done
from theodolite.files.sync import Report
from theodolite.metadata import encode
from theodolite.types import Document, Duplicate, Hit, Hits

# Texts and ids are shown as they are: `:key:` is no picture.
console = Console(highlight=False, soft_wrap=True, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the newline
_PLACE = ("source", "heading", "title", "page", "published")  # what metadata often says of a passage
_LINES = 3  # of a passage, at a terminal
_SHOWN = 20  # skipped files
_PAUSE = 5.0  # seconds between two lines of progress where there is no terminal


def say(text: str, style: str = "", end: str = "\n") -> None:
    """A line of an answer."""
    console.print(_shown(text), markup=False, style=style, end=end)


def say_json(value: Any) -> None:
    """One JSON value, as a line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def note(text: str, style: str = "") -> None:
    """A line beside the answer."""
    errors.print(_shown(text), markup=False, style=style)


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


def hits_as_json(query: str, hits: Hits, *, explain: bool = False) -> dict[str, Any]:
    """An answer as JSON values; dates in metadata are tagged as they are stored."""
    return {"query": query, "hits": [_hit_as_json(hit, explain) for hit in hits], "trace": asdict(hits.trace)}


def _hit_as_json(hit: Hit, explain: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "id": hit.document.id,
        "text": hit.document.text,
        "metadata": json.loads(encode(hit.document.metadata)),
    }
    if hit.version is not None:
        told["version"] = asdict(hit.version)
    if hit.duplicates:
        told["duplicates"] = [duplicate.document.id for duplicate in hit.duplicates]
    if explain:
        told["explanation"] = hit.explain().to_dict()
    return told


def show_hits(hits: Hits, *, explain: bool = False) -> None:
    """For people: score, id, place, and the first lines. Behind a pipe: tab-separated, a line each."""
    if not console.is_terminal:
        for hit in hits:
            name, text = _line(hit.document.id), _line(hit.document.text)
            sys.stdout.write(f"{hit.rank}\t{_score(hit.score, 4)}\t{name}\t{text}\n")
            if explain:
                sys.stdout.write("".join(f"\t{_shown(line)}\n" for line in str(hit.explain()).splitlines()))
        return
    for hit in hits:
        say(f"{hit.rank:2}. {_score(hit.score, 3)}  ", style="bold", end="")
        say(_line(hit.document.id), style="cyan", end="  ")
        say(_place(hit.document), style="dim")
        width = max(40, min(console.width, 120)) - 6
        for line in textwrap.wrap(_line(hit.document.text), width, max_lines=_LINES, placeholder=" …"):
            say(f"      {line}")
        if explain:
            for line in str(hit.explain()).splitlines():
                say(f"      {_shown(line)}", style="dim")
    if not hits:
        note("Nothing is eligible.")


def _score(score: float, digits: int) -> str:
    """Sums of reciprocal ranks are small, and BM25 may be: of these so many significant digits."""
    return f"{score:.{digits}f}" if abs(score) >= 0.1 or not score else f"{score:#.{digits}g}"


def show_duplicate(pair: Duplicate) -> None:
    """For people: the similarity, and of either document id, place and first line. Behind a pipe: a line."""
    if not console.is_terminal:
        names = "\t".join(_line(document.id) for document in (pair.first, pair.second))
        sys.stdout.write(f"{pair.similarity:.4f}\t{names}\n")
        return
    start = f"{pair.similarity:.3f}  "
    for document in (pair.first, pair.second):
        say(start, style="bold", end="")
        say(_line(document.id), style="cyan", end="  ")
        say(_place(document), style="dim")
        width = max(40, min(console.width, 120)) - 7
        say(f"       {textwrap.shorten(_line(document.text), width, placeholder=' …')}")
        start = "       "


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
    for moved in report.relocated:
        note(f"{moved.source} has moved from {moved.before} to {moved.after}")
    if report.truncated:
        note(f"{report.truncated:,} passages are longer than the embedder reads")
    if report.repaired:
        characters = sum(item.characters for item in report.repaired)
        first = report.repaired[0].source
        note(
            f"{characters:,} characters of {len(report.repaired):,} files are no text and were replaced, first {first}"
        )
    if report.failed:
        note(f"{report.failed:,} could not be stored", style="red")
    if report.skipped:
        kept = f", {report.kept:,} passages of them kept" if report.kept else ""
        note(f"{len(report.skipped):,} skipped{kept}:")
        for item in report.skipped[:_SHOWN]:
            note(f"  {item.source}: {item.reason}")
        if len(report.skipped) > _SHOWN:
            note(f"  … and {len(report.skipped) - _SHOWN:,} more; --json lists them all")


def described(info: Mapping[str, Any]) -> dict[str, Any]:
    """What `Retriever.info` tells, with a line for each of its parts; what is not there is left out."""
    # This process has filtered nothing, and opened it to read.
    left_out = (
        {"columns", "read_only"} if info["transforms"] else {"columns", "read_only", "transforms", "raw_dimension"}
    )
    told = {name: value for name, value in info.items() if value is not None and name not in left_out}
    if info["transforms"]:
        told["transforms"] = ", ".join(info["transforms"])
    told["unreadable_dates"] = ", ".join(f"{name}: {count:,}" for name, count in info["unreadable_dates"].items())
    if not told["unreadable_dates"]:
        del told["unreadable_dates"]
    if info["approximate"] is not None:
        told["approximate"] = index_line(info["approximate"])
    if info["recommended"] is not None:
        told["recommended"] = f"reindex with {info['recommended']['index']}: {estimate_line(info['recommended'])}"
    return told


def index_line(index: Mapping[str, Any]) -> str:
    """An approximate index in a line."""
    if not index["ready"]:
        return "not built" if index["calibration"] is None else "its files cannot be used: reindex"
    measured = index["calibration"]
    return (
        f"{index['rows']:,} rows, recall@{measured['k']} {measured['recall']:.3f} (target {index['target_recall']}; "
        f"{measured['queries']} queries, {measured['kind']}), {measured['n']} proposals"
    )


def estimate_line(estimate: Mapping[str, Any]) -> str:
    """What building an index would take, as far as it is known."""
    if estimate["seconds"] is None:
        return "how long it takes is not known"
    return f"about {estimate['seconds']:,.0f} s, {estimate['memory'] / 1e6:,.0f} MB of memory"


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show at a terminal that something takes its time."""
    if quiet or not errors.is_terminal:
        yield
        return
    with errors.status(what):
        yield


@contextmanager
def counting(
    what: str, total: int | None = None, *, quiet: bool = False, above: bool = False
) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many more are done; `above` it appears what is said meanwhile on the same terminal."""
    with _bar(quiet, above and console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        started = said = time.monotonic()
        done = 0

        def advance(number: int) -> None:
            nonlocal done, said
            done += number
            line = f"{what}: {done:,}{f' of {total:,}' if total else ''}, {_rate(done, started)}"
            bar.update(task, completed=done, description=line)
            if _due(quiet, said):
                said = time.monotonic()
                note(line)

        yield advance


@contextmanager
def indexing(*, quiet: bool = False) -> Iterator[Callable[[Done], None]]:
    """A bar over the bytes of all files, with the passages and their rate."""
    with _bar(quiet) as bar:
        task = bar.add_task("indexing", total=None)
        started = said = time.monotonic()

        def at(done: Done) -> None:
            nonlocal said
            rate = _rate(done.passages, started)
            line = f"{done.files:,} of {done.of_files:,} files, {done.passages:,} passages, {rate}"
            bar.update(task, completed=done.bytes, total=done.of_bytes, description=f"{line}, {_shown(done.source)}")
            if _due(quiet, said):
                said = time.monotonic()
                note(line)

        yield at


def _bar(quiet: bool, above: bool = False) -> Progress:
    said = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn(), said)
    hidden = quiet or not errors.is_terminal
    # Rich would take stdout for itself, and with it the documents of an export.
    return Progress(*columns, console=errors, transient=True, disable=hidden, redirect_stdout=above)


def _rate(done: int, started: float) -> str:
    return f"{done / max(1e-9, time.monotonic() - started):,.0f}/s"


def _due(quiet: bool, said: float) -> bool:
    return not quiet and not errors.is_terminal and time.monotonic() - said > _PAUSE


def _place(document: Document) -> str:
    """Where a passage is from; not its path where the id begins with it."""
    path = str(document.metadata.get("path", ""))
    told = [path] if not document.id.startswith(path) else []
    told += [str(document.metadata[name]) for name in _PLACE if document.metadata.get(name)]
    return " · ".join(map(_line, told))


def _line(text: str) -> str:
    return _shown(" ".join(text.split()))


def _shown(text: str) -> str:
    """Without control characters: a document must not be able to steer a terminal."""
    return _CONTROL.sub("\ufffd", text)
