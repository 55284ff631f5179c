"""The monitor's report."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from theodolite.evaluation.recall import interval
from theodolite.monitoring.alert_rules import Baseline
from theodolite.monitoring.histograms import Series
from theodolite.monitoring.journal import Contents


def report(contents: Contents, path: Path | None, windows: int = 24, *, note: str | None = None) -> dict[str, Any]:
    """Return the report as JSON values; see `Monitor.report`."""
    latest = sorted(contents.windows)[-windows:] if windows > 0 else []
    recalls = contents.latest.get("recall", [])
    baseline = contents.baseline
    return {
        "note": note,
        "file": None if path is None else str(path),
        "searches": sum(found["empty"].moments.count for found in contents.windows.values() if "empty" in found),
        "windows": [{"start": _time(start), **_window(contents.windows[start])} for start in latest],
        "baseline": None if baseline is None else _baseline(baseline),
        "recall": {
            "queries": len(recalls),
            "mean": sum(recalls) / len(recalls) if recalls else None,
            "interval": list(interval(recalls)) if recalls else None,
        },
        "alerts": [
            {
                "cause": alert.cause,
                "at": alert.at.isoformat(),
                "value": alert.value,
                "before": alert.before,
                "message": alert.message,
            }
            for alert in contents.alerts
        ],
    }


def _window(series: Mapping[str, Series]) -> dict[str, Any]:
    empty = series["empty"].moments if "empty" in series else Series().moments
    recall = series.get("recall", Series()).moments
    return {
        "searches": empty.count,
        "empty": round(empty.total),
        "similarity": _statistics(series.get("top1"), exact_mean=True),
        "seconds": _statistics(series.get("seconds"), exact_mean=True),
        "norms": _statistics(series.get("norm"), exact_mean=False),
        "recall": {"queries": recall.count, "mean": recall.mean if recall.count else None},
    }


def _statistics(series: Series | None, *, exact_mean: bool) -> dict[str, float | None]:
    """Return the mean and quantiles. Norms have no exact mean: their moments are those of logarithms."""
    series = series or Series()
    mean = {"mean": series.moments.mean if series.moments.count else None} if exact_mean else {}
    return {**mean, "p50": series.quantile(0.5), "p95": series.quantile(0.95), "p99": series.quantile(0.99)}


def _baseline(baseline: Baseline) -> dict[str, Any]:
    similarity, recall = baseline.of("top1"), baseline.of("recall")
    return {
        "complete": baseline.tolerance == 1,
        "searches": baseline.of("empty").count,
        "similarity": similarity.mean if similarity.count else None,
        "deviation": similarity.variance**0.5,
        "empty": baseline.of("empty").mean,
        "recall": recall.mean if recall.count else None,
    }


def _time(start: int) -> str:
    return datetime.fromtimestamp(start, UTC).isoformat()
