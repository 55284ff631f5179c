"""The command `recall`."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import open_collection, open_with_embedder
from theodolite.cli.options import (
    Collection,
    EmbedderName,
    Json,
    OnDrift,
    TrustIndex,
    Where,
    parse_choice,
    parse_path,
    parse_where,
)
from theodolite.errors import InputError
from theodolite.evaluation.recall import TARGETS

_SYNTHETIC = 500  # queries made where none are given
_FIELDS = ("query", "text")  # of a record of JSON Lines


def recall(
    location: Collection,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            parser=parse_path,
            help="Real queries: texts (.txt, .jsonl) or vectors (.npy).",
        ),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Number of hits; may be repeated. [default: 1, 5, 10]")
    ] = None,
    use_case: Annotated[
        str | None,
        typer.Option(
            "--use-case",
            metavar="NAME",
            parser=parse_choice(tuple(TARGETS)),
            help=f"Fail below its target: {', '.join(TARGETS)}.",
        ),
    ] = None,
    where: Where = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Compare an index with exact search: recall and speed.

    Without --queries, up to 500 queries are made from stored passages by adding noise; they are harder than most real
    ones. Exit code 1 if the target of --use-case is missed.

    \b
    Examples:
      theodolite recall kb
      theodolite recall kb --queries questions.txt --use-case rag
      theodolite recall kb --queries vectors.npy -k 10 -k 100 --json
    """
    condition = parse_where(where)
    given = None if queries is None else _read_queries(queries)  # before a model is loaded
    texts = isinstance(given, list)
    with (
        open_with_embedder(location, embedder, on_drift, quiet=json_, trust_index=trust_index)
        if texts
        else open_collection(location, trust_index=trust_index)
    ) as kb:
        total = _SYNTHETIC if given is None else len(given)
        with output.progress_bar("measuring", total, quiet=json_) as advance:
            result = kb.recall(given, k=k or (1, 5, 10), where=condition, progress=advance)
    if json_:
        output.say_json(result.to_dict())
    else:
        output.say(str(result))
    if use_case is not None and not result.passes(use_case):
        raise typer.Exit(ExitCode.FAILED)


def _read_queries(path: Path) -> Any:
    """Read queries from a file: a list of texts, or an array. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file", path=str(path))
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} is not an array of numbers: {error}", path=str(path)) from error
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path}: queries are read from .txt, .jsonl or .npy files", path=str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}", path=str(path)) from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InputError(f"{path} contains no queries", path=str(path))
    return [
        line if path.suffix == ".txt" else _query_text(line, f"line {number} of {path}") for number, line in numbered
    ]


def _query_text(line: str, name: str) -> str:
    """Return the query in a line of JSON: a string, or a field of an object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}") from error
    if isinstance(value, dict):
        value = next((value[field] for field in _FIELDS if field in value), None)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{name} contains no query; expected a string, or an object with "query" or "text"')
    return value
