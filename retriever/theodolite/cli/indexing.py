"""Fill a collection from files: the options and the code that `index` and `add` share."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import is_collection, open_with_embedder
from theodolite.cli.options import parse_path, usage_errors
from theodolite.errors import InputError
from theodolite.files.readers import Note, Options, Skipped
from theodolite.files.readers.find import absolute, roots
from theodolite.files.readers.options import parse_map
from theodolite.files.readers.registry import FORMATS
from theodolite.files.sync import SyncReport, sync
from theodolite.files.sync.sources import check_name

_SHOWN = 20  # failures, notes and suffixes
_KINDS = 8  # suffixes of a reason
_REASONS = {
    "unknown": "of an unknown kind (--as SUFFIX=text reads them)",
    "empty": "empty",
    "binary": "binary",
    "large": "too large (--max-mb)",
    "link": "links that lead outside (--follow-links)",
}

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", parser=parse_path, help="Files and folders.")]
ChunkTokens = Annotated[int | None, typer.Option("--chunk-tokens", min=1, help="Maximum number of tokens per passage.")]
Overlap = Annotated[int, typer.Option("--overlap", min=0, help="Tokens shared with the previous passage.")]
MaxMegabytes = Annotated[float, typer.Option("--max-mb", help="Skip files larger than this.")]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Name to record the folder or file under, whatever its path."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Also read links that lead outside the given folder.")
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Read only files that match, such as '*.md'; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave out files and folders that match; may be repeated."),
]
NoGitignore = Annotated[bool, typer.Option("--no-gitignore", help="Also read what .gitignore files exclude.")]
As = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="SUFFIX=FORMAT", help="Read a suffix as a format: .proto=text; may be repeated."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="[FILE:]FIELDS",
        help="Fields of records: faq.csv:text=question+answer,id=key; without a file, of all. May be repeated.",
    ),
]
KeepStrings = Annotated[bool, typer.Option("--keep-strings", help="Keep CSV columns of numbers and dates as strings.")]
WithHeadings = Annotated[
    bool, typer.Option("--with-headings", help="Begin each passage with the title and headings above it.")
]


def reader_options(
    chunk_tokens: int | None,
    overlap: int,
    max_mb: float,
    follow_links: bool,
    include: list[str] | None,
    exclude: list[str] | None,
    no_gitignore: bool,
    formats: list[str] | None,
    maps: list[str] | None,
    keep_strings: bool,
    with_headings: bool,
) -> Options:
    """Return the readers' options from those of the command line. Raises InputError."""
    if not 0 < max_mb < 1e9:  # false for NaN
        raise InputError(f"--max-mb is {max_mb}; it must be more than 0")
    known = dict(map(_format, formats or ()))
    with usage_errors("--map"):
        mapped = dict(map(parse_map, maps or ()))
    with usage_errors("--overlap"):
        return Options(
            chunk_tokens,
            overlap,
            max_bytes=int(max_mb * 1e6),
            follow_links=follow_links,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            gitignore=not no_gitignore,
            formats=known,
            maps=mapped,
            keep_strings=keep_strings,
            with_headings=with_headings,
        )


def _format(text: str) -> tuple[str, str]:
    suffix, equals, name = text.rpartition("=")
    if not equals or not suffix.strip("."):
        raise InputError(f"--as is {text!r}; it must be a suffix and a format, such as .proto=text")
    if name not in FORMATS:
        raise InputError(f"--as is {text!r}; the format must be one of {', '.join(sorted(FORMATS))}")
    return suffix, name


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
    """Print the counts of passages, then the skipped files with reasons."""
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
    _show_notes(report.notes)
    failures = [item for item in report.skipped if item.kind == "failed"]
    if report.skipped:
        kept = f"; {report.kept:,} of their stored passages kept" if report.kept else ""
        output.note(f"{len(report.skipped):,} skipped{kept}:")
    for item in failures[:_SHOWN]:
        output.note(f"  {item.source}: {item.reason}")
    if len(failures) > _SHOWN:
        output.note(f"  … and {len(failures) - _SHOWN:,} more; --json lists them all")
    for line in _summary([*report.skipped, *report.excluded]):
        output.note(f"  {line}")


def _show_notes(notes: Iterable[Note]) -> None:
    """Print notes, those with the same text together."""
    sources: dict[str, list[str]] = {}
    for item in notes:
        sources.setdefault(item.text, []).append(item.source)
    for text, files in list(sources.items())[:_SHOWN]:
        output.note(f"{files[0]}{f' and {len(files) - 1:,} more' if len(files) > 1 else ''}: {text}")
    if len(sources) > _SHOWN:
        output.note(f"… and {len(sources) - _SHOWN:,} more notes; --json lists them all")


def _summary(items: Iterable[Skipped]) -> list[str]:
    """Describe files that were skipped without a fault: a line per reason, with the number of files and their kinds."""
    groups: dict[str, Counter[str]] = {}
    for item in items:
        if item.kind != "failed":
            reason = item.reason if item.kind == "excluded" else _REASONS[item.kind]
            groups.setdefault(reason, Counter())[PurePosixPath(item.source).suffix.lower() or "no suffix"] += 1
    lines = []
    for reason, kinds in groups.items():
        shown = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(_KINDS))
        more = f", {len(kinds) - _KINDS:,} other kinds" if len(kinds) > _KINDS else ""
        lines.append(f"{kinds.total():,} {reason}: {shown}{more}")
    return lines
