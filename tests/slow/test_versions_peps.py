"""Python's enhancement proposals: version rules on the real passages, checked against their headers."""

import csv
import json
import os
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.engines.local.derived.version_rules import Looking, moment

from theodolite import Document, Retriever
from theodolite.ranking.versions import Superseded, Versions

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "peps"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (DATA / "corpus.jsonl").exists(),
        reason="the collection peps is not here; THEODOLITE_DATA names the folder that holds it",
    ),
]

RULE = Superseded(key="pep", by="superseded_by", replaces="replaces", since="created")


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, Any]]:
    with (DATA / "corpus.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def edges() -> list[tuple[int, int]]:
    with (DATA / "supersedes.tsv").open(encoding="utf-8", newline="") as lines:
        return [(int(old), int(new)) for old, new in csv.reader(lines, delimiter="\t")]


def test_what_is_current(corpus: list[dict[str, Any]], edges: list[tuple[int, int]]) -> None:
    created = {one["metadata"]["pep"]: one["metadata"]["created"] for one in corpus}
    pep_of = {one["id"]: one["metadata"]["pep"] for one in corpus}
    passages: defaultdict[int, set[str]] = defaultdict(set)
    for name, pep in pep_of.items():
        passages[pep].add(name)
    successors: defaultdict[int, set[int]] = defaultdict(set)
    for old, new in edges:
        if new in created:
            successors[old].add(new)
    assert len(successors) >= 38
    with Retriever.open(None) as kb:
        kb.add(
            [Document(one["text"], one["metadata"], one["id"]) for one in corpus],
            vectors=np.ones((len(corpus), 2)),
            batch_size=None,
        )
        looking = Looking(kb)
        now = looking.at(Versions((RULE,), moment("2100-01-01")))
        gone = {name for pep in successors for name in passages[pep]}
        assert now.ids == set(pep_of) - gone
        assert now.superseded == len(gone)
        everything = looking.at(Versions((RULE,), moment("2100-01-01"), superseded="show"))
        assert everything.ids == set(pep_of)
        for (_, name), version in everything.versions.items():
            assert (version is not None and not version.current) == (name in gone)
            if version is not None and not version.current:
                assert set(version.successors) == ends(pep_of[name], successors)
        for pep, replacing in successors.items():
            first = min(created[new] for new in replacing)
            before = str(date.fromisoformat(first) - timedelta(days=1))
            then = looking.at(Versions((RULE,), moment(before))).ids
            if created[pep] < first:
                assert passages[pep] <= then, f"PEP {pep} is not back on {before}"
            assert not passages[pep] & looking.at(Versions((RULE,), moment(first))).ids


def ends(pep: int, successors: dict[int, set[int]]) -> set[int]:
    if not successors.get(pep):
        return {pep}
    return {end for new in successors[pep] for end in ends(new, successors)}
