"""Judged collections: passages with their vectors, questions with theirs, and which passages answer which."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Hits, Retriever
from theodolite.types import Mode

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
K = 10

Floats = NDArray[np.float32]
Grades = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged collection: `grades[i]` are the grades of documents, by id, for query i. Vectors are raw."""

    name: str
    documents: list[Document]
    vectors: Floats
    queries: list[str]
    asked: Floats
    grades: list[Grades]


def read(folder: Path) -> Judged:
    """Read `corpus.jsonl`, `queries.jsonl`, `qrels.tsv` and the vectors. Skip queries without a relevant document."""
    documents = [
        Document(
            r["text"] if r["title"] in ("", r["text"]) else f"{r['title']} {r['text']}",
            {"title": r["title"], **r.get("metadata", {})},
            id=r["id"],
        )
        for r in records(folder / "corpus.jsonl")
    ]
    queries = list(records(folder / "queries.jsonl"))
    grades: dict[str, dict[str, float]] = {query["id"]: {} for query in queries}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for query, document, grade in csv.reader(lines, delimiter="\t"):
            grades[query][document] = float(grade)
    judged = [i for i, query in enumerate(queries) if any(grades[query["id"]].values())]
    vectors, asked = (np.load(folder / f"{name}.f16.npy").astype(np.float32) for name in ("corpus", "queries"))
    return Judged(
        folder.name,
        documents,
        vectors,
        [queries[i]["text"] for i in judged],
        asked[judged],
        [grades[queries[i]["id"]] for i in judged],
    )


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Return the lines of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_vectors(folder: str | Path, name: str, rows: int, queries: int | None) -> tuple[Floats, Floats] | None:
    """Return the first vectors of a collection and of its queries (None: all); None if it is missing."""
    place = Path(folder) / name
    if not (place / "corpus.f16.npy").exists():
        return None
    found = (np.load(place / f"{kind}.f16.npy", mmap_mode="r") for kind in ("corpus", "queries"))
    vectors, asked = (part[:count].astype(np.float32) for part, count in zip(found, (rows, queries), strict=True))
    return vectors, asked


def opened(collection: Judged) -> Retriever:
    """Open a temporary collection with all documents. The caller closes it."""
    kb = Retriever.open()
    try:
        kb.add(collection.documents, vectors=collection.vectors)
    except BaseException:
        kb.close()
        raise
    return kb


def ask(kb: Retriever, queries: Sequence[str], vectors: Floats, mode: Mode = "dense", **options: Any) -> list[Hits]:
    """Search for each query, with its vector, its words or both, as the mode requires."""
    return kb.search_many(
        None if mode == "dense" else queries, vectors=None if mode == "lexical" else vectors, mode=mode, **options
    )


def ndcg(found: Sequence[str], grades: Grades, k: int = K) -> float:
    """Return DCG / IDCG of the first k, with DCG = Σ gain(i) / log2(i + 1) over ranks from 1; the gain is the grade.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002).
    """
    return _dcg([grades.get(name, 0.0) for name in found[:k]]) / _dcg(sorted(grades.values(), reverse=True)[:k])


def recall(found: Sequence[str], grades: Grades, k: int = K) -> float:
    """Return the share of the relevant documents among the first k."""
    relevant = {name for name, grade in grades.items() if grade > 0}
    return len(relevant & set(found[:k])) / len(relevant)


def _dcg(gains: Sequence[float]) -> float:
    return float((np.asarray(gains) / np.log2(np.arange(2, len(gains) + 2))).sum())
