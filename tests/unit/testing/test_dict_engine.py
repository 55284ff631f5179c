"""DictEngine through a retriever: supported calls agree with a folder, unsupported ones are rejected by name."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    Authority,
    Document,
    DriftWarning,
    EmbedderDriftError,
    EmbedderOptions,
    EngineError,
    Freshness,
    Hits,
    Latest,
    ManifestError,
    MetricMismatchError,
    Retriever,
    UnsupportedError,
    VectorError,
)
from theodolite.protocols import Notes
from theodolite.testing import DictEngine, HashingEmbedder

DOCUMENTS = [
    Document("Refunds take ten days.", {"key": "refunds", "day": date(2024, 1, 1), "tenant": "acme", "team": 1}, "old"),
    Document(
        "Refunds take five days.", {"key": "refunds", "day": date(2025, 1, 1), "tenant": "acme", "team": 2}, "new"
    ),
    Document("Shipping is free.", {"key": "shipping", "day": date(2023, 5, 1), "tenant": "acme", "team": 1}, "ship"),
    Document("Refunds never come.", {"key": "other", "day": date(2025, 2, 1), "tenant": "bolt", "team": 1}, "bolt"),
]


def opened(location: str | None, *, quiet: bool = False, **options: Any) -> Retriever:
    embedder = EmbedderOptions(HashingEmbedder(), canary="off" if quiet else "open")
    kb = Retriever.open(location, embedder=embedder, **options)
    kb.add(DOCUMENTS)
    return kb


def contents(hits: Hits) -> list[Any]:
    return [(hit.document, hit.score, dict(hit.scores), hit.version) for hit in hits]


SEARCHES: list[Callable[[Retriever], Hits]] = [
    lambda kb: kb.search("how long do refunds take?"),
    lambda kb: kb.search("refunds", k=2, where={"team": 1}),
    lambda kb: kb.search("refunds", versions=[Latest("key", "day")]),
    lambda kb: kb.search("refunds", versions=[Latest("key", "day")], as_of=date(2024, 6, 1)),
    lambda kb: kb.search("refunds", boosts=[Freshness("day", half_life="365d")], as_of=date(2025, 6, 1)),
    lambda kb: kb.search("refunds", boosts=[Authority("team", {1: 1.0, 2: 0.5})]),
    lambda kb: kb.search(like="old"),
    lambda kb: kb.scoped(tenant="acme").search("refunds"),
    lambda kb: kb.scoped({"team": 1}).search("refunds"),
]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_searches_agree_with_a_folder(search: Callable[[Retriever], Hits], metric: Any) -> None:
    relevance = None if metric != "dot" else (lambda similarities: np.minimum(similarities, 1.0))
    with (
        opened("dict://", metric=metric, relevance=relevance) as toy,
        opened(None, metric=metric, relevance=relevance) as local,
    ):
        assert contents(search(toy)) == contents(search(local))


def test_words_find_passages() -> None:
    with opened("dict://") as kb:
        assert [hit.document.id for hit in kb.search("shipping", mode="lexical")] == ["ship"]
        assert kb.search("shipping free", mode="hybrid")[0].document.id == "ship"


def test_partitions_are_kept_apart() -> None:
    with opened("dict://", partition="tenant") as kb:
        acme, bolt = kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")
        bolt.add([Document("Another.", {}, "old")])
        assert (len(acme), len(bolt), len(kb)) == (3, 2, 5)
        assert acme.get("old")[0].text == "Refunds take ten days."
        assert acme.delete("bolt") == 0


REFUSED: dict[str, Callable[[Retriever], object]] = {
    "verify()": lambda kb: kb.verify(),
    "repair()": lambda kb: kb.repair(),
    "compact()": lambda kb: kb.compact(),
    "backup()": lambda kb: kb.backup("copy"),
    "reindex()": lambda kb: kb.reindex("flat"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_it_lacks_is_refused_by_name(call: str) -> None:
    with opened("dict://") as kb, pytest.raises(UnsupportedError) as caught:
        REFUSED[call](kb)
    assert str(caught.value).startswith(f"{call} is not supported: the engine DictEngine has no ")
    assert caught.value.engine == "DictEngine"


def test_what_needs_no_capability_works() -> None:
    with opened("dict://", monitor=True) as kb:
        kb.warm("team")
        kb.search("refunds")
        assert kb.info()["documents"] == 4
        assert kb.recall(k=[1]).recall == {1: 1.0}
        assert kb.fields()["team"].count == 4
        assert [pair.similarity for pair in kb.duplicates(0.999)] == []
        monitor = kb.monitor
        assert monitor is not None
        assert monitor.report()["searches"] == 1
        assert kb.check_embedder().ok


@pytest.fixture
def kept() -> Iterator[str]:
    yield "dict://kept"
    DictEngine.forget("kept")


def test_a_name_leads_to_the_same_collection(kept: str) -> None:
    with pytest.raises(ManifestError, match="no collection"):
        Retriever.open(kept, create=False)
    opened(kept, metric="dot").close()
    with pytest.raises(MetricMismatchError):
        Retriever.open(kept, metric="l2")
    with Retriever.open(kept, read_only=True) as kb:
        assert (len(kb), kb.metric) == (4, "dot")
        with pytest.raises(EngineError, match="read_only"):
            kb.delete("old")
        assert not kb.writable


def test_guards_remember_the_embedder(kept: str) -> None:
    opened(kept).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(kept, embedder=HashingEmbedder(query_prefix="other: "))


class Forgetful(DictEngine):
    """An engine that keeps no notes."""

    read_note = None  # type: ignore[assignment]  # as if there were no such method
    write_note = None  # type: ignore[assignment]


@pytest.fixture
def forgetful(kept: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(DictEngine, "open", classmethod(lambda cls, *a, **o: _open(Forgetful, *a, **o)))
    return kept


_open = DictEngine.open.__func__  # type: ignore[attr-defined]  # of a class method


def test_without_notes_a_search_works_and_a_warning_says_what_is_not_checked(forgetful: str) -> None:
    with pytest.warns(DriftWarning, match="Forgetful cannot store notes, so an embedder that has changed"):
        kb = Retriever.open(forgetful, embedder=HashingEmbedder(), create=True)
    with kb:
        kb.add(DOCUMENTS)
        assert not isinstance(kb._engine, Notes)
        assert kb.search("refunds")[0].document.id in {"old", "new", "bolt"}
        check = kb.check_embedder()
        assert check.ok
        assert "nothing to compare" in check.message()
        kb.clear()
        with pytest.raises(UnsupportedError, match=r"keep_versions\(\) is not supported.*Pass versions="):
            kb.keep_versions([Latest("key", "day")])


def test_without_notes_known_answers_are_checked(forgetful: str) -> None:
    opened(forgetful, quiet=True).close()
    Retriever.open(
        forgetful, embedder=EmbedderOptions(HashingEmbedder(), expect=[("Shipping is free.", "ship", 0.9, 1.1)])
    ).close()
    with pytest.raises(EmbedderDriftError, match="ship"):
        Retriever.open(forgetful, embedder=EmbedderOptions(HashingEmbedder(), expect=[("Refunds", "ship", 0.9, 1.1)]))


def test_without_notes_rules_hold_while_it_is_open(forgetful: str) -> None:
    with opened(forgetful, quiet=True, versions=[Latest("key", "day")]) as kb:
        assert "old" not in [hit.document.id for hit in kb.search("refunds", k=10)]
    with Retriever.open(forgetful, embedder=EmbedderOptions(HashingEmbedder(), canary="off")) as kb:
        assert "old" in [hit.document.id for hit in kb.search("refunds", k=10)]


def test_without_notes_norms_of_queries_are_still_learned(forgetful: str) -> None:
    with Retriever.open(forgetful, metric="dot", norms="any") as kb:
        kb.add(["a"], vectors=[[3.0, 4.0]])
        for _ in range(40):
            kb.search(vector=[1.0, 1.0])
        with pytest.raises(VectorError, match="unusual norms"):
            kb.search(vector=[100.0, 100.0])


def test_a_folder_has_every_capability(tmp_path: Path) -> None:
    with opened(str(tmp_path / "kb")) as kb:
        kb.verify()
        kb.repair()
        kb.backup(tmp_path / "copy")
        kb.compact()
        kb.reindex("flat")
        assert kb.location == tmp_path / "kb"
