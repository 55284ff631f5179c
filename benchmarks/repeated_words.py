"""How much a word counts that a question repeats: nDCG@10 on judged collections for values of BM25's k3.

    python benchmarks/repeated_words.py shared/data

With k3 = 0 a word counts once; the larger k3, the more it counts with each time; without a limit, it counts as often
as it is written, as in Lucene. The folder holds collections as `benchmarks/judged.py` reads them. The last lines
choose k3 for each collection by all others: the best mean that loses nowhere more than 0.005.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import judged  # noqa: E402
from theodolite import JudgmentWarning, Retriever  # noqa: E402
from theodolite.analysis import bm25  # noqa: E402
from theodolite.types import Mode  # noqa: E402

SETS = ("cisi", "medline", "cranfield", "scifact", "npl", "covidfaq", "peps")
VALUES = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 1e9)
MOST_LOST = 0.005


def measure(folder: Path) -> dict[Mode, list[float]]:
    """Return nDCG@10 for each value of k3, by words alone and hybrid."""
    data = judged.read(folder)
    questions = {f"{number}": text for number, text in enumerate(data.queries)}
    grades = {name: {d: round(g) for d, g in each.items()} for name, each in zip(questions, data.grades, strict=True)}
    found: dict[Mode, list[float]] = {"lexical": [], "hybrid": []}
    with Retriever.open() as kb:
        kb.add(data.documents, vectors=data.vectors)
        for value in VALUES:
            bm25.K3 = value
            for mode, column in found.items():
                vectors = data.asked if mode == "hybrid" else None
                result = kb.evaluate(questions, grades, mode=mode, vectors=vectors, index=False)
                column.append(result.metrics["nDCG@10"])
    return found


def chosen(figures: np.ndarray) -> int:
    """Return the number of the best value for some collections: (collections, values)."""
    allowed = (figures >= figures[:, :1] - MOST_LOST).all(axis=0)
    return int(np.argmax(np.where(allowed, figures.mean(axis=0), -1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="*", default=SETS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", JudgmentWarning)
    names = ["none" if value == 0 else "no limit" if value > 1e6 else f"{value:g}" for value in VALUES]
    print("| collection | mode |", " | ".join(f"k3 {name}" for name in names), "|")
    print("|---|---|" + "--:|" * len(VALUES))
    lexical = []
    for name in args.sets:
        for mode, column in measure(args.data / name).items():
            print(f"| {name} | {mode} |", " | ".join(f"{value:.4f}" for value in column), "|", flush=True)
            if mode == "lexical":
                lexical.append(column)
    figures = np.array(lexical)
    for number, name in enumerate(args.sets):
        best = chosen(np.delete(figures, number, axis=0))
        gain = figures[number, best] - figures[number, 0]
        print(f"{name}: the others choose k3 = {names[best]}, which gains {gain:+.4f} here")


if __name__ == "__main__":
    main()
