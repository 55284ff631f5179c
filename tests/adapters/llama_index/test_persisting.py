"""Persisting through a storage context: the folder is the truth."""

from pathlib import Path

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import (
    Document,
)
from tests.adapters.llama_index.nodes import (
    Letters,
    Store,
    node,
    stored,
)

from theodolite import (
    ManifestError,
)

# Persisting.


def test_an_index_is_persisted_and_loaded(tmp_path: Path) -> None:
    model, folder = Letters(embed_dim=4), tmp_path / "storage"
    with Store(tmp_path / "kb", model) as store:
        context = StorageContext.from_defaults(vector_store=store)
        VectorStoreIndex.from_documents([Document(text="abc"), Document(text="dd")], context, embed_model=model)
        context.persist(str(folder))
    with Store.from_persist_dir(folder, embed_model=model) as store:
        assert store.kb.location == tmp_path / "kb"
        context = StorageContext.from_defaults(vector_store=store, persist_dir=str(folder))
        index = load_index_from_storage(context, embed_model=model)
        (hit, _) = index.as_retriever(similarity_top_k=2).retrieve("d")
        assert hit.node.get_content() == "dd"


def test_a_temporary_collection_is_copied_again_and_may_be_moved(tmp_path: Path) -> None:
    with Store() as store:
        for number in range(2):
            store.add([node(str(number), [1.0, 0.0])])
            store.persist(str(tmp_path / "a" / "default__vector_store.json"))
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.warns(UserWarning, match="without embed_model"):
        store = Store.from_persist_dir(tmp_path / "b")
    with store:
        assert stored(store) == {"0", "1"}
    assert not list(tmp_path.glob("b/*.json"))


def test_what_is_no_copy_of_ours_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "default__vector_store").mkdir()
    (tmp_path / "default__vector_store" / "precious.txt").write_text("keep")
    with Store() as store, pytest.raises(ManifestError):
        store.persist(str(tmp_path / "default__vector_store.json"))
    assert (tmp_path / "default__vector_store" / "precious.txt").read_text() == "keep"


def test_where_nothing_was_persisted_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds no vector store of theodolite named 'default'"):
        Store.from_persist_dir(tmp_path)
    assert not list(tmp_path.iterdir())
