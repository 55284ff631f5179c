"""DocumentsSample: some documents of a collection, by which later changes are estimated on any engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter, matches
from theodolite.protocols import Engine, Scope
from theodolite.scopes import partition_key
from theodolite.types import Document

_SIZE = 300
_DIGITS = 16  # of a digest: two of 300 documents have the same one by chance in 1 of 10^14 cases


@dataclass(frozen=True, slots=True)
class DocumentsSample:
    """Documents that were drawn evenly in the order of their ids.

    Attributes:
        documents: how many there were in all.
        entries: id, partition as text, and digest of the text and the vector of each document in the sample.
    """

    documents: int
    entries: tuple[tuple[str, str, str], ...]

    @classmethod
    def draw(cls, engine: Engine, where: Filter | None, scope: Scope | None) -> "DocumentsSample":
        """Draw a sample from the documents of a scope that pass a filter."""
        count = engine.count(where, scope=scope)
        step = max(1, -(-count // _SIZE))
        drawn = islice(engine.documents(where, scope=scope), 0, None, step)
        return cls(count, tuple(_entry(engine, document, vector) for document, vector in drawn))

    def changed(self, engine: Engine, where: Filter | None, scope: Scope | None) -> float:
        """Estimate how many documents were added, deleted or replaced since, as a share of those there were.

        It is exact if all documents are in the sample. A change of metadata alone does not count.
        """
        found = engine.get([name for name, _, _ in self.entries], scope=scope)
        now = {
            _entry(engine, document, vector)
            for document, vector in found
            if matches(where, document.metadata, document.id)
        }
        there = {entry[:2] for entry in now}
        same = sum(entry in now for entry in self.entries) / len(self.entries)
        present = sum(entry[:2] in there for entry in self.entries) / len(self.entries)
        added = engine.count(where, scope=scope) / self.documents - present
        return max(0.0, 1 - same) + max(0.0, added)

    def to_list(self) -> list[Any]:
        """Return the sample as JSON values."""
        return [self.documents, [list(entry) for entry in self.entries]]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> "DocumentsSample":
        """Read the output of `to_list`. Raises ValueError, TypeError or LookupError for anything else."""
        documents, entries = values
        made = tuple((str(name), str(partition), str(digest)) for name, partition, digest in entries)
        if not made or int(documents) < len(made):
            raise ValueError("the sample of documents is empty")
        return cls(int(documents), made)


def _entry(engine: Engine, document: Document, vector: NDArray[np.float32]) -> tuple[str, str, str]:
    written = document.text.encode("utf-8", "surrogatepass") + b"\0" + np.ascontiguousarray(vector).tobytes()
    return document.id, partition_key(engine.partition, document.metadata), sha256(written).hexdigest()[:_DIGITS]
