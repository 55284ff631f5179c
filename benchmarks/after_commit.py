"""The first search after a commit of one document, beside the same search before it.

    python benchmarks/after_commit.py
    python benchmarks/after_commit.py --rows 100000 --markdown
    python benchmarks/after_commit.py --folder /mnt/large/collection       # kept, and used again

Clustered vectors; three of ten documents have their own policy, one of ten has a successor. Each kind of search runs
once, then 15 times warm, then after each of 15 commits of one document. A second commit of every three also replaces a
document. `warm` and `after` are medians, in milliseconds; `fields` is `kb.fields()`, `facets` the same with a filter.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import Synthetic
from benchmarks.measure import limit, machine, median, progress, quiet_gc, table, timed
from benchmarks.ranking_versions import RULES, TODAY, documents, fields
from theodolite import Authority, Document, Freshness, Retriever

ROWS = 1_000_000
DIMENSION = 384
BATCH = 50_000
REPEAT = 15
TENTH: dict[str, Any] = {"draw": {"$lt": 100}}


def fill(kb: Retriever, source: Synthetic, rows: int) -> None:
    """Store the documents."""
    made = list(documents(rows))
    for part, start in enumerate(range(0, rows, BATCH)):
        some = made[start : start + BATCH]
        kb.add(some, vectors=source.vectors(part, len(some)), batch_size=BATCH)
        progress(f"  {start + len(some):,} of {rows:,} stored")


def ways(kb: Retriever, queries: Any) -> dict[str, Callable[[], object]]:
    """Return what is timed."""
    boosts = [Freshness("created", "1y", weight=0.2), Authority("draw", {"1": 1.0}, weight=0.1)]

    def search(**options: Any) -> Callable[[], object]:
        return lambda: kb.search(vector=queries[0], k=10, **options)

    return {
        "plain": search(),
        "filter": search(where=TENTH),
        "boosts": search(boosts=boosts),
        **{name: search(versions=rules) for name, rules in RULES.items()},
        "fields": lambda: kb.fields(),
        "facets": lambda: kb.fields(TENTH),
    }


def commit(kb: Retriever, rows: int, vectors: Any) -> None:
    """Store one document; one of three replaces another."""
    number = time.monotonic_ns()
    name = f"{number % rows:07}" if number % 3 == 0 else f"new {number}"
    made = fields(number % rows, number % rows, str(TODAY), "2030-01-01")
    if number % 10 == 0:
        made["next"] = (number // 7) % rows
    kb.add([Document("", made, name)], vectors=vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", help="keep the collection here, and use it if it is there")
    parser.add_argument("--only", nargs="*", help="the searches to time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    args = parser.parse_args()
    limit(args.threads)
    source = Synthetic("clustered", args.rows, DIMENSION)
    queries = source.queries(64)
    lines = []
    with (
        tempfile.TemporaryDirectory(prefix="after-commit-") as temporary,
        Retriever.open(args.folder or Path(temporary) / "kb") as kb,
    ):
        if not len(kb):
            fill(kb, source, args.rows)
        for name, once in ways(kb, queries).items():
            if args.only and name not in args.only:
                continue
            first = timed(once)[0]
            once()
            with quiet_gc():
                warm = [timed(once)[0] for _ in range(REPEAT)]
                after = []
                for number in range(REPEAT):
                    commit(kb, args.rows, queries[number % len(queries)][None])
                    after.append(timed(once)[0])
            before, then = 1e3 * median(warm), 1e3 * median(after)
            lines.append([name, f"{1e3 * first:,.0f}", f"{before:.2f}", f"{then:.2f}", f"{then / before:.2f}"])
            progress("  " + "  ".join(lines[-1]))
    print(f"{args.rows:,} documents, {args.threads} thread(s). {machine()}\n")
    print(table(["search", "first, ms", "warm, ms", "after a commit, ms", "ratio"], lines, markdown=args.markdown))


if __name__ == "__main__":
    main()
