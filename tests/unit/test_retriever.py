"""`Retriever`: its input, its output, and invalid calls."""

import gc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    ConfigError,
    Document,
    DocumentError,
    EngineError,
    FilterError,
    InputError,
    ManifestError,
    MetadataWarning,
    MetricMismatchError,
    Retriever,
    VectorError,
)
from theodolite.engines.local import LocalEngine
from theodolite.testing import HashingEmbedder

EYE = np.eye(4, dtype=np.float32)


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(64)) as opened:
        yield opened


@pytest.fixture
def bare() -> Iterator[Retriever]:
    with Retriever.open() as opened:
        yield opened


def docs(*names: str) -> list[Document]:
    return [Document(f"text of {name}", {"name": name}, name) for name in names]


def test_the_eight_lines(kb: Retriever) -> None:
    kb.add(
        [
            Document("refunds take five working days", {"lang": "en"}, "refunds"),
            Document("parcels are sent on mondays", {"lang": "en"}, "parcels"),
            Document("refunds take five working days", {"lang": "de"}, "de"),
        ]
    )
    hits = kb.search("how many days do refunds take", k=2, where={"lang": "en"})
    assert [hit.document.id for hit in hits] == ["refunds", "parcels"]
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].score == hits[0].scores["similarity"] == hits[0].scores["relevance"]
    assert hits.trace.eligible == 2
    assert hits.trace.rows == 3
    assert hits.trace.complete
    assert set(hits.trace.timings) == {"embed", "search", "fetch"}


def test_scores_of_each_metric() -> None:
    rows = [[3.0, 4.0], [-3.0, -4.0]]
    expected = {
        "cosine": [{"similarity": 1.0, "relevance": 1.0}, {"similarity": -1.0, "relevance": 0.0}],
        "dot": [{"similarity": 25.0}, {"similarity": -25.0}],
        "l2": [{"similarity": 0.0, "relevance": 1.0}, {"similarity": -10.0, "relevance": 1 / 11}],
    }
    for metric, scores in expected.items():
        with Retriever.open(metric=metric) as kb:  # type: ignore[arg-type]  # the keys are metrics
            kb.add(docs("a", "b"), vectors=rows)
            assert [dict(hit.scores) for hit in kb.search(vector=rows[0])] == [pytest.approx(each) for each in scores]


def test_what_add_takes(bare: Retriever) -> None:
    assert bare.add(docs("a"), vectors=EYE[:1]) == ["a"]
    assert bare.add([{"id": "b", "text": "t", "metadata": {"x": 1}}], vectors=[[0, 1, 0, 0]]) == ["b"]
    (derived,) = bare.add(["only text"], vectors=[EYE[2]])
    assert bare.add(iter(["only text"]), vectors=iter([EYE[3]])) == [derived]
    assert bare.count() == 3
    assert bare.get(["b", "nobody", "a"]) == [Document("t", {"x": 1}, "b"), *docs("a")]
    wrong: Any
    for wrong in ("text", docs("a")[0], {"text": "t"}, b"x"):
        with pytest.raises(DocumentError, match="iterable of documents"):
            bare.add(wrong, vectors=EYE[:1])
    for wrong in ([7], [{"txt": "t"}], [{"text": "t", "meta": {}}], [None], [{"text": "t", "id": 0}]):
        with pytest.raises(DocumentError, match="number 0"):
            bare.add(wrong, vectors=EYE[:1])


def test_derived_ids_depend_on_text_and_metadata(bare: Retriever) -> None:
    given = [Document("a"), Document("a", {"x": 1, "y": 2}), Document("a", {"y": 2, "x": 1}), Document("b")]
    ids = bare.add(given, vectors=EYE)
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3
    with Retriever.open() as other:
        assert other.add(given, vectors=EYE) == ids
    with pytest.raises(DocumentError, match="neither an id nor a text"):
        bare.add([Document("", {"x": 1})], vectors=EYE[:1])


