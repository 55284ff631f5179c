"""The time that version rules add to a search of many documents, beside a filter that matches as many.

Few dimensions keep the search itself short, but at least 64: products of shorter rows take longer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import clocked, in_turns, median, progress, quiet_gc, summary, timed
from theodolite import Document, Latest, Retriever, Superseded, Valid

DIMENSION = 64
K = 10
COMMITS = 7
DAYS = 3650
TODAY = np.datetime64("2025-01-01")

RULES: dict[str, list[Any]] = {
    "Latest": [Latest(per="policy", by="from")],
    "Valid": [Valid(start="valid_from", end="valid_until")],
    "Superseded": [Superseded(key="name", by="next", since="created")],
}
RULES["all three"] = [rules[0] for rules in RULES.values()]


def documents(rows: int) -> Iterator[Document]:
    """Return documents: three of ten have their own policy, one of ten has a successor, days span ten years.

    Each rule has fields of its own, so that the first search that follows it reads their columns.
    """
    draw = np.random.default_rng(3)
    begins = TODAY - draw.integers(0, DAYS, rows)
    ends = begins + draw.integers(30, 2 * DAYS, rows)
    policies = draw.integers(0, max(1, 3 * rows // 10), rows)
    nexts = draw.integers(0, rows, rows)
    linked = draw.random(rows) < 0.1
    for row, (begin, end, policy, following, link) in enumerate(
        zip(begins.astype(str), ends.astype(str), policies.tolist(), nexts.tolist(), linked.tolist(), strict=True)
    ):
        made = fields(row, policy, str(begin), str(end))
        yield Document("", {**made, "next": following} if link else made, id=f"{row:07}")


def fields(row: int, policy: int, begin: str, end: str) -> dict[str, Any]:
    dates = {"from": begin, "valid_from": begin, "valid_until": end, "created": begin}
    return {"policy": policy, "name": row, "draw": row * 7919 % 1000, **dates}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    rows, count = task["versions"], task["queries"]
    draw = np.random.default_rng(5)
    queries = draw.standard_normal((count, DIMENSION), np.float32)
    outcome: dict[str, Any] = {"rows": rows, "rules": {}}
    with Retriever.open() as kb:
        kb.add(documents(rows), vectors=draw.standard_normal((rows, DIMENSION), np.float32), batch_size=50_000)
        progress(f"  {rows:,} documents are ready")
        kb.search(vector=queries[0], k=K)
        plain = median([1e3 * timed(kb.search, vector=query, k=K)[0] for query in queries])
        lasting = {name: _lasting(kb, rules, queries) for name, rules in RULES.items()}
        fresh = []
        for name, rules in RULES.items():
            fresh.append(_after_commits(kb, rules, queries))
            outcome["rules"][name] = {**lasting[name], "commit": fresh[-1][1]}
            progress(f"  {name}")
    return {**outcome, "plain": plain, "plain_commit": median([before for before, _ in fresh])}


def _lasting(kb: Retriever, rules: Sequence[Any], queries: Any) -> dict[str, Any]:
    """Measure the added time at first and later: with one `as_of`, with a different one per search, with a filter."""
    seconds, hits = timed(kb.search, vector=queries[0], k=K, versions=rules, as_of=str(TODAY))
    eligible, rows = hits.trace.eligible, hits.trace.rows
    where = {"draw": {"$lt": round(1000 * eligible / rows)}}
    kb.search(vector=queries[0], k=K, where=where)
    taken: dict[str, list[tuple[float, float]]] = {"plain": [], "same": [], "changing": [], "filter": []}
    with quiet_gc():
        for name, number in in_turns(list(taken), len(queries)):
            options: dict[str, Any] = {"where": where} if name == "filter" else {}
            if name in ("same", "changing"):
                as_of = TODAY - (number * 17 % DAYS if name == "changing" else 0)
                options = {"versions": rules, "as_of": str(as_of)}
            taken[name].append(clocked(kb.search, vector=queries[number], k=K, **options))
    times = {name: summary(each) for name, each in taken.items()}
    plain = times["plain"]
    return {
        "eligible": eligible,
        "plain": plain,
        "first": 1e3 * seconds - plain["p50"],
        **{name: times[name]["p50"] - plain["p50"] for name in ("same", "changing", "filter")},
        **{f"{name}_cpu": times[name]["cpu"] - plain["cpu"] for name in ("same", "changing", "filter")},
    }


def _after_commits(kb: Retriever, rules: Sequence[Any], queries: Any) -> tuple[float, float]:
    """Time the first search after a commit, and the time that rules add. The two alternate between commits."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * COMMITS):
        ruled = bool(number % 2)
        document = Document("", fields(number, number, str(TODAY), "2030-01-01"), id=f"new {number}")
        kb.add([document], vectors=queries[number % len(queries)][None])
        taken[ruled].append(1e3 * timed(kb.search, vector=queries[0], k=K, versions=rules if ruled else None)[0])
    return median(taken[False]), median(taken[True]) - median(taken[False])
