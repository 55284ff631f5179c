"""Engines by URL scheme: paths, file URLs, plug-ins, options, and messages for unknown ones."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, InputError, ManifestError, Retriever, UnsupportedError, plugins
from theodolite.engines.local import LocalEngine
from theodolite.engines.registry import engine_for, scheme_of
from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import DictEngine

EYE = np.eye(3, dtype=np.float32)
TOY = """
from theodolite.testing import DictEngine

class ToyEngine(DictEngine):
    opened = []
    checked = []

    @classmethod
    def open(cls, location, settings, *, create=True, read_only=False, timeout=3.0, region="eu"):
        cls.opened.append((location, settings, create, read_only, timeout, region))
        return super().open(location, settings, create=create, read_only=read_only)

    @staticmethod
    def check(location, settings, *, create=True, timeout=3.0):
        ToyEngine.checked.append((location, create, timeout))

class NoEngine:
    @classmethod
    def open(cls, location, settings, *, create, read_only):
        return object.__new__(cls)

def no_open(): ...
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package of a third party, with entry points of three engines."""
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    points = "toydb = toy_engine:ToyEngine\nnoengine = toy_engine:NoEngine\nnoopen = toy_engine:no_open\n"
    (info / "entry_points.txt").write_text(f"[theodolite.engines]\n{points}")
    (tmp_path / "toy_engine.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    import toy_engine  # type: ignore[import-not-found]  # written above

    yield toy_engine.ToyEngine
    toy_engine.ToyEngine.opened.clear()
    toy_engine.ToyEngine.checked.clear()


@pytest.mark.parametrize(
    ("location", "scheme"),
    [
        (None, "file"),
        ("kb", "file"),
        ("/srv/kb", "file"),
        (Path("kb"), "file"),
        ("C:\\kb", "file"),
        ("C:/kb", "file"),
        ("C://kb", "file"),
        ("kb://", "kb"),
        ("kb/a://b", "file"),
        ("file:///kb", "file"),
        ("FILE:///kb", "file"),
        ("postgresql://host/db", "postgresql"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg"),
        ("dict://", "dict"),
    ],
)
def test_a_url_has_a_scheme_of_two_letters_or_more(location: Any, scheme: str) -> None:
    assert scheme_of(location) == scheme


def test_file_urls_name_folders(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    Retriever.open(folder, create=True).close()
    for url in (folder.as_uri(), f"file://localhost{folder.as_posix().replace(' ', '%20')}"):
        with Retriever.open(url, create=False) as kb:
            assert kb.location == folder
    with pytest.raises(InputError, match="names the machine 'server'"):
        Retriever.open("file://server/kb")
    with pytest.raises(InputError, match="%3F and %23"):
        Retriever.open("file:///kb?x=1")
    with pytest.raises(InputError, match="location is 3"):
        Retriever.open(3)  # type: ignore[arg-type]  # on purpose


def test_an_unknown_scheme_names_the_known_ones_and_how_to_install_others() -> None:
    with pytest.raises(ConfigError) as caught:
        Retriever.open("dct://kb")
    assert str(caught.value) == (
        "there is no engine for 'dct://kb'. Did you mean 'dict'? Known schemes: dict, file, http, https, milvus, "
        "postgres, postgresql. Install the package that "
        "brings dct:// (entry-point group theodolite.engines), or pass a folder"
    )


def test_unknown_options_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"has no argument 'lock_timeot'; did you mean 'lock_timeout'\?"):
        Retriever.open(tmp_path / "kb", lock_timeot=3)
    with pytest.raises(TypeError, match="has no argument 'lock_timeout'; the engine has no options"):
        Retriever.open("dict://", lock_timeout=3)
    assert not os.listdir(tmp_path)


def test_a_third_party_engine_is_opened_by_its_scheme(toy: Any) -> None:
    assert plugins.names("engines") == [
        "dict",
        "file",
        "http",
        "https",
        "milvus",
        "noengine",
        "noopen",
        "postgres",
        "postgresql",
        "toydb",
    ]
    with Retriever.open("toydb://one", metric="dot", create=True, region="us") as kb:
        kb.add(["a"], vectors=EYE[:1])
        assert [hit.document.text for hit in kb.search(vector=EYE[0])] == ["a"]
        assert kb.location is None
        assert "toydb://one" in repr(kb)
    assert toy.opened == [("toydb://one", CollectionSettings("dot"), True, False, 3.0, "us")]
    toy.forget("one")


def test_check_comes_before_the_embedder_and_gets_the_options_it_declares(toy: Any) -> None:
    with pytest.raises(ConfigError, match="embedder is an int"):
        Retriever.open("toydb://", embedder=3, timeout=1.0, create=False)  # type: ignore[arg-type]  # on purpose
    assert toy.checked == [("toydb://", False, 1.0)]
    assert toy.opened == []


@pytest.mark.usefixtures("toy")
def test_a_plug_in_that_is_no_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="NoEngine lacks a method"):
        Retriever.open("noengine://")
    with pytest.raises(ConfigError, match="has no class method open"):
        Retriever.open("noopen://")


def test_an_index_is_refused_by_engines_without_indexes() -> None:
    for index in (None, "auto", "flat"):
        Retriever.open("dict://", index=index, create=True).close()
    with pytest.raises(UnsupportedError, match=r"index='hnsw' is not supported: the engine DictEngine has no choice"):
        Retriever.open("dict://", index="hnsw")


def test_the_local_engine_is_the_one_of_paths(tmp_path: Path) -> None:
    opener = engine_for(str(tmp_path / "kb"), {})
    assert opener.engine is LocalEngine
    with pytest.raises(ManifestError):
        opener.check(CollectionSettings(), create=False)
    opener.check(CollectionSettings(), create=True)
    assert not (tmp_path / "kb").exists()


ENGINES: list[Callable[[], Engine]] = [
    lambda: LocalEngine.open(),
    lambda: DictEngine.open("dict://", CollectionSettings()),
]


@pytest.mark.parametrize("make", ENGINES)
def test_built_in_engines_fit_the_protocol(make: Callable[[], Engine]) -> None:
    engine = make()
    assert isinstance(engine, Engine)
    engine.close()
