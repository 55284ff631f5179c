"""Mapped files: their bytes, without a descriptor, until nothing needs them."""

import os
from pathlib import Path

import numpy as np
import pytest

from theodolite.indexes.flat.mapped_file import mapped


def test_the_bytes_of_a_file_outlive_its_name_and_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    with path.open("rb") as file:
        part = mapped(file, 25_600)[100:]
    path.unlink()
    assert np.array_equal(part, np.tile(np.arange(256), 100)[100:])
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux lists mappings")
def test_many_files_take_no_descriptors_and_are_unmapped(tmp_path: Path) -> None:
    path = tmp_path / "a file with this very name"
    path.write_bytes(b"x" * 10_000)
    before = len(os.listdir("/proc/self/fd"))
    arrays = []
    for _ in range(50):
        with path.open("rb") as file:
            arrays.append(mapped(file, 10_000))
    assert len(os.listdir("/proc/self/fd")) == before
    assert _mappings(path) > 0
    arrays.clear()
    assert _mappings(path) == 0


def test_no_bytes_and_no_such_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("rb") as file:
        assert len(mapped(file, 0)) == 0
    with path.open("wb") as file, pytest.raises(OSError, match="denied"):
        mapped(file, 10)  # opened for writing only


def _mappings(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())
