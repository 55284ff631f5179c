"""The filter language: parsed or built into one closed tree, evaluated on a document's metadata.

`parse` reads the dictionary form, `F` builds the same tree in Python, `to_dict` writes it again; `matches` is the
reference that every engine's evaluation is held against. docs/filters.md has the operators with examples.
"""

from theodolite.filters.builder import F
from theodolite.filters.dates import instant
from theodolite.filters.evaluate import holds, matches
from theodolite.filters.parse import OPERATORS, Where, parse
from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or, Test, fields
from theodolite.filters.values import MISSING, lookup
from theodolite.filters.writing import to_dict

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
