"""Version rules on a remote store: computed here from the fields of the scope's documents, pushed down as keys."""

import threading
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from theodolite.columns import Column
from theodolite.engines.remote.source import Eligible, Keys, Source, State
from theodolite.filters import MISSING
from theodolite.forking import register_at_fork
from theodolite.protocols import Request, Scope
from theodolite.ranking.version_state import VersionState, VersionStateCache
from theodolite.ranking.versions import Rule, Versions, fields
from theodolite.types import Version

_MAX_TABLES = 4  # scopes and commits whose fields are kept


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The fields of the documents of one scope, as columns.

    Attributes:
        keys: (rows,) ascending.
        columns: columns by field.
        states: computes and keeps intervals.
    """

    keys: Keys
    columns: dict[str, Column]
    states: VersionStateCache


@dataclass(frozen=True, slots=True, eq=False)
class RemoteVersionState:
    """The rules applied to one search.

    Attributes:
        eligible: the documents that the search may return.
        count: the number of these documents; None if the store has to count.
        superseded: how many documents of the scope the rules leave out.
    """

    eligible: Eligible
    count: int | None
    superseded: int
    _keys: Keys
    _state: VersionState

    def version(self, key: int) -> Version | None:
        """Return the version of a document that was found; None if it is simply current."""
        return self._state.version(int(np.searchsorted(self._keys, key)))


class RemoteVersions:
    """Evaluates version rules, and keeps the fields of recent scopes in memory. Thread-safe."""

    def __init__(self, partition: str | None) -> None:
        self._partition = partition
        self._tables: dict[Hashable, _Table] = {}
        self._lock = threading.Lock()
        register_at_fork(self)

    def at(self, source: Source, state: State, request: Request, versions: Versions) -> RemoteVersionState:
        """Apply the rules of a request.

        Args:
            state: the state of the source, in the scope of the request.
        """
        scope = request.scope
        table = self._table(source, state, scope, versions.rules)
        where, substitutes = None, versions.superseded == "substitute" and request.where is not None
        if substitutes:
            where = np.isin(table.keys, source.keys(Eligible(scope, request.where)))
        live = np.ones(len(table.keys), np.bool_)
        result = table.states.at(versions, 0, table.columns.__getitem__, lambda _: live, live, None, None, where)
        inside = int(np.count_nonzero(result.mask))
        included = excluded = None
        if inside <= len(live) // 2:
            included = table.keys[result.mask]
        elif inside < len(live):
            excluded = table.keys[~result.mask]
        # A substitute need not pass the filter, so the keys say everything.
        tree = None if substitutes else request.where
        eligible = Eligible(scope, tree, included, excluded)
        return RemoteVersionState(eligible, inside if tree is None else None, result.superseded, table.keys, result)

    def _table(self, source: Source, state: State, scope: Scope | None, rules: tuple[Rule, ...]) -> _Table:
        names = fields(rules)
        if self._partition is not None and (scope is None or scope.partition is None):
            names = tuple(dict.fromkeys((*names, self._partition)))
        key = (state.version, repr(scope), names)  # not the filter itself: 1 and True are equal to Python
        if state.version is not None:
            with self._lock:
                table = self._tables.get(key)
            if table is not None:
                return table
        table = _read_table(source, scope, names, self._partition if self._partition in names else None)
        if state.version is not None:
            with self._lock:
                self._tables[key] = table
                while len(self._tables) > _MAX_TABLES:
                    del self._tables[next(iter(self._tables))]
        return table


def _read_table(source: Source, scope: Scope | None, names: tuple[str, ...], partition: str | None) -> _Table:
    pages = list(source.scan(Eligible(scope), names))
    keys = np.concatenate([np.empty(0, np.int64), *(page.keys for page in pages)])
    order = np.argsort(keys)
    columns = {}
    for name in names:
        values = [value for page in pages for value in page.values.get(name, [MISSING] * len(page.keys))]
        columns[name] = Column.of(name, [values[place] for place in order.tolist()])
    return _Table(keys[order], columns, VersionStateCache(partition))
