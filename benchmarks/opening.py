"""The time to open a large folder, and the cost of a search beyond the index.

    python benchmarks/opening.py
    python benchmarks/opening.py --keep folder --processes 10
    python benchmarks/opening.py --only overhead --markdown

Opening: fresh processes import theodolite, open the folder without an embedder, search twice, close, and open it once
more, on a warm page cache (`opening_process.py`). The first `open` of a process imports the engine, so importing and
opening are also timed together. Overhead: `Retriever.search(vector=...)` minus `FlatIndex.search` on the same
snapshot, for the same queries, in turns, without a filter and with an equality filter on a cached column.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

BATCH = 50_000
K = 10


def build(folder: Path, rows: int, dimension: int, words: int) -> None:
    """Add rows with short texts, unless the folder has them already."""
    import numpy as np

    from benchmarks.data import Synthetic, metadata, texts
    from benchmarks.measure import progress
    from theodolite import Document, Retriever

    source = Synthetic("clustered", rows, dimension)
    np.save(folder / "queries.npy", source.queries(256))
    with Retriever.open(folder / "kb") as kb:
        done = kb.count()
        written = texts(rows, least=words, most=words + 2)
        for start in range(0, rows, BATCH):
            size = min(BATCH, rows - start)
            part = [next(written) for _ in range(size)]
            if start < done:
                continue
            documents = [
                Document(text, metadata(start + number), f"doc-{start + number:07d}")
                for number, text in enumerate(part)
            ]
            kb.add(documents, vectors=source.vectors(start // BATCH, size), batch_size=BATCH)
            progress(f"  {start + size:,} of {rows:,} rows stored")


def warm(folder: Path) -> None:
    """Read every file once, so that the page cache holds it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def opening(folder: Path, processes: int, threads: int, read_only: bool) -> dict[str, list[float]]:
    """Measure several fresh processes."""
    from benchmarks.measure import child, progress

    task = {
        "folder": str(folder / "kb"),
        "queries": str(folder / "queries.npy"),
        "read_only": read_only,
        "root": str(_ROOT),
    }
    script = str(Path(__file__).with_name("opening_process.py"))
    warm(folder)
    child(script, task, threads)  # creates missing cache files
    warm(folder)
    runs = [child(script, task, threads) for _ in range(processes)]
    progress(f"  {processes} processes have opened {folder}")
    return {name: [run[name] for run in runs] for name in runs[0]}


