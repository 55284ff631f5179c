"""Optional features of an engine: notes, maintenance, indexing, duplicates, samples, efforts, and parts of a search.

An engine offers a capability by having its methods. Code that needs one calls `require`, the only place that raises
UnsupportedError for a missing capability. Code that can do without one checks `isinstance(engine, Notes)`. An engine
that lacks a part of a search calls `refuse_parts` when it is asked to search.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import UnsupportedError
from theodolite.filters import Filter
from theodolite.maintenance_reports import Compaction, Verification
from theodolite.protocols.engine import Answer, Engine, Request, Scope
from theodolite.types import Document, Duplicate, Vectors

C = TypeVar("C")

Part = Literal["boosts", "versions", "lexical"]
"""A part of a search that an engine may lack; without `lexical`, it has no hybrid search either."""


@runtime_checkable
class Notes(Protocol):
    """Durable storage of small texts by name, beside the documents. Guards store their reference values there.

    Without it, a retriever does not notice on reopening that the embedder or the length of queries has changed
    (known answers are still checked), and version rules last only as long as the collection is open.
    """

    def read_note(self, name: str) -> str | None:
        """Return the text stored under this name, or None.

        Raises:
            CorruptionError: the text is damaged.
        """
        ...

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Store a text of at most a few MiB under a name, durably; None deletes it.

        This is not a commit, and notes are not part of any answer.

        Args:
            replace: False keeps a text that is already stored.
            wait: False raises EngineError at once while another writer holds the lock, since searches must not wait.
        """
        ...

    def note_names(self) -> list[str]:
        """Return the names of all notes, in any order. Those that begin with `engine:` belong to the engine itself."""
        ...


@runtime_checkable
class EmbedsTexts(Protocol):
    """Embedding of texts by the engine, as one on a server does. The retriever then needs no embedder of its own.

    Such an engine also takes a dense or hybrid `Request` with texts whose vectors have no columns, (queries, 0). Its
    answers' traces say how many tokens of each text were not read.
    """

    def add_texts(self, documents: Sequence[Document], *, scope: Scope | None = None) -> None:
        """Embed the documents' texts, and store the documents in one commit. Raises the same errors as `add`."""
        ...


@runtime_checkable
class Maintenance(Protocol):
    """Methods to check, repair, copy and compact a collection."""

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Check everything that is stored.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Raises:
            CorruptionError: there is damage; its `verification` lists all of it.
        """
        ...

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Rebuild damaged data that is derived from documents and vectors. Never change documents or vectors.

        Returns:
            The remaining problems and the repairs.
        """
        ...

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, durably. Others may write meanwhile.

        Args:
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: the folder exists and is not empty.
            CorruptionError: stored data is damaged.
        """
        ...

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        """Free the disk space of replaced and deleted documents. Others may read and write meanwhile.

        Answers and scores do not change.

        Args:
            progress: called with the number of documents copied since the last call; an exception it raises ends the
                compaction, and the collection stays as it was.

        Raises:
            EngineError: the disk is too full, or the collection is opened read-only.
            LockedError: another process or thread is compacting, or building an index.
        """
        ...


@runtime_checkable
class Indexing(Protocol):
    """Methods to build approximate indexes and to preload data for searches."""

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index beside the current one and swap it in; `flat` returns to exact search.

        Args:
            index: the name of the index.
            target_recall: the recall to calibrate for.
            queries: (n, d), prepared; used for calibration.
            progress: called with the number of rows built since the last call; an exception it raises ends the build,
                and the next one resumes there.

        Raises:
            ConfigError, MissingExtraError: the index is unknown, or its package is not installed.
            LockedError: another process or thread is building an index.
        """
        ...

    def warm(self, fields: Sequence[str] = ()) -> None:
        """Preload the data that the first search, and the first filters on these fields, would wait for."""
        ...


