"""Approximate search beside hnswlib, FAISS, usearch, Chroma and LanceDB; calibration and churn.

    python benchmarks/hnsw.py --vectors corpus.npy --queries queries.npy --markdown
    python benchmarks/hnsw.py --kinds clustered --rows 200000 --targets 0.95 0.99
    python benchmarks/hnsw.py --calibration --collection mine corpus.npy queries.npy
    python benchmarks/hnsw.py --churn --vectors corpus.npy --queries queries.npy

All graphs have M = 16 and ef_construction = 200; those of symqg have 32 links a row, as many as the others on their
lowest level. One half of the queries (no query is a row) calibrates theodolite. The other half is timed, with the
libraries taking turns, ten queries each, and compared with float64. The other libraries get the lowest `ef` of a ladder
with which the timed queries themselves reach the target.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calibration import run as run_calibration
from benchmarks.churn import run as run_churn
from benchmarks.data import add_options, kinds_of, made
from benchmarks.graph_peers import HNSW, PEERS, Engine, Flat, Kb, Ours, Way
from benchmarks.hnsw_report import report, verdicts
from benchmarks.measure import (
    anonymous_bytes,
    child,
    in_turns,
    limit,
    machine,
    percentile,
    progress,
    quiet_gc,
    settle,
    timed,
    write_json,
)
from benchmarks.truth import Ids, Truth
from theodolite.types import Vectors

K = 10


@dataclass(frozen=True, slots=True)
class Task:
    """Measure in one child process."""

    folder: str
    kind: str
    threads: int
    targets: list[float]
    peers: list[str]
    others: list[str]  # further indexes of theodolite, by their spec
    kb: str  # the index of the collection


def measure(task: Task) -> dict[str, Any]:
    """Measure one kind of data."""
    limit(task.threads)
    folder = Path(task.folder)
    queries = Vectors(np.load(folder / "queries.npy"))
    vectors = Vectors(np.fromfile(folder / "rows.f32", np.float32).reshape(-1, queries.shape[1]))
    spare, asked = Vectors(queries[: len(queries) // 2]), Vectors(queries[len(queries) // 2 :])
    truth = Truth(vectors, asked)
    ours = {"theodolite hnsw": HNSW, **{f"theodolite {spec}": spec for spec in task.others}}
    builders: dict[str, Any] = {"theodolite flat": Flat}
    builders |= {name: partial(Ours, spec=spec) for name, spec in ours.items()}
    builders["theodolite kb"] = partial(Kb, spec=task.kb)
    builders |= {name: PEERS[name] for name in task.peers}
    if "hnswlib" in task.peers:
        builders["hnswlib, our ef"] = PEERS["hnswlib"]  # a separate graph: a shared one would stay in the caches
    ways: dict[str, Any] = {}
    built: dict[str, dict[str, float]] = {}
    for name, build in builders.items():
        settle()
        before = anonymous_bytes()
        seconds, ways[name] = timed(build, vectors, folder, task.threads)
        if name == "theodolite kb":
            extra, _ = timed(ways[name].calibrated, spare, task.targets[0])
            ways[name].search(asked[0], K, 0)  # also packs the codes of the flat index
            seconds += extra
        settle()
        if name == "theodolite kb":
            ways["theodolite engine"] = Engine(ways[name])
        built[name] = {"seconds": seconds, "memory": anonymous_bytes() - before, "file": ways[name].file_bytes}
        progress(f"  {name} is ready after {seconds:.1f} s")
    targets = []
    for number, target in enumerate(task.targets):
        progress(f"  recall of {target:g}")
        if number:
            ways["theodolite kb"].calibrated(spare, target)
        targets.append(_target(target, ways, list(ours), spare, asked, truth))
    rows, dimension = vectors.shape
    return {**asdict(task), "rows": rows, "dimension": dimension, "built": built, "results": targets}


def _target(
    target: float, ways: dict[str, Any], ours: list[str], spare: Vectors, asked: Vectors, truth: Truth
) -> dict[str, Any]:
    """Choose the efforts for a target, then time the queries."""
    ways = dict(ways)
    efforts = {}
    for name, way in ways.items():
        if name != "hnswlib, our ef":
            efforts[name] = 0 if len(way.efforts) == 1 else _effort(way, asked, truth, target)
    chosen = {name: ways[name].calibrated(ways["theodolite flat"], spare, target) for name in ours}
    if "hnswlib, our ef" in ways:  # the same work as theodolite
        efforts["hnswlib, our ef"] = chosen["theodolite hnsw"].n
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, dict[int, Ids]] = {name: {} for name in ways}
    for name, way in ways.items():
        for query in spare[:5]:
            way.search(query, K, efforts[name])
    with quiet_gc():
        for name, number in in_turns(list(ways), len(asked)):
            seconds, rows = timed(ways[name].search, asked[number], K, efforts[name])
            times[name].append(seconds)
            found[name][number] = rows
    figures = {
        name: {
            "effort": efforts[name] or (chosen[name].n if name in chosen else 0),
            "scored": chosen[name].rescored if name in chosen else 0,
            "recall": truth.recall(range(len(asked)), [found[name][number] for number in range(len(asked))]),
            **{f"p{share}": percentile(taken, share) for share in (50, 95, 99)},
        }
        for name, taken in times.items()
    }
    return {"target": target, "queries": len(asked), "ways": figures}


def _effort(way: Way, queries: Vectors, truth: Truth, target: float) -> int:
    """Return the lowest effort that reaches the target on these queries; the highest one if none does."""
    for effort in way.efforts:
        found = [way.search(query, K, effort) for query in queries]
        if truth.recall(range(len(queries)), found) >= target:
            return effort
    return way.efforts[-1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of synthetic vectors; maximum for real vectors")
    add_options(parser, ["clustered"])
    parser.add_argument("--count", type=int, default=1000, help="queries, half of them to choose the effort")
    parser.add_argument("--targets", nargs="+", type=float, default=[0.95, 0.99])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    others = ["symqg", "faiss:IVF1024,PQ48np", "faiss:LSH"]
    parser.add_argument("--others", nargs="*", default=others, help="of our indexes")
    parser.add_argument("--kb", default="symqg", help="the index of the collection that is searched with documents")
    parser.add_argument("--threads", type=int, default=1, help="for building and searching")
    parser.add_argument("--calibration", action="store_true", help="compare its recall with that of other queries")
    parser.add_argument(
        "--collection",
        nargs=3,
        action="append",
        metavar=("NAME", "CORPUS.npy", "QUERIES.npy"),
        help="real vectors for --calibration; may be given several times",
    )
    parser.add_argument("--churn", action="store_true", help="replace 20 %% of the rows again and again")
    parser.add_argument("--rounds", type=int, default=10, help="of --churn")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(measure(Task(**json.loads(args.child)))))
        return 0
    if args.calibration:
        return run_calibration(args)
    kinds = kinds_of(args, ["clustered"])
    if args.churn:
        return run_churn(args, kinds)
    outcomes = []
    for kind in kinds:
        progress(f"{kind}: making the data")
        with made(args, kind, args.rows, args.count) as name:
            task = Task(name, kind, args.threads, args.targets, args.peers, args.others, args.kb)
            outcomes.append(child(__file__, asdict(task), args.threads))
    print(machine(), "\n")
    print(report(outcomes, args.markdown))
    print("\n".join(verdicts(outcomes)))
    write_json(args.json, outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
