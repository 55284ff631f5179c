"""Recall: compares an index's answers with the exact ones, measures both latencies, and knows targets by use case."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from theodolite.errors import EngineError, InputError
from theodolite.filters import Filter
from theodolite.indexes.ann.calibration import mean_and_stderr, synthetic_queries
from theodolite.protocols import Answer, Efforts, Engine, Request
from theodolite.types import Space, Vectors

Kind = Literal["given", "noise"]

_SYNTHETIC = 500  # synthetic queries, if none are given
_TRIES = 10  # attempts to get both answers from one commit while others write
_Z = 1.96  # z value of a two-sided 95 % interval


@dataclass(frozen=True, slots=True)
class Target:
    """A recall and latency target.

    Attributes:
        recall: the minimum mean recall, and the recall above which users hardly notice an improvement.
        seconds: the desired and the maximum p95 latency; None for offline work.
    """

    recall: tuple[float, float]
    seconds: tuple[float, float] | None

    def passed(self, recall: float, seconds: float) -> bool:
        """Return whether a recall (its lower confidence bound) and a p95 latency reach the target."""
        return recall >= self.recall[0] and (self.seconds is None or seconds <= self.seconds[1])


TARGETS = {
    "rag": Target((0.90, 0.95), (0.050, 0.100)),
    "recommendation": Target((0.85, 0.90), (0.010, 0.030)),
    "images": Target((0.92, 0.97), (0.050, 0.200)),
    "fraud": Target((0.99, 0.99), (0.200, 0.200)),
    "offline": Target((0.99, 0.99), None),
}


def target(use_case: str) -> Target:
    """Return the target of a use case. Raises InputError for an unknown one."""
    if use_case not in TARGETS:
        raise InputError(f"there is no target for {use_case!r}; known: {', '.join(TARGETS)}", use_case=use_case)
    return TARGETS[use_case]


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of one search without embedding, in seconds: the mean and three quantiles."""

    mean: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        return cls(float(np.mean(seconds)), *(float(value) for value in np.quantile(seconds, (0.5, 0.95, 0.99))))


@dataclass(frozen=True, slots=True)
class Effort:
    """The recall and the latency of an index with another effort than the one it is tuned for.

    Attributes:
        effort: for an index of a folder, the number of proposals for each query.
        recall, interval: of lists as long as those that targets apply to, as in `Recall`.
        latency: of one search.
    """

    effort: int
    recall: float
    interval: tuple[float, float]
    latency: Latency


