"""The time of `Hits.context` with neighbors, against `Retriever.get` of the same passages.

    python benchmarks/context.py shared/data

On the passages of PEPs in a folder, numbered by position; tokens are estimated by characters, which costs next to
nothing. Both calls are made in turns, and the best of some repetitions of each question counts. `first`: each question
once, in collections that were just opened, one for each of the calls. The table has medians over the questions.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import judged  # noqa: E402
from theodolite import Context, Document, Hits, Retriever, Window  # noqa: E402
from theodolite.citing.window import Expand  # noqa: E402

QUESTIONS, REPEATS, ROOM = 150, 9, 10**6
EXPAND: dict[str, Expand] = {"none": None, "Window(1)": Window(1, group="pep", order="position"), "section": "section"}
KS = (5, 10)


def seconds(call: Callable[[], object]) -> float:
    """Return the time that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def context_of(hits: Hits, expand: Expand) -> Context:
    """Return the whole context of hits."""
    return hits.context(ROOM, expand=expand, count=lambda text: len(text) // 4)


def ids_of(context: Context) -> list[str]:
    """Return the ids of the passages in a context."""
    return [document.id for source in context.sources for document in source.documents]


def warm(kb: Retriever, asked: Any, expand: Expand, k: int) -> list[tuple[int, float, float]]:
    """Return the number of passages and both times, for each question."""
    rows = []
    for hits in kb.search_many(vectors=asked, k=k):
        ids = ids_of(context_of(hits, expand))
        turns = [
            (seconds(lambda: context_of(hits, expand)), seconds(lambda: kb.get(ids)))  # noqa: B023
            for _ in range(REPEATS)
        ]
        rows.append((len(ids), *map(min, zip(*turns, strict=True))))
    return rows


def first(folder: Path, asked: Any, expand: Expand, k: int) -> list[tuple[float, float]]:
    """Return both times for each question, each in a collection of its own that has read none of the passages."""
    rows = []
    with Retriever.open(folder, embedder=None) as kb, Retriever.open(folder, embedder=None) as other:
        other.search_many(vectors=asked, k=k)
        for hits in kb.search_many(vectors=asked, k=k):
            made: list[Context] = []
            own = seconds(lambda: made.append(context_of(hits, expand)))  # noqa: B023
            ids = ids_of(made[0])
            rows.append((own, seconds(lambda: other.get(ids))))  # noqa: B023
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    data = judged.read(args.data / "peps")
    documents = []
    for document in data.documents:
        path, _, position = document.id.partition("#")
        metadata = {**document.metadata, "path": path, "position": int(position)}
        documents.append(Document(document.text, metadata, document.id))
    asked = data.asked[:QUESTIONS]
    print("| expand | k | passages | context, ms | get, ms | ratio | first context, ms | first get, ms | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "kb"
        with Retriever.open(folder, embedder=None) as kb:
            kb.add(documents, vectors=data.vectors)
        for name, expand in EXPAND.items():
            for k in KS:
                with Retriever.open(folder, embedder=None) as kb:
                    found = warm(kb, asked, expand, k)
                cells = [name, str(k), f"{median(row[0] for row in found):.0f}"]
                for pairs in ([row[1:] for row in found], first(folder, asked, expand, k)):
                    cells += [f"{median(column) * 1e3:.2f}" for column in zip(*pairs, strict=True)]
                    cells.append(f"{median(one / other for one, other in pairs):.2f}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
