"""A record manager for `index()`: "exists" is asked of the collection, so records and documents cannot drift apart."""

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

_SAMPLE = 100  # documents looked at to find the field that holds the source


class TheodoliteRecordManager(RecordManager):
    """Which documents of a collection `index()` has written, when, and from which source.

    A document exists if it is in the collection, whatever is recorded of it. Times and sources are kept in
    `records.sqlite` in the collection's folder; of a collection in memory they live as long as the manager.

        manager = TheodoliteRecordManager(store, "handbook")
        index(documents, manager, store, cleanup="incremental", source_id_key="source", key_encoder="blake2b")

    `index()` writes documents first and records them next. So that what a crash leaves between the two is known as
    its own, `exists` notes the keys that are not there yet: they are about to be written. The next `index()` records
    them, or removes them where the source no longer has them. Documents that were added by other means, and which
    `index()` is never given, are left alone.
    """

    def __init__(
        self, store: Any, namespace: str, *, source_id_key: str | Callable[[Document], Any] | None = None
    ) -> None:
        """
        Args:
            store: the vector store, or the `theodolite.Retriever` it holds. In a scope of one partition the records
                are that partition's.
            namespace: a name for what is indexed together: `cleanup="full"` removes what is not given again.
            source_id_key: as for `index()`, and needed where that is a function; else the field is recognised. It
                tells the source of what a crash has left.

        Raises:
            InputError: the store is another's, or cannot be written to. EngineError: they cannot be read or written, or
                the folder is no longer the one that was opened. ConfigError: the records are of a newer version.
        """
        super().__init__(namespace)
        kb = collection(store, type(self).__name__)
        if not kb.writable:  # a part of it would take what lies outside for gone, and forget it
            raise InputError(
                "this collection is read-only, or a scope that is: index() needs all of it, or a partition"
            )
        self._kb, self._source_id_key = kb, source_id_key
        space = namespace if kb.partition is None else json.dumps([namespace, kb.partition])
        # The records are found by the folder's path. A write of nothing proves that it is still the collection's.
        kb.delete([])
        folder = kb.location
        self._ledger = Ledger(None if folder is None else folder / FILE, space)

    def create_schema(self) -> None:
        """Make the tables where there are none. The constructor has done so."""
        self._ledger.create()

    def get_time(self) -> float:
        """SQLite's clock, in seconds since 1970; never the same twice, never going back, whichever process asks."""
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
            group_ids: their sources; without them those that are recorded stay.
            time_at_least: a time of `get_time`, which now is not before.

        Raises:
            ValueError: another number of sources than of keys, or a time that is yet to come.
            EngineError: they cannot be written; none is.
        """
        if group_ids is not None and len(group_ids) != len(keys):
            raise ValueError(f"there are {len(keys)} keys and {len(group_ids)} group_ids; each key needs one")
        self._ledger.record(keys, group_ids, time_at_least)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Whether each document is in the collection. Those that are not are noted as about to be written."""
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
        """Documents that are recorded, and still in the collection.

        Args:
            before, after: written before that time, or after it.
            group_ids: from these sources.
            limit: at most so many.
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
        """Forget documents; those that are in the collection stay there."""
        self._ledger.delete(keys)

    async def acreate_schema(self) -> None:
        """`create_schema`, in a thread."""
        await run_in_executor(None, self.create_schema)

    async def aget_time(self) -> float:
        """`get_time`, in a thread."""
        return await run_in_executor(None, self.get_time)

    async def aupdate(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """`update`, in a thread."""
        await run_in_executor(None, self.update, keys, group_ids=group_ids, time_at_least=time_at_least)

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """`exists`, in a thread."""
        return await run_in_executor(None, self.exists, keys)

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """`list_keys`, in a thread."""
        return await run_in_executor(None, self.list_keys, before=before, after=after, group_ids=group_ids, limit=limit)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """`delete_keys`, in a thread."""
        await run_in_executor(None, self.delete_keys, keys)

    def _live(self, keys: Sequence[str]) -> dict[str, Passage]:
        """The documents that are in the collection."""
        return {document.id: document for document in self._kb.get(keys)}

    def _known(self, page: list[str]) -> dict[str, Passage]:
        """Those of a page that are in the collection, oldest first. Of the others nothing needs to be known."""
        live = self._live(page)
        self._ledger.delete([key for key in page if key not in live], old=True)
        return live

    def _left_behind(self, before: float | None, after: float | None, sources: Sequence[str]) -> list[str]:
        """What was written from these sources and never recorded."""
        found: list[str] = []
        source_of: Callable[[Passage], Any] | None = None
        for page in self._ledger.pages(before, after, pending=True):
            if live := self._known(page):
                source_of = source_of or self._source_of(sources)
                found += [key for key, document in live.items() if source_of(document) in sources]
        return found

    def _source_of(self, sources: Sequence[str]) -> Callable[[Passage], Any]:
        """What tells a document's source: as given, or the field that holds it wherever it is recorded."""
        told = self._source_id_key
        if callable(told):
            return lambda document: told(from_core(document))
        fields = None if told is None else {told}
        if fields is None:
            recorded = self._ledger.latest(sources, _SAMPLE)
            for key, document in self._live(list(recorded)).items():
                holding = {name for name, value in document.metadata.items() if value == recorded[key]}
                fields = holding if fields is None else fields & holding

        def source_of(document: Passage) -> Any:
            # Where several fields have held the source so far and differ now, the document is left alone.
            values = [document.metadata.get(name) for name in fields or ()]
            return values[0] if values and all(value == values[0] for value in values) else None

        return source_of
