"""Keys: which `documents.row` each row of the vector file belongs to.

A document has one key for life, and no key is given to two. The database knows keys only. The vector file, and all that
is derived from it, counts rows from 0, without gaps where a compaction has removed the dead. Until the first compaction
the two are the same.
"""

import numpy as np

from theodolite.errors import CorruptionError
from theodolite.types import Rows


class Keys:
    """The keys of one generation's rows. Immutable; keys rise with the rows.

    Attributes:
        first: (n,) the keys of the rows that a compaction has kept.
        shift: how much higher than its row the key of every later row is.
    """

    __slots__ = ("first", "shift")

    def __init__(self, first: Rows | None = None, shift: int = 0) -> None:
        self.first = np.empty(0, np.int64) if first is None else first
        self.shift = shift

    def of(self, rows: Rows) -> Rows:
        """(m,) the keys of some rows."""
        if not self.shift:
            return rows
        keys = rows + self.shift
        old = rows < len(self.first)
        keys[old] = self.first[rows[old]]
        return keys

    def key(self, row: int) -> int:
        """The key of one row, or the one that the next row will have."""
        return int(self.first[row]) if row < len(self.first) else row + self.shift

    def rows(self, keys: Rows) -> Rows:
        """(m,) the rows that have these keys.

        Raises:
            CorruptionError: a key belongs to no row.
        """
        if not self.shift:
            return keys
        rows = self.find(keys)
        if len(rows) and rows.min() < 0:
            raise CorruptionError(f"the database names a row that is not there: {keys[rows < 0][0]}")
        return rows

    def find(self, keys: Rows) -> Rows:
        """(m,) the rows that have these keys, and -1 where a compaction has removed it."""
        if not self.shift:
            return keys
        rows = keys - self.shift
        old = rows < len(self.first)
        if old.any():
            found = np.searchsorted(self.first, keys[old])
            found[found == len(self.first)] = 0
            known = self.first[found] == keys[old] if len(self.first) else np.zeros(len(found), np.bool_)
            rows[old] = np.where(known, found, -1)
        return rows


IDENTITY = Keys()
"""Of a generation that no compaction has made."""
