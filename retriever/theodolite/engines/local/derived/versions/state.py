"""What one search sees of the rules for versions: the eligible rows, and what is said of a hit."""

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

_HELD = 8  # rules and scopes whose intervals are kept; each takes some 25 bytes a row


class VersionState:
    """Immutable.

    Attributes:
        mask: (rows,) what a search may find.
        superseded: how many living documents of the scope the rules leave out, whatever the filter.
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
        self._left: list[set[int]] = [set()] * len(self._rules)  # by rule, the keys among what is gone
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
            # What passes the filter, and has been replaced.
            self._gone = self._begun & ~self._current & where
            self._left = [
                set(part.nodes[self._gone[part.rows]].tolist()) if isinstance(part, SuccessionGraph) else set()
                for part in intervals.parts
            ]
            for part in intervals.parts:
                self.mask |= part.successors(self._gone, self._as_of) & self._current

    def version(self, row: int) -> Version | None:
        """What the rules say of a row of `mask`; None where there is nothing to say. In the snapshot's transaction."""
        current = bool(self._current[row])
        # A current row that fails the filter is there in place of others.
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
        rows = part.mates(row)
        rows = rows[self._intervals.inside[rows] & (self._intervals.begin[rows] <= self._as_of)]
        return [self._column(part.rule.by).value(int(rows[part.rank[rows].argmax()]))]

    def _shared(self, part: Groups, row: int, gone: Mask) -> list[Any]:
        rows = part.mates(row)
        overtaken = gone[rows] & (part.until[rows] <= self._as_of)
        return [self._column(part.rule.per).value(row)] if overtaken.any() else []

    def _keys(self, rule: Superseded, part: SuccessionGraph, nodes: Iterable[int]) -> list[Any]:
        columns = [self._column(field) for field in (rule.key, rule.by, rule.replaces) if field is not None]
        return [self._name(number_of(int(part.keys[node])), columns, self._inside) for node in nodes]


class VersionStateCache:
    """What rules for versions come to, for the snapshots of one generation. Shared by threads."""

    def __init__(self, partition: str | None = None) -> None:
        self._partition = partition
        self._fields = FieldArrays()
        self._held: dict[tuple[tuple[Rule, ...], str], Intervals] = {}
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
        """What a search may find. Called within the transaction of its snapshot.

        Args:
            commit: the snapshot's.
            column: gives the columns as that commit has them, with all its rows.
            passing: gives the living rows that pass a filter.
            live: (rows,) the living rows.
            inside: (rows,) those of the scope; None for all of them.
            within: the scope's filter, without its partition: no partition's documents supersede those of another, so
                one evaluation serves all partitions.
            where: (rows,) the rows that pass the search's own filter; None for all.
        """
        key = versions.rules, repr(within)  # not the filter itself: 1 and True are equal to Python
        found = self._held.get(key)
        if found is None or found.commit != commit:
            with self._building:
                found = self._held.pop(key, None)
                if found is None or found.commit != commit:
                    found = self._built(
                        versions.rules, commit, column, live if within is None else passing(within), found
                    )
                self._held[key] = found
                while len(self._held) > _HELD:
                    del self._held[next(iter(self._held))]
        return VersionState(versions, found, live if inside is None else inside, where, column, self._name)

    def _built(
        self,
        rules: tuple[Rule, ...],
        commit: int,
        column: GetColumn,
        inside: Mask,
        before: Intervals | None,
    ) -> Intervals:
        return Rules(self._fields, column, self._partition, len(inside)).intervals(rules, commit, inside, before)

    def _name(self, number: int, columns: Iterable[Column], inside: Mask) -> Any:
        with self._building:
            return self._fields.name(number, columns, inside)


def _in_order(values: list[Any]) -> tuple[Any, ...]:
    """Numbers first: as they come, keys stand in the order in which this process has met them."""

    def place(value: Any) -> tuple[bool, Any, str]:
        number = isinstance(value, (int, float))
        return not number, value if number else 0, str(value)

    return tuple(sorted(values, key=place))
