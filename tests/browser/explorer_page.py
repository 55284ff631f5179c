"""The explorer's page for tests: collections to show, and what a user does with it."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.serving import READER, Server

from theodolite import Document, Latest, Retriever
from theodolite.serving.collections import Served
from theodolite.testing import HashingEmbedder

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.browser.conftest import Visit

DATA = Path(__file__).parents[2] / "examples" / "data"
QUESTION = "how long do refunds take?"
MARKUP = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'

Visiting = Callable[..., "Visit"]


def handbook() -> Retriever:
    kb = Retriever.open(embedder=HashingEmbedder(), versions=[Latest("policy_id", "effective_from")])
    with (DATA / "handbook.jsonl").open(encoding="utf-8") as lines:
        kb.add([Document(**json.loads(line)) for line in lines])
    return kb


def hostile() -> Retriever:
    """Return a collection whose ids, texts, names of fields and values are markup."""
    kb = Retriever.open(embedder=HashingEmbedder(), versions=[Latest(f"per {MARKUP}", f"by {MARKUP}")])
    kb.add(
        [
            Document(
                f"{MARKUP} Refunds take {number} days. {MARKUP}",
                {
                    MARKUP: f"{MARKUP} {number % 2}",
                    f"date {MARKUP}": date(2025, 1, 1 + number),
                    f"per {MARKUP}": MARKUP,
                    f"by {MARKUP}": number // 3,
                    "list": [MARKUP, None, True],
                    "nested": {MARKUP: {MARKUP: 1}},
                    "__proto__": "polluted",
                    "constructor": "own",
                    "": "no name",
                },
                f"{MARKUP}/{number}?#%2F&amp;\u202e\n",
            )
            for number in range(6)
        ]
    )
    return kb


def collections() -> list[Served]:
    """Return the collections that tests look at; `calibrated` has verdicts."""
    return [
        Served("calibrated", calibrated()),
        Served("empty", Retriever.open(embedder=HashingEmbedder(), create=True)),
        Served("handbook", handbook()),
        Served("hostile", hostile()),
    ]


def calibrated() -> Retriever:
    kb = handbook()
    questions = [json.loads(line) for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    kb.calibrate(
        {each["id"]: each["question"] for each in questions},
        {each["id"]: dict.fromkeys(each["relevant"], 1) for each in questions},
        mode="lexical",
    )
    return kb


def kb(server: Server, name: str = "handbook") -> Retriever:
    return next(each.kb for each in server.collections if each.name == name)


def address(server: Server, name: str = "handbook") -> str:
    return f"{server.url}/explorer/#token={READER}&collection={name}"


def ready(page: "Page", name: str = "handbook") -> None:
    """Wait until a collection is shown."""
    page.wait_for_function("name => document.title.startsWith(name)", arg=name)


def search(page: "Page", question: str = QUESTION) -> None:
    """Type a question, and wait for its hits."""
    page.get_by_role("searchbox", name="Question").fill(question)
    page.keyboard.press("Enter")
    settled(page)


def settled(page: "Page") -> None:
    """Wait until a search has ended."""
    page.wait_for_function("() => /^\\d+ hits? of/.test(document.getElementById('status').textContent)")


def shown(page: "Page", at: int = 0) -> list[str]:
    """Return the ids of a list of hits."""
    return [str(item.get_attribute("data-id")) for item in page.locator("ol.hits").nth(at).locator("article").all()]


def ids(hits: Any) -> list[str]:
    return [hit.document.id for hit in hits]


def why_not(page: "Page", name: str) -> dict[str, str]:
    """Ask why a document is not shown; return the reasons by kind."""
    page.get_by_label("The id of a document").fill(name)
    page.locator("#why-not").evaluate("e => e.replaceChildren()")
    page.get_by_role("button", name="Why not?").click()
    page.wait_for_selector("#why-not > *")
    return {str(item.get_attribute("data-kind")): item.inner_text() for item in page.locator("#why-not li").all()}


def turn_to(page: "Page", name: str) -> None:
    """Open the map or the health page, and wait until it is there."""
    page.get_by_role("navigation").get_by_role("button", name=name).click()
    ready = {"Map": "#map canvas", "Health": "#health section"}[name]
    page.wait_for_selector(ready, state="attached")


def faults(page: "Page") -> list[str]:
    """Return the serious faults of accessibility that axe-core finds. Its script must be in the page."""
    found = page.evaluate("() => axe.run()")["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
