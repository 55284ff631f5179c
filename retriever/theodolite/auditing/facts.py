"""All that was measured, for those who judge it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.geometry import Angles, Axes, Neighbours
from theodolite.auditing.scan import Scan
from theodolite.vectors.metrics import Metric
from theodolite.vectors.prepare import UNIT_RANGE


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured; parts are None where there were too few rows for them.

    Attributes:
        bits: of the dtype of the vectors.
        query_norms: lengths of the given queries, NaN where one is not finite; None if there were none.
        ids: what rows are called.
    """

    count: int
    dimension: int
    bits: int
    metric: Metric | None
    scan: Scan
    angles: Angles | None
    axes: Axes | None
    neighbours: Neighbours | None
    query_norms: NDArray[np.float64] | None
    ids: Sequence[str] | None

    @property
    def sizes(self) -> NDArray[np.float64]:
        """The lengths of rows that are finite and not zero."""
        norms = self.scan.norms
        return norms[norms > 0]

    @property
    def unit(self) -> bool:
        """Whether all of these are of unit length."""
        sizes = self.sizes
        return bool(len(sizes)) and bool(is_unit(sizes).all())


def is_unit(norms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which lengths count as one."""
    low, high = UNIT_RANGE
    return (norms >= low) & (norms <= high)
