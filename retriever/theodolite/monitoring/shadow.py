"""Shadow recall: now and then a search that an approximate index has answered is answered exactly, too."""

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
    """Holds at most one search to be answered again. What comes while it is held, or too soon after, is let go."""

    def __init__(self, engine: Engine, *, every: int, cpu: float) -> None:
        """
        Args:
            every: of how many approximate answers one is checked.
            cpu: the share of one processor it may take, at most.
        """
        self._engine = engine
        self._every = every
        self._cpu = cpu
        self._numbers = itertools.count(1)
        self._held: tuple[Request, Answer] | None = None
        self._not_before = 0.0

    def offer(self, request: Request, number: int, answer: Answer) -> bool:
        """Take one of the request's answers, if it is time for one. Returns whether."""
        if next(self._numbers) % self._every or self._held is not None or time.monotonic() < self._not_before:
            return False
        k = min(request.k, K)
        vectors = Vectors(np.array(request.vectors[number : number + 1]))
        self._held = replace(request, vectors=vectors, k=k, exact=True, probe=True), answer
        return True

    def check(self) -> float | None:
        """The recall of what is held; None where nothing is, or where something was written meanwhile."""
        held = self._held
        if held is None:
            return None
        request, given = held
        started = time.monotonic()
        try:
            (true,) = self._engine.search(request)
        except TheodoliteError:  # the collection has been closed, or is not what it was: others tell of that
            return None
        finally:
            ended = time.monotonic()
            self._not_before = ended + (ended - started) * (1 / self._cpu - 1)
            self._held = None
        if true.trace.commit != given.trace.commit:
            return None
        return share(given.similarities, true.similarities, request.k)
