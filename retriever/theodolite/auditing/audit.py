"""audit(): what is to be known of vectors before they are searched."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from theodolite.auditing import geometry_findings, value_findings
from theodolite.auditing.arrays import checked
from theodolite.auditing.facts import Facts
from theodolite.auditing.findings import SEVERITIES, Audit, Finding
from theodolite.auditing.geometry import FEWEST, Neighbours, angles, axes, neighbours, sampled
from theodolite.auditing.scan import Progress, lengths, scan, wide, within
from theodolite.errors import VectorError
from theodolite.vectors.metrics import MetricName, get_metric

_QUERIES = 100_000  # held in memory as float64

_JUDGES = (
    value_findings.rows,
    value_findings.not_finite,
    value_findings.zero,
    value_findings.norms,
    value_findings.queries,
    geometry_findings.ranking,
    value_findings.duplicates,
    geometry_findings.anisotropy,
    geometry_findings.contrast,
    geometry_findings.dimension,
    value_findings.constant,
    value_findings.outliers,
    value_findings.float16,
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
    """Look at vectors before they are searched: what is wrong, what it means, and what to do.

    The vectors are taken as they are, NaN and all, and read twice, part by part: a memory map may be larger than
    memory. What is sampled is sampled by `seed`: the same vectors give the same audit.

    Args:
        vectors: (n, d): an array or a memory map of floats (or integers beyond 8 bits), lists, or a torch tensor.
        queries: (m, d), vectors of real questions (of more than 100,000 the first); 200 of them are asked. Without any,
            rows with noise stand in.
        metric: what the vectors are, or will be, compared by: `cosine`, `dot` or `l2`. None judges for all.
        ids: what rows are called in findings.
        progress: called with the number of rows read since the last call; 2 n in all.

    Raises:
        VectorError: no rows, not two-dimensional, a dtype that holds no vectors, or queries of another dimension.
        ConfigError: a metric that does not exist.
    """
    compared_by = None if metric is None else get_metric(metric)
    matrix = checked(vectors)
    count, dimension = matrix.shape
    if ids is not None and len(ids) != count:
        raise VectorError(f"there are {count} vectors and {len(ids)} ids", expected=count, got=len(ids))
    asked = query_norms = None
    if queries is not None:
        given = checked(queries, "queries")
        if given.shape[1] != dimension:
            raise VectorError(
                f"queries have dimension {given.shape[1]}, the vectors {dimension}: they are not of one model",
                expected=dimension,
                got=given.shape[1],
            )
        asked = wide(given, slice(0, _QUERIES))
        query_norms = lengths(asked)
        asked = asked[within(query_norms)]
    scanned = scan(matrix, progress)
    usable = scanned.usable
    sample = sampled(matrix, usable, seed) if len(usable) >= FEWEST else None
    near: Neighbours | None = None
    if len(usable) >= FEWEST:
        near = neighbours(
            matrix, scanned.norms, usable, asked if asked is not None and len(asked) else None, seed, progress
        )
    elif progress is not None:
        progress(count)
    facts = Facts(
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
    findings: list[Finding] = [finding for judge in _JUDGES if (finding := judge(facts)) is not None]
    if ids is not None:
        findings = [one if one.name == "queries" else replace(one, ids=_names(one.rows, ids)) for one in findings]
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return Audit(count, dimension, str(matrix.dtype), metric, geometry_findings.recommended(facts), tuple(findings))


def _names(rows: Sequence[int], ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(ids[row] for row in rows)
