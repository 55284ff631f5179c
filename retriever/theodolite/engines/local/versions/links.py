"""`Superseded`: until when each key is at the end of its chain.

Keys are nodes, and each link leads from what is replaced to what replaces it. In a circle (a strongly connected
component of several nodes) nobody supersedes one another, so what counts for a node is what it can reach outside its
own circle.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.versions.fields import FOREVER, Ints
from theodolite.types import Mask, Rows


class Graph:
    """Nodes from 0 to `nodes`, their links, and the circles among them. Immutable.

    Attributes:
        circle: the number of each node's circle, in an order in which every link leads to a lower number or stays.
    """

    def __init__(self, nodes: int, old: Ints, new: Ints) -> None:
        order = np.argsort(old, kind="stable")
        ends = np.searchsorted(old[order], np.arange(nodes + 1)).tolist()
        targets = new[order].tolist()
        self._next = [targets[first:last] for first, last in itertools.pairwise(ends)]
        self.circle, self._members = _circles(self._next)

    def until(self, begins: list[int]) -> list[int]:
        """For each node the least of `begins` that it reaches outside its circle; FOREVER where it reaches none."""
        reached: list[int] = []
        within: list[int] = []  # in the circle, or reached from it
        for number, members in enumerate(self._members):
            least, own = FOREVER, FOREVER
            for node in members:
                own = min(own, begins[node])
                for other in self._next[node]:
                    beyond = self.circle[other]
                    if beyond != number and within[beyond] < least:
                        least = within[beyond]
            reached.append(least)
            within.append(min(least, own))
        return [reached[number] for number in self.circle]

    def successors(self, nodes: Iterable[int]) -> set[int]:
        """What leads out of the circles of some nodes, and what is reached from there."""
        return self._reached(nodes, self._next)

    def predecessors(self, nodes: Iterable[int]) -> set[int]:
        """The nodes that have one of `nodes` among their successors."""
        before: list[list[int]] = [[] for _ in self._next]
        for node, found in enumerate(self._next):
            for other in found:
                before[other].append(node)
        return self._reached(nodes, before)

    def _reached(self, nodes: Iterable[int], links: list[list[int]]) -> set[int]:
        own = {self.circle[node] for node in nodes}
        found: set[int] = set()
        left = [other for number in own for other in self._leaving(number, links)]
        while left:
            number = self.circle[left.pop()]
            if number not in found:
                found.add(number)
                left += self._leaving(number, links)
        return {node for number in found for node in self._members[number]}

    def _leaving(self, number: int, links: list[list[int]]) -> Iterator[int]:
        return (other for node in self._members[number] for other in links[node] if self.circle[other] != number)


def _circles(links: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """The circle of each node, and the nodes of each circle, those that are reached first.

    Tarjan, Depth-first search and linear graph algorithms (SIAM Journal on Computing, 1972), without recursion.
    """
    size = len(links)
    circle = [-1] * size
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
                if circle[other] < 0:
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
                        circle[one] = len(members)
                    members.append(open_nodes[at:])
                    del open_nodes[at:]
    return circle, members


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """The rule on the rows of one commit.

    Attributes:
        keys: (nodes,) the keys in the links, sorted.
        links: distinct, sorted: the place in `keys` of what is replaced, times `nodes`, plus that of what replaces it.
        graph: of the links.
        rows, nodes: the rows whose key is in a link, rising, and its place in `keys`.
        begins: when the first row of each key begins; FOREVER where none is there.
        ends: when the first successor of each key begins.
        until: (rows of the collection,) the same by row; FOREVER for a row without one, or outside.
    """

    keys: Ints
    links: Ints
    graph: Graph
    rows: Rows
    nodes: Rows
    begins: list[int]
    ends: list[int]
    until: Ints

    @classmethod
    def of(cls, links: Ints, key: Ints, rows: Rows, begin: Ints, before: "Chains | None" = None) -> "Chains":
        """From links between keys, the rows inside with a key in them, and when every row begins.

        Args:
            links: (n, 2).
            key: the keys of `rows`.
            begin: (all rows,).
            before: the rule at another commit, whose graph serves again where the links are the same.
        """
        keys, places = np.unique(links, return_inverse=True)
        old, new = places.reshape(links.shape).T
        distinct = np.unique(old * len(keys) + new)
        if before is not None and np.array_equal(before.keys, keys) and np.array_equal(before.links, distinct):
            graph = before.graph
        else:
            graph = Graph(len(keys), distinct // max(len(keys), 1), distinct % max(len(keys), 1))
        nodes = np.searchsorted(keys, key)
        there = nodes < len(keys)
        there[there] = keys[nodes[there]] == key[there]
        rows, nodes = rows[there], nodes[there]
        begins = np.full(len(keys), FOREVER, np.int64)
        np.minimum.at(begins, nodes, begin[rows])
        ends = graph.until(begins.tolist())
        until = np.full(len(begin), FOREVER, np.int64)
        until[rows] = np.array(ends, np.int64)[nodes]
        return cls(keys, distinct, graph, rows, nodes, begins.tolist(), ends, until)

    def heirs(self, gone: Mask, as_of: int) -> Mask:
        """Rows of the keys that have taken the place of the rows `gone` by `as_of`."""
        old = np.unique(self.nodes[gone[self.rows]]).tolist()
        return self._mask(node for node in self.graph.successors(old) if self.begins[node] <= as_of)

    def node(self, row: int) -> int | None:
        """The place of a row's key."""
        at = int(self.rows.searchsorted(row))
        return int(self.nodes[at]) if at < len(self.rows) and self.rows[at] == row else None

    def last(self, node: int, as_of: int) -> list[int]:
        """The keys that stand in the place of one as of an instant, at the ends of the chains."""
        found = self.graph.successors([node])
        return sorted(one for one in found if self.begins[one] <= as_of < self.ends[one])

    def missing(self, node: int, as_of: int) -> list[int]:
        """The keys that would supersede one, and are not there."""
        return sorted(one for one in self.graph.successors([node]) if self.begins[one] > as_of)

    def _mask(self, nodes: Iterable[int]) -> Mask:
        flags: NDArray[np.bool_] = np.zeros(len(self.keys), np.bool_)
        flags[list(nodes)] = True
        mask = np.zeros(len(self.until), np.bool_)
        mask[self.rows[flags[self.nodes]]] = True
        return mask
