"""Columns of the collection: read the first time a filter names their field, and kept within a memory budget.

A large column is written to a file, too (`column_files`).
"""

from theodolite.engines.local.derived.columns.column_cache import Columns
from theodolite.engines.local.derived.columns.column_files import ColumnFiles

__all__ = ["ColumnFiles", "Columns"]
