"""Approximate search, written once for every `Candidates`: they propose rows, the flat index disposes.

`Approximate` searches; `calibrate` finds out how many proposals a recall needs; `Costs` tell when the exact answer is
cheaper; `estimate` says beforehand what an index will take.
"""

from theodolite.indexes.approximate.calibration import Calibration, Rung, calibrate
from theodolite.indexes.approximate.costs import Costs, estimate
from theodolite.indexes.approximate.queries import honest_queries
from theodolite.indexes.approximate.search import Approximate

__all__ = ["Approximate", "Calibration", "Costs", "Rung", "calibrate", "estimate", "honest_queries"]