@dataclass(frozen=True, slots=True, repr=False)
class Recall:
    """The recall of an index against the exact answers, with latencies.

    Attributes:
        queries: the number of measured queries.
        kind: `given`, or `noise`: stored rows with noise added, harder than most real questions.
        recall: for each k, the mean share of the true top k that was found; a row that ties with the k-th counts.
        interval: for each k, the 95 % confidence interval of that mean; (1, 1) if every answer is proven exact.
        approximate: the share of queries answered by the approximate index; the others got the exact answer.
        index, exact: the latencies.
        unsettled: queries left out because concurrent writes kept their two answers from seeing the same commit.
        efforts: the same with other efforts, ascending; empty unless they were asked for.
    """

    queries: int
    kind: Kind
    recall: Mapping[int, float]
    interval: Mapping[int, tuple[float, float]]
    approximate: float
    index: Latency
    exact: Latency
    unsettled: int = field(default=0)
    efforts: tuple[Effort, ...] = field(default=())

    @property
    def k(self) -> int:
        """The k that targets apply to: 10, or the nearest measured one."""
        return min(self.recall, key=lambda k: (abs(k - 10), k))

    def passes(self, use_case: str) -> bool:
        """Return whether the lower bound of the recall and the index's p95 latency reach a use case's target.

        Raises:
            InputError: the use case is unknown (see `TARGETS`).
        """
        return target(use_case).passed(self.interval[self.k][0], self.index.p95)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values; latencies in seconds."""
        return {
            "queries": self.queries,
            "kind": self.kind,
            "unsettled": self.unsettled,
            "approximate": self.approximate,
            "recall": {str(k): {"mean": mean, "interval": list(self.interval[k])} for k, mean in self.recall.items()},
            "latency": {"index": _seconds(self.index), "exact": _seconds(self.exact)},
            **({"efforts": [_effort_as_json(each) for each in self.efforts]} if self.efforts else {}),
            "targets": {
                name: {
                    "recall": list(aim.recall),
                    "seconds": None if aim.seconds is None else list(aim.seconds),
                    "passed": self.passes(name),
                }
                for name, aim in TARGETS.items()
            },
        }

    def __repr__(self) -> str:
        low, high = self.interval[self.k]
        found = f"recall@{self.k} {self.recall[self.k]:.4f} ({low:.4f} to {high:.4f})"
        return f"<Recall: {self.queries:,} queries, {found}, p95 {1e3 * self.index.p95:.2f} ms>"

    def _repr_html_(self) -> str:
        from theodolite.display import html_table  # imported in notebooks

        rows = [
            (f"recall@{k}", f"{mean:.4f}", "95 % interval {:.4f} to {:.4f}".format(*self.interval[k]))
            for k, mean in self.recall.items()
        ]
        for name, latency in (("index", self.index), ("exact", self.exact)):
            rows.append((f"latency, {name}", f"{1e3 * latency.mean:.2f} ms", f"p95 {1e3 * latency.p95:.2f} ms"))
        return html_table(next(self._lines()), (), rows)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        what = "given" if self.kind == "given" else "made of stored rows and noise"
        yield f"{self.queries:,} queries, {what}; {self.approximate:.0%} answered by the approximate index"
        if self.unsettled:
            yield f"{self.unsettled:,} more were left out because of concurrent writes"
        yield ""
        for k, mean in self.recall.items():
            low, high = self.interval[k]
            yield f"{f'recall@{k}':<16}{mean:.4f}   95 % interval {low:.4f} to {high:.4f}"
        yield ""
        yield f"{'latency, ms':<16}{'mean':>9}{'p50':>9}{'p95':>9}{'p99':>9}"
        for name, latency in (("index", self.index), ("exact", self.exact)):
            yield f"{name:<16}" + "".join(f"{1e3 * value:9.2f}" for value in _seconds(latency).values())
        yield ""
        yield f"{'use case':<16}{f'recall@{self.k}':>13}{'p95, ms':>13}"
        for name, aim in TARGETS.items():
            within = "-" if aim.seconds is None else _range(1e3 * aim.seconds[0], 1e3 * aim.seconds[1], ".0f")
            verdict = "pass" if self.passes(name) else "fail"
            yield f"{name:<16}{_range(*aim.recall, '.2f'):>13}{within:>13}   {verdict}"


def measure(
    engine: Engine,
    queries: Vectors | None,
    k: Sequence[int],
    where: Filter | None = None,
    progress: Callable[[int], object] | None = None,
    *,
    efforts: bool = False,
) -> Recall:
    """Search each query twice, with the index and exactly, one at a time and in alternating order.

    Args:
        queries: (n, d), prepared; None makes up to about 500 queries from stored rows.
        k: the values of k to measure, each at least 1.
        progress: called with 1 after each query; an exception it raises ends the measurement.
        efforts: also search with other efforts of the index, for a curve.

    Raises:
        InputError: there are no queries, or no document is eligible.
        EngineError: concurrent writes kept changing the collection, so no query got both answers from one commit.
    """
    kind: Kind = "given" if queries is not None else "noise"
    vectors = near_stored_rows(engine, where) if queries is None else queries
    if not len(vectors):
        raise InputError("there are no queries to measure with, or no documents to make them of")
    longest = max(k)
    found: dict[int, list[float]] = {length: [] for length in k}
    seconds: tuple[list[float], list[float]] = ([], [])
    unsettled = approximate = 0
    truth: list[tuple[int, Answer]] = []
    _both(engine, Vectors(vectors[:1]), longest, where, 0)  # warm up: the first search loads data
    for number in range(len(vectors)):
        pair = _both(engine, Vectors(vectors[number : number + 1]), longest, where, number)
        if pair is None:
            unsettled += 1
            continue
        (given, true), times = pair
        if not true.similarities:
            raise InputError("no document is eligible: there is nothing to find")
        truth.append((number, true))
        for length, values in found.items():
            values.append(share(given.similarities, true.similarities, length))
        for kept, value in zip(seconds, times, strict=True):
            kept.append(value)
        approximate += not given.trace.complete
        if progress is not None:
            progress(1)
    measured = len(vectors) - unsettled
    if not measured:
        raise EngineError("concurrent writes kept changing the collection, so no query could be compared. Try again")
    made = Recall(
        queries=measured,
        kind=kind,
        recall={length: float(np.mean(values)) for length, values in found.items()},
        interval={length: interval(values, proven=not approximate) for length, values in found.items()},
        approximate=approximate / measured,
        index=Latency.of(seconds[0]),
        exact=Latency.of(seconds[1]),
        unsettled=unsettled,
    )
    return replace(made, efforts=tuple(_efforts(engine, vectors, made.k, where, truth))) if efforts else made


def _efforts(
    engine: Engine, vectors: Vectors, k: int, where: Filter | None, truth: Sequence[tuple[int, Answer]]
) -> Iterator[Effort]:
    """Search with each effort that is worth it, until exact search is faster or nothing is missed any more."""
    if not isinstance(engine, Efforts):
        return
    for effort in engine.efforts(k):
        recalls, seconds = [], []
        for number, true in truth:
            request = Request(Vectors(vectors[number : number + 1]), k, where, probe=True)
            started = time.perf_counter()
            (given,) = engine.search_with_effort(request, effort)
            taken = time.perf_counter() - started
            if not given.trace.complete and given.trace.commit == true.trace.commit:
                recalls.append(share(given.similarities, true.similarities, k))
                seconds.append(taken)
        if len(recalls) <= len(truth) / 2:
            return
        yield Effort(effort, float(np.mean(recalls)), interval(recalls), Latency.of(seconds))
        if min(recalls) == 1:
            return


def share(given: Sequence[float], true: Sequence[float], k: int) -> float:
    """Return the share of the true top k among the first k given. Both are similarities, best first.

    Scores are exact on every path, so any row as similar as the k-th counts. The share is 1 if `true` is empty.
    """
    size = min(k, len(true))
    if not size:
        return 1.0
    least = true[size - 1]
    return sum(similarity >= least for similarity in given[:size]) / size


def interval(values: Sequence[float], *, proven: bool = False, z: float = _Z) -> tuple[float, float]:
    """Return a confidence interval of the mean recall.

    It adds one query with recall 0.5 to the sample, because a sample without misses does not prove a recall of 1.
    With `proven`, every answer is known to be exact and the interval is (1, 1).
    """
    if proven:
        return 1.0, 1.0
    if not len(values):
        return 0.0, 1.0
    mean, error = mean_and_stderr(values)
    return max(0.0, mean - z * error), min(1.0, max(mean + z * error, float(np.mean(values))))


def near_stored_rows(engine: Engine, where: Filter | None = None, count: int = _SYNTHETIC) -> Vectors:
    """Return synthetic queries near stored rows, (m, d): evenly spaced over the eligible rows in id order."""
    eligible = engine.count(where)
    step = max(1, -(-eligible // count))
    rows = [vector for _, vector in islice(engine.documents(where), 0, None, step)]
    space = engine.space
    if not rows:
        return Vectors(np.empty((0, space.dimension or 0), np.float32))
    return synthetic_queries(np.array(rows), Space(space.metric, space.dimension, "any"))


def _both(
    engine: Engine, query: Vectors, k: int, where: Filter | None, number: int
) -> tuple[tuple[Answer, Answer], tuple[float, float]] | None:
    """Return the index's answer and the exact one, from one commit, with their seconds; None if that fails."""
    for _ in range(_TRIES):
        answers: dict[bool, Answer] = {}
        times: dict[bool, float] = {}
        for exact in (False, True) if number % 2 else (True, False):  # the second search finds the documents cached
            request = Request(query, k, where, exact=exact, probe=True)
            started = time.perf_counter()
            (answers[exact],) = engine.search(request)
            times[exact] = time.perf_counter() - started
        if answers[False].trace.commit == answers[True].trace.commit:
            return (answers[False], answers[True]), (times[False], times[True])
    return None


def _effort_as_json(effort: Effort) -> dict[str, Any]:
    return {
        "effort": effort.effort,
        "recall": {"mean": effort.recall, "interval": list(effort.interval)},
        "latency": _seconds(effort.latency),
    }


def _seconds(latency: Latency) -> dict[str, float]:
    return {"mean": latency.mean, "p50": latency.p50, "p95": latency.p95, "p99": latency.p99}


def _range(low: float, high: float, form: str) -> str:
    return f"{low:{form}}" if low == high else f"{low:{form}}–{high:{form}}"
