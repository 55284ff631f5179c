"""When each row stops being current: by `Latest`, if its group has a newer row; by `Superseded`, if it has a successor.

In a chain, keys are nodes, and each link leads from a replaced key to its replacement. The members of a cycle (a
strongly connected component of several nodes) do not supersede one another, so only nodes reached outside of the cycle
count.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.ranking.version_state.field_arrays import FOREVER, Ints
from theodolite.ranking.versions import Latest
from theodolite.types import Mask, Rows

_FEW = 4  # rows that are compared with all others, one after the other


class Graph:
    """Nodes from 0 to `nodes`, their links, and the cycles among them. Immutable.

    Cycles are numbered so that every link between two of them leads to the lower number; a node in no cycle counts as
    one of its own.
    """

    def __init__(self, nodes: int, old: Ints, new: Ints) -> None:
        order = np.argsort(old, kind="stable")
        ends = np.searchsorted(old[order], np.arange(nodes + 1)).tolist()
        targets = new[order].tolist()
        links = [targets[first:last] for first, last in itertools.pairwise(ends)]
        cycle, self._members = _cycles(links)
        self._cycle = np.array(cycle, np.int64)
        self._next: list[list[int]] = [[] for _ in self._members]
        for one, other in zip(self._cycle[old].tolist(), self._cycle[new].tolist(), strict=True):
            if one != other:
                self._next[one].append(other)

    def until(self, begins: Ints) -> Ints:
        """Return for each node the least of `begins` that it reaches outside its cycle; FOREVER if it reaches none."""
        own = np.full(len(self._members), FOREVER, np.int64)
        np.minimum.at(own, self._cycle, begins)
        least = own.tolist()  # of a cycle, and of all that it reaches
        beyond = []
        for number, following in enumerate(self._next):
            reached = FOREVER
            for other in following:
                if least[other] < reached:
                    reached = least[other]
            beyond.append(reached)
            if reached < least[number]:
                least[number] = reached
        return np.array(beyond, np.int64)[self._cycle]

    def successors(self, nodes: Iterable[int]) -> set[int]:
        """Return the nodes that are reached from some nodes, outside their own cycles."""
        return self._reached(nodes, self._next)

    def predecessors(self, nodes: Iterable[int]) -> set[int]:
        """Return the nodes that have one of `nodes` among their successors."""
        return self._reached(nodes, self._before)

    @cached_property
    def _before(self) -> list[list[int]]:
        """The links, reversed."""
        before: list[list[int]] = [[] for _ in self._next]
        for number, following in enumerate(self._next):
            for other in following:
                before[other].append(number)
        return before

    def _reached(self, nodes: Iterable[int], links: list[list[int]]) -> set[int]:
        own = {int(self._cycle[node]) for node in nodes}
        left = [other for number in own for other in links[number]]
        reached: set[int] = set()
        while left:
            number = left.pop()
            if number not in reached:
                reached.add(number)
                left += links[number]
        return {node for number in reached for node in self._members[number]}


def _cycles(links: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Return the cycle of each node, and the nodes of each cycle; a cycle comes before those that reach it.

    Tarjan, Depth-first search and linear graph algorithms (SIAM Journal on Computing, 1972), without recursion.
    """
    size = len(links)
    cycle = [-1] * size
    members: list[list[int]] = []
    index = [-1] * size
    low = [0] * size
    open_nodes: list[int] = []
    count = 0
    for root in range(size):
        if index[root] >= 0:
            continue
        path = [(root, iter(links[root]))]
        index[root] = low[root] = count
        count += 1
        open_nodes.append(root)
        while path:
            node, rest = path[-1]
            for other in rest:
                if index[other] < 0:
                    index[other] = low[other] = count
                    count += 1
                    open_nodes.append(other)
                    path.append((other, iter(links[other])))
                    break
                if cycle[other] < 0:
                    low[node] = min(low[node], index[other])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    at = len(open_nodes) - 1
                    while open_nodes[at] != node:
                        at -= 1
                    for one in open_nodes[at:]:
                        cycle[one] = len(members)
                    members.append(open_nodes[at:])
                    del open_nodes[at:]
    return cycle, members


