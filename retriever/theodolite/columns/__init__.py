"""Columns: one metadata field over all rows, so that filters become row masks.

A column has the distinct values, sorted (`dictionary`), and a code for each row (`segment`). A test selects runs of
codes, so a mask costs a pass or two over small integers whatever the filter.
"""

from theodolite.columns.column import Column, evaluate

__all__ = ["Column", "evaluate"]
