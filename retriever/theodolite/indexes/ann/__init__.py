"""Approximate search, written once for every `Candidates`: they propose rows, and the flat index scores them.

`Approximate` searches. `calibrate` measures how many proposals a recall needs. `Costs` decide when the exact search is
faster.
"""

from theodolite.indexes.ann.calibration import Calibration, Rung, calibrate, synthetic_queries
from theodolite.indexes.ann.costs import Costs
from theodolite.indexes.ann.search import Approximate

__all__ = ["Approximate", "Calibration", "Costs", "Rung", "calibrate", "synthetic_queries"]
