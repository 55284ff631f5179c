"""Commands that change a collection: index, add, delete, reindex, demo."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from theodolite.cli import demo as sample
from theodolite.cli import output
from theodolite.cli.app import (
    Chunk,
    EmbedderName,
    Files,
    FollowLinks,
    IdField,
    In,
    Json,
    Kb,
    MaxMegabytes,
    MetadataFields,
    OnDriftOption,
    Overlap,
    SourceName,
    TextField,
    To,
    Where,
    app,
    as_filter,
    as_object,
    as_path,
)
from theodolite.cli.opening import bare, with_embedder
from theodolite.errors import InputError
from theodolite.files.readers import Options
from theodolite.files.readers.find import absolute, roots
from theodolite.files.sync import Progress, Report, sync
from theodolite.files.sync.sources import check_name
from theodolite.indexes.ann import estimate
from theodolite.indexes.registry import canonical
from theodolite.retriever import Retriever
from theodolite.types import Document


@app.command()
def index(
    paths: Files,
    to: To,
    embedder: EmbedderName = None,
    on_drift: OnDriftOption = "refuse",
    chunk_tokens: Chunk = None,
    overlap: Overlap = 0,
    max_mb: MaxMegabytes = 50,
    text_field: TextField = "text",
    id_field: IdField = "id",
    metadata_field: MetadataFields = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    remove_all: Annotated[
        bool, typer.Option("--remove-all", help="Remove what is stored of a folder even where no file is left in it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Bring a collection into step with files: text, Markdown, HTML, JSON Lines, CSV, PDF.

    What is stored already is left alone, what has changed is replaced, and what has vanished from these files and
    folders is removed. Run it again whenever files have changed. Another folder of the same name is refused: give it a
    name with --source.

    \b
    Examples:
      theodolite index docs/ --to kb
      theodolite index docs/ notes.jsonl --to kb --chunk-tokens 128
      theodolite index faq.csv --to kb --text-field answer --metadata-field lang
      theodolite index other/docs/ --to kb --source other-docs
    """
    options = _options(chunk_tokens, overlap, max_mb, text_field, id_field, metadata_field, follow_links)
    _check_paths(paths, source, to)
    with _filling(to, embedder, on_drift, json_) as (kb, progress):
        report = sync(kb, paths, source=source, options=options, remove_all=remove_all, progress=progress)
    _print(report, json_)


@app.command()
def add(
    to: To,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", parser=as_path, help="Files and folders; - is JSON Lines on stdin."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A document's text, in place of files.")] = None,
    id_: Annotated[str, typer.Option("--id", help="Its id; by default one made of text and metadata.")] = "",
    metadata: Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="Its metadata.")] = None,
    embedder: EmbedderName = None,
    on_drift: OnDriftOption = "refuse",
    chunk_tokens: Chunk = None,
    overlap: Overlap = 0,
    max_mb: MaxMegabytes = 50,
    text_field: TextField = "text",
    id_field: IdField = "id",
    metadata_field: MetadataFields = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    json_: Json = False,
) -> None:
    """Add files, records from stdin, or one document. The same id replaces; nothing else is removed.

    \b
    Examples:
      theodolite add notes.jsonl --to kb
      theodolite add --to kb --text "We are open from nine to six." --id hours --metadata '{"lang": "en"}'
      theodolite export old | theodolite add - --to new
    """
    options = _options(chunk_tokens, overlap, max_mb, text_field, id_field, metadata_field, follow_links)
    files = [] if paths is None or paths == [Path("-")] else paths
    if (text is None) == (not paths):
        raise InputError("give either files (or -) or --text")
    if text is None and (id_ or metadata is not None):
        raise InputError("--id and --metadata describe the document of --text")
    if not files and (options != Options() or source is not None):
        raise InputError("only files are split and have fields to name: --text and - are taken as they are")
    if text is not None and not text.strip():
        raise InputError("--text is empty: there is nothing to find")
    document = None if text is None else Document(text, as_object(metadata or "{}", "--metadata"), id_)
    if files:
        _check_paths(files, source, to)
        with _filling(to, embedder, on_drift, json_) as (kb, progress):
            report = sync(kb, files, source=source, options=options, remove=False, progress=progress)
        _print(report, json_)
        return
    with with_embedder(to, embedder, on_drift, create=True, quiet=json_) as kb:
        if document is not None:
            ids = kb.add([document])
        else:
            with output.counting("adding", quiet=json_) as advance:
                ids = kb.add(_records(sys.stdin.buffer), progress=advance)
    if json_:
        output.say_json({"ids": ids})
    else:
        output.say(f"{len(ids):,} stored" if len(ids) != 1 else f"stored as {ids[0]}")


