"""Lengths of queries where they matter: for dot products of vectors that are not unit."""

import json
import threading
from contextlib import suppress

import numpy as np

from theodolite.embedders.options import OnDrift
from theodolite.errors import MALFORMED, CorruptionError, DriftWarning, EngineError, VectorError, warn_caller
from theodolite.forking import register_at_fork
from theodolite.guards.notes import keep_note, read_note
from theodolite.protocols import Engine
from theodolite.types import Vectors

NOTE = "query-norms"
_FIRST = 32  # queries that are let through, to learn from
_LEARNT = 256  # queries after which nothing more is learnt
_FACTOR = 3.0  # how far beyond the longest and the shortest a query may be


class QueryNorms:
    """Holds the norms of queries against those of the first ones, which are kept with the collection.

    A dot product grows with the query's length without a change of order; what does change is what scores mean, and
    that the query was made otherwise than those before it.
    """

    def __init__(self, engine: Engine, on_drift: OnDrift) -> None:
        self._engine = engine
        self._on_drift = on_drift
        self._lock = threading.Lock()
        self._seen: tuple[int, float, float] | None = None  # queries, shortest, longest
        self._due = False  # to be kept
        register_at_fork(self)

    def check(self, vectors: Vectors) -> None:
        """Raise or warn where queries, (n, d), are more than three times longer or shorter than all before.

        Raises:
            VectorError: naming the norms.
        """
        norms = np.sqrt(np.vecdot(vectors, vectors, dtype=np.float64))
        norms = norms[norms > 0]  # a query of zero length is valid, and tells nothing
        if not len(norms):
            return
        count, low, high = self._seen or self._read()
        shortest, longest = float(norms.min()), float(norms.max())
        if count >= _FIRST and not (low / _FACTOR <= shortest and longest <= high * _FACTOR):
            self._tell(norms, count, low, high)
        elif count < _LEARNT:
            self._learn(len(norms), shortest, longest)

    def forget(self) -> None:
        """Begin to learn anew."""
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
            raise CorruptionError(f"the note of query norms cannot be read: {error}") from error
        return self._seen

    def _learn(self, queries: int, shortest: float, longest: float) -> None:
        with self._lock:
            count, low, high = self._seen or self._read()
            self._seen = seen = (count + queries, min(low, shortest), max(high, longest))
        if self._due or any(count < mark <= seen[0] for mark in (_FIRST, _LEARNT)):
            self._due = True
            with suppress(EngineError):  # read-only, or others are writing: this process still knows
                keep_note(self._engine, NOTE, json.dumps(seen), wait=False)
                self._due = False

    def _tell(
        self, norms: np.ndarray[tuple[int, ...], np.dtype[np.float64]], count: int, low: float, high: float
    ) -> None:
        outside = ~((norms >= low / _FACTOR) & (norms <= high * _FACTOR))
        message = (
            f"{np.count_nonzero(outside)} of {len(norms)} query vectors have norms unlike those before, first "
            f"{norms[outside][0]:.4g}: the first {count} queries had {low:.4g} to {high:.4g}. Was a normalisation step "
            "added or skipped?"
        )
        if self._on_drift == "warn":
            warn_caller(message, DriftWarning)
        else:
            raise VectorError(
                f"{message} Pass on_drift='warn' to search all the same",
                norms=norms[outside].tolist(),
                expected=(low, high),
            )
