"""Searches that a boost refuses, for documents it cannot judge."""

from collections.abc import Callable, Iterable

import numpy as np

from theodolite.errors import InputError
from theodolite.filters import Filter
from theodolite.protocols import Boost
from theodolite.types import Mask


def check_refusals(
    boosts: Iterable[Boost],
    now: float,
    mask_of: Callable[[Filter], Mask],
    eligible: Mask | None,
    total: int,
    id_of: Callable[[int], str],
) -> None:
    """Refuse a search where a boost refuses one of the documents that it may find.

    Args:
        now: seconds since 1970, UTC.
        mask_of: which rows are living documents that pass a filter, shape (rows,).
        eligible: which rows the search may find, shape (rows,); None for all living ones.
        total: how many these are.
        id_of: the id of a row's document.

    Raises:
        InputError: with `boost`, `count` and `first`, an id.
    """
    for boost in boosts:
        refuses = getattr(boost, "refuses", None)
        tree = refuses(now) if refuses else None
        if tree is None:
            continue
        refused = mask_of(tree) if eligible is None else mask_of(tree) & eligible
        count = int(np.count_nonzero(refused))
        if count:
            first = id_of(int(refused.argmax()))
            why = getattr(boost, "refusal", "are refused")
            raise InputError(
                f"{boost.name}: {count} of {total} eligible documents {why}, first {first!r}. Correct their "
                "metadata, leave them out with where, or let the boost accept them",
                boost=boost.name,
                count=count,
                first=first,
            )
