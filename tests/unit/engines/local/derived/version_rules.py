"""Evaluate version rules on the columns of a collection."""

from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any

import numpy as np

from theodolite import Document, Retriever
from theodolite.columns.column import Column
from theodolite.engines.local.derived.snapshot import Snapshot, StaleSnapshot
from theodolite.filters import Filter, instant, parse
from theodolite.protocols import Scope
from theodolite.ranking.version_state import VersionStateCache
from theodolite.ranking.versions import Rule, SupersededPolicy, Versions
from theodolite.scopes import scope_filter
from theodolite.types import Mask, Version


@dataclass
class Found:
    """The versions of the documents that a search may return, by partition and id, and the number it hides."""

    versions: dict[tuple[str, str], Version | None]
    superseded: int

    @property
    def ids(self) -> set[str]:
        return {name for _, name in self.versions}

    def __getitem__(self, name: str) -> Version | None:
        (version,) = (version for (_, one), version in self.versions.items() if one == name)
        return version


class Looking:
    """Applies rules to a collection, with the caches of the engine."""

    def __init__(self, kb: Retriever) -> None:
        self._engine: Any = kb._engine
        self._version_states: dict[int, VersionStateCache] = {}

    def at(self, versions: Versions, scope: Scope | None = None, where: Any = None) -> Found:
        snapshots, partition = self._engine._snapshots, self._engine.partition

        def work(connection: Connection, snapshot: Snapshot) -> Found:
            version_states = self._version_states.setdefault(snapshot.state.generation, VersionStateCache(partition))
            rows, commit = snapshot.rows, snapshot.state.sequence

            def column(name: str) -> Column:
                found = snapshot.columns.column(name, connection, rows, commit)
                if found.read_at(rows) > commit:
                    raise StaleSnapshot
                return found

            inside = None if scope is None else snapshots.mask(snapshot, scope_filter(scope, partition), connection)

            def passing(tree: Filter) -> Mask:
                mask: Mask = snapshots.mask(snapshot, tree, connection)
                return mask

            passed = None if where is None else snapshots.mask(snapshot, parse(where), connection)
            within = None if scope is None else scope.where
            version_state = version_states.at(versions, commit, column, passing, snapshot.live, inside, within, passed)
            names = {
                row: (key, name) for row, key, name in connection.execute("SELECT row, partition, id FROM documents")
            }
            found = np.flatnonzero(version_state.mask).tolist()
            return Found({names[row]: version_state.version(row) for row in found}, version_state.superseded)

        found: Found = snapshots.read(work)
        return found


def moment(text: str) -> int:
    """Return an ISO-8601 string in microseconds since 1970."""
    found = instant(text)
    assert found is not None
    return found


def look(
    documents: dict[str, dict[str, Any]],
    *rules: Rule,
    as_of: str = "2026-01-01",
    where: Any = None,
    scope: Any = None,
    superseded: SupersededPolicy = "hide",
) -> Found:
    """Apply rules to a few documents, by id."""
    with Retriever.open(None) as kb:
        kb.add(
            [Document("text", metadata, name) for name, metadata in documents.items()],
            vectors=np.ones((len(documents), 2)),
        )
        confined = None if scope is None else Scope(None, parse(scope))
        return Looking(kb).at(Versions(rules, moment(as_of), superseded), confined, where)
