"""ISO-8601 strings as instants, many at a time."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import instant
from theodolite.types import Mask

# Those numpy reads ten times faster than Python, by their length.
_FORMS = {
    len(form): form for form in ("dddd-dd-dd", "dddd-dd-ddTdd:dd", "dddd-dd-ddTdd:ddZ", "dddd-dd-ddTdd:dd:dd")
} | {20: "dddd-dd-ddTdd:dd:ddZ"}
_SHORTEST = 10


def instants(strings: Sequence[str]) -> tuple[Mask, NDArray[np.int64]]:
    """Which strings are ISO-8601 dates or datetimes, and their microseconds since 1970 in UTC (0 for the others)."""
    is_iso = np.zeros(len(strings), np.bool_)
    found = np.zeros(len(strings), np.int64)
    sizes = np.fromiter(map(len, strings), np.int64, len(strings))
    left = sizes >= _SHORTEST
    for size, form in _FORMS.items():
        of_size = sizes == size
        if of_size.any():
            part = strings if of_size.all() else list(itertools.compress(strings, of_size))
            fits, read = _many(part, form)
            places = np.flatnonzero(of_size)[fits]
            is_iso[places], found[places], left[places] = True, read, False
    for number in np.flatnonzero(left).tolist():
        text = strings[number]
        moment = instant(text) if text[4] == "-" == text[7] else None
        if moment is not None:
            is_iso[number], found[number] = True, moment
    return is_iso, found


def _many(texts: Sequence[str], form: str) -> tuple[Mask, NDArray[np.int64]]:
    """Which strings, all as long as the form, have it, and their instants; none if one is no date after all."""
    size = len(form)
    letters = np.array(texts, f"U{size}").view(np.uint32).reshape(len(texts), size)
    fits = np.ones(len(texts), np.bool_)
    for place, kind in enumerate(form):
        column = letters[:, place]
        if kind == "d":
            fits &= (column >= ord("0")) & (column <= ord("9"))
        elif kind == "T":
            fits &= (column == ord("T")) | (column == ord(" "))
        else:
            fits &= column == ord(kind)
    fits &= ~(letters[:, :4] == ord("0")).all(axis=1)  # Python has no year 0
    naive = np.ascontiguousarray(letters[fits, : size - form.count("Z")]).view(f"U{size - form.count('Z')}").ravel()
    try:
        return fits, naive.astype("datetime64[us]").astype(np.int64)
    except ValueError:  # such as February 30
        return np.zeros(len(texts), np.bool_), np.empty(0, np.int64)
