"""Unusable input is refused at once, with a clear error of ours, and leaves nothing behind."""

import math
import os
import random
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.ids import stable

from theodolite import (
    ConfigError,
    Document,
    DocumentError,
    F,
    FilterError,
    Freshness,
    InputError,
    Latest,
    Retriever,
    VectorError,
)
from theodolite.columns import dictionary
from theodolite.engines.local import LocalEngine
from theodolite.files.readers import Options
from theodolite.files.sync import sync
from theodolite.filters import matches, parse
from theodolite.monitoring import Monitor
from theodolite.testing import HashingEmbedder


class OfBytes:
    def __fspath__(self) -> bytes:
        return b"kb"


@pytest.mark.parametrize(
    "location", [b"kb", bytearray(b"kb"), OfBytes(), 5, object(), "", "a\0b", "kb\udcff"], ids=stable
)
def test_paths_that_cannot_be_opened(location: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ({}, {"create": False}, {"read_only": True}, {"embedder": HashingEmbedder()}):
        with pytest.raises(InputError, match="location is"):
            Retriever.open(location, **options)
    with Retriever.open() as kb, pytest.raises(InputError, match="location is"):
        kb.backup(location)
    with pytest.raises(InputError, match="path is"):
        Monitor(path=location)
    with pytest.raises(InputError, match="location is"):
        LocalEngine.open(location)
    assert os.listdir(tmp_path) == []


def test_paths_that_can(tmp_path: Path) -> None:
    for location in (tmp_path / "Größe 中文 😀", str(tmp_path / "a%20b?c#d")):
        with Retriever.open(location, embedder=HashingEmbedder()) as kb:
            kb.add(["text"])
            assert kb.location == Path(location)
            assert kb.verify().sound


@pytest.mark.parametrize(
    "vectors", [5, 1.5, True, np.float32(3), np.array(5), "ab", b"ab", {1: 2}, object()], ids=stable
)
def test_vectors_that_have_no_rows(vectors: Any) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        for _ in range(2):
            with pytest.raises(VectorError, match="expected an array"):
                kb.add([Document("a", id="a")], vectors=vectors)
            with pytest.raises(VectorError, match="expected an array"):
                kb.search(vector=vectors)
            with pytest.raises(VectorError, match="expected an array"):
                kb.search_many(vectors=vectors)
            kb.add(["text"])
        assert len(kb) == 1


def test_vectors_from_anything_with_rows() -> None:
    rows = np.eye(3, dtype=np.float32)
    with Retriever.open() as kb:
        kb.add([Document("a", id=str(i)) for i in range(3)], vectors=iter(rows))
        assert [hits[0].document.id for hits in kb.search_many(vectors=iter(rows), k=1)] == ["0", "1", "2"]
        assert kb.search(vector=(0.0, 1.0, 0.0), k=1)[0].document.id == "1"


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"a": "\ud800"}, "metadata['a']"),
        ({"a": {"b": ["x", {"c": "\udcff"}]}}, "metadata['a']['b'][1]['c']"),
        ({"fine": "x", "k\ud800": 1}, "the key 'k\\ud800' of metadata"),
        ({"a": [{"\udfff": 1}]}, "the key '\\udfff' of metadata['a'][0]"),
    ],
)
def test_what_is_not_text_is_named_with_its_path(metadata: dict[str, Any], path: str) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        for id in ("", "a"):
            with pytest.raises(DocumentError) as caught:
                kb.add([Document("text", {"ok": "😀"}, id="ok"), Document("text", metadata, id=id)])
            assert path in str(caught.value)
        assert len(kb) == 0


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")
def test_names_have_a_limit() -> None:
    longest, longer = "n" * 10_000, "n" * 10_001
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document("a", {longest: 1, "a." * 4_999 + "a": 2, "s": "x" * 10_000}, id="a")])
        assert kb.count({longest: 1}) == kb.count({"a." * 4_999 + "a": 2}) == 1
        assert kb.count({"s": {"$like": "_" * 10_000}}) == 1
        for name in (longer, "n" * 10_000_000):
            with pytest.raises(FilterError, match="at most 10,000") as caught:
                kb.count({name: 1})
            assert len(str(caught.value)) < 300
            with pytest.raises(FilterError, match="at most 10,000"):
                F(name)
            with pytest.raises(FilterError, match="at most 10,000"):
                kb.search("a", where={"s": {"$ilike": name}})
            for make in (lambda name=name: Freshness(name, "1d"), lambda name=name: Latest("a", name)):
                with pytest.raises(ConfigError, match="at most 10,000"):
                    make()
        assert kb.count({"s": {"$contains": "x" * 100_000}}) == 0


