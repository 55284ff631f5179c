"""The command `audit`."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from theodolite.auditing.arrays import read_folder, read_npy
from theodolite.auditing.audit import audit as audit_array
from theodolite.auditing.findings import Audit
from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import is_collection, open_collection
from theodolite.cli.options import Json, parse_choice, parse_path
from theodolite.errors import ConfigError, InputError
from theodolite.vectors.metrics import METRICS, MetricName

_STYLES = {"heading": "bold", "text": "dim", "note": "cyan", "warning": "yellow", "error": "red"}


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.npy|FOLDER", parser=parse_path, help="Vectors, a folder of such files, or a collection."
        ),
    ],
    queries: Annotated[
        Path | None, typer.Option("--queries", metavar="FILE.npy", parser=parse_path, help="Vectors of real queries.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="|".join(METRICS),
            parser=parse_choice(
                tuple(METRICS), {word: metric.name for metric in METRICS.values() for word in metric.synonyms}
            ),
            help="The metric to compare them by. A collection has its own.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random sample.")] = 0,
    json_: Json = False,
) -> None:
    """Find problems in vectors, and say what to do about them.

    Reads a .npy file, a folder of such files as one array, or a collection. Exit code 4 if there is a warning or an
    error.

    \b
    Examples:
      theodolite audit vectors.npy --queries questions.npy
      theodolite audit kb
      theodolite audit vectors.npy --json | jq '.findings[] | select(.severity == "warning")'
    """
    chosen = cast("MetricName | None", metric)
    query_vectors = None if queries is None else read_npy(queries)
    if path.is_dir() and (is_collection(path) or not any(path.glob("*.npy"))):
        result = _audit_collection(path, query_vectors, chosen, seed, json_)
    elif path.exists():
        matrix, ids = (read_npy(path), None) if path.is_file() else read_folder(path, without=queries)
        if ids is not None and not json_:
            output.note(f"{len(ids.names)} files as one: {', '.join(ids.names)}")
        with output.progress_bar("auditing", 2 * matrix.shape[0], quiet=json_) as advance:
            result = audit_array(matrix, queries=query_vectors, metric=chosen, ids=ids, seed=seed, progress=advance)
    else:
        raise InputError(f"{path} does not exist")
    if json_:
        output.say_json(result.to_dict())
    else:
        for kind, line in result.lines(max(60, min(output.console.width, 120))):
            output.say(line, style=_STYLES.get(kind, ""))
    if not result.ok:
        raise typer.Exit(ExitCode.FINDINGS)


def _audit_collection(folder: Path, queries: Any, metric: MetricName | None, seed: int, quiet: bool) -> Audit:
    with open_collection(folder) as kb:
        info = kb.info()
        if metric not in (None, info["metric"]):
            raise ConfigError(f"the collection is pinned to metric {info['metric']!r}: omit --metric")
        with output.progress_bar("auditing", 3 * info["documents"], quiet=quiet) as advance:
            return kb.audit(queries=queries, seed=seed, progress=advance)
