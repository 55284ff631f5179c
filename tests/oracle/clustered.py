"""Clustered rows, like those of real models, with queries near some of them, to test graphs."""

import numpy as np

from theodolite.indexes.flat.index import FlatIndex
from theodolite.testing.oracle import ArraySource
from theodolite.types import Space
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare


class Clustered:
    """Clustered rows, some of them the same, and questions; with the flat index over them."""

    def __init__(self, metric: MetricName, rows: int, seed: int, dimension: int, questions: int) -> None:
        self.draw = draw = np.random.default_rng(seed)
        centers = draw.standard_normal((30, dimension))
        raw = centers[draw.integers(30, size=rows)] + 0.5 * draw.standard_normal((rows, dimension))
        raw[rows // 2 : rows // 2 + rows // 50] = raw[: rows // 50]
        self.vectors, self.space = prepare(raw, Space(metric))
        near = raw[draw.integers(rows, size=questions)] + 0.5 * draw.standard_normal((questions, dimension))
        self.queries = prepare(near, self.space)[0]
        self.source = ArraySource(self.vectors)
        self.flat = FlatIndex(metric, dimension).grown(self.source, rows)
