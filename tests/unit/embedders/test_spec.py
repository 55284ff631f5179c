"""The recorded embedder: what is recorded, and how it is made again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from theodolite import ConfigError, MissingExtraError, plugins
from theodolite.embedders import hub, spec
from theodolite.embedders.spec import EmbedderSpec, make_recorded, spec_of
from theodolite.testing import HashingEmbedder


@dataclass
class Made(HashingEmbedder):
    """An embedder that knows how it was made."""

    how: tuple[Any, ...]

    def __post_init__(self) -> None:
        super().__init__(8)


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every plug-in makes an embedder that says what it was given."""
    monkeypatch.chdir(tmp_path)
    load = plugins.load

    def factory(name: str) -> Any:
        return lambda *given, **settings: Made((name, *given, settings, hub._downloads.get()))

    def loaded(kind: str, name: str) -> Any:
        return factory(name) if kind == "embedders" else load(kind, name)

    monkeypatch.setattr(plugins, "load", loaded)
    monkeypatch.setattr(plugins, "names", lambda kind: ["ollama", "onnx", "onnx-int8", "sentence-transformers"])
    monkeypatch.setattr(
        spec, "model_embedder", lambda model, **settings: Made(("", model, settings, hub._downloads.get()))
    )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("all-MiniLM-L6-v2", ("", "all-MiniLM-L6-v2")),
        ("sentence-transformers/all-MiniLM-L6-v2", ("", "sentence-transformers/all-MiniLM-L6-v2")),
        ("intfloat/e5-small-v2@0a1b2c", ("", "intfloat/e5-small-v2@0a1b2c")),
        ("LaBSE", ("", "LaBSE")),  # the name of a model, although a Python class could have it
        ("onnx-int8:all-MiniLM-L6-v2", ("onnx-int8", "all-MiniLM-L6-v2")),
        ("sentence-transformers:BAAI/bge-small-en-v1.5", ("sentence-transformers", "BAAI/bge-small-en-v1.5")),
        ("onnx", ("onnx",)),
        ("ollama:nomic-embed-text:latest", ("ollama", "nomic-embed-text:latest")),
    ],
)
def test_names_are_made_again(name: str, how: tuple[str, ...]) -> None:
    embedder = make_recorded(EmbedderSpec(name), download=True)
    assert isinstance(embedder, Made)
    assert embedder.how == (*how, {}, True)


