"""The command `search`: what it prints of what it has found."""

import json
from pathlib import Path

import pytest
from tests.unit.shell import Shell


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_small_scores_are_told(tmp_path: Path, mode: str) -> None:
    shell = Shell(tmp_path)
    records = [{"id": name, "text": f"refunds {name}"} for name in ("first", "second")]
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(map(json.dumps, records)))
    search = ("search", "kb", "refunds", "--mode", mode)
    out, _ = shell.run(*search)
    hits = shell.json(*search)["hits"]
    assert len(hits) == 2
    for line, hit in zip(out.splitlines(), hits, strict=True):
        assert 0 < hit["score"] < 0.1  # BM25 of a word that all hold is next to nothing
        assert float(line.split("\t")[1]) == pytest.approx(hit["score"], rel=1e-3)