def test_empty_text(kb: Retriever) -> None:
    with pytest.raises(DocumentError, match="2 of 3 documents have no text to embed, first 'b'") as error:
        kb.add([Document("x", id="a"), Document("", id="b"), Document(" \n", id="c")])
    assert error.value.ids == ["b", "c"]
    assert kb.count() == 0
    assert kb.add([Document("", id="b")], vectors=[np.ones(64)]) == ["b"]
    assert kb.get(["b"])[0].text == ""


def test_the_last_of_equal_ids_wins(bare: Retriever) -> None:
    batch = [Document("first", {}, "a"), Document("other", {}, "b"), Document("last", {}, "a")]
    assert bare.add(batch, vectors=EYE[:3]) == ["a", "b", "a"]
    assert bare.count() == 2
    assert bare.search(vector=EYE[2], k=1)[0].document.text == "last"
    assert bare.search(vector=EYE[0], k=1)[0].score == 0


def test_a_generator_that_raises(bare: Retriever) -> None:
    def source() -> Iterator[Document]:
        yield from docs("a", "b", "c")
        raise OSError("the file went away")

    with pytest.raises(OSError, match="went away"):
        bare.add(source(), vectors=iter(EYE), batch_size=2)
    assert [document.id for document in bare.documents()] == ["a", "b"]
    bare.verify()


@pytest.mark.parametrize("kind", ["array", "list", "generator"])
def test_vectors_of_another_number(bare: Retriever, kind: str) -> None:
    def given(rows: Any) -> Any:
        return {"array": rows, "list": list(rows), "generator": (row for row in rows)}[kind]

    with pytest.raises(DocumentError):
        bare.add(docs("a", "b", "c"), vectors=given(EYE[:2]), batch_size=2)
    assert bare.count() == (2 if kind == "generator" else 0)
    with pytest.raises(DocumentError):
        bare.add(docs("x"), vectors=given(EYE[:2]), batch_size=2)
    with pytest.raises(DocumentError, match="more vectors than"):
        bare.add((document for document in docs("x")), vectors=given(EYE[:2]), batch_size=1)


def test_vectors_that_do_not_fit(bare: Retriever) -> None:
    bare.add(docs("a"), vectors=EYE[:1])
    with pytest.raises(VectorError, match="dimension 3; the collection has 4"):
        bare.add(docs("b"), vectors=[[1, 0, 0]])
    with pytest.raises(VectorError, match=r"1 of 2 vectors have zero length.*row 1 \(document 'c'\)"):
        bare.add(docs("b", "c"), vectors=[[1, 0, 0, 0], [0, 0, 0, 0]])
    for query in ([1, 0, 0], [0, 0, 0, 0], [np.nan, 0, 0, 0]):
        with pytest.raises(VectorError, match="query vectors"):
            bare.search(vector=query)
    assert bare.count() == 1


def test_a_skipped_normalization_is_refused() -> None:
    """The incident theodolite exists to prevent."""
    with Retriever.open(metric="dot") as kb:
        kb.add(docs("a", "b"), vectors=EYE[:2])
        assert kb.info()["norms"] == "unit"
        with pytest.raises(
            VectorError, match=r"1 of 2 vectors have norms outside.*\(document 'd'\) with norm 3"
        ) as error:
            kb.add(docs("c", "d"), vectors=[EYE[0], 3 * EYE[1]])
        assert error.value.ids == ["d"]
        with pytest.raises(VectorError, match="norms outside"):
            kb.search(vector=3 * EYE[0])
        assert kb.count() == 2


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True])
def test_k(bare: Retriever, k: Any) -> None:
    with pytest.raises(InputError, match="k is"):
        bare.search(vector=EYE[0], k=k)


