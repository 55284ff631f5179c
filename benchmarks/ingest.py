"""Ingest: prepared vectors with texts and metadata into theodolite, Chroma and LanceDB, durable at the end.

    python benchmarks/ingest.py
    python benchmarks/ingest.py --corpus corpus.jsonl --repeat 3 --markdown
    python benchmarks/ingest.py --peers theodolite --profile

Every library gets the same rows, a fresh folder, and a text index: theodolite and Chroma update theirs with each batch,
LanceDB builds it at the end. Files that a library has not synced are synced at the end, within its time.
"""

import argparse
import functools
import importlib
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import CHUNK, Synthetic, corpus_texts, metadata, texts
from benchmarks.measure import (
    folder_bytes,
    machine,
    median,
    progress,
    quiet_gc,
    sync_folder,
    table,
    verdict,
    write_json,
)
from theodolite import Document, Retriever
from theodolite.types import Vectors

PEERS = ("theodolite", "theodolite-warm", "chroma", "lancedb")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """The stored data in the forms that the libraries take: columns, and theodolite's documents."""

    ids: list[str]
    texts: list[str]
    metadata: list[dict[str, Any]]
    vectors: Vectors
    documents: list[Document]


def make_rows(count: int, dimension: int, corpus: str | None) -> Rows:
    """Make the rows to ingest."""
    source = Synthetic("clustered", count, dimension)
    parts = [source.vectors(i, min(CHUNK, count - start)) for i, start in enumerate(range(0, count, CHUNK))]
    ids = [f"doc-{number:07d}" for number in range(count)]
    written = list(corpus_texts(corpus, count) if corpus else texts(count))
    fields = [metadata(number) for number in range(count)]
    documents = [Document(*parts) for parts in zip(written, fields, ids, strict=True)]
    return Rows(ids, written, fields, Vectors(np.concatenate(parts)), documents)


def into_theodolite(folder: Path, rows: Rows, batch: int) -> None:
    with Retriever.open(folder) as kb:
        kb.add(rows.documents, vectors=rows.vectors, batch_size=batch)


def into_theodolite_warm(folder: Path, rows: Rows, batch: int) -> None:
    """Ingest, and update the flat index and the columns of all fields after each batch, as searches would."""
    with Retriever.open(folder) as kb:
        for start in range(0, len(rows.ids), batch):
            part = slice(start, start + batch)
            kb.add(rows.documents[part], vectors=rows.vectors[part], batch_size=batch)
            kb.warm(*rows.metadata[0])


def into_chroma(folder: Path, rows: Rows, batch: int) -> None:
    chromadb = importlib.import_module("chromadb")
    settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(folder), settings=settings)
    collection = client.create_collection("rows", embedding_function=None, metadata={"hnsw:space": "cosine"})
    step = min(batch, client.get_max_batch_size())
    for start in range(0, len(rows.ids), step):
        part = slice(start, start + step)
        collection.add(
            ids=rows.ids[part],
            embeddings=rows.vectors[part],
            documents=rows.texts[part],
            metadatas=rows.metadata[part],
        )
    client.close()


def into_lancedb(folder: Path, rows: Rows, batch: int, positions: bool = False) -> None:
    lancedb = importlib.import_module("lancedb")
    pa = importlib.import_module("pyarrow")
    database = lancedb.connect(str(folder))
    made = None
    for start in range(0, len(rows.ids), batch):
        part = slice(start, start + batch)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors[part].reshape(-1)), rows.vectors.shape[1])
        columns = {"id": rows.ids[part], "text": rows.texts[part], "vector": vectors}
        for name in rows.metadata[0]:
            columns[name] = [fields[name] for fields in rows.metadata[part]]
        batch_rows = pa.table(columns)
        if made is None:
            made = database.create_table("rows", batch_rows)
        else:
            made.add(batch_rows)
    if made is not None:
        made.create_index("text", config=importlib.import_module("lancedb.index").FTS(with_position=positions))
        left = made.index_stats("text_idx").num_unindexed_rows
        if left:
            raise RuntimeError(f"LanceDB has left {left} rows out of its text index")


def ways(positions: bool) -> dict[str, Callable[[Path, Rows, int], None]]:
    return {
        "theodolite": into_theodolite,
        "theodolite-warm": into_theodolite_warm,
        "chroma": into_chroma,
        "lancedb": functools.partial(into_lancedb, positions=positions),
    }


