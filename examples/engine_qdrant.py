"""An engine of your own: collections in Qdrant's local mode, which stores vectors in a folder and needs no server.

    python examples/engine_qdrant.py [FOLDER]

adds a few documents with vectors, searches them with a filter, and shows what the engine refuses. A package that
registers the class (see docs/extending.md) opens collections by URL: Retriever.open("qdrant:///path/to/folder").

Qdrant lists points near a vector by float32 scores of its own. This engine scores them again as theodolite does, and
fetches more until no other document can be among the best k, so every answer is exact. Filters are evaluated here by
the reference, since conditions of Qdrant mean other things; Qdrant receives the points that pass. That is slow for
large collections, and never wrong. It has partitions, scopes and notes; boosts, version rules, words, indexes,
duplicates and maintenance raise UnsupportedError.

Local mode commits each point by itself. A batch is atomic because it is first written as one point, the journal.
Points are pickled, so open only folders that you trust. One program opens a folder at a time.
"""

import argparse
import json
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from theodolite import Document, Retriever, UnsupportedError
from theodolite.analysis.bm25 import BM25
from theodolite.engines import refusals
from theodolite.engines.records import Record, check_all_found, make_records, updated_record
from theodolite.errors import EngineError, LockedError
from theodolite.filters import Filter, matches
from theodolite.filters.summary import summarize_documents
from theodolite.metadata import stored_metadata
from theodolite.protocols import Answer, Part, Request, Scope, refuse_parts
from theodolite.scopes import key_within, partition_to_write, within
from theodolite.settings import CollectionSettings, Manifest, new_manifest
from theodolite.types import EmbedderSpec, Field, Space, Trace, Vectors
from theodolite.vectors.metrics import get_metric

POINTS, SETTINGS = "documents", "settings"
MANIFEST, JOURNAL = "manifest", "journal"
NOTE = "note:"
LACKS: frozenset[Part] = frozenset({"boosts", "versions", "lexical"})
PAGE = 256

Row = tuple[Document, NDArray[np.float32]]
Stored = tuple[Record, NDArray[np.float32]]
Found = tuple[float, str, Record, NDArray[np.float32]]
"""An exact similarity, and the id, record and vector of the document."""


