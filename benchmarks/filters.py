"""Search with filters beside FAISS, Chroma, LanceDB, Qdrant's, LangChain's and LlamaIndex's in-memory stores.

    python benchmarks/filters.py
    python benchmarks/filters.py --vectors corpus.npy --queries queries.npy --markdown
    python benchmarks/filters.py --kinds clustered --peers theodolite "faiss hnsw" --slow
    python benchmarks/filters.py --predicates

A filter matches a share of the rows that is independent of the vectors, or two keywords at once, or (far) only the rows
farthest from the query and its neighbors. Recall is compared with float64 over the eligible rows. Each kind of data has
one process for the libraries that can handle 100,000 documents and one, with fewer documents and queries, for those
that filter in Python. In each, the libraries take turns, ten queries each.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.pop(0)  # this folder, in which `llama_index` would be a benchmark
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import add_options, kinds_of, made
from benchmarks.filter_cases import EACH, REGIONS, Case, Corpus, make
from benchmarks.filter_peers import BUILD, FAST, SLOW, Peer, Theodolite
from benchmarks.filter_report import report, verdicts
from benchmarks.measure import child, in_turns, limit, machine, percentile, progress, quiet_gc, timed, write_json
from benchmarks.predicates import run as predicates
from benchmarks.truth import Ids, eligible_hits, similarities
from theodolite.types import Vectors

K = 10
POOL = 1000  # number of queries: half for tuning, half for the cases


@dataclass(frozen=True, slots=True)
class Task:
    """Measure in one child process."""

    folder: str
    kind: str
    threads: int
    repeat: int
    peers: list[str]


def measure(task: Task) -> dict[str, Any]:
    """Measure one kind of data and one group of peers."""
    limit(task.threads)
    folder = Path(task.folder)
    pool = Vectors(np.load(folder / "queries.npy"))
    vectors = Vectors(np.fromfile(folder / "rows.f32", np.float32).reshape(-1, pool.shape[1]))
    corpus = make(vectors, pool, task.repeat)
    peers: dict[str, Peer] = {}
    builds = {}
    with tempfile.TemporaryDirectory(prefix="bench-filters-", dir=task.folder) as name:
        for peer in task.peers:
            builds[peer], peers[peer] = timed(BUILD[peer], corpus, Path(name), task.threads)
            progress(f"  {peer} is ready after {builds[peer]:.1f} s")
        scores = similarities(vectors, corpus.queries)
        cases = {}
        for case in corpus.cases:
            progress(f"  {case.name}")
            cases[case.name] = _case(case, corpus, peers, scores)
    return {**asdict(task), "rows": len(vectors), "dimension": vectors.shape[1], "builds": builds, "cases": cases}


def _case(case: Case, corpus: Corpus, peers: dict[str, Peer], scores: Any) -> dict[str, Any]:
    """Send every query of a case to every peer, in turns."""
    masks = [corpus.mask(rule) for rule in case.rules]
    natives = {name: [peer.native(rule) for rule in case.rules] for name, peer in peers.items()}
    first = {rule: number for number, rule in reversed(case.asked)}
    for name, peer in peers.items():  # builds anything that the first use of a field needs
        for rule, number in first.items():
            peer.search(corpus.queries[number], K, natives[name][rule])
        if isinstance(peer, Theodolite):
            peer.paths.clear()
    times: dict[str, list[float]] = {name: [] for name in peers}
    found: dict[str, dict[int, Ids]] = {name: {} for name in peers}
    with quiet_gc():
        for name, turn in in_turns(list(peers), len(case.asked)):
            number, rule = case.asked[turn]
            seconds, rows = timed(peers[name].search, corpus.queries[number], K, natives[name][rule])
            times[name].append(seconds)
            found[name][turn] = rows
    eligible = [int(np.count_nonzero(masks[rule])) for _, rule in case.asked]
    outcome: dict[str, Any] = {"eligible": percentile(eligible, 50), "queries": len(case.asked), "peers": {}}
    for name, peer in peers.items():
        wanted = hits = short = foreign = 0
        for turn, ((number, rule), among) in enumerate(zip(case.asked, eligible, strict=True)):
            rows = found[name][turn]
            wanted += min(K, among)
            hits += eligible_hits(scores[number], masks[rule], rows, K)
            short += len(rows) < min(K, among)
            foreign += int(np.count_nonzero(~masks[rule][rows]))
        outcome["peers"][name] = {
            "recall": hits / wanted,
            "fewest": min(map(len, found[name].values())),
            "short": short,
            "foreign": foreign,
            "p50": percentile(times[name], 50),
            "p95": percentile(times[name], 95),
            "paths": dict(peer.paths) if isinstance(peer, Theodolite) else Counter(),
        }
    return outcome


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=10_000, help="rows for the slow ones")
    add_options(parser, ["clustered"])
    parser.add_argument("--repeat", type=int, default=40, help="queries per case, all different")
    parser.add_argument("--slow-repeat", type=int, default=10, help="the same for the slow ones")
    parser.add_argument("--peers", nargs="*", choices=FAST, default=list(FAST))
    parser.add_argument("--slow", nargs="*", choices=SLOW, default=list(SLOW), help="empty: none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--predicates", action="store_true", help="measure filters alone, without a search")
    parser.add_argument("--documents", type=int, default=1_000_000, help="for --predicates")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(measure(Task(**json.loads(args.child)))))
        return 0
    if args.predicates:
        return predicates(args)
    kinds = kinds_of(args, ["clustered"])
    groups = [(args.rows, args.repeat, args.peers), (args.small, args.slow_repeat, args.slow)]
    outcomes = []
    for kind in kinds:
        for rows, repeat, peers in groups:
            if not peers:
                continue
            progress(f"{kind}, {rows:,} rows: {', '.join(peers)}")
            with made(args, kind, rows, max(POOL, 2 * (repeat + REGIONS * EACH))) as name:
                task = Task(name, kind, args.threads, repeat, peers)
                outcomes.append(child(__file__, asdict(task), args.threads))
    print(machine(), "\n")
    print(report(outcomes, args.markdown))
    print("\n".join(verdicts(outcomes)))
    write_json(args.json, outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
