"""The embedder guard refuses a changed embedder at open, before any result is returned."""

import re
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, Document, DriftWarning, EmbedderDriftError, EmbedderOptions, Retriever
from theodolite.guards.canary import TEXTS, Canary, long_text
from theodolite.guards.notes import read_note
from theodolite.guards.sampled_documents import read_sample
from theodolite.testing import HashingEmbedder

DIMENSION = 64
PASSAGES = [
    Document(f"Passage {i} about {topic} and what is paid for it.", {"n": i}, f"d{i}")
    for i, topic in enumerate(["refunds", "parcels", "opening hours", "invoices", "returns", "gift cards"] * 5)
]


class Plain(HashingEmbedder):
    """The embedder a collection is built with. Counts its calls."""

    max_tokens = 100

    def __init__(self, dimension: int = DIMENSION, *, query_prefix: str = "") -> None:
        super().__init__(dimension, query_prefix=query_prefix)
        self.calls = 0

    def _encode(self, texts: Sequence[str]) -> Any:
        self.calls += 1
        return super()._encode([" ".join(text.split(" ")[: self.max_tokens]) for text in texts])


class Unnormalized(Plain):
    """An upgrade has dropped the normalization: norms of 40 to 80."""

    def _encode(self, texts: Sequence[str]) -> Any:
        lengths = [40 + 40 * (len(text) % 7) / 6 for text in texts]
        return super()._encode(texts) * np.array(lengths, np.float32)[:, None]


class OtherTokenizer(Plain):
    """Splits characters beyond ASCII differently."""

    def _encode(self, texts: Sequence[str]) -> Any:
        return super()._encode([re.sub(r"([^\x00-\x7f])", r" \1 ", text) for text in texts])


class OtherModel(Plain):
    """Of the same dimension."""

    def _encode(self, texts: Sequence[str]) -> Any:
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIMENSION, DIMENSION)))[0]
        return super()._encode(texts) @ turn.astype(np.float32)


class ReadsLess(Plain):
    max_tokens = 40


class Broken(Plain):
    def _encode(self, texts: Sequence[str]) -> Any:
        return np.full((len(texts), DIMENSION), np.nan, np.float32)


def built(folder: Path, embedder: Any = None, **settings: Any) -> Path:
    with Retriever.open(folder / "kb", embedder=embedder or Plain(), **settings) as kb:
        kb.add(PASSAGES)
    return folder / "kb"


INCIDENTS: list[tuple[Callable[[], Any], str]] = [
    (Unnormalized, r"norms 40 to 80, recorded 1 to 1\. .*normalization step was added or removed"),
    (OtherTokenizer, r"another tokenizer"),
    (OtherModel, r"Cosines -?0\.\d+ to 0\.\d+, median -?0\.\d+ .*another model"),
    (ReadsLess, r"only the long text has changed.*max_tokens"),
    (lambda: Plain(query_prefix="query: "), r"Only queries have changed: they get another prompt"),
    (Broken, r"now zero, NaN or infinite"),
]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize(("changed", "message"), INCIDENTS)
def test_incidents_are_refused_at_open(tmp_path: Path, metric: Any, changed: Any, message: str) -> None:
    folder = built(tmp_path, metric=metric)
    with pytest.raises(EmbedderDriftError, match=f"(?i){message}") as error:
        Retriever.open(folder, embedder=changed())
    assert "EmbedderOptions(on_drift='warn')" in str(error.value)
    assert not error.value.ok
    assert error.value.query["texts"] == len(TEXTS) + 1
    # Nothing has been changed: the right one still opens, and searches.
    with Retriever.open(folder, embedder=Plain()) as kb:
        assert kb.check_embedder().ok
        assert "refunds" in kb.search("refunds", k=1)[0].document.text


def test_a_renamed_model_passes(tmp_path: Path) -> None:
    class Renamed(Plain):
        name = "something else"

    folder = built(tmp_path)
    with Retriever.open(folder, embedder=Renamed()) as kb:
        check = kb.check_embedder()
    assert check.ok
    assert (check.recorded or {})["name"] == "Plain"
    assert check.now["name"] == "something else"
    assert check.message() == "the embedder produces the vectors the collection was built with."


def test_a_check_that_was_asked_for_is_not_made_again_by_the_first_search(tmp_path: Path) -> None:
    class Counting(Plain):
        texts = 0

        def _encode(self, texts: Sequence[str]) -> Any:
            self.texts += len(texts)
            return super()._encode(texts)

    embedder = Counting()
    with Retriever.open(built(tmp_path), embedder=EmbedderOptions(embedder, canary="first_use")) as kb:
        assert kb.check_embedder().ok
        before = embedder.texts
        assert before > len(TEXTS)
        kb.search("refunds", k=1)
        assert embedder.texts == before + 1


