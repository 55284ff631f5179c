"""The cost of a monitor for each search.

    python benchmarks/monitor.py
    python benchmarks/monitor.py --rows 2000 --searches 20000 --markdown

One collection, opened twice: with and without a monitor. Both get the same queries in turns, so that noise affects both
alike, and the difference of each pair counts. Processor time is that of the whole process, including the monitor's
thread, measured over alternating blocks of searches.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Synthetic, texts
from benchmarks.measure import progress
from theodolite import Document, Monitor, Retriever

LIMIT = 20e-6
BLOCK = 500


def filled(folder: Path, rows: int, dimension: int, index: str) -> NDArray[np.float32]:
    """Fill the collection, and return queries."""
    source = Synthetic("clustered", rows, dimension)
    written = texts(rows, least=8, most=12)
    with Retriever.open(folder) as kb:
        documents = (Document(next(written), id=f"d{number}") for number in range(rows))
        kb.add(documents, vectors=source.vectors(0, rows))
        if index != "flat":
            kb.reindex(index)
    queries: NDArray[np.float32] = source.queries(1000)
    return queries


def walls(plain: Retriever, watched: Retriever, queries: NDArray[np.float32], count: int) -> list[float]:
    """Return the extra seconds of each monitored search. The order within a pair alternates."""
    more = []
    for number in range(count):
        query = queries[number % len(queries)]
        took = {}
        for kb in (plain, watched) if number % 2 else (watched, plain):
            started = time.perf_counter()
            kb.search(vector=query)
            took[id(kb)] = time.perf_counter() - started
        more.append(took[id(watched)] - took[id(plain)])
    return more


def processor(kb: Retriever, queries: NDArray[np.float32], start: int) -> float:
    """Return processor seconds per search, over a block."""
    began = time.process_time()
    for number in range(start, start + BLOCK):
        kb.search(vector=queries[number % len(queries)])
    return (time.process_time() - began) / BLOCK


def notes(kb: Retriever, queries: NDArray[np.float32]) -> float:
    """Return the seconds of the monitor's part of a search, in this thread."""
    from theodolite.protocols import Request
    from theodolite.types import Vectors

    assert kb.monitor is not None
    request = Request(Vectors(queries[:1]), 10)
    answers = kb._engine.search(request)
    norms = np.ones(1)
    times = []
    for _ in range(200):
        started = time.perf_counter()
        for _ in range(100):
            kb.monitor.norms(norms)
            kb.monitor.searched(request, answers, 0.001)
        times.append((time.perf_counter() - started) / 100)
    return median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--index", default="flat", help="flat, hnsw, ...")
    parser.add_argument("--searches", type=int, default=20_000)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kb"
        progress(f"storing {options.rows:,} rows")
        queries = filled(folder, options.rows, options.dimension, options.index)
        monitor = Monitor()
        with Retriever.open(folder) as plain, Retriever.open(folder, monitor=monitor) as watched:
            walls(plain, watched, queries, 200)
            progress("searching")
            more = walls(plain, watched, queries, options.searches)
            spent: dict[str, list[float]] = {"without": [], "with": []}
            for block in range(max(4, options.searches // BLOCK)):
                for name, kb in (("without", plain), ("with", watched))[:: 1 if block % 2 else -1]:
                    spent[name].append(processor(kb, queries, block * BLOCK))
            alone = notes(watched, queries)
    cost = median(more)
    rows = [
        ("a search takes longer by, median", cost),
        ("the same, mean without the slowest 1 %", mean(sorted(more)[: int(0.99 * len(more))])),
        ("processor time of all threads, median block", median(spent["with"]) - median(spent["without"])),
        ("the notes alone", alone),
    ]
    line = "| {} | {} |" if options.markdown else "{:<46}{:>10}"
    print(line.format(f"{options.rows:,} rows, {options.index}", "µs a search"))
    if options.markdown:
        print("|---|---|")
    for name, value in rows:
        print(line.format(name, f"{1e6 * value:.1f}"))
    print(f"\nbelow {1e6 * LIMIT:.0f} µs a search: {'PASS' if cost < LIMIT else 'FAIL'}")
    return int(cost >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
