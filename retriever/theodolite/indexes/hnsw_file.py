"""Check the whole file of a graph before hnswlib reads it.

hnswlib trusts every number in the file: a link to a row that does not exist makes a search read outside its memory. The
file may come from somebody else, together with a matching hash, so the hash proves nothing.

A file is a header, the rows and the upper lists. A row is a word with its number of links, room for 2 * M links, the
vector and the label. After all rows comes for each row the size of its upper lists, and the lists: one for each level,
a word with the number of links and room for M links. Words are 32 bits, in the byte order of the machine.
"""

import math
import os
import struct
from bisect import bisect_left
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError

_HEADER = struct.Struct("@6NiI3NdN")
_PART = 1 << 14  # rows checked at a time
_HIGHEST = 64  # levels; a graph of 2**32 rows with M=2 has 32

Words = NDArray[np.uint32]


def check_graph(path: Path, dimension: int, links: int, effort: int, base: int) -> int:
    """Check a file of hnswlib and return its number of rows.

    Takes one pass over the links of all rows, and copies the upper lists, about 9 bytes a row.

    Args:
        links: M.
        effort: ef_construction.
        base: the label of row 0.

    Raises:
        CorruptionError: hnswlib did not write the file with these settings, or it is damaged.
        OSError: it cannot be read.
    """
    rows, size, level, entry = _header(path, dimension, links, effort)
    raw: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
    stop = _HEADER.size + rows * size
    if len(raw) < stop + 4 * rows or len(raw) % 4:
        raise _damaged(path, f"it has {len(raw)} bytes, not those of {rows} rows")
    levels, lists = _upper(path, raw[stop:].view(np.uint32), rows, links)
    if levels.max() != level or levels[entry] != level:
        raise _damaged(path, f"its highest level is not {level}, that of row {entry}, where searches begin")
    _check_rows(path, raw[_HEADER.size : stop].reshape(rows, size), links, base)
    for number, some in enumerate(lists, 1):
        _check_lists(path, some, levels, number)
    return rows


def _header(path: Path, dimension: int, links: int, effort: int) -> tuple[int, int, int, int]:
    """Return the number of rows, the bytes of each, the highest level, and the row where searches begin."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        whole = os.fstat(file.fileno()).st_size
    if len(head) < _HEADER.size:
        raise _damaged(path, f"it has {len(head)} bytes, less than a header")
    offset, _, rows, size, label_at, vector_at, level, entry, most, lowest, each, factor, looked_at = _HEADER.unpack(
        head
    )
    vector = 4 * (2 * links + 1)
    label = vector + 4 * dimension
    found = (offset, size, label_at, vector_at, most, lowest, each, looked_at)
    # hnswlib looks at least at as many rows as it links.
    expected = (0, label + 8, label, vector, links, 2 * links, links, max(effort, links))
    if found != expected or not math.isclose(factor, 1 / math.log(links)):
        raise _damaged(path, f"it is not a graph of dimension {dimension} with M={links} and ef_construction={effort}")
    if not (0 < rows <= whole // size and entry < rows and 0 <= level < _HIGHEST):
        raise _damaged(path, f"it has {whole} bytes, not those of {rows} rows")
    return rows, size, level, entry


def _upper(path: Path, words: Words, rows: int, links: int) -> tuple[NDArray[np.int8], list[Words]]:
    """Return the level of each row, and the lists of each level above 0, (n, links + 1)."""
    step = links + 1
    # On average there are rows / (links - 1) lists. Refuse a much larger file before it takes memory.
    if len(words) > rows + step * (2 * rows // (links - 1) + 1000):
        raise _damaged(path, f"it has {4 * len(words)} bytes of upper lists for {rows} rows")
    there = np.flatnonzero(words).tolist()
    levels = np.zeros(rows, np.int8)
    owners: list[int] = []
    starts: list[int] = []
    heights: list[int] = []
    at = row = 0
    while (next_one := bisect_left(there, at)) < len(there):  # skip rows without upper lists, which are zeros
        row += there[next_one] - at
        at = there[next_one]
        height, rest = divmod(int(words[at]), 4 * step)
        if row >= rows or rest or not height < _HIGHEST or at + 1 + height * step > len(words):
            raise _damaged(path, f"the upper lists of row {row} have {int(words[at])} bytes")
        owners.append(row)
        starts.append(at + 1)
        heights.append(height)
        at += 1 + height * step
        row += 1
    if row + len(words) - at != rows:
        raise _damaged(path, f"it has upper lists for {row + len(words) - at} rows, not for {rows}")
    owner, start, height_of = np.array(owners, np.int64), np.array(starts, np.int64), np.array(heights, np.int8)
    levels[owner] = height_of
    lists = []
    for level in range(1, int(levels.max()) + 1):
        reach = height_of >= level
        places = start[reach] + (level - 1) * step
        lists.append(words[places[:, None] + np.arange(step)])
    return levels, lists


def _check_rows(path: Path, raw: NDArray[np.uint8], links: int, base: int) -> None:
    rows = len(raw)
    seen = np.zeros(rows, np.bool_)
    for start in range(0, rows, _PART):
        part = raw[start : start + _PART]
        # hnswlib marks deleted rows in the third byte; our graphs have none.
        counts = np.ascontiguousarray(part[:, :4]).view(np.uint32)
        linked = np.ascontiguousarray(part[:, 4 : 4 + 8 * links]).view(np.uint32)
        # Unused room holds zeros or earlier links, so every number must be a row.
        if counts.max() > 2 * links or linked.max() >= rows:
            raise _damaged(path, f"rows from {start} on have links to rows that do not exist")
        labels = np.ascontiguousarray(part[:, -8:]).view(np.uint64)[:, 0] - np.uint64(base)
        if labels.max() >= rows:
            raise _damaged(path, "its labels are not the numbers of its rows: is it a graph for another metric?")
        seen[labels.astype(np.int64)] = True
    if not seen.all():
        raise _damaged(path, f"{rows - np.count_nonzero(seen)} labels are missing, first {int(seen.argmin())}")


def _check_lists(path: Path, words: Words, levels: NDArray[np.int8], level: int) -> None:
    counts, linked = words[:, :1], words[:, 1:]
    used = np.arange(linked.shape[1]) < counts
    if counts.max(initial=0) > linked.shape[1] or linked.max(initial=0, where=used) >= len(levels):
        raise _damaged(path, f"level {level} has links to rows that do not exist")
    if (levels[linked[used]] < level).any():
        raise _damaged(path, f"level {level} has links to rows of lower levels")


def _damaged(path: Path, reason: str) -> CorruptionError:
    return CorruptionError(f"{path.name} is damaged: {reason}", path=str(path))
