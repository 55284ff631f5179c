"""The table of crash points in docs/storage.md is complete."""

import re
from pathlib import Path

from theodolite.engines.local.storage.crash_points import POINTS

STORAGE = Path(__file__).resolve().parents[5] / "docs" / "storage.md"


def test_the_documented_crash_table_names_every_point() -> None:
    text = STORAGE.read_text(encoding="utf-8")
    table = re.search(r"^\| killed at \|.*\n\|-.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None
    first_cells = [row.split("|")[1] for row in table[1].splitlines()]
    documented = [name for cell in first_cells for name in re.findall(r"`([a-z.]+)`", cell)]
    assert documented == list(POINTS)