@dataclass(frozen=True, slots=True, eq=False)
class SuccessionGraph:
    """A `Superseded` rule applied to the rows of one commit.

    Attributes:
        keys: (nodes,) the keys in the links, sorted.
        links: distinct, sorted: the place in `keys` of the replaced key, times `nodes`, plus that of its replacement.
        graph: the links as a graph.
        rows, nodes: the rows whose key is in a link, ascending, and its place in `keys`.
        begins: (nodes,) when the first row of each key begins; FOREVER if it has no row.
        ends: (nodes,) when the first successor of each key begins.
        until: (rows of the collection,) the same by row; FOREVER for rows without a successor, or outside.
    """

    keys: Ints
    links: Ints
    graph: Graph
    rows: Rows
    nodes: Rows
    begins: Ints
    ends: Ints
    until: Ints

    @classmethod
    def of(
        cls, links: Ints, key: Ints, rows: Rows, begin: Ints, before: "SuccessionGraph | None" = None
    ) -> "SuccessionGraph":
        """Apply the rule.

        Args:
            links: (n, 2) replaced keys and their replacements.
            key: the keys of `rows`.
            rows: the rows inside that may have a key in a link.
            begin: (all rows,) when each row begins.
            before: the rule at another commit, whose graph is reused if the links are the same.
        """
        keys, places = np.unique(links, return_inverse=True)
        old, new = places.reshape(links.shape).T
        distinct = np.unique(old * len(keys) + new)
        if before is not None and np.array_equal(before.keys, keys) and np.array_equal(before.links, distinct):
            graph = before.graph
        else:
            graph = Graph(len(keys), distinct // max(len(keys), 1), distinct % max(len(keys), 1))
        nodes = np.searchsorted(keys, key)
        linked = nodes < len(keys)
        linked[linked] = keys[nodes[linked]] == key[linked]
        rows, nodes = rows[linked], nodes[linked]
        begins = np.full(len(keys), FOREVER, np.int64)
        np.minimum.at(begins, nodes, begin[rows])
        ends = graph.until(begins)
        until = np.full(len(begin), FOREVER, np.int64)
        until[rows] = ends[nodes]
        return cls(keys, distinct, graph, rows, nodes, begins, ends, until)

    def successors(self, gone: Mask, as_of: int) -> Mask:
        """Return the rows of the keys that had replaced the rows `gone` by `as_of`."""
        old = np.unique(self.nodes[gone[self.rows]]).tolist()
        return self._mask(node for node in self.graph.successors(old) if self.begins[node] <= as_of)

    def node(self, row: int) -> int | None:
        """Return the place of a row's key; None if the key is in no link."""
        at = int(self.rows.searchsorted(row))
        return int(self.nodes[at]) if at < len(self.rows) and self.rows[at] == row else None

    def last(self, node: int, as_of: int) -> list[int]:
        """Return the current replacements of a key as of an instant: the ends of its chains."""
        successors = self.graph.successors([node])
        return sorted(other for other in successors if self.begins[other] <= as_of < self.ends[other])

    def missing(self, node: int, as_of: int) -> list[int]:
        """Return the keys that would replace a key but have no row yet."""
        return sorted(other for other in self.graph.successors([node]) if self.begins[other] > as_of)

    def _mask(self, nodes: Iterable[int]) -> Mask:
        flags: NDArray[np.bool_] = np.zeros(len(self.keys), np.bool_)
        flags[list(nodes)] = True
        mask = np.zeros(len(self.until), np.bool_)
        mask[self.rows[flags[self.nodes]]] = True
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A `Latest` rule applied to the rows of one commit.

    Attributes:
        rule: the rule.
        group: (rows,) the number of each row's group; -1 for rows without one.
        rank: (rows,) the rank of `by`, at least 0; higher is newer.
        until: (rows,) when the first newer row of the group begins; FOREVER if there is none, or outside.
    """

    rule: Latest
    group: NDArray[np.integer[Any]]
    rank: Ints
    until: Ints

    @classmethod
    def of(
        cls,
        rule: Latest,
        group: NDArray[np.integer[Any]],
        rank: Ints,
        begin: Ints,
        inside: Mask,
        before: tuple["Groups", Rows] | None = None,
    ) -> "Groups":
        """Apply the rule.

        Args:
            begin: (rows,) when each row begins.
            inside: (rows,) the rows that count.
            before: the rule at another commit with no more rows, and the rows that are inside at only one of the two
                commits. Only their groups are computed again.
        """
        chosen = inside & (group >= 0)
        until = np.full(len(group), FOREVER, np.int64)
        if before is not None:
            earlier, changed = before
            touched = _in_groups_of(group, changed)
            # A row that has died since may have lost its value: its group is known from the earlier commit.
            then = earlier.group
            touched[: len(then)] |= _in_groups_of(then, changed[changed < len(then)])
            until[: len(earlier.until)] = earlier.until
            chosen &= touched
        rows = np.flatnonzero(chosen)
        if len(rows):
            until[rows] = _until(group[rows].astype(np.int64), rank[rows], begin[rows])
        return cls(rule, group, rank, until)

    def successors(self, gone: Mask, as_of: int) -> Mask:
        """Return the rows of groups in which one of the rows `gone` was replaced by `as_of`."""
        return _in_groups_of(self.group, np.flatnonzero(gone & (self.until <= as_of)))

    def members(self, row: int) -> Rows:
        """Return the rows of a row's group; none if it has no group."""
        number = self.group[row]
        return np.flatnonzero(self.group == number) if number >= 0 else np.empty(0, np.int64)


def _in_groups_of(group: NDArray[np.integer[Any]], rows: Rows) -> Mask:
    """Return a mask of the rows that share a group with one of these rows."""
    mask: Mask
    if len(rows) <= _FEW:  # as after a small commit
        mask = np.zeros(len(group), np.bool_)
        for number in np.unique(group[rows]):
            if number >= 0:
                mask |= group == number
        return mask
    flags = np.zeros(int(group.max(initial=-1)) + 2, np.bool_)
    flags[group[rows]] = True
    flags[-1] = False  # where the number -1 leads
    mask = flags[group]
    return mask


def _until(group: Ints, rank: Ints, begin: Ints) -> Ints:
    """Return when the first row of the same group with a higher rank begins."""
    if int(rank.max()) >= len(rank):
        rank = numbered(rank)
    width = int(rank.max()) + 1
    order, ordered = _sorted(group * width + rank)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = np.minimum.reduceat(begin[order], starts)
    group = ordered[starts] // width
    # The minimum from each run to the end of its group: after the step of 2^n, over the 2^(n+1) runs from it.
    step = 1
    while step < len(first):
        beyond = np.where(group[step:] == group[:-step], first[step:], FOREVER)
        if not (beyond < first[:-step]).any():
            break  # a longer step finds nothing earlier
        first[:-step] = np.minimum(first[:-step], beyond)
        step *= 2
    after = np.full(len(first), FOREVER, np.int64)
    after[:-1] = np.where(group[1:] == group[:-1], first[1:], FOREVER)
    until = np.empty(len(order), np.int64)
    until[order] = np.repeat(after, np.diff(starts, append=len(order)))
    return until


def numbered(keys: Ints) -> Ints:
    """Number the distinct keys from 0; keys are not negative."""
    order, ordered = _sorted(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
    return numbers


def _sorted(keys: Ints) -> tuple[Rows, Ints]:
    """Return the places of the keys in sorted order, and the sorted keys. Keys are not negative."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits < 64:
        # Sorted with their places in the lowest bits: numpy sorts numbers five times faster than it sorts places.
        packed = np.sort(keys << bits | np.arange(len(keys)))
        return packed & ((1 << bits) - 1), packed >> bits
    order = np.argsort(keys)
    return order, keys[order]