def overhead(folder: Path, repeat: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of searches through the retriever, and through the index alone, for the same queries."""
    import numpy as np

    from theodolite import Retriever
    from theodolite.filters import parse
    from theodolite.types import Space
    from theodolite.vectors.prepare import prepare

    queries = np.load(folder / "queries.npy")
    prepared, _ = prepare(queries, Space("cosine", queries.shape[1]))
    taken: dict[str, dict[str, list[float]]] = {}
    with Retriever.open(folder / "kb") as kb:
        for name, where in (("no filter", None), ("equality filter", {"source": "wiki"})):
            kb.search(vector=queries[0], k=K, where=where)
            # The snapshot that the retriever itself searches. It has no public accessor; only benchmarks need one.
            engine: Any = kb._engine
            snapshot = engine._snapshots._current
            with engine._store.read() as (connection, _):
                mask = engine._snapshots.mask(snapshot, parse(where), connection)
            whole = partial(_search, kb, queries, where)
            index = partial(_search_index, snapshot, prepared, mask)
            taken[name] = in_turns({"retriever": whole, "index": index}, len(queries), repeat)
    return taken


def _search(kb: Any, queries: Any, where: Any, at: int) -> None:
    kb.search(vector=queries[at], k=K, where=where)


def _search_index(snapshot: Any, prepared: Any, mask: Any, at: int) -> None:
    snapshot.flat.search(prepared[at : at + 1], K, snapshot.vectors, mask)


def in_turns(ways: dict[str, Callable[[int], None]], queries: int, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each function for the same queries, in a random order each turn."""
    from benchmarks.measure import quiet_gc

    order = random.Random(5)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with quiet_gc():
        for turn in range(-10, repeat):
            for name in order.sample(list(ways), len(ways)):
                started = time.perf_counter()
                ways[name](turn % queries)
                if turn >= 0:
                    taken[name].append(time.perf_counter() - started)
    return taken


def report_opening(runs: dict[str, list[float]], title: str, markdown: bool) -> list[str]:
    from benchmarks.measure import median, percentile, table, verdict

    names = {
        "numpy": "import numpy",
        "theodolite": "import theodolite (after numpy)",
        "open": "first Retriever.open, with the engine's import",
        "import_and_open": "all three",
        "processor": "all three, processor time",
        "first": "first search",
        "second": "second search",
        "import_open_and_first": "imports, open and first search",
        "close": "close",
        "reopen": "Retriever.open again, in the same process",
    }
    lines = [
        [
            said,
            f"{1e3 * median(runs[name]):.1f}",
            f"{1e3 * min(runs[name]):.1f}",
            f"{1e3 * percentile(runs[name], 95):.1f}",
        ]
        for name, said in names.items()
    ]
    memory = f"anonymous memory after the second search: {median(runs['anonymous']) / 2**20:,.0f} MiB"
    head = [title, "median ms", "least", "p95"]
    return [
        table(head, lines, markdown),
        "",
        memory,
        verdict(f"{title}: imports, open and first search", median(runs["import_open_and_first"]), 1.0, unit=" s"),
        "",
    ]


def report_overhead(taken: dict[str, dict[str, list[float]]], title: str, markdown: bool) -> list[str]:
    from benchmarks.measure import median, percentile, table, verdict

    lines, verdicts = [], []
    for name, times in taken.items():
        paired = [a - b for a, b in zip(times["retriever"], times["index"], strict=True)]
        lines.append(
            [
                name,
                *(
                    f"{1e3 * percentile(times[kind], share):.3f}"
                    for kind in ("retriever", "index")
                    for share in (50, 95)
                ),
                f"{1e3 * median(paired):.3f}",
            ]
        )
        verdicts.append(verdict(f"{title}, {name}: overhead p50", 1e3 * median(paired), 0.3, unit=" ms"))
    head = [title, "retriever p50 ms", "p95", "index p50 ms", "p95", "difference p50"]
    return [table(head, lines, markdown), "", *verdicts, ""]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["opening", "overhead"], help="one of the two")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the folder that is opened")
    parser.add_argument("--small", type=int, default=100_000, help="rows of the folder for the overhead")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--words", type=int, default=3, help="minimum words of a text")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes that open the folder")
    parser.add_argument("--repeat", type=int, default=500, help="searches for the overhead")
    parser.add_argument("--threads", type=int, default=1, help="threads of the libraries; theodolite chooses its own")
    parser.add_argument("--read-only", action="store_true", help="open read-only")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the folders here, and use them if they are there")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    from benchmarks.measure import machine, progress, write_json

    lines = [machine(), ""]
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-opening-") as temporary:
        for part, rows in (("overhead", args.small), ("opening", args.rows)):
            if args.only not in (None, part):
                continue
            folder = Path(args.keep or temporary) / f"{rows}x{args.dimension}"
            folder.mkdir(parents=True, exist_ok=True)
            progress(f"{part}: {rows:,} rows")
            build(folder, rows, args.dimension, args.words)
            title = f"{rows:,} × {args.dimension}"
            if part == "opening":
                raw[part] = opening(folder, args.processes, args.threads, args.read_only)
                lines += report_opening(raw[part], title, args.markdown)
            else:
                raw[part] = overhead(folder, args.repeat)
                lines += report_overhead(raw[part], title, args.markdown)
    print("\n".join(lines))
    write_json(args.json, raw)


if __name__ == "__main__":
    main()
