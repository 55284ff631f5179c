"""Repeated replacement of rows, `hnsw.py --churn`: recall and latency at the end, compared with a fresh build.

Half of the vectors are documents at first. Each round replaces a fifth of the documents, by id, with unused vectors,
and waits until the index has been rebuilt in the background. The fresh collection gets the final vectors.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import made
from benchmarks.graph_peers import HNSW
from benchmarks.measure import (
    child,
    in_turns,
    limit,
    machine,
    percentile,
    progress,
    table,
    timed,
    verdict,
    write_json,
)
from benchmarks.truth import Ids, Truth
from theodolite import Document, Retriever
from theodolite.types import Vectors

K = 10
SHARE = 0.2
BATCH = 10_000
PATIENCE = 3600.0  # seconds to wait for one rebuild


def store(kb: Retriever, vectors: Vectors, documents: Ids) -> None:
    """Put vectors under the ids of documents, (n,)."""
    for start in range(0, len(documents), BATCH):
        part = documents[start : start + BATCH]
        batch = [Document("", {}, f"{number:07d}") for number in part.tolist()]
        kb.add(batch, vectors=vectors[start : start + BATCH], batch_size=None)


def settled(kb: Retriever) -> float:
    """Wait until the background rebuild is done; return the seconds."""
    started = time.perf_counter()
    while time.perf_counter() - started < PATIENCE:
        index = kb.info()["approximate"]
        if index["ready"] and not index["building"] and index["churn"] < SHARE / 2:
            return time.perf_counter() - started
        time.sleep(0.2)
    raise RuntimeError(f"the index was still being rebuilt after {PATIENCE:.0f} s")


def ask(kb: Retriever, queries: Vectors) -> tuple[list[float], list[Ids]]:
    """Return the seconds and the documents of each query."""
    times, found = [], []
    for query in queries:
        seconds, hits = timed(kb.search, vector=query, k=K)
        times.append(seconds)
        found.append(np.array([int(hit.document.id) for hit in hits], np.int64))
    return times, found


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Run all rounds on one kind of data, then compare with a fresh index."""
    limit(task["threads"])
    folder = Path(task["folder"])
    queries = Vectors(np.load(folder / "queries.npy"))
    vectors = Vectors(np.fromfile(folder / "rows.f32", np.float32).reshape(-1, queries.shape[1]))
    spare, asked = Vectors(queries[: len(queries) // 2]), Vectors(queries[len(queries) // 2 :])
    count = len(vectors) // 2
    rng = np.random.default_rng(31)
    used, free = np.arange(count), np.arange(count, 2 * count)  # the vector of each document, and the unused vectors
    rounds = []
    with Retriever.open(folder / "churned") as kb, Retriever.open(folder / "fresh") as fresh:
        store(kb, Vectors(vectors[used]), used)
        kb.reindex(HNSW, queries=spare)
        for number in range(task["rounds"] + 1):
            if number:
                replaced = rng.choice(count, round(SHARE * count), replace=False)
                taken = rng.choice(len(free), len(replaced), replace=False)
                used[replaced], free[taken] = free[taken], used[replaced]
                store(kb, Vectors(vectors[used[replaced]]), replaced)
            kb.search(vector=asked[0], k=K)
            truth = Truth(vectors[used], asked)
            line: dict[str, Any] = {"round": number}
            for stage in ("at once", "rebuilt"):
                if stage == "rebuilt":
                    line["waited"] = settled(kb)
                times, found = ask(kb, asked)
                line[stage] = {"recall": truth.recall(range(len(asked)), found), "p50": percentile(times, 50)}
            rounds.append(line)
            progress(f"  round {number}: {json.dumps(line)}")
        store(fresh, Vectors(vectors[used]), np.arange(count))
        fresh.reindex(HNSW, queries=spare)
        both = {"fresh": fresh, "churned": kb}
        times_of: dict[str, list[float]] = {name: [] for name in both}
        found_of: dict[str, dict[int, Ids]] = {name: {} for name in both}
        for one in both.values():
            ask(one, Vectors(asked[:20]))
        for name, number in in_turns(list(both), len(asked)):
            seconds, rows = ask(both[name], Vectors(asked[number : number + 1]))
            times_of[name] += seconds
            found_of[name][number] = rows[0]
    ends = {
        name: {
            "recall": truth.recall(range(len(asked)), [found_of[name][number] for number in range(len(asked))]),
            **{f"p{share}": percentile(times_of[name], share) for share in (50, 95, 99)},
        }
        for name in both
    }
    return {**task, "rows": count, "rounds_done": rounds, "ends": ends}


def run(args: argparse.Namespace, kinds: list[str]) -> int:
    """Measure each kind of data; print the tables and the verdicts."""
    outcomes = []
    for kind in kinds:
        progress(f"{kind}: making the data")
        with made(args, kind, args.rows, args.count) as name:
            task = {"kind": kind, "folder": name, "threads": args.threads, "rounds": args.rounds}
            outcomes.append(child(__file__, task, args.threads))
    print(machine(), "\n")
    lines = []
    for outcome in outcomes:
        title = f"{outcome['kind']}, {outcome['rows']:,} documents"
        print(table([title, *_HEAD], [_line(one) for one in outcome["rounds_done"]], args.markdown), "\n")
        ends = outcome["ends"]
        rows = [
            [name, f"{one['recall']:.4f}", *(f"{1e3 * one[share]:.3f}" for share in ("p50", "p95", "p99"))]
            for name, one in ends.items()
        ]
        print(table([title, "recall@10", "p50 ms", "p95", "p99"], rows, args.markdown), "\n")
        lost = ends["fresh"]["recall"] - ends["churned"]["recall"]
        lines.append(verdict(f"{title}: recall below a fresh build", lost, 0.01))
        lines.append(verdict(f"{title}: p50 over a fresh build", ends["churned"]["p50"] / ends["fresh"]["p50"], 1.3))
    print("\n".join(lines))
    write_json(args.json, outcomes)
    return 0


_HEAD = ["recall at once", "p50 ms", "rebuilt after s", "recall", "p50 ms"]


def _line(one: dict[str, Any]) -> list[str]:
    before, after = one["at once"], one["rebuilt"]
    return [
        f"round {one['round']}",
        f"{before['recall']:.4f}",
        f"{1e3 * before['p50']:.3f}",
        f"{one['waited']:.1f}",
        f"{after['recall']:.4f}",
        f"{1e3 * after['p50']:.3f}",
    ]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--child", required=True)
    print(json.dumps(measure(json.loads(arguments.parse_args().child))))
