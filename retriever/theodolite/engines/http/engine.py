"""The engine of a served collection: it sends each request to the server. See `protocols.Engine`."""

import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.engines import refusals
from theodolite.engines.http import wire
from theodolite.engines.http.connection import Connections
from theodolite.engines.records import Record, make_records
from theodolite.errors import ConfigError, InputError
from theodolite.filters import Filter
from theodolite.filters.tree import to_dict
from theodolite.protocols import Answer, Request, Scope
from theodolite.ranking.notes import NoteWarnings
from theodolite.scopes import partition_to_write
from theodolite.settings import CollectionSettings
from theodolite.types import Document, Field, Space, Vectors

_DEFAULTS = CollectionSettings()
_PAGE = 256  # documents of one request

Pair = tuple[Document, NDArray[np.float32]]


class HttpEngine:
    """An engine on a server. Create it with `open`.

    Texts are embedded on the server, unless the retriever has an embedder of its own (see `protocols.EmbedsTexts`).

    Attributes:
        folder: None, because the collection is not in a local folder.
        foreign: True: anyone with write access to the server may have written the collection.
    """

    folder = None
    foreign = True

    def __init__(self, connections: Connections, settings: CollectionSettings, *, read_only: bool) -> None:
        self._connections = connections
        self._read_only = read_only
        self._settings = settings
        self._notes = NoteWarnings()
        self._read_manifest()
        settings.check_pinned(self._space, self.partition, self.bm25)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a copy would share connections or have none."""
        raise refusals.not_copied()

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None,
        settings: CollectionSettings = _DEFAULTS,
        *,
        create: bool = True,
        read_only: bool = False,
        token: str | None = None,
        timeout: float = 60.0,
    ) -> "HttpEngine":
        """Open the collection at a URL. It must exist: a server creates none.

        Args:
            location: http://host:port/collection, or https.
            token: as the server's token file has it.
            timeout: maximum seconds to wait for the server.

        Raises:
            InputError: the URL cannot be used.
            CollectionNotFoundError: the server does not serve it, or not for this token.
            ConfigError: the token is missing or wrong, or settings contradict the collection's.
            EngineError: the server does not answer.
        """
        if not isinstance(location, str):
            raise InputError(f"{location!r} is not a URL; expected http://host:port/collection")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise ConfigError(f"timeout is {timeout!r}; expected seconds above 0")
        connections = Connections(location, token, float(timeout))
        try:
            return cls(connections, settings, read_only=read_only)
        except BaseException:
            connections.close()
            raise

    def _read_manifest(self) -> None:
        found = self._call("manifest")
        self.partition: str | None = found["partition"]
        self.bm25 = BM25(found["k1"], found["b"])
        self._space = wire.space_from_json(found["space"])
        self._can_write = bool(found["writable"])

    @property
    def space(self) -> Space:
        self._connections.check_open()
        if self._space.dimension is None:  # the first batch settles it, perhaps of another program
            self._read_manifest()
        return self._settings.applied_to(self._space)

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        records, places = self._records(documents, truncated, scope)
        self._write(
            "add",
            documents=[_as_json(record) for record in records],
            vectors=wire.pack(vectors[places]),
            space=wire.space_to_json(space),
            truncated=[place for place, record in enumerate(records) if record.truncated],
            scope=wire.scope_to_json(scope),
        )

    def add_texts(self, documents: Sequence[Document], *, scope: Scope | None = None) -> None:
        """Store documents in one commit; the server embeds their texts. See `protocols.EmbedsTexts`."""
        records, _ = self._records(documents, (), scope)
        self._write("add_texts", documents=[_as_json(record) for record in records], scope=wire.scope_to_json(scope))

    def _records(
        self, documents: Sequence[Document], truncated: Container[int], scope: Scope | None
    ) -> tuple[list[Record], list[int]]:
        """Check documents here, where their metadata may still be anything. See `make_records`."""
        self._connections.check_open()
        partition_to_write(scope, self.partition, ids=False)
        return make_records(documents, truncated, self.partition, scope)

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        written = [[name, wire.values_to_json(values)] for name, values in changes.items()]
        self._write("update", changes=written, replace=replace, scope=wire.scope_to_json(scope))

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        where = to_dict(which) if isinstance(which, Filter) else None
        ids = None if isinstance(which, Filter) else list(which)
        return int(self._write("delete", ids=ids, where=where, scope=wire.scope_to_json(scope)))

    def clear(self, *, scope: Scope | None = None) -> None:
        self._write("clear", scope=wire.scope_to_json(scope))

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Pair]:
        if not len(ids):
            self._connections.check_open()
        return wire.pairs_from_json(self._call("get", ids=list(ids), scope=wire.scope_to_json(scope)))

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[Pair]:
        filter_, within = None if where is None else to_dict(where), wire.scope_to_json(scope)
        left = math.inf if limit is None else limit
        while left > 0:
            size = int(min(_PAGE, left))
            page = self._call("documents", where=filter_, after=after, limit=size, scope=within)
            pairs = wire.pairs_from_json(page)
            yield from pairs
            left -= len(pairs)
            if len(pairs) < size:
                return
            after = pairs[-1][0].id

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        filter_ = None if where is None else to_dict(where)
        return int(self._call("count", where=filter_, scope=wire.scope_to_json(scope)))

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        filter_ = None if where is None else to_dict(where)
        found = self._call("fields", where=filter_, values=values, scope=wire.scope_to_json(scope))
        return {name: wire.field_from_json(field) for name, field in found}

    def search(self, request: Request) -> list[Answer]:
        if not len(request.vectors):
            self._connections.check_open()
            return []
        written = wire.request_to_json(request, type(self).__name__)
        found = self._call("search", request=written, scope=wire.scope_to_json(request.scope))
        answers = [wire.answer_from_json(each) for each in found]
        for answer in answers:
            if answer.trace.notes:
                self._notes.warn(answer.trace.notes)
        relevance, least = request.relevance, request.min_relevance
        if relevance is None or relevance.mapping is None or least is None:
            return answers
        # A function never decreases, so what it leaves out is the end of each list.
        return [_cut(answer, relevance(np.array(answer.similarities, np.float32)) >= least) for answer in answers]

    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self._call("info")
        read_only = self._read_only or not self._can_write or bool(info.get("read_only"))
        return {**info, "location": self._connections.location, "read_only": read_only}

    def read_note(self, name: str) -> str | None:
        """Return a note. See `protocols.Notes`."""
        note: str | None = self._call("read_note", name=name)
        return note

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Store a note. See `protocols.Notes`."""
        self._write("write_note", name=name, value=value, replace=replace, wait=wait)

    def note_names(self) -> list[str]:
        """Return the names of all notes. See `protocols.Notes`."""
        names: list[str] = self._call("note_names")
        return names

    def close(self) -> None:
        self._connections.close()

    def _call(self, method: str, **body: Any) -> Any:
        return self._connections.call(method, body)

    def _write(self, method: str, **body: Any) -> Any:
        self._connections.check_open()
        if self._read_only:
            raise refusals.read_only(self._connections.location)
        return self._call(method, **body)


def _as_json(record: Record) -> dict[str, Any]:
    return {"id": record.id, "text": record.text, "metadata": json.loads(record.metadata)}


def _cut(answer: Answer, relevant: NDArray[np.bool_]) -> Answer:
    n = int(np.count_nonzero(relevant))
    return replace(
        answer,
        documents=answer.documents[:n],
        similarities=answer.similarities[:n],
        scores=None if answer.scores is None else answer.scores[:n],
        versions=answer.versions[:n],
        vectors=None if answer.vectors is None else answer.vectors[:n],
    )
