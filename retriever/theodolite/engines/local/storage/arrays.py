"""Read arrays from files, allocating no more memory than the file has bytes.

`np.load` allocates as much as a header demands, and unpacks zip files of any size. The files may come from somebody
else.
"""

import io
import os
import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError

_HEADER = 1024  # bytes; ours have 128
# numpy itself evaluates a header as any Python literal, which can fail in many ways.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '([<|][iuf][1248])', 'fortran_order': False, 'shape': \((\d{1,15}),\), \} *\n",
    re.DOTALL,
)
_MEMBERS = 64  # arrays in a file; ours have at most 26


def read_array(file: BinaryIO) -> NDArray[Any]:
    """Return a one-dimensional array of numbers that `np.save` wrote.

    Raises:
        CorruptionError: the file holds something else, or has another size.
        OSError: the file cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    return _array(file.read(_HEADER), size, lambda offset: _rest(file, offset))


def read_arrays(data: memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays that `np.savez` wrote, by name. Raises CorruptionError for anything else."""
    import zipfile  # with its compressors, it takes longer to import than to open a collection

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            is_plain = all(each.compress_type == zipfile.ZIP_STORED and not each.flag_bits & 1 for each in members)
            # Members may share bytes of the file, so that each could be as large as the whole file.
            if not is_plain or len(members) > _MEMBERS or sum(each.file_size for each in members) > len(data):
                raise CorruptionError("theodolite did not write it")
            parts = {each.filename.removesuffix(".npy"): archive.read(each) for each in members}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, RuntimeError) as error:
        raise CorruptionError(f"it holds no arrays: {error}") from error
    return {name: _array(part, len(part), part.__getitem__) for name, part in parts.items()}


def _array(head: bytes, size: int, rest: Any) -> NDArray[Any]:
    header = _NPY.match(head)
    if header is None or header.end() != 10 + int.from_bytes(header[1], "little"):
        raise CorruptionError("it is not an array of numbers in one dimension")
    dtype, count, offset = np.dtype(header[2].decode()), int(header[3]), header.end()
    if count * dtype.itemsize != size - offset:
        raise CorruptionError(f"{count} numbers of {dtype.itemsize} bytes do not fit in {size} bytes")
    body: bytes = rest(slice(offset, size))
    if len(body) != size - offset:
        raise CorruptionError(f"only {len(body)} of {size - offset} bytes could be read")
    return np.frombuffer(body, dtype).copy()


def _rest(file: BinaryIO, part: slice) -> bytes:
    file.seek(part.start)
    return file.read(part.stop - part.start)
