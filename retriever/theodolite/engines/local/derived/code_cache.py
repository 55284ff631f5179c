"""The verified cache of codes: one file for each full block, so that opening a collection need not quantize.

A block with codes of 4 bits gets a second file once it needs codes of 8 bits, too (see `indexes.flat.index`).
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.folder import Folder, codes_folder, codes_name, first_codes_name
from theodolite.errors import CorruptionError
from theodolite.indexes.flat.codes import BLOCK, WIDE, Codes, load_codes, save_codes
from theodolite.indexes.flat.sources import VectorSource, make_codes

_log = logging.getLogger(__name__)


class CodeCache:
    """The codes of full blocks of one generation, read from their files where these are valid."""

    def __init__(
        self, folder: Folder, generation: int, owner: Callable[[int], bytes], dimension: int, *, writable: bool
    ) -> None:
        """
        Args:
            owner: the hash that identifies the history up to a row, so that codes of other vectors are recognized.
        """
        self._folder = folder
        self._generation = generation
        self._owner = owner
        self._dimension = dimension
        self._writable = writable

    def codes(self, source: VectorSource, start: int, stop: int, *, wide: bool = False) -> Codes:
        """Return the codes of a full block; compute and save them if no valid file has them.

        Args:
            wide: return codes of 8 bits, whatever else the block has.
        """
        name = codes_name(self._generation, start // BLOCK, wide=wide)
        try:
            with self._folder.open(name) as file:
                codes = load_codes(file, start, stop - start, self._dimension, self._owner(stop - 1))
            if codes.bits == WIDE or not wide:
                return codes
        except FileNotFoundError:
            pass
        except (CorruptionError, OSError) as error:
            _log.warning("%s/%s: %s. The codes are computed again from the vectors", self._folder, name, error)
        codes = make_codes(source, start, stop, wide=wide)
        if self._writable:
            self._save(name, codes, start)
        return codes

    def fill(self, source: VectorSource, rows: int) -> None:
        """Save the codes of every full block below `rows` that has no file yet."""
        if self._writable:
            for start in range(0, rows - rows % BLOCK, BLOCK):
                name = codes_name(self._generation, start // BLOCK)
                if not self._folder.is_file(name):
                    self._save(name, make_codes(source, start, start + BLOCK), start)

    def _save(self, name: str, codes: Codes, start: int) -> None:
        try:
            self._folder.make(codes_folder(self._generation))
            with self._folder.replacing(name) as file:
                save_codes(file, codes, start, self._owner(start + len(codes.codes) - 1))
                crash_point("cache.written")
            crash_point("cache.renamed")
            old = first_codes_name(self._generation, start // BLOCK)
            if self._folder.is_file(old):
                _log.info("%s/%s is replaced by %s: a later version needs other codes", self._folder, old, name)
                self._folder.remove([old])
        except (CorruptionError, OSError) as error:
            _log.warning(
                "%s/%s cannot be written (%s); the next opening computes the codes again", self._folder, name, error
            )


def hash_by_row(frames: NDArray[np.int64], hashes: NDArray[np.void], sequence: int) -> Callable[[int], bytes]:
    """Return a function from a row to the hash of the commit that added it, which identifies the vectors up to it.

    Args:
        frames: (n, 4), as in `Snapshot`.
        hashes: (commits,), as in `Snapshot`.
        sequence: the newest commit in these.
    """

    def owner(row: int) -> bytes:
        frame = int(np.searchsorted(frames[:, 0], row, side="right")) - 1
        return bytes(hashes[int(frames[frame, 3]) - sequence - 1])

    return owner
