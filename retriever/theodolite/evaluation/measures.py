"""Measures of ranked lists, by the package ir-measures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.plugins import optional

# Our names, with those of ir-measures.
_NAMES = {
    "nDCG": "nDCG",
    "MRR": "RR",
    "MAP": "AP",
    "recall": "R",
    "precision": "P",
    "success": "Success",
}


def names(k: Sequence[int]) -> list[str]:
    """Return the names of all measures, such as "nDCG@10"."""
    return [f"{name}@{length}" for length in k for name in _NAMES]


def measure(
    lists: Sequence[Sequence[str]], grades: Sequence[Mapping[str, int]], k: Sequence[int]
) -> NDArray[np.float64]:
    """Return the values of all measures for each question, (questions, measures).

    Args:
        lists: the ids found for each question, best first.
        grades: the grades of each question's documents, by id.
        k: the lengths of list to measure.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    with optional("evaluate"):
        import ir_measures
    measures = [getattr(ir_measures, _NAMES[name]) @ length for length in k for name in _NAMES]
    column = {each: number for number, each in enumerate(measures)}
    judged: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, (found, graded) in enumerate(zip(lists, grades, strict=True)):
        # Numbers for ids: they may hold anything, even NUL, which C strings end at.
        numbers = {name: str(place) for place, name in enumerate(dict.fromkeys([*graded, *found]))}
        judged[str(number)] = {numbers[name]: grade for name, grade in graded.items()}
        if found:
            run[str(number)] = {numbers[name]: float(len(found) - place) for place, name in enumerate(found)}
    values = np.zeros((len(lists), len(measures)))
    for metric in _calculated(ir_measures, measures, judged, run):
        values[int(metric.query_id), column[metric.measure]] = metric.value
    return values


def _calculated(package: Any, measures: list[Any], judged: Any, run: Any) -> Any:
    """Return the values for each question and measure. Without any list, there is nothing to calculate."""
    return package.iter_calc(measures, judged, run) if run else ()