@app.command()
def delete(
    in_: In,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The documents' ids.")] = None,
    where: Where = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Delete documents by id, or all that pass a filter.

    \b
    Examples:
      theodolite delete refunds-2023 hours --in kb
      theodolite delete --where '{"source": "chat", "year": {"$lt": 2020}}' --in kb --yes
    """
    if (where is None) == (not ids):
        raise InputError("give either ids or --where")
    tree = as_filter(where)
    with bare(in_, read_only=False) as kb:
        if tree is not None and not yes:
            count = kb.count(tree)
            if not sys.stdin.isatty():
                raise InputError(f"this would delete {count:,} documents: add --yes where nobody can be asked")
            if not typer.confirm(f"Delete {count:,} of {kb.count():,} documents?", err=True):
                output.note("Nothing is deleted.")
                raise typer.Exit(1)
        gone = kb.delete(ids) if ids else kb.delete(where=tree)
    if json_:
        output.say_json({"deleted": gone})
    else:
        output.say(f"{gone:,} deleted")


@app.command()
def reindex(
    folder: Kb,
    index: Annotated[
        str, typer.Argument(metavar="INDEX", help="hnsw, hnsw:M=32, faiss:IVF1024,PQ48, ..., or flat for none.")
    ] = "hnsw",
    target_recall: Annotated[
        float, typer.Option("--target-recall", min=0.0, max=1.0, help="Recall@10 that searches are to reach.")
    ] = 0.99,
    json_: Json = False,
) -> None:
    """Build an approximate index for a large collection, or go back to exact search.

    Interrupted with Ctrl-C, the next call goes on where this one was. The exact index stays, and scores what the other
    proposes.

    \b
    Examples:
      theodolite reindex kb hnsw
      theodolite reindex kb faiss:IVF1024,PQ48 --target-recall 0.95
      theodolite reindex kb flat
    """
    with bare(folder, read_only=False) as kb:
        before = kb.info()
        if index != "flat" and not json_ and before["dimension"] is not None:
            output.note(output.estimate_line(estimate(canonical(index), before["documents"], before["dimension"])))
        with output.counting("indexing", before["documents"], quiet=json_) as advance:
            kb.reindex(index, target_recall=target_recall, progress=advance)
        after = kb.info()
    if json_:
        output.say_json({"index": after["index"], "approximate": after["approximate"]})
    elif after["approximate"] is None:
        output.say("flat: searches are exact")
    else:
        output.say(f"{after['index']}: {output.index_line(after['approximate'])}")


@app.command()
def demo(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", parser=as_path, help="Keep the collection here.")
    ] = None,
    embedder: EmbedderName = None,
    on_drift: OnDriftOption = "refuse",
    json_: Json = False,
) -> None:
    """Index the handbook of an invented company and ask it questions. No network is needed with the extra minilm.

    \b
    Examples:
      theodolite demo
      theodolite demo --to kb-demo
    """
    documents = sample.handbook()
    with (
        TemporaryDirectory() as temporary,
        with_embedder(to or Path(temporary) / "kb", embedder, on_drift, create=True, quiet=json_) as kb,
    ):
        kept = {document.id: document for document in kb.documents()}
        # A second run has nothing to embed.
        new = [document for document in documents if kept.get(document.id) != document]
        with output.counting("embedding", len(new), quiet=json_) as advance:
            kb.add(new, progress=advance)
        if not json_:
            output.say(f"{len(documents)} documents of an invented company's handbook.")
        for question in sample.QUESTIONS:
            hits = kb.search(question.text, k=3, where=question.where)
            if json_:
                output.say_json({**output.hits_as_json(question.text, hits), "where": question.where})
            else:
                where = f"  where {json.dumps(question.where)}" if question.where else ""
                output.say(f"\n{question.text}{where}", style="bold")
                output.say(question.why, style="dim")
                output.show_hits(hits)
    if to is not None and not json_:
        output.note(f'\nAsk it yourself: theodolite search "..." --in {to}')


@contextmanager
def _filling(
    to: Path, embedder: str | None, on_drift: str, as_json: bool
) -> Iterator[tuple[Retriever, Callable[[Progress], None]]]:
    """The collection to fill, made if it is not there, and a progress bar."""
    with (
        with_embedder(to, embedder, on_drift, create=True, quiet=as_json) as kb,
        output.indexing(quiet=as_json) as progress,
    ):
        yield kb, progress


def _options(
    chunk_tokens: int | None,
    overlap: int,
    max_mb: float,
    text: str,
    id_: str,
    metadata: list[str] | None,
    follow_links: bool,
) -> Options:
    if not 0 < max_mb < 1e9:  # NaN, too
        raise InputError(f"--max-mb is {max_mb}; it must be more than 0")
    kept = tuple(metadata) if metadata else None
    return Options(chunk_tokens, overlap, text, id_, kept, max_bytes=int(max_mb * 1e6), follow_links=follow_links)


def _check_paths(paths: list[Path], source: str | None, to: Path) -> None:
    """Refuse what `sync` would, before a collection is made and a model is loaded."""
    if source is not None:
        check_name(source, absolute(paths))
    elif (to / "store.sqlite").exists():
        absolute(paths)  # two of one name may be recorded under others
    else:
        roots(paths)


def _print(report: Report, as_json: bool) -> None:
    """Raises typer.Exit where something could not be stored."""
    if as_json:
        output.say_json(output.report_as_json(report))
    else:
        output.show_report(report)
    if report.failed:
        raise typer.Exit(1)


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects on stdin, without vectors: the texts are embedded anew."""
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"line {number} of stdin is not UTF-8: {error.reason}", line=number) from error
        if line.strip():
            record = as_object(line, f"line {number} of stdin")
            record.pop("vector", None)
            yield record
