"""Alert rules: pure functions that compare recent measurements with earlier ones.

A drop must exceed its limit by five standard errors. The margin is large because the rules run thousands of times.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from theodolite.monitoring.histograms import Moments

Cause = Literal["similarity", "norms", "empty", "recall"]

SIMILARITY = 0.05  # allowed drop of the mean similarity of the first hit
EMPTY = 0.10  # allowed rise of the share of empty answers
RECALL = 0.03  # allowed drop of the recall

_DOUBT = 5.0  # standard errors by which a drop must exceed its limit
_LATEST = 30  # minimum number of recent values
_BEFORE = 100  # minimum number of earlier norms
_SHADOWED = 20  # minimum number of recall values; few searches measure recall
_OUTSIDE = 0.2  # minimum share of norms outside their range
_SPREAD = 5.0  # half the width of the range of norms, in standard deviations
_NARROW = 0.1  # minimum half width of that range, as a share: allows for rounding and different texts


@dataclass(frozen=True, slots=True)
class Alert:
    """A drop in search quality.

    Attributes:
        cause: `similarity`: the first hits are less similar than before; `norms`: the embedder's raw query vectors
            have different lengths; `empty`: more answers are empty; `recall`: the index finds less of the exact answer.
        message: the measured value, the expected value, and where to look.
        at: the time of the alert, in UTC.
        value, before: the recent and the earlier mean of the first similarity, the share of empty answers, the recall
            or the norms. The recent mean of norms covers only those outside their range.
    """

    cause: Cause
    message: str
    at: datetime
    value: float
    before: float


Finding = tuple[Cause, str, float, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Earlier measurements that recent ones are compared with.

    Attributes:
        name: its name in messages.
        series: the moments of each series; for norms, the moments of their logarithms.
        tolerance: a factor for the limits: 2 for a baseline that is too short to cover daily and weekly cycles.
    """

    name: str
    series: Mapping[str, Moments]
    tolerance: float = 1.0

    def of(self, name: str) -> Moments:
        return self.series.get(name, Moments())


def findings(
    latest: Mapping[str, Sequence[float]],
    day: Mapping[str, Moments],
    baselines: Sequence[Baseline],
    *,
    relative: bool = False,
    target_recall: float | None = None,
) -> Iterator[Finding]:
    """Yield each change that exceeds its limit.

    Args:
        latest: the latest values of each series; for norms, their logarithms.
        day: the moments of the last 24 hours.
        relative: whether the limit for similarities is a share of their mean, for metrics without a fixed scale.
        target_recall: the recall the index was calibrated for.
    """
    for baseline in baselines:
        spans = [("the latest {}", {name: Moments.of(values) for name, values in latest.items()})]
        if baseline.tolerance == 1:  # an incomplete baseline includes these 24 hours
            spans.append(("the {} of the last 24 hours", dict(day)))
        for span, now in spans:
            yield from _similarity(span, now, baseline, relative)
            yield from _empty(span, now, baseline)
        yield from _norms(latest.get("norm", ()), baseline)
        if baseline.of("recall").count >= _SHADOWED:
            yield from _recall(latest.get("recall", ()), baseline.of("recall").mean, baseline.name)
    if target_recall is not None:
        yield from _recall(latest.get("recall", ()), target_recall, "the target of the index")


def _similarity(span: str, now: Mapping[str, Moments], baseline: Baseline, relative: bool) -> Iterator[Finding]:
    latest, before = now.get("top1", Moments()), baseline.of("top1")
    limit = SIMILARITY * baseline.tolerance * (abs(before.mean) if relative else 1.0)
    if _fallen(latest, before, limit):
        yield (
            "similarity",
            f"the mean similarity of the first hit is {latest.mean:.3f} over {span.format(latest.count)} searches, and "
            f"was {before.mean:.3f} in {baseline.name}. Has the embedding model, its version or the collection "
            "changed? Do users ask other questions? check_embedder() tests the model",
            latest.mean,
            before.mean,
        )


def _empty(span: str, now: Mapping[str, Moments], baseline: Baseline) -> Iterator[Finding]:
    latest, before = now.get("empty", Moments()), baseline.of("empty")
    if _fallen(before, latest, EMPTY * baseline.tolerance):
        yield (
            "empty",
            f"{latest.mean:.0%} of {span.format(latest.count)} searches found nothing, against {before.mean:.0%} in "
            f"{baseline.name}. Do the filters still name fields and values that documents have?",
            latest.mean,
            before.mean,
        )


def _norms(logarithms: Sequence[float], baseline: Baseline) -> Iterator[Finding]:
    before = baseline.of("norm")
    if len(logarithms) < _LATEST or before.count < _BEFORE:
        return
    reach = max(_SPREAD * math.sqrt(before.variance), _NARROW)
    outside = [value for value in logarithms if abs(value - before.mean) > reach]
    if len(outside) > _OUTSIDE * len(logarithms):
        usual, now = math.exp(before.mean), math.exp(math.fsum(outside) / len(outside))
        yield (
            "norms",
            f"{len(outside)} of the latest {len(logarithms)} raw query vectors have norms outside "
            f"[{math.exp(before.mean - reach):.3g}, {math.exp(before.mean + reach):.3g}], {now:.3g} on average; the "
            f"mean was {usual:.3g} in {baseline.name}. Was a normalization step skipped, or is it another model?",
            now,
            usual,
        )


def _recall(values: Sequence[float], before: float, name: str) -> Iterator[Finding]:
    if len(values) < _SHADOWED:
        return
    # Add one value of 0.5, as in `evaluation.recall.interval`: a sample without misses must not have zero error.
    latest, mean_and_stderr = Moments.of(values), Moments.of([*values, 0.5])
    if before - latest.mean - _DOUBT * math.sqrt(mean_and_stderr.variance / mean_and_stderr.count) > RECALL:
        yield (
            "recall",
            f"the approximate index finds {latest.mean:.3f} of the true top 10 in the latest {latest.count} searches "
            f"that were checked, against {before:.3f}: {name}. Reindex, with recent queries",
            latest.mean,
            before,
        )


def _fallen(latest: Moments, before: Moments, limit: float) -> bool:
    """Return whether the mean dropped by more than the limit plus five standard errors."""
    if min(latest.count, before.count) < _LATEST:
        return False
    error = math.sqrt(latest.variance / latest.count + before.variance / before.count)
    return before.mean - latest.mean - _DOUBT * error > limit
