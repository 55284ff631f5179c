"""What an engine may offer beyond the core: notes, maintenance, indexing, duplicates.

An engine offers a capability by having its methods; nothing is declared twice. Code that needs one asks `require`,
which is the only place that refuses. Code that can do without asks `isinstance(engine, Notes)`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from theodolite.errors import UnsupportedError
from theodolite.filters import Filter
from theodolite.protocols.engine import Engine
from theodolite.protocols.requests import Scope
from theodolite.types import Compaction, Duplicate, Vectors, Verification

C = TypeVar("C")


@runtime_checkable
class Notes(Protocol):
    """Keeps small texts by name, durably, beside the documents: guards store what they compare with later.

    Without it, a retriever does not notice on reopening that the embedder or the length of queries has changed
    (known answers are still checked), and rules for versions hold only as long as the collection is open.
    """

    def note(self, name: str) -> str | None:
        """Return the text stored under this name, or None.

        Raises:
            CorruptionError: it is damaged.
        """
        ...

    def remember(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Store a text of at most a few MiB under a name, durably; None deletes it.

        Not a commit, and not part of any answer.

        Args:
            replace: False keeps a text that is already stored.
            wait: False raises EngineError at once while another writer holds the lock: searches never wait for one.
        """
        ...


@runtime_checkable
class Maintenance(Protocol):
    """Checks, repairs, copies and compacts a collection."""

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Check everything that is stored.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Raises:
            CorruptionError: there is damage; its `verification` lists all of it.
        """
        ...

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Rebuild damaged data that is derived from documents and vectors; never touch these themselves.

        Returns:
            The problems that remain, and what was done.
        """
        ...

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, durably, while others may write.

        Args:
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: the folder exists and is not empty.
            CorruptionError: stored data is damaged.
        """
        ...

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        """Free the disk space of replaced and deleted documents, while others read and write.

        No answer and no score changes.

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
    """Builds approximate indexes, and loads what searching needs ahead of time."""

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index aside and swap it in; `flat` returns to exact search.

        Args:
            queries: (n, d), prepared; used for calibration.
            progress: called with the number of rows built since the last call; an exception it raises ends the build,
                and the next one resumes there.

        Raises:
            ConfigError, MissingExtraError: the index is not known.
            LockedError: another process or thread is building one.
        """
        ...

    def warm(self, fields: Sequence[str] = ()) -> None:
        """Load now what the first search, and the first filters on these fields, would wait for."""
        ...


@runtime_checkable
class Duplicates(Protocol):
    """Finds near-duplicates."""

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Iterate over every pair of documents whose vectors' cosine is at least `threshold`, each pair once.

        In any order, for every metric. The cosine is computed in float64 and rounded to float32, as the threshold is;
        documents with a vector of zeros are in no pair. The pairs are those of the commit at which the first one is
        read, lazily and in bounded memory. Documents that are deleted or rewritten in the meantime are left out,
        except for pairs that were read ahead.

        Args:
            threshold: above 0, at most 1.
            progress: called with the number of pairs compared since the last call: n·(n − 1)/2 in all for n documents.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a message says about a missing capability.

    Attributes:
        noun: what the engine lacks.
        instead: what to do instead.
        calls: what to do instead of one call, by its name, where that differs.
    """

    noun: str
    instead: str
    calls: dict[str, str] = field(default_factory=dict)


_REFUSALS: dict[type, _Refusal] = {
    Notes: _Refusal(
        "notes",
        "Use an engine that keeps notes, such as a collection in a folder",
        {"keep_versions": "Pass versions= to Retriever.open, or to each search"},
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
        call: what the user called, for the message: "verify()".

    Raises:
        UnsupportedError: the engine lacks it.
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


def folder_of(engine: Engine) -> Path | None:
    """Return the local folder of an engine's collection; None for engines that have none."""
    folder = getattr(engine, "folder", None)
    return folder if isinstance(folder, Path) else None
