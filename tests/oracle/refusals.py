"""Every refusal that does not depend on where a collection is: run on two engines, class and words are the same.

`REFUSALS` names the calls. `recorded` runs one on a `Place` and returns what was raised and warned, with the location
replaced, so that the local engine's answer can be compared with that of any other.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from theodolite import (
    MMR,
    Authority,
    Document,
    EmbedderOptions,
    Freshness,
    Fusion,
    Hits,
    Pca,
    Retriever,
    TheodoliteError,
    Valid,
)
from theodolite.errors import TheodoliteWarning
from theodolite.testing import HashingEmbedder

HASHING = HashingEmbedder(8)


class Shifted(HashingEmbedder):
    """Another model: its vectors have little in common with those of `HASHING`."""

    def encode_document(self, texts: Any) -> Any:
        return np.roll(super().encode_document(texts), 1, axis=1)

    def encode_query(self, texts: Any) -> Any:
        return np.roll(super().encode_query(texts), 1, axis=1)


def vectors(count: int, seed: int = 1, dimension: int = 8) -> Any:
    return np.random.default_rng(seed).standard_normal((count, dimension))


class Place:
    """Collections of one engine: filled ones, which no refused call changes, and names without a collection.

    Args:
        url: returns the location of a collection by its name.
    """

    def __init__(self, url: Callable[[str], str | Path]) -> None:
        self.url = url
        self._opened: dict[str, Retriever] = {}
        self.kb.add(
            [
                Document(f"text {n}", {"n": n, "kind": "ab"[n % 2], "day": f"2025-01-{n + 1:02}"}, f"d{n}")
                for n in range(9)
            ]
        )
        self.parts.add(
            [Document("text", {"tenant": t, "n": n}, f"d{n}") for t in ("acme", "bolt", 7) for n in range(3)],
            vectors=vectors(9),
        )
        self.dot.add([Document("text", {}, f"d{n}") for n in range(3)], vectors=np.eye(8)[:3])
        self.closed.add([Document("text", {}, "a")], vectors=vectors(1))
        self.closed.close()

    def opened(self, name: str, **options: Any) -> Retriever:
        if name not in self._opened:
            self._opened[name] = Retriever.open(self.url(name.partition(":")[0]), **options)
        return self._opened[name]

    @property
    def kb(self) -> Retriever:
        return self.opened("kb", embedder=HASHING)

    @property
    def plain(self) -> Retriever:
        """The same collection without an embedder."""
        return self.opened("kb:plain", embedder=None)

    @property
    def reader(self) -> Retriever:
        return self.opened("kb:reader", embedder=HASHING, read_only=True)

    @property
    def parts(self) -> Retriever:
        return self.opened("parts", embedder=None, partition="tenant")

    @property
    def dot(self) -> Retriever:
        return self.opened("dot", embedder=None, metric="dot")

    @property
    def closed(self) -> Retriever:
        return self.opened("closed", embedder=None)

    @property
    def empty(self) -> Retriever:
        return self.opened("empty", embedder=None, create=True)

    def open(self, name: str, **options: Any) -> None:
        Retriever.open(self.url(name), **{"embedder": None, **options}).close()

    def close(self) -> None:
        for kb in self._opened.values():
            kb.close()


@dataclass(frozen=True)
class Recorded:
    """The error and the warnings of a call, in words that do not depend on the place."""

    error: str
    message: str
    warned: tuple[str, ...]


def recorded(place: Place, call: Callable[[Place], Any]) -> Recorded:
    error: TheodoliteError | None = None
    notes: tuple[str, ...] = ()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(place)
            if isinstance(result, Iterator):
                list(result)
            if isinstance(result, Hits):
                notes = result.trace.notes
        except TheodoliteError as raised:
            error = raised
    shown = [str(error or ""), *(str(one.message) for one in caught if isinstance(one.message, TheodoliteWarning))]
    shown += notes
    details = {} if error is None else error.details
    names = {place.kb.info()["location"], place.dot.info()["location"], details.get("location"), details.get("folder")}
    for name in sorted(filter(None, names), key=len, reverse=True):
        shown = [text.replace(name, "PLACE") for text in shown]
    # Each engine has indexes of its own.
    shown = [re.sub(r"(there are no indexes named.*) Known: .*", r"\1", text) for text in shown]
    return Recorded(type(error).__name__, shown[0], tuple(shown[1:]))


def _add(document: Any, **options: Any) -> Callable[[Place], Any]:
    return lambda place: place.kb.add([Document("fine", {}, "fine"), document], **options)


def _vectors(given: Any) -> Callable[[Place], Any]:
    return lambda place: place.plain.add([Document("", {}, "x"), Document("", {}, "y")], vectors=given)


def _search(*given: Any, **options: Any) -> Callable[[Place], Any]:
    return lambda place: place.kb.search(*given, **options)


def _where(where: Any) -> Callable[[Place], Any]:
    return lambda place: place.kb.count(where)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _changed(place: int, value: float) -> Any:
    rows = vectors(2)
    rows[place, 3] = value
    return rows


DOCUMENTS: dict[str, Callable[[Place], Any]] = {
    f"document {number}": _add(document)
    for number, document in enumerate(
        [
            Document("\ud800", {}, "bad"),
            Document("text", {}, "\udfff"),
            Document(5, {}, "bad"),  # type: ignore[arg-type]  # on purpose
            Document("text", {}, 5),  # type: ignore[arg-type]  # on purpose
            Document("text", [1], "bad"),  # type: ignore[arg-type]  # on purpose
            Document("text", {"set": {1}}, "bad"),
            Document("text", {"nan": float("nan")}, "bad"),
            Document("text", {"inf": [float("-inf")]}, "bad"),
            Document("text", {1: 2}, "bad"),  # type: ignore[dict-item]  # on purpose
            Document("text", {"a": {"b": "\ud800"}}, "bad"),
            Document("text", {"\ud800": 1}, "bad"),
            Document("text", {"deep": _nested(70)}, "bad"),
            Document("text", {"x" * 10_001: 1}, "bad"),
            Document("text", {"bytes": b"x"}, "bad"),
            Document("text", {"time": np.datetime64("NaT")}, "bad"),
            Document("", {}, "bad"),
            {"text": "text", "idd": "x"},
            17,
            None,
        ]
    )
}

VECTORS: dict[str, Callable[[Place], Any]] = {
    f"vectors {number}": _vectors(given)
    for number, given in enumerate(
        [
            _changed(1, np.nan),
            _changed(0, np.inf),
            np.zeros((2, 8)),
            vectors(2, dimension=7),
            vectors(1),
            vectors(3),
            vectors(2)[0],
            np.ones((2, 8), np.int8),
            [["a"] * 8] * 2,
            [[1.0] * 8, [1.0] * 7],
            "no vectors",
            None,
        ]
    )
}

PARTITIONS: dict[str, Callable[[Place], Any]] = {
    "no partition": lambda p: p.parts.add([Document("t", {}, "x")], vectors=vectors(1)),
    "a float as partition": lambda p: p.parts.add([Document("t", {"tenant": 1.5}, "x")], vectors=vectors(1)),
    "a bool as partition": lambda p: p.parts.add([Document("t", {"tenant": True}, "x")], vectors=vectors(1)),
    "an empty partition": lambda p: p.parts.add([Document("t", {"tenant": ""}, "x")], vectors=vectors(1)),
    "another partition": lambda p: p.parts.scoped(tenant="acme").add(
        [Document("t", {"tenant": "bolt"}, "x")], vectors=vectors(1)
    ),
    "ids are ambiguous: get": lambda p: p.parts.get("d0"),
    "ids are ambiguous: delete": lambda p: p.parts.delete("d0"),
    "ids are ambiguous: update": lambda p: p.parts.update("d0", {"x": 1}),
    "ids are ambiguous: like": lambda p: p.parts.search(like="d0"),
    "ids in a misspelled scope": lambda p: p.parts.scoped(tenent="acme").get("d0"),
    "moved to another partition": lambda p: p.parts.scoped(tenant="acme").update("d0", {"tenant": "bolt"}),
    "update outside": lambda p: p.parts.scoped(tenant="acme").update(["d0", "d7", "d8"], {"x": 1}),
    "replace without a partition": lambda p: p.parts.scoped(tenant="acme").update("d0", {"x": 1}, replace=True),
    "write to a filter": lambda p: p.parts.scoped({"n": 1}).delete(where={"n": 1}),
    "write to a part of a partition": lambda p: p.parts.scoped(tenant="acme").scoped(n=1).clear(),
    "write to a misspelled scope": lambda p: p.parts.scoped(tenent="acme").clear(),
    "add to a filter": lambda p: p.kb.scoped({"n": 1}).add(["text"]),
    "delete in a filter": lambda p: p.kb.scoped({"n": 1}).delete("d1"),
    "clear a filter": lambda p: p.kb.scoped({"n": 1}).clear(),
    "update in a filter": lambda p: p.kb.scoped({"n": 1}).update("d1", {"x": 1}),
    "a scope of nothing": lambda p: p.kb.scoped(),
    "a scope with a bad value": lambda p: p.kb.scoped(n=object()),
}

UPDATES: dict[str, Callable[[Place], Any]] = {
    "unknown id": lambda p: p.kb.update("nobody", {"x": 1}),
    "unknown ids": lambda p: p.kb.update(["d1", "nobody", "no one"], {"x": 1}),
    "bad metadata": lambda p: p.kb.update("d1", {"x": {1}}),
    "metadata that is no mapping": lambda p: p.kb.update("d1", [1]),  # type: ignore[arg-type]  # on purpose
    "a long name": lambda p: p.kb.update("d1", {"x" * 10_001: 1}),
    "ids of another type": lambda p: p.kb.update(["d1", 5], {"x": 1}),  # type: ignore[list-item]  # on purpose
    "delete nothing": lambda p: p.kb.delete(),
    "delete by both": lambda p: p.kb.delete("d1", where={"n": 1}),
    "delete by an empty filter": lambda p: p.kb.delete(where={}),
    "get an id of another type": lambda p: p.kb.get([5]),  # type: ignore[list-item]  # on purpose
    "get an empty id": lambda p: p.kb.get(""),
    "get a lone surrogate": lambda p: p.kb.get("\ud800"),
    "delete a lone surrogate": lambda p: p.kb.delete("\ud800"),
    "update a lone surrogate": lambda p: p.kb.update("\ud800", {"x": 1}),
}

FILTERS: dict[str, Callable[[Place], Any]] = {
    f"filter {number}": _where(where)
    for number, where in enumerate(
        [
            {"n": {"$gte": None}},
            {"n": {"$gtee": 1}},
            {"n": {"$in": 5}},
            {"n": {"$between": [1]}},
            {"n": {"$like": "a\\"}},
            {"n": {"$like": 5}},
            {"n": object()},
            {"$or": []},
            {"$or": {"n": 1}},
            {"$and": [5]},
            {"$nott": {"n": 1}},
            {"n": {}},
            {"n": {"$gt": float("nan")}},
            {"n": _nested(70)},
            {5: 1},
            {"\ud800": 1},
            {"$id": 5},
            {"$id": {"$gt": "a"}},
            "n = 1",
            # These match nothing, and say so.
            {"unheard": 1},
            {"nn": 1},
            {"kind": {"$gt": 5}},
            {"n": "3"},
            {"day": {"$gt": "2025-13-45"}},
            {"n": {"$contains": 1}},
        ]
    )
}

SEARCHES: dict[str, Callable[[Place], Any]] = {
    "k of zero": _search("text", k=0),
    "negative k": _search("text", k=-1),
    "k is a float": _search("text", k=1.5),
    "k is a bool": _search("text", k=True),
    "k is a string": _search("text", k="3"),
    "no query": _search(),
    "an empty query": _search(""),
    "a query that is no text": _search(5),
    "a query with a lone surrogate": _search("\ud800"),
    "a text and an id": _search("text", like="d1"),
    "like nobody": _search(like="nobody"),
    "like nothing": _search(like=[]),
    "query of another dimension": _search(vector=[1.0, 2.0]),
    "query with NaN": _search(vector=[np.nan] * 8),
    "query of zeros": _search(vector=[0.0] * 8),
    "query of text": _search(vector=["a"] * 8),
    "two queries": _search(vector=vectors(2)),
    "unknown mode": _search("text", mode="sparse"),
    "hybrid without a text": lambda p: p.plain.search(vector=vectors(1)[0], mode="hybrid"),
    "lexical without a text": lambda p: p.plain.search(vector=vectors(1)[0], mode="lexical"),
    "fusion of nothing": lambda p: p.kb.search("text", mode=Fusion(0, 0)),
    "min_relevance in hybrid mode": _search("text", mode="hybrid", min_relevance=0.5),
    "min_relevance of text": _search("text", min_relevance="high"),
    "min_relevance of NaN": _search("text", min_relevance=float("nan")),
    "min_relevance of dot products": lambda p: p.dot.search(vector=np.eye(8)[0], min_relevance=0.5),
    "a filter that is none": _search("text", where={"n": {"$gtee": 1}}),
    "a filter that matches nothing": _search("text", where={"unheard": 1}),
    "a boost that is none": _search("text", boosts=5),
    "the same boost twice": _search("text", boosts=[Freshness("day", "30d"), Freshness("day", "30d")]),
    "a boost of an unknown field": _search("text", boosts=Authority("kindd", {"a": 1.0})),
    "boosts of dot products": lambda p: p.dot.search(vector=np.eye(8)[0], boosts=Freshness("day", "30d")),
    "a date in the future": lambda p: p.kb.search("text", boosts=Freshness("day", "30d"), as_of=datetime(2025, 1, 3)),  # noqa: DTZ001
    "as_of that is none": _search("text", as_of="tomorrow"),
    "versions that are none": _search("text", versions=5),
    "versions of an unknown field": _search("text", versions=Valid(end="untill")),
    "superseded without versions": _search("text", superseded="show"),
    "superseded that is none": _search("text", superseded="hidden"),
    "rerank that is none": _search("text", rerank=5),
    "diversity above 1": _search("text", diversity=1.5),
    "diversity that is none": lambda p: p.kb.search("text", diversity=MMR(-1)),
    "dedupe above 1": _search("text", dedupe=1.5),
    "accept that is none": _search("text", accept=5),
    "no embedder": lambda p: p.plain.search("text"),
    "add without an embedder": lambda p: p.plain.add(["text"]),
    "a query of another norm": lambda p: p.dot.search(vector=7 * np.eye(8)[0]),
    "documents of another norm": lambda p: p.dot.add(["a", "b"], vectors=3 * np.eye(8)[:2]),
    "many queries, one bad": lambda p: p.kb.search_many(["text", 5]),  # type: ignore[list-item]  # on purpose
    "no queries of vectors": lambda p: p.kb.search_many(vectors=[[1.0], [2.0]]),
    "documents: a bad limit": lambda p: p.kb.documents(limit=-1),
    "documents: a bad filter": lambda p: p.kb.documents({"n": {"$x": 1}}),
    "documents: a filter without matches": lambda p: p.kb.documents({"unheard": 1}),
    "fields: bad values": lambda p: p.kb.fields(values=-1),
    "fields: a filter without matches": lambda p: p.kb.fields({"unheard": 1}),
}

OPENING: dict[str, Callable[[Place], Any]] = {
    "another metric": lambda p: p.open("kb", metric="l2"),
    "an unknown metric": lambda p: p.open("kb", metric="cosinus"),
    "other norms": lambda p: p.open("dot", norms="any"),
    "unknown norms": lambda p: p.open("kb", norms="some"),
    "partitioned by another field": lambda p: p.open("parts", partition="client"),
    "a partition where there is none": lambda p: p.open("kb", partition="tenant"),
    "an impossible partition": lambda p: p.open("kb", partition="a.b"),
    "other transforms": lambda p: p.open("kb", transforms=[Pca(4)]),
    "an unknown index": lambda p: p.open("kb", index="hnws"),
    "missing, not to create": lambda p: p.open("new", create=False),
    "missing, read-only": lambda p: p.open("new", read_only=True),
    "an embedder of another dimension": lambda p: p.open("kb", embedder=HashingEmbedder(4)),
    "another embedder": lambda p: p.open("kb", embedder=Shifted(8)),
    "another embedder, with a warning": lambda p: p.open("kb", embedder=EmbedderOptions(Shifted(8), on_drift="warn")),
    "a wrong known answer": lambda p: p.open(
        "kb", embedder=EmbedderOptions(HASHING, expect=[("text 1", "d1", 2.0, 3.0)])
    ),
    "a known answer of nobody": lambda p: p.open(
        "kb", embedder=EmbedderOptions(HASHING, expect=[("text 1", "nobody", 0.5, 1.0)])
    ),
    "an embedder that is none": lambda p: p.open("kb", embedder=5),
    "read-only: add": lambda p: p.reader.add(["text"]),
    "read-only: update": lambda p: p.reader.update("d1", {"x": 1}),
    "read-only: delete": lambda p: p.reader.delete("d1"),
    "read-only: delete by a filter": lambda p: p.reader.delete(where={"n": 1}),
    "read-only: clear": lambda p: p.reader.clear(),
    "read-only: reindex": lambda p: p.reader.reindex("flat"),
    "read-only: keep_versions": lambda p: p.reader.keep_versions(Valid(end="day")),
    "closed: add": lambda p: p.closed.add(["text"], vectors=vectors(1)),
    "closed: update": lambda p: p.closed.update("d1", {"x": 1}),
    "closed: delete": lambda p: p.closed.delete("d1"),
    "closed: clear": lambda p: p.closed.clear(),
    "closed: get": lambda p: p.closed.get("d1"),
    "closed: count": lambda p: p.closed.count(),
    "closed: documents": lambda p: p.closed.documents(),
    "closed: fields": lambda p: p.closed.fields(),
    "closed: search": lambda p: p.closed.search(vector=vectors(1)[0]),
    "closed: info": lambda p: p.closed.info(),
    "closed: reindex": lambda p: p.closed.reindex("flat"),
    "empty: search": lambda p: p.empty.search(vector=[1.0, 2.0]),
    "empty: search in an impossible scope": lambda p: p.empty.scoped(tenant=1).search(vector=[1.0, 2.0]),
    "empty: filter": lambda p: p.empty.count({"n": 1}),
    "empty: update": lambda p: p.empty.update("a", {"x": 1}),
    "reindex: unknown": lambda p: p.kb.reindex("hnws"),
    "reindex: an impossible recall": lambda p: p.kb.reindex("hnsw", target_recall=1.5),
    "recall without an index": lambda p: p.kb.recall(),
    "duplicates: a threshold above 1": lambda p: p.kb.duplicates(1.5),
    "duplicates: a threshold of 0": lambda p: p.kb.duplicates(0),
    "duplicates: a bad filter": lambda p: p.kb.duplicates(0.9, where={"n": {"$x": 1}}),
    "copy to itself": lambda p: p.kb.copy_to(p.url("kb")),
}

REFUSALS = {**DOCUMENTS, **VECTORS, **PARTITIONS, **UPDATES, **FILTERS, **SEARCHES, **OPENING}
