"""Embed many texts in batches."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import VectorError

Floats = NDArray[np.float32]

_SHORT = 32  # tokens; padding to this length costs less than another batch

Progress = Callable[[int], None]
"""Called after each batch with the number of texts done in it."""


def encode_in_batches(
    texts: Sequence[str],
    size: int,
    compute: Callable[[list[str]], NDArray[np.floating]],
    *,
    name: str,
    progress: Progress | None = None,
    lengths: Sequence[int] | None = None,
) -> Floats:
    """Return the vectors of at least one text, (n, d) float32, in the order of the texts.

    A batch holds texts of similar length, to keep padding short. The longest texts come first, so that a batch that
    does not fit into memory fails at once. If the lengths in tokens are known, a text of less than half the length of
    the longest in its batch begins a new batch.

    Args:
        size: maximum number of texts in a batch.
        compute: takes the texts of a batch and returns their vectors.
        name: the model's name, for errors.
        progress: called after each batch. Its exceptions pass through.
        lengths: the lengths of the texts in tokens. Default: their characters, which need no tokenizer.

    Raises:
        VectorError: `compute` did not return one vector for each text.
    """
    known = lengths or [len(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: -known[row])
    out = np.empty((0, 0), np.float32)
    for rows in _batches(order, size, lengths):
        part = compute([texts[row] for row in rows])
        if not len(out):
            out = np.empty((len(order), part.shape[-1]), np.float32)
        if part.shape != (len(rows), out.shape[1]):
            raise VectorError(
                f"{name} returned an array of shape {part.shape} for {len(rows)} texts; "
                f"expected {(len(rows), out.shape[1])}",
                shape=part.shape,
            )
        out[rows] = part
        if progress is not None:
            progress(len(rows))
    return out


def _batches(order: Sequence[int], size: int, lengths: Sequence[int] | None) -> Iterator[Sequence[int]]:
    """Yield the rows of each batch.

    Args:
        order: rows from the longest text to the shortest.
    """
    start = 0
    while start < len(order):
        rows = order[start : start + size]
        if lengths is not None:
            least = lengths[rows[0]] // 2 if lengths[rows[0]] > _SHORT else 0
            rows = [row for row in rows if lengths[row] >= least]
        yield rows
        start += len(rows)
