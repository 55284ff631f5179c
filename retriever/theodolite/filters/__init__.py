"""Metadata filters: a closed tree of conditions, and its evaluation on a document.

`parse` reads the dictionary form, `F` builds the same tree in Python, and `to_dict` writes it back. `matches` is the
reference for the evaluation of all engines. docs/filters.md lists the operators with examples.
"""

from theodolite.filters.builder import F
from theodolite.filters.dates import instant
from theodolite.filters.evaluate import holds, matches
from theodolite.filters.parse import OPERATORS, Where, parse
from theodolite.filters.tree import (
    And,
    Compare,
    Contains,
    Empty,
    Exists,
    Filter,
    Ids,
    In,
    Like,
    Not,
    Or,
    Test,
    fields,
    to_dict,
)
from theodolite.filters.values import MISSING, lookup

__all__ = [
    "MISSING",
    "OPERATORS",
    "And",
    "Compare",
    "Contains",
    "Empty",
    "Exists",
    "F",
    "Filter",
    "Ids",
    "In",
    "Like",
    "Not",
    "Or",
    "Test",
    "Where",
    "fields",
    "holds",
    "instant",
    "lookup",
    "matches",
    "parse",
    "to_dict",
]
