"""The command `add`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.indexing import (
    As,
    ChunkTokens,
    Exclude,
    FollowLinks,
    Include,
    KeepStrings,
    Map,
    MaxMegabytes,
    NoGitignore,
    Overlap,
    SourceName,
    WithHeadings,
    reader_options,
    sync_files,
)
from theodolite.cli.opening import open_with_embedder
from theodolite.cli.options import EmbedderName, Json, NewCollection, OnDrift, parse_object, parse_path
from theodolite.errors import InputError
from theodolite.files.readers import Options
from theodolite.types import Document


def add(
    location: NewCollection,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", parser=parse_path, help="Files and folders; - reads JSON Lines from stdin."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="The text of a single document, instead of files.")] = None,
    id_: Annotated[str, typer.Option("--id", help="The id of --text. Default: derived from text and metadata.")] = "",
    metadata: Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="The metadata of --text.")] = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    chunk_tokens: ChunkTokens = None,
    overlap: Overlap = 0,
    max_mb: MaxMegabytes = 50,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    include: Include = None,
    exclude: Exclude = None,
    no_gitignore: NoGitignore = False,
    as_: As = None,
    map_: Map = None,
    keep_strings: KeepStrings = False,
    with_headings: WithHeadings = False,
    json_: Json = False,
) -> None:
    """Add files, records from stdin, or one document.

    Replaces documents with the same id; never removes any.

    \b
    Examples:
      theodolite add kb notes.jsonl
      theodolite add kb --text "We are open from nine to six." --id hours --metadata '{"lang": "en"}'
      theodolite export old | theodolite add new -
    """
    options = reader_options(
        chunk_tokens,
        overlap,
        max_mb,
        follow_links,
        include,
        exclude,
        no_gitignore,
        as_,
        map_,
        keep_strings,
        with_headings,
    )
    files = [] if paths is None or paths == [Path("-")] else paths
    if (text is None) == (not paths):
        raise InputError("give either files (or - for stdin) or --text")
    if text is None and (id_ or metadata is not None):
        raise InputError("--id and --metadata apply only to --text")
    if not files and (options != Options() or source is not None):
        raise InputError("file options such as --chunk-tokens and --source do not apply to --text and stdin")
    if text is not None and not text.strip():
        raise InputError("--text is empty")
    document = None if text is None else Document(text, parse_object(metadata or "{}", "--metadata"), id_)
    if files:
        sync_files(
            location,
            files,
            source=source,
            options=options,
            embedder=embedder,
            on_drift=on_drift,
            as_json=json_,
            remove=False,
        )
        return
    with open_with_embedder(location, embedder, on_drift, create=True, quiet=json_) as kb:
        if document is not None:
            ids = kb.add([document])
        else:
            with output.progress_bar("adding", quiet=json_) as advance:
                ids = kb.add(_records(sys.stdin.buffer), progress=advance)
    if json_:
        output.say_json({"ids": ids})
    else:
        output.say(f"{len(ids):,} stored" if len(ids) != 1 else f"stored as {ids[0]}")


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects on stdin without their vectors: the texts are embedded again."""
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"line {number} of stdin is not UTF-8: {error.reason}", line=number) from error
        if line.strip():
            record = parse_object(line, f"line {number} of stdin")
            record.pop("vector", None)
            yield record
