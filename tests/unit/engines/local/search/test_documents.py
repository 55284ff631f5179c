"""Documents as they are read: the cache of recent ones, and pairs of near-duplicates."""

from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import CorruptionError, Document, FilterError, InputError, Retriever
from theodolite.engines.local.search.documents import DocumentCache
from theodolite.errors import EngineError
from theodolite.indexes.flat.pairs import BLOCK
from theodolite.vectors.metrics import MetricName

METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")
Doubles = NDArray[np.float64]

EYE = np.eye(4, dtype=np.float32)


def stored(kb: Retriever, rows: list[int], cache: DocumentCache, statements: list[str]) -> list[Document]:
    """Return documents through a cache; record the statements that this takes."""
    engine: Any = kb._engine

    def work(connection: Any, snapshot: Any) -> list[Document]:
        connection.set_trace_callback(statements.append)
        try:
            return cache.documents(connection, snapshot.state.generation, rows)
        finally:
            connection.set_trace_callback(None)

    return engine._snapshots.read(work)  # type: ignore[no-any-return]  # the engine is private to tests


def test_cached_documents_are_not_read_again() -> None:
    cache = DocumentCache()
    with Retriever.open() as kb:
        kb.add([Document(f"text {n}", {"n": [n]}, str(n)) for n in range(4)], vectors=EYE)
        statements: list[str] = []
        assert [document.id for document in stored(kb, [2, 0, 2], cache, statements)] == ["2", "0", "2"]
        assert len(statements) == 1
        first = stored(kb, [0, 2], cache, statements)
        assert len(statements) == 1
        first[0].metadata["n"].append("changed by the caller")
        assert stored(kb, [0], cache, statements)[0].metadata == {"n": [0]}
        assert [document.id for document in stored(kb, [3, 2, 1], cache, statements)] == ["3", "2", "1"]
        assert len(statements) == 2


def test_a_new_generation_starts_with_an_empty_cache() -> None:
    cache = DocumentCache()
    with Retriever.open() as kb:
        kb.add([Document("old", id="old")], vectors=EYE[:1])
        assert stored(kb, [0], cache, [])[0].text == "old"
        kb.clear()
        kb.add([Document("new", id="new")], vectors=EYE[:1])
        assert stored(kb, [0], cache, [])[0].text == "new"


def test_the_oldest_are_dropped() -> None:
    cache = DocumentCache(budget=1000)
    with Retriever.open() as kb:
        kb.add([Document("x" * 100, id=str(n)) for n in range(4)], vectors=EYE)
        statements: list[str] = []
        for row in (0, 1, 2, 3):
            stored(kb, [row], cache, statements)
        assert len(statements) == 4
        stored(kb, [2, 3], cache, statements)
        assert len(statements) == 4
        stored(kb, [0], cache, statements)
        assert len(statements) == 5


def test_a_row_without_a_document_is_damage() -> None:
    with Retriever.open() as kb:
        kb.add([Document("x", id="x")], vectors=EYE[:1])
        with pytest.raises(CorruptionError, match="row 7"):
            stored(kb, [0, 7], DocumentCache(), [])


def test_searches_see_updates(tmp_path: Any) -> None:
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb") as other:
        kb.add([Document("one", {"v": 1}, "a")], vectors=EYE[:1])
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 1}
        other.update("a", {"v": 2})
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 2}
        other.clear()
        other.add([Document("two", {"v": 3}, "b")], vectors=EYE[:1])
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 3}


def filled(vectors: Any, metric: MetricName = "cosine", **settings: Any) -> Retriever:
    kb = Retriever.open(None, metric=metric, **settings)
    kb.add([Document(f"Text {i}.", {"n": i}, f"d{i}") for i in range(len(vectors))], vectors=vectors)
    return kb


def ids(kb: Retriever, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
    return [(found.first.id, found.second.id) for found in kb.duplicates(*arguments, **options)]


def clustered(n: int, d: int = 24) -> Doubles:
    draw = np.random.default_rng(7)
    centers = draw.standard_normal((n // 10, d))
    return centers[draw.integers(len(centers), size=n)] + 0.2 * draw.standard_normal((n, d))


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_the_cosine_whatever_the_metric(metric: MetricName) -> None:
    raw = clustered(300) * np.random.default_rng(1).uniform(0.1, 9, (300, 1))
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    expected = {
        (f"d{i}", f"d{j}"): unit[i] @ unit[j] for i, j in combinations(range(300), 2) if unit[i] @ unit[j] >= 0.92
    }
    assert len(expected) > 500
    with filled(raw, metric) as kb:
        found = {(one.first.id, one.second.id): one.similarity for one in kb.duplicates()}
        assert found.keys() == expected.keys()
        assert all(abs(found[pair] - expected[pair]) < 1e-6 for pair in found)
        first = next(kb.duplicates())
        assert first.first == kb.get(first.first.id)[0]
        assert first.second == kb.get(first.second.id)[0]


def test_replaced_updated_and_deleted_documents() -> None:
    raw = np.tile(np.random.default_rng(1).standard_normal(8), (6, 1))
    with filled(raw) as kb:
        kb.delete("d1")
        kb.add([Document("Other.", {}, "d2")], vectors=-raw[:1])
        kb.update("d0", {"new": True})  # which makes it the youngest
        assert ids(kb) == [(f"d{i}", f"d{j}") for i, j in ((3, 4), (3, 5), (3, 0), (4, 5), (4, 0), (5, 0))]
        assert ids(kb, where={"new": {"$exists": False}}) == [("d3", "d4"), ("d3", "d5"), ("d4", "d5")]
        assert next(islice(kb.duplicates(), 2, None)).second.metadata == {"n": 0, "new": True}


def test_in_order_of_writing_block_by_block() -> None:
    raw = np.random.default_rng(1).standard_normal((BLOCK + 200, 4))
    raw[[3, BLOCK + 1, 5, BLOCK + 9]] = raw[[2, 2, 4, 6]]
    with filled(raw) as kb:
        late = BLOCK + 1
        expected = [(2, 3), (4, 5), (2, late), (3, late), (6, BLOCK + 9)]
        assert ids(kb, 1.0) == [(f"d{i}", f"d{j}") for i, j in expected]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), float("inf"), True, "0.9", None])
