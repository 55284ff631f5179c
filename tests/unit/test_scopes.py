"""Scopes: for a view, documents outside do not exist."""

from collections import UserDict
from collections.abc import Sequence
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import (
    ConfigError,
    Document,
    DocumentError,
    F,
    FilterError,
    InputError,
    ManifestError,
    MetadataWarning,
    Retriever,
    UnsupportedError,
)

EYE = np.eye(4, dtype=np.float32)


class Tenant(str, Enum):  # noqa: UP042 - the str() of a StrEnum is its value: nothing could go wrong
    ACME = "acme"


class Number(IntEnum):
    SEVEN = 7


class AnyCase(UserDict[str, Any]):
    """Answers to names in any case, as headers do."""

    def __getitem__(self, name: str) -> Any:
        return next(value for key, value in self.data.items() if key.lower() == name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in map(str.lower, self.data)


def add(kb: Retriever, names: list[str], metadata: dict[str, Any], axis: int = 0) -> list[str]:
    documents = [Document(f"{name} of {metadata}", metadata, name) for name in names]
    return kb.add(documents, vectors=np.tile(EYE[axis], (len(names), 1)))


def listed(kb: Retriever, **options: Any) -> list[str]:
    return [document.id for document in kb.documents(**options)]


@pytest.fixture
def kb(tmp_path: Path) -> Any:
    with Retriever.open(tmp_path / "kb", partition="tenant") as opened:
        add(opened, ["a", "b"], {"tenant": "acme", "lang": "en"})
        add(opened, ["a", "c"], {"tenant": "bolt", "lang": "de"}, axis=1)
        add(opened, ["a"], {"tenant": 7, "lang": "en"}, axis=2)
        yield opened


def test_a_filter_of_ids_stays_inside(kb: Retriever) -> None:
    assert kb.count({"$id": "a"}) == 3
    assert kb.scoped(tenant="acme").count({"$id": ["a", "c"]}) == 1
    assert listed(kb.scoped({"$id": ["a", "b"]}), where={"lang": "en", "$id": {"$ne": "b"}}) == ["a", "a"]
    assert [hit.document.metadata["tenant"] for hit in kb.scoped(tenant=7).search(vector=EYE[0], where=F.ids("a"))] == [
        7
    ]
    assert kb.scoped(tenant="acme").delete(where=F.ids(["a", "c"])) == 1
    assert listed(kb) == ["a", "a", "b", "c"]


def test_the_same_id_is_another_document_in_each_partition(kb: Retriever) -> None:
    assert len(kb) == 5
    assert listed(kb) == ["a", "a", "a", "b", "c"]
    assert listed(kb.scoped(tenant="acme")) == ["a", "b"]
    assert listed(kb.scoped(tenant=7)) == ["a"]
    assert listed(kb.scoped(tenant="7")) == []
    add(kb, ["a"], {"tenant": "acme", "new": True})
    assert len(kb) == 5
    assert kb.scoped(tenant="acme").get("a")[0].metadata == {"tenant": "acme", "new": True}
    assert kb.scoped(tenant="bolt").get("a")[0].metadata == {"tenant": "bolt", "lang": "de"}


def test_a_partition_is_a_collection_of_its_own(kb: Retriever) -> None:
    before = list(kb.scoped(tenant="bolt").documents(vectors=True))
    acme = kb.scoped(tenant="acme")
    ids = acme.add([Document("no tenant", {}, "n"), "a text", {"text": "t", "id": "m"}], vectors=EYE[:3])
    assert [document.metadata["tenant"] for document in acme.get(ids)] == ["acme"] * 3
    acme.update("n", {"x": 1})
    acme.update("m", {"y": 1}, replace=True)
    assert acme.get(["n", "m"])[1].metadata == {"tenant": "acme", "y": 1}
    assert acme.count({"x": 1}) == 1
    assert acme.delete("a") == 1
    assert acme.delete(["c", "a"]) == 0
    assert acme.delete(where={"lang": {"$exists": True}}) == 1
    assert len(acme) == 3
    assert acme.delete(where={"tenant": "bolt"}) == 0
    acme.clear()
    assert len(acme) == 0
    after = list(kb.scoped(tenant="bolt").documents(vectors=True))
    assert [(d, v.tobytes()) for d, v in after] == [(d, v.tobytes()) for d, v in before]
    kb.verify()


def test_searches_see_their_scope_only(kb: Retriever) -> None:
    acme = kb.scoped(tenant="acme")
    hits = acme.search(vector=EYE[1], k=10)
    assert [hit.document.metadata["tenant"] for hit in hits] == ["acme"] * 2
    assert hits.trace.rows == hits.trace.eligible == 2
    assert len(acme.search(vector=EYE[1], where={"tenant": {"$ne": "acme"}})) == 0
    assert len(acme.search(vector=EYE[1], where={"$or": [{"tenant": "bolt"}, {"tenant": "acme"}]})) == 2
    assert len(acme.search(vector=EYE[1], where=~(F("tenant") == "acme"))) == 0
    assert [hit.document.id for hit in acme.search(like="a")] == ["b"]
    with pytest.raises(InputError, match="'c'"):
        acme.search(like="c")
    assert all(len(one) == 2 for one in acme.search_many(vectors=EYE))


class Refusing:
    """A boost that refuses one value."""

    name, field = "refusing", "secret"

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        return np.array([0.0 if value else 1.0 for value in values])


def test_boosts_are_asked_about_nothing_outside(kb: Retriever) -> None:
    add(kb, ["mine"], {"tenant": "acme"})
    add(kb, ["theirs"], {"tenant": "other", "secret": "rosebud"})
    with pytest.raises(ConfigError, match="rosebud"):
        kb.search(vector=np.ones(4), boosts=[Refusing()])
    assert len(kb.scoped(tenant="acme").search(vector=np.ones(4), boosts=[Refusing()])) == 3


def test_documents_outside_look_like_missing_ones(kb: Retriever) -> None:
    acme = kb.scoped(tenant="acme")
    assert acme.get(["c", "nothing"]) == []
    messages = []
    for name in ("c", "x"):
        with pytest.raises(DocumentError) as caught:
            acme.update(name, {"x": 1})
        messages.append(str(caught.value).replace(repr(name), "?"))
        with pytest.raises(InputError) as caught_like:
            acme.search(like=name)
        messages.append(str(caught_like.value).replace(repr(name), "?"))
    assert messages[:2] == messages[2:]
    reported = {
        "documents",
        "metric",
        "dimension",
        "raw_dimension",
        "norms",
        "transforms",
        "k1",
        "b",
        "embedder",
        "index",
    }
    assert set(acme.info()) == reported
    assert acme.info()["documents"] == 2
    for call in (acme.verify, lambda: acme.reindex("hnsw")):
        with pytest.raises(UnsupportedError, match="whole collection"):
            call()


def test_documents_cannot_leave_their_partition(kb: Retriever) -> None:
    acme = kb.scoped(tenant="acme")
    with pytest.raises(DocumentError, match="another tenant than 'acme'"):
        add(acme, ["z"], {"tenant": "bolt"})
    for change in ({"tenant": "bolt"}, {"tenant": None}, {"tenant": ["acme"]}):
        for replace in (False, True):
            with pytest.raises(DocumentError, match="partition"):
                acme.update("a", change, replace=replace)
    acme.update("a", {"tenant": "acme", "same": True})
    assert listed(kb) == ["a", "a", "a", "b", "c"]


@pytest.mark.parametrize("value", [None, "", True, 1.5, ["acme"], {"x": 1}])
def test_every_document_has_a_partition(kb: Retriever, value: Any) -> None:
    for metadata in ({"tenant": value}, {}):
        with pytest.raises(DocumentError, match="partitioned by 'tenant'"):
            add(kb, ["z"], metadata)
    assert len(kb) == 5


@pytest.mark.parametrize(
    ("value", "plain"), [(Tenant.ACME, "acme"), (Number.SEVEN, 7), (np.str_("acme"), "acme"), (np.int64(7), 7)]
)
def test_a_partition_is_named_by_what_is_stored(kb: Retriever, value: Any, plain: Any) -> None:
    """The str() of an enumeration's member is another text than the one that is stored."""
    before = len(kb)
    add(kb, ["a", "new"], {"tenant": value})
    assert len(kb) == before + 1
    assert kb.scoped(tenant=plain).get(["a", "new"])[0].metadata == {"tenant": plain}
    view = kb.scoped(tenant=value)
    view.update("a", {"tenant": value, "x": 1})
    view.update("new", {"x": 1}, replace=True)
    assert [type(document.metadata["tenant"]) for document in view.get(["a", "new"])] == [type(plain)] * 2
    assert view.scoped(tenant=plain).delete(["a", "new"]) == 2
    kb.verify()


def test_the_partition_is_read_as_it_is_stored(kb: Retriever) -> None:
    documents = [Document("t", AnyCase({"Tenant": "acme"}), "z")]
    for view in (kb, kb.scoped(tenant="acme")):
        with pytest.raises(DocumentError, match="is missing"):
            view.add(documents, vectors=EYE[:1])


def test_what_names_no_partition_is_a_filter(kb: Retriever) -> None:
    add(kb, ["one"], {"tenant": 1})
    cases: list[tuple[Any, list[str]]] = [(["acme", 7], ["a", "a", "b"]), (1.0, ["one"])]
    cases += [(value, []) for value in (None, "", True, np.bool_(True), "\ud800", 10**5000)]
    for value, expected in cases:
        view = kb.scoped(tenant=value)
        assert listed(view) == expected
        for write in (view.clear, lambda view=view: add(view, ["x"], {})):
            with pytest.raises(UnsupportedError, match="read-only"):
                write()


def test_a_misspelled_partition_field_is_suggested(kb: Retriever) -> None:
    with pytest.warns(MetadataWarning, match=r"The scope is empty\. The scope names 'tenat'\. Did you mean 'tenant'\?"):
        view = kb.scoped(tenat="acme")
    with pytest.warns(MetadataWarning):
        other = kb.scoped(lang="en", Tennant="x")
    for call in (view.clear, lambda: add(view, ["x"], {}), lambda: view.get("a"), other.clear):
        with pytest.raises(
            (UnsupportedError, InputError), match=r"The scope names '(tenat|Tennant)'\. Did you mean 'tenant'\?"
        ):
            call()
    for view in (kb.scoped(lang="en"), kb.scoped(tenant="acme", tenat="acme"), kb.scoped({"tenant": {"$ne": "acme"}})):
        with pytest.raises(UnsupportedError, match=r"scoped\(tenant=value\), can be written to$"):
            view.clear()


def test_without_a_scope_ids_name_nothing(kb: Retriever) -> None:
    for call in (
        lambda: kb.get("a"),
        lambda: kb.delete("a"),
        lambda: kb.update("a", {"x": 1}),
        lambda: kb.search(like="a"),
        lambda: kb.scoped(lang="en").get("a"),
        lambda: kb.scoped(tenant=["acme", "bolt"]).get("a"),
    ):
        with pytest.raises(InputError, match=r"scoped\(tenant="):
            call()
    assert kb.delete(where={"lang": "de"}) == 2


def test_ids_are_text(kb: Retriever) -> None:
    view = kb.scoped(tenant="acme")
    for call in (
        lambda: view.get("\ud800"),
        lambda: view.delete(["a", "\ud800"]),
        lambda: view.update("\ud800", {"x": 1}),
        lambda: view.search(like="\ud800"),
        lambda: list(view.documents(after="\ud800")),
    ):
        with pytest.raises(DocumentError, match="lone surrogate"):
            call()
    assert listed(view) == ["a", "b"]


def test_other_scopes_are_read_only(kb: Retriever) -> None:
    english = kb.scoped({"lang": "en"})
    assert len(english) == 3
    for view in (
        english,
        kb.scoped(lang="en"),
        kb.scoped(tenant=["acme"]),
        kb.scoped({"tenant": "acme"}),
        kb.scoped(tenant="acme", lang="en"),
        kb.scoped(F("lang") == "en", tenant="acme"),
        kb.scoped(tenant="acme").scoped(lang="en"),
        english.scoped(tenant="acme"),
    ):
        before = len(kb)
        for write in (
            lambda view=view: add(view, ["n"], {"tenant": "acme", "lang": "en"}),
            lambda view=view: view.delete("a"),
            lambda view=view: view.delete(where={"lang": "en"}),
            lambda view=view: view.update("a", {"x": 1}),
            lambda view=view: view.clear(),
        ):
            with pytest.raises(UnsupportedError, match="read-only"):
                write()
        assert len(kb) == before
    assert kb.scoped(tenant="acme", lang="en").get(["a", "b"])[1].id == "b"
    assert kb.scoped(tenant="bolt").scoped(lang="en").get("a") == []


def test_scopes_only_narrow(kb: Retriever) -> None:
    acme = kb.scoped(tenant="acme")
    for view in (
        acme.scoped(tenant="bolt"),
        acme.scoped({"tenant": "bolt"}),
        acme.scoped(tenant="bolt").scoped(tenant="acme"),
        acme.scoped({"$not": {"tenant": "acme"}}),
        acme.scoped({"$or": [{"tenant": "bolt"}, {"lang": "de"}]}),
        kb.scoped(lang="de").scoped(tenant="acme"),
    ):
        assert len(view) == 0
        assert len(view.search(vector=EYE[1])) == 0
        assert view.get(["a", "b", "c"]) == []
        with pytest.raises(UnsupportedError):
            view.clear()
    again = acme.scoped(tenant="acme")
    add(again, ["more"], {})
    assert listed(acme) == ["a", "b", "more"]
    assert listed(acme.scoped({"lang": "en"}).scoped({"tenant": "acme"})) == ["a", "b"]


def test_a_scope_needs_something_to_narrow_it(kb: Retriever) -> None:
    nothings: tuple[dict[str, Any] | None, ...] = (None, {})
    for nothing in nothings:
        with pytest.raises(InputError, match="needs a filter"):
            kb.scoped(nothing)
    with pytest.raises(FilterError):
        kb.scoped({"lang": {"$nope": 1}})


def test_views_of_collections_without_partitions(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        add(kb, ["a", "b"], {"tenant": "acme"})
        add(kb, ["c"], {"tenant": "bolt"})
        view = kb.scoped(tenant="acme")
        assert listed(view) == ["a", "b"]
        assert [document.id for document in view.get(["c", "b"])] == ["b"]
        assert len(view.search(vector=EYE[0])) == 2
        with pytest.raises(UnsupportedError, match="read-only"):
            view.delete("a")
        view.close()
        assert len(kb) == 3
        assert repr(view) == "<Retriever scope: 2 documents, cosine>"


def test_the_partition_is_pinned(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", partition="tenant") as kb:
        add(kb, ["a"], {"tenant": "acme"})
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.info()["partition"] == "tenant"
        with pytest.raises(DocumentError):
            add(kb, ["b"], {})
    with pytest.raises(ConfigError, match="partitioned by 'tenant', not by 'user'"):
        Retriever.open(tmp_path / "kb", partition="user")
    Retriever.open(tmp_path / "plain", create=True).close()
    with pytest.raises(ConfigError, match="not partitioned"):
        Retriever.open(tmp_path / "plain", partition="tenant")
    for wrong in ("", "a.b", "$x", 3):
        with pytest.raises(ConfigError, match="partition is"):
            Retriever.open(tmp_path / "new", partition=wrong)  # type: ignore[arg-type]  # that is the point
    assert not (tmp_path / "new").exists()


def test_listing_goes_through_equal_ids(tmp_path: Path) -> None:
    """Pages end anywhere among documents of the same id; nothing is listed twice or left out."""
    with Retriever.open(tmp_path, partition="tenant") as kb:
        documents = [
            Document("t", {"tenant": tenant}, f"d{number % 3}") for number in range(3) for tenant in range(400)
        ]
        kb.add(documents, vectors=np.ones((len(documents), 2)))
        found = [(document.id, document.metadata["tenant"]) for document in kb.documents()]
        assert len(found) == len(set(found)) == 1200
        assert [name for name, _ in found] == sorted(name for name, _ in found)
        assert set(listed(kb, after="d1")) == {"d2"}
        assert len(listed(kb, limit=700)) == 700
        assert len(listed(kb, where={"tenant": {"$lt": 200}})) == 600


def test_an_older_format_is_refused(tmp_path: Path) -> None:
    import sqlite3

    Retriever.open(tmp_path / "kb", create=True).close()
    connection = sqlite3.connect(tmp_path / "kb" / "store.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(ManifestError, match="before the first release"):
        Retriever.open(tmp_path / "kb")


def test_a_view_outlives_nothing(kb: Retriever) -> None:
    with kb.scoped(tenant="acme") as acme:
        assert len(acme) == 2
    assert len(kb) == 5
