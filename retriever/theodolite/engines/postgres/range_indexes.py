"""Indexes for range filters on the fields that the URL names: `&indexed=year&indexed=date`.

Each field has three indexes, one for each kind of scalar that a range can compare (see `field_tokens`). They are not
partial, because the planner ignores the statistics of partial indexes.

The comment of an index is the name of its scalar, so the indexes themselves record which fields were declared. DDL has
no parameters: names of fields are quoted by the driver, and names of indexes are numbers of ours.
"""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from theodolite.engines.postgres.catalog import Collection, build_lock, leaf_tables
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.field_tokens import SORT_KEYS, scalar_key
from theodolite.engines.remote.escaping import unescape


class _RangeIndex(NamedTuple):
    """An index in the database. `key` is the name of its scalar; a build that was interrupted is not `valid`."""

    name: str
    table: str
    key: str
    valid: bool


def indexed_fields(connection: Connection, collection: Collection) -> list[str]:
    """Return the fields that have indexes for ranges, sorted."""
    found = _indexes(connection, collection)
    return sorted({unescape(index.key.partition(":")[2]) for index in found if index.valid})


def declare_fields(connections: Connections, collection: Collection, fields: Sequence[str]) -> list[str]:
    """Build the missing indexes while others read and write, and drop those of other fields. Return the new fields.

    Does nothing if another process is building an index: searches are only slower without, and the next one that opens
    the collection tries again.
    """
    connections.check_writable()
    names = {scalar_key(kind, field): field for field in fields for kind in SORT_KEYS}
    tables = connections.read(lambda connection: leaf_tables(connection, collection))
    wanted = {(table, key) for table in tables for key in names}
    found = connections.read(lambda connection: _indexes(connection, collection))
    if len(found) == len(wanted) and {(index.table, index.key) for index in found if index.valid} == wanted:
        return []
    with connections.outside() as connection:
        if not build_lock(connection, collection):
            return []
        connection.execute("SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)")
        found = _indexes(connection, collection)
        for index in found:
            if not index.valid or index.key not in names:  # an interrupted build leaves an invalid one
                statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
                connection.execute(statement.format(sql.Identifier(collection.schema, index.name)))
        missing = wanted - {(index.table, index.key) for index in found if index.valid}
        for table, key in sorted(missing):
            _build(connection, collection, table, key)
        if missing:  # the planner knows the values of an expression only from statistics
            connection.execute(f"ANALYZE {collection.documents}".encode())
        return sorted({names[key] for _, key in missing})


def _build(connection: Connection, collection: Collection, table: str, key: str) -> None:
    name = f"documents_{collection.number}_range_{secrets.randbelow(10**15)}"
    quoted = sql.Literal(key)
    expression = sql.SQL(SORT_KEYS[key[0]]).format(quoted)
    statement = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} (({}))")
    connection.execute(statement.format(sql.Identifier(name), sql.Identifier(*table.split(".")), expression))
    index = sql.Identifier(collection.schema, name)
    connection.execute(sql.SQL("COMMENT ON INDEX {} IS {}").format(index, quoted))


def _indexes(connection: Connection, collection: Collection) -> list[_RangeIndex]:
    rows = connection.execute(
        "SELECT c.relname, t.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), i.indisvalid "
        "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid "
        "WHERE i.indrelid = ANY(%s::regclass[]) AND c.relname LIKE %s",
        (leaf_tables(connection, collection), f"documents\\_{collection.number}\\_range\\_%"),
    )
    return [
        _RangeIndex(name, f"{collection.schema}.{table}", key, valid and key != "")
        for name, table, key, valid in rows.fetchall()
    ]
