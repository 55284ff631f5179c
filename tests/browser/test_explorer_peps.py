"""The explorer on PEPs: 24,149 passages with dates, lists and versions, from the shared collections."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.browser.explorer_page import Visiting, address, faults, ids, ready, settled, shown, turn_to, why_not
from tests.serving import READER, Server, serving

from theodolite import Document, Retriever, Superseded
from theodolite.serving.access import Access, Grant
from theodolite.serving.collections import Served
from theodolite.serving.explorer.routes import explorer
from theodolite.serving.limits import Limits

PEPS = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "peps"
QUESTION = "postponed evaluation of annotations"
RULE = Superseded(key="pep", by="superseded_by", replaces="replaces", since="created")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PEPS / "corpus.f16.npy").exists(),
        reason="the PEPs are not here; THEODOLITE_DATA names the folder that holds the collections",
    ),
]


@pytest.fixture(scope="module")
def peps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kb = Retriever.open(tmp_path_factory.mktemp("peps") / "kb", versions=RULE, create=True)
    with (PEPS / "corpus.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    vectors = np.load(PEPS / "corpus.f16.npy", allow_pickle=False).astype(np.float32)
    documents = [Document(each["text"], {**each["metadata"], "title": each["title"]}, each["id"]) for each in records]
    kb.add(documents, vectors=vectors)
    extend = lambda served: explorer(served, Limits())  # noqa: E731
    with serving(Served("peps", kb), access=Access({READER: Grant()}), extend=extend) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_shows_peps(peps: Server, visit: Visiting, axe: str, scheme: str) -> None:
    page = visit(address(peps, "peps"), color_scheme=scheme, bypass_csp=True).page
    page.set_default_timeout(120_000)
    ready(page, "peps")
    page.add_script_tag(content=axe)
    (served,) = peps.collections

    page.get_by_role("searchbox", name="Question").fill(QUESTION)
    page.keyboard.press("Enter")
    settled(page)
    found = served.kb.search(QUESTION, mode="lexical")
    assert shown(page) == ids(found)
    assert found.trace.superseded > 0
    assert f"{found.trace.superseded:,} not current" in page.locator("#status").inner_text()
    assert set(why_not(page, "pep-0563#1")) == {"version"}
    assert faults(page) == []
    turn_to(page, "Map")
    offered = page.locator("#map-color option").all_text_contents()
    assert {"Cluster", "created", "status", "type"} <= set(offered)
    for field, name in (("status", "Final"), ("created", " to ")):
        page.get_by_label("Color by").select_option(field)
        page.wait_for_function("name => document.getElementById('map-groups').textContent.includes(name)", arg=name)
        counts = [row.inner_text().replace(",", "") for row in page.locator("#map-groups td.number").all()]
        assert sum(map(int, counts)) == len(served.kb)
    page.locator("#map-list summary").click()
    full = "() => [...document.querySelectorAll('#map-listed td')].filter(e => e.textContent).length === 50"
    page.wait_for_function(full)
    assert faults(page) == []
    turn_to(page, "Health")
    assert "old versions" in page.locator("#health").inner_text()
    assert faults(page) == []
