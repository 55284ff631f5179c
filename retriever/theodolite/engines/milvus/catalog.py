"""The manifest and the notes of collections, in one collection of the server that all collections share.

Milvus has no transactions. The dimension of the vectors, which must be fixed once, is fixed by creating the collection
of the documents, which only one writer can do: the description of that collection names the manifest.
Reads of the catalog have the consistency "Strong": they see what any writer has written before.
"""

import hashlib
import time
import uuid
from dataclasses import dataclass

from pymilvus import DataType, MilvusClient

from theodolite.engines import refusals
from theodolite.engines.milvus.schema import MAX_BYTES, collection_schema, metric_type
from theodolite.engines.milvus.server import MilvusServer
from theodolite.errors import CorruptionError, EngineError, ManifestError
from theodolite.settings import FORMAT, OLDEST, CollectionSettings, Manifest, new_manifest
from theodolite.types import EmbedderSpec, Space

CATALOG = "theodolite_catalog"

_MARK = "theodolite"
_PART = MAX_BYTES // 4  # characters of a text in one row
_MANIFEST = "manifest"
_WAIT = 10.0  # seconds for another process that creates the catalog


class Catalog:
    """Texts by name, of one collection. Longer texts are stored in several rows."""

    def __init__(self, server: MilvusServer, collection: str) -> None:
        self._server = server
        self._collection = collection
        self._exists = False

    def read(self, name: str) -> str | None:
        """Return a text; None if there is none. Raises CorruptionError if a part is missing."""
        if not self._exists:
            if not self._server.has(CATALOG):
                return None
            self._check()
            self._server.load(CATALOG)
            self._exists = True
        rows = self._server.query(
            CATALOG, f'name == "{self._name(name)}"', ["part", "parts", "digest", "value"], consistency="Strong"
        )
        if not rows:
            return None
        newest = max(rows, key=lambda row: int(row["part"]) == 0)
        chosen = sorted((row for row in rows if row["digest"] == newest["digest"]), key=lambda row: int(row["part"]))
        text = "".join(str(row["value"]) for row in chosen[: int(newest["parts"])])
        if _digest(text) != newest["digest"]:
            raise CorruptionError(f"{self._server.shown}: the stored text {name!r} is damaged or incomplete")
        return text

    def write(self, name: str, text: str | None) -> None:
        """Store a text, or delete it."""
        self._create()
        hashed = self._name(name)
        if text is None:
            listed = ",".join(f'"{pk}"' for pk in self._pks(hashed))
            self._server.delete(CATALOG, f"pk in [{listed}]")
            self._server.count(CATALOG, "", "Strong")
            return
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)] or [""]
        digest = _digest(text)
        rows = [
            {
                "pk": f"{hashed}.{part}",
                "name": hashed,
                "collection": _digest(self._collection),
                "label": name.encode().hex(),
                "part": part,
                "parts": len(parts),
                "digest": digest,
                "value": value,
                "vector": [0.0, 0.0],
            }
            for part, value in enumerate(parts)
        ]
        self._server.upsert(CATALOG, rows)
        self._server.count(CATALOG, "", "Strong")

    def names(self, before: str) -> list[str]:
        """Return the names that begin with `before`, without it."""
        if not self._server.has(CATALOG):
            return []
        self._create()
        collection = _digest(self._collection)
        rows = self._server.query(
            CATALOG, f'collection == "{collection}" and part == 0', ["label"], consistency="Strong"
        )
        found = sorted(bytes.fromhex(row["label"]).decode() for row in rows)
        return [name.removeprefix(before) for name in found if name.startswith(before)]

    def _pks(self, hashed: str) -> list[str]:
        rows = self._server.query(CATALOG, f'name == "{hashed}"', ["pk"], consistency="Strong")
        return [str(row["pk"]) for row in rows] or ["none"]

    def _name(self, name: str) -> str:
        return hashlib.blake2b(f"{self._collection}.{name}".encode(), digest_size=20).hexdigest()

    def _check(self) -> None:
        """Raise ManifestError if another program has created the catalog."""
        if self._server.description(CATALOG) != _MARK:
            raise ManifestError(
                f"{self._server.shown}: the Milvus collection {CATALOG} was not created by theodolite; nothing was "
                "changed. Name another database in the URL: ?database=name"
            )

    def _create(self) -> None:
        if self._exists:
            return
        if not self._server.has(CATALOG):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=_MARK)
            schema.add_field("pk", DataType.VARCHAR, max_length=100, is_primary=True)
            schema.add_field("name", DataType.VARCHAR, max_length=100)
            schema.add_field("collection", DataType.VARCHAR, max_length=100)
            schema.add_field("label", DataType.VARCHAR, max_length=MAX_BYTES)
            schema.add_field("part", DataType.INT64)
            schema.add_field("parts", DataType.INT64)
            schema.add_field("digest", DataType.VARCHAR, max_length=100)
            schema.add_field("value", DataType.VARCHAR, max_length=MAX_BYTES)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
            try:
                self._server.create(CATALOG, schema, {"index_type": "FLAT", "metric_type": "L2", "params": {}})
            except EngineError:
                if not self._server.has(CATALOG):
                    raise
        deadline = time.monotonic() + _WAIT
        while True:  # another process may have created it, and still be indexing it
            try:
                self._server.load(CATALOG)
                break
            except EngineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._exists = True