def test_more_than_there_is(bare: Retriever) -> None:
    assert list(bare.search(vector=EYE[0])) == []
    bare.add(docs("b", "a"), vectors=EYE[:2])
    assert len(bare.search(vector=EYE[0], k=1000)) == 2
    assert [hit.document.id for hit in bare.search(vector=EYE[3])] == ["a", "b"]  # a tie, by id
    assert list(bare.search(vector=EYE[0], where={"name": "nobody"})) == []
    assert bare.search_many(vectors=np.empty((0, 4))) == []
    many = bare.search_many(vectors=EYE, k=2)
    assert [[hit.score for hit in hits] for hits in many] == [
        [hit.score for hit in bare.search(vector=row, k=2)] for row in EYE
    ]


def test_what_search_refuses(kb: Retriever, bare: Retriever) -> None:
    with pytest.raises(InputError, match="either"):
        kb.search()
    with pytest.raises(InputError, match="either"):
        kb.search("both", vector=EYE[0])
    for query in ("", "  "):
        with pytest.raises(InputError, match="string that is not blank"):
            kb.search(query)
    with pytest.raises(FilterError, match="unknown operator"):
        kb.search("x", where={"a": {"$near": 1}})
    with pytest.raises(ConfigError, match="without an embedder"):
        bare.search("text")
    with pytest.raises(ConfigError, match="without an embedder"):
        bare.add(["text"])


def test_update_and_delete(bare: Retriever) -> None:
    bare.add(docs("a", "b"), vectors=EYE[:2])
    bare.update("a", {"lang": "en"})
    assert bare.get(["a"])[0].metadata == {"name": "a", "lang": "en"}
    bare.update(["a", "b"], {"only": 1}, replace=True)
    assert [document.metadata for document in bare.documents()] == [{"only": 1}] * 2
    with pytest.raises(DocumentError, match="1 of 2 documents to update are not in the collection, first 'z'"):
        bare.update(["a", "z"], {"only": 2})
    assert bare.count({"only": 1}) == 2
    assert bare.search(vector=EYE[0], k=1)[0].document.id == "a"
    assert bare.delete("a") == 1
    assert bare.delete(["a", "b", "b"]) == 1
    assert bare.count() == len(bare) == 0
    bare.clear()
    assert bare.info()["dimension"] == 4


def test_listing(bare: Retriever) -> None:
    names = [f"{number:04d}" for number in range(600)]
    bare.add(docs(*names), vectors=np.random.default_rng(0).standard_normal((600, 4)), batch_size=100)
    assert [document.id for document in bare.documents()] == names
    assert [document.id for document in bare.documents(after="0300", limit=2)] == ["0301", "0302"]
    assert [document.id for document in bare.documents({"name": "0555"})] == ["0555"]
    assert list(bare.documents(limit=0)) == []
    for document, vector in bare.documents(limit=3, vectors=True):
        assert bare.search(vector=vector, k=1)[0].document == document


METADATA: dict[str, Any] = {
    "text": 'quotes " and \\ and \0 and ü',
    "number": 2**70,
    "float": 0.1,
    "none": None,
    "yes": True,
    "date": date(2025, 3, 1),
    "moment": datetime(2025, 3, 1, 9, tzinfo=UTC),
    "nested": {"a.b": [1, {"$date": "not a date"}]},
    "$date": "2025-03-01",
    'odd "key"': 1,
    "": "empty key",
}


def test_documents_come_back_equal_and_are_not_shared(bare: Retriever) -> None:
    nested: dict[str, Any] = {"list": [1]}
    bare.add([Document("ü\0x", METADATA, "a"), Document("b", nested, "b")], vectors=EYE[:2])
    nested["list"].append(2)
    first, second = bare.get(["a", "b"])
    assert first == Document("ü\0x", METADATA, "a")
    assert second.metadata == {"list": [1]}
    second.metadata["list"].append(3)
    bare.search(vector=EYE[1], k=1)[0].document.metadata["list"].append(3)
    assert bare.get(["b"])[0].metadata == {"list": [1]}
    for field, value in METADATA.items():
        if field != "nested":
            assert bare.count({field: value} if not field.startswith("$") else None) >= 1, field
    assert bare.count({"nested.a.b": 1}) == 1
    bare.verify()


