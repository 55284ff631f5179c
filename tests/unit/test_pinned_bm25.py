"""k1 and b: they rank by words, are pinned with the collection, and go along with every copy of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, Document, Retriever, plugins
from theodolite.testing import DictEngine

TEXTS = {
    "short": "refund",
    "long": "refund refund refund, and many other words stand here",
    "none": "shop",
}
LONG_FIRST = {"k1": 1.2, "b": 0.0}


def filled(location: Path | str | None, **settings: Any) -> Retriever:
    kb = Retriever.open(location, embedder=None, **settings)
    kb.add([Document(text, id=name) for name, text in TEXTS.items()], vectors=np.eye(3))
    return kb


def found(kb: Retriever) -> list[str]:
    return [hit.document.id for hit in kb.search("refund", mode="lexical")]


def pinned(kb: Retriever) -> dict[str, Any]:
    info = kb.info()
    return {"k1": info["k1"], "b": info["b"]}


def test_they_decide_the_order_and_hold_for_every_later_opening(tmp_path: Path) -> None:
    with filled(tmp_path / "usual") as kb:
        assert found(kb) == ["short", "long"]
        assert pinned(kb) == {"k1": 1.2, "b": 0.75}
    filled(tmp_path / "kb", b=0).close()
    again: list[dict[str, Any]] = [{}, {"b": 0.0}, {"k1": 1.2}]
    for settings in again:
        with Retriever.open(tmp_path / "kb", embedder=None, **settings) as kb:
            assert found(kb) == ["long", "short"]
            assert pinned(kb) == LONG_FIRST
            assert pinned(kb.scoped({"$id": "short"})) == LONG_FIRST
            kb.repair()
            kb.compact()
            assert found(kb) == ["long", "short"]


def test_others_are_refused_when_a_collection_is_opened(tmp_path: Path) -> None:
    filled(tmp_path / "kb").close()
    others: list[tuple[dict[str, Any], str]] = [
        ({"k1": 2}, "pinned to k1=1.2, not 2"),
        ({"b": 0}, "pinned to b=0.75, not 0"),
    ]
    for settings, message in others:
        with pytest.raises(ConfigError, match=message):
            Retriever.open(tmp_path / "kb", embedder=None, **settings)
    with pytest.raises(ConfigError, match="b is 2; it must be a number from 0 to 1"):
        Retriever.open(tmp_path / "new", embedder=None, b=2)
    assert not (tmp_path / "new").exists()


def test_a_collection_that_does_not_exist_yet_is_created_with_them(tmp_path: Path) -> None:
    kb = Retriever.open(tmp_path / "kb", embedder=None, b=0)
    with pytest.warns(UserWarning, match="no collection"):
        assert kb.count() == 0
    assert kb.info()["b"] == 0
    kb.add([Document(text, id=name) for name, text in TEXTS.items()], vectors=np.eye(3))
    assert found(kb) == ["long", "short"]
    kb.close()


@pytest.mark.parametrize("target", ["dict://pinned", None])
def test_copies_and_backups_take_them_along(tmp_path: Path, target: str | None) -> None:
    with filled(tmp_path / "kb", b=0) as kb:
        kb.backup(tmp_path / "backup")
        kb.copy_to(target or tmp_path / "copy")
    for place in (tmp_path / "backup", target or tmp_path / "copy"):
        with Retriever.open(place, embedder=None) as kb:
            assert pinned(kb) == LONG_FIRST
            assert found(kb) == ["long", "short"]
    DictEngine.forget("pinned")


class Unaware(DictEngine):
    """Was written before k1 and b were settings."""

    def __getattribute__(self, name: str) -> Any:
        if name == "bm25":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_an_engine_without_them_refuses_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(plugins._TABLE["engines"], "unaware", (f"{__name__}:Unaware", ""))
    load = plugins.load
    monkeypatch.setattr(plugins, "load", lambda kind, name: Unaware if name == "unaware" else load(kind, name))
    with Retriever.open("unaware://", embedder=None, k1=1.2) as kb:
        assert kb.info()["b"] == 0.75
    with pytest.raises(ConfigError, match=r"pinned to b=0\.75, not 0"):
        Retriever.open("unaware://", embedder=None, b=0, create=True)
    with filled(tmp_path / "kb", b=0) as kb, pytest.raises(ConfigError, match=r"pinned to b=0\.75, not 0"):
        kb.copy_to("unaware://")