def run_once(work: Callable[[Path, Rows, int], None], rows: Rows, batch: int, under: str | None) -> dict[str, float]:
    """Ingest once into a fresh folder, and delete it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-ingest-", dir=under))
    try:
        with quiet_gc():
            used, started = time.process_time(), time.perf_counter()
            work(folder, rows, batch)
            returned = time.perf_counter()
            sync_folder(folder)
            ended, spent = time.perf_counter(), time.process_time() - used
        return {
            "seconds": ended - started,
            "cpu": spent,
            "sync": ended - returned,
            "bytes": float(folder_bytes(folder)),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Clock:
    """Counts seconds and calls of wrapped functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timer(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started
                self.calls[name] += 1

        return timer

    def connection(self) -> type[sqlite3.Connection]:
        """Return a connection class that times statements by their first words."""
        clock = self

        class Timed(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                found: sqlite3.Cursor = clock.wrapped(_statement(sql), super().execute)(sql, *args)
                return found

            def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
                found: sqlite3.Cursor = clock.wrapped(_statement(sql), super().executemany)(sql, *args)
                return found

        return Timed


def _statement(sql: str) -> str:
    words = sql.split() or [""]
    take = 3 if words[0] in ("INSERT", "DELETE") else 2 if words[0] in ("PRAGMA", "UPDATE") else 1
    return "sql: " + " ".join(words[:take]).split("=")[0]


# The timed functions: a label, the module, the attribute. A missing function is reported, not an error.
_STAGES = (
    ("as_document (ids given)", "theodolite.retriever", "as_document"),
    ("prepare (check, normalize)", "theodolite.retriever", "prepare"),
    ("records (check, metadata to JSON)", "theodolite.engines.local.writer", "make_records"),
    ("hash of each row", "theodolite.engines.local.storage.records", "Record.hash"),
    ("frame of vectors, written and fsynced", "theodolite.engines.local.storage.commit", "append_frame"),
    ("  of it fsync", "theodolite.engines.local.storage.vector_file", "sync_file"),
    ("codes: quantize", "theodolite.engines.local.derived.code_cache", "quantize"),
    ("codes: save", "theodolite.engines.local.derived.code_cache", "save_codes"),
)


def profile(rows: Rows, batch: int, under: str | None) -> str:
    """Return where theodolite's time goes, by timers around its functions."""
    clock = Clock()
    with ExitStack() as stack:
        for name, module, attribute in _STAGES:
            target: Any = importlib.import_module(module)
            *path, last = attribute.split(".")
            for step in path:
                target = getattr(target, step, None)
            if target is None or not hasattr(target, last):
                progress(f"{module}.{attribute} is not there any more: not timed")
                continue
            stack.enter_context(mock.patch.object(target, last, clock.wrapped(name, getattr(target, last))))
        connect = functools.partial(sqlite3.connect, factory=clock.connection())
        stack.enter_context(mock.patch.object(sqlite3, "connect", connect))
        took = run_once(into_theodolite, rows, batch, under)
    named = sorted(clock.seconds.items(), key=lambda item: -item[1])
    lines = [[name, f"{seconds:.3f}", str(clock.calls[name])] for name, seconds in named if seconds >= 0.0005]
    covered = sum(seconds for name, seconds in named if not name.startswith(" "))
    lines.append(["everything else", f"{took['seconds'] - covered:.3f}", ""])
    lines.append(["total", f"{took['seconds']:.3f}", ""])
    return table(["theodolite's time", "seconds", "calls"], lines, markdown=False)


def report(runs: dict[str, list[dict[str, float]]], count: int, markdown: bool) -> str:
    """Return the medians over the repetitions, and the ratios of each repetition."""
    ours = [run["seconds"] for run in runs.get("theodolite", [])]
    lines = []
    for name, taken in runs.items():
        seconds = [run["seconds"] for run in taken]
        ratio = median([a / b for a, b in zip(seconds, ours, strict=True)]) if ours else float("nan")
        lines.append(
            [
                name,
                f"{median(seconds):.2f}",
                f"{min(seconds):.2f}–{max(seconds):.2f}",
                f"{median([run['cpu'] for run in taken]):.2f}",
                f"{median([run['sync'] for run in taken]):.2f}",
                f"{count / median(seconds):,.0f}",
                f"{ratio:.2f}",
                f"{median([run['bytes'] for run in taken]) / _MIB:,.0f}",
            ]
        )
    head = ["library", "seconds", "range", "cpu seconds", "of it sync", "vectors/s", "× theodolite", "MiB on disk"]
    return table(head, lines, markdown)


def verdicts(runs: dict[str, list[dict[str, float]]]) -> list[str]:
    """Say whether the targets are met."""
    ours = [run["seconds"] for run in runs.get("theodolite", [])]
    lines = []
    if ours and "chroma" in runs:
        ratio = median([run["seconds"] / own for run, own in zip(runs["chroma"], ours, strict=True)])
        lines.append(verdict("Chroma's time over theodolite's", ratio, 10, least=True, unit="x"))
    if ours and "lancedb" in runs:
        ratio = median([own / run["seconds"] for run, own in zip(runs["lancedb"], ours, strict=True)])
        lines.append(verdict("theodolite's time over LanceDB's", ratio, 1.5, unit="x"))
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--batch", type=int, default=10_000, help="rows a batch (Chroma: at most its own limit)")
    parser.add_argument("--corpus", metavar="FILE.jsonl", help="texts from here instead of generated ones")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--positions", action="store_true", help="LanceDB's text index keeps positions, as FTS5 does")
    parser.add_argument("--folder", help="where the folders are made (default: the system's temporary folder)")
    parser.add_argument("--profile", action="store_true", help="also break theodolite's own time down")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    progress("making the rows")
    rows = make_rows(args.rows, args.dimension, args.corpus)
    chosen = {name: work for name, work in ways(args.positions).items() if name in args.peers}
    for name in chosen:  # do not measure imports and first-time setup
        run_once(chosen[name], make_rows(500, args.dimension, None), args.batch, args.folder)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    order = list(chosen)
    for number in range(args.repeat):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            runs[name].append(run_once(chosen[name], rows, args.batch, args.folder))
            progress(f"{number + 1}/{args.repeat} {name}: {runs[name][-1]['seconds']:.2f} s")
    words = sum(len(text.split()) for text in rows.texts) / len(rows.texts)
    print(
        f"{args.rows:,} rows of {args.dimension}, texts of {words:.0f} words, batches of {args.batch:,}; {machine()}\n"
    )
    print(report(runs, args.rows, args.markdown), "\n")
    print("\n".join(verdicts(runs)))
    if args.profile:
        print("\n" + profile(rows, args.batch, args.folder))
    write_json(args.json, {"rows": args.rows, "words": words, "runs": runs})


if __name__ == "__main__":
    main()