def test_pinned_settings(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", metric="dot", norms="any") as kb:
        kb.add(docs("a"), vectors=EYE[:1])
    with pytest.raises(MetricMismatchError, match="pinned to metric 'dot', not 'cosine'"):
        Retriever.open(tmp_path / "kb", metric="cosine")
    with pytest.raises(ConfigError, match="pinned to norms='any', not 'unit'"):
        Retriever.open(tmp_path / "kb", norms="unit")
    with pytest.raises(ConfigError, match="embedder gives 64 dimensions, the collection holds 4"):
        Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(64))
    with pytest.raises(ConfigError, match="metric is 'euclid'"):
        Retriever.open(tmp_path / "new", metric="euclid")  # type: ignore[arg-type]  # what is refused
    assert not (tmp_path / "new").exists()
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.info()["metric"] == "dot"


def test_closing(tmp_path: Path) -> None:
    kb = Retriever.open(tmp_path / "kb")
    kb.add(docs("a"), vectors=EYE[:1])
    kb.close()
    kb.close()
    for call in (kb.count, lambda: kb.search(vector=EYE[0]), lambda: kb.add(docs("b"), vectors=EYE[:1])):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_a_collection_in_memory_leaves_nothing() -> None:
    engine = LocalEngine.open()
    folder = engine._store.folder.path
    assert folder.exists()
    engine.close()
    assert not folder.exists()
    engine = LocalEngine.open()
    folder = engine._store.folder.path
    del engine
    gc.collect()
    assert not folder.exists()
    with pytest.raises(ConfigError, match="read-only"):
        Retriever.open(read_only=True)


def test_relative_folders_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Retriever.open("kb") as kb:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        kb.add(docs("a"), vectors=EYE[:1])
        assert kb.count() == 1
    assert (tmp_path / "kb" / "store.sqlite").exists()


def test_get_gives_vectors(bare: Retriever) -> None:
    bare.add(docs("a", "b"), vectors=EYE[:2] * 3)
    pairs = bare.get(["b", "nobody", "a"], vectors=True)
    assert [document for document, _ in pairs] == docs("b", "a")
    np.testing.assert_array_equal([vector for _, vector in pairs], EYE[[1, 0]])


def test_delete_by_filter(bare: Retriever) -> None:
    bare.add([Document("t", {"n": n % 3}, f"{n}") for n in range(12)], vectors=np.ones((12, 4)))
    assert bare.delete(where={"n": [1, 2]}) == 8
    assert [document.id for document in bare.documents()] == ["0", "3", "6", "9"]
    wrong: tuple[dict[str, Any], ...] = ({}, {"ids": "0", "where": {"n": 0}}, {"where": {}})
    for arguments in wrong:
        with pytest.raises(InputError, match=r"either|clear\(\)"):
            bare.delete(**arguments)
    with pytest.raises(FilterError):
        bare.delete(where={"n": {"$nope": 1}})
    assert bare.count() == 4


def test_listing_with_filters(bare: Retriever) -> None:
    """Few eligible documents and many take different ways; both go by ids, page by page."""
    names = [f"{n:05}" for n in range(10_000)]
    metadata = [{"odd": n % 2, "rare": n % 3000} for n in range(10_000)]
    both = zip(names[::-1], metadata[::-1], strict=True)
    bare.add([Document("t", data, name) for name, data in both], vectors=np.ones((10_000, 2)), batch_size=None)
    bare.delete(names[1:100:2])
    assert [document.id for document in bare.documents({"odd": 1})] == names[101::2]
    assert [document.id for document in bare.documents({"odd": 1}, after="09990")] == names[9991::2]
    assert [document.id for document in bare.documents({"odd": 1}, limit=300)] == names[101:701:2]
    assert [int(d.id) for d in bare.documents({"rare": [7, 2]})] == [2, 3002, 3007, 6002, 6007, 9002, 9007]
    assert [document.id for document in bare.documents({"rare": 7}, after="03007", limit=1)] == ["06007"]
    assert list(bare.documents({"rare": "nothing"})) == []


