"""Simulated time and searches for the monitor's tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Alert, Document, Monitor
from theodolite.engines.local import LocalEngine
from theodolite.protocols import Answer, Request
from theodolite.types import Trace, Vectors

HOUR = 3600.0
DAY = 24 * HOUR
START = 1_750_000_000.0


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def answer(similarity: float | None, *, complete: bool = True) -> Answer:
    found = [] if similarity is None else [Document("t", id="d")]
    trace = Trace("scan", 9, 9, 9, complete=complete)
    return Answer(found, [] if similarity is None else [similarity], trace)


def request(d: int = 4) -> Request:
    return Request(Vectors(np.ones((1, d), np.float32)), 10)


class Service:
    """A service with more searches by day than by night, and fewer on weekends.

    The similarity of its first hits has a rhythm of days and weeks and drifts slowly; every question differs.
    """

    def __init__(self, monitor: Monitor, clock: Clock, seed: int, *, per_hour: float = 40, noise: float = 0.12) -> None:
        self.monitor = monitor
        self.clock = clock
        self.draw = np.random.default_rng(seed)
        self.per_hour = per_hour
        self.noise = noise
        self.drift = 0.0
        self.fallen = 0.0
        self.norm = 1.0
        self.empty = 0.03

    def usual(self) -> float:
        hours = self.clock.now / HOUR
        day = 0.03 * np.sin(2 * np.pi * hours / 24)
        weekend = -0.03 if int(hours / 24) % 7 in (2, 3) else 0.0
        return float(0.68 + day + weekend + self.drift - self.fallen)

    def ask(self) -> None:
        similarity = float(np.clip(self.draw.normal(self.usual(), self.noise), -1, 1))
        found = None if self.draw.random() < self.empty else similarity
        self.monitor.norms(np.abs(self.draw.normal(self.norm, 0.02 * self.norm, 1)))
        self.monitor.searched(request(), [answer(found)], float(self.draw.exponential(0.01)))

    def run(self, hours: float) -> Iterator[Alert]:
        """Let time pass. The monitor runs as on its own: after fifty searches, or every quarter of an hour."""
        end = self.clock.now + hours * HOUR
        while self.clock.now < end:
            rate = self.per_hour * (1 + 0.8 * np.sin(2 * np.pi * self.clock.now / DAY))
            self.drift = float(0.99 * self.drift + self.draw.normal(0, 0.0015))
            for number in range(self.draw.poisson(rate / 4)):
                self.ask()
                if number % 50 == 49:
                    yield from self.monitor.flush()
            self.clock.now += HOUR / 4
            yield from self.monitor.flush()

    def searches_until_noticed(self, most: int = 400, every: int = 10) -> tuple[int, list[Alert]]:
        for asked in range(1, most + 1):
            self.ask()
            self.clock.now += 20
            if asked % every == 0 and (alerts := self.monitor.flush()):
                return asked, alerts
        return most, []


def watched(path: Any = None, **settings: Any) -> tuple[Monitor, Clock]:
    """A monitor over an empty engine, which is only asked for its space."""
    clock = Clock()
    monitor = Monitor(clock=clock, interval=None, path=path, **settings)
    monitor.attach(LocalEngine.open())
    return monitor, clock


class Words:
    """An embedder: a text is the sum of its words, each a random direction; a model of another seed has others."""

    def __init__(self, dimension: int = 48) -> None:
        self.dimension = dimension
        self.seed = 0
        self.normalizes = True

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float64]:
        vectors = np.array([sum(self._word(word) for word in text.split()) for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if self.normalizes else vectors

    encode_document = encode_query

    def _word(self, word: str) -> Any:
        seed = [self.seed, *word.encode()]
        return 4 * np.random.default_rng(seed).standard_normal(self.dimension)


def passages(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in draw.integers(400, size=9)) for _ in range(count)]


def questions(stored: Sequence[str], count: int, seed: int) -> list[str]:
    """Some words of a passage, and one of none."""
    draw = np.random.default_rng(seed)
    asked = []
    for number in range(count):
        words = stored[int(draw.integers(len(stored)))].split()
        draw.shuffle(words)
        asked.append(" ".join([*words[: int(draw.integers(4, 8))], f"x{seed}.{number}"]))
    return asked
