"""The flat index beside numpy, FAISS, usearch (all exact) and turbovec (lossy): one query, batches, memory.

    python benchmarks/flat.py
    python benchmarks/flat.py --sizes 200000 --kinds clustered --threads 1 2
    python benchmarks/flat.py --vectors corpus.npy --queries queries.npy --kinds real --markdown
    python benchmarks/flat.py --callers 2 4 --peers

Each combination of data and threads runs in its own process, in which the competitors take turns: query 1 to each of
them, then query 2 to each. `reading` sums the bytes of the codes once, a lower bound for every scan.
The exit code is 1 only if an answer of theodolite is not the true top k.
"""

import argparse
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.competitors import BUILD, PEERS, Searching
from benchmarks.data import KINDS, add_options, kinds_of, made
from benchmarks.flat_report import report, verdicts
from benchmarks.measure import (
    anonymous_bytes,
    child,
    machine,
    percentile,
    progress,
    quiet_gc,
    timed,
    write_json,
)
from benchmarks.truth import Truth
from theodolite.indexes.flat.index import FlatIndex, Found
from theodolite.indexes.flat.workers import Workers
from theodolite.testing.oracle import ArraySource
from theodolite.types import Vectors

Ids = NDArray[np.int64]

K = 10
BATCH = 64
BATCHES = 2  # different batches; repetitions alternate
WARM = 3  # untimed queries before the first repetition


@dataclass(frozen=True, slots=True)
class Task:
    """Measure in one child process."""

    folder: str
    kind: str
    threads: int
    repeat: int
    batches: int
    peers: list[str]
    callers: list[int]


