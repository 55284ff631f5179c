"""Plug-in names: built-in, of other packages, and unknown."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from theodolite import plugins
from theodolite.errors import ConfigError, MissingExtraError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with an entry point on the path, as pip would."""

    def make(name: str, target: str, source: str = "", kind: str = "embedders") -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[theodolite.{kind}]\n{name} = {target}\n")
        (tmp_path / f"{target.partition(':')[0]}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    return make


def test_our_own_name() -> None:
    found = plugins.load("embedders", "sentence-transformers")
    assert (found.__module__, found.__qualname__) == (
        "theodolite.embedders.sentence_transformers",
        "SentenceTransformerEmbedder",
    )


def test_a_name_of_another_package(install: Install) -> None:
    install("acme", "acme_embedder:make", "def make(model): return 'made ' + model\n")
    assert plugins.load("embedders", "acme")("small") == "made small"
    assert plugins.names("embedders") == ["acme", "onnx", "onnx-int8", "sentence-transformers"]


def test_the_kind_is_part_of_the_group(install: Install) -> None:
    install("other", "other_kind:make", kind="rerankers")
    assert plugins.names("rerankers") == ["cross-encoder", "cross-encoder-onnx", "other"]
    with pytest.raises(ConfigError):
        plugins.load("embedders", "other")


def test_our_names_come_first(install: Install) -> None:
    install("sentence-transformers", "impostor:make", "def make(model): return model\n")
    assert plugins.load("embedders", "sentence-transformers").__name__ == "SentenceTransformerEmbedder"


def test_an_unknown_name(install: Install) -> None:
    install("acme", "acme_embedder:make")
    with pytest.raises(ConfigError) as caught:
        plugins.load("embedders", "sentence-transformer")
    assert str(caught.value) == (
        "there are no embedders named 'sentence-transformer'. "
        "Did you mean 'sentence-transformers'? Known: acme, onnx, onnx-int8, sentence-transformers"
    )
    assert caught.value.known == ["acme", "onnx", "onnx-int8", "sentence-transformers"]


def test_an_unknown_name_unlike_any_other() -> None:
    with pytest.raises(ConfigError, match=r"there are no stores named 'x'. Known: none"):
        plugins.load("stores", "x")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError) as caught, plugins.optional("sentence-transformers"):
        import sentence_transformers  # noqa: F401
    assert caught.value.hint == "pip install 'theodolite[sentence-transformers]'"
    assert caught.value.hint in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("name", ["no_such_dependency", "sentence_transformers.no_such_part"])
def test_what_an_installed_package_misses_is_another_fault(name: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught, plugins.optional("sentence-transformers"):
        __import__(name)
    assert not isinstance(caught.value, MissingExtraError)


def test_other_import_errors_pass_through(install: Install) -> None:
    install("broken", "broken_embedder:make", "from os import no_such_thing\n")
    with pytest.raises(ImportError, match="no_such_thing") as caught:
        plugins.load("embedders", "broken")
    assert not isinstance(caught.value, ConfigError)


def test_a_missing_dependency_of_another_package_passes_through(install: Install) -> None:
    install("lacking", "lacking_embedder:make", "import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        plugins.load("embedders", "lacking")
    assert not isinstance(caught.value, ConfigError)


def test_load_gives_the_hint_too(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    """For a module of ours that imports its package at the top."""
    install("unused", "imports_at_the_top:make", "import sentence_transformers\n")
    table = {"embedders": {"eager": ("imports_at_the_top:make", "sentence-transformers")}}
    monkeypatch.setattr(plugins, "_TABLE", table)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"theodolite\[sentence-transformers\]"):
        plugins.load("embedders", "eager")
