"""The command `audit`: what is wrong with vectors, in a file, in a folder, or stored."""

from pathlib import Path
from typing import Annotated

import typer

from theodolite.auditing.arrays import read_folder, read_npy
from theodolite.auditing.audit import audit as look
from theodolite.auditing.findings import Audit
from theodolite.cli import output
from theodolite.cli.app import Json, app, as_path
from theodolite.cli.opening import bare
from theodolite.errors import ConfigError, InputError
from theodolite.vectors.metrics import MetricName, get_metric

FOUND = 4
"""The exit code where there is something to do: a warning or an error."""

_STYLES = {"heading": "bold", "text": "dim", "note": "cyan", "warning": "yellow", "error": "red"}


@app.command()
def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.npy|FOLDER", parser=as_path, help="Vectors, a folder of such files, or a collection."
        ),
    ],
    queries: Annotated[
        Path | None, typer.Option("--queries", metavar="FILE.npy", parser=as_path, help="Vectors of real questions.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="What they will be compared by: cosine, dot or l2. A collection has its own."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another sample.")] = 0,
    json_: Json = False,
) -> None:
    """Look at vectors: what is wrong with them, what that means, and what to do.

    Exit code 4 where there is a warning or an error.

    \b
    Examples:
      theodolite audit vectors.npy --queries questions.npy
      theodolite audit kb
      theodolite audit vectors.npy --json | jq '.findings[] | select(.severity == "warning")'
    """
    try:
        chosen = None if metric is None else get_metric(metric).name
    except ConfigError as error:
        raise InputError(f"--{error}") from None
    asked = None if queries is None else read_npy(queries)
    if path.is_dir() and ((path / "store.sqlite").exists() or not any(path.glob("*.npy"))):
        found = _stored(path, asked, chosen, seed, json_)
    elif path.exists():
        matrix, ids = (read_npy(path), None) if path.is_file() else read_folder(path, without=queries)
        if ids is not None and not json_:
            output.note(f"{len(ids.names)} files as one: {', '.join(ids.names)}")
        with output.counting("auditing", 2 * matrix.shape[0], quiet=json_) as advance:
            found = look(matrix, queries=asked, metric=chosen, ids=ids, seed=seed, progress=advance)
    else:
        raise InputError(f"{path} does not exist")
    if json_:
        output.say_json(found.to_dict())
    else:
        for kind, line in found.lines(max(60, min(output.console.width, 120))):
            output.say(line, style=_STYLES.get(kind, ""))
    if not found.ok:
        raise typer.Exit(FOUND)


def _stored(folder: Path, queries: object, metric: MetricName | None, seed: int, quiet: bool) -> Audit:
    with bare(folder) as kb:
        info = kb.info()
        if metric not in (None, info["metric"]):
            raise ConfigError(f"the collection is pinned to metric {info['metric']!r}: leave --metric out")
        with output.counting("auditing", 3 * info["documents"], quiet=quiet) as advance:
            return kb.audit(queries=queries, seed=seed, progress=advance)
