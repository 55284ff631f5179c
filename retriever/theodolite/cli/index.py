"""The command `index`."""

from typing import Annotated

import typer

from theodolite.cli.indexing import (
    ChunkTokens,
    FollowLinks,
    IdField,
    MaxMegabytes,
    MetadataFields,
    Overlap,
    Paths,
    SourceName,
    TextField,
    reader_options,
    sync_files,
)
from theodolite.cli.options import EmbedderName, Json, OnDrift, To


def index(
    paths: Paths,
    to: To,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    chunk_tokens: ChunkTokens = None,
    overlap: Overlap = 0,
    max_mb: MaxMegabytes = 50,
    text_field: TextField = "text",
    id_field: IdField = "id",
    metadata_field: MetadataFields = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    remove_all: Annotated[
        bool, typer.Option("--remove-all", help="Remove a folder's documents even if no file is left in it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Sync a collection with files: text, Markdown, HTML, JSON Lines, CSV, PDF.

    Adds new passages, replaces changed ones, removes those whose file is gone, and leaves the rest alone. Run it again
    whenever files have changed. Another folder with the name of one already indexed is refused: give it its own name
    with --source.

    \b
    Examples:
      theodolite index docs/ --to kb
      theodolite index docs/ notes.jsonl --to kb --chunk-tokens 128
      theodolite index faq.csv --to kb --text-field answer --metadata-field lang
      theodolite index other/docs/ --to kb --source other-docs
    """
    sync_files(
        paths,
        to,
        source=source,
        options=reader_options(chunk_tokens, overlap, max_mb, text_field, id_field, metadata_field, follow_links),
        embedder=embedder,
        on_drift=on_drift,
        as_json=json_,
        remove_all=remove_all,
    )
