"""The vector store, beyond the conformance suite, in every form: in memory, on disk, indexed."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import StorageContext
from llama_index.core.schema import (
    BaseNode,
)
from llama_index.core.vector_stores.types import (
    MetadataFilters,
)
from tests.adapters.llama_index.nodes import (
    COSINES,
    Mode,
    Store,
    commits,
    filters,
    ids,
    node,
    plain,
    question,
    reference,
    stored,
)

from theodolite import VectorError


def in_memory(_: Path, nodes: list[BaseNode]) -> Store:
    store = Store()
    store.add(nodes)
    return store


def on_disk(folder: Path, nodes: list[BaseNode]) -> Store:
    store = plain(folder / "kb")
    store.add(nodes)
    return store


def reopened(folder: Path, nodes: list[BaseNode]) -> Store:
    with plain(folder / "kb") as store:
        store.add(nodes)
    return plain(folder / "kb")


def hnsw(folder: Path, nodes: list[BaseNode]) -> Store:
    pytest.importorskip("hnswlib")
    store = on_disk(folder, nodes)
    if nodes:
        store.kb.reindex("hnsw")
    return store


def persisted(folder: Path, nodes: list[BaseNode]) -> Store:
    with in_memory(folder, nodes) as store:
        StorageContext.from_defaults(vector_store=store).persist(str(folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "without embed_model", UserWarning)
        return Store.from_persist_dir(folder)


WAYS = [in_memory, on_disk, reopened, hnsw, persisted]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    way: Callable[[Path, list[BaseNode]], Store] = request.param
    with way(tmp_path, reference()) as store:
        yield store


class TestEveryWay:
    """The same however it is kept: commits, refusals, words."""

    def test_similarities_are_cosines_best_first(self, store: Store) -> None:
        found = store.query(question())
        assert found.ids == list(COSINES)
        assert found.similarities == pytest.approx(list(COSINES.values()), abs=1e-6)
        assert all(type(value) is float for value in found.similarities or ())
        assert [one.node_id for one in found.nodes or ()] == found.ids

    def test_top_k(self, store: Store) -> None:
        assert ids(store, similarity_top_k=2) == ["same", "near"]
        with pytest.raises(ValueError, match="at least 1"):
            ids(store, similarity_top_k=0)

    def test_the_same_id_replaces_in_one_commit(self, store: Store) -> None:
        before = commits(store)
        assert store.add([node("same", [0.0, 1.0]), node("new", [1.0, 0.0]), node("same", [-1.0, 0.0])]) == [
            "same",
            "new",
            "same",
        ]
        assert commits(store) == before + 1
        assert ids(store)[0] == "new"
        assert len(store.kb) == 5
        (replaced,) = store.get_nodes(["same"])
        assert replaced.get_embedding() == pytest.approx([-1.0, 0.0])

    def test_delete_nodes(self, store: Store) -> None:
        before = commits(store)
        store.delete_nodes(["same", "unknown"])
        assert stored(store) == {"near", "orthogonal", "opposite"}
        store.delete_nodes(["near", "orthogonal"], filters("number", 2))
        assert stored(store) == {"near", "opposite"}
        store.delete_nodes(filters=filters("number", 3))
        assert stored(store) == {"near"}
        assert commits(store) == before + 3

    @pytest.mark.parametrize(
        "arguments",
        [(), ([],), (None, MetadataFilters(filters=[])), (["same"], MetadataFilters(filters=[])), ([], "x")],
    )
    def test_delete_nodes_of_nothing_deletes_nothing(self, store: Store, arguments: tuple[Any, ...]) -> None:
        if arguments == ([], "x"):
            arguments = ([], filters("number", 1))
        store.delete_nodes(*arguments)
        assert len(store.kb) == 4

    def test_clear(self, store: Store) -> None:
        store.clear()
        assert ids(store) == []
        with pytest.raises(VectorError):
            store.add([node("other", [1.0, 0.0, 0.0])])
        store.add([node("same", [1.0, 0.0])])
        assert ids(store) == ["same"]

    def test_mmr(self, store: Store) -> None:
        store.add([node("twin", [1.0, 0.001])])
        near = store.query(question(mode=Mode.MMR, similarity_top_k=3), mmr_threshold=1.0)
        assert near.ids == ["same", "twin", "near"]
        far = store.query(question(mode=Mode.MMR, similarity_top_k=3, mmr_threshold=1.0), mmr_threshold=0)
        assert far.ids is not None
        assert far.ids[:2] == ["same", "opposite"]
        assert far.similarities is not None
        assert far.similarities[:2] == pytest.approx([1.0, -1.0])
        half = question(mode=Mode.MMR, similarity_top_k=3)
        assert store.query(half).ids == store.query(half, mmr_threshold=0.5).ids != near.ids
        assert ids(store, mode=Mode.MMR, mmr_threshold=1.0, similarity_top_k=2) == ["same", "twin"]

    @pytest.mark.parametrize("mode", [Mode.TEXT_SEARCH, Mode.SPARSE])
    def test_words(self, store: Store, mode: Mode) -> None:
        found = store.query(question(query_embedding=None, query_str="orthogonal", mode=mode))
        assert found.ids == ["orthogonal"]
        assert found.similarities is not None
        assert found.similarities[0] > 0
        assert len(ids(store, query_str="about", mode=mode, sparse_top_k=2)) == 2

    def test_hybrid(self, store: Store) -> None:
        asked: dict[str, Any] = {"mode": Mode.HYBRID, "query_str": "opposite"}
        found = store.query(question(**asked))
        assert found.similarities == sorted(found.similarities or (), reverse=True)
        assert ids(store, **asked, alpha=1.0)[0] == "same"
        assert ids(store, **asked, alpha=0.0)[0] == "opposite"
        assert ids(store, **asked, hybrid_top_k=1, similarity_top_k=3, alpha=0.0) == ["opposite"]
