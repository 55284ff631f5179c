"""Hybrid and lexical search beside dense search: glosses, and passages of 80 words, with questions by people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Floats
from benchmarks.judged import read_vectors, records
from benchmarks.measure import clocked, in_turns, progress, quiet_gc, summary
from benchmarks.ranking_boosts import BOOSTS, NOW, metadata
from theodolite import Document, Retriever

K = 10
MODES = ("dense", "lexical", "hybrid")
SETS = ("peps", "scifact", "npl", "cranfield", "medline", "covidfaq")
PART = 40  # words; a passage has two parts

CASES: dict[str, dict[str, Any]] = {
    "alone": {},
    "a filter that admits 40 %": {"where": {"source": {"$in": ["policy", "wiki"]}}},
    "two boosts": {"boosts": BOOSTS, "as_of": NOW},
    "in a partition of 20 %": {},
}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    folder = Path(task["data"])
    cases = {}
    if (real := read_vectors(folder, "glosses", task["glosses"], None)) is not None:
        vectors, asked = real
        texts = [record["text"] for record in records(folder / "glosses" / "corpus.jsonl")][: len(vectors)]
        queries = [record["text"] for record in records(folder / "glosses" / "queries.jsonl")]
        cases[_title("glosses", texts)] = _measure(texts, vectors, queries, asked, task["queries"])
    if all((folder / name / "corpus.f16.npy").exists() for name in SETS):
        made = passages(folder, task["passages"])
        cases[_title("passages", made[0])] = _measure(*made, task["queries"])
    if not cases:
        raise SystemExit(f"no collections in {folder}")
    return {"cases": cases}


def passages(folder: Path, count: int) -> tuple[list[str], Floats, list[str], Floats]:
    """Return passages of two parts of 40 words, from real texts. The vector is that of the first part's text.

    With the questions of the collections, and their vectors, shuffled.
    """
    parts: list[str] = []
    owners: list[Floats] = []
    queries: list[str] = []
    asked: list[Floats] = []
    for name in SETS:
        vectors = np.load(folder / name / "corpus.f16.npy").astype(np.float32)
        for record, vector in zip(records(folder / name / "corpus.jsonl"), vectors, strict=True):
            words = f"{record['title']} {record['text']}".split()
            for start in range(0, max(1, len(words) - PART // 2), PART):
                parts.append(" ".join(words[start : start + PART]))
                owners.append(vector)
        queries += [record["text"] for record in records(folder / name / "queries.jsonl")]
        asked += list(np.load(folder / name / "queries.f16.npy").astype(np.float32))
    draw = np.random.default_rng(7)
    firsts, seconds = (draw.permutation(np.resize(draw.permutation(len(parts)), count)) for _ in range(2))
    texts = [f"{parts[first]} {parts[second]}" for first, second in zip(firsts, seconds, strict=True)]
    order = draw.permutation(len(queries))
    return (
        texts,
        np.stack([owners[i] for i in firsts]),
        [queries[i] for i in order],
        np.stack([asked[i] for i in order]),
    )


def _title(name: str, texts: Sequence[str]) -> str:
    return f"{name}, {len(texts):,} of {np.mean([len(text.split()) for text in texts]):.0f} words"


def _measure(
    texts: Sequence[str], vectors: Floats, queries: Sequence[str], asked: Floats, count: int
) -> dict[str, dict[str, Any]]:
    """Time each mode on all questions of a case, in turns. Cases have different questions if there are enough."""
    outcome = {}
    with Retriever.open(partition="source") as kb:
        documents = (Document(text, metadata(row), id=f"{row:07}") for row, text in enumerate(texts))
        kb.add(documents, vectors=vectors, batch_size=20_000)
        progress(f"  {len(texts):,} texts are ready")
        for place, (case, options) in enumerate(CASES.items()):
            view = kb.scoped(source="wiki") if "partition" in case else kb
            numbers = [number % len(queries) for number in range(place * count, (place + 1) * count)]
            for mode in MODES:  # builds anything that the first use of a field needs
                _search(view, mode, queries[-1 - place], asked[-1 - place], options)
            taken: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
            with quiet_gc():
                for mode, turn in in_turns(MODES, len(numbers)):
                    number = numbers[turn]
                    taken[mode].append(_search(view, mode, queries[number], asked[number], options))
            outcome[case] = {mode: summary(times) for mode, times in taken.items()}
    return outcome


def _search(kb: Retriever, mode: str, text: str, vector: Any, options: dict[str, Any]) -> tuple[float, float]:
    """Return the milliseconds of one search."""
    if mode == "dense":
        return clocked(kb.search, vector=vector, k=K, **options)
    if mode == "lexical":
        return clocked(kb.search, text, k=K, mode="lexical", **options)
    return clocked(kb.search, text, vector=vector, k=K, mode="hybrid", **options)