def test_rounding_passes(tmp_path: Path) -> None:
    class Half(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode(texts).astype(np.float16)

    with Retriever.open(built(tmp_path), embedder=Half()) as kb:
        assert kb.check_embedder().ok


def test_a_warning_instead(tmp_path: Path) -> None:
    folder = built(tmp_path)
    with pytest.warns(DriftWarning, match="another model") as caught:
        kb = Retriever.open(folder, embedder=EmbedderOptions(OtherModel(), on_drift="warn"))
    assert [warning.filename for warning in caught] == [__file__]
    with kb:
        assert len(kb.search("refunds")) == 10
        found = kb.check_embedder()
        assert not found.ok
        assert found.to_dict()["document"]["failed"] == len(TEXTS) + 1
        kb.add([Document("by another", {}, "x")])
    # The documents that it added are not part of the canary.
    with Retriever.open(folder, embedder=Plain()) as kb:
        assert kb.check_embedder().ok


def test_documents_are_compared_too(tmp_path: Path) -> None:
    """The canary alone would not notice a model that differs on the caller's texts only."""

    class Partly(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode([text.replace("paid", "unpaid") if "Passage" in text else text for text in texts])

    folder = built(tmp_path)
    with pytest.raises(EmbedderDriftError, match="as a document of the collection") as error:
        Retriever.open(folder, embedder=Partly())
    assert (error.value.query["failed"], error.value.corpus["failed"]) == (0, error.value.corpus["texts"])
    assert error.value.corpus["texts"] >= 4


def test_the_shortest_documents_are_sampled(tmp_path: Path) -> None:
    """They are embedded at every opening."""
    long = [Document(f"{document.text} " * 9, id=f"long{i}") for i, document in enumerate(PASSAGES)]
    mixed = [document for pair in zip(long, PASSAGES, strict=True) for document in pair]
    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        kb.add(mixed)
        sample = read_sample(kb._session.parts.engine)
    assert len(sample) >= 4
    assert not any(name.startswith("long") for name, _, _ in sample)


class Symmetric(Plain):
    symmetric = True


class OtherQueries(Symmetric):
    def encode_query(self, texts: Sequence[str]) -> Any:
        return super().encode_query([f"query: {text}" for text in texts])


def test_a_symmetric_embedder_is_asked_once(tmp_path: Path) -> None:
    """Both sides are compared all the same."""
    calls = {}
    for kind in (Plain, Symmetric):
        folder = built(tmp_path / kind.__name__, kind())
        embedder = kind()
        with Retriever.open(folder, embedder=embedder) as kb:
            assert kb.check_embedder().to_dict()["document"]["texts"] == len(TEXTS) + 1
            canary = Canary.from_json(read_note(kb._session.parts.engine, "canary") or "")
        calls[kind] = embedder.calls
        np.testing.assert_allclose(canary.query, canary.document, atol=1e-6)
        assert canary.noise is not None
        assert canary.noise["query"] == canary.noise["document"]
    assert calls[Symmetric] < calls[Plain]


def test_a_symmetric_embedder_that_has_changed_is_refused(tmp_path: Path) -> None:
    class Changed(OtherModel):
        symmetric = True

    with pytest.raises(EmbedderDriftError, match="no longer produces the vectors"):
        Retriever.open(built(tmp_path, Symmetric()), embedder=Changed())


def test_an_embedder_that_is_not_symmetric_although_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbedderDriftError, match="Only queries have changed"):
        Retriever.open(built(tmp_path, Symmetric()), embedder=OtherQueries())


def test_documents_that_were_replaced_or_deleted_are_not(tmp_path: Path) -> None:
    folder = built(tmp_path)
    with Retriever.open(folder) as kb:
        half = [document for document in PASSAGES if document.metadata["n"] % 2]
        kb.delete([document.id for document in PASSAGES if not document.metadata["n"] % 2])
        kb.add(half, vectors=np.random.default_rng(0).standard_normal((len(half), DIMENSION)))
    with Retriever.open(folder, embedder=Plain()) as kb:
        check = kb.check_embedder()
    assert check.ok
    assert "corpus" not in check.to_dict()


def test_partitions_are_compared_too(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Plain(), partition="tenant") as kb:
        for tenant in ("a", "b", 3):
            kb.scoped(tenant=tenant).add([Document(f"What {tenant} knows about refunds", {}, "same id")])
    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        assert kb.check_embedder().to_dict()["corpus"]["texts"] == 3
        with pytest.raises(ConfigError, match="whole collection"):
            kb.scoped(tenant="a").check_embedder()


def test_first_use(tmp_path: Path) -> None:
    folder = built(tmp_path)
    changed = OtherModel()
    with Retriever.open(folder, embedder=EmbedderOptions(changed, canary="first_use")) as kb:
        assert changed.calls == 0
        assert len(kb.search(vector=np.ones(DIMENSION))) == 10
        for _ in range(2):
            with pytest.raises(EmbedderDriftError):
                kb.search("refunds")
        with pytest.raises(EmbedderDriftError):
            kb.add([Document("new", {}, "new")])
        assert len(kb) == len(PASSAGES)
    right = Plain()
    with Retriever.open(folder, embedder=EmbedderOptions(right, canary="first_use")) as kb:
        kb.search("refunds")
        calls = right.calls
        kb.search("parcels")
        assert right.calls == calls + 1


def test_off(tmp_path: Path) -> None:
    embedder = OtherModel()
    with Retriever.open(built(tmp_path), embedder=EmbedderOptions(embedder, canary="off")) as kb:
        kb.search("refunds")
        kb.add([Document("new", {}, "new")])
        assert embedder.calls == 2
        assert not kb.check_embedder().ok
    with pytest.raises(ConfigError, match="canary='off'"):
        Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Plain(), canary="off", expect=[]))


