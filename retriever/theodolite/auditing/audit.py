"""Audit the vectors of an array (`audit`) or of a collection (`audit_stored`)."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing import checks
from theodolite.auditing.arrays import as_matrix
from theodolite.auditing.findings import SEVERITIES, Audit, Finding, Recommendation
from theodolite.auditing.measurements import (
    MIN_ROWS,
    Measurements,
    Neighbors,
    Progress,
    angles,
    axes,
    directions,
    lengths,
    neighbors,
    sampled,
    scan,
    wide,
    within,
)
from theodolite.errors import InputError, VectorError
from theodolite.types import Document, Space
from theodolite.vectors.metrics import MetricName, get_metric

_MAX_QUERIES = 100_000  # held in memory as float64

Listing = Iterable[tuple[Document, NDArray[np.float32]]]

_CHECKS = (
    checks.rows,
    checks.not_finite,
    checks.zero,
    checks.norms,
    checks.queries,
    checks.metric_disagreement,
    checks.duplicates,
    checks.anisotropy,
    checks.contrast,
    checks.dimension,
    checks.constant,
    checks.outliers,
    checks.float16,
)


def audit(
    vectors: Any,
    *,
    queries: Any = None,
    metric: MetricName | None = None,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Find problems in vectors before they are searched, and explain what they mean and what to do.

    The vectors may contain NaN. They are read twice, part by part: a memory map may be larger than memory. Samples are
    drawn with `seed`, so the same vectors give the same audit.

    Args:
        vectors: (n, d): an array or a memory map of floats (or integers beyond 8 bits), lists, or a torch tensor.
        queries: (m, d), vectors of real queries; 200 of the first 100,000 are used. Default: rows with noise added.
        metric: the metric to compare the vectors by: `cosine`, `dot` or `l2`. None checks for all of them.
        ids: names of the rows in findings.
        progress: called with the number of rows read since the last call; 2 n in total.

    Raises:
        VectorError: no rows, not two-dimensional, an unsupported dtype, or queries of another dimension.
        ConfigError: an unknown metric.
    """
    compared_by = None if metric is None else get_metric(metric)
    matrix = as_matrix(vectors)
    count, dimension = matrix.shape
    if ids is not None and len(ids) != count:
        raise VectorError(f"there are {count} vectors and {len(ids)} ids", expected=count, got=len(ids))
    tested = query_norms = None
    if queries is not None:
        given = as_matrix(queries, "queries")
        if given.shape[1] != dimension:
            raise VectorError(
                f"queries have dimension {given.shape[1]}, the vectors {dimension}: they are not from the same model",
                expected=dimension,
                got=given.shape[1],
            )
        tested = wide(given, slice(0, _MAX_QUERIES))
        query_norms = lengths(tested)
        tested = tested[within(query_norms)]
    scanned = scan(matrix, progress)
    usable = scanned.usable
    sample = sampled(matrix, usable, seed) if len(usable) >= MIN_ROWS else None
    near: Neighbors | None = None
    if len(usable) >= MIN_ROWS:
        near = neighbors(
            matrix, scanned.norms, usable, tested if tested is not None and len(tested) else None, seed, progress
        )
    elif progress is not None:
        progress(count)
    measured = Measurements(
        count,
        dimension,
        8 * matrix.dtype.itemsize,
        compared_by,
        scanned,
        None if sample is None else angles(sample),
        None if sample is None else axes(sample),
        near,
        query_norms,
        ids,
    )
    findings: list[Finding] = [finding for check in _CHECKS if (finding := check(measured)) is not None]
    if ids is not None:
        findings = [one if one.name == "queries" else replace(one, ids=_names(one.rows, ids)) for one in findings]
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return Audit(count, dimension, str(matrix.dtype), metric, checks.recommended(measured), tuple(findings))


def audit_stored(
    listing: Listing, space: Space, *, queries: Any = None, seed: int = 0, progress: Progress | None = None
) -> Audit:
    """Audit documents with their vectors. `progress` counts each document three times.

    Raises:
        InputError: there are no documents.
        VectorError: the queries have another dimension.
    """
    normalizes = get_metric(space.metric).normalizes
    if queries is not None and normalizes:  # as the stored vectors are
        raw = wide(as_matrix(queries, "queries"), slice(None))
        queries = directions(raw, lengths(raw))
    with _copied(listing, progress) as (ids, vectors):
        found = audit(vectors, queries=queries, metric=space.metric, ids=ids, seed=seed, progress=progress)
    reason = "the collection is pinned to them"
    if normalizes:
        reason += "; it stores vectors normalized, so their original lengths are not known"
    return replace(found, recommended=Recommendation(space.metric, space.norms, reason))


@contextmanager
def _copied(listing: Listing, progress: Progress | None) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Copy vectors to a temporary file, since an audit reads them twice; yield the ids and the vectors, (n, d).

    Raises:
        InputError: there are no documents.
    """
    ids: list[str] = []
    dimension = 0
    with tempfile.TemporaryFile() as file:
        for document, vector in listing:
            ids.append(document.id)
            dimension = len(vector)
            file.write(vector.tobytes())
            if progress is not None:
                progress(1)
        if not ids:
            raise InputError("the collection has no documents to audit")
        file.flush()
        yield ids, np.memmap(file, np.float32, "r", shape=(len(ids), dimension))


def _names(rows: Sequence[int], ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(ids[row] for row in rows)
