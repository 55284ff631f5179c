"""The row of one collection in the table `collections`: found, created, locked and changed."""

from dataclasses import dataclass

from theodolite.engines import refusals
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.location import PostgresLocation
from theodolite.engines.postgres.schema import (
    MIGRATIONS,
    check_database,
    check_extension,
    create_documents,
    migrate,
    read_version,
)
from theodolite.errors import ConfigError, ManifestError, closest
from theodolite.settings import CollectionSettings, Manifest, new_manifest

_BUILD_LOCK = 0x7E0D  # any number, the same in every program that builds indexes


@dataclass(frozen=True, slots=True)
class Collection:
    """Where a collection is stored: its tables do not change while it exists."""

    schema: str
    number: int
    uid: str
    shown: str

    @property
    def documents(self) -> str:
        """The name of the table of documents."""
        return f"{self.schema}.documents_{self.number}"

    @property
    def collections(self) -> str:
        return f"{self.schema}.collections"

    @property
    def notes(self) -> str:
        return f"{self.schema}.notes"


@dataclass(frozen=True, slots=True)
class CollectionState:
    """The state of a collection after a commit.

    Attributes:
        sequence: the number of the commit.
        live: the number of documents.
        truncated: how many of them the embedder truncated.
        max_norm: the largest norm of a vector that was ever stored.
        row_security: whether policies of row-level security apply to this user.
    """

    manifest: Manifest
    sequence: int
    live: int
    truncated: int
    max_norm: float
    row_security: bool


def open_collection(
    connections: Connections, settings: CollectionSettings, *, create: bool
) -> tuple[Collection, Manifest]:
    """Find a collection, or create it.

    Raises:
        CollectionNotFoundError: it does not exist and may not be created.
        MetricMismatchError, ConfigError: settings other than the collection's.
        ManifestError: the tables are of another program, of a newer version, or of an older one and may only be read.
        EngineError: the database cannot be used.
    """
    _upgrade(connections)
    found = _found(connections, create=create)
    if found is None:
        _check_tables(connections, None, settings.partition)
        found = connections.write(lambda connection: _create(connection, connections.location, settings))
    collection, manifest = found
    _check_tables(connections, collection, manifest.partition)
    settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
    return collection, manifest


def check_collection(connections: Connections, settings: CollectionSettings, *, create: bool) -> None:
    """Raise the same errors as `open_collection`, and change nothing."""
    found = _found(connections, create=create, check=True)
    if found is not None:
        settings.check_pinned(found[1].space, found[1].partition, found[1].bm25)
    _check_tables(connections, *((None, settings.partition) if found is None else (found[0], found[1].partition)))


def find_collection(connection: Connection, location: PostgresLocation) -> tuple[Collection, Manifest] | None:
    """Return a collection with its manifest; None if there is none."""
    check_database(connection, location)
    if not read_version(connection, location):
        return None
    check_extension(connection, location)
    row = connection.execute(
        "SELECT number, manifest, obj_description(to_regclass(%s || number), 'pg_class') "
        f"FROM {location.schema}.collections WHERE name = %s",
        (f"{location.schema}.documents_", location.collection),
    ).fetchone()
    if row is None:
        return None
    manifest = _manifest(row[1], location.shown)
    if row[2] not in (None, manifest.uid):
        raise ManifestError(
            f"{location.shown}: the manifest is that of another collection, so the vectors may mean something else. "
            "Restore the row in the table collections",
            location=location.shown,
        )
    return Collection(location.schema, int(row[0]), manifest.uid, location.shown), manifest


def read_state(connection: Connection, collection: Collection, *, lock: bool = False) -> CollectionState:
    """Return the collection's state.

    Args:
        lock: keep other writers out until the transaction ends.

    Raises:
        EngineError: the collection is gone, or another one has its name now.
    """
    row = connection.execute(
        "SELECT manifest, sequence, live, truncated, max_norm, coalesce(row_security_active(to_regclass(%s)), false) "
        f"FROM {collection.collections} WHERE number = %s{' FOR NO KEY UPDATE' if lock else ''}",
        (collection.documents, collection.number),
    ).fetchone()
    if row is None:
        raise refusals.deleted(collection.shown)
    manifest = _manifest(row[0], collection.shown)
    if manifest.uid != collection.uid:
        raise refusals.deleted(collection.shown)
    return CollectionState(manifest, *row[1:])


