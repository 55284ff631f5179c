"""The command `index`."""

from typing import Annotated

import typer

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
    Paths,
    SourceName,
    WithHeadings,
    reader_options,
    sync_files,
)
from theodolite.cli.options import EmbedderName, Json, NewCollection, OnDrift


def index(
    location: NewCollection,
    paths: Paths,
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
    remove_all: Annotated[
        bool, typer.Option("--remove-all", help="Remove a folder's documents even if no file is left in it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Keep a collection in sync with files and folders.

    Reads text, Markdown, HTML, code, office files, notebooks, mail, records and PDF. Adds new passages, replaces
    changed ones, removes those whose file is gone, and leaves the rest alone. Run it again whenever files have changed.
    Another folder with the name of one already indexed is refused: give it its own name with --source.

    \b
    Examples:
      theodolite index kb docs/
      theodolite index kb docs/ notes.jsonl --chunk-tokens 128
      theodolite index kb faq.csv --map text=question+answer,id=key
      theodolite index kb project/ --exclude tests/ --with-headings
      theodolite index kb other/docs/ --source other-docs
    """
    sync_files(
        location,
        paths,
        source=source,
        options=reader_options(
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
        ),
        embedder=embedder,
        on_drift=on_drift,
        as_json=json_,
        remove_all=remove_all,
    )
