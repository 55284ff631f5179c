"""Space that compaction gives back, and its cost for searches and writes meanwhile.

    python benchmarks/compaction.py replacing
    python benchmarks/compaction.py clearing --rounds 10000
    python benchmarks/compaction.py searching --documents 200000

`replacing` replaces all documents ten times, compacts, and compares the folder and its searches with a fresh one's.
`clearing` compares the first and the last of many rounds of `add` and `clear`. `searching` compares searches while the
collection compacts itself in the background, at half a core, with searches before: those of a thread of the same
process, and those of another process.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Retriever

WORDS = [f"word{number}" for number in range(5000)]

READER = """
import sys, time
import numpy as np
from theodolite import Retriever
queries = np.random.default_rng(2).standard_normal((500, int(sys.argv[2]))).astype(np.float32)
with Retriever.open(sys.argv[1], read_only=True) as kb:
    kb.search(vector=queries[0])
    print("ready", flush=True)
    for line in sys.stdin:
        taken = []
        until = time.perf_counter() + float(line)
        while time.perf_counter() < until:
            started = time.perf_counter()
            kb.search(vector=queries[len(taken) % 500])
            taken.append(time.perf_counter() - started)
        print(*taken, flush=True)
"""


def documents(count: int, version: int) -> list[Document]:
    draw = np.random.default_rng([count, version])
    words = draw.integers(0, len(WORDS), (count, 40))
    return [
        Document(" ".join(WORDS[word] for word in words[number]), {"version": version, "n": number}, f"d{number}")
        for number in range(count)
    ]


def vectors(count: int, dimension: int, version: int) -> NDArray[np.float32]:
    return np.random.default_rng(version).standard_normal((count, dimension)).astype(np.float32)


def size(folder: Path) -> float:
    """Megabytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def taken(kb: Retriever, queries: NDArray[np.float32]) -> list[float]:
    """Seconds of each search."""
    found = []
    for query in queries:
        started = time.perf_counter()
        kb.search(vector=query)
        found.append(time.perf_counter() - started)
    return found


def replacing(folder: Path, count: int, dimension: int) -> None:
    with Retriever.open(folder / "old", compact_at=None) as kb:
        for version in range(11):
            kb.add(documents(count, version), vectors=vectors(count, dimension, version))
        grown = size(folder / "old")
        started = time.perf_counter()
        kb.compact()
        seconds = time.perf_counter() - started
    with Retriever.open(folder / "new") as kb:
        kb.add(documents(count, 10), vectors=vectors(count, dimension, 10))
    queries = vectors(200, dimension, 99)
    with Retriever.open(folder / "old") as old, Retriever.open(folder / "new") as new:
        taken(old, queries[:20]), taken(new, queries[:20])
        ratios = [median(taken(old, queries)) / median(taken(new, queries)) for _ in range(9)]
    fresh, compacted = size(folder / "new"), size(folder / "old")
    print("| documents | replaced ten times MB | compacted MB | fresh MB | × fresh | seconds | search × fresh |")
    print("| --: | --: | --: | --: | --: | --: | --: |")
    print(
        f"| {count:,} × {dimension} | {grown:.1f} | {compacted:.1f} | {fresh:.1f} | {compacted / fresh:.2f} | "
        f"{seconds:.1f} | {median(ratios):.2f} |"
    )


def clearing(folder: Path, rounds: int) -> None:
    part = max(1, rounds // 20)
    found: list[tuple[float, float]] = []
    opened: list[float] = []
    for first in (True, False):
        done = 0
        with Retriever.open(folder) as kb:
            while done < (part if first else rounds - part):
                started = time.perf_counter()
                kb.add(["one", "two"], vectors=np.eye(4, dtype=np.float32)[:2])
                middle = time.perf_counter()
                kb.clear()
                found.append((middle - started, time.perf_counter() - middle))
                done += 1
        for _ in range(15):
            started = time.perf_counter()
            Retriever.open(folder).close()
            opened.append(time.perf_counter() - started)
    print("| rounds | add ms first | last | clear ms first | last | open ms first | last | MB |")
    print("| --: | --: | --: | --: | --: | --: | --: | --: |")
    cells = [
        f"{1000 * median(one[which] for one in some):.2f}" for which in (0, 1) for some in (found[:part], found[-part:])
    ]
    cells += [f"{1000 * median(some):.2f}" for some in (opened[:15], opened[15:])]
    print(f"| {rounds:,} | {' | '.join(cells)} | {size(folder):.1f} |")


def searching(folder: Path, count: int, dimension: int) -> None:
    queries = vectors(500, dimension, 2)
    with Retriever.open(folder, compact_at=None) as kb:
        for start in range(0, count, 20_000):
            several = documents(20_000, start)
            for number, document in enumerate(several):
                several[number] = Document(document.text, document.metadata, f"d{start + number}")
            kb.add(several, vectors=vectors(20_000, dimension, start))
        kb.delete(where={"n": {"$lt": 8000}})  # two fifths
    command = [sys.executable, "-c", READER, str(folder), str(dimension)]
    with (
        Retriever.open(folder) as kb,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader,
    ):
        questions, answers = reader.stdin, reader.stdout
        assert questions is not None
        assert answers is not None
        answers.readline()

        def ask(seconds: float) -> list[float]:
            assert questions is not None
            assert answers is not None
            print(seconds, file=questions, flush=True)
            return [float(word) for word in answers.readline().split()]

        kb.search(vector=queries[0])
        quiet = ask(3), taken(kb, queries)
        kb.delete("d19999")  # what makes it due
        started = time.perf_counter()
        inside: list[float] = []
        outside: list[float] = []
        turn = 0
        while kb.info()["deleted_rows"]:
            if turn % 2:
                inside += taken(kb, queries[:100])
            else:
                outside += ask(0.3)
            turn += 1
        seconds = time.perf_counter() - started
        questions.close()
    print("| who searches | before p50 ms | p95 | during p50 ms | p95 | × p50 | longest ms | seconds |")
    print("| -- | --: | --: | --: | --: | --: | --: | --: |")
    for who, before, during in (("another process", quiet[0], outside), ("the same process", quiet[1], inside)):
        if not during:  # the compaction was over before
            continue
        cells = [1000 * value for some in (before, during) for value in (median(some), float(np.quantile(some, 0.95)))]
        print(
            f"| {who} | {' | '.join(f'{value:.2f}' for value in cells)} | {cells[2] / cells[0]:.2f} | "
            f"{1000 * max(during):.0f} | {seconds:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["replacing", "clearing", "searching"])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "replacing":
            replacing(folder, options.documents, options.dimension)
        elif options.what == "clearing":
            clearing(folder / "kb", options.rounds)
        else:
            searching(folder / "kb", options.documents, options.dimension)


if __name__ == "__main__":
    main()
