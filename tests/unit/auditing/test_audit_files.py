"""Auditing files: valid and invalid files, and the output of the command."""

import io
import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.shell import Shell

from theodolite import Document, InputError, Retriever, VectorError, audit
from theodolite.auditing.arrays import Stack, read_folder, read_npy


class Bomb:
    def __reduce__(self) -> Any:
        return open, ("bomb-went-off", "w")


def rows(count: int = 300, dimension: int = 8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def unit(count: int = 300) -> Any:
    made = rows(count)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def raw() -> Any:
    return rows() * np.exp(0.8 * rows(300, 1, seed=1))


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=rows())
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_a_file_is_read_as_the_array(tmp_path: Path, dtype: Any) -> None:
    array = rows().astype(dtype)
    np.save(tmp_path / "a.npy", array)
    mapped = read_npy(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap)
    assert audit(mapped) == audit(array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a .npy file"),
        (pickle.dumps(rows()), "not a .npy file"),
        (npz(), "not a .npy file"),
        (npy(np.array([[Bomb()]], object)), "Python objects"),
        (npy(rows())[:-1], "shorter than its header says"),
        (npy(rows())[:128], "shorter than its header says"),
        (npy(rows())[:60], "shorter than its header says"),
        (npy(rows())[:9], "shorter than its header says"),
        (npy(rows())[:6], "shorter than its header says"),
        (npy(rows()).replace(b"(300, 8)", b"(300, 8 "), "header is damaged"),
        (npy(rows()).replace(b"(300, 8)", b"(-30, 8)"), "header is damaged"),
        (npy(rows()).replace(b"<f4", b"<f9"), "header is damaged"),
        (npy(rows()).replace(b"descr", b"dexcr"), "header is damaged"),
        (b"\x93NUMPY\x09" + npy(rows())[7:], "header is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as raised:
        read_npy(path)
    assert str(path) in str(raised.value)
    assert not Path("bomb-went-off").exists()


def test_any_cut_and_any_flipped_byte_of_the_header_is_refused_or_read(tmp_path: Path) -> None:
    whole = npy(rows(20))
    path = tmp_path / "a.npy"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError):
            read_npy(path)
    draw = np.random.default_rng(0)
    for place in range(128):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(draw.integers(1, 256))]) + whole[place + 1 :])
        with suppress(InputError):
            read_npy(path)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 3), "S4"), np.zeros((3, 3), np.int8)])
def test_a_file_without_vectors_is_refused(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(VectorError, match=r"a\.npy have"):
        read_npy(tmp_path / "a.npy")


def test_several_files_are_one(tmp_path: Path) -> None:
    whole = rows(700)
    for name, part in zip("abc", (whole[:300], whole[300:301], whole[301:]), strict=True):
        np.save(tmp_path / f"{name}.npy", part)
    matrix, names = read_folder(tmp_path)
    assert audit(matrix) == audit(whole)
    assert np.array_equal(matrix[np.array([699, 0, 300, 299])], whole[[699, 0, 300, 299]])
    assert np.array_equal(matrix[290:310], whole[290:310])
    assert [names[row] for row in (0, 299, 300, 301, 699)] == [
        "a.npy:0",
        "a.npy:299",
        "b.npy:0",
        "c.npy:0",
        "c.npy:398",
    ]
    assert names[299:301] == ["a.npy:299", "b.npy:0"]
    assert len(list(names)) == len(names) == 700
    assert read_folder(tmp_path, without=tmp_path / "b.npy")[0].shape == (699, 8)
    np.save(tmp_path / "d.npy", rows(3, 5))
    with pytest.raises(VectorError, match=r"a.npy has dimension 8, d.npy has 5"):
        read_folder(tmp_path)
    assert Stack([whole.astype(np.float16), whole]).dtype == np.float32


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    np.save(tmp_path / "raw.npy", raw())
    np.save(tmp_path / "unit.npy", unit())
    np.save(tmp_path / "asked.npy", unit(20))
    return Shell(tmp_path)


def test_the_command(shell: Shell) -> None:
    out, err = shell.run("audit", "unit.npy", "--queries", "asked.npy")
    assert err == ""
    assert out.startswith('300 vectors, 8 dimensions, float32\nuse  metric="cosine", norms="unit": ')
    assert "ok       norms" in out
    assert "(20 given queries)" in out
    assert "warning  metric_disagreement" in shell.run("audit", "raw.npy", code=4)[0]
    assert "warning" not in shell.run("audit", "raw.npy", "--metric", "cosine")[0]
    reported = shell.json("audit", "raw.npy", code=4)
    assert reported["severity"] == "warning"
    assert reported == json.loads(json.dumps(audit(raw()).to_dict()))
    assert shell.json("audit", "raw.npy", "--seed", "5", code=4) != reported


def test_a_folder(shell: Shell) -> None:
    parts = shell.folder / "parts"
    parts.mkdir()
    broken = unit()
    broken[7] = np.nan
    np.save(parts / "a.npy", unit())
    np.save(parts / "b.npy", broken)
    out, err = shell.run("audit", "parts", code=4)
    assert err == "2 files as one: a.npy, b.npy\n"
    assert "b.npy:7" in out
    assert shell.json("audit", "parts", "--queries", "parts/b.npy", code=4)["rows"] == 300


def test_a_collection(shell: Shell) -> None:
    with Retriever.open(shell.folder / "kb") as kb:
        kb.add([Document("x", id=f"{i}") for i in range(300)], vectors=rows())
    assert "300 vectors, 8 dimensions" in shell.run("audit", "kb")[0]
    assert shell.json("audit", "kb", "--metric", "cosine")["metric"] == "cosine"
    assert "pinned to metric 'cosine'" in shell.run("audit", "kb", "--metric", "dot", code=1)[1]


def test_what_the_command_refuses(shell: Shell) -> None:
    (shell.folder / "broken.npy").write_bytes(npy(rows())[:-3])
    (shell.folder / "empty").mkdir()
    assert "nothing.npy does not exist" in shell.run("audit", "nothing.npy", code=2)[1]
    assert "shorter than its header says" in shell.run("audit", "broken.npy", code=2)[1]
    assert "is not one of cosine, dot, l2" in shell.run("audit", "raw.npy", "--metric", "angle", code=2)[1]
    np.save(shell.folder / "wide.npy", rows(30, 9))
    assert "queries have dimension 9" in shell.run("audit", "raw.npy", "--queries", "wide.npy", code=2)[1]
    assert "there is no collection" in shell.run("audit", "empty", code=3)[1]
