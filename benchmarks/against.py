"""Exact search of this checkout beside that of another one, such as the commit before a change.

    git worktree add ../before COMMIT
    python benchmarks/against.py ../before
    python benchmarks/against.py ../before --kinds real --vectors corpus.npy --queries queries.npy
    python benchmarks/against.py ../before --rows 200000 --batch 64

Two processes build an index each over the same vectors, and answer the same queries in turns, on one processor. The
figures are processor times; the interval is that of the median of paired ratios (bootstrap, 95 %). Different answers,
in any bit of a score, are an error.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

ROWS = (200_000, 1_000_000)
K = 10


def answer(task: dict[str, Any]) -> None:
    """Answer batches of queries whose first number arrives on stdin; imports the checkout under test."""
    sys.path[:0] = [str(Path(task["root"]) / "retriever")]
    import hashlib

    from theodolite.indexes.flat.index import FlatIndex
    from theodolite.testing.oracle import ArraySource
    from theodolite.types import Vectors

    folder = Path(task["folder"])
    queries = np.load(folder / "queries.npy")
    rows = np.memmap(folder / "rows.f32", np.float32, "r").reshape(-1, queries.shape[1])
    source = ArraySource(Vectors(np.asarray(rows)))
    index = FlatIndex("cosine", queries.shape[1]).grown(source, len(rows))
    print("ready", flush=True)
    for line in sys.stdin:
        batch = Vectors(np.ascontiguousarray(queries[int(line) : int(line) + task["batch"]]))
        started = time.thread_time()
        found = index.search(batch, K, source)
        taken = time.thread_time() - started
        seen = hashlib.sha256(b"".join(each.rows.tobytes() + each.scores.tobytes() for each in found))
        print(json.dumps([taken, seen.hexdigest()]), flush=True)


def compare(folder: str, before: str, batch: int, turns: int) -> str:
    """Return a line of the table."""
    workers = []
    for root in (before, str(_ROOT)):
        task = json.dumps({"root": root, "folder": folder, "batch": batch})
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, __file__, before, "--child", task]
        workers.append(subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment))
    for worker in workers:
        worker.stdout.readline()  # type: ignore[union-attr]  # a pipe
    count = len(np.load(Path(folder) / "queries.npy", mmap_mode="r")) - batch + 1
    taken: list[list[float]] = [[], []]
    for turn in range(-3, turns):
        seen = []
        for number in (0, 1) if turn % 2 else (1, 0):
            pipes: Any = workers[number]
            pipes.stdin.write(f"{(turn + 3) * batch % count}\n")
            pipes.stdin.flush()
            seconds, digest = json.loads(pipes.stdout.readline())
            seen.append(digest)
            if turn >= 0:
                taken[number].append(1e3 * seconds)
        if len(set(seen)) != 1:
            raise SystemExit(f"the answers to batch {turn} differ")
    for worker in workers:
        worker.communicate()
    ratios = np.array(taken[0]) / np.array(taken[1])
    draw = np.random.default_rng(0).integers(turns, size=(1000, turns))
    low, high = np.percentile(np.median(ratios[draw], axis=1), [2.5, 97.5])
    before_ms, now_ms = np.median(taken, axis=1)
    return f"{before_ms:.2f} | {now_ms:.2f} | {np.median(ratios):.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    from benchmarks.data import add_options, kinds_of, made

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the other checkout")
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--batch", type=int, default=1, help="queries at once")
    parser.add_argument("--turns", type=int, default=40)
    add_options(parser, ("clustered", "anisotropic"))
    args = parser.parse_args()
    if args.child:
        answer(json.loads(args.child))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one processor, for both children
    print("| vectors | before, ms | now, ms | times faster |\n|---|--:|--:|--:|")
    for kind in kinds_of(args, ("clustered", "anisotropic")):
        for rows in args.rows:
            with made(args, kind, rows, max(256, 4 * args.batch)) as folder:
                print(f"| {kind}, {rows:,} | {compare(folder, args.before, args.batch, args.turns)} |", flush=True)


if __name__ == "__main__":
    main()