def test_thresholds_out_of_range(threshold: Any) -> None:
    with filled(np.eye(3)) as kb:
        with pytest.raises(InputError, match="above 0 and at most 1"):
            kb.duplicates(threshold)
        assert ids(kb, np.float32(1)) == ids(kb, 1) == []


def test_errors_are_raised_before_anything_is_compared() -> None:
    kb = filled(np.eye(3))
    with pytest.raises(FilterError, match=r"\$gtt"):
        kb.duplicates(where={"n": {"$gtt": 1}})
    kb.close()
    with pytest.raises(EngineError, match="closed"):
        list(kb.duplicates())


def test_an_empty_collection_and_one_document() -> None:
    with Retriever.open(None) as kb:
        assert ids(kb) == []
        kb.add([Document("a", {}, "a")], vectors=[[1.0, 2.0]])
        assert ids(kb) == []


def test_partitions_and_scopes() -> None:
    raw = np.tile(np.random.default_rng(1).standard_normal(8), (3, 1))
    with Retriever.open(None, partition="tenant") as kb:
        for tenant in ("acme", "bolt"):
            documents = [Document("t", {"tenant": tenant, "n": i}, f"d{i}") for i in range(3)]
            kb.scoped(tenant=tenant).add(documents, vectors=raw)
        inside = [("d0", "d1"), ("d0", "d2"), ("d1", "d2")]
        for tenant in ("acme", "bolt"):
            scope = kb.scoped(tenant=tenant)
            assert ids(scope) == inside
            assert {one.first.metadata["tenant"] for one in scope.duplicates()} == {tenant}
            assert ids(scope, where={"n": {"$gte": 1}}) == [("d1", "d2")]
            assert ids(scope.scoped({"n": 0})) == []
        assert len(ids(kb)) == 15
        assert ids(kb, where={"n": 0}) == [("d0", "d0")]
        (both,) = kb.duplicates(where={"n": 0})
        assert [one.metadata["tenant"] for one in (both.first, both.second)] == ["acme", "bolt"]


def test_writes_meanwhile(tmp_path: Path) -> None:
    raw = np.tile(np.random.default_rng(1).standard_normal(8), (100, 1))
    documents = [Document(f"Text {i}.", {}, f"d{i}") for i in range(100)]
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb") as other:
        kb.add(documents, vectors=raw)
        stream = kb.duplicates()
        begun = list(islice(stream, 1))
        other.delete([f"d{i}" for i in range(50, 100)])
        other.add([Document("New.", {}, "d49"), Document("Newer.", {}, "new")], vectors=raw[:2])
        rest = list(stream)
        ahead = 511  # pairs whose documents had been read
        kept = [(f"d{i}", f"d{j}") for i, j in combinations(range(49), 2)]
        named = [(one.first.id, one.second.id) for one in [*begun, *rest]]
        assert set(kept) <= set(named)
        later = named[1 + ahead :]
        assert not {name for pair in later for name in pair} & {f"d{i}" for i in range(49, 100)}
        assert "new" not in {name for pair in named for name in pair}

        stream = kb.duplicates()
        next(stream)
        other.clear()
        other.add(documents, vectors=raw)  # in rows of the same numbers
        assert len(list(stream)) == ahead


def test_it_can_be_stopped_and_reports_progress() -> None:
    with filled(np.tile(np.random.default_rng(1).standard_normal(4), (3000, 1))) as kb:
        reported: list[int] = []
        assert len(list(islice(kb.duplicates(progress=reported.append), 1000))) == 1000
        assert sum(reported) < 200_000

        def stop(compared: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(kb.duplicates(progress=stop, where={"n": {"$lt": 100}}))
        reported = []
        assert len(ids(kb, where={"n": {"$lt": 100}}, progress=reported.append)) == sum(reported) == 4950
