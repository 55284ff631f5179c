"""Vectors of a collection's file, gathered into the caller's memory."""

import numpy as np
import pytest

from theodolite import CorruptionError, Document, Retriever


def test_vectors_are_gathered_into_the_given_memory() -> None:
    given = np.random.default_rng(1).standard_normal((300, 24)).astype(np.float32)
    with Retriever.open(metric="dot") as kb:
        for start in range(0, 300, 100):  # several frames
            part = given[start : start + 100]
            kb.add([Document("", {}, f"d{start + i}") for i in range(100)], vectors=part)
        kb.search(vector=given[0])
        vectors = kb._engine._snapshots._current.vectors  # type: ignore[attr-defined] # the engine's own
        out = np.full((64, 24), np.nan, np.float32)
        for rows in (np.array([299, 0, 150, 150]), np.arange(40, 104), np.empty(0, np.int64)):
            found = vectors.take(rows, out)
            assert found.base is out or not len(rows)
            assert np.array_equal(found, vectors.take(rows))
            assert np.array_equal(found, given[rows])
        with pytest.raises(CorruptionError, match="beyond the end"):
            vectors.take(np.array([5, 300]), out)
