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
from theodolite.errors import ManifestError, closest
from theodolite.settings import CollectionSettings, Manifest, new_manifest


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
        found = connections.write(lambda connection: _create(connection, connections.location, settings))
    collection, manifest = found
    settings.check_pinned(manifest.space, manifest.partition)
    return collection, manifest


def check_collection(connections: Connections, settings: CollectionSettings, *, create: bool) -> None:
    """Raise the same errors as `open_collection`, and change nothing."""
    found = _found(connections, create=create, check=True)
    if found is not None:
        settings.check_pinned(found[1].space, found[1].partition)


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
    create_documents(connection, location.schema, collection.number, manifest.uid, partitioned=partitioned)
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
