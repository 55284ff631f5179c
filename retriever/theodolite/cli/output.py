"""Printing: for people at a terminal, for programs behind a pipe, and as JSON.

Results go to stdout, everything else to stderr.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from theodolite.cli import hit_lines
from theodolite.display import one_line as one_line  # for the commands
from theodolite.display import printable
from theodolite.metadata import as_tagged
from theodolite.serving.results import hits_as_json as hits_as_json
from theodolite.types import Document, Hits

if TYPE_CHECKING:
    from theodolite.files.sync import SyncProgress

# Texts and ids are printed as they are: no markup, and `:key:` does not become an emoji.
console = Console(highlight=False, soft_wrap=True, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_PAUSE = 5.0  # seconds between two lines of progress without a terminal


def say(text: str, style: str = "", end: str = "\n") -> None:
    """Print a line of the result to stdout."""
    console.print(printable(text), markup=False, style=style, end=end)


def say_json(value: Any) -> None:
    """Print a value as one line of JSON to stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def note(text: str, style: str = "") -> None:
    """Print a line to stderr."""
    errors.print(printable(text), markup=False, style=style)


def show_hits(hits: Hits, *, explain: bool = False) -> None:
    """Print hits. Behind a pipe: one line a hit with the whole text, separated by tabs.

    At a terminal: score, id, place, and some lines of the passage, beginning with the sentence that matches best.
    """
    found = hits_as_json(None, hits, explain=explain)
    listed = found["hits"]
    if not console.is_terminal:
        sys.stdout.writelines(hit_lines.piped(listed))
        return
    for line in hit_lines.at_terminal(listed, text_width(6)):
        for text, style in line[:-1]:
            say(text, style=style, end="")
        say(*line[-1])
    for text in hit_lines.closing(found):
        note(text)


def show_id_and_place(document: Document) -> None:
    """Print a document's id and where it is from, for a terminal."""
    say(one_line(document.id), style="cyan", end="  ")
    say(place_of(document), style="dim")


def show_mapping(values: Mapping[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, values))
    for name, value in values.items():
        text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        say(f"{name.replace('_', ' '):<{width}}  {'-' if text is None else text}")


def index_line(index: Mapping[str, Any]) -> str:
    """Describe an approximate index in a line."""
    if not index["ready"]:
        return "not built" if index["calibration"] is None else "its files cannot be used: reindex"
    measured = index["calibration"]
    rows = f"{index['rows']:,} rows, " if "rows" in index else ""  # not every engine counts them
    return (
        f"{rows}recall@{measured['k']} {measured['recall']:.3f} (target {index['target_recall']}; "
        f"{measured['queries']} queries, {measured['kind']}), {measured['n']} proposals"
    )


def estimate_line(estimate: Mapping[str, Any]) -> str:
    """Describe the estimated cost of building an index in a line."""
    seconds, memory = estimate["seconds"], estimate["memory"]
    time = "the time it takes is not known" if seconds is None else f"about {seconds:,.0f} s"
    return time if memory is None else f"{time}, {memory / 1e6:,.0f} MB of memory"


def text_width(indent: int) -> int:
    """Return the width for text at a terminal, indented."""
    return max(40, min(console.width, 120)) - indent


@contextmanager
def spinner(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner at a terminal while something runs."""
    if quiet or not errors.is_terminal:
        yield
        return
    with errors.status(text):
        yield


@contextmanager
def progress_bar(
    name: str, total: int | None = None, *, quiet: bool = False, above: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show progress; yields a function to call with the number of items done since the last call.

    Args:
        name: the activity.
        total: the number of items, if known.
        quiet: show nothing.
        above: print messages above the bar, on the same terminal.
    """
    with _bar(quiet, above and console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        started = printed = time.monotonic()
        done = 0

        def advance(number: int) -> None:
            nonlocal done, printed
            done += number
            line = f"{name}: {done:,}{f' of {total:,}' if total else ''}, {_rate(done, started)}"
            bar.update(task, completed=done, description=line)
            if _is_due(quiet, printed):
                printed = time.monotonic()
                note(line)

        yield advance


@contextmanager
def files_progress(*, quiet: bool = False) -> Iterator[Callable[["SyncProgress"], None]]:
    """Show the progress of a sync by the bytes of all files, with passages and their rate."""
    with _bar(quiet) as bar:
        task = bar.add_task("indexing", total=None)
        started = printed = time.monotonic()

        def show(done: "SyncProgress") -> None:
            nonlocal printed
            rate = _rate(done.passages, started)
            line = f"{done.files:,} of {done.of_files:,} files, {done.passages:,} passages, {rate}"
            description = f"{line}, {printable(done.source)}"
            bar.update(task, completed=done.bytes, total=done.of_bytes, description=description)
            if _is_due(quiet, printed):
                printed = time.monotonic()
                note(line)

        yield show


def _bar(quiet: bool, above: bool = False) -> Progress:
    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn(), text)
    hidden = quiet or not errors.is_terminal
    # By default rich redirects stdout to its own console, and with it the documents of an export.
    return Progress(*columns, console=errors, transient=True, disable=hidden, redirect_stdout=above)


def _rate(done: int, started: float) -> str:
    return f"{done / max(1e-9, time.monotonic() - started):,.0f}/s"


def _is_due(quiet: bool, printed: float) -> bool:
    return not quiet and not errors.is_terminal and time.monotonic() - printed > _PAUSE


def place_of(document: Document) -> str:
    """Say where a passage is from; its path only if the id does not begin with it."""
    return hit_lines.place(document.id, as_tagged(document.metadata))
