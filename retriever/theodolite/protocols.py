"""What the parts promise one another. Read this first.

Any object that fits a protocol can be passed: there is nothing to inherit and nothing to register.
`theodolite.testing` ships the contract each implementation must pass.

Everywhere: a higher score is better; arrays are numpy arrays unless said otherwise.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import Filter
from theodolite.relevance import Relevance
from theodolite.types import Document, Duplicate, Mode, Rows, Space, Trace, Vectors, Verification, Version
from theodolite.versions import Versions


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    Both methods take n texts and return n vectors of `dimension` floats in the same order: an array of shape
    (n, dimension) of any float dtype, a torch tensor, or nested lists. They need not be normalised. The same
    text gives the same vector, but for rounding, whatever else is in the batch. No texts give shape (0, dimension).
    They may be called from several threads at once.
    """

    @property
    def dimension(self) -> int: ...

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Vectors of questions, shape (n, dimension)."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Vectors of passages, shape (n, dimension)."""
        ...


@runtime_checkable
class Candidates(Protocol):
    """An approximate index: proposes rows, and never scores them; the flat index does.

    Built or loaded first, and from then on only read, from any number of threads.
    """

    def __len__(self) -> int:
        """How many rows are indexed so far."""
        ...

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Index `vectors`, shape (n, d); row i of the proposals is vectors[i].

        Rows that are in already, of a build that was interrupted, are not indexed again: it goes on with
        vectors[len(self):]. `vectors` may be a memory map, of which only a part is read at a time.

        Args:
            progress: called after each part with the number of rows it had. What it raises ends the build, and
                so does KeyboardInterrupt; the index can then be saved, loaded and built further.

        Raises:
            UnsupportedError: for a metric this index does not know.
            ConfigError: settings that do not fit these vectors, for instance too few of them to train on.
        """
        ...

    def propose(self, query: Vectors, n: int) -> Rows:
        """Up to n distinct rows likely to be near `query`, shape (1, d), nearest first as far as the index can tell.

        n is the effort, too: the first k of many proposals are better than k proposals. Fewer than n are no error.
        An index that holds nothing proposes nothing.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the index to `path`; raise OSError where that fails, also on a full disk."""
        ...

    def load(self, path: Path, space: Space) -> None:
        """Read what `save` wrote. The caller has verified the file by its hash.

        Raises:
            CorruptionError: the file is not whole, or was written with other settings, dimension or metric
                (cosine and dot may count as one).
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reads a query and passages together.

    Objects with `score` alone are taken, too: what they give is then calibrated by the logistic function.
    """

    def score(self, query: str, texts: Sequence[str], /) -> NDArray[np.floating[Any]]:
        """Raw scores, shape (n,), finite, higher is better. They order one list and mean nothing beyond it."""
        ...

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        """Raw scores mapped monotonically into [0, 1], shape (n,)."""
        ...


@runtime_checkable
class Boost(Protocol):
    """A bounded preference: multiplies the relevance of a document by a factor in (0, 1].

    Two that are equal and hash alike give the same factors. Optionally it has a method `refuses(now) -> Filter | None`:
    a search whose eligible documents include one that passes it raises InputError.
    """

    @property
    def name(self) -> str:
        """What its part is called in `Hit.scores`."""
        ...

    @property
    def field(self) -> str:
        """The metadata field it reads."""
        ...

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        """One factor in (0, 1] for each value of the field (None where missing), shape (n,).

        `now` is in seconds since 1970, UTC.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a collection that a view is confined to.

    Attributes:
        partition: the value of the partition field, or None for all partitions.
        where: what else must hold, or None.
    """

    partition: str | int | None = None
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weighted reciprocal rank fusion: a document's score is the sum of weight / (constant + rank) over the arms.

    Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).

    Attributes:
        dense, lexical: the weights of the arms; at least 0, and one of them more.
        constant: what is added to ranks, from 1; the higher, the less the first places count.
        depth: how many documents each arm contributes, at least.
    """

    dense: float = 1.0
    lexical: float = 1.0
    constant: float = 60.0
    depth: int = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A search as plain data, for one or several queries.

    Attributes:
        vectors: (queries, d), prepared for the engine's space; (queries, 0) in lexical mode.
        k: how many documents to return for each, at least 1.
        where: the filter, or None.
        scope: what the caller may see, or None for everything.
        exact: whether to bypass approximate indexes: the answer is the true top k.
        probe: whether this is a measurement, which nobody asked: nothing may be learnt from it.
        texts: the queries in words; empty in dense mode.
        mode: what finds documents.
        boosts: what multiplies relevance; in hybrid mode, that of either arm before they are fused.
        now: what boosts take for the present, in seconds since 1970, UTC.
        versions: rules that say which documents are current; or None.
        relevance: how similarities become relevance. None in lexical mode, and where neither boosts nor
            `min_relevance` need it.
        min_relevance: documents of less relevance are not found; in dense mode only.
        fusion: how arms are fused, in hybrid mode.
        with_vectors: whether the answer is to hold the documents' vectors.
    """

    vectors: Vectors
    k: int
    where: Filter | None = None
    scope: Scope | None = None
    exact: bool = False
    probe: bool = False
    texts: Sequence[str] = ()
    mode: Mode = "dense"
    boosts: tuple[Boost, ...] = ()
    now: float = 0.0
    versions: Versions | None = None
    relevance: Relevance | None = None
    min_relevance: float | None = None
    fusion: Fusion = Fusion()
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The documents found for one query: best first, ties by similarity, then in the order of their ids.

    Attributes:
        documents: min(k, eligible) documents; fewer where `min_relevance`, or the words asked for, leave fewer.
        similarities: the metric's own values, as float32 rounded from the exact ones; empty in lexical mode.
        trace: how the answer came about.
        scores: what the documents are ordered by; None where that is the similarity.
        lexical: BM25 of each, None where the words did not find it; empty in dense mode, and in scopes, where it
            would tell of what lies outside.
        versions: what the rules say of each, None where there is nothing to say; empty without rules.
        vectors: (n, d), if they were asked for.
    """

    documents: list[Document]
    similarities: list[float]
    trace: Trace
    scores: list[float] | None = None
    lexical: Sequence[float | None] = ()
    versions: Sequence[Version | None] = ()
    vectors: NDArray[np.float32] | None = None