def long_names() -> dict[str, dict[str, Any]]:
    return {
        "one": {"n" * 10_001: 1},
        "huge": {"n" * 10_000_000: 1},
        "escaped": {"$" + "n" * 10_000: 1},
        "nested": {"a": {"n" * 9_999: {"b": 1}}},
        "in a list": {"a": [1, {"n" * 10_000: 1}]},
        "in tuples": {"a": ((), ({"n": {"m" * 10_000: None}},))},
    }


@pytest.mark.parametrize("kind", long_names())
def test_longer_names_are_not_stored(kind: str, tmp_path: Path) -> None:
    metadata = long_names()[kind]
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        kb.add([Document("a", {"n": 1}, "a")])
        for write in (
            lambda: kb.add([Document("b", {}, "b"), Document("c", metadata, "c")]),
            lambda: kb.add([Document("c", metadata)]),
            lambda: kb.update("a", metadata),
            lambda: kb.update("a", metadata, replace=True),
        ):
            with pytest.raises(DocumentError, match="at most 10,000") as caught:
                write()
            assert len(str(caught.value)) < 400
        assert [document.metadata for document in kb.documents()] == [{"n": 1}]
        kb.verify()


def test_a_file_with_longer_names_is_skipped_whole(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "long.csv").write_text(f"text,{'n' * 10_001}\none,1\n")
    (docs / "short.csv").write_text("text,n\ntwo,1\n")
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        report = sync(kb, [docs], options=Options(metadata=("n" * 10_001, "n")))
        assert ["at most 10,000" in skipped.reason for skipped in report.skipped] == [True]
        assert [document.text for document in kb.documents()] == ["two"]


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")
def test_longer_names_that_earlier_versions_stored_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long, nested = "n" * 10_001, {"m" * 10_001: [date(2025, 1, 1)]}
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        with monkeypatch.context() as earlier:
            earlier.setattr("theodolite.metadata.MAX_FIELD", 1 << 40)
            kb.add([Document("a", {long: 1, "list": [nested], "s": "x"}, "a"), Document("b", {"s": "y"}, "b")])
        kb.update("a", {"s": "z"})
        expected = {long: 1, "list": [nested], "s": "z"}
        assert kb.get("a")[0].metadata == expected
        assert kb.search("a", where={"s": "z"})[0].document.metadata == expected
        assert kb.count({"list": {"$exists": True}}) == 1
        assert kb.fields()["s"].count == 2
        kb.verify()
        kb.compact()
        kb.backup(tmp_path / "copy")
    with Retriever.open(tmp_path / "copy") as copy:
        assert {document.id: document.metadata for document in copy.documents()} == {"a": expected, "b": {"s": "y"}}
        copy.verify()


def test_many_values_mean_what_few_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    zones: list[tzinfo | None] = [UTC]

    def value() -> Any:
        day = draw.randrange(1, 9)
        return draw.choice(
            [
                *(draw.randrange(9), float(draw.randrange(9)), 0.5, 2**70, float(2**70), True, False, None, ""),
                *(-(2**63), 2**63, float(2**63), -float(2**63), -0.0, -0.5, 1e300, 2**53 + 1),
                *(f"a{day}", f"2025-01-0{day}", date(2025, 1, day), datetime(2025, 1, day, tzinfo=zones[0])),
                *([], [1], [[1]], [f"a{day}", f"2025-01-0{day}", date(2025, 1, 3), True], f"2025-01-0{day}T00:00Z"),
            ]
        )

    documents = [{"f": value()} for _ in range(200)] + [{}]
    monkeypatch.setattr(dictionary, "_MANY", 0)
    with Retriever.open() as kb:
        named = [Document("a", metadata, id=str(i)) for i, metadata in enumerate(documents)]
        kb.add(named, vectors=np.ones((len(documents), 2)))
        for _ in range(150):
            zones[:] = [draw.choice([UTC, None, timezone(timedelta(hours=24) - timedelta(minutes=1))])]
            wanted = [math.inf, -math.inf, *(value() for _ in range(draw.choice([3, 9, 300])))]
            alike = draw.choice([str, date, datetime, float, None])  # values of one type take other paths
            wanted = wanted if alike is None else [value for value in wanted if type(value) is alike]
            tree = parse({"f": {draw.choice(["$in", "$nin"]): wanted}})
            found = {document.id for document in kb.documents(tree)}
            assert found == {str(i) for i, metadata in enumerate(documents) if matches(tree, metadata)}


@pytest.mark.thorough
def test_a_million_values() -> None:
    values = [f"v{i}" for i in range(1_000_000)]
    with Retriever.open() as kb:
        kb.add([Document("a", {"s": f"v{i}"}, id=f"v{i}") for i in range(50)], vectors=np.ones((50, 2)))
        assert kb.count({"s": {"$in": values}}) == kb.count({"$id": values}) == 50
        assert kb.count({"s": {"$nin": values}}) == 0
