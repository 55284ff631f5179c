"""Copy a collection to another engine or folder, row by row, without embedding anything again.

A copy is a comparison: both collections are read in id order, and documents that are missing or different in the
target are written. So an interrupted copy resumes by itself, and a second pass over both proves that every row arrived.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.engines.missing import MissingCollection
from theodolite.engines.registry import EngineOpener
from theodolite.errors import ConfigError, EngineError
from theodolite.evaluation.feedback import copy_judgments
from theodolite.evaluation.recall import near_stored_rows
from theodolite.guards import unfinished_copy
from theodolite.metadata import encode
from theodolite.protocols import Engine, Notes, Request, Scope
from theodolite.scopes import partition_key
from theodolite.settings import DEFAULT_BM25, CollectionSettings
from theodolite.types import Document, Vectors

_OWN_NOTES = "engine:"  # notes that an engine keeps for itself
_BATCH = 2000  # documents per commit
_PASSES = 5  # comparisons, if other programs keep writing to the source
_SEARCHES = 200
_TOGETHER = 10  # searches in one request
_K = 10
_SAME = 1e-6  # how much similarities may differ

Row = tuple[tuple[str, str], Document, NDArray[np.float32]]
"""Id and partition as text, the document, and its vector, (d,)."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The result of `copy_to`.

    Attributes:
        documents: how many the target holds, each compared with the source: text, metadata and vector.
        written: how many this call wrote to the target, or deleted there; few if it resumed a copy.
        searches: how many exact searches were compared.
    """

    documents: int
    written: int
    searches: int


def copy_collection(source: Engine, opener: EngineOpener, *, progress: Callable[[int], object] | None = None) -> Copy:
    """Copy a collection to a new location: documents, vectors, pinned settings, and notes such as the canary.

    Args:
        opener: opens the target, which holds no collection or an unfinished copy of the same source.
        progress: called with the number of documents compared or written since the last call: twice the number of
            documents in all.

    Raises:
        CollectionNotFoundError: the source does not exist.
        ConfigError: the target holds other documents.
        EngineError: other programs kept writing to the source, or the copy answers differently. The target is then
            marked as unfinished.
    """
    if isinstance(source, MissingCollection):
        source.refuse()
    space = source.space
    embedder = getattr(source, "embedder", None)
    bm25: BM25 = getattr(source, "bm25", DEFAULT_BM25)
    settings = CollectionSettings(
        space.metric, space.norms, source.partition, space.transforms, embedder, k1=bm25.k1, b=bm25.b
    )
    target = opener.open(settings, create=True, read_only=False)
    try:
        _begin(target, source.info().get("location"))
        written = _write_differences(source, target, progress)
        passes = 1
        while changed := _write_differences(source, target, progress if passes == 1 else None):
            written += changed
            passes += 1
            if passes == _PASSES:
                raise EngineError(
                    f"{changed:,} documents still differed after {passes} passes, because other programs write to the "
                    "source. Stop them and copy again; copied documents are kept"
                )
        _copy_notes(source, target)
        searches = _compare_searches(source, target)
        copy_judgments(source, target)
        unfinished_copy.unmark(target)
        return Copy(target.count(), written, searches)
    finally:
        target.close()


def _begin(target: Engine, source: Any) -> None:
    """Mark the target as unfinished. Raises ConfigError if it holds anything but an unfinished copy of the source."""
    count = target.count()
    if unfinished_copy.is_unfinished(target):
        if (origin := unfinished_copy.origin(target)) != source:
            raise ConfigError(
                f"the target is an unfinished copy of {origin}, not of {source}. Copy to a new location",
                documents=count,
            )
    elif count:
        raise ConfigError(
            f"the target already holds {count:,} documents. Copy to a new location, or clear it first", documents=count
        )
    else:
        unfinished_copy.mark(target, source)


def _write_differences(source: Engine, target: Engine, progress: Callable[[int], object] | None) -> int:
    """Make the target equal to the source. Return how many documents were written or deleted."""
    field, space = source.partition, source.space
    batch: list[Row] = []
    surplus: list[Row] = []
    changed = 0

    def flush() -> None:
        nonlocal changed
        if batch:
            vectors = Vectors(np.stack([vector for _, _, vector in batch]))
            target.add([document for _, document, _ in batch], vectors, space)
            changed += len(batch)
            batch.clear()

    compared = 0
    for wanted, got in _pairs(_rows(source), _rows(target) if target.count() else iter(())):
        if wanted is None:
            surplus += [] if got is None else [got]
            continue
        if got is None or not _is_same(wanted, got):
            batch.append(wanted)
            if len(batch) == _BATCH:
                flush()
        compared += 1
        if progress is not None and compared == _BATCH:
            progress(compared)
            compared = 0
    flush()
    for (name, _), document, _ in surplus:
        changed += target.delete([name], scope=None if field is None else Scope(document.metadata[field]))
    if progress is not None and compared:
        progress(compared)
    return changed


def _rows(engine: Engine) -> Iterator[Row]:
    """Iterate over all documents, ordered by id, then by partition."""
    if engine.partition is None:
        yield from (((document.id, ""), document, vector) for document, vector in engine.documents())
        return
    for _, same_id in groupby(engine.documents(), key=lambda pair: pair[0].id):
        rows = [
            ((document.id, partition_key(engine.partition, document.metadata)), document, vector)
            for document, vector in same_id
        ]
        yield from sorted(rows, key=lambda row: row[0])


def _pairs(first: Iterator[Row], second: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Merge two ordered iterators. Rows with equal keys form a pair; other rows are paired with None."""
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            yield one, None
            one = next(first, None)
        elif one is None or other[0] < one[0]:
            yield None, other
            other = next(second, None)
        else:
            yield one, other
            one, other = next(first, None), next(second, None)


def _is_same(one: Row, other: Row) -> bool:
    (_, document, vector), (_, copy, arrived) = one, other
    return (
        document.text == copy.text
        and vector.tobytes() == arrived.tobytes()
        and _is_same_metadata(document.metadata, copy.metadata)
    )


def _is_same_metadata(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # Equal representations have equal values of equal types. The order of fields may differ.
    return repr(one) == repr(other) or encode(one, canonical=True) == encode(other, canonical=True)


def _copy_notes(source: Engine, target: Engine) -> None:
    if not (isinstance(source, Notes) and isinstance(target, Notes)):
        return
    names = [name for name in source.note_names() if name != unfinished_copy.NOTE and not name.startswith(_OWN_NOTES)]
    for name in names:
        target.write_note(name, source.read_note(name))


def _compare_searches(source: Engine, target: Engine) -> int:
    """Compare exact searches near rows of the source. Return their number. Raises EngineError if answers differ."""
    queries = near_stored_rows(source, count=_SEARCHES)
    for start in range(0, len(queries), _TOGETHER):
        request = Request(Vectors(queries[start : start + _TOGETHER]), _K, exact=True, probe=True)
        for number, (expected, got) in enumerate(zip(source.search(request), target.search(request), strict=True)):
            ids = [document.id for document in expected.documents], [document.id for document in got.documents]
            if ids[0] != ids[1] or not np.allclose(expected.similarities, got.similarities, _SAME, _SAME):
                raise EngineError(
                    f"search {start + number} of {len(queries)} has other results in the copy: {ids[1]} instead of "
                    f"{ids[0]}. If other programs write to the source, stop them and copy again",
                    expected=ids[0],
                    got=ids[1],
                )
    return len(queries)
