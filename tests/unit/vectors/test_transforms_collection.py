"""Transforms of a collection: pinned, applied to both sides, never twice; beside brute force in float64."""

import json
import sqlite3
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Center, ConfigError, Document, ManifestError, Pca, Retriever, Truncate, VectorError, Whiten
from theodolite.engines.local import LocalEngine
from theodolite.settings import CollectionSettings
from theodolite.testing import HashingEmbedder
from theodolite.types import Space
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare
from theodolite.vectors.transforms import fit

D = 32
ROWS = 300


def drawn(seed: int, rows: int = ROWS) -> NDArray[np.float64]:
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((D, D)) * np.geomspace(1, 0.1, D)
    return draw.standard_normal((rows, D)) @ mixing + np.linspace(0.1, 0.8, D)


def docs(count: int = ROWS, prefix: str = "d") -> list[Document]:
    return [Document("text", {"n": i, "even": i % 2 == 0}, f"{prefix}{i:04}") for i in range(count)]


def brute(stored: NDArray[Any], queries: NDArray[Any], metric: MetricName) -> NDArray[np.float64]:
    """Scores of all stored vectors for each query, both transformed, in float64."""
    wide, asked = stored.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        distances: NDArray[np.float64] = np.linalg.norm(asked[:, None] - wide[None], axis=2)
        return -distances
    products: NDArray[np.float64] = asked @ wide.T
    return products


@pytest.mark.parametrize(
    ("metric", "chain"),
    [
        ("cosine", (Truncate(9),)),
        ("cosine", (Center(), Pca(8))),
        ("cosine", (Whiten(),)),
        ("cosine", (Truncate(24), Center(), Whiten(6))),
        ("dot", (Pca(8),)),
        ("l2", (Center(), Pca(8))),
        ("l2", (Whiten(12),)),
    ],
    ids=repr,
)
def test_search_is_brute_force_on_transformed_vectors(
    tmp_path: Path, metric: MetricName, chain: tuple[Any, ...]
) -> None:
    raw, asked = drawn(1), drawn(2, 20)
    stored, space = prepare(raw, Space(metric, transforms=chain))
    queries, _ = prepare(asked, space)
    scores = brute(stored, queries, metric)
    with Retriever.open(tmp_path / "kb", metric=metric, transforms=chain) as kb:
        kb.add(docs(), vectors=raw)
        found = kb.search_many(vectors=asked, k=10)
        even = kb.scoped(even=True).search_many(vectors=asked, k=10)
    with Retriever.open(tmp_path / "kb", read_only=True) as kb:  # adopts what is pinned
        assert kb.search_many(vectors=asked, k=10)[0].items == found[0].items
        one = [kb.search(vector=query, k=10) for query in asked]
        ids = [document.id for document in docs()]
        kept = np.array([vector for _, vector in kb.get(ids, vectors=True)])
        assert np.array_equal(kept, stored)
    for row, hits, alone, some in zip(scores, found, one, even, strict=True):
        best = np.argsort(-row, kind="stable")
        assert [hit.document.id for hit in hits] == [ids[i] for i in best[:10]]
        np.testing.assert_allclose([hit.score for hit in hits], row[best[:10]], rtol=1e-5, atol=1e-6)
        assert alone.items == hits.items
        assert [hit.document.id for hit in some] == [ids[i] for i in best if i % 2 == 0][:10]


def test_equal_vectors_score_equally_whenever_they_came(tmp_path: Path) -> None:
    raw = drawn(1)
    chain = [Center(), Pca(8)]
    with Retriever.open(tmp_path / "kb", transforms=chain) as kb:
        kb.add(docs(), vectors=raw)
        kb.add(docs(1, "alone"), vectors=raw[:1])
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(docs(40, "later"), vectors=np.repeat(raw[:1], 40, axis=0))
        hits = kb.search(vector=raw[0], k=42)
        assert len({hit.score for hit in hits}) == 1
        assert [hit.document.id for hit in hits] == sorted(hit.document.id for hit in hits)
        assert {hit.document.id for hit in hits} == {"d0000", "alone0000", *(f"later{i:04}" for i in range(40))}


