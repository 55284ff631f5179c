"""The verified cache of int8 codes: a file for each full block, so that opening does not quantise anew."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.files import codes_path
from theodolite.engines.local.points import reach
from theodolite.errors import CorruptionError
from theodolite.indexes.blocks import BLOCK, Codes, load_codes, quantise, save_codes
from theodolite.indexes.flat import VectorSource

_log = logging.getLogger(__name__)


class CodeCache:
    """Codes of full blocks of one generation, from their files where these are sound."""

    def __init__(
        self, folder: Path, generation: int, owner: Callable[[int], bytes], dimension: int, *, writable: bool
    ) -> None:
        """`owner` names the history up to a row: codes of other vectors, of whatever copy, are not taken for these."""
        self._folder = folder
        self._generation = generation
        self._owner = owner
        self._dimension = dimension
        self._writable = writable

    def codes(self, source: VectorSource, start: int, stop: int) -> Codes:
        """The codes of a full block; made, and saved, where no sound file holds them."""
        path = self._path(start)
        try:
            return load_codes(path, start, stop - start, self._dimension, self._owner(stop - 1))
        except FileNotFoundError:
            pass
        except (CorruptionError, OSError) as error:
            _log.warning("%s: %s. It is made anew from the vectors", path, error)
        codes = quantise(source.span(start, stop))
        if self._writable:
            self._save(path, codes, start)
        return codes

    def fill(self, source: VectorSource, rows: int) -> None:
        """Save the codes of every full block below `rows` that has no file yet."""
        if self._writable:
            for start in range(0, rows - rows % BLOCK, BLOCK):
                if not self._path(start).exists():
                    self._save(self._path(start), quantise(source.span(start, start + BLOCK)), start)

    def _path(self, start: int) -> Path:
        return codes_path(self._folder, self._generation, start // BLOCK)

    def _save(self, path: Path, codes: Codes, start: int) -> None:
        # Written aside and renamed: whoever reads it meanwhile, in whatever process, sees all of it or none.
        aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            save_codes(aside, codes, start, self._owner(start + len(codes.codes) - 1))
            reach("cache.written")
            os.replace(aside, path)
            reach("cache.renamed")
        except OSError as error:
            aside.unlink(missing_ok=True)
            _log.warning("%s cannot be written (%s); codes will be made anew at the next opening", path, error)


def owner_of(frames: NDArray[np.int64], hashes: NDArray[np.void], sequence: int) -> Callable[[int], bytes]:
    """What names the vectors up to a row: the hash of the commit that brought it.

    Args:
        frames: (n, 4) and
        hashes: (commits,) of the generation, as in `Snapshot`,
        sequence: up to this commit.
    """

    def owner(row: int) -> bytes:
        frame = int(np.searchsorted(frames[:, 0], row, side="right")) - 1
        return bytes(hashes[int(frames[frame, 3]) - sequence - 1])

    return owner