def test_the_settings_are_those_of_the_record() -> None:
    record = EmbedderSpec("intfloat/e5-small-v2", "0a1b2c", "bfloat16", "query: ", "")
    embedder = make_recorded(record, download=True)
    assert isinstance(embedder, Made)
    settings = {"revision": "0a1b2c", "precision": "bfloat16", "query_prompt": "query: ", "document_prompt": ""}
    assert embedder.how == ("", "intfloat/e5-small-v2", settings, True)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (EmbedderSpec("../../x"), "is not the name of a model"),
        (EmbedderSpec("models/../../x"), "is not the name of a model"),
        (EmbedderSpec("/etc/passwd"), "is not the name of a model"),
        (EmbedderSpec("/"), "is not the name of a model"),
        (EmbedderSpec("~/models/e5"), "is not the name of a model"),
        (EmbedderSpec("."), "is not the name of a model"),
        (EmbedderSpec(""), "is not the name of a model"),
        (EmbedderSpec("C:\\models\\e5"), "is not the name of a model"),
        (EmbedderSpec("C:/models/e5"), "is not the name of a model"),
        (EmbedderSpec("https://example.org/e5"), "is not installed"),
        (EmbedderSpec("file:///models/e5"), "is not installed"),
        (EmbedderSpec("pkg.module:func"), "is not the name of a model"),
        (EmbedderSpec("os:system"), "is not installed"),
        (EmbedderSpec("a-plug-in:x"), "the plug-in 'a-plug-in', which is not installed"),
        (EmbedderSpec("OpenAIEmbeddings:text-embedding-3-small"), "is not installed"),
        (EmbedderSpec("MyEmbedder", by_name=False), "is an object or a folder of the program"),
        (EmbedderSpec("text-embedding-3-small", by_name=False), "is an object or a folder of the program"),
        (EmbedderSpec("ollama:../x"), "is not the name of a model"),
        (EmbedderSpec("ollama:/models/x"), "is not the name of a model"),
        (EmbedderSpec("ollama:C:/models/x"), "is not the name of a model"),
        (EmbedderSpec("onnx:./x"), "is not the name of a model"),
        (EmbedderSpec("onnx:a:b"), "is not the name of a model"),
        (EmbedderSpec("a/b\n"), "is not the name of a model"),
        (EmbedderSpec("a/b/c"), "is not the name of a model"),
        (EmbedderSpec("a/b", "../../main"), "has the revision"),
        (EmbedderSpec("a/b", "refs/pr/1/../../x"), "has the revision"),
    ],
)
def test_nothing_else_is_made(record: EmbedderSpec, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        make_recorded(record, download=True)
    assert "Pass embedder= to Retriever.open" in str(caught.value)


def test_a_folder_of_the_same_name_is_not_read() -> None:
    Path("a/b").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is also the path of a file or folder here"):
        make_recorded(EmbedderSpec("a/b"), download=True)
    with pytest.raises(ConfigError, match="is also the path"):
        make_recorded(EmbedderSpec("onnx:a/b"), download=True)
    Path("all-MiniLM-L6-v2").mkdir()  # a known name is never read as a path
    make_recorded(EmbedderSpec("all-MiniLM-L6-v2"), download=True)


def test_nothing_is_downloaded_for_a_collection_of_others() -> None:
    embedder = make_recorded(EmbedderSpec("a/b"), download=False)
    assert isinstance(embedder, Made)
    assert embedder.how == ("", "a/b", {}, False)
    assert hub._downloads.get()
    with pytest.raises(ConfigError, match="another user may have written") as caught:
        make_recorded(EmbedderSpec("ollama:x"), download=False)
    assert "Pass embedder='ollama:x'" in str(caught.value)


def test_errors_say_what_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: str, **settings: Any) -> Any:
        raise ConfigError("the model is not in the cache")

    monkeypatch.setattr(spec, "model_embedder", fails)
    with pytest.raises(ConfigError, match=r"cannot be made. Pass embedder= to .* is not in the cache"):
        make_recorded(EmbedderSpec("a/b"), download=True)
    with pytest.raises(ConfigError, match=r"nothing is downloaded for it unless .* pass embedder='a/b'"):
        make_recorded(EmbedderSpec("a/b"), download=False)

    def lacks(model: str, **settings: Any) -> Any:
        raise MissingExtraError("not installed", extra="embed")

    monkeypatch.setattr(spec, "model_embedder", lacks)
    with pytest.raises(MissingExtraError, match="not installed"):
        make_recorded(EmbedderSpec("a/b"), download=True)


def test_what_is_recorded(tmp_path: Path) -> None:
    class Own(HashingEmbedder):
        spec = EmbedderSpec("a/b", "0a1b")

    class Named(HashingEmbedder):
        name = "text-embedding-3-small"

    (tmp_path / "model").mkdir()
    plain = HashingEmbedder()
    assert spec_of(Own(), Own()) == EmbedderSpec("a/b", "0a1b")
    assert spec_of("ollama:x", plain) == EmbedderSpec("ollama:x")
    assert spec_of(plain, plain) == EmbedderSpec("HashingEmbedder", by_name=False)
    assert spec_of(Named(), Named()) == EmbedderSpec("text-embedding-3-small", by_name=False)
    for folder in ("model", Path("model")):
        assert spec_of(folder, plain) == EmbedderSpec(str((tmp_path / "model").resolve()), by_name=False)