def test_like(bare: Retriever) -> None:
    vectors = [[4, 0, 0, 0], [0, 4, 0, 0], [3, 3, 0, 0], [3, 2, 1, 0], [0, 0, 0, 1]]
    bare.add(docs("a", "b", "middle", "near", "far"), vectors=vectors)
    hits = bare.search(like=["a", "b", "a"], k=2)
    assert [(hit.document.id, hit.rank) for hit in hits] == [("middle", 1), ("near", 2)]
    assert [hit.document.id for hit in bare.search(like="far", k=9, where={"name": ["near", "far"]})] == ["near"]
    bare.add(docs("p", "n"), vectors=[[0, 0, 1, 0], [0, 0, -1, 0]])
    with pytest.raises(InputError, match="cancel out"):
        bare.search(like=["p", "n"])
    with pytest.raises(InputError, match=r"1 of the 2 documents .* first 'nobody'"):
        bare.search(like=["a", "nobody"])
    wrong: tuple[dict[str, Any], ...] = ({"like": []}, {"like": "a", "vector": EYE[0]}, {"like": "a", "k": 0})
    for arguments in wrong:
        with pytest.raises(InputError):
            bare.search(**arguments)


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_like_takes_the_mean_as_it_is(metric: Any) -> None:
    with Retriever.open(metric=metric) as kb:
        kb.add(docs("a", "b", "c", "d"), vectors=[[2, 0], [0, 6], [1, 3], [-8, 20]])
        assert [hit.document.id for hit in kb.search(like=["a", "b"])] == (
            ["d", "c"] if metric == "dot" else ["c", "d"]
        )
    with Retriever.open(metric=metric, norms="unit" if metric == "dot" else "auto") as kb:
        kb.add(docs("a", "b", "c"), vectors=[[1, 0], [0, 1], [0.6, 0.8]])
        assert [hit.document.id for hit in kb.search(like=["a", "b"])] == ["c"]


def test_nothing_is_made_unless_wanted(tmp_path: Path) -> None:
    for embedder in (None, HashingEmbedder(8)):
        with pytest.raises(ManifestError, match="there is no collection"):
            Retriever.open(tmp_path / "kb", create=False, embedder=embedder)
        assert not (tmp_path / "kb").exists()
    Retriever.open(tmp_path / "kb", create=True).close()
    Retriever.open(tmp_path / "kb", create=False).close()


def test_the_embedder_can_be_found_again(tmp_path: Path) -> None:
    mine = HashingEmbedder(8)
    with Retriever.open(tmp_path / "kb", embedder=mine) as kb:
        assert kb.embedder is mine
        assert kb.info()["embedder"] is None  # nothing is there yet
        kb.add(docs("a"))
        assert kb.info()["embedder"] == "HashingEmbedder"
    with Retriever.open(tmp_path / "kb", embedder=None) as kb:
        assert kb.embedder is None


async def test_async_with_closes() -> None:
    async with Retriever.open(None, embedder=HashingEmbedder(16)) as kb:
        await kb.aadd(["refunds take five days"])
        assert len(await kb.asearch("refunds")) == 1
    with pytest.raises(EngineError, match="closed"):
        kb.count()


def test_fields_under_a_filter(bare: Retriever) -> None:
    documents = [Document("", {"lang": lang, "n": n}, f"{lang}{n}") for lang in ("en", "de") for n in range(3)]
    bare.add(documents, vectors=np.ones((6, 2)))
    assert bare.fields()["lang"].values == (("de", 3), ("en", 3))
    facets = bare.fields({"n": {"$gte": 1}, "lang": "en"})
    assert facets["lang"].values == (("en", 2),)
    assert facets["n"].values == ((1, 1), (2, 1))
    assert bare.scoped(lang="de").fields({"n": 0})["lang"].values == (("de", 1),)
    with pytest.warns(MetadataWarning, match="lnag"):
        assert bare.fields({"lnag": "en"}) == {}
