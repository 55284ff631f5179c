"""What the rules say of every row of one commit: from when until when it is current, whatever `as_of` is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.versions.field_arrays import FOREVER, NEVER, FieldArrays, GetColumn, Ints
from theodolite.engines.local.derived.versions.latest import Groups, numbered
from theodolite.engines.local.derived.versions.succession import SuccessionGraph
from theodolite.ranking.versions import Latest, Rule, Superseded, Valid
from theodolite.types import Mask

_SHIFT = 32  # the bits of a value's number in a key; above them stands the partition's


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Immutable. Rows outside have an interval as well, which means nothing.

    Attributes:
        commit: the commit.
        inside: (rows,) the rows that rules look at: the living ones of a scope.
        begin, until: (rows,) a row is current from the first to before the second, in microseconds since 1970.
        end: (rows,) when its own time is over; None where no rule says so.
        parts: what each rule says; Valid has said all there is to say with `end`.
    """

    commit: int
    inside: Mask
    begin: Ints
    until: Ints
    end: Ints | None
    parts: tuple[Groups | SuccessionGraph, ...]


class Rules:
    """Some rules, as the rows of one commit have them."""

    def __init__(self, fields: FieldArrays, column: GetColumn, partition: str | None, rows: int) -> None:
        self._fields = fields
        self._column = column
        self._partition = partition
        self._rows = rows

    def intervals(
        self, rules: tuple[Rule, ...], commit: int, inside: Mask, before: Intervals | None = None
    ) -> Intervals:
        """The intervals of the rows `inside`.

        Args:
            before: those of the same rules and scope at another commit, of which as much is kept as holds.
        """
        begin = self._begin(rules)
        changed = None
        if before is not None and len(before.inside) <= self._rows:
            now = inside.copy()
            now[: len(before.inside)] ^= before.inside
            changed = np.flatnonzero(now)
        parts: list[Any] = []
        for number, rule in enumerate(one for one in rules if not isinstance(one, Valid)):
            known: Any = before.parts[number] if before is not None else None
            if isinstance(rule, Latest):
                since = None if changed is None else (known, changed)
                rank = self._fields.ranks(self._column(rule.by))[: self._rows]
                parts.append(Groups.of(rule, self._group(rule.per, inside), rank, begin, inside, since))
            else:
                parts.append(self._chains(rule, begin, inside, known))
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
                    found = self._instants(field)
                    begin = found if begin is None else np.maximum(begin, found)
        return np.full(self._rows, NEVER, np.int64) if begin is None else begin

    def _end(self, rules: tuple[Rule, ...]) -> Ints | None:
        end = None
        for rule in rules:
            if isinstance(rule, Valid) and rule.end is not None:
                found = self._instants(rule.end)
                found = np.where(found == NEVER, FOREVER, found)
                end = found if end is None else np.minimum(end, found)
        return end

    def _instants(self, field: str) -> Ints:
        return self._fields.instants(self._column(field))[: self._rows]

    def _partitions(self, inside: Mask) -> NDArray[np.int32] | None:
        """The number of each row's partition; None where all rows inside are of one."""
        if self._partition is None:
            return None
        numbers = self._fields.numbers(self._column(self._partition), exact=True)[: self._rows]
        there = numbers[inside]
        return None if not len(there) or there.min() == there.max() else numbers

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

    def _chains(self, rule: Superseded, begin: Ints, inside: Mask, before: SuccessionGraph | None) -> SuccessionGraph:
        names = self._fields.numbers(self._column(rule.key))[: self._rows]
        partitions = self._partitions(inside)

        def keys(rows: Ints, numbers: NDArray[Any]) -> Ints:
            found = numbers.astype(np.int64)
            return found if partitions is None else found + (partitions[rows].astype(np.int64) << _SHIFT)

        links = [np.empty((0, 2), np.int64)]
        named = np.zeros(0, np.int64)
        for field, forward in ((rule.by, True), (rule.replaces, False)):
            if field is None:
                continue
            rows, others = self._fields.links(self._column(field))
            kept = rows < self._rows
            rows, others = rows[kept], others[kept]
            kept = inside[rows] & (names[rows] >= 0)
            rows, others = rows[kept], others[kept]
            pair = keys(rows, names[rows]), keys(rows, others)
            links.append(np.stack(pair if forward else pair[::-1], axis=1))
            named = np.concatenate([named, names[rows], others])
        flags = np.zeros(max(int(names.max(initial=0)), int(named.max(initial=0))) + 2, np.bool_)
        flags[named] = True
        there = np.flatnonzero(flags[names] & inside)
        return SuccessionGraph.of(np.concatenate(links), keys(there, names[there]), there, begin, before)


def number_of(key: int) -> int:
    """The number of the value in a key of `SuccessionGraph`."""
    return key & ((1 << _SHIFT) - 1)
