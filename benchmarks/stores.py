"""The vector stores of a framework: searching with and without a filter, adding, reopening.

Shared by `langchain.py` and `llama_index.py`. Every store gets the same documents in the same batches, and then the
same questions, in turns, ten each. The embedder only looks vectors up. Recall@10 is compared with float64 over the rows
that match the filter. Reopening is timed in fresh processes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.framework import Framework
from benchmarks.measure import (
    child,
    in_turns,
    limit,
    machine,
    median,
    progress,
    quiet_gc,
    sync_folder,
    timed,
    write_json,
)
from benchmarks.stores_data import RULES, Corpus, Known, Rule, make
from benchmarks.stores_report import report, verdicts
from benchmarks.truth import eligible_hits, similarities
from theodolite.types import Vectors

K = 10
OVERHEAD = (10, 100)  # numbers of documents


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a child process: everything but reopening; or with `reopen`, only that, for one store."""

    folder: str
    rows: int
    dimension: int
    questions: int
    batch: int
    peers: list[str]
    reopen: str | None = None

    def place(self, name: str) -> Path:
        """Return the folder of a store."""
        folder = Path(self.folder, "stores", name)
        folder.parent.mkdir(exist_ok=True)
        return folder


def measure(task: Task, framework: Framework) -> dict[str, Any]:
    """Measure everything but reopening for one size. The stores stay in the folder."""
    peers = framework.peers
    corpus = make(framework.document, task.rows, task.questions, task.dimension)
    np.save(Path(task.folder, "rows.npy"), corpus.vectors)
    np.save(Path(task.folder, "questions.npy"), corpus.questions)
    own = [name for name in task.peers if peers[name].shares is None]
    embedding = framework.embedding(corpus.known)
    stores = {name: peers[name].open(task.place(name), embedding, task.dimension) for name in own}
    added = _add(task, framework, corpus, stores)
    for name in task.peers:
        stores.setdefault(name, stores.get(peers[name].shares or name))
    scores = similarities(corpus.vectors, corpus.questions)
    vectors = corpus.questions.tolist()
    asked: dict[str, Any] = {}
    for case, ask in framework.ways.items():
        progress(f"  {case}")
        searches = {name: ask(stores[name], vectors, K, {}) for name in own}
        asked[case] = _ask(searches, framework, corpus, None, scores)
    for case, rule in RULES.items():
        progress(f"  {case}")
        searches = {}
        for name, store in stores.items():
            filter_keywords = peers[name].filter
            if filter_keywords is not None:
                searches[name] = framework.main_way(store, vectors, K, filter_keywords(rule, task.rows))
        asked[case] = _ask(searches, framework, corpus, rule, scores)
    outcome = {"rows": task.rows, "dimension": task.dimension, "questions": task.questions, "searches": asked}
    outcome |= {"add": added, "versions": {name: peers[name].version for name in own}}
    if "theodolite" in stores:
        outcome["overhead"] = {str(k): _overhead(stores["theodolite"], framework, corpus, k) for k in OVERHEAD}
    return outcome


def _add(task: Task, framework: Framework, corpus: Corpus, stores: dict[str, Any]) -> dict[str, float]:
    """Return the seconds until everything is on disk: batches in turns, plus saving if that is a separate call."""
    taken = dict.fromkeys(stores, 0.0)
    names = list(stores)
    for turn, start in enumerate(range(0, task.rows, task.batch)):
        among = slice(start, start + task.batch)
        part = framework.batch(corpus.documents[among], Vectors(corpus.vectors[among]))
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with quiet_gc():
                taken[name] += timed(framework.add, stores[name], part)[0]
    for name, store in stores.items():
        taken[name] += timed(framework.peers[name].save, store, task.place(name))[0]
        taken[name] += timed(sync_folder, task.place(name))[0]
        progress(f"  {name} has stored {task.rows:,} {framework.noun} in {taken[name]:.1f} s")
    return taken


