"""LangChain's vector stores: search by vector, by text and with a filter, adding, reopening.

    python benchmarks/langchain.py
    python benchmarks/langchain.py --sizes 10000 --peers theodolite FAISS Chroma --markdown

Every store gets the same documents in the same batches, and then the same questions, by turns, ten each; the embedder
only looks vectors up. Recall@10 is held against float64 over the rows that the filter admits. Reopening is timed in
fresh processes, from the import onward to the first answer.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.pop(0)  # this folder, in which `langchain` would be this very file
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.langchain_data import RULES, Corpus, Given, Rule, make
from benchmarks.langchain_peers import PEERS, SLOW
from benchmarks.langchain_report import report, verdicts
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
from benchmarks.truth import eligible_hits, similarities

K = 10
OVERHEAD = (10, 100)  # numbers of documents


@dataclass(frozen=True, slots=True)
class Task:
    """What one child does: everything but reopening, or (with `reopen`) that, for one store."""

    folder: str
    rows: int
    dimension: int
    questions: int
    batch: int
    peers: list[str]
    reopen: str | None = None


def measure(task: Task) -> dict[str, Any]:
    """All figures of one size but reopening; the stores stay in the folder."""
    corpus = make(task.rows, task.questions, task.dimension)
    np.save(Path(task.folder, "rows.npy"), corpus.vectors)
    np.save(Path(task.folder, "questions.npy"), corpus.questions)
    own = [name for name in task.peers if PEERS[name].shares is None]
    stores = {name: PEERS[name].open(_place(task, name), corpus.embedding, task.dimension) for name in own}
    added = _add(task, corpus, stores)
    for name in set(task.peers) - set(own):
        stores[name] = stores[PEERS[name].shares or name]
    scores = similarities(corpus.vectors, corpus.questions)
    asked: dict[str, Any] = {}
    for case, rule in [("by vector", None), ("by text", None), *RULES.items()]:
        progress(f"  {case}")
        here = {name: store for name, store in stores.items() if rule or name in own}
        searches = {name: _search(name, store, case, corpus, rule) for name, store in here.items()}
        asked[case] = _ask(searches, task.questions, corpus, rule, scores)
    outcome = {"rows": task.rows, "dimension": task.dimension, "questions": task.questions, "searches": asked}
    outcome |= {"add": added, "versions": {name: PEERS[name].version for name in own}}
    if "theodolite" in stores:
        outcome["overhead"] = {str(k): _overhead(stores["theodolite"], corpus, k) for k in OVERHEAD}
    return outcome


def _place(task: Task, name: str) -> Path:
    folder = Path(task.folder, "stores", name)
    folder.parent.mkdir(exist_ok=True)
    return folder


def _add(task: Task, corpus: Corpus, stores: dict[str, Any]) -> dict[str, float]:
    """Seconds until all is stored on the disk: batches by turns, and saving, where that is another call."""
    taken = dict.fromkeys(stores, 0.0)
    names = list(stores)
    for turn, start in enumerate(range(0, task.rows, task.batch)):
        part = corpus.documents[start : start + task.batch]
        ids = [str(document.id) for document in part]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with quiet_gc():
                taken[name] += timed(stores[name].add_documents, part, ids=ids)[0]
    for name, store in stores.items():
        taken[name] += timed(PEERS[name].save, store, _place(task, name))[0]
        taken[name] += timed(sync_folder, _place(task, name))[0]
        progress(f"  {name} has stored {task.rows:,} documents in {taken[name]:.1f} s")
    return taken


def _search(name: str, store: Any, case: str, corpus: Corpus, rule: Rule | None) -> Callable[[int], Any]:
    if case == "by text":
        return lambda number: store.similarity_search(f"q{number}", k=K)
    options = {} if rule is None else PEERS[name].filter(rule, len(corpus.vectors))
    vectors = corpus.questions.tolist()
    return lambda number: store.similarity_search_by_vector(vectors[number], k=K, **options)


def _ask(
    searches: dict[str, Callable[[int], Any]], count: int, corpus: Corpus, rule: Rule | None, scores: Any
) -> dict[str, Any]:
    """Every question to every store, by turns."""
    mask = corpus.mask(rule)
    times: dict[str, list[float]] = {name: [] for name in searches}
    spent: dict[str, list[float]] = {name: [] for name in searches}
    hits = dict.fromkeys(searches, 0)
    for search in searches.values():  # whatever is made at the first search
        search(0)
    with quiet_gc():
        for name, number in in_turns(list(searches), count):
            used = time.process_time()
            seconds, found = timed(searches[name], number)
            spent[name].append(time.process_time() - used)
            times[name].append(seconds)
            rows = np.array([document.metadata["row"] for document in found], np.int64)
            hits[name] += eligible_hits(scores[number], mask, rows, K)
    wanted = count * min(K, int(np.count_nonzero(mask)))
    return {
        name: {"p50": median(times[name]), "cpu": median(spent[name]), "recall": hits[name] / wanted}
        for name in searches
    }


def _overhead(store: Any, corpus: Corpus, k: int) -> float:
    """The median of what it takes longer than `Retriever.search`, which is given an array in place of a list."""
    kb = store.kb
    vectors = corpus.questions.tolist()
    ways: dict[str, Callable[[int], Any]] = {
        "adapter": lambda number: store.similarity_search_by_vector(vectors[number], k=k),
        "core": lambda number: kb.search(vector=corpus.questions[number], k=k),
    }
    taken = {name: [0.0] * len(vectors) for name in ways}
    with quiet_gc():
        for name, number in in_turns(list(ways), len(vectors)):
            taken[name][number] = timed(ways[name], number)[0]
    return median([a - b for a, b in zip(taken["adapter"], taken["core"], strict=True)])


def reopened(task: Task) -> float:
    """Seconds from opening what is stored to the first answer; importing is not in it."""
    assert task.reopen is not None
    peer = PEERS[task.reopen]
    embedding = Given(
        np.load(Path(task.folder, "rows.npy"), mmap_mode="r"), np.load(Path(task.folder, "questions.npy"))
    )
    question = embedding.embed_query("q0")
    with tempfile.TemporaryDirectory(dir=task.folder) as name:
        peer.open(Path(name, "empty"), embedding, task.dimension)  # imports what it needs

    def first() -> Any:
        store = peer.open(_place(task, task.reopen or ""), embedding, task.dimension)
        return store.similarity_search_by_vector(question, k=K)

    seconds, found = timed(first)
    assert len(found) == K, f"{task.reopen} has found {len(found)} documents after it was reopened"
    return seconds


def run(task: Task, reopens: int) -> dict[str, Any]:
    """One size, in processes of its own."""
    outcome: dict[str, Any] = child(__file__, asdict(task), 1)
    taken: dict[str, list[float]] = {name: [] for name in task.peers if PEERS[name].shares is None}
    for _ in range(reopens):
        for name in taken:
            taken[name].append(child(__file__, {**asdict(task), "reopen": name}, 1))
    progress("  reopened")
    return {**outcome, "reopen": {name: median(seconds) for name, seconds in taken.items()}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--slow", type=int, default=10_000, help=f"the most rows for {', '.join(SLOW)}")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--batch", type=int, default=5000, help="documents a call")
    parser.add_argument("--reopens", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--folder", help="where the stores are made (default: the system's temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.child:
        task = Task(**json.loads(args.child))
        limit(1)
        print(json.dumps(reopened(task) if task.reopen else measure(task)))
        return 0
    outcomes = []
    for rows in args.sizes:
        peers = [name for name in args.peers if rows <= args.slow or name not in SLOW]
        progress(f"{rows:,} documents: {', '.join(peers)}")
        with tempfile.TemporaryDirectory(prefix="bench-langchain-", dir=args.folder) as name:
            task = Task(name, rows, args.dimension, args.questions, args.batch, peers)
            outcomes.append(run(task, args.reopens))
    print(machine(), "\n")
    print(report(outcomes, args.markdown))
    print("\n".join(verdicts(outcomes)))
    write_json(args.json, outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
