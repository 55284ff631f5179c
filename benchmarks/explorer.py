"""The explorer in a browser: first paint, the first opening of its map, moving it, and the health page.

    python benchmarks/explorer.py --json explorer.json
    python benchmarks/explorer.py --rows 1000000 --folder /mnt/large
    python benchmarks/explorer.py --collection kb --pictures pictures

Documents as in `limits.py`: clustered vectors of 384 dimensions with short texts. A server is started by `theodolite
explore`, and Chromium without a GPU opens its page. Frames are those that the browser asked to be drawn while the
pointer drags the map for some seconds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu"]
WIDTH, HEIGHT = 1280, 900
DRAG = 4.0  # seconds
REDRAWS = 20

# Draws again by a key, and waits until the frame with the new picture has been shown.
REDRAW = """async key => {
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  await frame();
  const began = performance.now();
  document.getElementById('map').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  await frame();
  return performance.now() - began;
}"""
COUNT = """() => {
  window.frames_seen = [];
  const count = now => { window.frames_seen.push(now); window.counting = requestAnimationFrame(count); };
  window.counting = requestAnimationFrame(count);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--collection", help="a collection that is there")
    parser.add_argument("--folder", help="the folder for temporary data (default: the system's temporary folder)")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the pages")
    parser.add_argument("--dark", action="store_true", help="in dark colors")
    parser.add_argument("--no-health", action="store_true", help="leave out the health page")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.folder) as name:
        collection = args.collection
        if collection is None:
            from benchmarks.limits import build

            build(Path(name), args.rows)
            collection = str(Path(name) / "kb")
        figures = measure(collection, args)
    for what, value in figures.items():
        print(f"{what:<32}{value:12,.1f}")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(collection: str, args: argparse.Namespace) -> dict[str, float]:
    """Return the figures by name, in milliseconds unless their names say otherwise."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit("no Chromium is installed")
    command = [sys.executable, "-m", "theodolite", "explore", collection, "--no-browser", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            scheme: Any = "dark" if args.dark else "light"
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            figures = visit(context.new_page(), url, args)
            browser.close()
        figures["server's memory, MB"] = anonymous_megabytes(server.pid)
        return figures
    finally:
        server.terminate()
        server.wait(60)


def visit(page: Any, url: str, args: argparse.Namespace) -> dict[str, float]:
    """Open each page, and measure it."""
    figures: dict[str, float] = {}

    def picture(name: str) -> None:
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=args.pictures / f"{name}{'-dark' if args.dark else ''}.png")

    began = time.perf_counter()
    page.goto(url)
    page.wait_for_function("() => document.title.endsWith('Explorer') && document.title.length > 8")
    figures["page with its controls"] = 1e3 * (time.perf_counter() - began)
    paints = page.evaluate("() => performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)")
    figures["first paint"] = paints[0]
    picture("search")
    figures["map, first opening"] = timed(page, lambda: page.get_by_role("button", name="Map", exact=True).click(), 600)
    picture("map")
    page.locator("#map").focus()
    zooms = [page.evaluate(REDRAW, "+" if number < REDRAWS / 2 else "-") for number in range(REDRAWS)]
    figures["redraw, median"], figures["redraw, longest"] = statistics.median(zooms), max(zooms)
    figures["panning, frames a second"] = dragged(page)
    options = page.locator("#map-color option").all_text_contents()
    if len(options) > 1:
        change = lambda: page.get_by_label("Color by").select_option(options[1])  # noqa: E731
        figures["another color"] = timed(page, change, 60)
        picture("map-colored")
    page.locator("#map-list summary").click()
    page.wait_for_function("() => document.querySelectorAll('#map-listed td').length > 2")
    if not args.no_health:
        began = time.perf_counter()
        page.get_by_role("button", name="Health", exact=True).click()
        page.wait_for_function("() => document.querySelector('#health section')", timeout=1_800_000)
        figures["health, first opening"] = 1e3 * (time.perf_counter() - began)
        picture("health")
    return figures


def timed(page: Any, act: Any, seconds: float) -> float:
    """Return the milliseconds from an action until the map says that it is drawn, and the frame is shown."""
    page.evaluate("() => { document.getElementById('map-status').textContent = ''; }")
    began = time.perf_counter()
    act()
    done = """() => /document/.test(document.getElementById('map-status').textContent)
        && document.getElementById('map-progress').hidden"""
    page.wait_for_function(done, timeout=1000 * seconds)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return 1e3 * (time.perf_counter() - began)


def dragged(page: Any) -> float:
    """Drag the map in circles; return the frames a second."""
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(COUNT)
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < DRAG:
        number += 1
        page.mouse.move(x + 3 * (number % 60), y + 2 * (number % 45))
    seen = page.evaluate("() => { cancelAnimationFrame(window.counting); return window.frames_seen; }")
    page.mouse.up()
    return float(1e3 * (len(seen) - 1) / (seen[-1] - seen[0]))


def anonymous_megabytes(pid: int) -> float:
    """Return the anonymous memory of a process; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