@pytest.mark.parametrize(
    "settings",
    [{"on_drift": "ignore"}, {"canary": "sometimes"}, {"on_truncate": "cut"}, {"query_cache": -1}, {"canary_noise": 3}],
)
def test_settings_that_do_not_exist(settings: Any) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} is .*; expected"):
        EmbedderOptions(Plain(), **settings)


def test_vectors_brought_first(tmp_path: Path) -> None:
    """A collection that was filled with vectors has no canary; the first embedder makes it."""
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(PASSAGES, vectors=Plain().encode_document([document.text for document in PASSAGES]))
    with Retriever.open(tmp_path / "kb", embedder=Plain(), read_only=True) as kb:
        check = kb.check_embedder()
        assert (check.ok, check.recorded, check.drifts) == (True, None, ())
    Retriever.open(tmp_path / "kb", embedder=Plain(), create=True).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "kb", embedder=OtherModel())


def test_an_empty_collection_takes_any_embedder(tmp_path: Path) -> None:
    folder = built(tmp_path)
    with Retriever.open(folder) as kb:
        kb.clear()
    with Retriever.open(folder, embedder=OtherModel()) as kb:
        assert not kb.search("refunds")
        kb.add(PASSAGES)
        assert kb.check_embedder().ok
        assert kb.check_embedder().to_dict()["corpus"]["texts"] >= 4
    with pytest.raises(EmbedderDriftError):
        Retriever.open(folder, embedder=Plain())


def test_filled_by_another_meanwhile(tmp_path: Path) -> None:
    """Opened empty, then filled by another process with another model: noticed at the first use."""
    late = Retriever.open(tmp_path / "kb", embedder=OtherModel())
    built(tmp_path)
    with late, pytest.raises(EmbedderDriftError):
        late.search("refunds")
    late = Retriever.open(tmp_path / "kb2", embedder=OtherModel())
    with Retriever.open(tmp_path / "kb2", embedder=Plain()) as kb:
        kb.add(PASSAGES)
    with late, pytest.raises(EmbedderDriftError):
        late.add([Document("new", {}, "new")])