def _ask(
    searches: dict[str, Callable[[int], Any]], framework: Framework, corpus: Corpus, rule: Rule | None, scores: Any
) -> dict[str, Any]:
    """Send every question to every store, in turns."""
    count = len(corpus.questions)
    mask = corpus.mask(rule)
    times: dict[str, list[float]] = {name: [] for name in searches}
    spent: dict[str, list[float]] = {name: [] for name in searches}
    hits = dict.fromkeys(searches, 0)
    for search in searches.values():  # builds anything that the first search needs
        search(0)
    with quiet_gc():
        for name, number in in_turns(list(searches), count):
            used = time.process_time()
            seconds, found = timed(searches[name], number)
            spent[name].append(time.process_time() - used)
            times[name].append(seconds)
            rows = np.array([document.metadata["row"] for document in framework.found(found)], np.int64)
            hits[name] += eligible_hits(scores[number], mask, rows, K)
    wanted = count * min(K, int(np.count_nonzero(mask)))
    return {
        name: {"p50": median(times[name]), "cpu": median(spent[name]), "recall": hits[name] / wanted}
        for name in searches
    }


def _overhead(store: Any, framework: Framework, corpus: Corpus, k: int) -> float:
    """Return the median time beyond `Retriever.search`, which gets an array instead of a list."""
    kb = framework.kb(store)
    count = len(corpus.questions)
    ways: dict[str, Callable[[int], Any]] = {
        "adapter": framework.main_way(store, corpus.questions.tolist(), k, {}),
        "core": lambda number: kb.search(vector=corpus.questions[number], k=k),
    }
    taken = {name: [0.0] * count for name in ways}
    with quiet_gc():
        for name, number in in_turns(list(ways), count):
            taken[name][number] = timed(ways[name], number)[0]
    return median([a - b for a, b in zip(taken["adapter"], taken["core"], strict=True)])


def reopened(task: Task, framework: Framework, name: str) -> float:
    """Return the seconds from opening the stored data to the first answer, without imports."""
    peer = framework.peers[name]
    questions = np.load(Path(task.folder, "questions.npy"))
    embedding = framework.embedding(Known(np.load(Path(task.folder, "rows.npy"), mmap_mode="r"), questions))
    with tempfile.TemporaryDirectory(dir=task.folder) as empty:
        peer.open(Path(empty, "empty"), embedding, task.dimension)  # imports what it needs
    vectors = questions[:1].tolist()

    def first() -> Any:
        return framework.main_way(peer.open(task.place(name), embedding, task.dimension), vectors, K, {})(0)

    seconds, answer = timed(first)
    found = len(framework.found(answer))
    assert found == K, f"{name} has found {found} {framework.noun} after it was reopened"
    return seconds


def _run(task: Task, framework: Framework, reopens: int) -> dict[str, Any]:
    """Measure one size, in its own processes."""
    outcome: dict[str, Any] = child(framework.script, asdict(task), 1)
    taken: dict[str, list[float]] = {name: [] for name in task.peers if framework.peers[name].shares is None}
    for _ in range(reopens):
        for name in taken:
            taken[name].append(child(framework.script, {**asdict(task), "reopen": name}, 1))
    progress("  reopened")
    return {**outcome, "reopen": {name: median(seconds) for name, seconds in taken.items()}}


def _arguments(framework: Framework, description: str | None) -> argparse.Namespace:
    peers = framework.peers
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--slow", type=int, default=10_000, help=f"the most rows for {', '.join(framework.slow)}")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--batch", type=int, default=5000, help=f"{framework.noun} a call")
    parser.add_argument("--reopens", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=list(peers), default=list(peers))
    parser.add_argument("--folder", help="where the stores are made (default: the system's temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main(framework: Framework, description: str | None) -> int:
    """Run the script of a framework, as the command line asks."""
    args = _arguments(framework, description)
    if args.child:
        task = Task(**json.loads(args.child))
        limit(1)
        print(json.dumps(reopened(task, framework, task.reopen) if task.reopen else measure(task, framework)))
        return 0
    outcomes = []
    for rows in args.sizes:
        peers = [name for name in args.peers if rows <= args.slow or name not in framework.slow]
        progress(f"{rows:,} {framework.noun}: {', '.join(peers)}")
        with tempfile.TemporaryDirectory(prefix="bench-stores-", dir=args.folder) as name:
            task = Task(name, rows, args.dimension, args.questions, args.batch, peers)
            outcomes.append(_run(task, framework, args.reopens))
    print(machine(), "\n")
    print(report(outcomes, framework.noun, args.markdown))
    print("\n".join(verdicts(outcomes, framework.noun, framework.share)))
    write_json(args.json, outcomes)
    return 0