def test_like_is_not_transformed_twice() -> None:
    raw = drawn(1)
    for metric, chain in (("cosine", [Center()]), ("cosine", [Whiten()]), ("l2", [Center()]), ("l2", [Pca(5)])):
        with Retriever.open(metric=metric, transforms=chain) as kb:  # type: ignore[arg-type]  # a loop over literals
            kb.add(docs(), vectors=raw)
            ids = [document.id for document in docs()]
            stored = np.array([vector for _, vector in kb.get(ids, vectors=True)], np.float64)
            mean = stored[[3, 7]].mean(axis=0)
            if metric == "cosine":
                mean /= np.linalg.norm(mean)
            scores = brute(stored, mean[None], metric)[0]  # type: ignore[arg-type]  # the same
            scores[[3, 7]] = -np.inf
            hits = kb.search(like=["d0003", "d0007"], k=10)
            assert [hit.document.id for hit in hits] == [ids[i] for i in np.argsort(-scores)[:10]]
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:10], rtol=1e-5)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    with Retriever.open(metric="dot", transforms=[Center(), Truncate(6)]) as kb:
        kb.add(docs(), vectors=unit)
        assert kb.info()["norms"] == "unit"
        assert max(hit.score for hit in kb.search(like="d0001")) <= 1 + 1e-6
    with Retriever.open(metric="l2", norms="unit", transforms=[Truncate(6)]) as kb:  # what is stored is shorter
        kb.add(docs(), vectors=unit)
        (_, vector), (_, other) = kb.get(["d0001", "d0002"], vectors=True)
        found = {hit.document.id: hit.score for hit in kb.search(like="d0001", k=ROWS)}
        assert found["d0002"] == pytest.approx(-np.linalg.norm(vector - other), rel=1e-5)


def test_stored_vectors_are_not_taken_for_raw_ones(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Pca(5)]) as kb:
        kb.add(docs(), vectors=drawn(1))
        pairs = kb.get(["d0001", "d0002"], vectors=True)
        for use in (
            lambda: kb.add([pair[0] for pair in pairs], vectors=[pair[1] for pair in pairs]),
            lambda: kb.search(vector=pairs[0][1]),
        ):
            with pytest.raises(VectorError, match=r"They look as if \[Pca\(5\)\] were applied already"):
                use()
        before = kb.get("d0001", vectors=True)[0][1]
        kb.update("d0001", {"seen": True})  # a new row, of the same vector
        assert np.array_equal(kb.get("d0001", vectors=True)[0][1], before)


def test_texts_and_vectors_take_the_same_way(tmp_path: Path) -> None:
    embedder = HashingEmbedder(D)
    texts = [f"passage {i} about {'refunds' if i % 3 else 'deliveries'} and number {i * i}" for i in range(100)]
    with Retriever.open(tmp_path / "kb", embedder=embedder, transforms=[Pca(12)], norms="any") as kb:
        kb.add(Document(text, id=f"d{i:03}") for i, text in enumerate(texts))
        by_text = kb.search("what about refunds?", k=20)
        by_vector = kb.search(vector=embedder.encode_query(["what about refunds?"])[0], k=20)
        assert by_text.items == by_vector.items
        again = kb.search("what about refunds?", k=20)  # from the cache
        assert again.items == by_text.items
    with Retriever.open(tmp_path / "kb", embedder=embedder) as kb:
        assert kb.search("what about refunds?", k=20).items == by_text.items
    with pytest.raises(ConfigError, match="embedder gives 12 dimensions, the collection takes 32"):
        Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(12))
    with pytest.raises(ConfigError, match=r"Pca\(65\) keeps 65 dimensions, but vectors have only 64"):
        Retriever.open(tmp_path / "new", embedder=HashingEmbedder(64), transforms=[Center(), Pca(65)])


def test_info_describes_the_transforms(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Center(), Pca(5)], partition="even") as kb:
        info = kb.info()
        assert (info["transforms"], info["raw_dimension"], info["dimension"]) == (["Center()", "Pca(5)"], None, None)
        kb.add([Document("t", {"even": i % 2}, str(i)) for i in range(ROWS)], vectors=drawn(1))
        for view in (kb, kb.scoped(even=1)):
            info = view.info()
            assert (info["transforms"], info["raw_dimension"], info["dimension"]) == (["Center()", "Pca(5)"], D, 5)
            json.dumps(info)
    with Retriever.open() as plain:
        plain.add(docs(3), vectors=drawn(1, 3))
        assert (plain.info()["transforms"], plain.info()["raw_dimension"]) == ([], D)


