"""Counts that follow changes, against counts made anew."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling import sampled

from theodolite.columns.segment import Segment
from theodolite.engines.local.search.value_counts import ValueCounts, ValueCountsCache

VALUES: list[Any] = [
    *(None, True, False, 0, 1, 1.5, 1 << 70, "", "a", "b", "2024-05-01", [], {}),
    *(["a"], ["a", "a", "b"], [1, "a"], [[1], None], ["2024-05-01", True]),
]
values = st.sampled_from(VALUES)


def segment_of(held: list[Any]) -> Segment:
    """Return a segment of rows with these values; None stands for a row without one."""
    places = np.array([place for place, value in enumerate(held) if value is not None], np.int32)
    present = [value for value in held if value is not None]
    return Segment.of(0, len(held), 1, places, np.arange(len(present)), present)


@given(st.data())
@settings(max_examples=sampled(200), deadline=None)
def test_counts_that_follow_changes_are_those_made_anew(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([3, 40, 300]))
    held = data.draw(st.lists(values, min_size=1, max_size=rows)) + [None] * data.draw(st.sampled_from([0, 200]))
    segment = segment_of(held)
    cache = ValueCountsCache()
    for _ in range(4):
        passing = np.array(data.draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held))))
        where = data.draw(st.sampled_from(["None", "a filter"]))
        found, anew = cache.counts(segment, passing, where), ValueCounts.of(segment, passing)
        assert all(np.array_equal(one, other) for one, other in zip(found, anew, strict=True))
