"""Shadow recall: repeats a sample of approximate searches exactly, to measure their recall."""

import itertools
import time
from dataclasses import replace

import numpy as np

from theodolite.errors import TheodoliteError
from theodolite.evaluation.recall import share
from theodolite.protocols import Answer, Engine, Request
from theodolite.types import Vectors

K = 10


class Shadow:
    """A queue of at most one search to repeat exactly. Searches offered while it is full, or too soon, are skipped."""

    def __init__(self, engine: Engine, *, every: int, cpu: float) -> None:
        """
        Args:
            every: check one of this many approximate answers.
            cpu: maximum share of one processor to use.
        """
        self._engine = engine
        self._every = every
        self._cpu = cpu
        self._numbers = itertools.count(1)
        self._held: tuple[Request, Answer] | None = None
        self._not_before = 0.0

    def offer(self, request: Request, number: int, answer: Answer) -> bool:
        """Queue one of the request's answers if a check is due. Return whether it was queued."""
        if next(self._numbers) % self._every or self._held is not None or time.monotonic() < self._not_before:
            return False
        k = min(request.k, K)
        vectors = Vectors(np.array(request.vectors[number : number + 1]))
        self._held = replace(request, vectors=vectors, k=k, exact=True, probe=True), answer
        return True

    def check(self) -> float | None:
        """Return the recall of the queued answer; None if there is none or the collection changed since."""
        held = self._held
        if held is None:
            return None
        request, given = held
        started = time.monotonic()
        try:
            (true,) = self._engine.search(request)
        except TheodoliteError:  # the collection is closed or damaged; the user's own calls report that
            return None
        finally:
            ended = time.monotonic()
            self._not_before = ended + (ended - started) * (1 / self._cpu - 1)
            self._held = None
        if true.trace.commit != given.trace.commit:
            return None
        return share(given.similarities, true.similarities, request.k)
