"""Tables and verdicts of `filters.py`."""

from typing import Any

from benchmarks.measure import table, verdict

Outcome = dict[str, Any]
OURS = {"theodolite": 1.0, "theodolite hnsw": 0.99}  # the minimum recall


def report(outcomes: list[Outcome], markdown: bool) -> str:
    """Return, for each kind of data and group: recall with results, latency, ratios, and theodolite's search paths."""
    parts = []
    for outcome in outcomes:
        threads = outcome["threads"]
        size = f"{outcome['rows']:,} × {outcome['dimension']}, {threads} thread{'s' if threads > 1 else ''}"
        title = f"{outcome['kind']} {size}"
        parts += [f"**{title}**\n" if markdown else title]
        for head, cell in (("recall@10", _recall), ("p50 (p95) ms", _latency), ("p50 × ours", _ratio)):
            parts += [_table(outcome, head, cell, markdown), ""]
        parts += [_paths(outcome, markdown), ""]
    return "\n".join(parts)


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """Say whether theodolite is complete, exact or nearly, and as fast as without a filter."""
    lines = []
    for outcome in outcomes:
        base = outcome["cases"]["none"]["peers"].get("theodolite")
        for name, least in OURS.items():
            if name not in outcome["peers"]:
                continue
            mine = {case: figures["peers"][name] for case, figures in outcome["cases"].items()}
            title = f"{outcome['kind']} {outcome['rows']:,}, {name}"
            worst = min(mine, key=lambda case: mine[case]["recall"])
            lines.append(verdict(f"{title}: recall@10, worst at {worst}", mine[worst]["recall"], least, least=True))
            wrong = sum(one["short"] + one["foreign"] for one in mine.values())
            lines.append(verdict(f"{title}: short answers and ineligible results", wrong, 0))
            if base is not None:
                slowest = max(mine, key=lambda case: mine[case]["p50"])
                ratio = mine[slowest]["p50"] / base["p50"]
                lines.append(verdict(f"{title}: p50 over unfiltered flat search, most at {slowest}", ratio, 1.5))
    return lines


def _table(outcome: Outcome, head: str, cell: Any, markdown: bool) -> str:
    cases = outcome["cases"]
    rows = [[name, *(cell(figures, name) for figures in cases.values())] for name in outcome["peers"]]
    return table([head, *cases], rows, markdown)


def _recall(figures: Outcome, name: str) -> str:
    """Format the recall; if answers are short, with the fewest results."""
    mine = figures["peers"][name]
    said = f"{mine['recall']:.3f}"
    if mine["short"]:
        said += f", {mine['short']} short ({mine['fewest']})"
    return said + (f", {mine['foreign']} ineligible" if mine["foreign"] else "")


def _latency(figures: Outcome, name: str) -> str:
    mine = figures["peers"][name]
    return f"{1e3 * mine['p50']:.2f} ({1e3 * mine['p95']:.2f})"


def _ratio(figures: Outcome, name: str) -> str:
    ours = figures["peers"].get("theodolite")
    return f"{figures['peers'][name]['p50'] / ours['p50']:.2f}" if ours else ""


def _paths(outcome: Outcome, markdown: bool) -> str:
    """Format the search paths of theodolite, with query counts if there are several."""
    rows = []
    for case, figures in outcome["cases"].items():
        line = [case, f"{figures['eligible']:,.0f}", str(figures["queries"])]
        for name in OURS:
            paths = figures["peers"].get(name, {}).get("paths", {})
            line.append(", ".join(path if len(paths) == 1 else f"{path} {count}" for path, count in paths.items()))
        rows.append(line)
    return table(["filter", "eligible", "queries", *(f"path, {name}" for name in OURS)], rows, markdown)
