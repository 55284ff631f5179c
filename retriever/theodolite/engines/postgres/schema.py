"""The tables of a schema, and the tables of one collection.

    schema_version   one row: the version of these tables
    collections      one row for each collection: its manifest, its counters
    notes            small texts by name (see `protocols.Notes`)
    documents_N      the documents of collection number N
    documents_N_part_P, only with `&tables=` in the URL: the documents whose partition has the hash P

Numbers, not names, make table names, so a collection may have any name.
"""

from theodolite.engines.postgres.connections import Connection, find_extension
from theodolite.engines.postgres.location import PostgresLocation
from theodolite.engines.postgres.term_tokens import TERMS
from theodolite.errors import ConfigError, EngineError, ManifestError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE {schema}.collections (
            number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text COLLATE "C" NOT NULL UNIQUE,
            manifest text NOT NULL,
            sequence bigint NOT NULL DEFAULT 0,
            live bigint NOT NULL DEFAULT 0,
            truncated bigint NOT NULL DEFAULT 0,
            max_norm double precision NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE {schema}.notes (
            collection integer NOT NULL REFERENCES {schema}.collections ON DELETE CASCADE,
            name text COLLATE "C" NOT NULL,
            value text NOT NULL,
            PRIMARY KEY (collection, name)
        )""",
    ),
    (  # 2: terms are not stored beside the words that they are taken from
        """DO $$
        DECLARE documents text;
        BEGIN
            FOR documents IN SELECT 'documents_' || number FROM {schema}.collections LOOP
                EXECUTE format($sql$
                    UPDATE {schema}.%1$I SET words = words || (
                        SELECT string_agg(' ' || term || ' ', '') FROM unnest(terms) AS t(term) WHERE term ^@ E'\\x02'
                    ) WHERE EXISTS (SELECT FROM unnest(terms) AS t(term) WHERE term ^@ E'\\x02')
                $sql$, documents);
                EXECUTE format('ALTER TABLE {schema}.%I DROP COLUMN terms', documents);
                EXECUTE format(
                    $sql$CREATE INDEX %I ON {schema}.%I USING gin ((string_to_array(btrim(words), '  ')))$sql$,
                    documents || '_terms', documents
                );
            END LOOP;
        END $$""",
    ),
)
"""The statements that lead from each version to the next. Never change one that was released."""

OLDEST_PGVECTOR = (0, 8)
"""0.8 brought iterative scans: without them, an approximate search under a filter ends short."""

_VERSION = "CREATE TABLE {schema}.schema_version (version integer NOT NULL)"
_LOCK = 0x7E0D0117E  # any number, the same in every program that creates tables


def read_version(connection: Connection, location: PostgresLocation) -> int:
    """Return the version of a schema's tables; 0 if there are none.

    Raises:
        ManifestError: the tables are of a newer version, or of another program.
    """
    schema = location.schema
    found = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL",
        (f"{schema}.schema_version", f"{schema}.collections"),
    ).fetchone()
    ours, other = found or (False, False)
    if not ours:
        if other:
            raise ManifestError(
                f"{location.shown}: the schema {schema} holds tables of another program; nothing was changed. Name "
                "another schema in the URL: &schema=name",
                location=location.shown,
            )
        return 0
    row = connection.execute(f"SELECT version FROM {schema}.schema_version").fetchone()
    version = int(row[0]) if row else 0
    if version > len(MIGRATIONS):
        raise ManifestError(
            f"{location.shown} has format {version}; this theodolite reads up to {len(MIGRATIONS)}. Upgrade theodolite",
            location=location.shown,
            format=version,
        )
    return version


def migrate(connection: Connection, location: PostgresLocation) -> None:
    """Bring a schema's tables to the current version, within a write transaction. Creates them, and the extension."""
    schema = location.schema
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    version = read_version(connection, location)
    if version == len(MIGRATIONS):
        return
    if not version:
        _create_extension(connection, location)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute(_VERSION.format(schema=schema))
        connection.execute(f"INSERT INTO {schema}.schema_version VALUES (0)")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement.format(schema=schema).encode())
    connection.execute(f"UPDATE {schema}.schema_version SET version = %s", (len(MIGRATIONS),))


