"""Columns: filters become row masks through them.

A column holds one metadata field over all rows: the distinct values, sorted, and each row's code (`dictionary`,
`segment`). A test finds runs of codes, so a mask costs a pass or two over small integers whatever the filter. A column
is read the first time a filter names its field (`column`), kept within a budget of memory (`held`), and written to a
file where it is large (`saved`).
"""

from theodolite.engines.local.derived.columns.column_cache import Columns, evaluate
from theodolite.engines.local.derived.columns.column_files import ColumnFiles

__all__ = ["ColumnFiles", "Columns", "evaluate"]
