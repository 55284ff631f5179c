"""The audit of raw vectors predicts the cost of the dot product: checked on the shared judged collections."""

import csv
import json
import math
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Audit, audit

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

# Overlap of the first ten by cosine and by dot product, of real queries, and the verdict.
EXPECTED = {
    "npl": (0.23, "warning"),
    "cranfield": (0.43, "warning"),
    "covidfaq": (0.48, "warning"),
    "scifact": (0.65, "note"),
    "medline": (0.67, "note"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((DATA / name / "corpus.f16.npy").exists() for name in EXPECTED),
        reason="the collections are not here; THEODOLITE_DATA names the folder that holds them",
    ),
]


def vectors(name: str, kind: str) -> NDArray[np.float16]:
    found: NDArray[np.float16] = np.load(DATA / name / f"{kind}.f16.npy", mmap_mode="r", allow_pickle=False)
    return found


def audited(name: str, *, asked: bool = True) -> Audit:
    return audit(vectors(name, "corpus"), queries=vectors(name, "queries") if asked else None)


def lost(name: str) -> float:
    """The share of nDCG@10 that the dot product of raw vectors loses against cosine."""
    with (DATA / name / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        grades: dict[str, dict[str, float]] = defaultdict(dict)
        for query, document, grade in csv.reader(lines, delimiter="\t"):
            grades[query][document] = float(grade)
    names, asked = (
        [
            json.loads(line)["id"]
            for line in (DATA / name / f"{kind}.jsonl").read_text(encoding="utf-8").split("\n")
            if line
        ]
        for kind in ("corpus", "queries")
    )
    rows, queries = (vectors(name, kind).astype(np.float64) for kind in ("corpus", "queries"))
    dots = queries @ rows.T
    cosine, dot = (_ndcg(scores, names, asked, grades) for scores in (dots / np.linalg.norm(rows, axis=1), dots))
    return 1 - dot / cosine


def _ndcg(
    scores: NDArray[np.float64], names: list[str], asked: list[str], grades: dict[str, dict[str, float]]
) -> float:
    values = []
    for query, order in zip(asked, np.argsort(-scores, axis=1)[:, :10].tolist(), strict=True):
        judged = {document: grade for document, grade in grades[query].items() if grade > 0}
        best = _dcg(sorted(judged.values(), reverse=True)[:10])
        values.append(_dcg([judged.get(names[row], 0.0) for row in order]) / best if best else 0.0)
    return float(np.mean(values))


def _dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdict(name: str) -> None:
    overlap, severity = EXPECTED[name]
    found = audited(name)
    assert found["metric_disagreement"].values["cosine_dot"] == pytest.approx(overlap, abs=0.02)
    assert found["metric_disagreement"].severity == severity
    assert (found.recommended.metric, found.recommended.norms) == ("cosine", "any")
    # Queries that were made up say about the same.
    made_up = audited(name, asked=False)["metric_disagreement"]
    assert made_up.values["cosine_dot"] == pytest.approx(overlap, abs=0.12)
    assert made_up.severity == severity


def test_the_lower_the_overlap_the_more_is_lost() -> None:
    overlaps = [audited(name)["metric_disagreement"].values["cosine_dot"] for name in EXPECTED]
    costs = [lost(name) for name in EXPECTED]
    for name, overlap, cost in zip(EXPECTED, overlaps, costs, strict=True):
        print(f"{name}: overlap {overlap:.3f}, nDCG@10 lost {cost:.3f}")
    assert overlaps == sorted(overlaps)
    assert costs[0] == pytest.approx(0.76, abs=0.02)
    warned = [cost for name, cost in zip(EXPECTED, costs, strict=True) if EXPECTED[name][1] == "warning"]
    spared = [cost for name, cost in zip(EXPECTED, costs, strict=True) if EXPECTED[name][1] == "note"]
    assert min(warned) > 0.2 > 0.1 > max(spared)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_audit_of_normalized_vectors_finds_nothing(name: str) -> None:
    rows, queries = (vectors(name, kind).astype(np.float32) for kind in ("corpus", "queries"))
    rows, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, queries))
    found = audit(rows, queries=queries)
    assert found["metric_disagreement"].severity == found["norms"].severity == "ok"
    assert found["metric_disagreement"].values["cosine_dot"] > 0.999
    assert found.recommended.norms == "unit"
