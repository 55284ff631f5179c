"""Boosted exact search beside plain exact search, in the flat index: one query at a time, on one thread.

    python benchmarks/boosts.py
    python benchmarks/boosts.py --large --markdown
    python benchmarks/boosts.py --vectors corpus.npy --queries queries.npy --kinds real

The searches take turns: query 1 plain, then with each kind of factors, then query 2. `ranking` multiplies the factors
of Freshness (half-life 180 days, weight 0.2; mean age 400 days) and Authority (four levels, weight 0.2); `random` is
uniform in [0.6, 1]; `levels` takes twelve values there; `ones` changes nothing. Every answer is compared with the
boosted scores of all rows; the exit code is 1 if one is not the true top k.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import KINDS, add_options, kinds_of, made
from benchmarks.measure import child, machine, median, progress, quiet_gc, table, verdict, write_json
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.flat.workers import Workers
from theodolite.ranking.relevance import Relevance
from theodolite.testing.oracle import ArraySource
from theodolite.types import Vectors
from theodolite.vectors.metrics import get_metric

SIZE, LARGE = 200_000, 1_000_000
TARGET = 1.3  # times a plain search
LISTS = (10, 100)
CHECKED = 5  # queries whose answers are compared with all rows


@dataclass(frozen=True, slots=True)
class Task:
    """Measure in one child process."""

    folder: str
    kind: str
    repeat: int


def factors(rows: int) -> dict[str, NDArray[np.float64]]:
    """Return the kinds of factors by name, (rows,) each."""
    draw = np.random.default_rng(5)
    ages = draw.exponential(400, rows)
    levels = np.array([1.0, 0.6, 0.4, 0.2])[draw.integers(4, size=rows)]
    return {
        "ranking": (1 - 0.2 * (1 - 2.0 ** (-ages / 180))) * (1 - 0.2 * (1 - levels)),
        "random": draw.uniform(0.6, 1, rows),
        "levels": np.linspace(0.6, 1, 12)[draw.integers(12, size=rows)],
        "ones": np.ones(rows),
    }


def measure(task: Task) -> dict[str, Any]:
    """Return the milliseconds of each kind of search: for each query, the fastest repetition."""
    folder = Path(task.folder)
    queries = Vectors(np.load(folder / "queries.npy"))
    mapped = np.memmap(folder / "rows.f32", np.float32, "r").reshape(-1, queries.shape[1])
    source = ArraySource(mapped)
    flat = FlatIndex("cosine", queries.shape[1], pool=Workers(1)).grown(source, len(mapped))
    searches: dict[str, BoostedScore | None] = {"plain": None}
    for name, values in factors(len(mapped)).items():
        searches[name] = BoostedScore(values, Relevance("cosine"))
    outcome: dict[str, Any] = {"kind": task.kind, "rows": len(mapped), "took": {}, "scored": {}, "wrong": 0}
    for k in LISTS:
        took = {name: np.full(len(queries), np.inf) for name in searches}
        scored = {name: [0] * len(queries) for name in searches}
        with quiet_gc():
            for _ in range(task.repeat):
                for number in range(len(queries)):
                    query = Vectors(queries[number : number + 1])
                    for name, boost in searches.items():
                        began = time.perf_counter()
                        (found,) = flat.search(query, k, source, boost=boost)
                        took[name][number] = min(took[name][number], time.perf_counter() - began)
                        scored[name][number] = found.scored
        outcome["took"][str(k)] = {name: 1e3 * median(each.tolist()) for name, each in took.items()}
        outcome["scored"][str(k)] = {name: median(each) for name, each in scored.items()}
        for boost in searches.values():
            if boost is not None:
                outcome["wrong"] += sum(_wrong(flat, source, query, k, boost) for query in queries[:CHECKED])
    return outcome


def _wrong(flat: FlatIndex, source: ArraySource, query: NDArray[np.float32], k: int, boost: BoostedScore) -> bool:
    scores = np.clip(get_metric("cosine").scores(query, source.span(0, flat.rows)), -1, 1)
    rows = np.arange(flat.rows)
    boosted = boost.score(scores, rows)
    best = np.lexsort((rows, -scores, -boosted))[:k]
    (found,) = flat.search(Vectors(query[None]), k, source, boost=boost)
    return bool(found.rows[:k].tolist() != best.tolist())


def report(outcomes: list[dict[str, Any]], markdown: bool) -> str:
    """Return a table of all figures."""
    rows = []
    for outcome in outcomes:
        for k, took in outcome["took"].items():
            for name, milliseconds in took.items():
                rows.append(
                    [
                        outcome["kind"],
                        f"{outcome['rows']:,}",
                        k,
                        name,
                        f"{milliseconds:.2f}",
                        f"{milliseconds / took['plain']:.2f}",
                        f"{outcome['scored'][k][name]:.0f}",
                    ]
                )
    return table(["vectors", "rows", "k", "factors", "p50 ms", "of plain", "scored"], rows, markdown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, KINDS)
    parser.add_argument("--large", action="store_true", help=f"{LARGE:,} rows, too")
    parser.add_argument("--asked", type=int, default=40, help="queries")
    parser.add_argument("--repeat", type=int, default=9, help="repetitions of each query")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Task(**json.loads(args.child)))))
        return 0
    outcomes = []
    for kind in kinds_of(args, KINDS):
        for size in (SIZE, LARGE) if args.large else (SIZE,):
            progress(f"{kind}, {size:,} rows")
            with made(args, kind, size, args.asked) as name:
                outcomes.append(child(__file__, asdict(Task(name, kind, args.repeat)), 1))
    print(machine(), "\n")
    print(report(outcomes, args.markdown), "\n")
    for outcome in outcomes:
        for k, took in outcome["took"].items():
            slowest = max(value / took["plain"] for name, value in took.items() if name != "plain")
            print(verdict(f"{outcome['kind']}, {outcome['rows']:,} rows, k = {k}", slowest, TARGET, unit="x"))
    write_json(args.json, outcomes)
    wrong = sum(outcome["wrong"] for outcome in outcomes)
    if wrong:
        print(f"FAIL  {wrong} answers are not the true top k")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
