"""The command `doctor`: installed packages, use of this machine, and a self-test."""

import os
import platform
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.options import Json
from theodolite.embedders.hub import cache_folder
from theodolite.indexes.flat.codes import instruction_sets
from theodolite.retriever import Retriever
from theodolite.testing import HashingEmbedder
from theodolite.types import Document

_NOT_SHOWN = {"all", "dev"}  # extras that only combine others, or are for developing theodolite
_REQUIREMENT = re.compile(r"""(?P<package>[\w.-]+(\[[\w,-]+\])?).*;.*\bextra\s*==\s*["'](?P<extra>[\w-]+)["']""")

_TEXTS = {
    "refunds": "Refunds take five working days.",
    "hours": "The shop is open from nine to six.",
    "returns": "Unused goods can be sent back for thirty days.",
}


def doctor(json_: Json = False) -> None:
    """Check the installation: versions, extras, caches, self-test.

    The self-test makes a small collection in a temporary folder, searches it and verifies it. It needs no model and no
    network. Exit code 1 if it fails.

    \b
    Examples:
      theodolite doctor
      theodolite doctor --json | jq .self_test
    """
    tested = _self_test()
    found = {
        "ok": tested["ok"],
        "versions": _versions(),
        "extras": _extras(),
        "simd": instruction_sets(),
        "caches": [_cache(name, folder) for name, folder in _cache_folders()],
        "self_test": tested,
    }
    if json_:
        output.say_json(found)
    else:
        _show(found)
    if not tested["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("theodolite", "numpy", "numkong")}
    return {
        **packages,
        "sqlite": sqlite3.sqlite_version,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _extras() -> dict[str, dict[str, Any]]:
    """Return each extra with its missing packages, from the metadata of the installed package."""
    packages: dict[str, list[str]] = {
        name: [] for name in metadata.metadata("theodolite").get_all("Provides-Extra", [])
    }
    for line in metadata.requires("theodolite") or []:
        if found := _REQUIREMENT.match(line):
            packages[found["extra"]].append(found["package"])
    return {
        name: {"installed": not missing, "missing": missing, "install": f"pip install 'theodolite[{name}]'"}
        for name in packages
        if name not in _NOT_SHOWN
        for missing in [[package for package in _expand(packages, name) if not _is_installed(package)]]
    }


def _expand(packages: Mapping[str, Sequence[str]], extra: str) -> list[str]:
    """Return the packages of an extra, including those of extras it refers to, such as `theodolite[embed]`."""
    expanded: list[str] = []
    for package in packages[extra]:
        name, _, extras = package.rstrip("]").partition("[")
        if name == "theodolite":
            expanded += [found for inner in extras.split(",") for found in _expand(packages, inner)]
        else:
            expanded.append(name)
    return list(dict.fromkeys(expanded))


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cache_folders() -> Iterator[tuple[str, Path]]:
    yield "models that were downloaded", _hub_cache()
    yield "models that were exported", cache_folder()


def _hub_cache() -> Path:
    """Return the cache folder of the Hugging Face hub, by its client's rules; the client may not be installed."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def _cache(name: str, folder: Path) -> dict[str, Any]:
    size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return {"name": name, "path": str(folder), "exists": folder.is_dir(), "bytes": size}


def _self_test() -> dict[str, Any]:
    """Run each step a first use takes, on a temporary collection, until one fails."""
    start = time.perf_counter()
    step = "create"
    try:
        with TemporaryDirectory(prefix="theodolite-") as folder:
            with Retriever.open(Path(folder) / "kb", embedder=HashingEmbedder()) as kb:
                step = "add"
                kb.add([Document(text, {"kind": "rule"}, name) for name, text in _TEXTS.items()])
                step = "search"
                for name, text in _TEXTS.items():
                    first = kb.search(text, k=1, where={"kind": "rule"})[0].document.id
                    if first != name:
                        raise AssertionError(f"the text of {name!r} finds {first!r} first")
                step = "verify"
                kb.verify()
            step = "open again"
            with Retriever.open(Path(folder) / "kb", create=False, read_only=True) as kb:
                if len(kb) != len(_TEXTS):
                    raise AssertionError(f"{len(kb)} of {len(_TEXTS)} documents are there")
            step = "remove"
    except Exception as error:  # whatever fails, the command reports it
        failure = f"{type(error).__name__}: {error}"
        return {"ok": False, "failed": step, "error": failure, "seconds": time.perf_counter() - start}
    return {"ok": True, "failed": None, "error": None, "seconds": time.perf_counter() - start}


def _show(found: Mapping[str, Any]) -> None:
    output.show_mapping({**found["versions"], "executable": sys.executable})
    output.say("\nExtras", style="bold")
    width = max(map(len, found["extras"]), default=0)
    for name, extra in found["extras"].items():
        if extra["installed"]:
            output.say(f"  {name:<{width}}  installed")
        else:
            output.say(f"  {name:<{width}}  missing    {extra['install']}")
    output.say("\nSIMD", style="bold")
    output.say(f"  {', '.join(found['simd']) or 'none: searches are slow on this processor'}")
    output.say("\nCaches", style="bold")
    for cache in found["caches"]:
        size = f"{cache['bytes'] / 1e6:,.1f} MB" if cache["exists"] else "not there yet"
        output.say(f"  {cache['name']}  {cache['path']}  {size}")
    output.say("\nSelf-test", style="bold")
    tested = found["self_test"]
    if tested["ok"]:
        output.say(f"  create, add, search, verify, open again: passed in {tested['seconds']:.2f} s")
        output.say("\ntheodolite works here.", style="green")
    else:
        output.say(f"  {tested['failed']} failed: {tested['error']}", style="red")
        output.say("\ntheodolite does not work here.", style="red")
