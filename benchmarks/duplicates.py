"""Near-duplicates of a corpus beside a blocked float32 product in numpy: every pair whose cosine reaches a threshold.

    python benchmarks/duplicates.py
    python benchmarks/duplicates.py --rows 20000 --kinds clustered --threads 1
    python benchmarks/duplicates.py --vectors corpus.npy --kinds real --threshold 0.95

The time of theodolite, through `Retriever.duplicates`, includes reading the documents of each pair. Each combination of
data and threads runs in its own process, in which the two take turns. One in a hundred synthetic rows is a near copy of
another. The exit code is 1 only if theodolite misses a pair or lists one too many.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import KINDS, add_options, kinds_of, made
from benchmarks.measure import child, limit, machine, median, progress, quiet_gc, table, timed, verdict, write_json
from theodolite import Document, Retriever

Floats = NDArray[np.float32]
Found = dict[tuple[int, int], float]

BLOCK = 2048  # rows of a numpy product: 16 MB of cosines
COPIES = 100  # one row in this many is a near copy
CLOSE = 1e-6  # tolerance of a cosine: float32 products are no more precise
BATCH = 10_000  # documents of a commit


@dataclass(frozen=True, slots=True)
class Task:
    """Measure in one child process."""

    folder: str
    kind: str
    threads: int
    repeat: int
    threshold: float


def measure(task: Task) -> dict[str, Any]:
    """Measure one kind of data with one number of threads."""
    limit(task.threads)
    folder = Path(task.folder)
    dimension = np.load(folder / "queries.npy").shape[1]
    rows = np.fromfile(folder / "rows.f32", np.float32).reshape(-1, dimension)
    if task.kind != "real":
        _copy_some(rows)
    times: dict[str, list[float]] = {"theodolite": [], "numpy": []}
    with Retriever.open(None, metric="cosine") as kb:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            kb.add([Document("", {}, str(start + i)) for i in range(len(part))], vectors=part, batch_size=None)
        with quiet_gc():
            for turn in range(task.repeat):
                progress(f"  turn {turn + 1} of {task.repeat}")
                seconds, ours = timed(_theodolite, kb, task.threshold)
                times["theodolite"].append(seconds)
                seconds, theirs = timed(_numpy, rows, task.threshold)
                times["numpy"].append(seconds)
    odd = [pair for pair in ours.keys() ^ theirs.keys() if abs(_cosine(rows, *pair) - task.threshold) > CLOSE]
    return {
        **asdict(task),
        "rows": len(rows),
        "dimension": dimension,
        "pairs": len(ours),
        "seconds": times,
        "odd": [[*pair, _cosine(rows, *pair)] for pair in odd[:10]],
        "wrong": len(odd),
    }


def _copy_some(rows: Floats) -> None:
    """Make one row in a hundred a near copy of the one before it, with a cosine of about 0.98."""
    draw = np.random.default_rng(3)
    noise = draw.standard_normal((len(rows[1::COPIES]), rows.shape[1]), np.float32)
    copies = rows[: len(rows) - 1 : COPIES][: len(noise)] + np.float32(0.2 / np.sqrt(rows.shape[1])) * noise
    rows[1::COPIES] = copies / np.linalg.norm(copies, axis=1, keepdims=True)


def _theodolite(kb: Retriever, threshold: float) -> Found:
    return {(int(one.first.id), int(one.second.id)): one.similarity for one in kb.duplicates(threshold)}


def _numpy(rows: Floats, threshold: float) -> Found:
    found: Found = {}
    for first in range(0, len(rows), BLOCK):
        for second in range(first, len(rows), BLOCK):
            cosines = rows[first : first + BLOCK] @ rows[second : second + BLOCK].T
            one, other = np.nonzero(np.triu(cosines, 1) >= threshold if first == second else cosines >= threshold)
            values = cosines[one, other].tolist()
            found |= dict(zip(zip((one + first).tolist(), (other + second).tolist(), strict=True), values, strict=True))
    return found


def _cosine(rows: Floats, first: int, second: int) -> float:
    one, other = rows[first].astype(np.float64), rows[second].astype(np.float64)
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def report(outcomes: list[dict[str, Any]], markdown: bool) -> str:
    """Return a line for each kind of data and number of threads."""
    head = ["", "threads", "threshold", "pairs", "theodolite s", "numpy s", "× ours"]
    lines = []
    for outcome in outcomes:
        ours, theirs = (median(outcome["seconds"][name]) for name in ("theodolite", "numpy"))
        lines.append(
            [
                f"{outcome['kind']} {outcome['rows']:,} × {outcome['dimension']}",
                str(outcome["threads"]),
                f"{outcome['threshold']:g}",
                f"{outcome['pairs']:,}",
                f"{ours:.1f}",
                f"{theirs:.1f}",
                f"{theirs / ours:.2f}",
            ]
        )
    return table(head, lines, markdown)


def verdicts(outcomes: list[dict[str, Any]]) -> list[str]:
    """Say whether the targets are met. The target for time assumes 100,000 rows of 384 dimensions and two threads."""
    lines = []
    for outcome in outcomes:
        name = f"{outcome['kind']}, {outcome['threads']} thread{'s' if outcome['threads'] > 1 else ''}"
        if (outcome["rows"], outcome["dimension"], outcome["threads"]) == (100_000, 384, 2):
            lines.append(verdict(f"{name}: seconds", median(outcome["seconds"]["theodolite"]), 60))
        lines.append(f"{'FAIL' if outcome['wrong'] else 'PASS'}  {name}: the pairs are those of the full product")
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    add_options(parser, KINDS)
    parser.add_argument("--threshold", type=float, help="default: 0.92, for anisotropic vectors 0.975")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(measure(Task(**json.loads(args.child)))))
        return 0
    outcomes = []
    for kind in kinds_of(args, KINDS):
        progress(f"{kind}, {args.rows:,} rows: making the data")
        threshold = args.threshold or (0.975 if kind == "anisotropic" else 0.92)
        with made(args, kind, args.rows, 1) as name:
            for threads in args.threads:
                progress(f"{kind}, {threads} threads")
                task = Task(name, kind, threads, args.repeat, threshold)
                outcomes.append(child(__file__, asdict(task), threads))
    print(machine(), "\n")
    print(report(outcomes, args.markdown))
    print("\n".join(verdicts(outcomes)))
    write_json(args.json, outcomes)
    return 1 if any(outcome["wrong"] for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
