"""The adapters' retrievers open a read-only folder, and pass on the options of `open`."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.ids import stable

from langchain_theodolite import TheodoliteRetriever as LangChainRetriever
from langchain_theodolite import TheodoliteVectorStore
from llama_index_theodolite import TheodoliteRetriever as LlamaRetriever
from theodolite import Document, ManifestError, Retriever
from theodolite.testing import HashingEmbedder

Make = Callable[..., Any]


def langchain(folder: Any, **options: Any) -> Any:
    return LangChainRetriever(location=folder, embedding=HashingEmbedder(), k=1, **options)


def llama_index(folder: Any, **options: Any) -> Any:
    return LlamaRetriever(location=folder, embed_model=HashingEmbedder(), similarity_top_k=1, **options)


def ask(retriever: Any) -> int:
    return len(retriever.invoke("refunds") if hasattr(retriever, "invoke") else retriever.retrieve("refunds"))


@pytest.fixture(params=[langchain, llama_index], ids=["langchain", "llama_index"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        kb.add([Document("Refunds take five days.", id="refunds")])
    return tmp_path / "kb"


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """Make the folder read-only: by its mode, or for root by a mount."""
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    place = folder.with_name("mounted")
    place.mkdir()
    mounted = subprocess.run(["mount", "--bind", folder, place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here, and root may write whatever the mode says")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
@pytest.mark.parametrize("options", [{}, {"read_only": True}], ids=stable)
def test_a_folder_that_cannot_be_written_to_is_searched(make: Make, read_only: Path, options: dict[str, Any]) -> None:
    before = sorted(read_only.rglob("*"))
    retriever = make(read_only, **options)
    try:
        assert ask(retriever) == 1
        assert not retriever.kb.writable
    finally:
        retriever.kb.close()
    assert sorted(read_only.rglob("*")) == before


def test_a_folder_that_can_be_written_to_is_opened_for_writing(make: Make, folder: Path) -> None:
    for options, writable in (({}, True), ({"read_only": True}, False), ({"read_only": False}, True)):
        retriever = make(folder, **options)
        assert ask(retriever) == 1
        assert retriever.kb.writable is writable
        retriever.kb.close()


def test_options_of_the_opening_count(make: Make, folder: Path) -> None:
    retriever = make(folder, monitor=True, on_drift="warn", query_cache=0, relevance=0.2)
    assert retriever.kb.monitor is not None
    retriever.kb.close()
    with pytest.raises(Exception, match="dot"):
        make(folder, metric="dot")


def test_unknown_options_are_named_before_anything_is_opened(make: Make, tmp_path: Path) -> None:
    for name, hint in (("nonsense", ""), ("read_onyl", "did you mean 'read_only'"), ("create", "")):
        with pytest.raises((TypeError, ValidationError), match=f"has no argument '{name}'.*{hint}"):
            make(tmp_path / "nothing", **{name: True})
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(ManifestError):
        make(tmp_path / "nothing", read_only=True)
    assert not (tmp_path / "nothing").exists()


def test_options_of_the_opening_need_a_location(folder: Path) -> None:
    with Retriever.open(folder, embedder=HashingEmbedder()) as kb:
        with pytest.raises(ValidationError, match="'read_only'; here that is an option of the opening"):
            LangChainRetriever(kb=kb, read_only=True)
        with pytest.raises(TypeError, match="'read_only'; here that is an option of the opening"):
            LlamaRetriever(kb, read_only=True)


def test_a_store_opens_read_only_and_gives_retrievers(folder: Path) -> None:
    with TheodoliteVectorStore(HashingEmbedder(), folder, read_only=True) as store:
        assert ask(LangChainRetriever.from_store(store, k=1)) == 1