def create_documents(
    connection: Connection, schema: str, number: int, uid: str, *, partitioned: bool, tables: int | None
) -> None:
    """Create the table of a new collection's documents. The first batch gives `embedding` its dimension.

    The table's comment names the collection, so that it cannot be read by another one's manifest.

    With `tables`, it is partitioned by hash, and its indexes are those of its partitions.

    A key names one version of a document: a replaced document gets a new one, so nothing cached by key grows stale.
    """
    table = f"{schema}.documents_{number}"
    statements = [
        f"""CREATE TABLE {table} (
            key bigint GENERATED BY DEFAULT AS IDENTITY,
            partition text COLLATE "C" NOT NULL,
            id text COLLATE "C" NOT NULL,
            text text NOT NULL,
            metadata text NOT NULL,
            tokens text[] COLLATE "C" NOT NULL,
            fields jsonb NOT NULL,
            words text COLLATE "C" NOT NULL,
            length integer NOT NULL,
            truncated boolean NOT NULL,
            embedding vector NOT NULL,
            digest bytea NOT NULL,
            PRIMARY KEY (partition, id)
        ){"" if tables is None else " PARTITION BY HASH (partition)"}""",
        # A filter that passes many documents reads these two of each: texts are moved out of a long row before them.
        f"ALTER TABLE {table} ALTER COLUMN tokens SET STORAGE MAIN, ALTER COLUMN fields SET STORAGE MAIN",
        *(
            f"CREATE TABLE {table}_part_{part} PARTITION OF {table} "
            f"FOR VALUES WITH (MODULUS {tables}, REMAINDER {part})"
            for part in range(tables or 0)
        ),
        f"COMMENT ON TABLE {table} IS '{uid}'",  # of hexadecimal digits
        # A unique index over several tables would have to begin with the partition.
        f"CREATE {'UNIQUE ' if tables is None else ''}INDEX documents_{number}_key ON {table} (key)",
        f"CREATE INDEX documents_{number}_tokens ON {table} USING gin (tokens)",
        f"CREATE INDEX documents_{number}_terms ON {table} USING gin (({TERMS}))",
    ]
    if partitioned:  # documents are listed by id, over all partitions
        statements.append(f"CREATE INDEX documents_{number}_id ON {table} (id, partition)")
    for statement in statements:
        connection.execute(statement.encode())


def check_extension(connection: Connection, location: PostgresLocation) -> str:
    """Return the version of pgvector. Raises ConfigError if it is missing or too old."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        raise ConfigError(
            f"{location.shown}: the database has no extension vector. Run CREATE EXTENSION vector as a user who may",
            location=location.shown,
        )
    version = str(row[0])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_PGVECTOR:
        raise ConfigError(
            f"{location.shown}: pgvector {version} is too old; this engine needs 0.8 or newer. Update the package, and "
            "run ALTER EXTENSION vector UPDATE",
            location=location.shown,
            version=version,
        )
    return version


def check_database(connection: Connection, location: PostgresLocation) -> None:
    """Raise EngineError if the database cannot store every text, or is too old."""
    if connection.info.server_version < 13_00_00:
        raise EngineError(f"{location.shown}: PostgreSQL 13 or newer is needed", location=location.shown)
    row = connection.execute("SELECT current_setting('server_encoding')").fetchone()
    if row is None or row[0] != "UTF8":
        raise EngineError(
            f"{location.shown}: the database's encoding is {row and row[0]}, which cannot hold every text. Create a "
            "database with ENCODING 'UTF8'",
            location=location.shown,
        )


def _create_extension(connection: Connection, location: PostgresLocation) -> None:
    found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if found is None:
        raise ConfigError(
            f"{location.shown}: the server has no pgvector. Install it there, as its documentation describes",
            location=location.shown,
        )
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    find_extension(connection)
