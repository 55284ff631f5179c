"""The map of the explorer in a real browser: its pixels show the places and colors that the server tells."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.browser.explorer_page import MARKUP, QUESTION, Visiting, address, ids, kb, ready, search, shown, turn_to
from tests.serving import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARGIN = 90  # around the points, in units of the map
OPACITY = 0.8  # of a point
RING = 8  # the radius of a ring, in pixels
APART = 24  # pixels around a point without another one

COLORS = """names => names.map(name => getComputedStyle(document.body).getPropertyValue(name).trim())"""
PIXELS = """async places => {
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  await frame();
  await frame();
  const seen = document.querySelector('#map canvas'), copy = document.createElement('canvas');
  Object.assign(copy, { width: seen.width, height: seen.height });
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(seen, 0, 0);
  return places.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
}"""


def map_of(server: Server, color: str | None = None, name: str = "handbook") -> dict[str, Any]:
    """Return the map as the server tells it."""
    path, body = f"/api/explorer/{name}/map", {"color": color}
    status, answer = server.call("POST", path, body)
    while "progress" in answer:
        status, answer = server.call("POST", path, {**body, "job": answer["job"]})
    assert status == 200, answer
    return dict(answer)


def places_of(page: "Page", told: dict[str, Any]) -> NDArray[np.float64]:
    """Return the pixels of documents, (n, 2), before the map was moved."""
    width, height = page.evaluate("() => [document.getElementById('map')].map(e => [e.clientWidth, e.clientHeight])[0]")
    unit = (told["side"] + 2 * MARGIN) / min(width, height)
    middle = np.array([width, height]) / 2
    points = np.array([told["x"], told["y"]], np.float64).T
    return np.asarray((points - told["side"] / 2) / unit + middle, np.float64)


def lonely(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows of points that no other one is near to."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.flatnonzero(distances.min(axis=1) > APART)


def pixels(page: "Page", places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colors at places, (n, 3)."""
    return np.array(page.evaluate(PIXELS, np.rint(places).astype(int).tolist()), np.float64)


def colors(page: "Page", *names: str) -> NDArray[np.float64]:
    """Return colors of the style sheet, (n, 3)."""
    found = page.evaluate(COLORS, list(names))
    return np.array([[int(value[at : at + 2], 16) for at in (1, 3, 5)] for value in found], np.float64)


