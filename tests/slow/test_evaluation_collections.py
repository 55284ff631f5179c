"""Evaluating the judged collections: the table is that of ir-measures on our run files, computed apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.judged import DATA, opened, read

from theodolite.types import Mode

ir_measures: Any = pytest.importorskip("ir_measures")

NAMES = {"nDCG": "nDCG", "RR": "MRR", "AP": "MAP", "R": "recall", "P": "precision", "Success": "success"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "scifact" / "corpus.jsonl").exists(),
        reason="the judged collections are not here; THEODOLITE_DATA names the folder that holds them",
    ),
]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize("name", ["scifact", "npl", "cranfield", "medline", "cisi", "covidfaq"])
def test_the_table_is_that_of_ir_measures(name: str, mode: Mode, tmp_path: Path) -> None:
    vectors = np.load(DATA / name / "queries.f16.npy").astype(np.float32)
    qrels = [
        ir_measures.Qrel(question, document, int(grade))
        for question, document, grade in (
            line.split("\t") for line in (DATA / name / "qrels.tsv").read_text().splitlines()
        )
    ]
    with opened(read(DATA / name)) as kb:
        found = kb.evaluate(
            DATA / name / "queries.jsonl", DATA / name / "qrels.tsv", vectors=vectors, mode=mode, k=(1, 10, 100)
        )
    found.write_run(tmp_path / "out.run")
    run = list(ir_measures.read_trec_run(str(tmp_path / "out.run")))
    relevant = {each.query_id for each in qrels if each.relevance > 0}
    for k in (1, 10, 100):
        expected = ir_measures.calc_aggregate(
            [getattr(ir_measures, each) @ k for each in NAMES],
            [each for each in qrels if each.query_id in relevant],
            run,
        )
        for measure, value in expected.items():
            assert found.metrics[f"{NAMES[measure.NAME]}@{k}"] == pytest.approx(value, abs=1e-9), measure
    assert found.questions == len(relevant)
    assert found.unknown == ()
