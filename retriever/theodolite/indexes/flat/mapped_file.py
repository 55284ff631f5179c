"""Map files without keeping a descriptor for each, as Python's `mmap` does before 3.13: an index maps hundreds."""

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_POPULATE = getattr(mmap, "MAP_POPULATE", 0)  # on Linux, one call instead of a page fault for every few pages
_FAILED = ctypes.c_void_p(-1).value


def mapped(file: BinaryIO, size: int) -> NDArray[np.uint8]:
    """Map the first `size` bytes of a file, which must have as many: reading beyond its end kills the process.

    Raises OSError.
    """
    if not size:
        return np.empty(0, np.uint8)
    if os.name == "nt":  # where an open mapping would keep the file from being replaced
        file.seek(0)
        return np.frombuffer(file.read(size), np.uint8)
    map_pages, unmap_pages = _calls()
    address = map_pages(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | _POPULATE, file.fileno(), 0)
    if address in (None, _FAILED):
        code = ctypes.get_errno() or errno.ENOMEM
        raise OSError(code, os.strerror(code))
    pages: Any = (ctypes.c_ubyte * size).from_address(address)
    # Arrays keep `pages`, so that the pages stay until no array needs them.
    weakref.finalize(pages, unmap_pages, address, size).atexit = False
    array = np.frombuffer(pages, np.uint8)
    array.flags.writeable = False  # a write would kill the process
    return array


@cache
def _calls() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the C functions mmap and munmap."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library.mmap, library.munmap
