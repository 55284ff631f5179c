"""Tables and verdicts of `hnsw.py`."""

from typing import Any

from benchmarks.measure import table, verdict

Outcome = dict[str, Any]
_MIB = 2**20


def report(outcomes: list[Outcome], markdown: bool) -> str:
    """Return, for each kind of data, the costs of building, then recall and latency for each target."""
    parts = []
    for outcome in outcomes:
        title = _title(outcome)
        parts += [f"**{title}**\n" if markdown else title, _built(outcome, markdown), ""]
        parts += [part for result in outcome["results"] for part in (_latency(result, markdown), "")]
    return "\n".join(parts)


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """Say whether the targets for recall and latency are met."""
    lines = []
    for outcome in outcomes:
        for result in outcome["results"]:
            ways, target = result["ways"], result["target"]
            title = f"{outcome['kind']} {outcome['rows']:,}, recall {target:g}"
            ours, engine = ways["theodolite hnsw"], ways["theodolite engine"]
            for said, one in (("index", ours), ("engine", engine)):
                lines.append(verdict(f"{title}: recall of the {said}", one["recall"], target, least=True))
            if (raw := ways.get("hnswlib, our ef")) is not None:
                lines.append(verdict(f"{title}: index over hnswlib, the same ef", ours["p50"] / raw["p50"], 1.15))
                if outcome["kb"].startswith("hnsw"):
                    more = 1e3 * (engine["p50"] - raw["p50"])
                    lines.append(verdict(f"{title}: engine more than hnswlib, the same ef", more, 0.15, unit=" ms"))
            reached = [ways[name]["p50"] for name in _indexes(outcome) if ways[name]["recall"] >= target]
            if "hnswlib" in ways and reached:
                ratio = ways["hnswlib"]["p50"] / min(reached)
                lines.append(verdict(f"{title}: hnswlib over our best index", ratio, 3.0, least=True))
            for peer, limit in (("faiss", 1.0), ("usearch", 1.0), ("chroma", 2.0), ("lancedb", 2.0)):
                if peer in ways:
                    ratio = ways[peer]["p50"] / ours["p50"]
                    lines.append(verdict(f"{title}: {peer} over our index", ratio, limit, least=True))
    return lines


def _indexes(outcome: Outcome) -> list[str]:
    """Return the names of our approximate indexes alone."""
    return ["theodolite hnsw", *(f"theodolite {spec}" for spec in outcome["others"])]


def _title(outcome: Outcome) -> str:
    threads = outcome["threads"]
    size = f"{outcome['rows']:,} × {outcome['dimension']}"
    return f"{outcome['kind']} {size}, {threads} thread{'s' if threads > 1 else ''}"


def _built(outcome: Outcome, markdown: bool) -> str:
    rows = [
        [name, f"{one['seconds']:.1f}", f"{one['memory'] / _MIB:,.0f}", f"{one['file'] / _MIB:,.0f}"]
        for name, one in outcome["built"].items()
    ]
    return table(["index", "build s", "memory MiB", "files MiB"], rows, markdown)


def _latency(result: Outcome, markdown: bool) -> str:
    ours = result["ways"]["theodolite hnsw"]["p50"]
    rows = [
        [
            name,
            str(one["effort"] or ""),
            f"{one['recall']:.4f}",
            *(f"{1e3 * one[share]:.3f}" for share in ("p50", "p95", "p99")),
            f"{one['p50'] / ours:.2f}",
        ]
        for name, one in result["ways"].items()
    ]
    head = [f"recall {result['target']:g}", "ef", "recall@10", "p50 ms", "p95", "p99", "× ours"]
    return table(head, rows, markdown)
