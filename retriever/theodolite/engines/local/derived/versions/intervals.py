"""Combine the rules: from when until when each row of one commit is current, whatever `as_of` is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.versions.field_arrays import FOREVER, NEVER, FieldArrays, GetColumn, Ints
from theodolite.engines.local.derived.versions.latest import Groups, numbered
from theodolite.engines.local.derived.versions.succession import SuccessionGraph
from theodolite.ranking.versions import Latest, Rule, Superseded, Valid
from theodolite.types import Mask

_SHIFT = 32  # bits of a value's number in a key, below those of the partition's


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The intervals of the rows of one commit. Immutable; the intervals of rows outside are arbitrary.

    Attributes:
        commit: the commit.
        inside: (rows,) True for the rows that the rules apply to: the living rows of a scope.
        begin, until: (rows,) a row is current from the first to before the second, in microseconds since 1970.
        end: (rows,) when the row itself expires; None without a rule that says so.
        parts: the state of each rule except Valid, which `end` covers.
    """

    commit: int
    inside: Mask
    begin: Ints
    until: Ints
    end: Ints | None
    parts: tuple[Groups | SuccessionGraph, ...]


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
        begin = self._begin(rules)
        changed = None
        if before is not None and len(before.inside) <= self._rows:
            differs = inside.copy()
            differs[: len(before.inside)] ^= before.inside
            changed = np.flatnonzero(differs)
        parts: list[Any] = []
        for number, rule in enumerate(rule for rule in rules if not isinstance(rule, Valid)):
            earlier: Any = before.parts[number] if before is not None else None
            if isinstance(rule, Latest):
                since = None if changed is None else (earlier, changed)
                rank = self._fields.ranks(self._column(rule.by))[: self._rows]
                parts.append(Groups.of(rule, self._group(rule.per, inside), rank, begin, inside, since))
            else:
                parts.append(self._succession(rule, begin, inside, earlier))
        end = self._end(rules)
        limits: list[Ints] = [part.until for part in parts] + ([] if end is None else [end])
        until = limits[0] if limits else np.full(self._rows, FOREVER, np.int64)
        for limit in limits[1:]:
            until = np.minimum(until, limit)
        return Intervals(commit, inside, begin, until, end, tuple(parts))

    def _begin(self, rules: tuple[Rule, ...]) -> Ints:
        begin = None
        for rule in rules:
            match rule:
                case Latest(by=field) | Valid(start=str(field)) | Superseded(since=str(field)):
                    since = self._instants(field)
                    begin = since if begin is None else np.maximum(begin, since)
        return np.full(self._rows, NEVER, np.int64) if begin is None else begin

    def _end(self, rules: tuple[Rule, ...]) -> Ints | None:
        end = None
        for rule in rules:
            if isinstance(rule, Valid) and rule.end is not None:
                until = self._instants(rule.end)
                until = np.where(until == NEVER, FOREVER, until)
                end = until if end is None else np.minimum(end, until)
        return end

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
        group = np.full(self._rows, -1, np.int64)
        rows = np.flatnonzero((names >= 0) & (partitions >= 0))
        width = int(names.max(initial=0)) + 1
        group[rows] = numbered(partitions[rows].astype(np.int64) * width + names[rows])
        return group

    def _succession(
        self, rule: Superseded, begin: Ints, inside: Mask, before: SuccessionGraph | None
    ) -> SuccessionGraph:
        names = self._fields.numbers(self._column(rule.key))[: self._rows]
        partitions = self._partitions(inside)

        def keys(rows: Ints, numbers: NDArray[Any]) -> Ints:
            values = numbers.astype(np.int64)
            return values if partitions is None else values + (partitions[rows].astype(np.int64) << _SHIFT)

        links = [np.empty((0, 2), np.int64)]
        linked_numbers = np.zeros(0, np.int64)
        for field, forward in ((rule.by, True), (rule.replaces, False)):
            if field is None:
                continue
            rows, others = self._fields.links(self._column(field))
            known = rows < self._rows
            rows, others = rows[known], others[known]
            linked = inside[rows] & (names[rows] >= 0)
            rows, others = rows[linked], others[linked]
            pair = keys(rows, names[rows]), keys(rows, others)
            links.append(np.stack(pair if forward else pair[::-1], axis=1))
            linked_numbers = np.concatenate([linked_numbers, names[rows], others])
        is_linked = np.zeros(max(int(names.max(initial=0)), int(linked_numbers.max(initial=0))) + 2, np.bool_)
        is_linked[linked_numbers] = True
        rows = np.flatnonzero(is_linked[names] & inside)
        return SuccessionGraph.of(np.concatenate(links), keys(rows, names[rows]), rows, begin, before)


def number_of(key: int) -> int:
    """Return the number of the value in a key of a `SuccessionGraph`."""
    return key & ((1 << _SHIFT) - 1)
