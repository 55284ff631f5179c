"""Monitor: records search metrics from day to day and raises alerts when they change."""

import itertools
import logging
import math
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.folder import MONITOR, Folder
from theodolite.errors import ConfigError, InputError, TheodoliteError
from theodolite.evaluation.recall import share
from theodolite.forking import register_at_fork
from theodolite.inputs import as_path
from theodolite.monitoring.alert_rules import Alert, Baseline, Finding, findings
from theodolite.monitoring.histograms import Moments
from theodolite.monitoring.journal import Batch, Contents, Journal
from theodolite.monitoring.report import report
from theodolite.protocols import Answer, Engine, Request, folder_of
from theodolite.types import Vectors
from theodolite.vectors.metrics import get_metric

_log = logging.getLogger("theodolite.monitor")

_DUE = 50  # searches that trigger a write before the interval is over
_PAUSE = 2.0  # minimum seconds between two writes
_MAX_BUFFERED = 100_000  # searches buffered until they are written; beyond that the oldest are dropped
_MAX_K = 10  # of a search that is repeated exactly
_UNATTACHED = "the collection does not exist yet, or the monitor was not passed to Retriever.open(monitor=...)"


class Monitor:
    """A monitor for the searches of one collection: pass it to `Retriever.open(monitor=...)`.

    It records hourly statistics: the similarity of the first hit, the latency, the number of empty answers, the norms
    of the embedder's raw query vectors, and the recall of an approximate index against the exact answer. It never
    stores a query, a vector or an id. The data is in `monitor.sqlite` in the collection's folder, shared by all
    processes. It is in memory if the collection has no folder or is opened read-only, unless `path` names a file.

    When a metric gets worse, the monitor calls `on_alert` with an `Alert` from its own thread and logs a warning to
    `theodolite.monitor`, once a day for the same cause.

    It never fails or delays a search.
    """

    def __init__(
        self,
        *,
        on_alert: Callable[[Alert], object] | None = None,
        path: str | PathLike[str] | None = None,
        shadow: float = 0.01,
        interval: float | None = 10.0,
        repeat: float = 86_400.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            on_alert: a callback for alerts, in addition to the log.
            path: the file to write to instead of the one in the collection's folder.
            shadow: the share of approximate answers to check against the exact answer, in the background; 0 checks
                none. Exact answers are not checked and do not count.
            interval: maximum seconds between two writes; None writes only in `flush` and `close`.
            repeat: seconds within which the same cause raises only one alert.
            clock: returns the seconds since 1970, UTC.

        Raises:
            InputError: a share, a time or the path is invalid.
        """
        if not 0 <= shadow <= 1:
            raise InputError(f"shadow is {shadow!r}; it must be a share, from 0 to 1")
        if (interval is not None and not interval > 0) or not repeat >= 0:
            raise InputError("interval must be more than 0 seconds, and repeat at least 0")
        self._on_alert = on_alert
        self._path = None if path is None else as_path(path, "path")
        self._shadow_share = shadow
        self._interval = interval
        self._repeat = repeat
        self._clock = clock
        self._engine: Engine | None = None
        self._journal: Journal | None = None
        self._shadow: Shadow | None = None
        self._relative = False
        self._target: float | None = None
        self._searches: deque[tuple[float, float, list[float | None]]] = deque(maxlen=_MAX_BUFFERED)
        self._norms: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=_MAX_BUFFERED)
        self._recalls: deque[tuple[float, float]] = deque(maxlen=_MAX_BUFFERED)
        self._unwritten = Batch()  # measurements that could not be written yet
        self._warned = False
        self._thread: threading.Thread | None = None
        self._reset()
        register_at_fork(self)

    def attach(self, engine: Engine) -> None:
        """Monitor this engine.

        The file is `monitor.sqlite` in the engine's folder, unless `path` was given. The data is in memory if the
        engine has no folder or is opened read-only.

        Raises:
            ConfigError: the monitor is attached to a collection already.
        """
        if self._engine is not None:
            raise ConfigError("this monitor is already attached to a collection; create another one")
        self._engine = engine
        folder = folder_of(engine)
        if self._path is not None or folder is None or engine.info().get("read_only", False):
            self._journal = Journal(self._path)
        else:
            self._journal = Journal(folder / MONITOR, Folder(folder))
        if self._shadow_share:
            self._shadow = Shadow(engine, every=round(1 / self._shadow_share), cpu=0.05)

    def searched(self, request: Request, answers: Sequence[Answer], seconds: float) -> None:
        """Record a search: its answers, and the seconds that each of them took."""
        seen = self._searches
        seen.append(
            (self._clock(), seconds, [answer.similarities[0] if answer.similarities else None for answer in answers])
        )
        if len(seen) == 1 or len(seen) == _DUE:
            self._wake_thread()
        if self._shadow is not None:
            for number, answer in enumerate(answers):
                if not answer.trace.complete and self._shadow.offer(request, number, answer):
                    self._wake_thread()

    def norms(self, norms: NDArray[np.float64]) -> None:
        """Record the norms of raw query vectors, (n,), before they are normalized."""
        self._norms.append((self._clock(), norms))

    def flush(self) -> list[Alert]:
        """Write the buffered measurements, evaluate the alert rules, and return the new alerts.

        The monitor's thread calls this regularly. It never raises: measurements that cannot be written are kept for
        the next time, with a warning.
        """
        if self._journal is None or self._engine is None:
            return []
        self._check()
        with self._flushing:
            self._last = time.monotonic()
            with suppress(TheodoliteError):  # closed meanwhile
                space = self._engine.space
                self._relative = not get_metric(space.metric).gives_cosines(space.norms)
            batch, self._unwritten = self._unwritten, Batch()
            self._drain(batch)
            if not batch.series:
                return []
            try:
                alerts = self._journal.record(batch, self._clock(), self._repeat, self._findings)
            except (OSError, sqlite3.Error) as error:  # busy, disk full, no permission
                batch.bound()
                self._unwritten = batch
                if not self._warned:
                    _log.warning("%s cannot be written, so measurements stay in memory: %s", self._journal.path, error)
                self._warned = True
                return []
            self._warned = False
        for alert in alerts:
            self._deliver(alert)
        return alerts

    def report(self, windows: int = 24) -> dict[str, Any]:
        """Return a report as JSON values: the latest hourly windows, the baseline, the recall and the alerts.

        Quantiles are within 1 %; times are in UTC, latencies in seconds. `note` says why there is nothing to report, if
        the collection does not exist yet.

        Args:
            windows: the maximum number of hourly windows.

        Raises:
            EngineError: the file cannot be read.
        """
        self.flush()
        if self._journal is None:
            return report(Contents({}, {}, None, []), None, windows, note=f"{_UNATTACHED}.")
        with self._flushing:
            return report(self._journal.read(), self._journal.path, windows)

    def alerts(self) -> list[Alert]:
        """Return the latest alerts, oldest first. It writes nothing.

        Raises:
            EngineError: the file cannot be read.
        """
        if self._journal is None:
            return []
        with self._flushing:
            return self._journal.alerts()

    def reset_baseline(self) -> None:
        """Start a new baseline at the next full hour. Call this after an intended change.

        Raises:
            ConfigError: the monitor is not attached to a collection.
            EngineError: the file cannot be written.
        """
        self.flush()
        if self._journal is None:
            raise ConfigError(f"{_UNATTACHED}, so there is no baseline. Add documents, or pass the monitor first")
        with self._flushing:
            self._journal.restart(self._clock())

    def close(self) -> None:
        """Write the remaining measurements and end the thread. Closing twice is fine."""
        self._closing.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._journal is not None:
            self.flush()
            self._journal.close()

    def _findings(
        self, latest: Mapping[str, Sequence[float]], day: Mapping[str, Moments], baselines: Sequence[Baseline]
    ) -> Iterator[Finding]:
        return findings(latest, day, baselines, relative=self._relative, target_recall=self._target)

    def _drain(self, batch: Batch) -> None:
        """Move the buffered measurements into a batch, hour by hour."""
        for hour, searches in _by_hour(self._searches).items():
            tops = [top for _, _, found in searches for top in found]
            each = [seconds for _, seconds, found in searches for _ in found]
            batch.add(hour, "empty", [float(top is None) for top in tops])
            batch.add(hour, "seconds", each)
            if known := [top for top in tops if top is not None]:
                batch.add(hour, "top1", known)
        for hour, norms in _by_hour(self._norms).items():
            values = np.concatenate([some for _, some in norms])
            if len(values := values[values > 0]):
                batch.add(hour, "norm", values.tolist(), latest=np.log(values).tolist())
        for hour, recalls in _by_hour(self._recalls).items():
            batch.add(hour, "recall", [value for _, value in recalls])

    def _check(self) -> None:
        """Run the pending recall check, and read the target recall of the index."""
        recall = None if self._shadow is None else self._shadow.check()
        if recall is None or self._engine is None:
            return
        self._recalls.append((self._clock(), recall))
        with suppress(TheodoliteError):  # closed meanwhile
            index = self._engine.info().get("approximate")
            self._target = index.get("target_recall") if isinstance(index, dict) else None

    def _deliver(self, alert: Alert) -> None:
        place = "" if self._journal is None or self._journal.path is None else f"{self._journal.path.parent}: "
        _log.warning("%s%s", place, alert.message, extra={"cause": alert.cause})
        if self._on_alert is not None:
            try:
                self._on_alert(alert)
            except Exception:  # a failing callback must not stop later alerts
                _log.exception("on_alert failed")

    def _wake_thread(self) -> None:
        if self._interval is None:
            return
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._closing.is_set():
                    monitor_ref = weakref.ref(self, partial(_set, self._wake))
                    thread = threading.Thread(
                        target=_run,
                        args=(monitor_ref, self._wake, self._closing),
                        name="theodolite-monitor",
                        daemon=True,
                    )
                    with suppress(RuntimeError):  # no more threads are available, or the interpreter is shutting down
                        thread.start()
                        self._thread = thread
        self._wake.set()

    def _turn(self) -> float | None:
        """Run one turn of the thread. Return the seconds until the next one, or None to wait until woken."""
        self._check()
        if not self._searches:
            return None
        pause = min(_PAUSE, self._interval or _PAUSE) if len(self._searches) >= _DUE else self._interval or _PAUSE
        left = self._last + pause - time.monotonic()
        if left > 0:
            return left
        self.flush()
        return None

    def forked(self, held: bool) -> None:
        """Reset in a forked child. The thread and the buffered measurements belong to the parent, which writes them."""
        self._reset()

    def _reset(self) -> None:
        self._thread = None
        self._starting = threading.Lock()
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._last = time.monotonic()
        self._unwritten = Batch()
        for seen in (self._searches, self._norms, self._recalls):
            seen.clear()


def _run(monitor_ref: "weakref.ref[Monitor]", wake: threading.Event, closing: threading.Event) -> None:
    """Run the monitor's thread. It holds only a weak reference, so it does not keep the monitor alive."""
    pause: float | None = None
    while True:
        wake.wait(pause)
        wake.clear()
        monitor = monitor_ref()
        if monitor is None or closing.is_set():
            return
        try:
            pause = monitor._turn()
        except Exception:  # a bug must not end the thread silently
            _log.exception("the monitor failed")
            pause = None
        del monitor


def _set(event: threading.Event, _: object) -> None:
    event.set()


def _by_hour(seen: deque[Any]) -> dict[float, list[Any]]:
    """Take all entries out of the buffer and group them by hour."""
    found: dict[float, list[Any]] = {}
    for _ in range(len(seen)):
        entry = seen.popleft()
        found.setdefault(math.floor(entry[0] / 3600) * 3600.0, []).append(entry)
    return found


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
        self._queued: tuple[Request, Answer] | None = None
        self._not_before = 0.0

    def offer(self, request: Request, number: int, answer: Answer) -> bool:
        """Queue one of the request's answers if a check is due. Return whether it was queued."""
        if next(self._numbers) % self._every or self._queued is not None or time.monotonic() < self._not_before:
            return False
        k = min(request.k, _MAX_K)
        vectors = Vectors(np.array(request.vectors[number : number + 1]))
        self._queued = replace(request, vectors=vectors, k=k, exact=True, probe=True), answer
        return True

    def check(self) -> float | None:
        """Return the recall of the queued answer; None if there is none or the collection changed since."""
        held = self._queued
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
            self._queued = None
        if true.trace.commit != given.trace.commit:
            return None
        return share(given.similarities, true.similarities, request.k)
