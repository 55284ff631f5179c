"""Deterministic histories of writes, and what a collection must hold after each of their steps."""

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Retriever
from theodolite.indexes.flat.codes import BLOCK

DIMENSION = 4


@dataclass(frozen=True)
class Doc:
    """A document of a history. Its contents follow from these fields."""

    id: str
    version: int
    tag: int = 0

    def document(self) -> Document:
        return Document(f"{self.id} in version {self.version}", {"version": self.version, "tag": self.tag}, self.id)

    def vector(self) -> NDArray[np.float32]:
        seed = zlib.crc32(f"{self.id} {self.version}".encode())
        return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


State = dict[str, Doc]


@dataclass(frozen=True)
class Step:
    """One write: exactly one commit."""

    kind: str
    docs: tuple[Doc, ...] = ()

    def after(self, state: State) -> State:
        """Return the state after `state`."""
        changed = {doc.id: doc for doc in self.docs}
        match self.kind:
            case "add":
                return {**state, **changed}
            case "update":
                return {**state, **{name: replace(state[name], tag=doc.tag) for name, doc in changed.items()}}
            case "compact":
                return state
            case "delete":
                return {name: doc for name, doc in state.items() if name not in changed}
            case _:
                return {}

    def run(self, kb: Retriever) -> None:
        """Run the step."""
        match self.kind:
            case "add":
                vectors = np.stack([doc.vector() for doc in self.docs])
                kb.add([doc.document() for doc in self.docs], vectors=vectors, batch_size=None)
            case "update":
                kb.update([doc.id for doc in self.docs], {"tag": self.docs[0].tag})
            case "delete":
                kb.delete([doc.id for doc in self.docs])
            case "compact":
                kb.compact()
            case _:
                kb.clear()


def _docs(numbers: range, version: int = 0, tag: int = 0) -> tuple[Doc, ...]:
    return tuple(Doc(f"doc-{number:05d}", version, tag) for number in numbers)


_FIRST = Step("add", _docs(range(9)))

WORKLOADS: dict[str, list[Step]] = {
    "adds": [Step("add", _docs(range(3 * i, 3 * i + 3))) for i in range(4)],
    "replacements": [_FIRST, *(Step("add", _docs(range(i, i + 6), version=i + 1)) for i in range(3))],
    "updates": [_FIRST, *(Step("update", _docs(range(2 * i, 2 * i + 5), tag=i + 1)) for i in range(3))],
    "deletes": [_FIRST, *(Step("delete", _docs(range(3 * i, 3 * i + 2))) for i in range(3))],
    "clears": [_FIRST, Step("clear"), Step("add", _docs(range(5), version=1)), Step("clear")],
    "compactions": [
        Step("add", _docs(range(12))),
        Step("delete", _docs(range(4))),
        Step("compact"),
        Step("add", _docs(range(2, 9), version=1)),
        Step("compact"),
    ],
    "seals": [Step("add", _docs(range(BLOCK - 2))), Step("add", _docs(range(BLOCK - 2, BLOCK + 4)))],
}


def states(workload: str) -> list[State]:
    """Return the states before the first step and after each step."""
    found: list[State] = [{}]
    for step in WORKLOADS[workload]:
        found.append(step.after(found[-1]))
    return found


def held(kb: Retriever) -> dict[str, tuple[str, dict[str, Any], bytes]]:
    """Read everything from a collection."""
    return {
        document.id: (document.text, dict(document.metadata), vector.tobytes())
        for document, vector in kb.documents(vectors=True)
    }


def expected(state: State) -> dict[str, tuple[str, dict[str, Any], bytes]]:
    """Compute the same from the history."""
    found = {}
    for doc in state.values():
        wide = doc.vector().astype(np.float64)
        unit = (wide / np.sqrt((wide * wide).sum())).astype(np.float32)
        document = doc.document()
        found[doc.id] = (document.text, dict(document.metadata), unit.tobytes())
    return found
