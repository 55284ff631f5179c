"""Old generations of the vector file are found by listing the folder, never by counting."""

import os
from pathlib import Path

import numpy as np
import pytest

from theodolite import Retriever
from theodolite.engines.local.maintenance import generations as removal
from theodolite.engines.local.storage.folder import generations


def fill(kb: Retriever, count: int = 3) -> None:
    kb.add([f"text {number}" for number in range(count)], vectors=np.eye(4, dtype=np.float32)[:count])


def kept(folder: Path) -> set[str]:
    return {name for _, name in generations(os.listdir(folder))}


def test_only_files_of_generations_are_listed(tmp_path: Path) -> None:
    for name in ("vectors-1", "vectors-12", "vectors-01", "vectors-0", "vectors-x", "orphan-1-2"):
        (tmp_path / f"{name}.f32").touch()
    (tmp_path / "codes-3").mkdir()
    (tmp_path / "columns-3").mkdir()
    (tmp_path / "codes-3.old").mkdir()
    found = sorted(generations(os.listdir(tmp_path)))
    assert found == [(1, "vectors-1.f32"), (3, "codes-3"), (3, "columns-3"), (12, "vectors-12.f32")]


def test_clearing_looks_at_nothing_but_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many generations it takes as much work as after one."""
    looked: list[int] = []

    def listed(names: list[str]) -> list[tuple[int, str]]:
        found = list(generations(names))
        looked.append(len(found))
        return found

    monkeypatch.setattr(removal, "generations", listed)
    with Retriever.open(tmp_path / "kb") as kb:
        for _ in range(40):
            fill(kb)
            kb.clear()
        kb.verify()
    assert max(looked) <= 2
    assert kept(tmp_path / "kb") == {"vectors-41.f32"}


def test_files_of_earlier_generations_go_at_the_next_opening(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.clear()
        fill(kb)
    (tmp_path / "vectors-1.f32").write_bytes(b"held by a reader on Windows until now")
    (tmp_path / "codes-1").mkdir()
    (tmp_path / "codes-1" / "000000.codes").touch()
    with Retriever.open(tmp_path) as kb:
        assert kept(tmp_path) == {"vectors-2.f32"}
        assert kb.count() == 3
        kb.verify()


def test_an_uncommitted_generation_does_no_harm(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        (tmp_path / "vectors-2.f32").write_bytes(b"left by a writer that was killed" * 100)
        kb.clear()
        fill(kb)
        assert kept(tmp_path) == {"vectors-2.f32"}
        assert kb.verify().warnings == ()
    (tmp_path / "vectors-9.f32").write_bytes(b"left by a writer that was killed")
    with Retriever.open(tmp_path, read_only=True) as kb:
        assert kb.count() == 3
        assert "vectors-9.f32" in kept(tmp_path)
    with Retriever.open(tmp_path) as kb:
        assert kb.count() == 3
        assert kept(tmp_path) == {"vectors-2.f32"}
        kb.verify()


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    with Retriever.open(tmp_path / "kb") as kb:
        fill(kb)
        kb.clear()
    try:
        (tmp_path / "kb" / "codes-1").symlink_to(outside, target_is_directory=True)
    except OSError:  # Windows, without the right to make links
        pytest.skip("links cannot be made here")
    with Retriever.open(tmp_path / "kb"):
        assert kept(tmp_path / "kb") == {"vectors-2.f32"}
    assert (outside / "mine.txt").read_text() == "mine"
