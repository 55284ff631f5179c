"""The reranking stage of a search: its options, and a run that keeps its deadline and never returns partial results."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, RerankError, TheodoliteError, type_of
from theodolite.protocols import Reranker
from theodolite.rerankers.cross_encoder import CrossEncoderReranker, RerankOutput
from theodolite.rerankers.resolve import resolve

_BATCH = 8  # documents scored between two checks of the deadline, if the reranker has no batch size of its own


@dataclass(frozen=True, slots=True)
class Rerank:
    """Options for reranking the first documents of a search.

    Attributes:
        reranker: a reranker, a model's name or folder, or a function (see `rerankers.resolve.resolve`).
        candidates: how many documents of the first stage the reranker reads.
        deadline: time limit in seconds; None for none. With a deadline the documents are scored in batches, and the
            clock is checked after each, so a run can be late by one batch.
        on_error: `raise` an error if the reranker fails or is late, or `fallback` to the ranking of the first stage;
            `trace.rerank` says which.
        batch: documents in a batch. Default: the reranker's own `batch_size`, or 8. Scores must be comparable between
            batches: a reranker that compares the documents of a list with each other needs all of them in one batch. A
            CrossEncoderReranker uses its own batches.
        progress: called after each batch with the number of documents in it. Its exceptions pass through.
        min_relevance: in [0, 1]. A search drops documents whose calibrated score is lower, before boosts. Documents
            beyond `candidates` do not replace them.
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
            ConfigError: an option is invalid.
            MissingExtraError: the reranker needs a package that is not installed.
        """
        for option, number in (("candidates", self.candidates), ("batch", self.batch)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ConfigError(f"{option} is {number!r}; it must be a whole number, at least 1")
        if self.deadline is not None and not (isinstance(self.deadline, (int, float)) and 0 < self.deadline < np.inf):
            raise ConfigError(f"deadline is {self.deadline!r}; pass seconds above 0, or None")
        if self.on_error not in ("raise", "fallback"):
            raise ConfigError(f"on_error is {self.on_error!r}; expected 'raise' or 'fallback'")
        if self.progress is not None and not callable(self.progress):
            raise ConfigError(f"progress is {self.progress!r}; pass a function of the number of documents scored")
        threshold = self.min_relevance
        if threshold is not None:
            is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
            if not is_number or not 0 <= threshold <= 1:
                raise ConfigError(f"min_relevance is {threshold!r}; it must be a number between 0 and 1")
            if self.on_error == "fallback":
                raise ConfigError(
                    "min_relevance needs calibrated scores, which a fallback does not have. Leave it out, or pass "
                    "on_error='raise'"
                )
        object.__setattr__(self, "reranker", resolve(self.reranker))

    def run(self, query: str, texts: Sequence[str]) -> "RerankResult":
        """Score all of the texts, or none of them.

        Args:
            texts: n texts, all read; `candidates` and `min_relevance` are for searches.

        Raises:
            RerankError: `on_error` is `raise` and the reranker failed, was late, or did not return one finite score for
                each text.
        """
        run = _Run(self, query, list(texts))
        try:
            return run.score_all()
        except _DeadlineExceeded:
            why = f"deadline of {self.deadline:g} s, {run.scored} of {len(run.texts)} documents scored"
            cause: Exception | None = None
        except _ProgressError as stopped:
            raise stopped.error from None
        except Exception as error:  # rerankers may raise any error
            why = str(error) if isinstance(error, RerankError) else f"{type(error).__name__}: {error}"
            cause = error
        if self.on_error == "fallback":
            return RerankResult(None, None, f"fallback: {why}", run.seconds, run.scored)
        if isinstance(cause, TheodoliteError):
            raise cause
        raise RerankError(
            f"reranking failed after {run.seconds:.3g} s: {why}. Raise the deadline, lower candidates, or pass "
            "on_error='fallback'"
            if cause is None
            else f"reranking failed: {why}. Pass on_error='fallback' to get the first stage's ranking instead",
            scored=run.scored,
            total=len(run.texts),
            seconds=run.seconds,
        ) from cause


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The result of a run.

    Attributes:
        scores: raw scores that rank the texts, (n,) float64; None after a fallback.
        calibrated: the same in [0, 1], (n,) float64; None after a fallback.
        status: `ok`, or `fallback: ` and the reason.
        seconds: duration of the run.
        scored: how many texts were scored, even if that was not all.
        cached: how many scores came from a cache.
        windows: number of windows of all texts; 0 if the reranker does not report it.
        truncated: how many texts were not read to their end; 0 if the reranker does not report it.
        truncated_tokens: how many tokens of the query were cut off; 0 if the reranker does not report it.
    """

    scores: NDArray[np.float64] | None
    calibrated: NDArray[np.float64] | None
    status: str
    seconds: float
    scored: int = 0
    cached: int = 0
    windows: int = 0
    truncated: int = 0
    truncated_tokens: int = 0

    @property
    def ok(self) -> bool:
        """Whether there are scores."""
        return self.scores is not None


