"""Filling a collection from files: the options and the work that `index` and `add` share."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import is_collection, open_with_embedder
from theodolite.cli.options import parse_path
from theodolite.errors import InputError
from theodolite.files.readers import Options
from theodolite.files.readers.find import absolute, roots
from theodolite.files.sync import SyncReport, sync
from theodolite.files.sync.sources import check_name

_SHOWN = 20  # skipped files

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", parser=parse_path, help="Files and folders.")]
ChunkTokens = Annotated[int | None, typer.Option("--chunk-tokens", min=1, help="Maximum number of tokens per passage.")]
Overlap = Annotated[int, typer.Option("--overlap", min=0, help="Tokens shared with the previous passage.")]
MaxMegabytes = Annotated[float, typer.Option("--max-mb", help="Skip files larger than this.")]
TextField = Annotated[str, typer.Option("--text-field", help="Field or column with the text (JSON Lines, CSV).")]
IdField = Annotated[str, typer.Option("--id-field", help="Field or column with the id.")]
MetadataFields = Annotated[
    list[str] | None, typer.Option("--metadata-field", help="Field or column to keep as metadata; may be repeated.")
]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Name to record the folder or file under, whatever its path."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Also read links that lead outside the given folder.")
]


def reader_options(
    chunk_tokens: int | None,
    overlap: int,
    max_mb: float,
    text_field: str,
    id_field: str,
    metadata_fields: list[str] | None,
    follow_links: bool,
) -> Options:
    """The readers' options from those of the command line. Raises InputError."""
    if not 0 < max_mb < 1e9:  # false for NaN
        raise InputError(f"--max-mb is {max_mb}; it must be more than 0")
    kept = tuple(metadata_fields) if metadata_fields else None
    return Options(
        chunk_tokens, overlap, text_field, id_field, kept, max_bytes=int(max_mb * 1e6), follow_links=follow_links
    )


def sync_files(
    location: str,
    paths: list[Path],
    *,
    source: str | None,
    options: Options,
    embedder: str | None,
    on_drift: str,
    as_json: bool,
    remove: bool = True,
    remove_all: bool = False,
) -> None:
    """Sync files into a collection, created if it does not exist, and print the report.

    Raises:
        typer.Exit: some files could not be stored.
    """
    _check_paths(location, paths, source)
    with (
        open_with_embedder(location, embedder, on_drift, create=True, quiet=as_json) as kb,
        output.files_progress(quiet=as_json) as progress,
    ):
        report = sync(
            kb, paths, source=source, options=options, remove=remove, remove_all=remove_all, progress=progress
        )
    if as_json:
        output.say_json(asdict(report))
    else:
        _show(report)
    if report.failed:
        raise typer.Exit(ExitCode.FAILED)


def _check_paths(location: str, paths: list[Path], source: str | None) -> None:
    """Refuse the paths that `sync` would refuse, before a collection is created and a model is loaded."""
    if source is not None:
        check_name(source, absolute(paths))
    elif is_collection(location):
        absolute(paths)  # two of the same name may be recorded under different ones
    else:
        roots(paths)


def _show(report: SyncReport) -> None:
    """Print the counts of passages, then what was left out and why."""
    names = ("added", "replaced", "moved", "unchanged", "removed")
    parts = [f"{getattr(report, name):,} {name}" for name in names if getattr(report, name)]
    rate = f", {report.passages / report.seconds:,.0f} passages/s" if report.seconds else ""
    output.say(f"{report.files:,} files, {report.passages:,} passages: {', '.join(parts) or 'nothing to do'}")
    output.note(f"{report.seconds:.1f} s{rate}")
    for moved in report.relocated:
        output.note(f"{moved.source} has moved from {moved.before} to {moved.after}")
    if report.truncated:
        output.note(f"{report.truncated:,} passages are longer than the embedder reads")
    if report.repaired:
        characters = sum(item.characters for item in report.repaired)
        output.note(
            f"{characters:,} characters in {len(report.repaired):,} files are not text and were replaced, "
            f"first {report.repaired[0].source}"
        )
    if report.failed:
        output.note(f"{report.failed:,} could not be stored", style="red")
    if report.skipped:
        kept = f"; {report.kept:,} of their stored passages kept" if report.kept else ""
        output.note(f"{len(report.skipped):,} skipped{kept}:")
        for item in report.skipped[:_SHOWN]:
            output.note(f"  {item.source}: {item.reason}")
        if len(report.skipped) > _SHOWN:
            output.note(f"  … and {len(report.skipped) - _SHOWN:,} more; --json lists them all")
