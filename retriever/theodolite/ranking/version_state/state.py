"""The result of the rules for versions: the intervals of one commit, and their state for one search.

Intervals say from when until when each row is current, whatever `as_of` is. The state of a search has the eligible
rows, and the `Version` of a hit.
"""

import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.column import Column
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.ranking.version_state.field_arrays import FOREVER, NEVER, FieldArrays, GetColumn, Ints
from theodolite.ranking.version_state.groups import Groups, extended
from theodolite.ranking.version_state.succession import Links, Succession
from theodolite.ranking.versions import Latest, Rule, Superseded, Valid, Versions
from theodolite.types import Mask, Rows, Version

_MANY = 1000  # changed rows above which links are followed anew
_SHIFT = 32  # bits of a value's number in a key, below those of the partition's
_MAX_INTERVALS = 8  # rules and scopes whose intervals are kept; each takes about 25 bytes a row


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The intervals of the rows of one commit. Immutable; the intervals of rows outside are arbitrary.

    Attributes:
        commit: the commit.
        inside: (rows,) True for the rows that the rules apply to: the living rows of a scope.
        begin, until: (rows,) a row is current from the first to before the second, in microseconds since 1970.
        ends: for each rule with one, (rows,) when the row itself expires; NEVER if it does not.
        parts: the state of each rule except Valid, which `ends` covers.
    """

    commit: int
    inside: Mask
    begin: Ints
    until: Ints
    ends: tuple[Ints, ...]
    parts: tuple[Groups | Succession, ...]


class Rules:
    """Evaluates rules on the rows of one commit."""

    def __init__(self, fields: FieldArrays, column: GetColumn, partition: str | None, rows: int) -> None:
        self._fields = fields
        self._column = column
        self._partition = partition
        self._rows = rows

    def intervals(
        self, rules: tuple[Rule, ...], commit: int, inside: Mask, before: Intervals | None = None
    ) -> Intervals:
        """Return the intervals of the rows `inside`.

        Args:
            before: the intervals of the same rules and scope at another commit, reused as far as possible.
        """
        changed = None if before is None else self._changed(before.inside, inside)
        if changed is None:
            before = None
        begin = self._begin(rules, before, changed)
        parts: list[Groups | Succession] = []
        for rule in rules:
            earlier: Any = None if before is None or isinstance(rule, Valid) else before.parts[len(parts)]
            match rule:
                case Latest():
                    since = None if earlier is None or changed is None else (earlier, changed)
                    rank = self._fields.ranks(self._column(rule.by))[: self._rows]
                    parts.append(Groups.of(rule, self._group(rule.per, inside), rank, begin, inside, since))
                case Superseded():
                    parts.append(self._succession(rule, begin, inside, earlier))
        ends = tuple(self._instants(rule.end) for rule in rules if isinstance(rule, Valid) and rule.end is not None)
        until = self._until(parts, ends, before, changed)
        return Intervals(commit, inside, begin, until, ends, tuple(parts))

    def _changed(self, before: Mask, inside: Mask) -> Rows | None:
        """Return the rows that are inside at only one of two commits; None if the other one has more rows."""
        if len(before) > self._rows:
            return None
        differs = inside.copy()
        differs[: len(before)] ^= before
        return np.flatnonzero(differs)

    def _begin(self, rules: tuple[Rule, ...], before: Intervals | None, changed: Rows | None) -> Ints:
        fields: list[Ints] = []
        for rule in rules:
            match rule:
                case Latest(by=field) | Valid(start=str(field)) | Superseded(since=str(field)):
                    fields.append(self._instants(field))
        if len(fields) == 1:
            return fields[0]
        if not fields or before is None or changed is None:
            return _greatest(fields, self._rows)
        begin = extended(before.begin, self._rows, NEVER)
        begin[changed] = _greatest([field[changed] for field in fields], len(changed))
        return begin

    def _until(
        self,
        parts: list[Groups | Succession],
        ends: tuple[Ints, ...],
        before: Intervals | None,
        changed: Rows | None,
    ) -> Ints:
        """Return until when each row is current by all rules."""
        if len(parts) == 1 and isinstance(parts[0], Groups) and not ends:
            return parts[0].until
        touched = [part.touched for part in parts if part.touched is not None]
        if before is None or changed is None or len(touched) < len(parts):
            rows, until = np.arange(self._rows), np.empty(self._rows, np.int64)
        else:
            rows, until = np.concatenate([changed, *touched]), extended(before.until, self._rows, FOREVER)
        least = np.full(len(rows), FOREVER, np.int64)
        for part in parts:
            np.minimum(least, part.until_at(rows), out=least)
        for end in ends:
            np.minimum(least, end[rows], out=least, where=end[rows] != NEVER)
        until[rows] = least
        return until

    def _instants(self, field: str) -> Ints:
        return self._fields.instants(self._column(field))[: self._rows]

    def _partitions(self, inside: Mask) -> NDArray[np.int32] | None:
        """Return the number of each row's partition; None if all rows inside share one."""
        if self._partition is None:
            return None
        numbers = self._fields.numbers(self._column(self._partition), exact=True)[: self._rows]
        used = numbers[inside]
        return None if not len(used) or used.min() == used.max() else numbers

    def _group(self, field: str, inside: Mask) -> NDArray[np.integer[Any]]:
        names = self._fields.numbers(self._column(field))[: self._rows]
        partitions = self._partitions(inside)
        if partitions is None:
            return names
        return np.where(names >= 0, (partitions.astype(np.int64) << _SHIFT) + names, -1)

    def _succession(self, rule: Superseded, begin: Ints, inside: Mask, before: Succession | None) -> Succession:
        names = self._fields.numbers(self._column(rule.key))[: self._rows]
        partitions = self._partitions(inside)

        def keys(rows: Ints, numbers: NDArray[Any]) -> Ints:
            values = numbers.astype(np.int64)
            return values if partitions is None else values + (partitions[rows].astype(np.int64) << _SHIFT)

        def links_of(chosen: Mask) -> Links:
            """Return the links that the chosen rows name."""
            parts = [Links(*np.empty((3, 0), np.int64))]
            for field, forward in ((rule.by, True), (rule.replaces, False)):
                if field is None:
                    continue
                rows, others = self._fields.links(self._column(field))
                known = rows < self._rows
                rows, others = rows[known], others[known]
                linked = chosen[rows] & (names[rows] >= 0)
                rows, others = rows[linked], others[linked]
                pair = keys(rows, names[rows]), keys(rows, others)
                parts.append(Links(rows, *(pair if forward else pair[::-1])))
            return Links.joined(*parts)

        def having(wanted: Ints) -> tuple[Rows, Ints]:
            """Return the rows inside with one of some keys, and their keys."""
            if not len(wanted):
                return np.empty(0, np.int64), wanted
            numbers = number_of(wanted)
            is_wanted = np.zeros(max(int(names.max(initial=0)), int(numbers.max(initial=0))) + 2, np.bool_)
            is_wanted[numbers] = True
            rows = np.flatnonzero(is_wanted[names] & inside)
            found = keys(rows, names[rows])
            among = slice(None) if partitions is None else np.isin(found, wanted)
            return rows[among], found[among]

        changed = None if before is None else self._changed(before.inside, inside)
        if before is None or changed is None or len(changed) > _MANY or before.partitioned is (partitions is None):
            links = links_of(inside)
            rows, key = having(np.unique(np.concatenate([links.old, links.new])))
            return Succession.of(links, rows, key, begin, inside, partitioned=partitions is not None)
        only = np.zeros(self._rows, np.bool_)
        only[changed] = True
        only &= inside
        rows = np.flatnonzero(only & (names >= 0))
        return before.with_changes(changed, links_of(only), rows, keys(rows, names[rows]), having, begin)


