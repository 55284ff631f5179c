"""A history of writes that follows from its seed, and readers that check every answer against it.

Each commit but deletions stamps the document `head` with its number, so an answer that lists everything tells which
state it shows; what was asked between two such answers must be the answer of a state between theirs.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Hits, Retriever

DIMENSION = 8
ALL = 1000
GROUPS = 5
_NAMES = [f"d{number:03d}" for number in range(150)]


@dataclass(frozen=True)
class Stored:
    """A document of a state: its vector follows from its id and version."""

    version: int
    group: int
    commit: int


State = dict[str, Stored]


def vector(name: str, version: int) -> NDArray[np.float32]:
    draw = np.random.default_rng([version, *name.encode()])
    raw = draw.standard_normal(DIMENSION)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


class History:
    """States by number of commits; each is made when it is first asked for."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._steps: list[tuple[str, list[str], int]] = []
        self._states: dict[int, State] = {0: {}}

    def state(self, commits: int) -> State:
        while len(self._steps) < commits:
            self._grow()
        return self._states[commits]

    def step(self, commit: int) -> tuple[str, list[str], int]:
        """The write that makes this commit: kind, ids, group."""
        self.state(commit)
        return self._steps[commit - 1]

    def forget(self, commits: int) -> None:
        """Drop states that are no longer needed."""
        for number in [number for number in self._states if number < commits - 400]:
            del self._states[number]

    def _grow(self) -> None:
        commit = len(self._steps) + 1
        before = self._states[commit - 1]
        kind = "add" if len(before) < 20 else self._random.choice(["add", "add", "update", "delete"])
        group = self._random.randrange(GROUPS)
        if kind == "add":
            names = ["head", *self._random.sample(_NAMES, self._random.randint(1, 12))]
            after = {**before, **{name: Stored(commit, group, commit) for name in names}}
        else:
            there = [name for name in before if name != "head"]
            names = self._random.sample(there, self._random.randint(1, 6))
            if kind == "update":
                names.append("head")
                after = {**before, **{n: Stored(before[n].version, group, commit) for n in names}}
            else:
                after = {name: stored for name, stored in before.items() if name not in names}
        self._steps.append((kind, names, group))
        self._states[commit] = after

    def write(self, kb: Retriever, commit: int) -> None:
        """Do one step."""
        kind, names, group = self.step(commit)
        metadata = {"group": group, "commit": commit}
        if kind == "add":
            documents = [Document(f"{name} in {commit}", metadata, name) for name in names]
            kb.add(documents, vectors=np.stack([vector(name, commit) for name in names]), batch_size=None)
        elif kind == "update":
            kb.update(names, metadata)
        else:
            kb.delete(names)


def shown(history: History, hits: Hits) -> int:
    """The number of commits of the state that an answer with all documents shows."""
    found = {hit.document.id: hit for hit in hits}
    if not found:
        return 0
    commit = int(found["head"].document.metadata["commit"])
    while True:
        state = history.state(commit)
        if state.keys() == found.keys():
            break
        commit += 1
        assert history.step(commit)[0] == "delete", f"no state has these {len(found)} documents"
    for name, stored in state.items():
        document = found[name].document
        assert document.metadata == {"group": stored.group, "commit": stored.commit}, name
        assert document.text == f"{name} in {stored.version}", name
    return commit


def check(
    history: History, query: NDArray[np.float32], hits: Hits, k: int, group: int | None, first: int, last: int
) -> None:
    """Check that the answer is that of a state from `first` to `last`, or, for a proposing index, in such a state."""
    got = [(hit.document.id, hit.document.metadata["commit"], round(hit.score, 5)) for hit in hits]
    for commit in range(first, last + 1):
        state = history.state(commit)
        names = sorted(name for name, stored in state.items() if group is None or stored.group == group)
        scores = {name: float(vector(name, state[name].version).astype(np.float64) @ query) for name in names}
        ranked = sorted(names, key=lambda name: (-np.float32(scores[name]), name))[:k]
        if hits.trace.complete:
            expected = ranked
        else:
            expected = [name for name, *_ in got if name in scores]
            if len(expected) != len(ranked):
                continue
        if [(name, state[name].commit) for name in expected] == [(name, stamp) for name, stamp, _ in got] and all(
            abs(scores[name] - score) < 1e-4 for name, _, score in got
        ):
            return
    raise AssertionError(f"{got} is the answer of no state from {first} to {last} (group {group}, {hits.trace})")


def read(kb: Retriever, seed: int, until: Callable[[], bool], history_seed: int) -> int:
    """Search until `until` returns True; check every answer, and return their number."""
    draw = np.random.default_rng(seed)
    history = History(history_seed)
    first, answers = 0, 0
    while not until():
        asked: list[tuple[Any, Hits, int, int | None]] = []
        for _ in range(5):
            raw = draw.standard_normal(DIMENSION)
            query = (raw / np.linalg.norm(raw)).astype(np.float32)
            k = int(draw.choice([1, 3, 10]))
            group = None if draw.random() < 0.5 else int(draw.integers(GROUPS))
            where = None if group is None else {"group": group}
            asked.append((query, kb.search(vector=query, k=k, where=where), k, group))
        last = shown(history, kb.search(vector=query, k=ALL))
        assert last >= first, "an older state after a newer one"
        for query, hits, k, group in asked:
            check(history, query, hits, k, group, first, last)
        first = last
        history.forget(first)
        answers += len(asked) + 1
    return answers


def write(kb: Retriever, seconds: float, seed: int, first: int = 0) -> int:
    """Write step after step. Returns how many commits there are."""
    history = History(seed)
    commit = first
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        commit += 1
        history.write(kb, commit)
        history.forget(commit)
    return commit
