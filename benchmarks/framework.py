"""The parts of the vector store benchmark that depend on the framework: documents, stores, and queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.stores_data import Known, Rule
from theodolite.types import Vectors

Asking = Callable[[Any, list[list[float]], int, dict[str, Any]], Callable[[int], Any]]
"""A store, the questions' vectors, k and a filter's keywords: what finds the k best for the question of a number."""


def _nothing(store: Any, folder: Path) -> None:
    """Do nothing: the store persists itself."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A store: how to open it, how to persist it, its keywords for a filter on so many rows, and its package."""

    open: Callable[[Path, Any, int], Any]  # folder, embeddings, dimension; the store has the contents of the folder
    package: str
    filter: Callable[[Rule, int], dict[str, Any]] | None  # None: no filters
    save: Callable[[Any, Path], None] = _nothing
    shares: str | None = None  # the same store as another peer, searched in another way; only with filters

    @property
    def version(self) -> str:
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:  # run from its sources
            return self.package


@dataclass(frozen=True, slots=True)
class Framework:
    """How a framework makes documents, and adds and searches them."""

    script: str  # which children run
    noun: str
    peers: Mapping[str, Peer]
    slow: tuple[str, ...]  # only the smaller sizes
    document: Callable[[int, str, dict[str, Any]], Any]  # row, text, metadata
    embedding: Callable[[Known], Any]
    batch: Callable[[list[Any], Vectors], list[Any]]  # documents as they are added, with their vectors
    add: Callable[[Any, list[Any]], None]
    ways: Mapping[str, Asking]  # without a filter; the first also takes filters
    found: Callable[[Any], list[Any]]  # the documents of an answer
    kb: Callable[[Any], Any]  # the Retriever below
    share: tuple[float, float]  # milliseconds allowed for our adapter: per search, and per document found

    @property
    def main_way(self) -> Asking:
        return next(iter(self.ways.values()))
