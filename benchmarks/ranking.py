"""The cost of each stage of the ranking, through the public API, one search at a time.

    python benchmarks/ranking.py --data FOLDER
    python benchmarks/ranking.py --data FOLDER --only hybrid versions --threads 2 --markdown
    python benchmarks/ranking.py --quick

Boosts: boosted exact search beside plain search, for the index alone and for the whole search. Hybrid: beside dense
search, on short texts and on passages of 80 words, with a filter, with boosts, in a partition. Versions: the time that
rules add to a search of many documents with few dimensions. Reranker: a cross-encoder on torch and on onnxruntime. Each
part has its own process. Compared searches take turns, and `added` is the difference of the medians. The verdicts use
processor time: with one thread, it is the time on an idle machine.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.judged import DATA
from benchmarks.measure import child, limit, machine, progress, table, verdict, write_json

PARTS = ("boosts", "hybrid", "versions", "reranker")
QUICK = {"boosts": 5_000, "glosses": 2_000, "passages": 2_000, "versions": 20_000, "queries": 20}
PROMISED = 200_000  # minimum rows for the target of boosts: with fewer, other work than the scan dominates

Outcome = dict[str, Any]


def measured(task: Outcome) -> Outcome:
    """Measure one part, in a child process."""
    from benchmarks import ranking_arms, ranking_boosts, ranking_reranker, ranking_versions

    limit(task["threads"])
    parts: dict[str, Callable[[Outcome], Outcome]] = {
        "boosts": ranking_boosts.measure,
        "hybrid": ranking_arms.measure,
        "versions": ranking_versions.measure,
        "reranker": ranking_reranker.measure,
    }
    return parts[task["part"]](task)


def report_boosts(outcome: Outcome, markdown: bool) -> list[str]:
    lines, verdicts = [], []
    for title, ways in outcome["ways"].items():
        for way, times in ways.items():
            ratio = times["boosted"]["p50"] / times["plain"]["p50"]
            used = times["boosted"]["cpu"] / times["plain"]["cpu"]
            figures = [f"{times[kind][share]:.2f}" for kind in ("plain", "boosted") for share in ("p50", "p95", "cpu")]
            lines.append([f"{title}, {way}", *figures, f"{ratio:.2f}", f"{used:.2f}"])
            if outcome["rows"][title] >= PROMISED:
                verdicts.append(verdict(f"{title}, {way}: boosted over plain, cpu", used, 1.3, unit="x"))
    head = ["boosts", "plain p50 ms", "p95", "cpu", "boosted p50 ms", "p95", "cpu", "ratio", "of cpu"]
    return [table(head, lines, markdown), "", *verdicts, ""]


def report_hybrid(outcome: Outcome, markdown: bool) -> list[str]:
    lines, verdicts = [], []
    for title, cases in outcome["cases"].items():
        most = 5 if title.startswith("glosses") else 25
        for case, times in cases.items():
            added = times["hybrid"]["p50"] - times["dense"]["p50"]
            used = times["hybrid"]["cpu"] - times["dense"]["cpu"]
            figures = [
                f"{times[mode][share]:.2f}" for mode in ("dense", "lexical", "hybrid") for share in ("p50", "cpu")
            ]
            lines.append([f"{title}, {case}", *figures, f"{added:.2f}", f"{used:.2f}"])
            verdicts.append(verdict(f"{title}, {case}: hybrid less dense, cpu", used, most, unit=" ms"))
    head = ["hybrid", "dense p50 ms", "cpu", "lexical p50 ms", "cpu", "hybrid p50 ms", "cpu", "added", "cpu"]
    return [table(head, lines, markdown), "", *verdicts, ""]


def report_versions(outcome: Outcome, markdown: bool) -> list[str]:
    lines, verdicts = [], []
    for name, times in outcome["rules"].items():
        columns = ("same", "same_cpu", "changing", "changing_cpu", "filter", "filter_cpu", "first", "commit")
        lines.append([name, str(times["eligible"]), *(f"{times[column]:.2f}" for column in columns)])
        verdicts += [
            verdict(f"{name}, {as_of} as_of: added, cpu", times[f"{as_of}_cpu"], 3, unit=" ms")
            for as_of in ("same", "changing")
        ]
    head = ["versions, added ms", "current", "same as_of", "cpu", "changing", "cpu", "a filter", "cpu"]
    head += ["first use", "after a commit"]
    plain = f"plain search: {outcome['plain']:.2f} ms; the first after a commit: {outcome['plain_commit']:.2f} ms"
    return [f"{outcome['rows']:,} documents; {plain}", "", table(head, lines, markdown), "", *verdicts, ""]


def report_reranker(outcomes: list[Outcome], markdown: bool) -> list[str]:
    lines = [
        [
            f"{way}, {outcome['threads']} thread(s)",
            f"{times['p50']:.0f}",
            f"{times['p95']:.0f}",
            f"{times['p50'] / outcome['candidates']:.2f}",
            f"{outcome['ways']['torch']['p50'] / times['p50']:.2f}",
        ]
        for outcome in outcomes
        for way, times in outcome["ways"].items()
    ]
    head = [f"{outcomes[0]['candidates']} candidates", "p50 ms", "p95", "ms a candidate", "× as fast as torch"]
    return [table(head, lines, markdown), ""]


REPORTS: dict[str, Callable[[Outcome, bool], list[str]]] = {
    "boosts": report_boosts,
    "hybrid": report_hybrid,
    "versions": report_versions,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the collections")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--threads", type=int, default=1, help="the reranker is always measured with 1 and 2")
    parser.add_argument("--boosts", type=int, default=200_000, help="synthetic rows for the boosts")
    parser.add_argument("--glosses", type=int, default=100_000, help="maximum number of glosses for hybrid search")
    parser.add_argument("--passages", type=int, default=100_000, help="passages of 80 words for hybrid search")
    parser.add_argument("--versions", type=int, default=1_000_000, help="documents for the versions")
    parser.add_argument("--queries", type=int, default=200, help="searches of each kind")
    parser.add_argument("--quick", action="store_true", help="small sizes, only to check that it runs")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.child:
        print(json.dumps(measured(json.loads(args.child))))
        return
    task = {name: getattr(args, name) for name in ("boosts", "glosses", "passages", "versions", "queries")}
    task |= {"data": str(args.data), **(QUICK if args.quick else {})}
    print(machine(), "", sep="\n")
    raw: Outcome = {}
    for part in args.only:
        raw[part] = []
        for threads in (1, 2) if part == "reranker" else (args.threads,):
            progress(f"{part}, {threads} thread(s)")
            outcome = child(__file__, {**task, "part": part, "threads": threads}, threads)
            raw[part].append({**outcome, "threads": threads})
        lines = (
            report_reranker(raw[part], args.markdown)
            if part == "reranker"
            else REPORTS[part](raw[part][0], args.markdown)
        )
        print("\n".join(lines), flush=True)
    write_json(args.json, raw)


if __name__ == "__main__":
    main()
