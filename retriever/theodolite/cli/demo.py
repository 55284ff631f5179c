"""`theodolite demo`: an invented company's handbook, and questions that show what a retriever must cope with."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from theodolite.errors import ConfigError
from theodolite.types import Document


class Question(NamedTuple):
    """What is asked, of which documents, and what to look at."""

    text: str
    where: dict[str, Any] | None
    why: str


QUESTIONS = (
    Question("can an opened stove be returned?", None, "What sounds most like an answer is a chat message, and wrong."),
    Question(
        "can an opened stove be returned?", {"source": "policy"}, "A filter leaves what binds: the rule is first."
    ),
    Question("what does standard delivery cost?", None, "Three versions of one rule, the oldest of them first."),
    Question("what does standard delivery cost?", {"effective_from": "2026-02-01"}, "The version that is in force."),
    Question("Saturday work", {"lang": "de"}, "Asked in English, of what is written in German."),
)


def handbook() -> list[Document]:
    """The sample documents: in the package, or in a checkout.

    Raises:
        ConfigError: they are in neither place.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "data", *(above / "examples" / "data" for above in here.parents[2:5])):
        path = folder / "handbook.jsonl"
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                return [Document(**json.loads(line)) for line in lines]
    raise ConfigError("the sample handbook is not installed: install theodolite anew")