@runtime_checkable
class Duplicates(Protocol):
    """A search for near-duplicates."""

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Iterate over every pair of documents whose vectors' cosine is at least `threshold`, each pair once.

        The order is arbitrary, and every metric works. The cosine is computed in float64 and rounded to float32, like
        the threshold. Documents with a vector of zeros are in no pair. The pairs are those of the commit at which the
        first one is read; they are found lazily and in bounded memory. Documents that are deleted or rewritten
        meanwhile are left out, except in pairs that were read ahead.

        Args:
            threshold: above 0, at most 1.
            progress: called with the number of pairs compared since the last call: n·(n − 1)/2 in all for n documents.
        """
        ...


@runtime_checkable
class Sampling(Protocol):
    """Samples of documents. Without it, all documents are read and most of them are skipped."""

    def sample(
        self, count: int, where: Filter | None = None, *, scope: Scope | None = None
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        """Iterate over documents with their vectors, (d,), evenly spaced: every second, third and so on.

        The documents are those of the commit at which the first one is read; those that are deleted or rewritten
        meanwhile are left out. The order is arbitrary, and the same while nothing is written.

        Args:
            count: the maximum number of documents, at least 1.
        """
        ...


@runtime_checkable
class Efforts(Protocol):
    """Searches with more or less effort than an approximate index is tuned for, to measure what that changes."""

    def efforts(self, k: int) -> list[int]:
        """Return efforts that are worth measuring for lists of length k, ascending; none without an index."""
        ...

    def search_with_effort(self, request: Request, effort: int) -> list[Answer]:
        """Search as `search` does, with this effort of the index. Exact answers say so in their traces."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The message for a missing capability.

    Attributes:
        noun: the missing capability.
        instead: the suggested alternative.
        calls: different alternatives for some calls, by the name of the call.
    """

    noun: str
    instead: str
    calls: dict[str, str] = field(default_factory=dict)


_REFUSALS: dict[type, _Refusal] = {
    Notes: _Refusal(
        "notes",
        "Use an engine that keeps notes, such as a collection in a folder",
        {
            "keep_versions": "Pass versions= to Retriever.open, or to each search",
            "calibrate": "A calibration is kept with the collection: use an engine that keeps notes",
        },
    ),
    Maintenance: _Refusal(
        "maintenance",
        "Use the tools of the store itself",
        {"backup": "Back up the store itself, or write what documents(vectors=True) lists into another collection"},
    ),
    Indexing: _Refusal("choice of indexes", "Configure indexes in the store itself, and leave index= out"),
    Duplicates: _Refusal(
        "search for duplicates", "Compare the vectors that documents(vectors=True) lists, or use search(like=...)"
    ),
}


def require(engine: Engine, capability: type[C], call: str) -> C:
    """Return the engine, typed as one that has this capability.

    Args:
        capability: `Notes`, `Maintenance`, `Indexing` or `Duplicates`.
        call: the user's call, for the message: "verify()".

    Raises:
        UnsupportedError: the engine lacks the capability.
    """
    if isinstance(engine, capability):
        return engine
    refusal = _REFUSALS[capability]
    name = type(engine).__name__
    raise UnsupportedError(
        f"{call} is not supported: the engine {name} has no {refusal.noun}. "
        f"{refusal.calls.get(call.partition('(')[0], refusal.instead)}",
        engine=name,
        capability=capability.__name__,
    )


def refuse_parts(engine: Engine, request: Request, lacks: Collection[Part]) -> None:
    """Raise UnsupportedError if a request needs a part of a search that the engine lacks."""
    needed: dict[Part, tuple[object, str, str]] = {
        "lexical": (request.mode != "dense", f"{request.mode} search is", "Leave mode= out"),
        "boosts": (request.boosts, "boosting is", "Leave boosts= out"),
        "versions": (request.versions is not None, "searching by version rules is", "Leave versions= out"),
    }
    for part, (is_needed, what, instead) in needed.items():
        if is_needed and part in lacks:
            name = type(engine).__name__
            message = f"{what} not supported by the engine {name}. {instead}"
            raise UnsupportedError(message, engine=name, part=part)


def folder_of(engine: Engine) -> Path | None:
    """Return the local folder of an engine's collection; None for engines that have none."""
    folder = getattr(engine, "folder", None)
    return folder if isinstance(folder, Path) else None
