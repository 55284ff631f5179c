"""Steps: what each stage of a search did to each document, gathered from the orders it made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Step


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One stage of a search, over documents known by their positions from 0.

    Attributes:
        name: what `Step.stage` says.
        values: what it gave each document, by position; None or NaN for those it did not look at, or did not find.
        before, after: positions in their order before and after it, best first. They may leave positions out, such as
            those that the stage dropped. No `before`: it made the first order, as either arm of a hybrid search does.
        notes: what is behind the values, by position; or none.
    """

    name: str
    values: Sequence[float | None] | NDArray[np.floating]
    before: Sequence[int] | NDArray[np.integer] | None
    after: Sequence[int] | NDArray[np.integer]
    notes: Sequence[str] = ()


def steps(count: int, stages: Sequence[Stage]) -> list[tuple[Step, ...]]:
    """The steps of `count` documents, by position, each in the order of the stages.

    A document has no step where a stage has no value for it. Places are from 1, and None where an order leaves the
    document out.
    """
    taken: list[list[Step]] = [[] for _ in range(count)]
    for stage in stages:
        before, after = _places(count, stage.before), _places(count, stage.after)
        notes = stage.notes or [""] * count
        for steps, value, first, then, note in zip(taken, stage.values, before, after, notes, strict=True):
            if value is not None and value == value:
                steps.append(Step(stage.name, float(value), first, then, note))
    return [tuple(steps) for steps in taken]


def _places(count: int, order: Sequence[int] | NDArray[np.integer] | None) -> list[int | None]:
    places: list[int | None] = [None] * count
    for place, position in enumerate(() if order is None else order, start=1):
        places[position] = place
    return places
