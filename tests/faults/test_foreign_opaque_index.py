"""Indexes whose libraries cannot check files are loaded only if they were built here, or with trust_index=True."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Retriever
from theodolite.engines.local.storage.index_trust import state_folder

OPTION = "Pass trust_index=True"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THEODOLITE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection with a FAISS index. Proposals count as free, so that a small collection uses it, too."""
    monkeypatch.setattr("theodolite.indexes.ann.Costs.propose", lambda self, n: 0.0)
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([f"text {n}" for n in range(2000)], vectors=drawn(), batch_size=None)
        kb.reindex("faiss:HNSW16")
    return tmp_path / "kb"


def drawn() -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((2000, 16))


def ready(folder: Path, **options: bool) -> bool:
    with Retriever.open(folder, **options) as kb:  # type: ignore[arg-type]  # options of open that are flags
        kb.search(vector=drawn()[0])
        kb.verify()
        found = kb.info()["approximate"]
        assert not found["building"]
        return bool(found["ready"])


def test_what_was_built_here_is_loaded_also_from_copies(
    folder: Path, tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ready(folder)
    with Retriever.open(folder) as kb:
        kb.backup(tmp_path / "backup")
    shutil.copytree(folder, tmp_path / "copy")
    folder.rename(tmp_path / "moved")
    assert all(ready(tmp_path / name) for name in ("backup", "copy", "moved"))
    assert OPTION not in caplog.text
    if os.name == "posix":
        assert stat.S_IMODE((state / "indexes").stat().st_mode) == 0o700
    assert [len(path.name) for path in (state / "indexes").iterdir()] == [64]


@pytest.mark.thorough
def test_of_another_user_it_is_not_loaded_unless_trusted(
    folder: Path, tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(state)
    assert not ready(folder)
    assert not ready(folder, read_only=True)
    assert caplog.text.count(OPTION) >= 1
    caplog.clear()
    with Retriever.open(folder) as kb:
        for query in drawn()[:5]:
            assert kb.search(vector=query).trace.complete
    assert caplog.text.count(OPTION) == 1  # one warning an opening
    assert ready(folder, trust_index=True)
    assert ready(folder, trust_index=True, read_only=True)
    assert not ready(folder)  # trusted for one opening only
    with Retriever.open(folder) as kb:
        kb.reindex("faiss:HNSW16")
    assert ready(folder)


@pytest.mark.thorough
def test_a_trusted_index_still_needs_its_recorded_hash(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    native = folder / "index-1" / "native"
    native.write_bytes(native.read_bytes()[:-1] + b"x")
    with Retriever.open(folder, trust_index=True, read_only=True) as kb:
        assert kb.search(vector=drawn()[0]).trace.complete
    assert "does not match its hash" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
@pytest.mark.thorough
def test_a_state_folder_that_others_can_change_proves_nothing(folder: Path, state: Path) -> None:
    (state / "indexes").chmod(0o777)
    assert not ready(folder)
    (state / "indexes").chmod(0o700)
    assert ready(folder)


@pytest.mark.thorough
def test_a_home_that_cannot_be_written_to_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THEODOLITE_STATE", str(tmp_path / "file" / "state"))
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([f"text {n}" for n in range(2000)], vectors=drawn(), batch_size=None)
        kb.reindex("faiss:HNSW16")
        kb.search(vector=drawn()[0])
        assert kb.info()["approximate"]["ready"]  # the one that was built is in memory
    assert "cannot be saved" in caplog.text
    assert not ready(tmp_path / "kb")


@pytest.mark.parametrize("index", ["hnsw", "symqg"])
def test_a_graph_that_is_checked_whole_needs_no_trust(index: str, tmp_path: Path, state: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([f"text {n}" for n in range(2000)], vectors=drawn(), batch_size=None)
        kb.reindex(index)
    assert not state.exists()
    assert ready(tmp_path / "kb")


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="each system has its own folder")
def test_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("THEODOLITE_STATE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_folder() == tmp_path / ".local" / "state" / "theodolite"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder() == tmp_path / "xdg" / "theodolite"
    monkeypatch.setenv("THEODOLITE_STATE", str(tmp_path / "own"))
    assert state_folder() == tmp_path / "own"
