"""The space that compaction frees, and its cost for concurrent searches and writes.

    python benchmarks/compaction.py replacing
    python benchmarks/compaction.py clearing --rounds 10000
    python benchmarks/compaction.py searching --documents 100000

`replacing` replaces all documents ten times, compacts, and compares the folder and its searches with a fresh one's.
`clearing` compares the first and the last of many rounds of `add` and `clear`. `searching` compares searches while the
collection compacts itself in the background, at half a core, with those of the three seconds before. The searches run
in another process and in a thread of the same process, in turns. The table shows the median ratio of all compactions.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Retriever

WORDS = [f"word{number}" for number in range(5000)]

READER = """
import select, sys, time
import numpy as np
from theodolite import Retriever
queries = np.random.default_rng(2).standard_normal((500, int(sys.argv[2]))).astype(np.float32)
with Retriever.open(sys.argv[1], read_only=True) as kb:
    kb.search(vector=queries[0])
    print("ready", flush=True)
    while sys.stdin.readline():
        taken = []
        while not select.select([sys.stdin], [], [], 0)[0]:
            started = time.monotonic()
            kb.search(vector=queries[len(taken) // 2 % 500])
            taken += [started, time.monotonic() - started]
        sys.stdin.readline()
        print(*taken, flush=True)
"""

Searches = NDArray[np.float64]  # (n, 2): when each began, and its seconds


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
    """Return the size of a folder in megabytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def taken(kb: Retriever, queries: NDArray[np.float32]) -> list[float]:
    """Return the seconds of each search."""
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


class OtherProcess:
    """Searches in another process, one after the other."""

    def __init__(self, folder: Path, dimension: int) -> None:
        command = [sys.executable, "-c", READER, str(folder), str(dimension)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def start(self) -> None:
        self._tell("start")

    def stop(self) -> Searches:
        self._tell("stop")
        return np.array(self._answer().split(), np.float64).reshape(-1, 2)

    def close(self) -> None:
        self._process.communicate()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class SameProcess:
    """Searches in a thread, one after the other."""

    def __init__(self, kb: Retriever, dimension: int) -> None:
        self._kb = kb
        self._queries = vectors(500, dimension, 2)

    def start(self) -> None:
        self._taken: list[tuple[float, float]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._search)
        self._thread.start()

    def stop(self) -> Searches:
        self._done.set()
        self._thread.join()
        return np.array(self._taken).reshape(-1, 2)

    def _search(self) -> None:
        while not self._done.is_set():
            started = time.monotonic()
            self._kb.search(vector=self._queries[len(self._taken) % 500])
            self._taken.append((started, time.monotonic() - started))


def searching(folder: Path, count: int, dimension: int, rounds: int) -> None:
    with Retriever.open(folder, compact_at=None) as kb:
        numbered(kb, 0, count, dimension)
    other = OtherProcess(folder, dimension)
    lines: dict[str, list[list[float]]] = {"another process": [], "the same process": []}
    try:
        with Retriever.open(folder, compact_at=(2 * count // 5) / count) as kb:
            readers: dict[str, OtherProcess | SameProcess] = {
                "another process": other,
                "the same process": SameProcess(kb, dimension),
            }
            for _ in range(rounds):
                for who, reader in readers.items():
                    lines[who].append(one_compaction(kb, folder, reader, count, dimension))
                    print(f"  {who}: {lines[who][-1]}", file=sys.stderr)
    finally:
        other.close()
    print("| who searches | before p50 ms | during p50 ms | × p50 | range | × p95 | longest ms | seconds |")
    print("| -- | --: | --: | --: | --: | --: | --: | --: |")
    for who, found in lines.items():
        before, during, ratio, tail, longest, seconds = np.median(found, axis=0)
        ratios = [line[2] for line in found]
        print(
            f"| {who} | {before:.2f} | {during:.2f} | {ratio:.2f} | {min(ratios):.2f}–{max(ratios):.2f} | {tail:.2f} | "
            f"{longest:.0f} | {seconds:.1f} |"
        )


def numbered(kb: Retriever, start: int, stop: int, dimension: int) -> None:
    """Add documents from `start` to `stop`."""
    for first in range(start, stop, 20_000):
        size = min(20_000, stop - first)
        several = [
            Document(document.text, {"n": first + number}, f"d{first + number}")
            for number, document in enumerate(documents(size, first))
        ]
        kb.add(several, vectors=vectors(size, dimension, first))


def one_compaction(
    kb: Retriever, folder: Path, reader: OtherProcess | SameProcess, count: int, dimension: int
) -> list[float]:
    """Delete two fifths of the documents, and return figures of searches before and during the compaction.

    Both halves search the same documents: those after the switch to the new files do not count. Afterwards the
    collection is filled again.
    """
    share = 2 * count // 5
    with Retriever.open(folder, compact_at=None) as writer:
        writer.delete(where={"n": {"$lt": share}})
    kb.search(vector=vectors(1, dimension, 2)[0])
    reader.start()
    time.sleep(3)
    begun = time.monotonic()
    files = set(folder.glob("vectors-*"))
    kb.delete(f"d{share}")  # this triggers the compaction
    while set(folder.glob("vectors-*")) == files:
        time.sleep(0.005)
    switched = time.monotonic()
    searches = reader.stop()
    engine: Any = kb._engine
    engine._index_manager.wait()
    numbered(kb, 0, share + 1, dimension)
    started, taken = searches.T
    before, during = taken[started < begun - 0.05], taken[(started > begun + 0.05) & (started + taken < switched)]
    ratios = [float(np.quantile(during, part) / np.quantile(before, part)) for part in (0.5, 0.95)]
    return [
        1000 * float(np.median(before)),
        1000 * float(np.median(during)),
        *ratios,
        1000 * float(during.max()),
        switched - begun,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["replacing", "clearing", "searching"])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10_000, help="of clearing")
    parser.add_argument("--compactions", type=int, default=5, help="of searching, for each reader")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "replacing":
            replacing(folder, options.documents, options.dimension)
        elif options.what == "clearing":
            clearing(folder / "kb", options.rounds)
        else:
            searching(folder / "kb", options.documents, options.dimension, options.compactions)


if __name__ == "__main__":
    main()