@dataclass
class Collection:
    """A collection of documents on a server. Its rows exist once a first batch has settled the dimension.

    Attributes:
        name: the name of the Milvus collection.
        has_rows: whether the collection of the documents exists.
        settled_as: the name of the manifest that its creation has fixed.
    """

    server: MilvusServer
    name: str
    catalog: Catalog
    has_rows: bool = False
    settled_as: str = ""

    def manifest(self) -> Manifest | None:
        """Return the manifest; None if there is no collection.

        Raises:
            ManifestError: the collection of this name is not ours, or of a newer format.
        """
        if not self.has_rows and self.server.has(self.name):
            description = self.server.description(self.name)
            mark, _, attempt = description.partition(":")
            if mark != _MARK:
                raise ManifestError(f"{self.server.shown}: this Milvus collection was not created by theodolite")
            settled = self.catalog.read(f"{_MANIFEST} {attempt}")
            if settled is None:
                raise ManifestError(f"{self.server.shown}: the collection's manifest is missing")
            self.server.load(self.name)
            self.settled_as = attempt
            self.has_rows = True
        text = self.catalog.read(f"{_MANIFEST} {self.settled_as}" if self.has_rows else _MANIFEST)
        if text is None:
            return None
        stored_format, _, body = text.partition(" ")
        if not stored_format.isdigit() or not OLDEST <= int(stored_format) <= FORMAT:
            raise ManifestError(
                f"{self.server.shown} has format {stored_format!r:.20}; this version reads {OLDEST} to {FORMAT}"
            )
        return Manifest.from_json(body)

    def settle(self, manifest: Manifest, space: Space, embedder: EmbedderSpec | None) -> Manifest:
        """Pin the space of a first batch, and create the collection of the documents.

        Raises:
            VectorError: another writer has pinned another space.
        """
        settled = manifest.settled(space, embedder)
        if self.has_rows:
            if settled != manifest:
                self._write(f"{_MANIFEST} {self.settled_as}", settled)
            return settled
        attempt = uuid.uuid4().hex  # another writer may try at the same time, with another space
        self._write(f"{_MANIFEST} {attempt}", settled)
        schema = collection_schema(space.dimension or 1, f"{_MARK}:{attempt}")
        index = {"index_type": "FLAT", "metric_type": metric_type(space.metric), "params": {}}
        try:
            self.server.create(self.name, schema, index)
        except EngineError:
            if not self.server.has(self.name):
                raise
        deadline = time.monotonic() + _WAIT
        while True:  # another writer may have created it, and still be indexing it
            try:
                stored = self.manifest()
                break
            except EngineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if stored is None:
            raise EngineError(f"{self.server.shown}: the collection was deleted while documents were added")
        return stored.settled(space, embedder)

    def _write(self, name: str, manifest: Manifest) -> None:
        self.catalog.write(name, f"{FORMAT} {manifest.to_json()}")


def open_collection(
    server: MilvusServer, name: str, settings: CollectionSettings, *, create: bool
) -> tuple[Collection, Manifest]:
    """Find a collection, or record a new one.

    Raises:
        CollectionNotFoundError: it does not exist and may not be created.
        ManifestError: another program's collection has the name.
        MetricMismatchError, ConfigError: settings other than the collection's.
    """
    collection = Collection(server, name, Catalog(server, name))
    manifest = collection.manifest()
    if manifest is None:
        if not create:
            raise refusals.not_found(server.shown, location=server.shown)
        manifest = new_manifest(settings)
        collection._write(_MANIFEST, manifest)
    settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
    return collection, manifest


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
