"""Filters through columns agree with filters on each document, whatever is written between, and after reopening."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.oracle.filters import Draw, Metadata
from tests.sampling import sampled

from theodolite import Document, Retriever
from theodolite.engines.local.derived.columns import column_files
from theodolite.filters import matches, parse, to_dict


def compare(folder: Path, seed: int, filters: int) -> int:
    """How many pairs of a filter and a document agreed."""
    draw = Draw(seed)
    stored: dict[str, Metadata] = {}
    pairs = 0
    for _ in range(2):
        with Retriever.open(folder, create=True) as kb, Retriever.open(folder, read_only=True) as reader:
            for _ in range(4):
                new = {
                    f"d{draw.random.randint(0, 120)}": draw.metadata() for _ in range(draw.random.choice([1, 4, 50]))
                }
                documents = [Document("text", metadata, name) for name, metadata in new.items()]
                kb.add(documents, vectors=np.ones((len(documents), 2)), batch_size=None)
                stored |= new
                for name in draw.random.sample(sorted(stored), min(len(stored), draw.random.randint(0, 6))):
                    if draw.random.random() < 0.5:
                        kb.delete(name)
                        del stored[name]
                    else:
                        change = draw.metadata()
                        kb.update(name, change)
                        stored[name] = {**stored[name], **change}
                for _ in range(filters):
                    where = draw.where()
                    tree = parse(where)
                    expected = sorted(name for name, metadata in stored.items() if matches(tree, metadata))
                    one = draw.random.choice([kb, reader])
                    assert [document.id for document in one.documents(where)] == expected, where
                    assert one.count(tree) == len(expected), where
                    pairs += len(stored)
    return pairs


@pytest.mark.parametrize("files", [False, True], ids=["without files", "with files"])
def test_columns_agree_with_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: bool) -> None:
    if files:
        monkeypatch.setattr(column_files, "_MIN_ROWS", 1)
    pairs = sum(compare(tmp_path / str(seed), seed + 100 * files, 15) for seed in range(4))
    assert pairs > 5_000


@pytest.mark.slow
def test_columns_agree_with_documents_many_times(tmp_path: Path) -> None:
    assert sum(compare(tmp_path / str(seed), seed, 40) for seed in range(1000, 1060)) > 500_000


def test_filters_survive_json() -> None:
    draw = Draw(3)
    documents = [draw.metadata() for _ in range(60)]
    for _ in range(sampled(1500)):
        tree = parse(draw.where())
        again = parse(json.loads(json.dumps(to_dict(tree))))
        assert again == tree
        assert [matches(again, metadata) for metadata in documents] == [matches(tree, m) for m in documents]


def test_negations_are_the_rest() -> None:
    """`$not`, `$ne`, `$nin`, `$nor` and ~ let pass exactly what their counterpart does not."""
    draw = Draw(4)
    documents = [draw.metadata() for _ in range(60)]
    for _ in range(sampled(1500)):
        where = draw.where()
        tree = parse(where)
        assert tree is not None
        for negated in (parse({"$not": where}), parse({"$nor": [where]}), ~tree):
            for metadata in documents:
                assert matches(negated, metadata) is not matches(tree, metadata), (where, metadata)
