"""`theodolite demo`: an invented company's handbook, and questions that show what a retriever must cope with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from theodolite.errors import ConfigError


class Question(NamedTuple):
    """What is asked, of which documents, and what to look at."""

    text: str
    where: dict[str, Any] | None
    why: str


QUESTIONS = (
    Question("how long do refunds take?", None, "The rule in force, old ones, and what a colleague remembers."),
    Question("how long do refunds take?", {"source": "policy"}, "Only what binds: no chat, but old versions."),
    Question("what does standard delivery cost?", {"source": ["policy", "wiki"]}, "Three versions of one rule."),
    Question("how many days a week may I work from home?", None, "Who is right: the policy, the wiki or the chat?"),
    Question("Wie lange kann ich Ware zurückgeben?", {"lang": "de"}, "A filter on the language."),
)


def handbook() -> list[dict[str, Any]]:
    """The sample documents: in the package, or in a checkout.

    Raises:
        ConfigError: they are in neither place.
    """
    return list(_lines("handbook.jsonl"))


def _lines(name: str) -> Iterator[dict[str, Any]]:
    here = Path(__file__).resolve()
    for folder in (here.parent / "data", *(above / "examples" / "data" for above in here.parents[2:5])):
        path = folder / name
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)
            return
    raise ConfigError(f"the sample file {name} is not installed: install theodolite anew")
