"""The cost and savings of transforms: recall@10 against the original vectors, nDCG@10, latency, memory.

Judged collections with vectors of all-MiniLM-L6-v2 (`corpus.f16.npy`, `queries.f16.npy`, `qrels.tsv`) go through a
`Retriever`, fitted on a batch of all their vectors. Recall is compared with the exact answer without transforms.
Latency is that of single searches by vector, with the chains taking turns, on a larger collection without judgments.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import (
    anonymous_bytes,
    in_turns,
    limit,
    machine,
    median,
    percentile,
    progress,
    quiet_gc,
    settle,
    table,
    timed,
    write_json,
)
from theodolite import Center, Document, Pca, Retriever, Truncate, VectorError, Whiten

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SETS = ("scifact", "npl", "cranfield", "medline", "covidfaq")
LARGE = "glosses"
K = 10
CHAINS: tuple[tuple[Any, ...], ...] = (
    (),
    (Truncate(256),),
    (Truncate(128),),
    (Truncate(64),),
    (Pca(256),),
    (Pca(128),),
    (Pca(64),),
    (Center(),),
    (Center(), Pca(256)),
    (Center(), Pca(128)),
    (Whiten(128),),
    (Whiten(64),),
)
TIMED = ((), (Center(),), (Truncate(128),), (Pca(256),), (Pca(128),), (Pca(64),), (Center(), Pca(128)))


@dataclass
class Collection:
    """Vectors and judgments: `grades[query][row]` is the grade of a document."""

    name: str
    documents: NDArray[np.float32]
    queries: NDArray[np.float32]
    grades: list[dict[int, float]]


def read(folder: Path) -> Collection:
    """Read a collection. Keeps only queries with a relevant document."""

    def rows(name: str) -> dict[str, int]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        return {json.loads(line)["id"]: row for row, line in enumerate(lines)}

    documents, queries = rows("corpus.jsonl"), rows("queries.jsonl")
    grades: list[dict[int, float]] = [{} for _ in queries]
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, grade in csv.reader(file, delimiter="\t"):
            if query in queries and document in documents:
                grades[queries[query]][documents[document]] = float(grade)
    judged = [row for row, each in enumerate(grades) if any(each.values())]
    vectors = [np.load(folder / f"{name}.f16.npy").astype(np.float32) for name in ("corpus", "queries")]
    return Collection(folder.name, vectors[0], vectors[1][judged], [grades[row] for row in judged])


def built(documents: NDArray[np.float32], chain: Sequence[Any]) -> Retriever:
    """Build a collection in memory, fitted on all vectors. The ids are row numbers."""
    kb = Retriever.open(transforms=chain)
    try:
        kb.add((Document("", id=f"{row:07}") for row in range(len(documents))), vectors=documents, batch_size=None)
    except BaseException:
        kb.close()
        raise
    return kb


def found(kb: Retriever, queries: NDArray[np.float32]) -> list[list[int]]:
    return [[int(hit.document.id) for hit in hits] for hits in kb.search_many(vectors=queries, k=K)]


def ndcg(rows: Sequence[int], grades: dict[int, float]) -> float:
    """Return nDCG@10; the gain is the grade itself."""
    discounts = 1 / np.log2(np.arange(2, K + 2))
    gains = np.array([grades.get(row, 0.0) for row in rows])
    ideal = np.sort([*grades.values(), *[0.0] * K])[::-1][:K]
    return float((gains * discounts[: len(gains)]).sum() / (ideal * discounts).sum())


def quality(collection: Collection) -> dict[str, Any]:
    """Return recall@10 and nDCG@10 of each chain; None if fitting needs more documents."""
    exact: list[list[int]] = []
    lines: dict[str, Any] = {}
    for chain in CHAINS:
        try:
            with built(collection.documents, chain) as kb:
                answers = found(kb, collection.queries)
        except VectorError:
            lines[repr(list(chain))] = None
            continue
        exact = exact or answers
        shared = [len({*one} & {*two}) / len(two) for one, two in zip(answers, exact, strict=True)]
        values = [ndcg(rows, grades) for rows, grades in zip(answers, collection.grades, strict=True)]
        lines[repr(list(chain))] = {"recall": float(np.mean(shared)), "ndcg": float(np.mean(values))}
    return lines


def latency(folder: Path, count: int) -> dict[str, Any]:
    """Return milliseconds per search, and bytes per document in the vector file and in memory."""
    documents = np.load(folder / "corpus.f16.npy").astype(np.float32)
    queries = np.load(folder / "queries.f16.npy").astype(np.float32)[:count]
    by_name: dict[str, Retriever] = {}
    memory: dict[str, float] = {}
    for chain in TIMED:
        name = repr(list(chain))
        progress(f"  {folder.name}: {name}")
        settle()
        before = anonymous_bytes()
        by_name[name] = built(documents, chain)
        by_name[name].search_many(vectors=queries[:20], k=K)
        settle()
        memory[name] = (anonymous_bytes() - before) / len(documents)
    names = list(by_name)
    taken: dict[str, list[float]] = {name: [] for name in names}
    with quiet_gc():
        for name, number in in_turns(names, len(queries)):
            taken[name].append(1000 * timed(by_name[name].search, vector=queries[number], k=K)[0])
    lines = {}
    for name, kb in by_name.items():
        size = kb.info()["dimension"]
        lines[name] = {
            "dimension": size,
            "median": median(taken[name]),
            "p99": percentile(taken[name], 99),
            "file": 4 * size,
            "memory": memory[name],
        }
        kb.close()
    return {"rows": len(documents), "queries": len(queries), "lines": lines}


def report(outcome: dict[str, Any], markdown: bool) -> str:
    names = list(next(iter(outcome["quality"].values())))
    sets = list(outcome["quality"])

    def cell(name: str, of: str, measure: str) -> str:
        line = outcome["quality"][of][name]
        return "–" if line is None else f"{line[measure]:.3f}"

    parts = []
    for measure, title in (("recall", f"recall@{K} against the vectors as they are"), ("ndcg", f"nDCG@{K}")):
        rows = [[name.strip("[]") or "none", *(cell(name, of, measure) for of in sets)] for name in names]
        parts += [title, "", table(["transforms", *sets], rows, markdown), ""]
    if outcome.get("latency"):
        speed = outcome["latency"]
        rows = [
            [
                name.strip("[]") or "none",
                str(line["dimension"]),
                f"{line['median']:.2f}",
                f"{line['p99']:.2f}",
                f"{line['file']:,}",
                f"{line['memory']:,.0f}",
            ]
            for name, line in speed["lines"].items()
        ]
        head = ["transforms", "dimension", "median ms", "p99 ms", "bytes in the file", "bytes in memory"]
        title = f"one search of {speed['rows']:,} documents, {speed['queries']} queries, {outcome['threads']} thread(s)"
        parts += [title, "", table(head, rows, markdown), ""]
    return "\n".join([*parts, outcome["machine"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the collections")
    parser.add_argument("--large", default=LARGE, help="the collection to time; empty: none")
    parser.add_argument("--queries", type=int, default=300, help="number of timed searches")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", help="write the raw figures here")
    args = parser.parse_args()
    limit(args.threads)
    outcome: dict[str, Any] = {"machine": machine(), "threads": args.threads, "quality": {}}
    for name in SETS:
        progress(name)
        outcome["quality"][name] = quality(read(args.data / name))
    if args.large:
        outcome["latency"] = latency(args.data / args.large, args.queries)
    write_json(args.json, outcome)
    print(report(outcome, args.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
