"""Matrices to audit: an array, a .npy file, or several of them as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import InputError, VectorError
from theodolite.vectors.prepare import as_array

_MAGIC = b"\x93NUMPY"


class Matrix(Protocol):
    """Rows that are read in parts: an array, a memory map, or several of them."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[Any]:
        """Return the rows of a slice, or of row numbers."""
        ...


class Stack:
    """Several arrays with the same number of columns, read as one matrix."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts = parts
        self._ends = np.array(list(accumulate(len(part) for part in parts)))
        self.shape = (int(self._ends[-1]), parts[0].shape[1])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.shape[0]))
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        which = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(which).tolist():
            here = which == number
            part = self._parts[number]
            out[here] = part[rows[here] - (self._ends[number] - len(part))]
        return out


def as_matrix(vectors: Any, name: str = "vectors") -> Matrix:
    """Check that the vectors are a matrix with at least one row and one dimension. Does not check values.

    Raises:
        VectorError: ragged rows, another shape, or a dtype that cannot hold vectors.
    """
    matrix: Matrix = vectors if isinstance(vectors, Stack) else as_array(vectors, name)
    shape = matrix.shape
    if len(shape) != 2:
        hint = ", so wrap a single vector in a list" if len(shape) == 1 else ""
        raise VectorError(f"{name} have shape {shape}; expected (n, dimension){hint}", shape=shape)
    if not all(shape):
        raise VectorError(f"{name} have shape {shape}: there are no vectors to audit", shape=shape)
    return matrix


def read_npy(path: Path) -> NDArray[Any]:
    """Memory-map the array of a .npy file. Nothing is executed: pickled objects are refused.

    Raises:
        InputError: not a .npy file, a truncated one, or one with Python objects.
        VectorError: not two-dimensional, or a dtype that cannot hold vectors.
    """
    try:
        # Unlike numpy.load, this reads no other file formats: no archives and no pickles.
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", path=str(path)) from error
    except (ValueError, TypeError, SyntaxError, OverflowError, TokenError) as error:
        raise InputError(f"{path}: {_reason(path, error)}", path=str(path)) from error
    matrix = as_matrix(array, str(path))
    assert isinstance(matrix, np.ndarray)  # noqa: S101 - `as_matrix` returns arrays as they are
    return matrix


class Named(Sequence[str]):
    """Names of the rows of several files: `file.npy:row`."""

    def __init__(self, names: Sequence[str], counts: Sequence[int]) -> None:
        self.names, self._ends = names, list(accumulate(counts))

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = bisect_right(self._ends, row)
        return f"{self.names[number]}:{row - (self._ends[number - 1] if number else 0)}"

    def __len__(self) -> int:
        return self._ends[-1]


def read_folder(folder: Path, without: Path | None = None) -> tuple[Matrix, Named]:
    """Read the .npy files of a folder, sorted by name, as one matrix; return it and the names of its rows.

    Leaves out the file `without`.

    Raises:
        InputError: there are no .npy files, or one cannot be read.
        VectorError: they differ in dimension.
    """
    left_out = None if without is None else without.resolve()
    files = sorted(path for path in folder.glob("*.npy") if path.is_file() and path.resolve() != left_out)
    if not files:
        raise InputError(f"{folder} contains no .npy files", path=str(folder))
    arrays = [read_npy(path) for path in files]
    first = arrays[0].shape[1]
    for path, array in zip(files, arrays, strict=True):
        if array.shape[1] != first:
            raise VectorError(
                f"{files[0].name} has dimension {first}, {path.name} has {array.shape[1]}: they are not from the "
                "same model. Audit each file by itself",
                expected=first,
                got=array.shape[1],
            )
    return Stack(arrays), Named([path.name for path in files], [len(array) for array in arrays])


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begin = file.read(len(_MAGIC))
    if begin != _MAGIC:
        return "the file is empty" if not begin else "this is not a .npy file; write one with numpy.save"
    if "Python objects" in str(error):
        return "it contains Python objects (a pickle), which could run code when loaded; save numbers"
    if "mmap length" in str(error) or "EOF: " in str(error):
        return "the file is shorter than its header says; was a copy interrupted?"
    return "its header is damaged; write it again with numpy.save"
