"""Tables and verdicts of `flat.py`."""

from typing import Any

from benchmarks.measure import table, verdict

Outcome = dict[str, Any]


def report(outcomes: list[Outcome], markdown: bool) -> str:
    """Return a table for each kind of data, size and number of threads, then memory and concurrent callers."""
    parts = []
    for outcome in outcomes:
        parts += [_title(outcome, markdown), _latency(outcome, markdown), ""]
    parts += [_memory(outcomes, markdown), ""]
    if any(outcome["callers"] for outcome in outcomes):
        parts += [_callers(outcomes, markdown), ""]
    return "\n".join(parts)


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """Say whether the targets are met. Targets for speed assume one query on one thread."""
    lines = []
    for outcome in outcomes:
        name = _name(outcome)
        ours = outcome["one"]["theodolite"]["p50"]
        if outcome["threads"] == 1:
            for peer, limit in (("faiss", 3.3), ("numpy", 3.0)):
                if peer in outcome["one"]:
                    ratio = outcome["one"][peer]["p50"] / ours
                    line = verdict(f"{name}: {peer} over theodolite, one query", ratio, limit, least=True)
                    lines.append(f"{line}; by processor time {_by_cpu(outcome, peer, 'theodolite'):.3g}")
            ratio = ours / outcome["one"]["reading"]["p50"]
            line = verdict(f"{name}: theodolite over reading the codes", ratio, 1.4)
            lines.append(f"{line}; by processor time {_by_cpu(outcome, 'theodolite', 'reading'):.3g}")
        # The target is for 384 dimensions; codes, scales and bounds grow with them.
        limit = 0.6 * 1024 * max(1.0, outcome["dimension"] / 384)
        lines.append(verdict(f"{name}: anonymous bytes a vector", outcome["bytes_per_vector"], limit))
        exact = "FAIL" if outcome["wrong"] else "PASS"
        lines.append(f"{exact}  {name}: theodolite's top {10} are the true ones, for every query")
    return lines


def _name(outcome: Outcome) -> str:
    threads = outcome["threads"]
    return (
        f"{outcome['kind']} {outcome['rows']:,} × {outcome['dimension']}, {threads} thread{'s' if threads > 1 else ''}"
    )


def _by_cpu(outcome: Outcome, name: str, other: str) -> float:
    """Return the processor time of a query relative to `other`, which a busy machine does not distort."""
    return float(outcome["one"][name]["cpu"] / outcome["one"][other]["cpu"])


def _title(outcome: Outcome, markdown: bool) -> str:
    scored = outcome["scored"]
    said = f"{_name(outcome)}; rows rescored: median {scored['p50']:.0f}, p95 {scored['p95']:.0f}"
    return f"**{said}**\n" if markdown else said


def _latency(outcome: Outcome, markdown: bool) -> str:
    head = [
        "",
        "one p50 ms",
        "p95",
        "× ours",
        "cpu",
        "× ours",
        "64 p50 ms",
        "p95",
        "× ours",
        "cpu",
        "× ours",
        "recall@10",
    ]
    lines = []
    for name, one in outcome["one"].items():
        batch = outcome["batch"][name]
        recall = batch["recall"]
        cells = [name, *_figures(one, outcome["one"]["theodolite"])]
        cells += [""] * 5 if name == "reading" else _figures(batch, outcome["batch"]["theodolite"])
        lines.append([*cells, "" if recall is None else f"{recall:.4f}"])
    return table(head, lines, markdown)


def _figures(taken: dict[str, float], ours: dict[str, float]) -> list[str]:
    return [
        f"{1e3 * taken['p50']:.2f}",
        f"{1e3 * taken['p95']:.2f}",
        f"{taken['p50'] / ours['p50']:.2f}",
        f"{1e3 * taken['cpu']:.2f}",
        f"{taken['cpu'] / ours['cpu']:.2f}",
    ]


def _memory(outcomes: list[Outcome], markdown: bool) -> str:
    lines = [
        [
            _name(outcome),
            f"{outcome['build']:.2f}",
            f"{outcome['bytes_per_vector']:.0f}",
            f"{outcome['bytes_per_vector_batch']:.0f}",
        ]
        for outcome in outcomes
    ]
    return table(["theodolite", "build s", "anonymous bytes/vector", "after a batch"], lines, markdown)


def _callers(outcomes: list[Outcome], markdown: bool) -> str:
    lines = [
        [
            _name(outcome),
            str(callers["callers"]),
            f"{callers['per_second']:.1f}",
            f"{1e3 * callers['p50']:.2f}",
            f"{1e3 * callers['p95']:.2f}",
        ]
        for outcome in outcomes
        for callers in outcome["callers"]
    ]
    return table(["theodolite", "callers at once", "queries/s", "p50 ms", "p95 ms"], lines, markdown)
