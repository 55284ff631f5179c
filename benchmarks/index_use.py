"""An approximate index as most people use it: all defaults, no queries given, then real ones.

    python benchmarks/index_use.py CORPUS.npy QUERIES.npy
    python benchmarks/index_use.py CORPUS.npy QUERIES.npy --rows 100000 --index hnsw --markdown

After `reindex` without queries, real queries are searched through `kb.search`, documents included. Each line follows so
many of them, and shows the calibration in use, the share of searches that used the index, and the recall@10 against
float64 over the same queries. `exact` is the same search with the flat index, in turns with the other. The same
process searches and calibrates.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import machine, median, progress, table, verdict, write_json
from benchmarks.truth import Truth
from theodolite import Document, Retriever
from theodolite.types import Space, Vectors
from theodolite.vectors.prepare import prepare

K = 10
AFTER = (0, 100, 200, 400, 1000)
TIMED = 200  # queries of a line


def read(path: Path, rows: int) -> Vectors:
    """Return vectors as the engine prepares them for cosine."""
    given = np.load(path, mmap_mode="r")[:rows].astype(np.float32)
    return prepare(given, Space("cosine", given.shape[1]))[0]


def line(indexed: Retriever, exact: Retriever, queries: Vectors, truth: Truth, asked: int) -> dict[str, Any]:
    """Time and judge the index as it is calibrated now."""
    times: dict[str, list[float]] = {"index": [], "exact": []}
    hits = used = 0
    calibration = indexed.info()["approximate"]
    for number in range(min(TIMED, len(queries))):
        for name, kb in (("index", indexed), ("exact", exact)):
            started = time.perf_counter()
            found = kb.search(vector=queries[number], k=K)
            times[name].append(time.perf_counter() - started)
            if kb is indexed:
                used += found.trace.path == "index"
                hits += truth.hits(number, np.array([int(hit.document.id) for hit in found]))
    count = len(times["index"])
    return {
        "asked": asked,
        **{name: calibration["calibration"][name] for name in ("kind", "queries", "n", "recall", "lower")},
        "used": used / count,
        "true recall": hits / (K * count),
        "index": median(times["index"]),
        "exact": median(times["exact"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="vectors, (n, d), as .npy")
    parser.add_argument("queries", type=Path, help="vectors of real queries, (m, d), as .npy")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--index", default="hnsw")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    options = parser.parse_args()
    vectors, queries = read(options.corpus, options.rows), read(options.queries, max(AFTER))
    truth = Truth(vectors, queries)
    documents = [Document(f"passage {row}", id=str(row)) for row in range(len(vectors))]
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-index-use-") as made:
        exact = Retriever.open(Path(made) / "exact", embedder=None)
        indexed = Retriever.open(Path(made) / "indexed", embedder=None)
        for kb in (exact, indexed):
            kb.add(documents, vectors=vectors)
        progress(f"{options.index}: {len(vectors):,} rows")
        indexed.reindex(options.index)
        asked = 0
        for after in AFTER:
            for number in range(asked, after):
                indexed.search(vector=queries[number % len(queries)], k=K)
            asked = after
            while indexed.info()["approximate"]["building"]:
                time.sleep(0.1)
            progress(f"  after {after:,} queries")
            lines.append(line(indexed, exact, queries, truth, after))
            asked += min(TIMED, len(queries))
        indexed.close()
        exact.close()
    head = ["after", "calibrated with", "proposals", "recall, estimated", "proven", "index used", "recall, true"]
    cells = [
        [
            f"{one['asked']:,}",
            f"{one['queries']:,} {one['kind']}",
            str(one["n"]),
            f"{one['recall']:.4f}",
            f"{one['lower']:.4f}",
            f"{100 * one['used']:.0f} %",
            f"{one['true recall']:.4f}",
            f"{1e3 * one['index']:.2f}",
            f"{1e3 * one['exact']:.2f}",
        ]
        for one in lines
    ]
    print(machine(), "\n")
    print(table([*head, "index ms", "exact ms"], cells, options.markdown), "\n")
    print(verdict("searches that used the index", min(one["used"] for one in lines), 0.99, least=True))
    print(verdict("true recall", min(one["true recall"] for one in lines), 0.98, least=True))
    write_json(options.json, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
