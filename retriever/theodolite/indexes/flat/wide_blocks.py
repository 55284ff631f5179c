"""Codes of 8 bits for blocks that have 4 bits, made once they pay."""

from theodolite.indexes.flat.codes import Block

_KEPT = 1000  # queries that they are kept for without being used


class WideBlocks:
    """The 8-bit codes of blocks that have 4 bits, once they pay. An index shares them with those that grow from it.

    Attributes:
        blocks: by first and last row.
        wanted: queries so far that these would have answered faster.
    """

    def __init__(self) -> None:
        self.blocks: dict[tuple[int, int], Block] = {}
        self.wanted = 0
        self._unused = 0
        self._loose = self._tight = 0

    def record(self, *, loose: bool) -> None:
        """Count a query that 4 bits have answered; `loose` if they ruled out too few rows."""
        if loose:
            self._loose += 1
            self.wanted += 1
        else:
            self._tight += 1
        if self._loose + self._tight > 1024:  # what was long ago counts less
            self._loose //= 2
            self._tight //= 2

    def use(self, queries: int) -> None:
        """Count queries that these answer, or would answer faster."""
        self._unused = 0
        self.wanted += queries

    def rest(self) -> bool:
        """Count a query that does not use them. Return whether they are dropped, which frees their memory."""
        self._unused += 1
        if self._unused < _KEPT:
            return False
        self.blocks, self.wanted, self._unused = {}, 0, 0
        return True

    @property
    def preferred(self) -> bool:
        """Whether 8 bits are faster for single queries, too."""
        return 4 * self._loose > self._tight
