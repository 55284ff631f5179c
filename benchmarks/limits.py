"""How a folder grows: time, memory and disk from 10,000 to 10,000,000 documents.

    python benchmarks/limits.py --json limits.json
    python benchmarks/limits.py --rows 10000000 --folder /mnt/large
    python benchmarks/limits.py --index faiss:IVF16384,PQ48np --collection /mnt/large/kb    # one that is kept
    python benchmarks/limits.py --picture docs/images/limits.svg --from limits.json

Clustered vectors of 384 dimensions with texts of four words, stored in batches of 50,000. A fresh process opens the
folder, on a warm page cache, searches once, and then 50 times without a filter and with one that 1 % of the documents
pass. The largest size takes about 20 GB of disk. `--index` builds an approximate index for a collection that is there,
and compares its answers with the exact ones.
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


def indexed(location: str, index: str) -> None:
    """Build an index, and print its figures beside those of exact search."""
    import numpy as np

    from benchmarks.data import Synthetic
    from benchmarks.measure import anonymous_bytes, folder_bytes, median, timed
    from theodolite import Retriever

    with Retriever.open(location) as kb:
        rows = len(kb)
        queries = Synthetic("clustered", rows, DIMENSION).queries(REPEAT)
        disk = folder_bytes(Path(location))
        exact = [timed(kb.search, vector=query, k=10) for query in queries]
        began = time.perf_counter()
        kb.reindex(index)
        built = time.perf_counter() - began
        found = [timed(kb.search, vector=query, k=10) for query in queries]
        hits = [
            len({hit.document.id for hit in one} & {hit.document.id for hit in other}) / len(other)
            for (_, one), (_, other) in zip(found, exact, strict=True)
        ]
        used = np.mean([one.trace.path == "index" for _, one in found])
        more = (folder_bytes(Path(location)) - disk) / 1e9
        scan, search = (1e3 * median([taken for taken, _ in each]) for each in (exact, found))
        print(f"{rows:,} documents, {index}: {built:,.0f} s to build, {more:.2f} GB more disk")
        print(f"exact {scan:.1f} ms; index {search:.1f} ms, used for {used:.0%}, recall@10 {np.mean(hits):.4f}")
        print(f"memory of the process: {anonymous_bytes() / 1e6:,.0f} MB")


def picture(figures: list[dict[str, float]], path: str) -> None:
    """Draw how time, memory and disk grow, as SVG."""
    import vl_convert

    parts = []
    for title, unit, names in (
        (
            "Time",
            "milliseconds",
            {"open": "open", "first": "first search", "exact": "exact search", "filtered": "1 % pass"},
        ),
        ("Space", "megabytes", {"disk": "disk", "memory": "memory of the process"}),
    ):
        factor = 1e3 if unit == "milliseconds" else 1e-6
        rows = [
            {"documents": one["rows"], unit: one[name] * factor, "of": shown}
            for one in figures
            for name, shown in names.items()
        ]
        scale = {"scale": {"type": "log"}, "type": "quantitative"}
        encoding = {
            "x": {"field": "documents", "axis": {"format": "~s", "values": list(ROWS)}, **scale},
            "y": {"field": unit, "axis": {"format": "~s"}, **scale},
            "color": {"field": "of", "type": "nominal", "title": None, "sort": list(names.values())},
        }
        mark = {"type": "line", "point": True}
        parts.append(
            {"title": title, "width": 320, "height": 260, "data": {"values": rows}, "mark": mark, "encoding": encoding}
        )
    chart = {"hconcat": parts, "resolve": {"scale": {"color": "independent"}}, "background": "white"}
    Path(path).write_text(vl_convert.vegalite_to_svg(chart, allowed_base_urls=[]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--folder", help="the folder for temporary data (default: the system's temporary folder)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a search")
    parser.add_argument("--json", help="write the figures")
    parser.add_argument("--index", help="build this index for --collection, and compare")
    parser.add_argument("--collection", help="a folder that one of these runs has left")
    parser.add_argument("--picture", help="draw the figures of --from into this SVG file")
    parser.add_argument("--from", dest="figures", help="figures that --json wrote")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(search(json.loads(args.child))))
        return
    from benchmarks.measure import child, folder_bytes, limit, write_json

    if args.picture:
        picture(json.loads(Path(args.figures).read_text()), args.picture)
        return
    if args.index:
        limit(args.threads)
        indexed(args.collection, args.index)
        return
    figures = []
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
            figures.append({"rows": rows, "stored": rows / seconds, "disk": disk, **found})
            write_json(args.json, figures)


if __name__ == "__main__":
    main()
