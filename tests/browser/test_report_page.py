"""The report in a browser: drawn without a message, loading nothing, readable by keyboard and without eyes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"
HOSTILE = "</title></style></svg><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report of the handbook, with questions and a hostile document."""
    records = [json.loads(line) for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    file = tmp_path_factory.mktemp("report") / "report.html"
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([json.loads(line) for line in (DATA / "handbook.jsonl").read_text(encoding="utf-8").splitlines()])
        kb.add([Document(HOSTILE, {"title": HOSTILE, HOSTILE: 1}, id=HOSTILE)])
        kb.report(
            questions={each["id"]: each["question"] for each in records} | {"hostile": HOSTILE},
            judgments={each["id"]: dict.fromkeys(each["relevant"], 1) for each in records},
        ).write(file)
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_drawn_in_light_and_dark(visit: Callable[..., Any], page: str, scheme: str) -> None:
    seen = visit(page, color_scheme=scheme)
    assert seen.requests == [page]
    assert seen.page.title() != "run"
    assert seen.page.locator("figure svg").count() >= 6
    for figure in seen.page.locator("figure svg").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 100
    paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[scheme]
    strokes = seen.page.evaluate("[...document.querySelectorAll('svg.map path')].map(e => getComputedStyle(e).stroke)")
    assert len(set(strokes)) == len(strokes) > 2
    axis = seen.page.evaluate("getComputedStyle(document.querySelector('#dimensions svg text')).fill")
    assert axis == seen.page.evaluate("getComputedStyle(document.body).color")
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_narrow_window_scrolls_pictures_not_the_page(visit: Callable[..., Any], page: str) -> None:
    seen = visit(page)
    seen.page.set_viewport_size({"width": 360, "height": 700})
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_texts_of_the_map_open_by_keyboard(visit: Callable[..., Any], page: str) -> None:
    seen = visit(page)
    summary = seen.page.locator("#map summary")
    summary.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("#map details tbody tr").count() == 104
    assert seen.page.locator("#map details").get_by_text("returns-v1", exact=True).is_visible()


def test_the_report_of_an_empty_collection(visit: Callable[..., Any], tmp_path: Path) -> None:
    with Retriever.open(embedder=HashingEmbedder(), create=True) as kb:
        kb.report().write(tmp_path / "empty.html")
    seen = visit((tmp_path / "empty.html").as_uri())
    assert seen.page.get_by_text("There are no documents").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit: Callable[..., Any], axe: str, page: str, scheme: str) -> None:
    seen = visit(page, color_scheme=scheme, bypass_csp=True)
    seen.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    seen.page.evaluate(axe)
    found = seen.page.evaluate("axe.run().then(result => result.violations)")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []
