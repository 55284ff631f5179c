"""The shape of the repository: two source roots, small files, no catch-all modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ADAPTERS = {"langchain_theodolite", "llama_index_theodolite"}

PACKAGES = [ROOT / "retriever" / "theodolite", *(ROOT / "adapters" / name for name in sorted(ADAPTERS))]

MODULES = sorted(path for root in ("retriever", "adapters") for path in (ROOT / root).rglob("*.py"))

MAX_LINES = 500
EXEMPT = {"retriever/theodolite/retriever.py"}  # one class, whole

COMMITTED_FOLDERS = (
    ".ci",
    ".github",
    "adapters",
    "benchmarks",
    "docs",
    "examples",
    "retriever",
    "tests",
)
COMMITTED_SUFFIXES = {"", ".md", ".toml", ".txt", ".yaml", ".yml"}

# A path of one machine. In two halves, so that this file passes its own test.
MACHINE_PATH = b"/" + b"work/"


def children(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != "__pycache__" and path.name[0] != "."}


def committed_files() -> Iterator[Path]:
    """Files of the checkout, without asking git, so that this also works in an unpacked sdist."""
    for folder in COMMITTED_FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts)
    # Beside the committed files, tools leave reports that do name this machine (.coverage).
    yield from (path for path in ROOT.iterdir() if path.suffix in COMMITTED_SUFFIXES and path.name[0] != ".")


def test_the_core_is_the_only_package_in_its_root() -> None:
    assert children(ROOT / "retriever") == {"theodolite"}


def test_the_adapters_are_the_only_packages_in_their_root() -> None:
    assert children(ROOT / "adapters") == ADAPTERS


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_package_says_that_it_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


def test_no_module_is_long() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count >= MAX_LINES}
    assert {name: long[name] for name in long.keys() - EXEMPT} == {}, f"split what reaches {MAX_LINES} lines"


def test_no_module_is_a_catch_all() -> None:
    catch_alls = [
        str(path.relative_to(ROOT)) for path in MODULES if {path.stem, path.parent.name} & {"base", "common", "utils"}
    ]
    assert catch_alls == [], "name the module after what it does"


def test_no_file_names_a_path_of_one_machine() -> None:
    named = [
        str(path.relative_to(ROOT))
        for path in committed_files()
        if path.is_file() and MACHINE_PATH in path.read_bytes()
    ]
    assert named == []