def test_what_is_pinned_stays(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    beforehand = fit([Center(), Pca(5)], drawn(1))
    Retriever.open(folder, transforms=[Center(), Pca(5)], create=True).close()
    for filled in (False, True):
        if filled:
            with Retriever.open(folder, transforms=beforehand) as kb:  # fitted, where the kinds alone are pinned yet
                kb.add(docs(2), vectors=drawn(1, 2))
        for wrong in ([Pca(5)], [Center(), Pca(6)], [Pca(5), Center()], [Truncate(5)], [Center(), Pca(5), Whiten()]):
            with pytest.raises(ConfigError, match=r"pinned to transforms=\[Center\(\).*, not transforms=\["):
                Retriever.open(folder, transforms=wrong)
            with pytest.raises(ConfigError, match="pinned to"):  # before a model is loaded
                Retriever.open(folder, transforms=wrong, embedder="no-such-model")
        for right in ((), [Center(), Pca(5)], beforehand):
            Retriever.open(folder, transforms=right, create=True).close()
    with pytest.raises(ConfigError, match="fitted as"):
        Retriever.open(folder, transforms=fit([Center(), Pca(5)], drawn(2)))
    with Retriever.open(folder) as kb:
        kb.clear()
        kb.add(docs(1), vectors=drawn(1, 1))  # still fitted
    Retriever.open(tmp_path / "plain", create=True).close()
    with pytest.raises(ConfigError, match=r"pinned to no transforms, not transforms=\[Center\(\)\]"):
        Retriever.open(tmp_path / "plain", transforms=[Center()])
    for wrong in ([Center], [Center(), Center()], Pca(5), [Truncate(4), Pca(5)]):  # type: ignore[assignment]  # wrong on purpose
        with pytest.raises(ConfigError):
            Retriever.open(tmp_path / "none", transforms=wrong)
    assert not (tmp_path / "none").exists()


def test_a_first_batch_that_is_too_small(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Pca(8)], create=True) as kb:
        with pytest.raises(VectorError, match=r"It has 10 vectors; it needs at least 32.*batch_size=32"):
            kb.add(docs(), vectors=drawn(1), batch_size=10)
        assert kb.count() == 0
        assert kb.info()["dimension"] is None
        kb.add(docs(), vectors=drawn(1), batch_size=32)  # what the message says
    with Retriever.open(tmp_path / "other", transforms=[Pca(8).fit(drawn(2))]) as kb:  # or this
        kb.add(docs(1), vectors=drawn(1, 1))
        assert kb.info()["raw_dimension"] == D


def test_questions_settle_nothing(tmp_path: Path) -> None:
    embedder = HashingEmbedder(D)
    with Retriever.open(tmp_path / "kb", embedder=embedder, transforms=[Center()], norms="any", create=True) as kb:
        texts = [f"question {i}" for i in range(50)]
        assert len(kb.search(texts[0])) == 0
        kb.reindex("flat", queries=texts)
        kb.reindex("flat", queries=embedder.encode_query(texts))
        assert kb.info()["dimension"] is None
        kb.add([Document(f"passage {i * i}", id=str(i)) for i in range(50)])
        expected = kb.search(vector=embedder.encode_query(texts[:1])[0])
        assert kb.search(texts[0]).items == expected.items


def test_nothing_left_names_the_document(tmp_path: Path) -> None:
    raw = drawn(1)
    raw[7, :4] = 0
    with Retriever.open(tmp_path / "kb", transforms=[Truncate(4)], create=True) as kb:
        with pytest.raises(VectorError, match=r"after Truncate\(4\).* row 7 \(document 'd0007'\)") as raised:
            kb.add(docs(), vectors=raw)
        assert raised.value.ids == ["d0007"]
        assert kb.count() == 0


