"""The gain of each ranking stage on judged collections, through the public API.

    python benchmarks/relevance.py --data FOLDER
    python benchmarks/relevance.py --data FOLDER --only currency --markdown

Arms: nDCG@10 and recall@10 of dense, lexical and hybrid search. Currency: how often the current document is first
although an older one says nearly the same: without versions, with boosts alone, with version rules. Vectors are given
(`corpus.f16.npy`, `queries.f16.npy`), so nothing is embedded.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.currency import faq, numbered_by_date, peps, promises
from benchmarks.judged import DATA, Judged, K, ask, ndcg, opened, read, recall
from benchmarks.measure import progress, table, verdict, write_json
from theodolite.types import Mode

SETS = ("scifact", "npl", "cranfield", "medline", "covidfaq")
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
LEXICAL, HYBRID, SLIP = 0.675, 0.71, 0.01


def arms(collection: Judged) -> dict[str, Any]:
    """Return mean nDCG and recall of each mode, and hybrid minus dense with its standard error."""
    values: dict[str, Any] = {}
    outcome: dict[str, Any] = {"documents": len(collection.documents), "queries": len(collection.queries)}
    with opened(collection) as kb:
        for mode in MODES:
            answers = ask(kb, collection.queries, collection.asked, mode, k=K)
            found = [[hit.document.id for hit in hits] for hits in answers]
            values[mode] = np.array([ndcg(*pair) for pair in zip(found, collection.grades, strict=True)])
            shares = [recall(*pair) for pair in zip(found, collection.grades, strict=True)]
            outcome[mode] = {"ndcg": float(values[mode].mean()), "recall": float(np.mean(shares))}
    gained = values["hybrid"] - values["dense"]
    outcome["gained"] = float(gained.mean())
    outcome["error"] = float(gained.std(ddof=1) / np.sqrt(len(gained)))
    return outcome


def report_arms(outcome: dict[str, Any], markdown: bool) -> str:
    head = ["collection", "documents", "queries", *(f"{mode} nDCG@{K}" for mode in MODES), "hybrid less dense"]
    head += [f"{mode} recall@{K}" for mode in MODES]
    rows = [
        [
            name,
            f"{line['documents']:,}",
            str(line["queries"]),
            *(f"{line[mode]['ndcg']:.3f}" for mode in MODES),
            f"{line['gained']:+.3f} ± {line['error']:.3f}",
            *(f"{line[mode]['recall']:.3f}" for mode in MODES),
        ]
        for name, line in outcome.items()
    ]
    lines = [table(head, rows, markdown), ""]
    if "scifact" in outcome:
        scifact = outcome["scifact"]
        lines.append(verdict("scifact, lexical nDCG@10", scifact["lexical"]["ndcg"], LEXICAL, least=True))
        lines.append(verdict("scifact, hybrid nDCG@10", scifact["hybrid"]["ndcg"], HYBRID, least=True))
    lines += [
        verdict(f"{name}, hybrid less dense", line["gained"], -SLIP, least=True) for name, line in outcome.items()
    ]
    return "\n".join(lines)


def report_currency(outcome: dict[str, Any], title: str, markdown: bool) -> str:
    head = [
        title,
        "of",
        "current first",
        "older first",
        "current before older",
        f"current in {outcome['k']}",
        "older hits",
    ]
    rows = [
        [
            name,
            str(line["queries"]),
            *(str(line[key]) for key in ("first", "older_first", "before", "found", "older")),
        ]
        for name, line in outcome["ways"].items()
    ]
    return table(head, rows, markdown)


def report_promises(outcome: dict[str, Any]) -> str:
    asked, back, could = (outcome[name] for name in ("queries", "taken_back", "begun"))
    return "\n".join(
        [
            verdict(f"peps, successor in the first {outcome['k']} of {asked}", outcome["found"], 34, least=True),
            verdict("peps, hits that are superseded", outcome["older"], 0),
            verdict(f"peps, old ones back before their succession, of {could}", back, could, least=True),
            verdict(f"peps, old ones found that name their successor, of {asked}", outcome["named"], asked, least=True),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the collections")
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="collections for the arms")
    parser.add_argument("--only", choices=["arms", "currency"], help="one of the two")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    args = parser.parse_args()
    raw: dict[str, Any] = {}
    lines: list[str] = []
    if args.only != "currency":
        raw["arms"] = {}
        for name in args.sets:
            progress(name)
            raw["arms"][name] = arms(read(args.data / name))
        lines += [report_arms(raw["arms"], args.markdown), ""]
    if args.only != "arms":
        progress("peps")
        collection = read(args.data / "peps")
        with opened(collection) as kb:
            for mode in ("dense", "hybrid"):
                raw[f"peps {mode}"] = peps(kb, collection, args.data / "peps", mode)
                lines += [report_currency(raw[f"peps {mode}"], f"PEPs, {mode}", args.markdown), ""]
            raw["promises"] = promises(kb, collection, args.data / "peps")
        progress("covidfaq")
        collection = numbered_by_date(read(args.data / "covidfaq"))
        with opened(collection) as kb:
            raw["covidfaq"] = faq(kb, collection)
        lines += [report_currency(raw["covidfaq"], "FAQ, dense", args.markdown), "", report_promises(raw["promises"])]
    print("\n".join(lines))
    write_json(args.json, raw)


if __name__ == "__main__":
    main()