def test_threads_compare_once(tmp_path: Path) -> None:
    embedder = Plain()
    folder = built(tmp_path)
    with Retriever.open(folder, embedder=EmbedderOptions(embedder, canary="first_use", query_cache=0)) as kb:
        threads = [threading.Thread(target=kb.search, args=("refunds",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert embedder.calls == 8 + 4 + 1


def test_texts_it_makes_nothing_of(tmp_path: Path) -> None:
    """Zero vectors are equal to zero vectors, and to nothing else."""

    class Deaf(Plain):
        deaf = re.compile("[^\x00-\x7f]")

        def _encode(self, texts: Sequence[str]) -> Any:
            heard = np.array([not self.deaf.search(text) for text in texts], np.float32)
            return super()._encode(texts) * heard[:, None]

    folder = built(tmp_path, Deaf())
    Retriever.open(folder, embedder=Deaf(), create=True).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(folder, embedder=Plain())


def test_another_dimension_of_the_query_side(tmp_path: Path) -> None:
    class Lopsided(Plain):
        def encode_query(self, texts: Sequence[str], /) -> Any:
            return super().encode_query(texts)[:, :10]

    with pytest.raises(ConfigError, match=r"has 10 dimensions.* has 64"):
        Retriever.open(built(tmp_path), embedder=Lopsided())


def test_an_embedder_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    class Fails(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            raise ConnectionError("no network")

    folder = built(tmp_path)
    with pytest.raises(ConnectionError, match="no network"):
        Retriever.open(folder, embedder=Fails())
    Retriever.open(folder, embedder=Plain(), create=True).close()


def test_the_canary_is_kept_as_it_was() -> None:
    rng = np.random.default_rng(0)
    canary = Canary(("a", "b"), rng.standard_normal((2, 5)), rng.standard_normal((2, 5)), {"name": "x"})
    again = Canary.from_json(canary.to_json())
    assert (again.texts, again.about) == (canary.texts, canary.about)
    assert np.array_equal(again.query, canary.query.astype(np.float32))
    assert np.array_equal(again.document, canary.document.astype(np.float32))


@pytest.mark.parametrize("limit", [None, 1, 77, 256, 512, 8192])
def test_the_long_text(limit: int | None) -> None:
    words = long_text(limit).split()
    assert len(words) <= 640
    assert len(words) > (limit or 256) or limit == 8192
    # Every part of it has words that no part before has.
    assert len(set(words)) == 60 or limit == 1


def test_known_answers(tmp_path: Path) -> None:
    folder = built(tmp_path)
    right = [("what is paid for refunds", "d0", 0.4, 1.0), ("gift cards", "d5", 0.3, 1)]
    with Retriever.open(folder, embedder=EmbedderOptions(Plain(), expect=right)) as kb:
        assert kb.check_embedder().ok
    # Kept, and asked without being given again.
    with Retriever.open(folder) as kb:
        kb.delete("d5")
    with pytest.raises(EmbedderDriftError, match="to 'gift cards', document 'd5', is not in the collection"):
        Retriever.open(folder, embedder=Plain())
    with pytest.warns(DriftWarning, match="is not in the collection"):
        Retriever.open(folder, embedder=EmbedderOptions(Plain(), on_drift="warn"), create=True).close()
    wrong = [("what is paid for refunds", "d0", -0.2, 0.1)]
    with pytest.raises(EmbedderDriftError, match=r"has similarity 0\.\d+; expected -0.2 to 0.1\. If this"):
        Retriever.open(folder, embedder=EmbedderOptions(Plain(), expect=wrong))
    Retriever.open(folder, embedder=EmbedderOptions(Plain(), expect=[]), create=True).close()
    Retriever.open(folder, embedder=Plain(), create=True).close()


def test_known_answers_of_a_new_collection(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Plain(), expect=[("refunds", "d0", 0.9, 1)])) as kb:
        kb.add(PASSAGES)
    with pytest.raises(EmbedderDriftError, match="d0"):
        Retriever.open(tmp_path / "kb", embedder=Plain())


def test_known_answers_of_partitions(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Plain(), partition="tenant") as kb:
        kb.add([Document("refunds", {"tenant": tenant}, "x") for tenant in ("a", 2)])
    expect = [("refunds", ("a", "x"), 0.99, 1.01), ("refunds", (2, "x"), 0.99, 1.01)]
    Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Plain(), expect=expect), create=True).close()
    with pytest.raises(EmbedderDriftError, match="not in the collection"):
        Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Plain(), expect=[("refunds", ("2", "x"), 0, 1)]))


@pytest.mark.parametrize(
    "expect",
    [
        "refunds",
        7,
        ["refunds"],
        [("refunds", "d0", 0.4)],
        [("", "d0", 0, 1)],
        [("refunds", "", 0, 1)],
        [("refunds", 7, 0, 1)],
        [("refunds", "d0", 1, 0)],
        [("refunds", "d0", "low", "high")],
        [("refunds", "d0", float("nan"), 1)],
    ],
)
def test_known_answers_that_are_none(expect: Any) -> None:
    with pytest.raises(ConfigError, match="expect"):
        Retriever.open(embedder=EmbedderOptions(Plain(), expect=expect))


def test_known_answers_need_an_embedder() -> None:
    with pytest.raises(ConfigError, match="embedder="):
        Retriever.open(embedder=EmbedderOptions(None, expect=[("refunds", "d0", 0, 1)]))


def test_a_locked_store_delays_the_canary(tmp_path: Path) -> None:
    """Another writer holds the lock at the opening: the canary is made later, and nothing fails."""
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(PASSAGES, vectors=Plain().encode_document([document.text for document in PASSAGES]))
        with kb._engine._store.write():  # type: ignore[attr-defined]  # the local engine's
            with Retriever.open(tmp_path / "kb", embedder=Plain(), lock_timeout=0.01) as other:
                assert len(other.search("refunds")) == 10
            assert read_note(kb._engine, "canary") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Retriever.open(tmp_path / "kb", embedder=Plain(), create=True).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "kb", embedder=OtherModel())
