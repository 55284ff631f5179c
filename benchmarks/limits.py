"""How a folder grows: time, memory and disk from 10,000 to 10,000,000 documents.

    python benchmarks/limits.py
    python benchmarks/limits.py --rows 10000000 --folder /mnt/large

Clustered vectors of 384 dimensions with texts of four words, stored in batches of 50,000. A fresh process opens the
folder, on a warm page cache, searches once, and then 50 times without a filter and with one that 1 % of the documents
pass. The largest size takes about 25 GB of disk.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
DIMENSION = 384
BATCH = 50_000
REPEAT = 50


def build(folder: Path, rows: int) -> float:
    """Store the documents; return the seconds that `add` took."""
    import numpy as np

    from benchmarks.data import Synthetic
    from benchmarks.measure import progress
    from theodolite import Document, Retriever

    source = Synthetic("clustered", rows, DIMENSION)
    np.save(folder / "queries.npy", source.queries(64))
    taken = 0.0
    with Retriever.open(folder / "kb") as kb:
        for start in range(0, rows, BATCH):
            size = min(BATCH, rows - start)
            documents = [
                Document(f"passage {n} of {n % 977}", {"part": n % 100, "year": 2000 + n % 25}, f"d{n:08d}")
                for n in range(start, start + size)
            ]
            vectors = source.vectors(start // BATCH, size)
            began = time.perf_counter()
            kb.add(documents, vectors=vectors, batch_size=BATCH)
            taken += time.perf_counter() - began
            progress(f"  {start + size:,} of {rows:,} stored")
    return taken


def search(task: dict[str, Any]) -> dict[str, float]:
    """Open and search, in a process of its own."""
    import numpy as np

    from benchmarks.measure import anonymous_bytes
    from theodolite import Retriever

    queries = np.load(Path(task["folder"]) / "queries.npy")
    began = time.perf_counter()
    with Retriever.open(Path(task["folder"]) / "kb", read_only=True) as kb:
        opened = time.perf_counter()
        kb.search(vector=queries[0], k=10)
        figures = {"open": opened - began, "first": time.perf_counter() - opened}
        for name, where in (("exact", None), ("filtered", {"part": 7})):
            kb.search(vector=queries[0], k=10, where=where)
            taken = []
            for number in range(REPEAT):
                at = time.perf_counter()
                kb.search(vector=queries[number], k=10, where=where)
                taken.append(time.perf_counter() - at)
            figures[name] = float(np.median(taken))
        figures["memory"] = anonymous_bytes()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--folder", help="the folder for temporary data (default: the system's temporary folder)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a search")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(search(json.loads(args.child))))
        return
    from benchmarks.measure import child, folder_bytes

    columns = ["documents", "stored a second", "disk, GB", "open, ms", "first, s", "exact, ms", "1 %, ms", "memory, MB"]
    print("|", " | ".join(columns), "|")
    print("|" + "--:|" * len(columns))
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="limits-", dir=args.folder) as name:
            folder = Path(name)
            seconds = build(folder, rows)
            disk = folder_bytes(folder / "kb")
            for path in (folder / "kb").rglob("*"):  # warm the page cache
                if path.is_file():
                    with path.open("rb") as file:
                        while file.read(1 << 24):
                            pass
            found = child(str(Path(__file__).resolve()), {"folder": name}, args.threads)
            print(
                f"| {rows:,} | {rows / seconds:,.0f} | {disk / 1e9:.2f} | {1e3 * found['open']:.0f} "
                f"| {found['first']:.2f} | {1e3 * found['exact']:.1f} | {1e3 * found['filtered']:.1f} "
                f"| {found['memory'] / 1e6:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
