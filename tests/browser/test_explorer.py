"""The explorer in a real browser: it shows what the library finds, works by keyboard, and never runs content."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.browser.explorer_page import (
    MARKUP,
    QUESTION,
    Visiting,
    address,
    faults,
    ids,
    kb,
    ready,
    search,
    settled,
    shown,
    turn_to,
    why_not,
)
from tests.serving import READER, Server

from theodolite import Freshness


def test_a_typed_search_shows_what_the_library_finds(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    found = kb(server).search(QUESTION)
    assert shown(page) == ids(found)
    assert page.url == f"{server.url}/explorer/", "the token is out of the address"
    for hit in found:
        marks = page.locator("article").nth(hit.rank - 1).locator("mark").all()
        best = [each for each in hit.highlights[:3] if each.score >= hit.highlights[0].score * 2 / 3]
        assert [mark.inner_text().split() for mark in marks] == [
            each.text.split() for each in sorted(best, key=lambda each: each.start)
        ]
    page.get_by_label("How to find").select_option("lexical")
    page.wait_for_function("first => document.querySelector('article').dataset.id !== first", arg=found[0].document.id)
    assert shown(page) == ids(kb(server).search(QUESTION, mode="lexical"))


def test_each_stage_changes_the_search_as_it_does_in_the_library(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    options: dict[str, Any] = {"k": 10}

    def check(**changed: Any) -> None:
        options.update(changed)
        expected = ids(kb(server).search(QUESTION, **options))
        page.wait_for_function(
            "ids => JSON.stringify([...document.querySelectorAll('article')].map(a => a.dataset.id)) === ids",
            arg=json.dumps(expected, separators=(",", ":")),
        )

    def slide(label: str, value: float) -> None:
        slider = page.get_by_role("slider", name=label, exact=True)
        slider.locator("visible=true").fill(str(value))

    slide("Number of hits (k)", 25)
    check(k=25)
    page.get_by_label("Documents that are not current").select_option("show")
    check(superseded="show")
    page.get_by_label("Prefer new documents").check()
    page.get_by_label("Date", exact=True).select_option("published")
    slide("Weight", 0.9)
    check(boosts=[Freshness("published", "180d", weight=0.9)])
    page.get_by_label("Prefer new documents").uncheck()
    check(boosts=())
    page.get_by_label("Threshold").check()
    slide("Lowest relevance", 0.2)
    check(min_relevance=0.2)
    page.get_by_label("Merge near-duplicates").check()
    slide("Cosine from which documents are duplicates", 0.8)
    check(dedupe=0.8)
    page.get_by_label("Diversity").check()
    slide("How much the hits should differ", 0.5)
    check(diversity=0.5)
    page.get_by_label("Versions", exact=True).uncheck()
    check(versions=[], superseded="hide")


def test_the_picture_in_the_readme(server: Server, visit: Visiting, tmp_path: Path) -> None:
    """It is written to docs/images with THEODOLITE_PICTURES=docs/images."""
    page = visit(address(server)).page
    page.set_viewport_size({"width": 1080, "height": 640})
    ready(page)
    page.get_by_label("Prefer new documents").check()
    page.get_by_label("Date", exact=True).select_option("published")
    page.get_by_label("How to find").select_option("hybrid")
    search(page, "how long does the refund take?")
    card = page.locator("article").first
    card.get_by_role("button", name="Why this hit").click()
    assert card.get_by_role("progressbar").count() == 5
    picture = Path(os.environ.get("THEODOLITE_PICTURES") or tmp_path) / "explorer.png"
    page.screenshot(path=picture)
    assert 10_000 < picture.stat().st_size < 200_000


def test_the_parts_of_a_score_are_shown_as_bars(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    page.get_by_label("Prefer new documents").check()
    page.get_by_label("Date", exact=True).select_option("published")
    page.get_by_label("How to find").select_option("hybrid")
    search(page)
    hit = kb(server).search(QUESTION, mode="hybrid", boosts=[Freshness("published", "180d")])[0]
    card = page.locator("article").first
    assert not card.locator("table").is_visible()
    card.get_by_role("button", name="Why this hit").click()
    bars = card.get_by_role("progressbar")
    assert bars.count() == len(hit.scores) == 5
    similarity = card.get_by_role("progressbar", name=re.compile("^Similarity"))
    assert float(str(similarity.get_attribute("value") or similarity.evaluate("e => e.value"))) == pytest.approx(
        hit.scores["similarity"]
    )
    card.get_by_text("In words").click()
    assert card.locator("pre").inner_text().split() == str(hit.explain()).split()


def test_why_not_gives_the_true_reason(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    first = shown(page)[0]
    assert why_not(page, first) == {}
    assert "is found, at rank 1" in page.locator("#why-not").inner_text()
    assert set(why_not(page, "no such document")) == {"absent"}
    assert "returns-v2" in why_not(page, "returns-v1")["version"]
    everything = kb(server).search(QUESTION, k=1000)
    last = everything[-1]
    assert f"rank {last.rank}" in why_not(page, last.document.id)["rank"]
    page.get_by_label("Filter (JSON)").fill('{"source": "policy", "lang": {"$ne": "en"}}')
    page.get_by_label("Filter (JSON)").press("Tab")
    page.wait_for_function("first => document.querySelector('article')?.dataset.id !== first", arg=first)
    reasons = why_not(page, "wiki-care-cheatsheet")
    assert set(reasons) == {"filter"}
    assert page.locator("#why-not li").count() == 2
    page.get_by_role("button", name="Clear all filters").click()
    page.wait_for_function("first => document.querySelector('article')?.dataset.id === first", arg=first)
    page.get_by_label("Threshold").check()
    page.get_by_role("slider", name="Lowest relevance").fill("0.9")
    page.wait_for_function("() => document.querySelectorAll('article').length === 0")
    assert set(why_not(page, first)) == {"threshold"}


def test_two_settings_are_compared_side_by_side(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    page.get_by_role("button", name="Compare with these settings").click()
    page.wait_for_function("() => document.querySelectorAll('ol.hits').length === 2")
    assert shown(page, 0) == shown(page, 1)
    assert {badge.inner_text() for badge in page.locator(".badge").all()} == {"same rank"}
    page.get_by_label("How to find").select_option("lexical")
    page.wait_for_function("() => document.querySelector('.badge.new')")
    dense, lexical = kb(server).search(QUESTION), kb(server).search(QUESTION, mode="lexical")
    assert (shown(page, 0), shown(page, 1)) == (ids(dense), ids(lexical))
    before = {hit.document.id: hit.rank for hit in dense}
    for hit in lexical:
        badge = page.locator("ol.hits").nth(1).locator("article").nth(hit.rank - 1).locator(".badge").inner_text()
        was = before.get(hit.document.id)
        assert badge.startswith(
            "only here" if was is None else "same" if was == hit.rank else f"{'▲' if was > hit.rank else '▼'}"
        )
    page.get_by_role("button", name="Stop comparing").click()
    page.wait_for_function("() => document.querySelectorAll('ol.hits').length === 1")


def test_facets_count_and_filter(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    fields = kb(server).fields()
    facet = page.get_by_role("group", name="source", exact=True)
    for value, count in fields["source"].values:
        item = facet.get_by_role("listitem").filter(has=page.get_by_label(value))
        assert item.locator(".count").inner_text().startswith(str(count))
    facet.get_by_label("policy").check()
    page.wait_for_function("() => /of 25 |of 2\\d /.test(document.getElementById('status').textContent)")
    assert shown(page) == ids(kb(server).search(QUESTION, where={"source": "policy"}))
    counted = dict(kb(server).fields({"source": "policy"})["lang"].values)
    page.wait_for_function(
        "n => [...document.querySelectorAll('#facets .count')].some(e => e.textContent.startsWith(n))",
        arg=str(counted["en"]),
    )
    dates = page.get_by_role("group", name="published", exact=True)
    dates.get_by_label("From").fill("2024-01-01")
    dates.get_by_label("To").fill("2025-12-31")
    dates.get_by_label("To").press("Tab")
    where = {"source": "policy", "published": {"$gte": "2024-01-01", "$lte": "2025-12-31T23:59:59"}}
    expected = ids(kb(server).search(QUESTION, where=where))
    page.wait_for_function("n => document.querySelectorAll('article').length === n", arg=len(expected))
    assert shown(page) == expected


def test_a_document_has_versions_and_leads_to_similar_ones(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    page.get_by_label("How to find").select_option("hybrid")  # which a search by a document does not have
    search(page)
    why_not(page, "returns-v1")
    page.locator("#why-not").get_by_role("button", name="returns-v1").click()
    dialog = page.get_by_role("dialog", name="returns-v1")
    dialog.wait_for()
    assert "not current" in dialog.inner_text()
    dialog.get_by_role("button", name="returns-v2").first.click()
    page.get_by_role("dialog", name="returns-v2").wait_for()
    (document,) = kb(server).get("returns-v2")
    assert document.text in page.get_by_role("dialog").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Similar to this").click()
    settled(page)
    page.wait_for_function("() => !document.getElementById('by').hidden")
    assert shown(page) == ids(kb(server).search(like="returns-v2"))


def test_everything_works_by_keyboard(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    keys = page.keyboard
    keys.type(QUESTION)  # the question has the focus
    keys.press("Enter")
    settled(page)
    first = shown(page)

    def tab_to(name: str, limit: int = 250) -> None:
        """Press Tab until the control of this name has the focus, which must be visible."""
        for _ in range(limit):
            keys.press("Tab")
            found = page.evaluate(
                """() => {
                  const e = document.activeElement, s = getComputedStyle(e);
                  const label = e.labels?.[0]?.textContent ?? '';
                  return [`${e.getAttribute('aria-label') ?? ''} ${label} ${e.textContent}`.trim(), s.outlineStyle];
                }"""
            )
            if found[0].startswith(name):
                assert found[1] != "none", f"the focus of {name} is invisible"
                return
        raise AssertionError(f"Tab does not reach {name}")

    tab_to("How to find")
    keys.press("ArrowDown")
    tab_to("Number of hits")
    keys.press("ArrowRight")
    page.wait_for_function("() => document.querySelectorAll('article').length === 11")
    tab_to("Prefer new documents")
    keys.press("Space")
    tab_to("Half-life")
    tab_to("Versions")
    tab_to("en")
    keys.press("Space")
    page.wait_for_function("() => document.activeElement.dataset.facet === 'lang \"en\"'")
    tab_to("Compare with these settings")
    keys.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('ol.hits').length === 2")
    tab_to("Why this hit")
    keys.press("Enter")
    assert page.locator(".why").first.is_visible()
    tab_to("Why this hit")
    tab_to("Open document")
    keys.press("Enter")
    page.wait_for_selector("dialog[open]")
    keys.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    tab_to("The id of a document")
    keys.type(first[0])
    keys.press("Enter")
    page.wait_for_selector("#why-not > *")


def test_every_control_is_reached_by_tab(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    for name in ("Prefer new documents", "Prefer some sources", "Threshold", "Merge near-duplicates", "Diversity"):
        page.get_by_label(name).check()
    settled(page)
    controls = "button, input, select, textarea, summary, [tabindex='0']"
    page.evaluate("() => { window.reached = new Set(); document.activeElement.blur(); }")
    total = page.evaluate(f"() => [...document.querySelectorAll(`{controls}`)].filter(e => e.checkVisibility()).length")
    for _ in range(3 * total):
        page.keyboard.press("Tab")
        page.evaluate("() => window.reached.add(document.activeElement)")
    missed = page.evaluate(
        f"() => [...document.querySelectorAll(`{controls}`)].filter("
        "e => e.checkVisibility() && !e.disabled && !window.reached.has(e)).map(e => e.outerHTML.slice(0, 120))"
    )
    assert missed == []


@pytest.mark.parametrize("name", ["hostile", "empty"])
def test_hostile_and_empty_collections_change_nothing(name: str, server: Server, visit: Visiting) -> None:
    page = visit(address(server, name)).page
    ready(page, name)
    elements = "() => [...document.querySelectorAll('img, iframe, object, script:not([src]), style')].length"
    search(page, "refunds take days")
    assert shown(page) == ids(kb(server, name).search("refunds take days"))
    if name == "hostile":
        page.get_by_role("button", name="Why this hit").first.click()
        older = ids(kb(server, name).search("refunds", superseded="show", k=10, where={f"by {MARKUP}": 0}))[0]
        assert set(why_not(page, older)) <= {"version", "absent"}
        page.locator("article h4 button").first.click()
        page.wait_for_selector("dialog[open]")
        assert MARKUP in page.locator("dialog").inner_text()
        page.keyboard.press("Escape")
        page.locator(".facet input[type=checkbox]").first.check()
        settled(page)
    else:
        assert "absent" in why_not(page, "anything")
    assert page.evaluate(elements) == 0
    assert page.evaluate("() => window.broken") is None
    assert page.evaluate("() => ({}).polluted") is None


def test_health_shows_what_the_report_says(server: Server, visit: Visiting) -> None:
    from theodolite.overview.overview import examine

    page = visit(address(server)).page
    ready(page)
    turn_to(page, "Health")
    words = str(page.locator("#health").text_content())
    findings = examine(kb(server)).findings
    assert len(findings) > 3
    for finding in findings:
        assert finding.name in words
        assert finding.severity in words


def test_without_a_token_the_page_asks_for_one(server: Server, visit: Visiting) -> None:
    one = visit(f"{server.url}/explorer/")
    page = one.page
    page.get_by_label("Token").fill("wrong-token-000001")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('token').value === ''")
    page.get_by_label("Token").fill(READER)
    page.keyboard.press("Enter")
    ready(page, "")
    page.wait_for_selector("#facets, #options fieldset")
    assert all(READER not in address for address in one.requests)
    refused = [message for message in one.messages if "401" in message]
    one.messages[:] = [message for message in one.messages if message not in refused]
    assert len(refused) == 2  # the browser says so of each refused request


def test_a_wrong_filter_is_said_and_mended(server: Server, visit: Visiting) -> None:
    one = visit(address(server))
    page = one.page
    ready(page)
    page.get_by_label("Filter (JSON)").fill("{")
    page.get_by_label("Filter (JSON)").press("Tab")
    page.get_by_role("alert").wait_for()
    assert "not JSON" in page.get_by_role("alert").inner_text()
    page.get_by_label("Filter (JSON)").fill('{"lang": {"$near": 1}}')
    page.get_by_label("Filter (JSON)").press("Tab")
    page.wait_for_function("() => document.getElementById('alert').textContent.includes('$near')")
    page.get_by_role("button", name="Clear all filters").click()
    page.wait_for_function("() => document.getElementById('alert').hidden")
    one.messages[:] = [message for message in one.messages if "400" not in message]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["handbook", "hostile", "empty"])
def test_axe_finds_no_serious_fault(name: str, scheme: str, server: Server, visit: Visiting, axe: str) -> None:
    page = visit(address(server, name), color_scheme=scheme, bypass_csp=True).page
    ready(page, name)
    search(page, QUESTION)
    page.add_script_tag(content=axe)

    assert faults(page) == []
    if name != "empty":
        page.get_by_role("button", name="Why this hit").first.click()
        page.get_by_role("button", name="Compare with these settings").click()
        page.wait_for_function("() => document.querySelectorAll('ol.hits').length === 2")
        why_not(page, "nothing")
        assert faults(page) == []
        page.locator("article h4 button").first.click()
        page.wait_for_selector("dialog[open]")
        assert faults(page) == []
        page.keyboard.press("Escape")
    for other in ("Map", "Health"):
        turn_to(page, other)
        assert faults(page) == []
