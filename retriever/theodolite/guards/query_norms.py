"""Detect queries of unusual length in collections whose scores depend on it: dot products of free vectors."""

import json
import threading
from contextlib import suppress

import numpy as np

from theodolite.embedders.options import OnDrift
from theodolite.errors import MALFORMED, CorruptionError, DriftWarning, EngineError, Override, VectorError, warn_caller
from theodolite.forking import register_at_fork
from theodolite.guards.notes import keep_note, read_note
from theodolite.protocols import Engine
from theodolite.types import Vectors

NOTE = "query-norms"
_MIN_QUERIES = 32  # the first queries are accepted, to learn from them
_MAX_QUERIES = 256  # learning stops here
_FACTOR = 3.0  # how far a norm may lie beyond the range of the first queries


class QueryNorms:
    """Compares the norms of queries with those of the first queries, which are stored with the collection.

    The length of a query scales its dot products and does not change their order. But scores lose their meaning, and
    another length means that the query was made differently from those before.
    """

    def __init__(self, engine: Engine, on_drift: OnDrift) -> None:
        self._engine = engine
        self._on_drift = on_drift
        self._lock = threading.Lock()
        self._seen: tuple[int, float, float] | None = None  # number of queries, lowest norm, highest norm
        self._unsaved = False
        register_at_fork(self)

    def check(self, vectors: Vectors) -> None:
        """Raise or warn if queries, (n, d), are more than three times longer or shorter than the first ones.

        Raises:
            VectorError: norms lie outside the range, and `on_drift` is "refuse".
        """
        norms = np.sqrt(np.vecdot(vectors, vectors, dtype=np.float64))
        norms = norms[norms > 0]  # a query of zero length is valid, and says nothing about the others
        if not len(norms):
            return
        count, low, high = self._seen or self._read()
        lowest, highest = float(norms.min()), float(norms.max())
        if count >= _MIN_QUERIES and not (low / _FACTOR <= lowest and highest <= high * _FACTOR):
            self._report(norms, count, low, high)
        elif count < _MAX_QUERIES:
            self._learn(len(norms), lowest, highest)

    def reset(self) -> None:
        """Forget the queries seen so far."""
        with self._lock:
            self._seen = 0, np.inf, 0.0
        if read_note(self._engine, NOTE) is not None:
            keep_note(self._engine, NOTE, None)

    def _read(self) -> tuple[int, float, float]:
        text = read_note(self._engine, NOTE)
        try:
            values = [0, np.inf, 0.0] if text is None else json.loads(text)
            self._seen = (int(values[0]), float(values[1]), float(values[2]))
        except MALFORMED as error:
            raise CorruptionError(f"the stored norms of queries (note {NOTE!r}) cannot be read: {error}") from error
        return self._seen

    def _learn(self, queries: int, lowest: float, highest: float) -> None:
        with self._lock:
            count, low, high = self._seen or self._read()
            self._seen = seen = (count + queries, min(low, lowest), max(high, highest))
        if self._unsaved or any(count < mark <= seen[0] for mark in (_MIN_QUERIES, _MAX_QUERIES)):
            self._unsaved = True
            with suppress(EngineError):  # read-only, or another writer is at work: this process still knows the range
                keep_note(self._engine, NOTE, json.dumps(seen), wait=False)
                self._unsaved = False

    def _report(
        self, norms: np.ndarray[tuple[int, ...], np.dtype[np.float64]], count: int, low: float, high: float
    ) -> None:
        outside = ~((norms >= low / _FACTOR) & (norms <= high * _FACTOR))
        message = (
            f"{np.count_nonzero(outside)} of {len(norms)} query vectors have unusual norms, first "
            f"{norms[outside][0]:.4g}: the first {count} queries had norms from {low:.4g} to {high:.4g}. Was a "
            "normalization step added or skipped?"
        )
        if self._on_drift == "warn":
            warn_caller(message, DriftWarning)
        else:
            raise VectorError(
                message,
                override=Override("on_drift", "warn", "search anyway"),
                norms=norms[outside].tolist(),
                expected=(low, high),
            )
