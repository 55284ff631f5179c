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

from llama_index_theodolite import TheodoliteRetriever
from theodolite import ConfigError, InputError, ManifestError, Retriever

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


def keep(folder: Path) -> None:
    with Retriever.open(folder) as kb:
        kb.add(["precious"], vectors=[[1.0, 0.0]])


def is_kept(folder: Path) -> bool:
    with Retriever.open(folder, create=False) as kb:
        return [document.text for document in kb.documents()] == ["precious"]


@pytest.mark.parametrize("suffix", ["", ".new", ".theodolite", ".fresh"])
@pytest.mark.parametrize("to", ["other", "file", "missing"])
def test_links_are_neither_replaced_nor_written_through(tmp_path: Path, suffix: str, to: str) -> None:
    """The folder may be untrusted, and its links may lead to our files."""
    keep(tmp_path / "other")
    (tmp_path / "file").write_text("keep")
    place = tmp_path / "storage"
    place.mkdir()
    (place / f"default__vector_store{suffix}").symlink_to(f"../{to}")
    with Store() as store:
        store.add([node("new", [1.0, 0.0, 0.0, 0.0])])
        with pytest.raises(ConfigError, match="is a symbolic link"):
            store.persist(str(place / "default__vector_store.json"))
    assert is_kept(tmp_path / "other")
    assert (tmp_path / "file").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other", "storage"]


def test_a_folder_behind_a_link_is_persisted_to(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "storage").symlink_to("v1")
    for number in range(2):  # the second replaces the copy of the first
        with Store() as store:
            store.add([node(str(number), [1.0, 0.0, 0.0, 0.0])])
            store.persist(str(tmp_path / "storage" / "default__vector_store.json"))
    with Store.from_persist_dir(tmp_path / "v1", embed_model=Letters(embed_dim=4)) as store:
        assert stored(store) == {"1"}


def test_an_empty_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the working directory would be replaced if it is a collection."""
    keep(tmp_path / "kb")
    monkeypatch.chdir(tmp_path / "kb")
    with Store() as store, pytest.raises(InputError, match="empty"):
        store.persist("")
    with pytest.raises(InputError, match="empty"):
        Store.from_persist_dir("")
    with pytest.raises(InputError, match="empty"):
        TheodoliteRetriever(location="", embed_model=Letters(embed_dim=4))
    assert is_kept(tmp_path / "kb")
