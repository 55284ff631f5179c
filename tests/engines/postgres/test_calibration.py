"""Calibrations, verdicts and coverage through PostgreSQL are those of a folder, with and without an HNSW index."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import psycopg
import pytest
from tests import calibrating

from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder
from theodolite.types import Mode

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_calibration"
_numbers = count()


@pytest.fixture
def location(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=c{next(_numbers)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def test_they_are_those_of_a_folder(location: str) -> None:
    with Retriever.open(location, embedder=None) as kb, Retriever.open(location, embedder=None) as again:
        calibrating.check(kb, again)


def test_an_index_built_after_calibrating_changes_no_list(location: str) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((1500, 24))
    questions = {f"q{n}": vectors[n] + draw.standard_normal(24) for n in range(60)}
    with Retriever.open(location, embedder=None) as kb:
        kb.add([Document("", id=f"d{n}") for n in range(len(vectors))], vectors=vectors)
        kb.calibrate(questions, {f"q{n}": {f"d{n}": 1} for n in range(60)})
        before = [kb.search(vector=vector, coverage=0.8).items for vector in questions.values()]
        kb.reindex("hnsw:M=2,ef_construction=8", target_recall=0.5)  # a bad one
        assert kb.search(vector=vectors[0]).trace.path == "index"
        after = [kb.search(vector=vector, coverage=0.8) for vector in questions.values()]
        assert [hits.items for hits in after] == before
        assert all(hits.trace.complete for hits in after)


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_texts_are_calibrated_too(location: str, mode: Mode) -> None:
    things, rules = ("tents", "boots", "lamps", "ropes"), ("cost", "weigh", "last", "arrive")
    facts = [f"{thing} {rule}" for thing in things for rule in rules]
    found = []
    for place in (None, location):
        with Retriever.open(place, embedder=HashingEmbedder(128)) as kb:
            kb.add(Document(f"{fact} as the catalog says", id=fact) for fact in facts)
            calibration = kb.calibrate(
                {fact: f"please tell me about {fact}" for fact in facts},
                {fact: {fact: 1} for fact in facts},
                {f"o{n}": f"who sang song number {n} as Riga says" for n in range(20)},
                mode=mode,
            )
            hits = kb.search("tell me about boots last", mode=mode, coverage=0.8)
            assert hits.verdict is not None
            found.append((calibration.gaps, hits.verdict.label, [hit.document.id for hit in hits]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert found[0][1:] == found[1][1:]
