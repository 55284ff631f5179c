"""A real browser for tests: the system's Chromium. Where it is not installed, these tests are skipped.

`THEODOLITE_BROWSER=required` makes them fail instead. `THEODOLITE_AXE` is the path of axe-core's `axe.min.js`.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from tests.serving import Server

REQUIRED = os.environ.get("THEODOLITE_BROWSER") == "required"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def missing(what: str) -> None:
    """Skip a test, or fail if browsers are required."""
    if REQUIRED:
        pytest.fail(f"THEODOLITE_BROWSER is required, and {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        missing("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield running
        running.close()


@dataclass
class Visit:
    """A page that is watched: what it prints, what fails, and what it asks for.

    Attributes:
        page: Playwright's page.
        messages: messages of the console, and errors that nothing caught.
        requests: the addresses it asked for.
    """

    page: "Page"
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Callable[..., Visit]]:
    """Return a function that opens an address in a new page. At the end nothing may have gone wrong in it."""
    visits: list[tuple[Visit, str]] = []

    def open_page(address: str, **context: Any) -> Visit:
        page = browser.new_context(viewport={"width": 1280, "height": 900}, **context).new_page()
        one = Visit(page)
        page.on("console", lambda message: one.messages.append(message.text))
        page.on("pageerror", lambda error: one.messages.append(str(error)))
        page.on("request", lambda request: one.requests.append(request.url))
        visits.append((one, "/".join(address.split("/")[:3]) + "/"))
        page.goto(address)
        return one

    yield open_page
    for one, origin in visits:
        one.page.context.close()
        assert one.messages == []
        assert [address for address in one.requests if not address.startswith(origin)] == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, which finds faults of accessibility."""
    path = os.environ.get("THEODOLITE_AXE")
    if path is None:
        missing("THEODOLITE_AXE does not name axe-core's axe.min.js")
    return Path(path or "").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server() -> "Iterator[Server]":
    """A server with the explorer, for tests of its page."""
    from tests.browser.explorer_page import collections
    from tests.serving import READER, serving

    from theodolite.serving.access import Access, Grant
    from theodolite.serving.explorer.routes import explorer
    from theodolite.serving.limits import Limits

    access = Access({READER: Grant()})
    with serving(*collections(), access=access, extend=lambda served: explorer(served, Limits())) as running:
        yield running
