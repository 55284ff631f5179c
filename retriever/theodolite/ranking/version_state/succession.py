"""When each row stops being current by `Superseded`: when a successor of its key begins.

Keys are nodes, and each link leads from a replaced key to its replacement. The members of a cycle (a strongly connected
component of several nodes) do not supersede one another, so only nodes reached outside of the cycle count.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.ranking.version_state.field_arrays import FOREVER, Ints
from theodolite.types import Mask, Rows


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
        return self._reached(nodes, [self._next])

    def predecessors(self, nodes: Iterable[int]) -> set[int]:
        """Return the nodes that have one of `nodes` among their successors."""
        return self._reached(nodes, [self._before])

    def connected(self, nodes: Iterable[int]) -> set[int]:
        """Return some nodes and all that are connected with them by links, whatever the direction."""
        own = set(nodes)
        cycles = {int(self._cycle[node]) for node in own}
        within = {node for number in cycles for node in self._members[number]}
        return within | self._reached(own, [self._next, self._before])

    @cached_property
    def _before(self) -> list[list[int]]:
        """The links, reversed."""
        before: list[list[int]] = [[] for _ in self._next]
        for number, following in enumerate(self._next):
            for other in following:
                before[other].append(number)
        return before

    def _reached(self, nodes: Iterable[int], ways: list[list[list[int]]]) -> set[int]:
        own = {int(self._cycle[node]) for node in nodes}
        left = [other for number in own for links in ways for other in links[number]]
        reached: set[int] = set()
        while left:
            number = left.pop()
            if number not in reached:
                reached.add(number)
                for links in ways:
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


class Links(NamedTuple):
    """Links between keys, each (links,): the row that names it, the replaced key, and its replacement."""

    source: Rows
    old: Ints
    new: Ints

    @classmethod
    def joined(cls, *parts: "Links") -> "Links":
        """Return the links of all parts."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def among(self, chosen: Mask) -> "Links":
        """Return the chosen links, (links,)."""
        return Links(self.source[chosen], self.old[chosen], self.new[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class SuccessionGraph:
    """The links between the keys of some rows.

    Attributes:
        keys: (nodes,) the keys in the links, sorted.
        links: the links, with places in `keys` instead of keys.
        graph: the same as a graph.
        rows, nodes: the rows whose key is in a link, ascending, and its place in `keys`.
        begins: (nodes,) when the first row of each key begins; FOREVER if it has no row.
        ends: (nodes,) when the first successor of each key begins.
    """

    keys: Ints
    links: Links
    graph: Graph
    rows: Rows
    nodes: Rows
    begins: Ints
    ends: Ints

    @classmethod
    def of(cls, links: Links, rows: Rows, key: Ints, begin: Ints) -> "SuccessionGraph":
        """Build the graph.

        Args:
            links: the links, between keys.
            rows, key: the rows that may have a key in a link, ascending, and their keys.
            begin: (all rows,) when each row begins.
        """
        keys, places = np.unique(np.concatenate([links.old, links.new]), return_inverse=True)
        old, new = places.reshape(2, -1)
        distinct = np.unique(old * len(keys) + new)
        graph = Graph(len(keys), distinct // max(len(keys), 1), distinct % max(len(keys), 1))
        nodes, linked = _places(keys, key)
        rows, nodes = rows[linked], nodes[linked]
        begins = np.full(len(keys), FOREVER, np.int64)
        np.minimum.at(begins, nodes, begin[rows])
        return cls(keys, Links(links.source, old, new), graph, rows, nodes, begins, graph.until(begins))


@dataclass(frozen=True, slots=True, eq=False)
class Succession:
    """A `Superseded` rule applied to the rows of one commit.

    It consists of the graph of an earlier commit, and one of what is connected with later changes, so that a commit
    costs what it touches. A node is a place in `keys`.

    Attributes:
        inside: (rows at the earlier commit,) the rows that counted then.
        partitioned: whether keys have a partition's number. Those with and without one cannot be compared.
        first, second: the two graphs; their nodes are numbered one after the other.
        keys, begins, ends: (nodes,) as in a `SuccessionGraph`.
        rows, nodes: the rows whose key is in a link, ascending, and its node.
        apart: the rows that the second graph, rather than the first, decides.
        touched: the rows whose result may differ from that of the commit before; None for all rows.
    """

    inside: Mask
    partitioned: bool
    first: SuccessionGraph
    second: SuccessionGraph | None
    keys: Ints
    begins: Ints
    ends: Ints
    rows: Rows
    nodes: Rows
    apart: Rows
    touched: Rows | None

    @classmethod
    def of(cls, links: Links, rows: Rows, key: Ints, begin: Ints, inside: Mask, *, partitioned: bool) -> "Succession":
        """Apply the rule to all rows `inside`; the other arguments are those of `SuccessionGraph.of`."""
        graph = SuccessionGraph.of(links, rows, key, begin)
        arrays = graph.keys, graph.begins, graph.ends, graph.rows, graph.nodes
        return cls(inside, partitioned, graph, None, *arrays, np.empty(0, np.int64), None)

    def with_changes(
        self,
        changed: Rows,
        links: Links,
        rows: Rows,
        key: Ints,
        having: Callable[[Ints], tuple[Rows, Ints]],
        begin: Ints,
    ) -> "Succession":
        """Apply the rule at a later commit.

        Args:
            changed: the rows that are inside at only one of the two commits: this one, and that of `inside`.
            links: the links that the changed rows inside name.
            rows, key: the changed rows inside, ascending, and their keys.
            having: returns the rows inside with one of some keys, and their keys.
            begin: (all rows,) when each row begins.
        """
        first = self.first
        is_changed: Mask = np.zeros(len(begin), np.bool_)
        is_changed[changed] = True
        left, unlinked = is_changed[first.rows], is_changed[first.links.source]
        named = np.unique(np.concatenate([links.old, links.new]))
        places, known = _places(first.keys, np.concatenate([named, key]))
        touched = [first.nodes[left], first.links.old[unlinked], first.links.new[unlinked], places[known]]
        moved: Mask = np.zeros(len(first.keys), np.bool_)
        moved[list(first.graph.connected(np.concatenate(touched).tolist()))] = True
        # What is connected with a change moves from the first graph to the second.
        kept = first.links.among(moved[first.links.old] & ~unlinked)
        whole = Links.joined(Links(kept.source, first.keys[kept.old], first.keys[kept.new]), links)
        more, more_key = having(named[~known[: len(named)]])
        stays = moved[first.nodes] & ~left
        all_rows = np.concatenate([first.rows[stays], rows, more])
        all_rows, at = np.unique(all_rows, return_index=True)
        all_key = np.concatenate([first.keys[first.nodes[stays]], key, more_key])[at]
        second = SuccessionGraph.of(whole, all_rows, all_key, begin)

        unmoved = ~moved[first.nodes]
        joined_rows = np.concatenate([first.rows[unmoved], second.rows])
        order = np.argsort(joined_rows, kind="stable")
        apart = np.concatenate([first.rows[~unmoved], second.rows])
        return Succession(
            self.inside,
            self.partitioned,
            first,
            second,
            np.concatenate([first.keys, second.keys]),
            np.concatenate([first.begins, second.begins]),
            np.concatenate([first.ends, second.ends]),
            joined_rows[order],
            np.concatenate([first.nodes[unmoved], second.nodes + len(first.keys)])[order],
            apart,
            np.concatenate([apart, self.apart]),
        )

    def until_at(self, rows: Rows) -> Ints:
        """Return when the first successor of the key of each of these rows begins; FOREVER if there is none."""
        until = np.full(len(rows), FOREVER, np.int64)
        places, known = _places(self.rows, rows)
        until[known] = self.ends[self.nodes[places[known]]]
        return until

    def successors(self, gone: Mask, as_of: int) -> Mask:
        """Return the rows of the keys that had replaced the rows `gone` by `as_of`."""
        old = np.unique(self.nodes[gone[self.rows]]).tolist()
        found = [node for node in self._reached(old, Graph.successors) if self.begins[node] <= as_of]
        flags: NDArray[np.bool_] = np.zeros(len(self.keys), np.bool_)
        flags[found] = True
        mask = np.zeros(len(gone), np.bool_)
        mask[self.rows[flags[self.nodes]]] = True
        return mask

    def node(self, row: int) -> int | None:
        """Return the node of a row's key; None if the key is in no link."""
        at = int(self.rows.searchsorted(row))
        return int(self.nodes[at]) if at < len(self.rows) and self.rows[at] == row else None

    def last(self, node: int, as_of: int) -> list[int]:
        """Return the current replacements of a key as of an instant: the ends of its chains."""
        successors = self._reached([node], Graph.successors)
        return sorted(other for other in successors if self.begins[other] <= as_of < self.ends[other])

    def missing(self, node: int, as_of: int) -> list[int]:
        """Return the keys that would replace a key but have no row yet."""
        return sorted(other for other in self._reached([node], Graph.successors) if self.begins[other] > as_of)

    def predecessors(self, node: int) -> set[int]:
        """Return the nodes that have this one among their successors."""
        return self._reached([node], Graph.predecessors)

    def _reached(self, nodes: Iterable[int], way: Callable[[Graph, Iterable[int]], set[int]]) -> set[int]:
        count = len(self.first.keys)
        given = list(nodes)
        reached = way(self.first.graph, [node for node in given if node < count])
        if self.second is not None:
            later = way(self.second.graph, [node - count for node in given if node >= count])
            reached |= {node + count for node in later}
        return reached


def _places(keys: Ints, asked: Ints) -> tuple[Rows, Mask]:
    """Return where each asked key stands in sorted keys, and whether it does."""
    places = np.searchsorted(keys, asked)
    known = places < len(keys)
    known[known] = keys[places[known]] == asked[known]
    return places, known
