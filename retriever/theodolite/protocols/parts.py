"""What a collection is put together from: an embedder, an approximate index, boosts, a reranker."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Rows, Space, Vectors


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    Both methods take n texts and return n vectors of `dimension` floats in the same order: an array of shape
    (n, dimension) of any float dtype, a torch tensor, or nested lists. They need not be normalised. The same
    text gives the same vector, but for rounding, whatever else is in the batch. No texts give shape (0, dimension).
    They may be called from several threads at once.

    An embedder may also have `aencode_query` and `aencode_document`, which are the same as coroutines: `asearch`,
    `aadd` and the like await these, on the event loop they are called on, and call the others where they have to.
    """

    @property
    def dimension(self) -> int: ...

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Vectors of questions, shape (n, dimension)."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Vectors of passages, shape (n, dimension)."""
        ...


@runtime_checkable
class Candidates(Protocol):
    """An approximate index: proposes rows, and never scores them; the flat index does.

    Built or loaded first, and from then on only read, from any number of threads.

    Files of an index may come from somebody else. A class with the attribute `validates = True` promises that its
    `load` checks every number it reads, so that no file can make it crash, read outside its memory or allocate more
    than the file's size explains. Without it the index is opaque: a file is loaded only if it was built here, or with
    `trust_index=True`.
    """

    def __len__(self) -> int:
        """How many rows are indexed so far."""
        ...

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Index `vectors`, shape (n, d); row i of the proposals is vectors[i].

        Rows that are in already, of a build that was interrupted, are not indexed again: it goes on with
        vectors[len(self):]. `vectors` may be a memory map, of which only a part is read at a time.

        Args:
            progress: called after each part with the number of rows it had. What it raises ends the build, and
                so does KeyboardInterrupt; the index can then be saved, loaded and built further.

        Raises:
            UnsupportedError: for a metric this index does not know.
            ConfigError: settings that do not fit these vectors, for instance too few of them to train on.
        """
        ...

    def propose(self, query: Vectors, n: int) -> Rows:
        """Up to n distinct rows likely to be near `query`, shape (1, d), nearest first as far as the index can tell.

        n is the effort, too: the first k of many proposals are better than k proposals. Fewer than n are no error.
        An index that holds nothing proposes nothing.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the index to `path`; raise OSError where that fails, also on a full disk."""
        ...

    def load(self, path: Path, space: Space) -> None:
        """Read what `save` wrote. The caller has verified the file by its hash, which may be somebody else's, too.

        Raises:
            CorruptionError: the file is not whole, or was written with other settings, dimension or metric
                (cosine and dot may count as one).
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reads a query and passages together.

    Objects with `score` alone are taken, too: what they give is then calibrated by the logistic function.
    """

    def score(self, query: str, texts: Sequence[str], /) -> NDArray[np.floating[Any]]:
        """Raw scores, shape (n,), finite, higher is better. They order one list and mean nothing beyond it."""
        ...

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        """Raw scores mapped monotonically into [0, 1], shape (n,)."""
        ...


class Scores(Protocol):
    """A reranker without `calibrate`: its scores are calibrated by the logistic function."""

    def score(self, query: str, texts: Any, /) -> Any: ...


RerankerLike = Reranker | Scores | Callable[[str, list[str]], Any] | str | PathLike[str]
"""A reranker, a function of a query and texts, or a cross-encoder's name or folder."""


@runtime_checkable
class Boost(Protocol):
    """A bounded preference: multiplies the relevance of a document by a factor in (0, 1].

    Two that are equal and hash alike give the same factors. It may be asked about values of documents that are
    gone (in a scope, of the scope's own living documents only). A mapping comes as an empty one, a date as a
    datetime, 1.0 as 1. Name fields within mappings by dotted paths.

    Optional are `weight` (0: it is left out), `refuses(now) -> Filter | None` (a search that could find a
    document that passes it raises InputError), `refusal` (the words for that), and `describe(value, now)` (for
    `explain`).
    """

    @property
    def name(self) -> str:
        """What its part is called in `Hit.scores`."""
        ...

    @property
    def field(self) -> str:
        """The metadata field it reads."""
        ...

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        """One factor in (0, 1] for each value of the field (None where missing), shape (n,).

        `now` is in seconds since 1970, UTC.
        """
        ...
