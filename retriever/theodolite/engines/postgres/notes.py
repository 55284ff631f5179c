"""Notes: small texts by name, beside the documents (see `protocols.Notes`)."""

from theodolite.engines.postgres.catalog import Collection
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.remote.escaping import escape, unescape


class NoteStore:
    """The notes of one collection. Writing one waits for no writer of documents."""

    def __init__(self, connections: Connections, collection: Collection) -> None:
        self._connections = connections
        self._collection = collection

    def read(self, name: str) -> str | None:
        row = self._connections.read(
            lambda connection: connection.execute(
                f"SELECT value FROM {self._collection.notes} WHERE (collection, name) = (%s, %s)",
                (self._collection.number, escape(name)),
            ).fetchone()
        )
        return None if row is None else unescape(row[0])

    def names(self) -> list[str]:
        rows = self._connections.read(
            lambda connection: connection.execute(
                f"SELECT name FROM {self._collection.notes} WHERE collection = %s", (self._collection.number,)
            ).fetchall()
        )
        return [unescape(name) for (name,) in rows]

    def write(self, name: str, value: str | None, *, replace: bool, wait: bool) -> None:
        key = self._collection.number, escape(name)

        def change(connection: Connection) -> None:
            if not wait:
                connection.execute("SELECT set_config('lock_timeout', '1ms', true)")
            if value is None:
                connection.execute(f"DELETE FROM {self._collection.notes} WHERE (collection, name) = (%s, %s)", key)
                return
            action = "UPDATE SET value = excluded.value" if replace else "NOTHING"
            connection.execute(
                f"INSERT INTO {self._collection.notes} VALUES (%s, %s, %s) ON CONFLICT (collection, name) DO {action}",
                (*key, escape(value)),
            )

        self._connections.write(change)
