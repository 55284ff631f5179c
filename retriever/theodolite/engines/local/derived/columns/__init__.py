"""Columns: one metadata field over all rows, so that filters become row masks.

A column has the distinct values, sorted (`dictionary`), and a code for each row (`segment`). A test selects runs of
codes, so a mask costs a pass or two over small integers whatever the filter. A column is read the first time a filter
names its field, and kept within a memory budget (`column`). If it is large, it is written to a file (`column_files`).
"""

from theodolite.engines.local.derived.columns.column import Columns, evaluate
from theodolite.engines.local.derived.columns.column_files import ColumnFiles

__all__ = ["ColumnFiles", "Columns", "evaluate"]
