"""Session: one opening of a collection, which a Retriever shares with its scopes."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from theodolite.async_pool import in_thread
from theodolite.embedders.options import EmbedderOptions
from theodolite.engines import refusals
from theodolite.errors import CollectionNotFoundError, UnfinishedCopyWarning, warn_caller
from theodolite.forking import register_at_fork
from theodolite.guards import unfinished_copy
from theodolite.guards.query_norms import QueryNorms
from theodolite.protocols import Engine
from theodolite.ranking.relevance import RelevanceLike, as_relevance
from theodolite.ranking.versions import Rule, as_rules, settle_rules
from theodolite.searcher import Searcher
from theodolite.text_encoder import TextEncoder

if TYPE_CHECKING:  # imported by the few programs that use it
    from theodolite.monitoring.monitor import Monitor

OpenEngine = Callable[[bool], Engine]
"""Opens the engine of a collection, and may create it: raises CollectionNotFoundError otherwise."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The engine, and the parts made for it that searches and writes use."""

    engine: Engine
    texts: TextEncoder
    norms: QueryNorms
    searcher: Searcher


class Session:
    """An open collection. If it does not exist yet, its parts are made again once it does.

    Attributes:
        monitor: the monitor, if there is one.
    """

    def __init__(
        self,
        engine: Engine,
        options: EmbedderOptions,
        *,
        versions: Rule | Iterable[Rule] | None = None,
        relevance: RelevanceLike = None,
        monitor: "Monitor | None" = None,
        later: OpenEngine | None = None,
    ) -> None:
        """
        Args:
            engine: open; a `MissingCollection` if `later` is given.
            options: options with a resolved embedder.
            versions, relevance: see `Retriever.open`.
            later: opens the engine of a collection that does not exist yet.
        """
        self.monitor = monitor
        self._options = options
        self._versions = None if versions is None else as_rules(versions)
        self._relevance = relevance
        self._later = later
        self._lock = threading.RLock()
        self._parts = self._make(engine)
        register_at_fork(self)
        if later is None and monitor is not None:  # last, so that it attaches only to a collection that did open
            monitor.attach(engine)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a copy would share files and locks or have none."""
        raise refusals.not_copied()

    @property
    def parts(self) -> Parts:
        """The parts for the next call."""
        if self._later is not None:
            self._open(create=False)
        return self._parts

    async def aparts(self) -> Parts:
        """Return `parts` without blocking the event loop."""
        return self._parts if self._later is None else await in_thread(lambda: self.parts)

    def create(self) -> Parts:
        """Return the parts for a write, after creating the collection if it does not exist yet."""
        if self._later is not None:
            self._open(create=True)
        return self._parts

    def close(self) -> None:
        """Close the engine and the monitor. Closing twice is fine."""
        with self._lock:
            self._later = None
        if self.monitor is not None:
            self.monitor.close()
        self._parts.engine.close()

    def _open(self, *, create: bool) -> None:
        with self._lock:
            if self._later is None:  # another thread was faster
                return
            try:
                engine = self._later(create)
            except CollectionNotFoundError:
                if create:
                    raise
                return
            try:
                parts = self._make(engine)
                if self.monitor is not None:
                    self.monitor.attach(engine)
            except BaseException:
                engine.close()
                raise
            self._parts, self._later = parts, None

    def _make(self, engine: Engine) -> Parts:
        if (notice := unfinished_copy.notice(engine)) is not None:
            warn_caller(notice, UnfinishedCopyWarning)
        relevance = as_relevance(engine.space.metric, self._relevance)  # before anything is written
        rules = settle_rules(engine, self._versions)
        norms = QueryNorms(engine, self._options.on_drift)
        seen = None if self.monitor is None else self.monitor.norms
        texts = TextEncoder(engine, self._options, seen=seen)
        searcher = Searcher(engine, texts, norms, rules=rules, relevance=relevance, monitor=self.monitor)
        return Parts(engine, texts, norms, searcher)
