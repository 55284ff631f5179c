"""The result of the rules for versions for one search: the eligible rows, and the `Version` of a hit."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.versions.field_arrays import FieldArrays, GetColumn
from theodolite.engines.local.derived.versions.intervals import Intervals, Rules, number_of
from theodolite.engines.local.derived.versions.latest import Groups
from theodolite.engines.local.derived.versions.succession import SuccessionGraph
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.ranking.versions import Rule, Superseded, Valid, Versions
from theodolite.types import Mask, Version

_MAX_INTERVALS = 8  # rules and scopes whose intervals are kept; each takes about 25 bytes a row


class VersionState:
    """The rules applied as of one instant, for one scope and filter. Immutable.

    Attributes:
        mask: (rows,) True for the rows that a search may return.
        superseded: number of living documents of the scope that the rules exclude, whatever the filter.
    """

    def __init__(
        self,
        versions: Versions,
        intervals: Intervals,
        inside: Mask,
        where: Mask | None,
        column: GetColumn,
        name: Callable[[int, Iterable[Column], Mask], Any],
    ) -> None:
        self._rules = [rule for rule in versions.rules if not isinstance(rule, Valid)]  # those with a part
        self._inside = inside
        self._as_of = versions.as_of
        self._intervals = intervals
        self._where = where
        self._gone: Mask | None = None
        self._left: list[set[int]] = [set()] * len(self._rules)  # by rule, the keys of the replaced rows
        self._column = column
        self._name = name
        self._current = (intervals.begin <= self._as_of) & (intervals.until > self._as_of)
        self._current &= inside
        self._begun = self._current
        if versions.superseded != "hide":
            self._begun = (intervals.begin <= self._as_of) & inside
        shown = self._begun if versions.superseded == "show" else self._current
        self.superseded = int(np.count_nonzero(inside)) - int(np.count_nonzero(shown))
        self.mask: Mask = shown if where is None else shown & where
        if versions.superseded == "substitute" and where is not None:
            # Rows that pass the filter but have been replaced.
            self._gone = self._begun & ~self._current & where
            self._left = [
                set(part.nodes[self._gone[part.rows]].tolist()) if isinstance(part, SuccessionGraph) else set()
                for part in intervals.parts
            ]
            for part in intervals.parts:
                self.mask |= part.successors(self._gone, self._as_of) & self._current

    def version(self, row: int) -> Version | None:
        """Return the version of a row of `mask`; None if it is simply current. Within the snapshot's transaction."""
        current = bool(self._current[row])
        # A current row that fails the filter substitutes for others.
        gone = None if not current or self._where is None or self._where[row] else self._gone
        successors: list[Any] = []
        absent: list[Any] = []
        substitutes: list[Any] = []
        for rule, part, left in zip(self._rules, self._intervals.parts, self._left, strict=True):
            replaced = part.until[row] <= self._as_of
            if isinstance(part, Groups):
                successors += self._newest(part, row) if replaced else []
                substitutes += [] if gone is None else self._shared(part, row, gone)
            elif isinstance(rule, Superseded) and (node := part.node(row)) is not None:
                successors += self._keys(rule, part, part.last(node, self._as_of)) if replaced else []
                absent += [] if replaced else self._keys(rule, part, part.missing(node, self._as_of))
                if gone is not None:
                    substitutes += self._keys(rule, part, sorted(left & part.graph.predecessors([node])))
        end = self._intervals.end
        ended = end is not None and bool(end[row] <= self._as_of)
        version = Version(current, _in_order(successors), _in_order(absent), _in_order(substitutes), ended)
        return None if version == Version() else version

    def _newest(self, part: Groups, row: int) -> list[Any]:
        rows = part.members(row)
        rows = rows[self._intervals.inside[rows] & (self._intervals.begin[rows] <= self._as_of)]
        return [self._column(part.rule.by).value(int(rows[part.rank[rows].argmax()]))]

    def _shared(self, part: Groups, row: int, gone: Mask) -> list[Any]:
        rows = part.members(row)
        replaced = gone[rows] & (part.until[rows] <= self._as_of)
        return [self._column(part.rule.per).value(row)] if replaced.any() else []

    def _keys(self, rule: Superseded, part: SuccessionGraph, nodes: Iterable[int]) -> list[Any]:
        columns = [self._column(field) for field in (rule.key, rule.by, rule.replaces) if field is not None]
        return [self._name(number_of(int(part.keys[node])), columns, self._inside) for node in nodes]


class VersionStateCache:
    """Evaluates rules for versions for the snapshots of one generation, and keeps recent intervals. Thread-safe."""

    def __init__(self, partition: str | None = None) -> None:
        self._partition = partition
        self._arrays = FieldArrays()
        self._intervals: dict[tuple[tuple[Rule, ...], str], Intervals] = {}
        self._building = threading.Lock()
        register_at_fork(self)

    def at(
        self,
        versions: Versions,
        commit: int,
        column: GetColumn,
        passing: Callable[[Filter], Mask],
        live: Mask,
        inside: Mask | None = None,
        within: Filter | None = None,
        where: Mask | None = None,
    ) -> VersionState:
        """Apply rules for one search, within the transaction of its snapshot.

        Args:
            commit: the commit of the snapshot.
            column: returns the column of a field at that commit, with all its rows.
            passing: returns the living rows that pass a filter.
            live: (rows,) the living rows.
            inside: (rows,) the living rows of the scope; None for all.
            within: the filter of the scope, without its partition. Documents never supersede those of another
                partition, so one evaluation serves all partitions.
            where: (rows,) the rows that pass the filter of the search; None for all.
        """
        key = versions.rules, repr(within)  # not the filter itself: 1 and True are equal to Python
        intervals = self._intervals.get(key)
        if intervals is None or intervals.commit != commit:
            with self._building:
                intervals = self._intervals.pop(key, None)
                if intervals is None or intervals.commit != commit:
                    confined = live if within is None else passing(within)
                    rules = Rules(self._arrays, column, self._partition, len(confined))
                    intervals = rules.intervals(versions.rules, commit, confined, intervals)
                self._intervals[key] = intervals
                while len(self._intervals) > _MAX_INTERVALS:
                    del self._intervals[next(iter(self._intervals))]
        return VersionState(versions, intervals, live if inside is None else inside, where, column, self._name)

    def _name(self, number: int, columns: Iterable[Column], inside: Mask) -> Any:
        with self._building:
            return self._arrays.name(number, columns, inside)


def _in_order(values: list[Any]) -> tuple[Any, ...]:
    """Sort keys, numbers first. They arrive in the order in which this process first saw them."""

    def place(value: Any) -> tuple[bool, Any, str]:
        number = isinstance(value, (int, float))
        return not number, value if number else 0, str(value)

    return tuple(sorted(values, key=place))
