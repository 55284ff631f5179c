"""Boosted exact search beside plain search: the index alone, and the whole search."""

from typing import Any

import numpy as np

from benchmarks.data import Floats, Synthetic
from benchmarks.judged import read_vectors
from benchmarks.measure import clocked, in_turns, progress, quiet_gc, summary
from theodolite import Authority, Document, Freshness, Retriever
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.ranking.relevance import Relevance
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

K = 10
NOW = "2025-01-01"
SOURCES = ("policy", "wiki", "chat", "mail", "web")
LEVELS = {"policy": 1.0, "wiki": 0.8, "web": 0.5, "mail": 0.3, "chat": 0.1}
BOOSTS = (Freshness("published", "365d", weight=0.2), Authority("source", LEVELS, weight=0.2))


def metadata(number: int) -> dict[str, str]:
    """Return a source, and a day of the ten years before `NOW`, with different periods."""
    day = np.datetime64(NOW) - np.timedelta64(number * 7919 % 3650, "D")
    return {"source": SOURCES[number % len(SOURCES)], "published": str(day)}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    made = Synthetic("clustered", task["boosts"], 384)
    ways = {"clustered": _measure(made.vectors(0, task["boosts"]), made.queries(task["queries"]))}
    real = read_vectors(task["data"], "glosses", task["glosses"], task["queries"])
    if real is not None:
        ways["glosses"] = _measure(*real)
    return {
        "rows": {f"{name} {rows:,}": rows for name, (rows, _) in ways.items()},
        "ways": {f"{name} {rows:,}": times for name, (rows, times) in ways.items()},
    }


def _measure(vectors: Floats, queries: Floats) -> tuple[int, dict[str, Any]]:
    with Retriever.open() as kb:
        documents = (Document("", metadata(row), id=f"{row:07}") for row in range(len(vectors)))
        kb.add(documents, vectors=vectors, batch_size=20_000)
        kb.search(vector=queries[0], boosts=BOOSTS, as_of=NOW)
        progress(f"  {len(vectors):,} rows are ready")
        # The snapshot that the retriever itself searches. It has no public accessor; only benchmarks need one.
        engine: Any = kb._engine
        snapshot = engine._snapshots._current
        asked = prepare(queries, Space("cosine", queries.shape[1]))[0]
        moment = np.datetime64(NOW, "s").astype(float)
        sources, dates = zip(*(metadata(row).values() for row in range(len(vectors))), strict=True)
        factors = BOOSTS[0].factors(dates, moment) * BOOSTS[1].factors(sources, moment)
        boost = BoostedScore(factors, Relevance("cosine"))

        def index(number: int, boost: BoostedScore | None) -> None:
            snapshot.flat.search(asked[number : number + 1], K, snapshot.vectors, None, boost)

        ways = {
            "index": (lambda number: index(number, None), lambda number: index(number, boost)),
            "search": (
                lambda number: kb.search(vector=queries[number], k=K),
                lambda number: kb.search(vector=queries[number], k=K, boosts=BOOSTS, as_of=NOW),
            ),
        }
        return len(vectors), {name: _by_turns(*pair, len(queries)) for name, pair in ways.items()}


def _by_turns(plain: Any, boosted: Any, queries: int) -> dict[str, Any]:
    both = {"plain": plain, "boosted": boosted}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    with quiet_gc():
        for name, number in in_turns(list(both), queries):
            taken[name].append(clocked(both[name], number))
    return {name: summary(times) for name, times in taken.items()}