def nearest(seen: NDArray[np.float64], palette: NDArray[np.float64]) -> list[int]:
    """Return which color of a palette each seen one is most like."""
    return [int(at) for at in np.linalg.norm(seen[:, None] - palette[None], axis=2).argmin(axis=1)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_points_have_their_places_and_colors(server: Server, visit: Visiting, scheme: str) -> None:
    page = visit(address(server), color_scheme=scheme).page
    ready(page)
    turn_to(page, "Map")
    for color in (None, "source"):
        told = map_of(server, color)
        page.get_by_label("Color by").select_option(color or "")
        drawn = "name => document.getElementById('map-groups').textContent.includes(name)"
        page.wait_for_function(drawn, arg=told["groups"][0]["name"])
        places = places_of(page, told)
        rows = lonely(places)
        assert len(rows) >= 5
        numbers = [told["groups"][told["group"][row]]["color"] for row in rows]
        palette = colors(page, "--ground", *(f"--c{number}" for number in range(1, 9)))
        blended = palette[0] + OPACITY * (palette - palette[0])
        assert nearest(pixels(page, places[rows]), blended) == numbers
        assert nearest(pixels(page, places[rows] + [0, APART / 2]), palette) == [0] * len(rows)


def test_groups_count_and_select(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    turn_to(page, "Map")
    counts = [row.locator("td.number").inner_text() for row in page.locator("#map-groups tr").all()]
    assert sum(map(int, counts)) == len(kb(server))
    page.get_by_label("Color by").select_option("source")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#map-groups th')].some(e => e.textContent === 'policy')"
    )
    expected = dict(kb(server).fields()["source"].values)
    for row in page.locator("#map-groups tr").all():
        assert int(row.locator("td.number").inner_text()) == expected[row.locator("th").inner_text()]
    page.get_by_role("button", name="Select policy").click()
    page.wait_for_function(
        f"() => document.getElementById('map-status').textContent.startsWith('{expected['policy']}')"
    )
    told = map_of(server, "source")
    places = places_of(page, told)
    rows = lonely(places)
    chosen = [told["groups"][told["group"][row]]["name"] == "policy" for row in rows]
    assert len(set(chosen)) == 2
    ground = colors(page, "--ground")
    faded = np.linalg.norm(pixels(page, places[rows]) - ground, axis=1) < 80
    assert faded.tolist() == [not each for each in chosen]
    page.get_by_role("navigation").get_by_role("button", name="Search").click()
    wanted = ids(kb(server).search(QUESTION, where={"source": "policy"}))
    page.wait_for_function("first => document.querySelector('article').dataset.id === first", arg=wanted[0])
    assert shown(page) == wanted


def test_hits_of_a_search_have_rings(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    search(page)
    found = shown(page)
    turn_to(page, "Map")
    told = map_of(server)
    places = places_of(page, told)
    row_of = {name: row for row, name in enumerate(told["ids"])}
    palette = colors(page, "--ink", "--ground", *(f"--c{number}" for number in range(1, 9)))

    def rings(rows: list[int]) -> list[bool]:
        """Return which documents have a ring; a part of it may be outside of the picture."""
        sides = [[RING, 0], [-RING, 0], [0, RING], [0, -RING]]
        return [0 in nearest(pixels(page, places[row] + np.array(sides)), palette) for row in rows]

    assert all(rings([row_of[name] for name in found]))
    others = [row for row in lonely(places) if told["ids"][row] not in found]
    assert others
    assert not any(rings(others))


def picture(page: "Page") -> str:
    """Return the map as it is drawn, with what was done before."""
    return str(
        page.evaluate(
            "async () => { for (let n = 0; n < 2; n += 1) await new Promise(done => requestAnimationFrame("
            "() => setTimeout(done))); return document.querySelector('#map canvas').toDataURL(); }"
        )
    )


def test_the_map_moves_by_keyboard_and_pointer(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    turn_to(page, "Map")
    box = page.locator("#map").bounding_box()
    assert box is not None
    seen = {picture(page)}
    page.locator("#map").focus()
    for key in ("ArrowRight", "ArrowDown", "+", "+", "ArrowUp", "-"):
        page.keyboard.press(key)
        assert picture(page) not in seen
        seen.add(picture(page))
    for key in ("-", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Zoom in").press("Enter")
    page.get_by_role("button", name="Zoom out").press("Enter")
    assert picture(page) not in seen
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 230)
    dragged = picture(page)
    assert dragged not in seen, "it moves while it is dragged"
    page.mouse.up()
    assert picture(page) == dragged
    page.get_by_role("button", name="Select what is in view").press("Enter")
    assert re.match(r"\d+ documents are selected|Nothing", page.locator("#map-status").inner_text())


def test_texts_are_fetched_for_the_list_and_the_pointer(server: Server, visit: Visiting) -> None:
    page = visit(address(server)).page
    ready(page)
    turn_to(page, "Map")
    told = map_of(server)
    assert "texts" not in told
    places = places_of(page, told)
    row = int(lonely(places)[0])
    (document,) = kb(server).get(told["ids"][row])
    box = page.locator("#map canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + places[row][0] - 3, box["y"] + places[row][1] + 3)
    page.get_by_role("tooltip").wait_for()
    assert page.get_by_role("tooltip").inner_text().startswith(f"{document.id} {document.text[:20]}")
    page.locator("#map-list summary").click()
    full = "() => [...document.querySelectorAll('#map-listed td')].filter(e => e.textContent).length === 50"
    page.wait_for_function(full)
    listed = page.locator("#map-listed tr").all()
    assert len(listed) == 25
    names = [each.get_by_role("button").inner_text() for each in listed]
    middle = np.linalg.norm(
        places - places_of(page, {**told, "x": [told["side"] / 2], "y": [told["side"] / 2]}), axis=1
    )
    assert {told["ids"][at] for at in np.argsort(middle)[:20]} <= set(names)
    for name, each in zip(names[:5], listed, strict=False):
        assert " ".join(kb(server).get(name)[0].text.split())[:50] in each.inner_text()
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name=names[0]).wait_for()


@pytest.mark.parametrize("name", ["hostile", "empty"])
def test_map_and_health_of_hostile_and_empty_collections(name: str, server: Server, visit: Visiting) -> None:
    page = visit(address(server, name)).page
    ready(page, name)
    turn_to(page, "Map")
    if name == "hostile":
        page.get_by_label("Color by").select_option(MARKUP)
        page.wait_for_function("text => document.getElementById('map-groups').textContent.includes(text)", arg="<img")
    turn_to(page, "Health")
    assert page.evaluate("() => document.querySelectorAll('img, iframe, object, script:not([src]), style').length") == 0
    assert page.evaluate("() => window.broken") is None
