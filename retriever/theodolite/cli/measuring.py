"""Commands that measure: recall, monitor."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from theodolite.cli import output
from theodolite.cli.app import EmbedderName, In, Json, Kb, OnDriftOption, TrustIndex, Where, app, as_filter, as_path
from theodolite.cli.opening import bare, with_embedder
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import MONITOR
from theodolite.errors import InputError
from theodolite.evaluation.targets import TARGETS, target
from theodolite.monitoring.journal import contents
from theodolite.monitoring.report import report

_MADE = 500
_FIELDS = ("query", "text")  # of a record of JSON Lines
_QUANTILES = ("similarity p50/p95/p99", "ms p50/p95/p99")


@app.command()
def recall(
    in_: In,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", metavar="FILE", parser=as_path, help="Real ones: texts (.txt, .jsonl) or vectors (.npy)."
        ),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Length of list; may be repeated. [default: 1, 5, 10]")
    ] = None,
    use_case: Annotated[
        str | None, typer.Option("--use-case", metavar="NAME", help=f"Fail below the target: {', '.join(TARGETS)}.")
    ] = None,
    where: Where = None,
    embedder: EmbedderName = None,
    on_drift: OnDriftOption = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Measure what the index finds of the exact answer, and how long either takes.

    Without queries 500 are made of stored passages with noise added; they are harder than most real ones. Exit code 1
    where the use case's target is missed.

    \b
    Examples:
      theodolite recall --in kb
      theodolite recall --in kb --queries questions.txt --use-case rag
      theodolite recall --in kb --queries vectors.npy -k 10 -k 100 --json
    """
    tree = as_filter(where)
    if use_case is not None:
        target(use_case)
    given = None if queries is None else _read(queries)  # before a model is loaded
    texts = isinstance(given, list)
    with (
        with_embedder(in_, embedder, on_drift, quiet=json_, trust_index=trust_index)
        if texts
        else bare(in_, trust_index=trust_index)
    ) as kb:
        total = _MADE if given is None else len(given)
        with output.counting("measuring", total, quiet=json_) as advance:
            found = kb.recall(given, k=k or (1, 5, 10), where=tree, progress=advance)
    if json_:
        output.say_json(found.to_dict())
    else:
        output.say(str(found))
    if use_case is not None and not found.passes(use_case):
        raise typer.Exit(1)


@app.command()
def monitor(
    folder: Kb,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", parser=as_path, help="Where it is kept, if not in the collection."),
    ] = None,
    json_: Json = False,
) -> None:
    """Show what a monitor has seen of a collection's searches: windows of an hour, baseline, alerts. Times are UTC.

    \b
    Examples:
      theodolite monitor kb
      theodolite monitor kb --json | jq '.alerts[-1].message'
    """
    with bare(folder):  # it must be a collection
        pass
    path = file or folder / MONITOR
    found = contents(path, None if file else Folder(folder))
    if json_:
        output.say_json(None if found is None else report(found, path, windows=10**6))
    elif found is None:
        output.note(f"Nothing was monitored: there is no {path}. Programs watch with Retriever.open(..., monitor=True)")
    else:
        for line in _told(report(found, path)):
            output.say(line)


def _read(path: Path) -> Any:
    """Queries from a file: a list of texts, or an array. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file", path=str(path))
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} is not an array of numbers: {error}", path=str(path)) from error
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path}: queries are read from .txt, .jsonl or .npy", path=str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}", path=str(path)) from error
    kept = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    found = [line if path.suffix == ".txt" else _text(line, f"line {number} of {path}") for number, line in kept]
    if not found:
        raise InputError(f"{path} holds no queries", path=str(path))
    return found


def _text(line: str, what: str) -> str:
    """A JSON string, or the text of an object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not JSON: {error}") from error
    if isinstance(value, dict):
        value = next((value[name] for name in _FIELDS if name in value), None)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{what} holds no query: a string, or an object with "query" or "text", is expected')
    return value


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    """A report for people."""
    yield f"{found['searches']:,} searches"
    base, recalls = found["baseline"], found["recall"]
    if base is not None:
        settled = "baseline" if base["complete"] else "baseline, still being gathered"
        yield f"{settled}: {base['searches']:,} searches, similarity {_number(base['similarity'])}"
    if recalls["queries"]:
        low, high = recalls["interval"]
        yield f"recall@10 {recalls['mean']:.3f} ({low:.3f} to {high:.3f}), {recalls['queries']} searches checked"
    yield ""
    yield f"{'hour (UTC)':<18}{'searches':>9}{'empty':>7}{_QUANTILES[0]:>25}{_QUANTILES[1]:>22}{'norm':>8}"
    for window in found["windows"]:
        similarity, seconds = window["similarity"], window["seconds"]
        tops = " ".join(f"{_number(similarity[name]):>7}" for name in ("p50", "p95", "p99"))
        times = " ".join(f"{1e3 * (seconds[name] or 0):6.1f}" for name in ("p50", "p95", "p99"))
        yield (
            f"{window['start'][:16].replace('T', ' '):<18}{window['searches']:>9,}{window['empty']:>7,}  {tops:>23}"
            f"  {times:>20}{_number(window['norms']['p50']):>8}"
        )
    for alert in found["alerts"]:
        yield f"\n{alert['at'][:16].replace('T', ' ')}  {alert['cause']}: {alert['message']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