@runtime_checkable
class Engine(Protocol):
    """Stores documents with their vectors and answers requests: the one seam for a distributed store.

    In a partitioned collection documents are known by partition and id. A `scope` confines a call: what is outside it
    is, for this call, not there, nor does the trace tell of it. Writes take scopes of one partition only, without a
    filter: UnsupportedError. Without a scope, ids of a partitioned collection name nothing: InputError. A collection
    that is not partitioned refuses scopes of one partition: ConfigError.

    Writes are atomic and, once the method has returned, durable. An answer never mixes two commits. Ids are not
    empty. All methods may be called from several threads. Failures of the store or server beneath are EngineError.
    """

    @property
    def space(self) -> Space:
        """What is pinned about the vectors: dimension None and norms `auto` until the first batch."""
        ...

    @property
    def partition(self) -> str | None:
        """The metadata field that partitions the collection, if one does."""
        ...

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        """Store documents in one commit; the same id replaces, and of equal ids in the batch the last wins.

        Args:
            documents: n documents.
            vectors: (n, d), prepared for `space`.
            space: settled; pins the collection's space if this is its first batch.
            truncated: places of documents whose text the embedder did not read to its end; `info` counts them.

        Raises:
            DocumentError: an id, text or metadata that cannot be stored, or a document without a partition, or of
                another one than the scope's; nothing of the batch is stored.
            VectorError: another writer has pinned the collection to another space meanwhile.
            LockedError: another writer held the lock for longer than `lock_timeout`.
        """
        ...

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        """Merge metadata into documents, by id (or replace it), in one commit; vectors and texts stay.

        Raises:
            DocumentError: ids that are not there, or a change of partition; nothing is updated.
        """
        ...

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        """Delete documents by id, or those that pass a filter, in one commit. Returns how many there were.

        Ids that are not there are fine.
        """
        ...

    def clear(self, *, scope: Scope | None = None) -> None:
        """Delete all documents. What is pinned stays pinned."""
        ...

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        """Documents with their vectors, (d,), in the order asked, the missing ones skipped."""
        ...

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        """Documents with their vectors, shape (d,), in the order of their ids, from the first id above `after`.

        Lazily, page by page: what is written meanwhile may or may not be seen; nothing is listed twice.
        """
        ...

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        """How many documents there are, or pass the filter."""
        ...

    def search(self, request: Request) -> list[Answer]:
        """One answer for each query vector."""
        ...

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Every pair of documents whose vectors' cosine is at least `threshold`, each once, in any order.

        For every metric. Computed in float64 and rounded to float32, as the threshold is; documents with a vector of
        zeros are in no pair. Of the commit at which the first pair is asked for, lazily and in bounded memory;
        documents that are deleted or written again meanwhile are left out, but for pairs that were read ahead.

        Args:
            threshold: above 0, at most 1.
            progress: called with the number of pairs compared since the last call: of n documents n·(n − 1)/2.
        """
        ...

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index aside and swap it in, or go back to exact search with `flat`.

        Args:
            queries: (n, d), prepared: what to calibrate with.
            progress: called with the number of rows built since the last call; what it raises ends the build, and
                the next one goes on from there.

        Raises:
            ConfigError, MissingExtraError: there is no such index.
            UnsupportedError: this engine has none to choose from.
            LockedError: another process or thread is building one.
        """
        ...

    def warm(self, fields: Sequence[str] = ()) -> None:
        """Do now what the first search, and the first filters on these fields, would wait for."""
        ...

    def note(self, name: str) -> str | None:
        """What `remember` has stored under this name; None where there is nothing.

        Raises:
            CorruptionError: it is damaged.
        """
        ...

    def remember(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        """Store a text of at most some MiB under a name, durably, beside the documents; None deletes it.

        It is no commit, and no part of any answer: guards keep here what they compare with later.

        Args:
            replace: False leaves what is there already.
            wait: False raises EngineError at once where another is writing: no search waits for a writer.
        """
        ...

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Check all that is stored against all it should agree with.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Raises:
            CorruptionError: there is damage; its `verification` lists all of it.
        """
        ...

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        """Make anew what is derived from documents and vectors, where it is damaged; never touch these themselves.

        Returns:
            What is left of problems, and what was done.
        """
        ...

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, durably, while others may write.

        Args:
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: the folder exists already and is not empty.
            UnsupportedError: this engine cannot.
            CorruptionError: what is stored is damaged.
        """
        ...

    def info(self) -> dict[str, Any]:
        """Sizes, settings and versions, as JSON values: `documents`, `truncated`, `embedder` and others."""
        ...

    def close(self) -> None:
        """Release everything. Closing twice is fine; any other call afterwards raises EngineError."""
        ...
