"""The reranking stage of a search: its options, and one run of it, which ends in time and never half done."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, RerankError, TheodoliteError
from theodolite.protocols import Reranker
from theodolite.rerankers.cross_encoder import CrossEncoderReranker
from theodolite.rerankers.output import RerankOutput
from theodolite.rerankers.resolve import resolve

_BATCH = 8  # passages scored between two looks at the clock, where the reranker has no batch size of its own


@dataclass(frozen=True, slots=True)
class Rerank:
    """How the first passages of a search are ranked anew.

    Attributes:
        reranker: what `theodolite.rerankers.resolve.resolve` takes; a Reranker once this is made.
        candidates: how many passages of the first stage it reads.
        deadline: seconds that it may take; None without an end. The passages are then scored in parts, and the clock
            is looked at after each: it can be late by one part.
        on_error: what happens when the reranker fails or is late: `raise` an error, or `fallback` to the ranking of
            the first stage, which the answer tells.
        batch: passages in a part; None for the reranker's own `batch_size`, or 8. Scores must be comparable between
            parts: a reranker that holds the passages of one list against each other needs one part. Of a
            CrossEncoderReranker, the parts are its batches.
        progress: called after each part with the number of passages scored in it. What it raises passes through.
        min_relevance: in [0, 1]; a search leaves out passages whose calibrated score is less, before boosts. What is
            left out is not made up for by passages beyond `candidates`.
    """

    reranker: Any
    candidates: int = 50
    deadline: float | None = None
    on_error: Literal["raise", "fallback"] = "raise"
    batch: int | None = None
    progress: Callable[[int], object] | None = None
    min_relevance: float | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: an option that does not fit.
            MissingExtraError: the reranker needs a package that is not installed.
        """
        for what, number in (("candidates", self.candidates), ("batch", self.batch)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ConfigError(f"{what} is {number!r}; it must be a whole number, at least 1")
        if self.deadline is not None and not (isinstance(self.deadline, (int, float)) and 0 < self.deadline < np.inf):
            raise ConfigError(f"deadline is {self.deadline!r}; pass seconds above 0, or None")
        if self.on_error not in ("raise", "fallback"):
            raise ConfigError(f"on_error is {self.on_error!r}; expected 'raise' or 'fallback'")
        if self.progress is not None and not callable(self.progress):
            raise ConfigError(f"progress is {self.progress!r}; pass a function of the number of passages scored")
        least = self.min_relevance
        if least is not None:
            if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
                raise ConfigError(f"min_relevance is {least!r}; the calibrated score lies in [0, 1]")
            if self.on_error == "fallback":
                raise ConfigError(
                    "min_relevance is for the calibrated score, and after a fallback there is none: leave it "
                    "out, or pass on_error='raise'"
                )
        object.__setattr__(self, "reranker", resolve(self.reranker))

    def run(self, query: str, texts: Sequence[str]) -> "Reranked":
        """Score all of the passages, or none: what a search does with those it has found.

        Args:
            texts: n passages, all of which are read; `candidates` and `min_relevance` are for searches.

        Raises:
            RerankError: the reranker failed, was late, or did not give one finite score for each passage, where
                `on_error` is `raise`. KeyboardInterrupt passes in any case.
        """
        run = _Run(self, query, list(texts))
        try:
            return run.all()
        except _Late:
            why = f"deadline of {self.deadline:g} s, {run.scored} of {len(run.texts)} passages scored"
            cause: Exception | None = None
        except _Stopped as stopped:
            raise stopped.error from None
        except Exception as error:  # whatever a reranker raises
            why = str(error) if isinstance(error, RerankError) else f"{type(error).__name__}: {error}"
            cause = error
        if self.on_error == "fallback":
            return Reranked(None, None, f"fallback: {why}", run.seconds, run.scored)
        if isinstance(cause, TheodoliteError):
            raise cause
        raise RerankError(
            f"reranking failed after {run.seconds:.3g} s: {why}. Raise the deadline, lower candidates, or pass "
            "on_error='fallback'"
            if cause is None
            else f"reranking failed: {why}. With on_error='fallback' the first stage's ranking is returned instead",
            scored=run.scored,
            total=len(run.texts),
            seconds=run.seconds,
        ) from cause


@dataclass(frozen=True, slots=True)
class Reranked:
    """What came of it.

    Attributes:
        scores: raw, (n,) float64, by which passages are ranked; None after a fallback.
        calibrated: the same in [0, 1], (n,) float64; None after a fallback.
        status: `ok`, or `fallback: ` and why.
        seconds: how long it took.
        scored: how many passages were scored, also where that was too few.
        cached: of how many the score was remembered.
        windows: in how many windows the texts were read; 0 where the reranker does not tell.
        truncated: how many texts were not read to their end, as far as the reranker tells.
        unread: how many tokens of the query were not read, as far as the reranker tells.
    """

    scores: NDArray[np.float64] | None
    calibrated: NDArray[np.float64] | None
    status: str
    seconds: float
    scored: int = 0
    cached: int = 0
    windows: int = 0
    truncated: int = 0
    unread: int = 0

    @property
    def ok(self) -> bool:
        """Whether there are scores."""
        return self.scores is not None


class _Late(Exception):
    """The deadline is over."""


class _Stopped(Exception):
    """The caller's `progress` raised: no failure of the reranker."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Run:
    """One run: what has been scored so far, and since when it runs."""

    def __init__(self, stage: Rerank, query: str, texts: list[str]) -> None:
        self.stage, self.query, self.texts = stage, query, texts
        self.reranker: Reranker = stage.reranker
        self.scored = 0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def all(self) -> Reranked:
        reading = self._read()
        scores = reading.scores
        calibrated = _numbers(self.reranker.calibrate(scores), len(scores), "calibrate")
        ordered = calibrated[np.argsort(scores, kind="stable")]
        if not ((calibrated >= 0) & (calibrated <= 1)).all() or (np.diff(ordered) < 0).any():
            raise RerankError(
                f"calibrate of the reranker must keep the order of the scores and stay in [0, 1]; it goes from "
                f"{calibrated.min():g} to {calibrated.max():g}"
            )
        return Reranked(
            scores,
            calibrated,
            "ok",
            self.seconds,
            self.scored,
            reading.cached,
            int(reading.windows.sum()),
            reading.truncated,
            reading.unread,
        )

    def _read(self) -> RerankOutput:
        if isinstance(self.reranker, CrossEncoderReranker):
            return self.reranker.read(self.query, self.texts, progress=self._done)
        parts = [np.zeros(0)]
        size = max(1, len(self.texts))
        if self.stage.deadline is not None:
            size = self.stage.batch or getattr(self.reranker, "batch_size", None) or _BATCH
        for start in range(0, len(self.texts), size):
            part = self.texts[start : start + size]
            found = self.reranker.score(self.query, list(part))  # a copy: a function may change its list
            parts.append(_numbers(found, len(part), "score"))
            self._done(len(part))
        return RerankOutput(np.concatenate(parts), np.zeros(len(self.texts), np.int64))

    def _done(self, number: int) -> None:
        self.scored += number
        if self.stage.progress is not None:
            try:
                self.stage.progress(number)
            except Exception as error:
                raise _Stopped(error) from error
        if self.stage.deadline is not None and self.seconds > self.stage.deadline:
            raise _Late


def _numbers(given: Any, count: int, what: str) -> NDArray[np.float64]:
    """What a reranker returned, as (count,) float64.

    Raises:
        RerankError: it is not one finite number for each text.
    """
    if callable(getattr(given, "detach", None)):  # a tensor of torch
        given = given.detach().cpu().double().numpy()
    try:
        found: NDArray[np.float64] = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise RerankError(
            f"{what} of the reranker returned a {type(given).__name__}, not an array of numbers"
        ) from error
    if found.shape == (count, 1):
        found = found[:, 0]
    if found.shape != (count,):
        raise RerankError(
            f"{what} of the reranker returned an array of shape {found.shape} for {count} texts; expected ({count},)",
            expected=count,
            shape=found.shape,
        )
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise RerankError(
            f"{what} of the reranker returned {len(bad)} of {count} values that are not finite, first {found[bad[0]]} "
            f"for text {bad[0]}",
            index=int(bad[0]),
        )
    return found
