"""Sample: documents with their vectors, evenly spaced over a collection, in one pass."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.protocols import Engine, Sampling, Scope
from theodolite.types import Document

MAX_DOCUMENTS = 100_000
"""Documents in a sample, unless another number is given."""

Progress = Callable[[str, int, int], object]
"""Called with a step in words, and how much of it is done, of how much; 0 of 0 if that is not known."""

_TEXT = 2000  # characters kept of a text
_STEP = 1000  # documents between two calls of `progress`


@dataclass(frozen=True, slots=True)
class Sample:
    """Some documents of a collection.

    Attributes:
        documents: n documents, with the beginnings of their texts.
        vectors: (n, d), as stored; a memory map of a temporary file.
        total: how many documents the collection has that pass the filter.
    """

    documents: list[Document]
    vectors: NDArray[np.float32]
    total: int

    @property
    def complete(self) -> bool:
        """Whether these are all documents."""
        return len(self.documents) >= self.total


@contextmanager
def draw(
    engine: Engine,
    where: Filter | None = None,
    scope: Scope | None = None,
    *,
    count: int = MAX_DOCUMENTS,
    characters: int = _TEXT,
    progress: Progress | None = None,
) -> Iterator[Sample]:
    """Yield at most `count` documents, evenly spaced: every second, third and so on.

    Args:
        characters: how much is kept of each text.
    """
    total = engine.count(where, scope=scope)
    step = max(1, -(-total // count))
    if isinstance(engine, Sampling):
        found = engine.sample(count, where, scope=scope)
    else:
        found = islice(engine.documents(where, scope=scope), 0, None, step)
    documents: list[Document] = []
    dimension = engine.space.dimension or 0
    with tempfile.TemporaryFile() as file:
        for document, vector in found:
            if len(documents) == count:  # others have added documents meanwhile
                break
            if progress is not None and not len(documents) % _STEP:
                progress("Reading documents", len(documents), -(-total // step))
            dimension = len(vector)
            documents.append(replace(document, text=document.text[:characters]))
            file.write(vector.tobytes())
        file.flush()
        shape = (len(documents), dimension)
        empty = not len(documents) or not dimension
        vectors = np.empty(shape, np.float32) if empty else np.memmap(file, np.float32, "r", shape=shape)
        yield Sample(documents, vectors, max(total, len(documents)))


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of the numbers from 0 to `count` - 1, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.empty(0, np.int64)
