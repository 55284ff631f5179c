"""Indexes for range filters, on fields that the URL declares (`&indexed=year&indexed=date`) or that are often filtered.

Each field has three indexes, one for each kind of scalar that a range can compare (see `field_tokens`). They are not
partial, because the planner ignores the statistics of partial indexes.

The indexes themselves record what was declared: their comment is the name of their scalar, and `_range_` or `_often_`
in their name says why they exist. DDL has no parameters: names of fields are quoted by the driver, and names of indexes
are numbers of ours.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from psycopg import sql

from theodolite.engines.postgres.catalog import Collection, build_lock, leaf_tables
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.field_tokens import SORT_KEYS, scalar_key
from theodolite.engines.remote.escaping import unescape

Reason = Literal["declared", "often filtered"]
Indexed = Mapping[str, Reason]
"""Fields with indexes for ranges, and why they have them."""

_log = logging.getLogger(__name__)

_IN_NAMES: dict[Reason, str] = {"declared": "range", "often filtered": "often"}


class _RangeIndex(NamedTuple):
    """An index in the database. `key` is the name of its scalar; a build that was interrupted is not `valid`."""

    name: str
    table: str
    key: str
    valid: bool
    reason: Reason

    @property
    def field(self) -> str:
        return unescape(self.key.partition(":")[2])


def indexed_fields(connection: Connection, collection: Collection) -> dict[str, Reason]:
    """Return the fields that have indexes for ranges, sorted."""
    return _fields(_indexes(connection, collection))


def declare_fields(connections: Connections, collection: Collection, fields: Sequence[str]) -> list[str]:
    """Make these the declared fields. Return those that had no index.

    Without a field, indexes of often filtered fields are dropped as well.
    """

    def wanted(known: Indexed) -> Indexed:
        often = {field: reason for field, reason in known.items() if reason == "often filtered" and fields}
        return {**often, **dict.fromkeys(fields, "declared")}

    return set_indexes(connections, collection, wanted)


def set_indexes(connections: Connections, collection: Collection, choose: Callable[[Indexed], Indexed]) -> list[str]:
    """Build missing indexes while others read and write, and drop those not wanted. Return the fields that had none.

    Does nothing if another process is building an index: searches are only slower without, and the next one that opens
    the collection tries again.

    Args:
        choose: returns the wanted fields, given those that have indexes.
    """
    connections.check_writable()
    tables = connections.read(lambda connection: leaf_tables(connection, collection))
    found = connections.read(lambda connection: _indexes(connection, collection))
    if _as_wanted(found, _names(choose(_fields(found)), tables)):
        return []
    with connections.outside() as connection:
        if not build_lock(connection, collection):
            return []
        connection.execute("SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)")
        found = _indexes(connection, collection)
        known = _fields(found)
        wanted = choose(known)
        for field in sorted(known.keys() - wanted.keys()):
            _log.info("%s: dropping the indexes for ranges of %r (%s)", collection.shown, field, known[field])
        for field in sorted(wanted.keys() - known.keys()):
            _log.info("%s: building indexes for ranges of %r (%s)", collection.shown, field, wanted[field])
        names = _names(wanted, tables)
        for index in found:
            reason = names.get((index.table, index.key))
            if not index.valid or reason is None:  # an interrupted build leaves an invalid one
                statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
                connection.execute(statement.format(sql.Identifier(collection.schema, index.name)))
            elif index.reason != reason:
                statement = sql.SQL("ALTER INDEX {} RENAME TO {}")
                new = sql.Identifier(_new_name(collection, reason))
                connection.execute(statement.format(sql.Identifier(collection.schema, index.name), new))
        missing = names.keys() - {(index.table, index.key) for index in found if index.valid}
        for table, key in sorted(missing):
            _build(connection, collection, table, key, names[table, key])
        if missing:  # the planner knows the values of an expression only from statistics
            connection.execute(f"ANALYZE {collection.documents}".encode())
        return sorted({unescape(key.partition(":")[2]) for _, key in missing})


def _names(fields: Indexed, tables: Sequence[str]) -> dict[tuple[str, str], Reason]:
    """Return the tables and scalars that need an index."""
    return {
        (table, scalar_key(kind, field)): reason
        for field, reason in fields.items()
        for kind in SORT_KEYS
        for table in tables
    }


def _fields(found: Sequence[_RangeIndex]) -> dict[str, Reason]:
    return {index.field: index.reason for index in sorted(found, key=lambda index: index.field) if index.valid}


def _as_wanted(found: Sequence[_RangeIndex], names: Mapping[tuple[str, str], Reason]) -> bool:
    valid = {(index.table, index.key): index.reason for index in found if index.valid}
    return len(found) == len(valid) and valid == names


def _new_name(collection: Collection, reason: Reason) -> str:
    return f"documents_{collection.number}_{_IN_NAMES[reason]}_{secrets.randbelow(10**15)}"


def _build(connection: Connection, collection: Collection, table: str, key: str, reason: Reason) -> None:
    name = _new_name(collection, reason)
    quoted = sql.Literal(key)
    expression = sql.SQL(SORT_KEYS[key[0]]).format(quoted)
    statement = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} (({}))")
    connection.execute(statement.format(sql.Identifier(name), sql.Identifier(*table.split(".")), expression))
    index = sql.Identifier(collection.schema, name)
    connection.execute(sql.SQL("COMMENT ON INDEX {} IS {}").format(index, quoted))


def _indexes(connection: Connection, collection: Collection) -> list[_RangeIndex]:
    start = f"documents_{collection.number}"
    rows = connection.execute(
        "SELECT c.relname, t.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), i.indisvalid "
        "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid "
        "WHERE i.indrelid = ANY(%s::regclass[]) AND c.relname ~ %s",
        (leaf_tables(connection, collection), f"^{start}_(range|often)_"),
    )
    return [
        _RangeIndex(
            name,
            f"{collection.schema}.{table}",
            key,
            valid and key != "",
            "often filtered" if name.startswith(f"{start}_often_") else "declared",
        )
        for name, table, key, valid in rows.fetchall()
    ]
