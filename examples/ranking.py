"""Ask the sample handbook one question, with each stage of the ranking switched on in turn.

The handbook contradicts itself on purpose (see data/README.md): it contains replaced policies, outdated wiki pages and
chat messages. Similarity alone cannot tell them from the rules in force. The last two columns count, over all
questions of data/questions.jsonl, how often a right answer comes first, and how often an outdated one does.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Authority, Freshness, Hits, Latest, Retriever, TheodoliteError

DATA = Path(__file__).parent / "data"
QUESTION = "From what order value is standard delivery free?"
TODAY = "2026-11-15"  # the date of the expected answers; keeps the output the same on any day
SHOWN = 3


class Words:
    """A toy reranker: counts the question's words that a passage contains. Any object with such a method is a reranker.

    In practice, use a cross-encoder. It understands text better, but no text says of itself whether it is in force.
    """

    def score(self, query: str, texts: Sequence[str], /) -> NDArray[np.float64]:
        asked = words(query)
        return np.array([len(asked & words(text)) for text in texts], np.float64)


STAGES: dict[str, dict[str, Any]] = {
    "similarity": {},
    "where": {"where": {"source": ["policy", "wiki"]}},
    "versions": {"versions": [Latest(per="policy_id", by="effective_from")], "as_of": TODAY},
    "boosts": {
        "boosts": [
            Freshness("published", half_life="365d", weight=0.2),
            Authority("source", {"policy": 1.0, "wiki": 0.6, "chat": 0.2}, weight=0.3),
        ],
        "as_of": TODAY,
    },
    "hybrid": {"mode": "hybrid"},
    "min_relevance": {"min_relevance": 0.5},
    "rerank": {"rerank": Words()},
    "dedupe": {"dedupe": 0.95},
    "diversity": {"diversity": 0.3},
}
TOGETHER = ("versions", "boosts", "dedupe", "diversity")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{3,}", text.lower()))


def records(name: str) -> list[dict[str, Any]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def compare(kb: Retriever, question: str, *, explain: bool) -> None:
    """Print a line for each stage, and one for several stages together."""
    known = records("questions.jsonl")
    nothing: dict[str, Any] = {"relevant": [], "outdated": []}
    about = next((one for one in known if one["question"] == question), nothing)
    asked = [question, *(one["question"] for one in known)]
    stages = STAGES | {"together": {name: value for stage in TOGETHER for name, value in STAGES[stage].items()}}
    print(f"{question}\n\n{'':<15}{'the first hits: + right, - outdated':<66}+ first  - first")
    for stage, options in stages.items():
        hits, *answers = kb.search_many(asked, k=SHOWN, **options)
        ids = [f"{mark(hit.document.id, about)}{hit.document.id}" for hit in hits]
        right = first(answers, [one["relevant"] for one in known])
        outdated = first(answers, [one["outdated"] for one in known])
        print(f"{stage:<15}{''.join(f'{id:<22}' for id in ids):<66}{right:>7}  {outdated:>7}")
    if explain:
        print(f"\nThe first hit with {', '.join(TOGETHER)}:\n\n{hits[0].explain()}")


def mark(id: str, about: dict[str, Any]) -> str:
    return "+" if id in about["relevant"] else "-" if id in about["outdated"] else " "


def first(answers: Sequence[Hits], wanted: list[list[str]]) -> int:
    """Count the answers that begin with a wanted document."""
    return sum(hits[0].document.id in ids for hits, ids in zip(answers, wanted, strict=True) if hits)


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the handbook one question, with each stage of the ranking.")
    parser.add_argument("question", nargs="?", default=QUESTION, help="(default: %(default)s)")
    parser.add_argument("--explain", action="store_true", help="say in words how the last line came about")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="an embedder (default: %(default)s)")
    options = parser.parse_args()
    try:
        with Retriever.open(embedder=options.model) as kb:
            kb.add(records("handbook.jsonl"))
            compare(kb, options.question, explain=options.explain)
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
