"""A record manager for `index()`. The collection itself answers `exists`, so records and documents cannot diverge."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import RecordManager
from langchain_core.runnables import run_in_executor

from langchain_theodolite.documents import from_core
from langchain_theodolite.ledger import FILE, Ledger
from langchain_theodolite.searching import collection
from theodolite import Document as Passage
from theodolite import InputError
from theodolite.integration import ensure_created

_SAMPLE = 100  # documents looked at to find the field that holds the source


class TheodoliteRecordManager(RecordManager):
    """Records of the documents that `index()` has written to a collection: when, and from which source.

    A document exists if it is in the collection, regardless of its record. Times and sources are stored in
    `records.sqlite` in the collection's folder. For a collection in memory they live as long as the manager.

        manager = TheodoliteRecordManager(store, "handbook")
        index(documents, manager, store, cleanup="incremental", source_id_key="source", key_encoder="blake2b")

    `index()` writes documents first and records them next. `exists` therefore notes the missing keys as about to be
    written, so that documents written just before a crash are still recognized. The next `index()` records them, or
    removes them if the source no longer has them. Documents that were added by other means, and that `index()` never
    receives, are left alone.
    """

    def __init__(
        self, store: Any, namespace: str, *, source_id_key: str | Callable[[Document], Any] | None = None
    ) -> None:
        """
        Args:
            store: the vector store, or its `theodolite.Retriever`. In a scope of one partition the records belong to
                that partition.
            namespace: a name for documents that are indexed together. `cleanup="full"` removes those that are not
                passed again.
            source_id_key: the same value as for `index()`. Required if it is a function there; otherwise the field is
                detected. It gives the source of documents left by a crash.

        Raises:
            InputError: the store is of another kind, or cannot be written to. EngineError: the records cannot be read
                or written, or the folder is no longer the one that was opened. ConfigError: a newer version wrote the
                records.
        """
        super().__init__(namespace)
        kb = collection(store, type(self).__name__)
        if not kb.writable:  # a filtered scope would treat documents outside it as deleted, and drop their records
            raise InputError(
                "this collection or scope is read-only: index() needs a whole collection, or a scope of one partition"
            )
        self._kb, self._source_id_key = kb, source_id_key
        space = namespace if kb.partition is None else json.dumps([namespace, kb.partition])
        ensure_created(kb)
        # The folder's path locates the records. An empty write proves that the folder still belongs to the collection.
        kb.delete([])
        folder = kb.location
        self._ledger = Ledger(None if folder is None else folder / FILE, space)

    def create_schema(self) -> None:
        """Create the tables if they do not exist. The constructor already does this."""
        self._ledger.create()

    def get_time(self) -> float:
        """Return SQLite's clock, in seconds since 1970. Times strictly increase across all processes."""
        return self._ledger.now()

    def update(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Record documents as written now.

        Args:
            group_ids: the sources. Without them, recorded sources stay.
            time_at_least: a time from `get_time`. The current time must not be earlier.

        Raises:
            ValueError: the numbers of sources and keys differ, or `time_at_least` is in the future.
            EngineError: the records cannot be written. Nothing is recorded.
        """
        if group_ids is not None and len(group_ids) != len(keys):
            raise ValueError(f"there are {len(keys)} keys and {len(group_ids)} group_ids; each key needs one")
        self._ledger.record(keys, group_ids, time_at_least)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Return whether each document is in the collection. Missing ones are noted as about to be written."""
        live = self._live(keys)
        absent = [key for key in keys if key not in live]
        if absent:
            self._ledger.announce(absent)
        return [key in live for key in keys]

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Return the keys of documents that are recorded and still in the collection.

        Args:
            before, after: only documents written before or after that time.
            group_ids: only documents from these sources.
            limit: the maximum number of keys.
        """
        found: list[str] = []
        for page in self._ledger.pages(before, after, group_ids):
            found += self._known(page)
            if limit is not None and len(found) >= limit:
                return found[:limit]
        if group_ids is not None:
            found += self._left_behind(before, after, group_ids)
        return found[:limit]

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete the records of documents. The documents stay in the collection."""
        self._ledger.delete(keys)

    async def acreate_schema(self) -> None:
        """Run `create_schema` in a thread."""
        await run_in_executor(None, self.create_schema)

    async def aget_time(self) -> float:
        """Run `get_time` in a thread."""
        return await run_in_executor(None, self.get_time)

    async def aupdate(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Run `update` in a thread."""
        await run_in_executor(None, self.update, keys, group_ids=group_ids, time_at_least=time_at_least)

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """Run `exists` in a thread."""
        return await run_in_executor(None, self.exists, keys)

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Run `list_keys` in a thread."""
        return await run_in_executor(None, self.list_keys, before=before, after=after, group_ids=group_ids, limit=limit)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """Run `delete_keys` in a thread."""
        await run_in_executor(None, self.delete_keys, keys)

    def _live(self, keys: Sequence[str]) -> dict[str, Passage]:
        """Return the documents that are in the collection."""
        return {document.id: document for document in self._kb.get(keys)}

    def _known(self, page: list[str]) -> dict[str, Passage]:
        """Return the documents of a page that are in the collection, oldest first. Delete old records of the others."""
        live = self._live(page)
        self._ledger.delete([key for key in page if key not in live], old=True)
        return live

    def _left_behind(self, before: float | None, after: float | None, sources: Sequence[str]) -> list[str]:
        """Return the keys of documents written from these sources but never recorded."""
        found: list[str] = []
        source_of: Callable[[Passage], Any] | None = None
        for page in self._ledger.pages(before, after, pending=True):
            if live := self._known(page):
                source_of = source_of or self._source_of(sources)
                found += [key for key, document in live.items() if source_of(document) in sources]
        return found

    def _source_of(self, sources: Sequence[str]) -> Callable[[Passage], Any]:
        """Return a function that gives a document's source: the given one, or one that reads the detected field."""
        given = self._source_id_key
        if callable(given):
            return lambda document: given(from_core(document))
        fields = None if given is None else {given}
        if fields is None:
            recorded = self._ledger.latest(sources, _SAMPLE)
            for key, document in self._live(list(recorded)).items():
                holding = {name for name, value in document.metadata.items() if value == recorded[key]}
                fields = holding if fields is None else fields & holding

        def source_of(document: Passage) -> Any:
            # If several fields have held the source so far and now differ, leave the document alone.
            values = [document.metadata.get(name) for name in fields or ()]
            return values[0] if values and all(value == values[0] for value in values) else None

        return source_of
