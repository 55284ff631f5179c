"""How far plain similarity gets on the handbook: how often it finds what is right today, and how often something
outdated stands before it.

The figures in README.md beside this file are its output.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from theodolite import Hits, Retriever, TheodoliteError

DATA = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the handbook its questions and count what comes back.")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="an embedder (default: %(default)s)")
    parser.add_argument("--each", action="store_true", help="show the ranks for each question as well")
    options = parser.parse_args()
    documents, questions = records("handbook.jsonl"), records("questions.jsonl")
    try:
        with Retriever.open(embedder=options.model) as kb:
            kb.add(documents)
            answers = kb.search_many([question["question"] for question in questions], k=len(documents))
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    right = [rank(hits, question["relevant"]) for question, hits in zip(questions, answers, strict=True)]
    wrong = [rank(hits, question["outdated"]) for question, hits in zip(questions, answers, strict=True)]
    if options.each:
        print("      right  outdated")
        for question, first, outdated in zip(questions, right, wrong, strict=True):
            print(f"{question['id']:<4}  {first:>5}  {outdated or '-':>8}  {question['question']}")
    print(f"{len(documents)} documents, {len(questions)} questions")
    for depth in (1, 3, 5, 10):
        print(f"a right document among the first {depth:>2}: {sum(first <= depth for first in right):>2}")
    rivals = [(first, outdated) for first, outdated in zip(right, wrong, strict=True) if outdated]
    before = sum(outdated < first for first, outdated in rivals)
    print(f"an outdated one before every right one: {before} of the {len(rivals)} that have outdated ones")
    return 0


def rank(hits: Hits, ids: list[str]) -> int:
    """The place of the best of these documents, from 1; 0 if there are none."""
    return min((hit.rank for hit in hits if hit.document.id in ids), default=0)


def records(name: str) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
