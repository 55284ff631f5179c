"""Charts as static SVG, drawn by Vega in this process: pages need no script for them.

Colors are variables of the page's style sheet (`var(--ink)`), so a chart is light or dark as the page is.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from theodolite.display import Markup, shortened
from theodolite.evaluation.recall import Recall
from theodolite.evaluation.result import Evaluation
from theodolite.overview.lines import similarity_lines, variance_line
from theodolite.overview.questions import HeatMap
from theodolite.overview.similarity import Histogram, Similarities
from theodolite.plugins import optional

WIDTH = 640

_HEIGHT = 240
_QUESTION, _ID = 56, 26  # columns of labels
_QUANTITY = "quantitative"
# Roles of parts, which Vega writes without "aria", too: the page has a text alternative for the whole picture.
_TAG, _ROLE = re.compile(r"<g [^<>]*>"), re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
_AXIS = {
    "labelColor": "var(--ink)",
    "titleColor": "var(--ink)",
    "domainColor": "var(--line)",
    "tickColor": "var(--line)",
    "gridColor": "var(--line)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
_CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": _AXIS,
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFontSize": 12, "labelLimit": 300},
    "text": {"color": "var(--ink)"},
}


def similarities(found: Similarities) -> Markup:
    """Draw the distributions of cosines: pairs, nearest neighbors, questions, and random directions."""
    lines = similarity_lines(found)
    values = [
        {"similarity": similarity, "share": share, "of": name}
        for name, line in lines.items()
        for similarity, share in line
    ]
    names = list(lines)
    own = len(names) - 1  # the last one is for comparison
    scale = {"domain": names, "range": [*(f"var(--c{number + 1})" for number in range(own)), "var(--muted)"]}
    dashes = {"domain": names, "range": [*[[1, 0], [7, 3], [2, 2]][:own], [1, 4]]}
    legend = {"title": None, "orient": "top", "symbolType": "stroke", "columns": 2}
    return _svg(
        {
            "data": {"values": values},
            "mark": {"type": "line", "interpolate": "monotone", "strokeWidth": 2.5},
            "encoding": {
                "x": {"field": "similarity", "type": _QUANTITY, "title": "cosine similarity"},
                "y": {"field": "share", "type": _QUANTITY, "title": "share", "axis": {"format": ".0%"}},
                "color": {"field": "of", "type": "nominal", "scale": scale, "legend": legend},
                "strokeDash": {"field": "of", "type": "nominal", "scale": dashes, "legend": legend},
            },
        }
    )


def spectrum(variance: Sequence[float]) -> Markup:
    """Draw the share of the variance that the first components explain together."""
    values = [{"components": number, "share": share} for number, share in variance_line(variance)]
    return _svg(
        {
            "data": {"values": values},
            "mark": {"type": "line", "point": len(values) < 30, "color": "var(--c1)", "strokeWidth": 2.5},
            "encoding": {
                "x": {
                    "field": "components",
                    "type": _QUANTITY,
                    "title": "principal components (logarithmic)",
                    "scale": {"type": "log", "domain": [1, max(2, len(values))]},
                    "axis": {"format": "d"},
                },
                "y": {
                    "field": "share",
                    "type": _QUANTITY,
                    "title": "variance explained",
                    "scale": {"domain": [0, 1]},
                    "axis": {"format": ".0%"},
                },
            },
        }
    )


def norms(found: Histogram) -> Markup:
    """Draw the distribution of lengths."""
    values = [
        {"from": low, "to": high, "share": share}
        for (low, high), share in zip(pairwise(found.edges), found.shares, strict=True)
    ]
    return _svg(
        {
            "data": {"values": values},
            "mark": {"type": "bar", "color": "var(--c1)"},
            "encoding": {
                "x": {"field": "from", "type": _QUANTITY, "title": "length", "scale": {"zero": False}},
                "x2": {"field": "to"},
                "y": {"field": "share", "type": _QUANTITY, "title": "share", "axis": {"format": ".0%"}},
            },
        }
    )


def recall(found: Recall) -> Markup:
    """Draw recall against latency: exact search and the index, with intervals and p95; a line for other efforts."""
    low, high = found.interval[found.k]
    points = [("exact", found.exact, 1.0, 1.0, 1.0, "var(--c2)", "square")]
    if found.approximate:
        points.insert(0, ("with the index", found.index, found.recall[found.k], low, high, "var(--c1)", "circle"))
    names = [name for name, *_ in points]
    values = [
        {
            "path": name,
            "ms": 1e3 * latency.p50,
            "p95": 1e3 * latency.p95,
            "recall": mean,
            "low": lower,
            "high": upper,
        }
        for name, latency, mean, lower, upper, *_ in points
    ]
    curve = [{"ms": 1e3 * each.latency.p50, "recall": each.recall, "effort": each.effort} for each in found.efforts]
    lowest = min([low, *(each.recall for each in found.efforts)])
    scale = {"domain": names, "range": [color for *_, color, _ in points]}
    color = {"field": "path", "type": "nominal", "scale": scale, "legend": {"title": None, "orient": "top"}}
    x: dict[str, Any] = {"field": "ms", "type": _QUANTITY, "title": "milliseconds: p50, with a line to p95"}
    if curve:
        x |= {"scale": {"type": "log"}, "axis": {"format": "~g"}}
    y: dict[str, Any] = {"field": "recall", "type": _QUANTITY, "title": f"recall@{found.k}"}
    y["scale"] = {"domain": [min(0.9, float(np.floor(20 * lowest) / 20)), 1.0]}
    shape = {"field": "path", "type": "nominal", "scale": {"domain": names, "range": [each for *_, each in points]}}
    line = {
        "data": {"values": curve},
        "mark": {"type": "line", "strokeWidth": 1.5, "point": {"size": 30, "color": "var(--c1)"}},
        "encoding": {
            "x": x,
            "y": y,
            "order": {"field": "effort", "type": _QUANTITY},
            "color": {"value": "var(--c1)"},
        },
    }
    return _svg(
        {
            "data": {"values": values},
            "encoding": {"color": color},
            "layer": [
                *([line] if curve else []),
                {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": x, "x2": {"field": "p95"}, "y": y}},
                {
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
                    "encoding": {"x": x, "y": y, "shape": shape},
                },
            ],
        }
    )


def evaluation(found: Evaluation) -> Markup:
    """Draw each metric with its interval."""
    values = [
        {"metric": name, "mean": mean, "low": found.intervals[name][0], "high": found.intervals[name][1]}
        for name, mean in found.metrics.items()
    ]
    y = {"field": "metric", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 200}}
    x: dict[str, Any] = {"type": _QUANTITY, "title": "mean, with its 95 % interval", "scale": {"domain": [0, 1]}}
    return _svg(
        {
            "data": {"values": values},
            "encoding": {"y": y},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 3, "color": "var(--c1)"},
                    "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1, "color": "var(--c1)"},
                    "encoding": {"x": {**x, "field": "mean"}},
                },
            ],
            "height": {"step": 26},
        }
    )


def heat_map(found: HeatMap) -> Markup:
    """Draw similarities of questions and documents. A dot marks a hit, a ring a document that is judged relevant."""
    # Numbers keep labels apart that begin alike.
    questions = [f"{number}. {shortened(name, _QUESTION)}" for number, name in enumerate(found.questions, start=1)]
    documents = [f"{shortened(name, _ID)} ({number})" for number, name in enumerate(found.documents, start=1)]
    cells = [
        {
            "question": question,
            "document": document,
            "similarity": round(float(found.similarities[row, column]), 4),
            "hit": bool(found.ranks[row, column]),
            "relevant": bool(found.relevant[row, column]),
        }
        for row, question in enumerate(questions)
        for column, document in enumerate(documents)
    ]

    def axis(field: str, angle: int) -> dict[str, Any]:
        shown = {"labelLimit": 420, "labelAngle": angle, "grid": False, "labelOverlap": False, "labelFontSize": 11}
        return {"field": field, "type": "nominal", "sort": None, "title": None, "axis": shown}

    x, y = axis("document", -90), axis("question", 0)
    color = {
        "field": "similarity",
        "type": _QUANTITY,
        "scale": {"scheme": "viridis"},
        "legend": {"title": found.metric, "orient": "top", "direction": "horizontal", "gradientLength": 240},
    }

    def marked(field: str, mark: dict[str, Any]) -> dict[str, Any]:
        return {"transform": [{"filter": {"field": field, "equal": True}}], "mark": mark, "encoding": {"x": x, "y": y}}

    ring = {"type": "point", "filled": False, "size": 110, "strokeWidth": 2, "color": "#ff3b30", "opacity": 1}
    dot = {"type": "point", "filled": True, "size": 16, "color": "#ffffff", "stroke": "#000000", "strokeWidth": 0.5}
    return _svg(
        {
            "data": {"values": cells},
            "layer": [
                {"mark": {"type": "rect"}, "encoding": {"x": x, "y": y, "color": color}},
                marked("hit", {**dot, "opacity": 1}),
                marked("relevant", ring),
            ],
            "width": {"step": 17},
            "height": {"step": 17},
        }
    )


def over_time(windows: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw the similarity of the first hit and the latency over the hours of a monitor."""

    def chart(title: str, values: list[dict[str, Any]], color: str) -> dict[str, Any]:
        time = {"field": "start", "type": "temporal", "title": "hour (UTC)", "scale": {"type": "utc"}}
        return {
            "data": {"values": [value for value in values if value["value"] is not None]},
            "mark": {"type": "line", "point": {"color": color}, "color": color, "strokeWidth": 2.5},
            "encoding": {
                "x": time,
                "y": {"field": "value", "type": _QUANTITY, "title": title, "scale": {"zero": False}},
            },
            "width": WIDTH,
            "height": _HEIGHT // 2,
        }

    tops = [{"start": each["start"], "value": each["similarity"]["p50"]} for each in windows]
    times = [
        {"start": each["start"], "value": None if each["seconds"]["p95"] is None else 1e3 * each["seconds"]["p95"]}
        for each in windows
    ]
    charts = [chart("similarity, p50", tops, "var(--c1)"), chart("milliseconds, p95", times, "var(--c2)")]
    return _svg({"vconcat": charts}, sized=True)


def _svg(spec: dict[str, Any], *, sized: bool = False) -> Markup:
    """Return a chart of Vega-Lite as SVG.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    with optional("report"):
        import vl_convert
    size = {} if sized else {"width": WIDTH, "height": _HEIGHT}
    whole = {**size, **spec, "config": _CONFIG}
    drawn = vl_convert.vegalite_to_svg(whole, allowed_base_urls=[])
    return Markup(_TAG.sub(lambda tag: _ROLE.sub("", tag[0]), drawn))