def number_of(key: Any) -> Any:
    """Return the number of the value in a key of a `Succession`, or those of an array."""
    return key & ((1 << _SHIFT) - 1)


def _greatest(fields: list[Ints], rows: int) -> Ints:
    """Return for each row the latest of several instants; NEVER without any."""
    return functools.reduce(np.maximum, fields) if fields else np.full(rows, NEVER, np.int64)


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
                set(part.nodes[self._gone[part.rows]].tolist()) if isinstance(part, Succession) else set()
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
            replaced = bool(part.until_at(np.array([row]))[0] <= self._as_of)
            if isinstance(part, Groups):
                successors += self._newest(part, row) if replaced else []
                substitutes += [] if gone is None else self._shared(part, row, gone)
            elif isinstance(rule, Superseded) and (node := part.node(row)) is not None:
                successors += self._keys(rule, part, part.last(node, self._as_of)) if replaced else []
                absent += [] if replaced else self._keys(rule, part, part.missing(node, self._as_of))
                if gone is not None:
                    substitutes += self._keys(rule, part, sorted(left & part.predecessors(node)))
        ended = any(bool(NEVER < end[row] <= self._as_of) for end in self._intervals.ends)
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

    def _keys(self, rule: Superseded, part: Succession, nodes: Iterable[int]) -> list[Any]:
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
