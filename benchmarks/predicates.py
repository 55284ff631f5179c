"""Filters alone, `filters.py --predicates`: the time to count the matching documents.

Documents with tiny vectors are stored once. A fresh process first counts with each filter, which reads the column and
writes its file, then with other values on the warm column. Another process opens the folder and counts from the files.
Every count is compared with numpy on the values themselves.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import (
    child,
    folder_bytes,
    limit,
    machine,
    percentile,
    progress,
    quiet_gc,
    table,
    timed,
    verdict,
    write_json,
)
from benchmarks.measure import median as p50
from benchmarks.truth import Mask
from theodolite import Document, Retriever

BATCH = 20_000
REPEAT = 30
DIMENSION = 8
TAGS = 1000
WORDS = 2000
SLOW = ("$like", "$ilike", "$contains in text")  # on strings that are all different: reported without a target

Column = NDArray[Any]


class Values:
    """The fields of all documents, from a fixed seed."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(23)
        self.count = count
        self.year = rng.integers(0, 10_000, count)
        self.price = rng.random(count)
        self.day = rng.integers(0, 3650, count)
        self.kind = rng.integers(0, 5, count)
        self.author = rng.integers(0, max(1, count // 10), count)
        self.tags = rng.integers(0, TAGS, (count, 3))
        self.words = rng.integers(0, WORDS, (count, 3))

    def metadata(self, start: int, stop: int) -> list[dict[str, Any]]:
        days = (np.datetime64("2015-01-01") + self.day[start:stop]).astype(str).tolist()
        return [
            {
                "year": int(self.year[i]),
                "price": float(self.price[i]),
                "published": days[i - start],
                "kind": f"kind-{self.kind[i]}",
                "author": f"author-{self.author[i]}",
                "tags": [f"tag-{tag}" for tag in self.tags[i].tolist()],
                "title": f"{' '.join(map(word, self.words[i].tolist()))} {i}",
            }
            for i in range(start, stop)
        ]


def word(number: int) -> str:
    """Return a word. All have the same length, so none contains another."""
    return f"Word{number:04d}x"


@dataclass(frozen=True, slots=True)
class Predicate:
    """A filter for each of many values, and the rows that match it."""

    name: str
    fields: tuple[str, ...]
    where: Callable[[int], dict[str, Any]]
    mask: Callable[[Values, int], Mask]


def _date(day: int) -> str:
    return str(np.datetime64("2015-01-01") + day)


PREDICATES = (
    Predicate("int range", ("year",), lambda i: {"year": {"$gte": 100 * i}}, lambda v, i: v.year >= 100 * i),
    Predicate("int equal", ("year",), lambda i: {"year": 7 * i}, lambda v, i: v.year == 7 * i),
    Predicate("float range", ("price",), lambda i: {"price": {"$lt": i / 64}}, lambda v, i: v.price < i / 64),
    Predicate(
        "ISO date range",
        ("published",),
        lambda i: {"published": {"$between": [_date(i), _date(60 * i)]}},
        lambda v, i: (v.day >= i) & (v.day <= 60 * i),
    ),
    Predicate("keyword of 5", ("kind",), lambda i: {"kind": f"kind-{i % 5}"}, lambda v, i: v.kind == i % 5),
    Predicate("keyword of many", ("author",), lambda i: {"author": f"author-{i}"}, lambda v, i: v.author == i),
    Predicate(
        "$in of ten, of many",
        ("author",),
        lambda i: {"author": {"$in": [f"author-{i + j}" for j in range(10)]}},
        lambda v, i: (v.author >= i) & (v.author < i + 10),
    ),
    Predicate("tag of a list", ("tags",), lambda i: {"tags": f"tag-{i}"}, lambda v, i: (v.tags == i).any(axis=1)),
    Predicate(
        "$contains in a list",
        ("tags",),
        lambda i: {"tags": {"$contains": f"tag-{i}"}},
        lambda v, i: (v.tags == i).any(axis=1),
    ),
    Predicate(
        "$and of two",
        ("kind", "year"),
        lambda i: {"kind": f"kind-{i % 5}", "year": {"$lt": 100 * i}},
        lambda v, i: (v.kind == i % 5) & (v.year < 100 * i),
    ),
    Predicate(
        "$or of two",
        ("kind", "year"),
        lambda i: {"$or": [{"kind": f"kind-{i % 5}"}, {"year": {"$lt": 100 * i}}]},
        lambda v, i: (v.kind == i % 5) | (v.year < 100 * i),
    ),
    Predicate("$not", ("kind",), lambda i: {"$not": {"kind": f"kind-{i % 5}"}}, lambda v, i: v.kind != i % 5),
    Predicate(
        "$like",
        ("title",),
        lambda i: {"title": {"$like": f"{word(i)}%"}},
        lambda v, i: v.words[:, 0] == i,
    ),
    Predicate(
        "$ilike",
        ("title",),
        lambda i: {"title": {"$ilike": f"{word(i).upper()}%"}},
        lambda v, i: v.words[:, 0] == i,
    ),
    Predicate(
        "$contains in text",
        ("title",),
        lambda i: {"title": {"$contains": word(i)}},
        lambda v, i: (v.words == i).any(axis=1),
    ),
)


def build(folder: Path, count: int) -> None:
    """Store the documents, without a filter."""
    values = Values(count)
    vectors = np.random.default_rng(29).standard_normal((count, DIMENSION), np.float32)
    with Retriever.open(folder) as kb:
        for start in range(0, count, BATCH):
            fields = values.metadata(start, min(count, start + BATCH))
            documents = [Document("", one, f"{start + i:07d}") for i, one in enumerate(fields)]
            kb.add(documents, vectors=vectors[start : start + BATCH], batch_size=None)


def count_all(task: dict[str, Any]) -> dict[str, Any]:
    """Count in one process: first with each filter, then on the warm column."""
    limit(task["threads"])
    values = Values(task["documents"])
    outcome: dict[str, Any] = {"first": {}, "warm": {}, "wrong": []}
    with Retriever.open(task["folder"]) as kb:
        kb.count({"absent": 1})  # the snapshot itself
        seen: set[str] = set()
        for predicate in PREDICATES:
            number = REPEAT + 1
            seconds, found = timed(kb.count, predicate.where(number))
            if not seen.issuperset(predicate.fields):
                outcome["first"][predicate.name] = seconds
            seen.update(predicate.fields)
            answers, times = {number: found}, []
            with quiet_gc():
                for number in range(1, REPEAT + 1):
                    seconds, answers[number] = timed(kb.count, predicate.where(number))
                    times.append(seconds)
            outcome["warm"][predicate.name] = {"p50": p50(times), "p95": percentile(times, 95)}
            if any(int(np.count_nonzero(predicate.mask(values, i))) != found for i, found in answers.items()):
                outcome["wrong"].append(predicate.name)
        outcome["columns"] = kb.info()["columns"]
    return outcome


def run(args: argparse.Namespace) -> int:
    """Run both processes, and print the table and the verdicts."""
    with tempfile.TemporaryDirectory(prefix="bench-predicates-", dir=args.folder) as name:
        folder = Path(name) / "kb"
        progress(f"storing {args.documents:,} documents")
        build(folder, args.documents)
        task = {"folder": str(folder), "documents": args.documents, "threads": args.threads}
        before = folder_bytes(folder)
        progress("first use and warm columns")
        fresh = child(__file__, task, args.threads)
        size = folder_bytes(folder) - before
        progress("from the cache")
        cached = child(__file__, task, args.threads)
    print(machine(), "\n")
    rows = []
    for predicate in PREDICATES:
        warm = fresh["warm"][predicate.name]
        first = [outcome["first"].get(predicate.name) for outcome in (fresh, cached)]
        rows.append(
            [
                f"{predicate.name} ({', '.join(predicate.fields)})",
                f"{1e3 * warm['p50']:.2f}",
                f"{1e3 * warm['p95']:.2f}",
                *("" if seconds is None else f"{seconds:.3f}" for seconds in first),
            ]
        )
    head = [f"{args.documents:,} documents", "warm p50 ms", "p95", "first use s", "from the cache s"]
    print(table(head, rows, args.markdown), "\n")
    held = fresh["columns"]["bytes"] / 2**20
    print(f"{fresh['columns']['fields']} columns: {held:,.0f} MiB in memory, {size / 2**20:,.0f} MiB of files\n")
    print("\n".join(_verdicts(fresh, cached)))
    write_json(args.json, {"fresh": fresh, "cached": cached, "cache_bytes": size})
    return 1 if fresh["wrong"] or cached["wrong"] else 0


def _verdicts(fresh: dict[str, Any], cached: dict[str, Any]) -> list[str]:
    warm = {name: 1e3 * taken["p50"] for name, taken in fresh["warm"].items() if name not in SLOW}
    slowest = max(warm, key=warm.__getitem__)
    lines = [verdict(f"warm p50, most for {slowest}", warm[slowest], 1.0, unit=" ms")]
    for said, outcome, target in (("first use", fresh, 3.0), ("from the cache", cached, 0.3)):
        most = max(outcome["first"], key=outcome["first"].__getitem__)
        lines.append(verdict(f"{said}, most for {most}", outcome["first"][most], target, unit=" s"))
    wrong = fresh["wrong"] + cached["wrong"]
    lines.append(f"FAIL  wrong counts: {', '.join(wrong)}" if wrong else "PASS  every count is the true one")
    return lines


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--child", required=True)
    print(json.dumps(count_all(json.loads(arguments.parse_args().child))))