class MemoryRead:
    """Adds up an array of the codes' size: the time that reading them takes."""

    def __init__(self, size: int, threads: int) -> None:
        self._parts = np.array_split(np.ones(size // 8, np.int64), threads)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def once(self) -> Ids | None:
        """Read all codes. Finds nothing."""
        if self._pool is None:
            np.add.reduce(self._parts[0])
        else:
            list(self._pool.map(np.add.reduce, self._parts))
        return None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def measure(task: Task) -> dict[str, Any]:
    """Measure one kind of data, size and number of threads."""
    folder = Path(task.folder)
    queries = Vectors(np.load(folder / "queries.npy"))
    dimension = queries.shape[1]
    mapped = np.memmap(folder / "rows.f32", np.float32, "r").reshape(-1, dimension)
    singles, batches = queries[BATCH * BATCHES :], queries[: BATCH * BATCHES].reshape(BATCHES, BATCH, dimension)
    repeat = min(task.repeat, len(singles))
    singles = singles[:repeat]
    source = ArraySource(mapped)

    before = anonymous_bytes()
    seconds, flat = timed(lambda: FlatIndex("cosine", dimension, pool=Workers(task.threads)).grown(source, len(mapped)))
    flat.search(Vectors(singles[:1]), K, source)
    after_one = anonymous_bytes()
    flat.search(Vectors(batches[0]), K, source)
    after_batch = anonymous_bytes()
    outcome: dict[str, Any] = {
        **asdict(task),
        "rows": len(mapped),
        "dimension": dimension,
        "build": seconds,
        "bytes_per_vector": (after_one - before) / len(mapped),
        "bytes_per_vector_batch": (after_batch - before) / len(mapped),
    }
    progress(f"  theodolite built in {seconds:.1f} s; exact answers in float64")
    truth = Truth(mapped, Vectors(np.concatenate([batches.reshape(-1, dimension), singles])))

    scored: list[int] = []
    wrong = False

    def theodolite(asked: Vectors, k: int) -> Ids:
        found = flat.search(asked, k, source)
        if len(asked) == 1:
            scored.append(found[0].scored)
        return _rows(found)

    ways: dict[str, Searching] = {"theodolite": theodolite}
    memory = np.array(mapped) if set(task.peers) & {"numpy", "usearch"} else mapped
    for name in task.peers:
        ways[name] = BUILD[name](memory, task.threads)
        progress(f"  {name} is ready")
    reading = MemoryRead(len(mapped) * dimension, task.threads)
    for stage, asked, turns in (("one", singles, repeat), ("batch", batches, task.batches)):
        progress(f"  {stage}: {turns} turns of {', '.join(ways)}")
        times, cpu, recall = _turns(stage, asked, turns, ways, reading, truth)
        outcome[stage] = {
            name: {
                "p50": percentile(taken, 50),
                "p95": percentile(taken, 95),
                "cpu": percentile(cpu[name], 50),
                "recall": recall.get(name),
            }
            for name, taken in times.items()
        }
        wrong |= recall["theodolite"] < 1
    outcome["scored"] = {"p50": percentile(scored[WARM:], 50), "p95": percentile(scored[WARM:], 95)}
    outcome["wrong"] = wrong
    reading.close()
    ways.clear()
    del memory
    outcome["callers"] = [_callers(flat, source, Vectors(singles), count) for count in task.callers]
    return outcome


def _turns(
    stage: str, asked: NDArray[np.float32], turns: int, ways: dict[str, Searching], reading: MemoryRead, truth: Truth
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each competitor per turn, its processor seconds, and its share of the true top k."""
    times: dict[str, list[float]] = {name: [] for name in [*ways, "reading"]}
    cpu: dict[str, list[float]] = {name: [] for name in times}
    hits: dict[str, int] = dict.fromkeys(ways, 0)
    expected = 0
    order = list(times)
    with quiet_gc():
        for turn in range(-(WARM if stage == "one" else 1), turns):
            if stage == "one":
                batch, first = Vectors(asked[turn % turns][None]), BATCH * BATCHES + turn % turns
            else:
                batch, first = Vectors(asked[turn % BATCHES]), BATCH * (turn % BATCHES)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                used, started = time.process_time(), time.perf_counter()
                rows = reading.once() if name == "reading" else ways[name](batch, K)
                seconds, spent = time.perf_counter() - started, time.process_time() - used
                if turn < 0:
                    continue
                times[name].append(seconds)
                cpu[name].append(spent)
                if rows is not None:
                    hits[name] += sum(truth.hits(first + i, rows[i]) for i in range(len(batch)))
            expected += K * len(batch) if turn >= 0 else 0
    return times, cpu, {name: count / expected for name, count in hits.items()}


def _callers(flat: FlatIndex, source: ArraySource, singles: Vectors, count: int) -> dict[str, float]:
    """Return queries per second, and the latency of one query, with `count` concurrent threads."""
    each = max(20, len(singles))
    start = threading.Barrier(count + 1)

    def caller(number: int) -> list[float]:
        flat.search(Vectors(singles[:1]), K, source)
        start.wait()
        taken = []
        for turn in range(each):
            at = (turn + number * 7) % len(singles)
            began = time.perf_counter()
            flat.search(Vectors(singles[at : at + 1]), K, source)
            taken.append(time.perf_counter() - began)
        return taken

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(caller, number) for number in range(count)]
        start.wait()
        began = time.perf_counter()
        taken = [seconds for future in running for seconds in future.result()]
        ended = time.perf_counter()
    return {
        "callers": count,
        "per_second": len(taken) / (ended - began),
        "p50": percentile(taken, 50),
        "p95": percentile(taken, 95),
    }


def _rows(found: list[Found]) -> Ids:
    return np.stack([one.rows[:K] for one in found])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[200_000, 1_000_000])
    add_options(parser, KINDS)
    parser.add_argument("--repeat", type=int, default=40, help="single queries, all different")
    parser.add_argument("--batches", type=int, default=6, help="repetitions of the batches, at least 1")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--callers", nargs="*", type=int, default=[1, 2, 4], help="concurrent searching threads")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(measure(Task(**json.loads(args.child)))))
        return 0
    kinds = kinds_of(args, KINDS)
    # Real vectors are read once: all of them, or as many as the largest size needs.
    cases = [(kind, size) for kind in kinds for size in ([max(args.sizes)] if kind == "real" else args.sizes)]
    outcomes = []
    for kind, size in cases:
        progress(f"{kind}, {size:,} rows: making the data")
        with made(args, kind, size, BATCH * BATCHES + args.repeat) as name:
            for threads in args.threads:
                progress(f"{kind}, {size:,} rows, {threads} threads")
                task = Task(name, kind, threads, args.repeat, args.batches, args.peers, args.callers)
                outcomes.append(child(__file__, asdict(task), threads))
    print(machine(), "\n")
    print(report(outcomes, args.markdown))
    print("\n".join(verdicts(outcomes)))
    write_json(args.json, outcomes)
    return 1 if any(outcome["wrong"] for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
