"""The time of `Hits.context` with neighbors, against `Retriever.get` of the same passages.

    python benchmarks/context.py shared/data

On the passages of PEPs in a folder, numbered by position; tokens are estimated by characters, which costs next to
nothing. For each question the best of some repetitions counts; the table has the medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import judged  # noqa: E402
from theodolite import Document, Retriever, Window  # noqa: E402
from theodolite.citing.window import Expand  # noqa: E402

T = TypeVar("T")

QUESTIONS, REPEATS, ROOM = 150, 7, 10**6
EXPAND: dict[str, Expand] = {"none": None, "Window(1)": Window(1, group="pep", order="position"), "section": "section"}


def best(call: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call, and its shortest time."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return result, min(times)


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
    print("| expand | k | passages | context, ms | get, ms | ratio |\n|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, Retriever.open(Path(folder) / "kb", embedder=None) as kb:
        kb.add(documents, vectors=data.vectors)
        for name, expand in EXPAND.items():
            for k in (5, 10):
                rows = []
                for hits in kb.search_many(vectors=data.asked[:QUESTIONS], k=k):
                    context, own = best(
                        lambda: hits.context(ROOM, expand=expand, count=lambda text: len(text) // 4)  # noqa: B023
                    )
                    ids = [document.id for source in context.sources for document in source.documents]
                    _, other = best(lambda: kb.get(ids))  # noqa: B023
                    rows.append((len(ids), own * 1e3, other * 1e3))
                passages, own, other = (statistics.median(column) for column in zip(*rows, strict=True))
                print(f"| {name} | {k} | {passages:.0f} | {own:.2f} | {other:.2f} | {own / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
