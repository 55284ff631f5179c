"""A console chatbot that answers questions from the sample handbook and cites the passages.

Without a language model it quotes the passages it finds. To use one, pass `chat` any function that takes a prompt and
returns a text, instead of `quote`. The handbook contradicts itself on purpose (see data/README.md): check the dates.

It says "I don't know" where the scores are lower than those of nearly all questions that the handbook answers. It
learns that from judged questions, and from a few that no handbook answers. Sentences that an answer quotes and that no
passage has are shown under it.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill

from theodolite import Context, Document, Retriever, TheodoliteError, verify_quotes

DATA = Path(__file__).parent / "data"
UNANSWERABLE = [
    "What is the capital of Peru?",
    "Who wrote The Magic Flute?",
    "How do vaccines work?",
    "When was the printing press invented?",
    "How far away is the moon?",
    "Which planets have rings?",
    "What is the best opening in chess?",
    "How do I cook risotto?",
    "Who won the football world cup?",
    "How does a compiler work?",
]

PROMPT = """Answer the last question from the passages alone and cite them by number, like this: [1]. Quote the sentence
that answers, in quotation marks. Where passages differ, a policy binds, and of its versions the latest that is in
force. If they do not answer, say so.

Today is {today}.

{passages}

{questions}"""

TOKENS = 1000  # of the passages in a prompt, at about four characters each

Model = Callable[[str], str]
"""Any language model: a function that takes a prompt and returns a text."""


def quote(prompt: str) -> str:
    """Return the passages of the prompt as the answer. Needs no model."""
    return "\n".join(fill(line, 100, subsequent_indent="    ") for line in prompt.splitlines() if line.startswith("["))


def chat(kb: Retriever, answer: Model, *, sources: list[str]) -> None:
    """Answer questions from the console, using documents from these sources, until the input ends."""
    previous = ""
    while True:
        question = input("> " if sys.stdin.isatty() else "").strip()
        if not question:
            continue
        found = passages(kb, question, previous, sources)
        if found is None:
            print("I don't know: the handbook does not answer this.\n\nSources: none\n")
            continue
        shown = "\n".join(f"[{each.number}] ({origin(each.documents[0])}) {each.text}" for each in found.sources)
        asked = f"{previous}\n{question}".strip()
        text = answer(PROMPT.format(today=datetime.now(UTC).date(), passages=shown, questions=asked))
        cited = [f"[{each.number}] {each.documents[0].id}" for each in found.sources if f"[{each.number}]" in text]
        wrong = [quote for quote in verify_quotes(text, found).quotes if not quote.ok]
        notes = [f"Not in the passages: {quote.difference or quote.text}" for quote in wrong]
        print("\n".join([text, *notes]), f"\nSources: {', '.join(cited) or 'none'}\n", sep="\n")
        previous = question


def passages(kb: Retriever, question: str, previous: str, sources: list[str], k: int = 4) -> Context | None:
    """Return the k nearest passages as numbered sources; None where the scores say that there is no answer.

    A follow-up such as "and for opened goods?" is too short to search for alone. Joined with the previous question it
    finds the wrong passages if the subject has changed. So the results of both queries are interleaved.
    """
    queries = [question, f"{previous} {question}"] if previous else [question]
    lists = kb.search_many(queries, k=k, where={"source": sources})
    if all(hits.verdict is not None and hits.verdict.label == "none" for hits in lists):
        return None
    ranked = sorted((hit for hits in lists for hit in hits), key=lambda hit: hit.rank)
    found = list({hit.document.id: hit for hit in ranked}.values())
    return replace(lists[0], items=tuple(found[:k])).context(TOKENS, count=lambda text: len(text) // 4)


def calibrate(kb: Retriever, sources: list[str]) -> None:
    """Learn from judged questions which scores mean that there is an answer in these sources."""
    with (DATA / "questions.jsonl").open(encoding="utf-8") as lines:
        judged = [json.loads(line) for line in lines]
    there = {document.id for document in kb.documents({"source": sources})}
    kb.calibrate(
        {each["id"]: each["question"] for each in judged},
        {each["id"]: dict.fromkeys(there.intersection(each["relevant"]), 1) for each in judged},
        {f"u{number}": question for number, question in enumerate(UNANSWERABLE)},
        where={"source": sources},
    )


def origin(document: Document) -> str:
    """Return the source of a passage and its date."""
    meta = document.metadata
    return f"{meta['source']}, {meta.get('effective_from', meta['published'])}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the handbook of an invented company; Ctrl-C ends it.")
    parser.add_argument("--to", default="kb-handbook", metavar="FOLDER", help="the index (default: %(default)s)")
    parser.add_argument("--chat", action="store_true", help="read chat messages too, not only policies and wiki pages")
    options = parser.parse_args()
    try:
        with Retriever.open(options.to, embedder="all-MiniLM-L6-v2") as kb:
            if not len(kb):
                with (DATA / "handbook.jsonl").open(encoding="utf-8") as lines:
                    kb.add(map(json.loads, lines), batch_size=None)  # one commit: all documents or none
            sources = ["policy", "wiki", *(["chat"] if options.chat else [])]
            calibrate(kb, sources)
            print("What would you like to know about Quillmoor?\n")
            chat(kb, quote, sources=sources)
    except (EOFError, KeyboardInterrupt):
        print("Goodbye.")
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
