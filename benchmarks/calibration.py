"""Compare the recall of a calibration with the recall of other queries: `hnsw.py --calibration`.

The queries are split into halves several times. One half (or noisy rows instead) calibrates the index. The other half
is searched through the calibrated index and compared with float64.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import write_real, write_synthetic
from benchmarks.graph_peers import HNSW
from benchmarks.measure import child, limit, machine, progress, table, verdict, write_json
from benchmarks.truth import Truth
from theodolite.indexes.ann import Approximate, calibrate, synthetic_queries
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.registry import make_index
from theodolite.testing.oracle import ArraySource
from theodolite.types import Space, Vectors

K = 10
SPLITS = 5
TARGETS = (0.9, 0.95, 0.99)
NOISY = 500  # queries made from rows
SLACK = 0.01  # how far below the promise other queries may be


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Measure every target and split of one collection."""
    limit(task["threads"])
    folder = Path(task["folder"])
    queries = Vectors(np.load(folder / "queries.npy"))
    dimension = queries.shape[1]
    vectors = Vectors(np.fromfile(folder / "rows.f32", np.float32).reshape(-1, dimension))
    space, source, rows = Space("cosine", dimension), ArraySource(vectors), np.arange(len(vectors))
    flat = FlatIndex("cosine", dimension).grown(source, len(vectors))
    candidates = make_index(HNSW)
    candidates.build(vectors, space)
    progress(f"  {task['name']}: {len(vectors):,} rows indexed")
    truth = Truth(vectors, queries)
    lines = []
    for target in TARGETS:
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(len(queries))
            half, others = order[: len(order) // 2], order[len(order) // 2 :]
            sample = np.random.default_rng(split).choice(len(vectors), min(NOISY, len(vectors)), replace=False)
            kinds = {"given": Vectors(queries[half]), "noise": synthetic_queries(vectors[sample], space, split)}
            for kind, asked in kinds.items():
                made = calibrate(candidates, rows, flat, source, None, asked, k=K, target_recall=target)
                index = Approximate(candidates, rows, made)
                found = [index.search(Vectors(queries[i : i + 1]), K, flat, source, None)[0] for i in others]
                hits = sum(truth.hits(int(i), one.rows[:K]) for i, one in zip(others, found, strict=True))
                lines.append(
                    {
                        "target": target,
                        "kind": kind,
                        "asked": len(asked),
                        "n": made.n,
                        "recall": hits / (truth.k * len(others)),
                        "exact": sum(one.complete for one in found) / len(found),
                    }
                )
    return {**task, "rows": len(vectors), "queries": len(queries), "lines": lines}


def run(args: argparse.Namespace) -> int:
    """Measure all collections; print the table and the verdicts."""
    outcomes = []
    for name, corpus, queries in [("clustered", "", ""), *(args.collection or [])]:
        with tempfile.TemporaryDirectory(prefix="bench-calibration-", dir=args.folder) as made:
            folder = Path(made)
            if corpus:
                there = len(np.load(queries, mmap_mode="r"))
                write_real(folder, corpus, queries, min(args.count, there), args.rows)
            else:
                write_synthetic(folder, "clustered", args.rows, args.dimension, args.count)
            task = {"name": name, "folder": made, "threads": args.threads}
            outcomes.append(child(__file__, task, args.threads))
    rows, lines = [], []
    for outcome in outcomes:
        for target in TARGETS:
            for kind in ("given", "noise"):
                these = [one for one in outcome["lines"] if (one["target"], one["kind"]) == (target, kind)]
                recalls = [one["recall"] for one in these]
                rows.append(
                    [
                        f"{outcome['name']} {outcome['rows']:,}",
                        kind,
                        str(these[0]["asked"]),
                        f"{target:g}",
                        f"{min(one['n'] for one in these)}–{max(one['n'] for one in these)}",
                        f"{min(recalls):.4f}",
                        f"{float(np.mean(recalls)):.4f}",
                        str(outcome["queries"] - outcome["queries"] // 2),
                        f"{100 * float(np.mean([one['exact'] for one in these])):.0f} %",
                    ]
                )
                title = f"{outcome['name']}, {kind}, promised {target:g}: least recall of other queries"
                lines.append(verdict(title, min(recalls), target - SLACK, least=True))
    head = ["collection", "queries", "number", "promised", "n", "found, least", "mean", "of queries", "exact anyway"]
    print(machine(), "\n")
    print(table(head, rows, args.markdown), "\n")
    print("\n".join(lines))
    write_json(args.json, outcomes)
    return 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--child", required=True)
    print(json.dumps(measure(json.loads(arguments.parse_args().child))))