class QdrantEngine:
    """A collection in a folder of Qdrant's local mode (see `protocols.Engine`)."""

    def __init__(self, client: QdrantClient, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self._client = client
        self._manifest = manifest
        self._embedder: EmbedderSpec | None = None
        self._read_only = False
        self._closed = False
        self._longest = 0.0  # at least the length of every stored vector
        self._lock = threading.RLock()  # one reader or writer at a time, so an answer never mixes two commits

    @classmethod
    def open(
        cls, location: str, settings: CollectionSettings, *, create: bool = True, read_only: bool = False
    ) -> "QdrantEngine":
        """Open the collection in a folder, or create it."""
        folder = Path(location.partition("://")[2]).expanduser().absolute()
        if not (folder / "meta.json").exists() and (read_only or not create):
            raise refusals.not_found(location, location=location)
        try:
            client = QdrantClient(path=str(folder), force_disable_check_same_thread=True)
        except RuntimeError as error:
            raise LockedError(f"another program has opened {folder}") from error
        except (OSError, ValueError, sqlite3.Error) as error:
            raise EngineError(f"{folder} cannot be opened: {error}") from error
        engine = cls(client, folder, new_manifest(settings))
        try:
            engine._load(settings, read_only=read_only)
        except BaseException:
            engine.close()
            raise
        return engine

    def _load(self, settings: CollectionSettings, *, read_only: bool) -> None:
        with self._opened():
            if not self._client.collection_exists(SETTINGS):
                config = models.VectorParams(size=1, distance=models.Distance.DOT)
                self._client.create_collection(SETTINGS, vectors_config=config)
            stored = self._setting(MANIFEST)
            if stored is None:
                self._set(MANIFEST, self._manifest.to_json())
            else:
                self._manifest = Manifest.from_json(stored)
            self._longest = _longest([point.vector for point in self._scroll(POINTS, with_vectors=True)])
        settings.check_pinned(self.space, self.partition, self.bm25)
        self._manifest = replace(self._manifest, space=settings.applied_to(self.space))
        self._embedder, self._read_only = settings.embedder, read_only

    @property
    def space(self) -> Space:
        return self._manifest.space

    @property
    def partition(self) -> str | None:
        return self._manifest.partition

    @property
    def bm25(self) -> BM25:
        """Kept for a copy in an engine that searches by words."""
        return self._manifest.bm25

    @property
    def embedder(self) -> EmbedderSpec | None:
        return self._manifest.embedder

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        with self._writing(scope):
            records, places = make_records(documents, truncated, self.partition, scope)
            if records:
                spec = self._embedder if not self._count() else None
                rows = [(record, vectors[place]) for record, place in zip(records, places, strict=True)]
                self._commit(rows, [], self._manifest.settled(space, spec))

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        with self._writing(scope):
            stored = self._named(list(changes), scope)
            check_all_found(changes, {record.id for record, _ in stored})
            rows = [
                (updated_record(record, changes[record.id], self.partition, replace=replace), vector)
                for record, vector in stored
            ]
            self._commit(rows, [], self._manifest)

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        with self._writing(scope):
            if isinstance(which, Filter):
                gone = list(self._eligible(scope, which))
            else:
                gone = [_key(record) for record, _ in self._named(list(dict.fromkeys(which)), scope)]
            self._commit([], gone, self._manifest)
            return len(gone)

    def clear(self, *, scope: Scope | None = None) -> None:
        with self._writing(scope):
            self._commit([], list(self._eligible(scope, None)), self._manifest)

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Row]:
        with self._opened():
            return [(record.document(), vector) for record, vector in self._named(ids, scope)]

    def documents(
        self, where: Filter | None = None, *, after: str = "", limit: int | None = None, scope: Scope | None = None
    ) -> Iterator[Row]:
        with self._opened():
            keys = [key for key, record in self._eligible(scope, where).items() if record.id > after][:limit]
        for start in range(0, len(keys), PAGE):
            with self._opened():
                rows = self._read(keys[start : start + PAGE])
            yield from ((record.document(), vector) for record, vector in rows)

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        with self._opened():
            return len(self._eligible(scope, where))

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        with self._opened():
            records = self._eligible(scope, where).values()
            return summarize_documents((stored_metadata(record.metadata) for record in records), values)

    def search(self, request: Request) -> list[Answer]:
        refuse_parts(self, request, LACKS)
        with self._opened():
            inside = self._count()
            eligible = None
            if request.scope is not None:
                inside = len(self._eligible(request.scope, None))
            if request.scope is not None or request.where is not None:
                eligible = list(self._eligible(request.scope, request.where))
            return [self._answer(query, request, inside, eligible) for query in request.vectors]

    def read_note(self, name: str) -> str | None:
        with self._opened():
            return self._setting(NOTE + name)

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        if not self._lock.acquire(blocking=wait):
            raise EngineError("another thread is writing")
        try:
            with self._writing():
                if replace or self._setting(NOTE + name) is None:
                    self._set(NOTE + name, value)
        finally:
            self._lock.release()

    def note_names(self) -> list[str]:
        with self._opened():
            names = [point.payload["name"] for point in self._scroll(SETTINGS)]
            return [name.removeprefix(NOTE) for name in names if name.startswith(NOTE)]

    def info(self) -> dict[str, Any]:
        with self._opened():
            records = self._eligible(None, None).values()
            return {
                "location": f"qdrant://{self.folder}",
                "read_only": self._read_only,
                "documents": len(records),
                "truncated": sum(record.truncated for record in records),
                "embedder": None if self.embedder is None else self.embedder.name,
            }

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._client.close()

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the lock, finish an interrupted commit, and raise failures of Qdrant as EngineError."""
        with self._lock:
            if self._closed:
                raise refusals.closed()
            try:
                journal = self._setting(JOURNAL) if self._client.collection_exists(SETTINGS) else None
                if journal is not None:
                    self._apply(json.loads(journal))
                yield
            except (OSError, sqlite3.Error) as error:
                raise EngineError(f"Qdrant has failed in {self.folder}: {error}") from error

    @contextmanager
    def _writing(self, scope: Scope | None = None) -> Iterator[None]:
        with self._opened():
            if self._read_only:
                raise refusals.read_only(self.folder)
            partition_to_write(scope, self.partition, ids=scope is not None)
            yield

    def _commit(self, rows: Sequence[Stored], gone: list[str], manifest: Manifest) -> None:
        points = [
            {"id": _key(record), "vector": vector.tolist(), "payload": record._asdict()} for record, vector in rows
        ]
        journal = {"points": points, "gone": gone, "manifest": manifest.to_json()}
        self._set(JOURNAL, json.dumps(journal))  # one point, so this is the commit
        self._apply(journal)

    def _apply(self, journal: dict[str, Any]) -> None:
        """Carry out a commit. Doing so twice changes nothing, so an interrupted one is finished at the next call."""
        manifest = Manifest.from_json(journal["manifest"])
        dimension = manifest.space.dimension
        if not self._client.collection_exists(POINTS) and dimension is not None:
            # Vectors are stored as they are prepared: of unit length for cosine. Qdrant's cosine would change them.
            distance = models.Distance.EUCLID if _by_distance(manifest.space) else models.Distance.DOT
            self._client.create_collection(
                POINTS, vectors_config=models.VectorParams(size=dimension, distance=distance)
            )
        if journal["points"]:
            self._client.upsert(POINTS, [models.PointStruct(**point) for point in journal["points"]])
            self._longest = max(self._longest, _longest([point["vector"] for point in journal["points"]]))
        if journal["gone"]:
            self._client.delete(POINTS, models.PointIdsList(points=journal["gone"]))
        self._set(MANIFEST, journal["manifest"])
        self._manifest = manifest
        self._set(JOURNAL, None)

    def _setting(self, name: str) -> str | None:
        found = self._client.retrieve(SETTINGS, [_uuid(name)])
        return found[0].payload["value"] if found and found[0].payload else None

    def _set(self, name: str, value: str | None) -> None:
        if value is None:
            self._client.delete(SETTINGS, models.PointIdsList(points=[_uuid(name)]))
        else:
            point = models.PointStruct(id=_uuid(name), vector=[0.0], payload={"name": name, "value": value})
            self._client.upsert(SETTINGS, [point])

    def _scroll(self, collection: str, *, with_vectors: bool = False) -> list[Any]:
        """Return all points of a collection."""
        if not self._client.collection_exists(collection):
            return []
        count = self._client.count(collection).count
        return self._client.scroll(collection, limit=count + 1, with_vectors=with_vectors)[0]

    def _count(self) -> int:
        return self._client.count(POINTS).count if self._client.collection_exists(POINTS) else 0

    def _eligible(self, scope: Scope | None, where: Filter | None) -> dict[str, Record]:
        """Return the documents in a scope that pass a filter, by key, in the order of their ids."""
        tree = within(scope, self.partition, where)
        points = [(Record(**point.payload), str(point.id)) for point in self._scroll(POINTS)]
        records = {key: record for record, key in sorted(points)}
        if tree is None:
            return records
        return {
            key: record for key, record in records.items() if matches(tree, stored_metadata(record.metadata), record.id)
        }

    def _named(self, ids: Sequence[str], scope: Scope | None) -> list[Stored]:
        """Return the documents of a scope with these ids, in the order given."""
        partition = key_within(scope, self.partition)
        rows = self._read([_uuid(partition, name) for name in ids])
        if scope is None or scope.where is None:
            return rows
        return [row for row in rows if matches(scope.where, stored_metadata(row[0].metadata), row[0].id)]

    def _read(self, keys: Sequence[str]) -> list[Stored]:
        if not self._client.collection_exists(POINTS):
            return []
        points = self._client.retrieve(POINTS, keys, with_vectors=True)
        return [(Record(**(point.payload or {})), np.array(point.vector, np.float32)) for point in points]

    def _answer(self, query: NDArray[np.float32], request: Request, inside: int, eligible: list[str] | None) -> Answer:
        """Return the k best documents, by their exact scores and then their ids."""
        count = inside if eligible is None else len(eligible)
        found: list[Found] = []
        scored = 0
        if count:
            found, scored = self._nearest(query, request.k, eligible)
        best = sorted(found, key=lambda each: (-each[0], each[1]))[: request.k]
        if request.min_relevance is not None and request.relevance is not None:
            relevance = request.relevance(np.array([each[0] for each in best], np.float64))
            best = [each for each, value in zip(best, relevance, strict=True) if value >= request.min_relevance]
        if request.scope is not None:  # the trace of a scope shows nothing of the documents outside
            trace = Trace("scope" if inside else "empty", inside, count, 0)
        else:
            trace = Trace("scan" if count else "empty", inside, count, scored)
        vectors = np.array([vector for *_, vector in best], np.float32).reshape(len(best), len(query))
        return Answer(
            [record.document() for _, _, record, _ in best],
            [similarity for similarity, *_ in best],
            trace,
            vectors=vectors if request.with_vectors else None,
        )

    def _nearest(self, query: NDArray[np.float32], k: int, eligible: list[str] | None) -> tuple[list[Found], int]:
        """Return documents with their exact similarities, among them the best k, and how many were scored.

        Qdrant has listed everything that can be among these once the k-th exact similarity is above the ceiling: the
        lowest similarity listed, as Qdrant computed it, plus the largest rounding error of any other.
        """
        condition = None if eligible is None else models.Filter(must=[models.HasIdCondition(has_id=list(eligible))])
        metric, limit = get_metric(self.space.metric), k + 8
        while True:
            points = self._client.query_points(
                POINTS, query=query.tolist(), query_filter=condition, limit=limit, with_vectors=True
            ).points
            vectors = np.array([point.vector for point in points], np.float32)
            similarities = metric.scores(query, vectors)
            if len(points) < limit or np.sort(similarities)[-k] > self._ceiling(query, points[-1].score):
                records = [Record(**(point.payload or {})) for point in points]
                rows = zip(similarities.tolist(), [record.id for record in records], records, vectors, strict=True)
                return list(rows), len(points)
            limit *= 4

    def _ceiling(self, query: NDArray[np.float32], lowest: float) -> float:
        """Return what the similarity of an unlisted document can be at most.

        A sum of d products in float32 errs by at most gamma times the product of the lengths; a distance by gamma times
        itself. Underflow adds at most d times the smallest normal number.
        """
        dimension = len(query)
        gamma, tiny = 2 * (dimension + 4) * np.finfo(np.float32).eps, dimension * float(np.finfo(np.float32).tiny)
        if _by_distance(self.space):  # Qdrant gives distances: the largest listed is the lowest similarity
            return float(-lowest * (1 - gamma) + np.sqrt(tiny))
        return float(lowest + gamma * np.linalg.norm(query.astype(np.float64)) * self._longest + tiny)


def _key(record: Record) -> str:
    return _uuid(record.partition, record.id)


def _uuid(*parts: str) -> str:
    """Return the id of a point, which is a UUID in Qdrant: a hash of 16 bytes."""
    return str(uuid.UUID(bytes=blake2b(json.dumps(parts).encode(), digest_size=16).digest()))


def _longest(vectors: Sequence[Sequence[float]]) -> float:
    return max((float(np.linalg.norm(vector)) for vector in vectors), default=0.0)


def _by_distance(space: Space) -> bool:
    return get_metric(space.metric).by_distance


def main(folder: str) -> None:
    with Retriever(QdrantEngine.open(f"qdrant://{folder}", CollectionSettings()), embedder=None) as kb:
        animals = [("cat", "pet", [0.9, 0.1, 0.3]), ("dog", "pet", [0.8, 0.3, 0.2]), ("wolf", "wild", [0.7, 0.5, 0.1])]
        documents = [Document(f"About the {name}.", {"kind": kind}, name) for name, kind, _ in animals]
        kb.add(documents, vectors=[vector for *_, vector in animals])
        for where in (None, {"kind": "wild"}):
            hits = kb.search(vector=[0.7, 0.6, 0.1], k=2, where=where)
            print(f"where={where}:", ", ".join(f"{hit.document.id} {hit.score:.3f}" for hit in hits))
        try:
            kb.search("wolf", mode="lexical")
        except UnsupportedError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Store documents in Qdrant's local mode, and search them.")
    parser.add_argument("folder", nargs="?", help="where to keep the collection; by default a temporary folder")
    chosen = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        main(chosen or temporary)
