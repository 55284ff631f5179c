"""The command `monitor`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, parse_path
from theodolite.engines.local.storage.folder import MONITOR, Folder
from theodolite.errors import InputError
from theodolite.monitoring.journal import contents
from theodolite.monitoring.report import report

_QUANTILES = ("similarity p50/p95/p99", "ms p50/p95/p99")


def monitor(
    location: Collection,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", parser=parse_path, help="The monitor's file, if it is not in the collection."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Show the statistics of a collection's monitor.

    These are hourly windows, the baseline and alerts. Times are UTC.

    \b
    Examples:
      theodolite monitor kb
      theodolite monitor kb --json | jq '.alerts[-1].message'
    """
    with open_collection(location) as kb:
        folder = kb.location
    if file is not None:
        path, journal = file, contents(file, None)
    elif folder is not None:
        path, journal = folder / MONITOR, contents(folder / MONITOR, Folder(folder))
    else:
        raise InputError(f"{location} has no folder for a monitor's file: name the file with --file")
    if json_:
        output.say_json(None if journal is None else report(journal, path, windows=10**6))
    elif journal is None:
        output.note(
            f"Nothing was recorded: {path} does not exist. To record searches, open the collection with monitor=True."
        )
    else:
        for line in _lines(report(journal, path)):
            output.say(line)


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"{values['searches']:,} searches"
    base, recalls = values["baseline"], values["recall"]
    if base is not None:
        name = "baseline" if base["complete"] else "baseline, still being gathered"
        yield f"{name}: {base['searches']:,} searches, similarity {_number(base['similarity'])}"
    if recalls["queries"]:
        low, high = recalls["interval"]
        yield f"recall@10 {recalls['mean']:.3f} ({low:.3f} to {high:.3f}), {recalls['queries']} searches checked"
    yield ""
    yield f"{'hour (UTC)':<18}{'searches':>9}{'empty':>7}{_QUANTILES[0]:>25}{_QUANTILES[1]:>22}{'norm':>8}"
    for window in values["windows"]:
        similarity, seconds = window["similarity"], window["seconds"]
        tops = " ".join(f"{_number(similarity[name]):>7}" for name in ("p50", "p95", "p99"))
        times = " ".join(f"{1e3 * (seconds[name] or 0):6.1f}" for name in ("p50", "p95", "p99"))
        yield (
            f"{window['start'][:16].replace('T', ' '):<18}{window['searches']:>9,}{window['empty']:>7,}  {tops:>23}"
            f"  {times:>20}{_number(window['norms']['p50']):>8}"
        )
    for alert in values["alerts"]:
        yield f"\n{alert['at'][:16].replace('T', ' ')}  {alert['cause']}: {alert['message']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
