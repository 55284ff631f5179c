"""The vector store: invalid calls, its model, open collections, an index on top."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import (
    Document,
    IndexNode,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from tests.adapters.llama_index.nodes import (
    COSINES,
    Letters,
    Mode,
    Store,
    commits,
    ids,
    node,
    question,
    reference,
    stored,
)

from llama_index_theodolite import TheodoliteRetriever
from theodolite import (
    ConfigError,
    DocumentError,
    EmbedderDriftError,
    FilterError,
    Freshness,
    InputError,
    Retriever,
    VectorError,
)
from theodolite.testing import HashingEmbedder

# Refused input.


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store() as store:
        store.add(reference())
        yield store


@pytest.mark.parametrize(
    "mode", [Mode.SEMANTIC_HYBRID, Mode.SVM, Mode.LOGISTIC_REGRESSION, Mode.LINEAR_REGRESSION, "mrr"]
)
def test_other_modes_are_refused(memory: Store, mode: Any) -> None:
    with pytest.raises(ValueError, match="must be one of default, mmr, hybrid, text_search, sparse"):
        ids(memory, mode=mode)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"query_embedding": [1.0]}, "1"),
    ({"query_embedding": [float("nan"), 1.0]}, "NaN"),
    ({"query_embedding": None}, "needs query_embedding"),
    ({"query_embedding": None, "query_str": "x"}, "embed_model"),
    ({"mode": Mode.HYBRID}, "needs query_str, which is None"),
    ({"mode": Mode.SPARSE, "query_str": ""}, "needs query_str, which is ''"),
    ({"mode": Mode.HYBRID, "query_str": "x", "alpha": 2}, "alpha is 2"),
    ({"mode": Mode.MMR, "mmr_threshold": -1}, "mmr_threshold is -1"),
    ({"node_ids": "same"}, "pass a list"),
]


@pytest.mark.parametrize(("fields", "said"), REFUSED)
def test_queries_that_do_not_fit_are_refused(memory: Store, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ids(memory, **fields)


def test_what_is_no_query_is_refused_and_a_list_no_filter(memory: Store) -> None:
    anything: Any = memory
    with pytest.raises(InputError, match="takes a VectorStoreQuery, not str"):
        anything.query("text")
    with pytest.raises(FilterError, match=r"pass MetadataFilters\(filters="):
        anything.get_nodes(filters=[{"key": "a", "value": 1}])


def test_it_tells_what_it_is(memory: Store) -> None:
    assert repr(memory) == str(memory) == "TheodoliteVectorStore(<Retriever in memory: 4 documents, cosine>)"


def test_unknown_keywords_are_refused(memory: Store) -> None:
    with pytest.raises(TypeError, match="did you mean 'mmr_threshold'"):
        memory.query(question(), mmr_treshold=0.5)
    with pytest.raises(TypeError, match="here that is filters"):
        memory.query(question(), filter={})
    with pytest.raises(TypeError, match="add has no argument 'index_id'"):
        memory.add([], index_id="42")
    with pytest.raises(TypeError, match="delete has no argument"):
        memory.delete("doc0", delete_from_docstore=True)
    with pytest.raises(TypeError, match="here that is node_ids"):
        memory.delete_nodes(ids=["same"])
    with pytest.raises(TypeError, match="location, a folder"):
        Store(persist_path="kb")
    assert len(memory.kb) == 4


def test_mmr_threshold_in_another_mode_is_refused(memory: Store) -> None:
    with pytest.raises(InputError, match="for mode MMR"):
        memory.query(question(), mmr_threshold=0.5)


def test_nodes_that_cannot_be_stored_store_nothing(memory: Store) -> None:
    good = node("good", [1.0, 0.0])
    with pytest.raises(DocumentError, match="1 of 2 nodes have no embedding; the first is 'bad'"):
        memory.add([good, node("bad")])
    with pytest.raises(VectorError, match="node 'bad' has an embedding of 3"):
        memory.add([good, node("bad", [1.0, 0.0, 0.0])])
    with pytest.raises(DocumentError, match="'at'"):
        memory.add([good, node("bad", [1.0, 0.0], at={1, 2})])
    with pytest.raises(DocumentError, match="node 'bad' cannot be written"):
        memory.add([good, IndexNode(id_="bad", index_id="x", obj=object(), embedding=[1.0, 0.0])])
    assert len(memory.kb) == 4


@pytest.mark.parametrize("nodes", [node("one", [1.0, 0.0]), "text", [node("one", [1.0, 0.0]), "text"]])
def test_what_are_no_nodes_is_refused(memory: Store, nodes: Any) -> None:
    with pytest.raises(InputError, match=r"not one|number 1 of 2 nodes is a str"):
        memory.add(nodes)
    assert len(memory.kb) == 4


@pytest.mark.parametrize("mode", ["default", "mmr", "hybrid", "text_search", "sparse"])
def test_modes_may_be_strings(memory: Store, mode: str) -> None:
    asked = {"query_str": "about opposite", "similarity_top_k": 3}
    assert ids(memory, mode=mode, **asked) == ids(memory, mode=Mode(mode), **asked)
    if mode != "default":
        assert ids(memory, mode=mode, **asked) != ids(memory, **asked)


def test_it_is_not_pickled_and_copies_share_the_collection(memory: Store) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(memory)
    assert copy.deepcopy(memory).kb is copy.copy(memory).kb is memory.kb


@pytest.mark.parametrize("given", [["doc0"], 5, True])
def test_what_is_no_id_of_a_document_is_refused(memory: Store, given: Any) -> None:
    with pytest.raises(InputError, match="must be one id"):
        memory.delete(given)
    assert len(stored(memory)) == 4


# The model, and what the collection knows of it.


def test_a_folder_without_a_model_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="without embed_model"):
        Store(tmp_path / "kb").close()
    with Retriever.open(tmp_path / "kb") as kb, pytest.warns(UserWarning, match="without embed_model"):
        Store(kb=kb)


class Constant(MockEmbedding):
    """Another model than its neighbor: one direction for all texts."""

    side: int = 0

    def _get_vector(self) -> list[float]:
        return [float(place == self.side) for place in range(self.embed_dim)]


def test_an_index_with_another_model_than_the_store_is_warned_of_once(tmp_path: Path) -> None:
    own, other = Constant(embed_dim=4), Constant(embed_dim=4, side=1)
    with Store(tmp_path / "kb", own) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=other)
        with pytest.warns(UserWarning, match=r"have a cosine of 0.00: does the index embed with another model"):
            index.insert_nodes([TextNode(id_="a", text="one")])
        index.insert_nodes([TextNode(id_="b", text="two")])
    with Store(tmp_path / "kb", own) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=own)
        index.insert_nodes([TextNode(id_="c", text="three", metadata={"year": 2025}), TextNode(id_="d", text="")])
        assert len(store.kb) == 4


def test_settings_are_not_asked_before_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_embed_model", None)
    with Store(tmp_path / "kb", Settings) as store:
        monkeypatch.setattr(Settings, "_embed_model", Constant(embed_dim=4))
        VectorStoreIndex.from_vector_store(store).insert_nodes([TextNode(id_="a", text="one")])
        assert TheodoliteRetriever(store).retrieve("one")[0].node.node_id == "a"
        assert store.embed_model is Settings.embed_model


def test_another_model_is_refused_although_only_vectors_came(tmp_path: Path) -> None:
    with Store(tmp_path / "kb", Constant(embed_dim=4)) as store:
        store.add([node("a", [1.0, 0.0, 0.0, 0.0])])
        assert store.kb.check_embedder().recorded is not None
    Store(tmp_path / "kb", Constant(embed_dim=4)).close()
    with pytest.raises(EmbedderDriftError):
        Store(tmp_path / "kb", Constant(embed_dim=4, side=1))


def test_a_model_of_another_dimension_is_refused_at_the_first_node() -> None:
    with Store(embed_model=Constant(embed_dim=4)) as store:
        with pytest.raises(VectorError, match="2 dimensions, embed_model gives 4"):
            store.add([node("a", [1.0, 0.0])])
        assert len(store.kb) == 0


def test_the_model_embeds_a_question_that_comes_without_a_vector() -> None:
    model = HashingEmbedder(64)
    with Store(embed_model=model) as store:
        texts = ["refunds take days", "we open at nine"]
        vectors = np.asarray(model.encode_document(texts)).tolist()
        store.add([TextNode(id_=t, text=t, embedding=v) for t, v in zip(texts, vectors, strict=True)])
        assert ids(store, query_embedding=None, query_str="we open", similarity_top_k=1) == ["we open at nine"]


def test_settings_stand_for_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Constant(embed_dim=4)
    monkeypatch.setattr(Settings, "_embed_model", model)
    with Store(embed_model=Settings) as store:
        assert store.embed_model is model


# An open collection; options of the search; the index on top.


def test_a_shared_collection_stays_open(memory: Store) -> None:
    with Store(kb=memory.kb) as other:
        assert other.client is memory.kb
        assert ids(other) == list(COSINES)
    assert ids(memory) == list(COSINES)
    with pytest.raises(ConfigError, match="pass no other arguments"):
        Store("kb", kb=memory.kb)


def test_a_scope_hides_the_rest(memory: Store) -> None:
    view = Store(kb=memory.kb.scoped(number=[1, 2]))
    assert ids(view) == ["near", "orthogonal"]
    assert memory.query(question(), scope={"number": 3}).ids == ["opposite"]


def test_boosts_and_relevance_pass_through(memory: Store) -> None:
    memory.add([node("old", [1.0, 0.0], at="2020-01-01"), node("fresh", [1.0, 0.05], at="2025-01-01")])
    found = memory.query(question(), boosts=Freshness("at", half_life="30d"), as_of="2025-01-02", min_relevance=0.5)
    assert found.ids is not None
    assert found.ids.index("fresh") < found.ids.index("old")
    assert "opposite" not in found.ids


def test_an_index_inserts_finds_and_deletes() -> None:
    model = Letters(embed_dim=4)
    with Store(embed_model=model) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=model)
        for text in ("aaa", "bbb", "ccc"):
            index.insert(Document(id_=text, text=text))
        (hit,) = index.as_retriever(similarity_top_k=1).retrieve("bbbb")
        assert (hit.node.ref_doc_id, hit.node.get_content()) == ("bbb", "bbb")
        assert hit.score == pytest.approx(1.0, abs=1e-4)
        mmr = index.as_retriever(vector_store_query_mode="mmr", vector_store_kwargs={"mmr_threshold": 0.2})
        assert len(mmr.retrieve("b")) == 2
        index.delete_ref_doc("bbb")
        assert {found.node.ref_doc_id for found in index.as_retriever(similarity_top_k=5).retrieve("b")} == {
            "aaa",
            "ccc",
        }


def test_nodes_that_point_elsewhere_narrow_an_index_with_a_warning(
    memory: Store, caplog: pytest.LogCaptureFixture
) -> None:
    memory.add([IndexNode(id_="pointer", text="p", index_id="x", embedding=[1.0, 0.0])])
    assert ids(memory, node_ids=["pointer"]) == ["pointer"]
    assert "its other nodes are not found" in caplog.text
    caplog.clear()
    assert set(ids(memory, node_ids=["same", "pointer"])) == {"same", "pointer"}
    assert not caplog.records


def test_a_pipeline_replaces_what_has_changed() -> None:
    model = Letters(embed_dim=4)
    with Store(embed_model=model) as store:
        pipeline = IngestionPipeline(transformations=[model], vector_store=store, docstore=SimpleDocumentStore())
        pipeline.run(documents=[Document(id_="1", text="aaa"), Document(id_="2", text="bbb")])
        before = commits(store)
        assert pipeline.run(documents=[Document(id_="1", text="aaa"), Document(id_="2", text="ccc")])
        assert {found.get_content() for found in store.get_nodes()} == {"aaa", "ccc"}
        assert commits(store) > before
        before = commits(store)
        pipeline.run(documents=[Document(id_="1", text="aaa"), Document(id_="2", text="ccc")])
        assert commits(store) == before


def test_without_llama_index_the_extra_is_named() -> None:
    code = "import sys; sys.modules['llama_index'] = None; import llama_index_theodolite"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install 'theodolite[llama-index]'" in done.stderr


def test_ids_alone_name_no_nodes_of_several_partitions() -> None:
    with Store(kb=Retriever.open(partition="tenant")) as store, store.kb:
        for tenant in ("acme", "other"):
            store.add([node("same", [1.0, 0.0], tenant=tenant)])
        with pytest.raises(InputError, match="partitioned by 'tenant'"):
            store.delete_nodes(["same"])
        with pytest.raises(InputError, match="partitioned by 'tenant'"):
            store.get_nodes(["same"])
        assert len(store.kb) == 2
        acme = Store(kb=store.kb.scoped(tenant="acme"))
        acme.delete_nodes(["same"])
        assert [found.metadata["tenant"] for found in store.get_nodes()] == ["other"]


def test_ids_may_be_an_iterator(memory: Store) -> None:
    found = memory.get_nodes(iter(["near", "same"]))  # type: ignore[arg-type]  # a list is asked for
    assert [one.node_id for one in found] == ["near", "same"]
    memory.delete_nodes(iter(["near"]))  # type: ignore[arg-type]
    memory.delete_nodes(iter([]))  # type: ignore[arg-type]
    assert stored(memory) == {"same", "orthogonal", "opposite"}
