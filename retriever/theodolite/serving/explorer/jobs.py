"""Jobs: measurements that take longer than a request. A request gets the progress, and asks again."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from theodolite.async_pool import in_thread
from theodolite.overview.sample import Progress

_WAIT = 0.25  # seconds until a request is answered with the progress

Work = Callable[[Progress], Any]


class _Stopped(Exception):
    """Ends a job whose server has stopped."""


class Job:
    """A measurement on a thread of the pool.

    Attributes:
        number: its name in requests.
        state: the state of the collection when it began.
    """

    def __init__(self, number: int, state: Any, work: Work, turn: asyncio.Lock) -> None:
        self.number = number
        self.state = state
        self._progress: tuple[str, int, int] = ("Starting", 0, 0)
        self._task = asyncio.ensure_future(self._run(work, turn))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may ask again

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._task.done()

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def answer(self) -> dict[str, Any] | None:
        """Return how far the job is, for an answer; None if it has ended, which is waited for a moment."""
        await asyncio.wait({self._task}, timeout=_WAIT)
        if not self.running:
            return None
        step, done, of = self._progress
        return {"job": self.number, "progress": {"step": step, "done": done, "of": of}}

    def result(self) -> Any:
        """Return the result, or raise the error that ended the job."""
        return self._task.result()

    async def _run(self, work: Work, turn: asyncio.Lock) -> Any:
        async with turn:
            return await in_thread(work, self._report)

    def _report(self, step: str, done: int, of: int) -> None:
        if self._task.cancelled():
            raise _Stopped
        self._progress = step, done, of


class Jobs:
    """The last job of each kind. A result is kept until the collection changes. Used from one event loop.

    One job runs at a time: each holds a sample of vectors, and sets the threads that numpy may use.
    """

    def __init__(self) -> None:
        self._jobs: dict[Any, Job] = {}
        self._numbers = count(1)
        self._turn = asyncio.Lock()

    def get(self, key: Any, state: Any, work: Work, number: int | None) -> Job:
        """Return a job, which is started if there is none for this state.

        Args:
            number: the job that a request asks for again: it is returned whatever the state is now.
        """
        known = self._jobs.get(key)
        if known is not None and (
            known.running or known.number == number or (known.state == state and not known.failed)
        ):
            return known
        job = self._jobs[key] = Job(next(self._numbers), state, work, self._turn)
        return job
