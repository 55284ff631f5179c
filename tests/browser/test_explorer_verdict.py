"""Verdicts and coverage on the page of the explorer: they are those of the library."""

from tests.browser.explorer_page import Visiting, address, ids, kb, ready, search, shown
from tests.serving import Server

ANSWERED = "How many days do customers have to return unused goods?"


def test_a_verdict_stands_above_the_hits(server: Server, visit: Visiting) -> None:
    page = visit(address(server, "calibrated")).page
    ready(page, "calibrated")
    search(page, ANSWERED)
    assert "No verdict: no calibration is for this kind of search" in page.locator(".verdict").inner_text()
    page.get_by_label("How to find").select_option("lexical")
    page.wait_for_function("() => !document.querySelector('.verdict').textContent.startsWith('No verdict')")
    for question in (ANSWERED, "zymurgy quantum xylophone"):
        search(page, question)
        verdict = kb(server, "calibrated").search(question, mode="lexical").verdict
        assert verdict is not None
        assert verdict.probability is not None
        page.wait_for_function(
            "share => document.querySelector('.verdict')?.textContent.includes(`${share} %`)",
            arg=round(100 * verdict.probability),
        )
        assert verdict.label in str(page.locator(".verdict").get_attribute("class"))


def test_coverage_replaces_k(server: Server, visit: Visiting) -> None:
    one = visit(address(server, "calibrated"))
    page = one.page
    ready(page, "calibrated")
    page.get_by_label("How to find").select_option("lexical")
    search(page, ANSWERED)
    page.get_by_label("Merge near-duplicates").check()
    page.get_by_label("Coverage").check()
    slider = page.get_by_role("slider", name="Share of questions")
    slider.fill("0.6")
    found = kb(server, "calibrated").search(ANSWERED, mode="lexical", coverage=0.6)
    page.wait_for_function("n => document.querySelectorAll('article').length === n", arg=len(found))
    assert shown(page) == ids(found)
    assert page.locator("#notes").inner_text().split() == " ".join(found.trace.notes).split()
    assert not page.get_by_role("slider", name="Number of hits").is_visible()
    assert page.get_by_role("alert").is_hidden()
    page.get_by_label("How to find").select_option("dense")
    page.get_by_role("alert").filter(has_text="needs a calibration").wait_for()
    one.messages[:] = [message for message in one.messages if "400" not in message]


def test_without_a_calibration_there_is_neither(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    assert page.locator(".verdict").count() == 0
    assert page.get_by_label("Coverage").count() == 0
