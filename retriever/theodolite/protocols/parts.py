"""The parts of a collection: an embedder, an approximate index, boosts, a reranker."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Rows, Space, Vectors


@runtime_checkable
class Embedder(Protocol):
    """A model that turns texts into vectors.

    Both methods take n texts and return n vectors of `dimension` floats in the same order: an array of shape
    (n, dimension) of any float dtype, a torch tensor, or nested lists. Vectors need not be normalized. The same text
    gives the same vector up to rounding, whatever else is in the batch. An empty list gives shape (0, dimension). Both
    methods may be called from several threads at once.

    An embedder may also have the coroutines `aencode_query` and `aencode_document`, with the same results. `asearch`,
    `aadd` and similar methods await these on the caller's event loop, and otherwise call the synchronous ones.
    """

    @property
    def dimension(self) -> int: ...

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of queries, shape (n, dimension)."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of passages, shape (n, dimension)."""
        ...


@runtime_checkable
class Candidates(Protocol):
    """An approximate index: it proposes rows and never scores them; the flat index does that.

    It is built or loaded once, and then only read, from any number of threads.

    Index files may come from untrusted sources. A class with the attribute `validates = True` guarantees that its
    `load` checks every number it reads: no file can make it crash, read outside its memory, or allocate more memory
    than the file's size justifies. Without the attribute, a file is loaded only if it was built on this machine, or
    with `trust_index=True`.
    """

    def __len__(self) -> int:
        """Return the number of rows indexed so far."""
        ...

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Index `vectors`, shape (n, d); row i of the proposals is vectors[i].

        After an interrupted build, continue with vectors[len(self):]; rows are not indexed twice. `vectors` may be a
        memory map: read only a part at a time.

        Args:
            progress: called after each part with its number of rows, and with 0 from time to time if a part takes
                seconds. An exception it raises ends the build, and so does KeyboardInterrupt; the index can then be
                saved, loaded and built further, unless it is empty.

        Raises:
            UnsupportedError: the index does not support the metric.
            ConfigError: the settings do not fit these vectors; for example, there are too few to train on.
        """
        ...

    def propose(self, query: Vectors, n: int) -> Rows:
        """Return up to n distinct rows that are likely near `query`, shape (1, d), by estimated distance.

        n also sets the effort: the first k of many proposals are better than k proposals. Returning fewer than n rows
        is allowed. An empty index returns no rows.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the index to `path`. Raises OSError if that fails, for example on a full disk."""
        ...

    def load(self, path: Path, space: Space) -> None:
        """Read a file written by `save`. The caller has verified its checksum, which may be untrusted, too.

        Raises:
            CorruptionError: the file is incomplete, or was written with other settings, dimension or metric
                (cosine and dot may count as the same).
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """A model that reads a query and passages together.

    Objects that only have `score` work, too: their scores are calibrated with the logistic function.
    """

    def score(self, query: str, texts: Sequence[str], /) -> NDArray[np.floating[Any]]:
        """Return raw scores, shape (n,), finite, higher is better. They are comparable only within one list."""
        ...

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        """Map raw scores monotonically into [0, 1], shape (n,)."""
        ...


class Scores(Protocol):
    """A reranker without `calibrate`: its scores are calibrated with the logistic function."""

    def score(self, query: str, texts: Any, /) -> Any: ...


RerankerLike = Reranker | Scores | Callable[[str, list[str]], Any] | str | PathLike[str]
"""A reranker, a function of a query and texts, or the name or folder of a cross-encoder."""


@runtime_checkable
class Boost(Protocol):
    """A bounded preference: it multiplies the relevance of a document by a factor in (0, 1].

    Two boosts that are equal and have equal hashes give the same factors. `factors` may receive values of deleted
    documents (in a scope, only values of the scope's current documents). A mapping arrives as an empty mapping, a date
    as a datetime, 1.0 as 1. Name fields within mappings by dotted paths.

    Optional members: `weight` (0 disables the boost), `refuses(now) -> Filter | None` (a search that could find a
    document passing this filter raises InputError), `refusal` (the reason in that message), and `describe(value, now)`
    (for `explain`).
    """

    @property
    def name(self) -> str:
        """The name of its factor in `Hit.scores`."""
        ...

    @property
    def field(self) -> str:
        """The metadata field it reads."""
        ...

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        """Return one factor in (0, 1] for each value of the field (None if missing), shape (n,).

        `now` is in seconds since 1970, UTC.
        """
        ...
