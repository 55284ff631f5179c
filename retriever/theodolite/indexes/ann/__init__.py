"""Approximate search, written once for every `Candidates`: they propose rows, the flat index disposes.

`Approximate` searches; `calibrate` finds out how many proposals a recall needs; `Costs` tell when the exact answer is
cheaper; `estimate` says beforehand what an index will take.
"""

from theodolite.indexes.ann.calibration import Calibration, Rung, calibrate
from theodolite.indexes.ann.costs import Costs, estimate
from theodolite.indexes.ann.search import Approximate
from theodolite.indexes.ann.synthetic_queries import synthetic_queries

__all__ = ["Approximate", "Calibration", "Costs", "Rung", "calibrate", "estimate", "synthetic_queries"]
