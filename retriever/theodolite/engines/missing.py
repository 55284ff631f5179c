"""MissingCollection: stands in for a collection that does not exist yet, and behaves like an empty one."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.errors import (
    CollectionNotFoundError,
    CollectionNotFoundWarning,
    DocumentError,
    EngineError,
    warn_caller,
)
from theodolite.filters import Filter
from theodolite.maintenance_reports import Compaction, Verification
from theodolite.protocols import Answer, Request, Scope
from theodolite.scopes import key_within, within
from theodolite.settings import CollectionSettings
from theodolite.types import Document, Duplicate, Field, Space, Trace, Vectors


class MissingCollection:
    """An engine without a collection (see `protocols.Engine`), for any location.

    Reads find nothing; the first one warns that there is no collection. Nothing is written: `Session` opens the
    real engine before the first write, and as soon as another program has created the collection.

    Attributes:
        folder: where the collection will be; None if that is not a local folder.
        embedder: None, because no embedder is recorded.
    """

    embedder = None

    def __init__(self, location: Any, settings: CollectionSettings, error: CollectionNotFoundError) -> None:
        """
        Args:
            settings: the settings that the collection will be created with.
            error: the error of the real engine for the location.
        """
        self.folder = location.expanduser().absolute() if isinstance(location, Path) else None
        self._location = location
        self._settings = settings
        self._error = error
        self._warned = False
        self._closed = False

    @property
    def space(self) -> Space:
        return self._settings.space

    @property
    def partition(self) -> str | None:
        return self._settings.partition

    @property
    def bm25(self) -> BM25:
        return self._settings.bm25

    def notice(self) -> str:
        """Return a sentence for those who read the collection; the first time, also issue it as a warning."""
        self._check_open()
        message = f"{self._error.message.rstrip('.')}. Nothing is found until documents are added"
        if not self._warned:
            self._warned = True
            warn_caller(message, CollectionNotFoundWarning)
        return message

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> NoReturn:
        self.refuse()

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        self._check_open()
        key_within(scope, self.partition)
        if changes:
            raise DocumentError(
                f"none of the {len(changes)} documents to update exists: {self._error.message}", ids=list(changes)
            )

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        self._check_open()
        if not isinstance(which, Filter):
            key_within(scope, self.partition)
        return 0

    def clear(self, *, scope: Scope | None = None) -> None:
        self._check_open()

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        key_within(scope, self.partition)
        self.notice()
        return []

    def documents(
        self, where: Filter | None = None, *, after: str = "", limit: int | None = None, scope: Scope | None = None
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        within(scope, self.partition, where)
        self.notice()
        return iter(())

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        within(scope, self.partition, where)
        self.notice()
        return 0

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        self.notice()
        return {}

    def search(self, request: Request) -> list[Answer]:
        trace = Trace("empty", 0, 0, 0, mode=request.mode, notes=(self.notice(),))
        return [Answer([], [], trace)] * len(request.vectors)

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        self.notice()
        return iter(())

    def read_note(self, name: str) -> None:
        self._check_open()

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Raise EngineError. Guards and rules for versions keep their values until the collection can store them."""
        raise EngineError(self._error.message)

    def note_names(self) -> list[str]:
        self._check_open()
        return []

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> NoReturn:
        self.refuse()

    def warm(self, fields: Sequence[str] = ()) -> None:
        self._check_open()

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        self.refuse()

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        self.refuse()

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        self.refuse()

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        self.refuse()

    def info(self) -> dict[str, Any]:
        self._check_open()
        return {
            "location": str(self._location),
            "exists": False,
            "read_only": False,
            "documents": 0,
            "truncated": 0,
            "bytes": 0,
        }

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the collection is closed")

    def refuse(self) -> NoReturn:
        """Raise CollectionNotFoundError."""
        self._check_open()
        raise CollectionNotFoundError(self._error.message, **self._error.details)
