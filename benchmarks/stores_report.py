"""The figures of a framework's stores as tables, and whether the targets are met."""

from typing import Any

from benchmarks.measure import table, verdict

RECALL = 0.99
_OURS = "theodolite"


def report(outcomes: list[dict[str, Any]], noun: str, markdown: bool) -> str:
    """Return, for each size, medians with their recall, and ratios."""
    return "\n".join(part for outcome in outcomes for part in _tables(outcome, noun, markdown))


def _tables(outcome: dict[str, Any], noun: str, markdown: bool) -> list[str]:
    searches, whole = outcome["searches"], {name: outcome[name] for name in ("add", "reopen")}
    names = list(dict.fromkeys(name for case in searches.values() for name in case))
    figures, ratios, spent = [], [], []
    for name in names:
        found = [case.get(name) for case in searches.values()]
        figures.append(
            [
                name,
                *(f"{1e3 * one['p50']:.2f} ({one['recall']:.3f})" if one else "" for one in found),
                *(f"{column[name]:.2f}" if name in column else "" for column in whole.values()),
            ]
        )
        columns = [{peer: one["p50"] for peer, one in case.items()} for case in searches.values()]
        columns += whole.values()
        ratios.append([name, *(_ratio(column, name) for column in columns)])
        used = [{peer: one["cpu"] for peer, one in case.items()} for case in searches.values()]
        spent.append([name, *(_ratio(column, name) for column in used)])
    head = [*(f"{case}, ms (recall@10)" for case in searches), "add, s", "reopen, s"]
    made = f"{outcome['rows']:,} {noun} of {outcome['dimension']}, {outcome['questions']} questions, one thread"
    versions = ", ".join(outcome["versions"].values())
    return [
        f"{made}; {versions}\n",
        table(["store", *head], figures, markdown) + "\n",
        table(["× theodolite", *searches, *whole], ratios, markdown) + "\n",
        table(["processor time, × theodolite", *searches], spent, markdown) + "\n",
    ]


def _ratio(column: dict[str, float], name: str) -> str:
    return f"{column[name] / column[_OURS]:.2f}" if name in column and _OURS in column else ""


def verdicts(outcomes: list[dict[str, Any]], noun: str, share: tuple[float, float]) -> list[str]:
    """Say whether theodolite is within 5 % of the fastest complete store, and what its adapter costs."""
    lines = []
    for outcome in outcomes:
        size = f"{outcome['rows']:,}"
        for case, found in outcome["searches"].items():
            times = {name: one["p50"] for name, one in found.items() if one["recall"] >= RECALL}
            ours = [name for name in times if name.startswith(_OURS)]  # exact, or with the index of a large store
            if ours:
                best, mine = min(times, key=times.__getitem__), min(ours, key=times.__getitem__)
                ratio = times[mine] / times[best]
                lines.append(verdict(f"{size}, {case}: {mine} over {best}", ratio, 1.05, unit="x"))
            elif _OURS in found:
                lines.append(verdict(f"{size}, {case}: recall@10", found[_OURS]["recall"], RECALL, least=True))
        for k, seconds in outcome.get("overhead", {}).items():
            most = share[0] + share[1] * int(k)
            lines.append(verdict(f"{size}, the adapter's share of {k} {noun}", 1e3 * seconds, most, unit=" ms"))
    return lines