class _DeadlineExceeded(Exception):
    """The deadline is over."""


class _ProgressError(Exception):
    """The caller's `progress` raised, which is not a failure of the reranker."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Run:
    """One run: how many texts are scored so far, and when it began."""

    def __init__(self, stage: Rerank, query: str, texts: list[str]) -> None:
        self.stage, self.query, self.texts = stage, query, texts
        self.reranker: Reranker = stage.reranker
        self.scored = 0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def score_all(self) -> RerankResult:
        output = self._read()
        scores = output.scores
        calibrated = _numbers(self.reranker.calibrate(scores), len(scores), "calibrate")
        ordered = calibrated[np.argsort(scores, kind="stable")]
        if not ((calibrated >= 0) & (calibrated <= 1)).all() or (np.diff(ordered) < 0).any():
            raise RerankError(
                f"calibrate of the reranker must keep the order of the scores and return values in [0, 1]; it returned "
                f"values from {calibrated.min():g} to {calibrated.max():g}"
            )
        return RerankResult(
            scores,
            calibrated,
            "ok",
            self.seconds,
            self.scored,
            output.cached,
            int(output.windows.sum()),
            output.truncated,
            output.truncated_tokens,
        )

    def _read(self) -> RerankOutput:
        if isinstance(self.reranker, CrossEncoderReranker):
            return self.reranker.read(self.query, self.texts, progress=self._on_scored)
        parts = [np.zeros(0)]
        size = max(1, len(self.texts))
        if self.stage.deadline is not None:
            size = self.stage.batch or getattr(self.reranker, "batch_size", None) or _BATCH
        for start in range(0, len(self.texts), size):
            part = self.texts[start : start + size]
            scores = self.reranker.score(self.query, list(part))  # a copy, because a function may change its list
            parts.append(_numbers(scores, len(part), "score"))
            self._on_scored(len(part))
        return RerankOutput(np.concatenate(parts), np.zeros(len(self.texts), np.int64))

    def _on_scored(self, number: int) -> None:
        self.scored += number
        if self.stage.progress is not None:
            try:
                self.stage.progress(number)
            except Exception as error:
                raise _ProgressError(error) from error
        if self.stage.deadline is not None and self.seconds > self.stage.deadline:
            raise _DeadlineExceeded


def _numbers(given: Any, count: int, method: str) -> NDArray[np.float64]:
    """Return the numbers that a method of the reranker returned, as (count,) float64.

    Raises:
        RerankError: there is not one finite number for each text.
    """
    if callable(getattr(given, "detach", None)):  # a tensor of torch
        given = given.detach().cpu().double().numpy()
    try:
        numbers: NDArray[np.float64] = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise RerankError(
            f"{method} of the reranker returned {type_of(given)}; expected an array of numbers"
        ) from error
    if numbers.shape == (count, 1):
        numbers = numbers[:, 0]
    if numbers.shape != (count,):
        raise RerankError(
            f"{method} of the reranker returned an array of shape {numbers.shape} for {count} texts; "
            f"expected ({count},)",
            expected=count,
            shape=numbers.shape,
        )
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise RerankError(
            f"{method} of the reranker returned {len(bad)} of {count} values that are not finite, first "
            f"{numbers[bad[0]]} for text {bad[0]}",
            index=int(bad[0]),
        )
    return numbers