def test_the_second_of_two_first_writers_takes_what_the_first_has_fitted(tmp_path: Path) -> None:
    folder, chain = tmp_path / "kb", [Center(), Pca(6)]
    with Retriever.open(folder, transforms=chain) as one, Retriever.open(folder, transforms=chain) as two:
        late = LocalEngine.open(folder, CollectionSettings(transforms=chain))
        assert late.space.dimension is None
        stale = prepare(drawn(3), late.space)  # fitted on other rows
        one.add(docs(prefix="one"), vectors=drawn(1))
        with pytest.raises(VectorError, match="another writer"):
            late.add(docs(), *stale)
        late.close()
        two.add(docs(prefix="two"), vectors=drawn(2))
        pinned = LocalEngine.open(folder)
        assert pinned.space.transforms == fit(chain, drawn(1))
        expected, _ = prepare(drawn(2)[:1], pinned.space)
        pinned.close()
        assert np.array_equal(two.get("two0000", vectors=True)[0][1], expected[0])


def test_many_first_writers_at_once(tmp_path: Path) -> None:
    folder, chain, count = tmp_path / "kb", [Center(), Pca(6)], 6
    kbs = [Retriever.open(folder, transforms=chain, lock_timeout=60) for _ in range(count)]
    start = threading.Barrier(count)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            start.wait()
            kbs[number].add(docs(prefix=f"{number}-"), vectors=drawn(number))
        except BaseException as error:  # shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    space = LocalEngine.open(folder).space
    assert space.transforms in [fit(chain, drawn(number)) for number in range(count)]
    for number, kb in enumerate(kbs):
        found = kb.get([f"{number}-{i:04}" for i in range(ROWS)], vectors=True)
        assert np.array_equal(np.array([vector for _, vector in found]), prepare(drawn(number), space)[0])
        kb.close()


def damaged(folder: Path, change: Any) -> None:
    """Change the manifest's transforms behind the library's back."""
    with sqlite3.connect(folder / "store.sqlite") as connection:
        values = json.loads(connection.execute("SELECT value FROM manifest").fetchone()[0])
        change(values["space"]["transforms"])
        connection.execute("UPDATE manifest SET value = ?", (json.dumps(values),))
    connection.close()


def other_digit(chain: Any) -> None:
    text = chain[1]["matrix"]
    chain[1]["matrix"] = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]


@pytest.mark.parametrize(
    "change",
    [
        other_digit,
        lambda chain: chain[0].update(mean=None),
        lambda chain: chain[1].update(d=6),
        lambda chain: chain[1].update(name="Whiten"),
        lambda chain: chain[1].pop("sha256"),
        lambda chain: chain.__setitem__(0, "Center"),
        lambda chain: chain.__setitem__(0, None),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: Any) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Center(), Pca(5)]) as kb:
        kb.add(docs(), vectors=drawn(1))
    damaged(tmp_path / "kb", change)
    with pytest.raises(ManifestError):
        Retriever.open(tmp_path / "kb")


def test_another_process_fits_nothing_again(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Whiten(7)], metric="l2") as kb:
        kb.add(docs(), vectors=drawn(1))
        expected = [hit.document.id for hit in kb.search(vector=drawn(5, 1)[0])]
    code = """
import json, sys
from theodolite import Retriever
with Retriever.open(sys.argv[1]) as kb:
    print([hit.document.id for hit in kb.search(vector=json.loads(sys.argv[2]))])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "kb"), json.dumps(drawn(5, 1)[0].tolist())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(expected)


@pytest.mark.skipif(find_spec("hnswlib") is None, reason="hnswlib is not installed")
def test_an_approximate_index_of_transformed_vectors(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", transforms=[Center(), Pca(8)], create=True) as kb:
        kb.add(docs(2000), vectors=drawn(1, 2000), batch_size=None)
        exact = kb.search_many(vectors=drawn(2, 50))
        kb.reindex("hnsw", queries=drawn(3, 100))
        found = kb.search_many(vectors=drawn(2, 50))
        assert kb.info()["approximate"]["calibration"]["kind"] == "given"
        same = [
            len({hit.document.id for hit in one} & {hit.document.id for hit in two})
            for one, two in zip(exact, found, strict=True)
        ]
        assert np.mean(same) >= 9.5
        kb.verify()


def test_settings_of_a_space() -> None:
    pinned = fit([Truncate(5)], drawn(1))
    assert Space("cosine", 5, "any", pinned).raw_dimension == D
    assert Space("cosine", 5, "any").raw_dimension == 5
    assert Space("cosine", None, "any", (Truncate(5),)).raw_dimension is None
    assert Space("cosine", 5, "any", pinned) == Space("cosine", 5, "any", fit([Truncate(5)], drawn(2)))
