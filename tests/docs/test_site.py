"""The documentation as a site: its reference is complete, its links lead somewhere, its pages load nothing."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

import langchain_theodolite
import llama_index_theodolite
import theodolite
import theodolite.testing
from theodolite.cli.commands import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
SITE, REPOSITORY = URLS["Documentation"], URLS["Homepage"]

COMMAND = re.compile(r"^(?:\\$ )?(theodolite .+?)(?: +#.*)?$", re.MULTILINE)
SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", read(path))


def commands() -> list[str]:
    """Every command in the shell blocks of all pages, each once."""
    found = [line for page in PAGES for block in SHELL.findall(read(page)) for line in COMMAND.findall(block)]
    parts = [part.strip() for line in found for part in re.split(r" [|>] ", line)]
    return sorted({part for part in parts if part.startswith("theodolite ")})


def test_the_reference_has_every_public_name() -> None:
    reported = re.findall(r"^::: (\S+)$", "\n".join(map(read, DOCS.glob("reference/*.md"))), re.MULTILINE)
    public = [
        f"{package.__name__}.{name}"
        for package in (theodolite, theodolite.testing, langchain_theodolite, llama_index_theodolite)
        for name in package.__all__
    ]
    assert sorted(reported) == sorted(public)


def test_the_readme_links_to_pages_by_their_address() -> None:
    found = links(ROOT / "README.md")
    assert len(found) > 5
    for link in found:
        assert link.startswith((SITE, REPOSITORY)), link
        if link.startswith(SITE) and link != SITE:
            place = link.removeprefix(SITE).rstrip("/")
            assert (DOCS / place if place.endswith(".png") else DOCS / f"{place}.md").is_file(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_to_the_repository_lead_to_files(page: Path) -> None:
    for link in links(page):
        if found := re.fullmatch(rf"{re.escape(REPOSITORY)}/(?:blob|tree)/main/(.+)", link):
            assert (ROOT / found[1]).exists(), link


def test_the_site_has_the_addresses_of_the_package() -> None:
    settings = read(ROOT / "mkdocs.yml")
    assert f"site_url: {SITE}\n" in settings
    assert f"repo_url: {REPOSITORY}\n" in settings


@pytest.mark.parametrize("line", commands())
def test_commands_in_the_guides_are_understood(line: str) -> None:
    group: Any = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    group.commands[name].make_context(name, arguments)  # parses and checks them, and runs nothing


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
@pytest.mark.thorough
def test_pages_load_nothing_from_other_servers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(r"""<(?:script|img|iframe)[^>]*\ssrc=["']?([^"'\s>]+)""", read(page))
        linked = re.findall(r"""<link[^>]*rel="?(?:stylesheet|icon|preconnect)"?[^>]*>""", read(page))
        loaded += re.findall(r"""href=["']?([^"'\s>]+)""", "".join(linked))
        assert [address for address in loaded if "//" in address and not address.startswith(SITE)] == []
