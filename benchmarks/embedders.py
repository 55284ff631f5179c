"""all-MiniLM-L6-v2 on torch and on onnxruntime, in each precision: speed, and the cost of a precision in quality.

The embedders take turns, a chunk of documents or one query at a time, so that noise affects all alike. Quality is
nDCG@10 of exact cosine search on judged collections, with the difference to the first embedder and its standard error
over the queries.
Needs the extras `minilm` and `onnx`.
"""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

Floats = NDArray[np.float32]

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SETS = ("scifact", "cranfield", "medline", "covidfaq")
K = 10
CHUNK = 128
QUERIES = 300  # maximum number timed per set

WAYS: dict[str, Callable[[int], Any]] = {
    "torch float32": lambda threads: SentenceTransformerEmbedder(precision="float32", device="cpu", threads=threads),
    "torch bfloat16": lambda threads: SentenceTransformerEmbedder(precision="bfloat16", device="cpu", threads=threads),
    "onnx float32": lambda threads: OnnxEmbedder(precision="float32", threads=threads),
    "onnx int8": lambda threads: OnnxEmbedder(precision="int8", threads=threads),
}


@dataclass
class Collection:
    """A judged collection: `grades[query][row]` is the grade of a document."""

    name: str
    texts: list[str]
    queries: list[str]
    grades: list[dict[int, float]]


@dataclass
class Result:
    """One embedder on one collection: seconds per chunk and query, nDCG per query, cosines to the first embedder."""

    chunks: list[float] = field(default_factory=list)
    queries: list[float] = field(default_factory=list)
    ndcg: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    cosines: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def read(folder: Path) -> Collection:
    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    corpus, queries = lines("corpus.jsonl"), lines("queries.jsonl")
    rows = {record["id"]: row for row, record in enumerate(corpus)}
    grades: dict[str, dict[int, float]] = {record["id"]: {} for record in queries}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, grade in csv.reader(file, delimiter="\t"):
            if query in grades and document in rows:
                grades[query][rows[document]] = float(grade)
    judged = [record for record in queries if any(grades[record["id"]].values())]
    return Collection(
        folder.name,
        [r["text"] if r["title"] in ("", r["text"]) else f"{r['title']} {r['text']}" for r in corpus],
        [record["text"] for record in judged],
        [grades[record["id"]] for record in judged],
    )


def ndcg(documents: Floats, queries: Floats, grades: list[dict[int, float]]) -> Floats:
    """Return nDCG@10 of each query; the gain is the grade itself."""
    space = Space("cosine", documents.shape[1])
    scores = prepare(queries, space)[0] @ prepare(documents, space)[0].T
    discounts = 1 / np.log2(np.arange(2, K + 2))
    found = []
    for row, judged in zip(scores, grades, strict=True):
        best = np.argsort(-row, kind="stable")[:K]
        gains = np.array([judged.get(int(document), 0.0) for document in best])
        ideal = np.sort([*judged.values(), *[0.0] * K])[::-1][:K]
        found.append((gains * discounts[: len(gains)]).sum() / (ideal * discounts).sum())
    return np.array(found, np.float32)


def measure(collection: Collection, ways: dict[str, Any]) -> dict[str, Result]:
    results = {way: Result() for way in ways}
    documents: dict[str, list[Floats]] = {way: [] for way in ways}
    queries: dict[str, list[Floats]] = {way: [] for way in ways}
    for start in range(0, len(collection.texts), CHUNK):
        chunk = collection.texts[start : start + CHUNK]
        for way, embedder in ways.items():
            before = time.perf_counter()
            documents[way].append(embedder.encode_document(chunk))
            results[way].chunks.append(time.perf_counter() - before)
        print(f"\r{collection.name}: {start + len(chunk):,} of {len(collection.texts):,}", end="", file=sys.stderr)
    print(file=sys.stderr)
    for query in collection.queries:
        for way, embedder in ways.items():
            before = time.perf_counter()
            queries[way].append(embedder.encode_query([query]))
            results[way].queries.append(time.perf_counter() - before)
    reference = np.concatenate(documents[next(iter(ways))])
    for way, result in results.items():
        vectors = np.concatenate(documents[way])
        result.ndcg = ndcg(vectors, np.concatenate(queries[way]), collection.grades)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        result.cosines = (vectors * reference).sum(axis=1) / norms
    return results


def speed(collections: list[Collection], results: list[dict[str, Result]]) -> str:
    lines = ["| | documents a second | × | query p50 ms | × | query p95 ms |", "|---|--:|--:|--:|--:|--:|"]
    base: tuple[float, float] | None = None
    for way in results[0]:
        seconds = sum(sum(result[way].chunks) for result in results)
        rate = sum(len(collection.texts) for collection in collections) / seconds
        queries = np.concatenate([result[way].queries[:QUERIES] for result in results]) * 1e3
        p50, p95 = np.percentile(queries, [50, 95])
        base = base or (rate, float(p50))
        lines.append(f"| {way} | {rate:,.0f} | {rate / base[0]:.1f} | {p50:.2f} | {base[1] / p50:.1f} | {p95:.2f} |")
    return "\n".join(lines)


def quality(collections: list[Collection], results: list[dict[str, Result]]) -> str:
    names = [collection.name for collection in collections]
    lines = ["| | " + " | ".join(names) + " | cosine: mean | lowest |", "|---|" + "--:|" * (len(names) + 2)]
    first = next(iter(results[0]))
    for way in results[0]:
        cells = []
        for result in results:
            scores, difference = result[way].ndcg, result[way].ndcg - result[first].ndcg
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            change = "" if way == first else f" ({difference.mean():+.4f} ± {error:.4f})"
            cells.append(f"{scores.mean():.4f}{change}")
        cosines = np.concatenate([result[way].cosines for result in results])
        lines.append(f"| {way} | {' | '.join(cells)} | {cosines.mean():.5f} | {cosines.min():.5f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the collections (or THEODOLITE_DATA)")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="folders with corpus, queries and qrels")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="the first is the reference")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    missing = [name for name in arguments.sets if not (arguments.data / name / "qrels.tsv").is_file()]
    if missing:
        parser.error(f"not in {arguments.data}: {', '.join(missing)}")
    ways = {way: WAYS[way](arguments.threads) for way in arguments.ways}
    for embedder in ways.values():
        embedder.encode_document(["warm up"] * CHUNK)
    collections = [read(arguments.data / name) for name in arguments.sets]
    results = [measure(collection, ways) for collection in collections]
    documents, queries = (
        sum(len(part) for part in parts) for parts in zip(*((c.texts, c.queries) for c in collections), strict=True)
    )
    print(f"{documents:,} documents, {queries:,} queries, {arguments.threads} thread(s)\n")
    print(speed(collections, results))
    print(f"\nnDCG@10, difference to {arguments.ways[0]} ± its standard error; cosine of documents' vectors to it\n")
    print(quality(collections, results))


if __name__ == "__main__":
    main()