def leaf_tables(connection: Connection, collection: Collection) -> list[str]:
    """Return the tables that hold the documents: one, or several by the hash of the partition, in order."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_partition_tree(%s::regclass) AS t JOIN pg_class AS c ON c.oid = t.relid "
        "WHERE t.isleaf AND t.level > 0 ORDER BY length(c.relname), c.relname",
        (collection.documents,),
    ).fetchall()
    return [f"{collection.schema}.{name}" for (name,) in rows] or [collection.documents]


def build_lock(connection: Connection, collection: Collection) -> bool:
    """Keep others from building indexes while the connection is open. False if someone else does."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_BUILD_LOCK, collection.number)).fetchone()
    return row is not None and bool(row[0])


def _upgrade(connections: Connections) -> None:
    """Bring tables of an older version to the current one. Raises ManifestError if they may only be read."""
    location = connections.location
    version = connections.read(lambda connection: read_version(connection, location))
    if not version or version == len(MIGRATIONS):
        return
    if connections.read_only:
        raise ManifestError(
            f"{location.shown} has format {version}, and this theodolite reads {len(MIGRATIONS)}. Open it once without "
            "read_only=True to upgrade it",
            location=location.shown,
            format=version,
        )
    connections.write(lambda connection: migrate(connection, location))


def _found(connections: Connections, *, create: bool, check: bool = False) -> tuple[Collection, Manifest] | None:
    """Return a collection; None if it may be created. `check` says that the connections are read-only for a check."""
    location = connections.location
    found = connections.read(lambda connection: find_collection(connection, location))
    if found is None and (not create or (connections.read_only and not check)):
        similar = connections.read(lambda connection: _similar(connection, location))
        hint = None if similar is None else repr(similar)
        raise refusals.not_found(location.shown, hint, location=location.shown, similar=similar)
    return found


def _check_tables(connections: Connections, collection: Collection | None, partition: str | None) -> None:
    """Raise ConfigError if the number of tables in the URL is not the collection's, or is not possible."""
    wanted, shown = connections.location.tables, connections.location.shown
    if wanted is None:
        return
    if partition is None:
        raise ConfigError(f"{shown}: tables={wanted} spreads documents by partition. Name the field with partition=")
    if collection is not None:
        tables = len(connections.read(lambda connection: leaf_tables(connection, collection)))
        if tables != wanted:
            raise ConfigError(
                f"{shown} has {'one table' if tables == 1 else f'{tables} tables'} of documents, not {wanted}: the "
                "number is fixed when a collection is created. Leave tables= out, or copy the collection into a new one"
            )


def _create(
    connection: Connection, location: PostgresLocation, settings: CollectionSettings
) -> tuple[Collection, Manifest]:
    migrate(connection, location)
    check_extension(connection, location)
    manifest = new_manifest(settings)
    row = connection.execute(
        f"INSERT INTO {location.schema}.collections (name, manifest) VALUES (%s, %s) "
        "ON CONFLICT (name) DO NOTHING RETURNING number",
        (location.collection, manifest.to_json()),
    ).fetchone()
    if row is None:  # another process has created it meanwhile
        found = find_collection(connection, location)
        if found is None:
            raise refusals.deleted(location.shown)
        return found
    collection = Collection(location.schema, int(row[0]), manifest.uid, location.shown)
    partitioned = manifest.partition is not None
    create_documents(
        connection,
        location.schema,
        collection.number,
        manifest.uid,
        partitioned=partitioned,
        tables=location.tables,
    )
    return collection, manifest


def _manifest(text: str, shown: str) -> Manifest:
    manifest = Manifest.from_json(text)
    if not manifest.is_possible():
        raise ManifestError(f"{shown}: the collection's manifest is damaged: {text!r:.500}", location=shown)
    return manifest


def _similar(connection: Connection, location: PostgresLocation) -> str | None:
    """Return the name of a collection that was probably meant."""
    if not read_version(connection, location):
        return None
    rows = connection.execute(f"SELECT name FROM {location.schema}.collections LIMIT 1000")
    return closest(location.collection, [str(name) for (name,) in rows])
