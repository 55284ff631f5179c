"""Known answers: questions whose similarity to a document is known, asked at every opening."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from theodolite.errors import MALFORMED, ConfigError, CorruptionError, VectorError
from theodolite.guards.noise import Noise
from theodolite.guards.notes import keep_note, read_note
from theodolite.guards.sampled_documents import as_stored
from theodolite.protocols import Embedder, Engine, Scope
from theodolite.vectors.metrics import get_metric

NOTE = "known-answers"
_ROUNDING = 1e-5  # by which vectors of the same float32 model differ between machines and numbers of threads


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What is expected of one question.

    Attributes:
        query: the question.
        document: the id of the document that answers it.
        low, high: the bounds of their similarity.
        partition: the value of the partition field, where the collection has one.
    """

    query: str
    document: str
    low: float
    high: float
    partition: str | int | None = None


def as_answers(expect: Iterable[Any], field: str | None) -> tuple[KnownAnswer, ...]:
    """What a caller passes: (query, id, low, high), in a partitioned collection (query, (partition, id), low, high).

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(expect, (str, bytes)) or not isinstance(expect, Iterable):
        raise ConfigError(f"expect is a {type(expect).__name__}; expected a list of (query, document id, low, high)")
    return tuple(_answer(item, number, field) for number, item in enumerate(expect))


def _answer(item: Any, number: int, field: str | None) -> KnownAnswer:
    try:
        query, document, low, high = item
        partition, name = (None, document) if field is None else document
    except (TypeError, ValueError):
        shape = "(query, document id, low, high)" if field is None else f"(query, ({field}, document id), low, high)"
        raise ConfigError(f"expect[{number}] is {item!r}; expected {shape}") from None
    if not isinstance(query, str) or not query.strip() or not isinstance(name, str) or not name:
        raise ConfigError(f"expect[{number}] is {item!r}: the query must be a text and the document an id")
    try:
        bounds = float(low), float(high)
    except (TypeError, ValueError):
        raise ConfigError(f"expect[{number}]: the bounds are {low!r} and {high!r}; they must be numbers") from None
    if not bounds[0] <= bounds[1] or not all(map(math.isfinite, bounds)):
        raise ConfigError(f"expect[{number}]: the bounds are {low!r} and {high!r}; low must not be above high")
    return KnownAnswer(query, name, *bounds, partition)


def read_answers(engine: Engine) -> tuple[KnownAnswer, ...]:
    text = read_note(engine, NOTE)
    if text is None:
        return ()
    try:
        return tuple(_kept(*values) for values in json.loads(text))
    except (ConfigError, *MALFORMED) as error:
        raise CorruptionError(f"the note of known answers cannot be read: {error}") from error


def _kept(query: Any, document: Any, low: Any, high: Any, partition: Any = None) -> KnownAnswer:
    if partition is None:
        return _answer((query, document, low, high), 0, None)
    if not isinstance(partition, (str, int)):
        raise TypeError(f"{partition!r} is no partition")
    return _answer((query, (partition, document), low, high), 0, "partition")


def keep_answers(engine: Engine, answers: Sequence[KnownAnswer]) -> None:
    keep_note(engine, NOTE, json.dumps([astuple(answer) for answer in answers]) if answers else None)


def broken(engine: Engine, embedder: Embedder, answers: Sequence[KnownAnswer], noise: Noise | None) -> tuple[str, ...]:
    """The answers that do not hold, in words.

    A similarity outside its bounds by less than the noise of a question's vector still holds: the questions are
    embedded together here, and one by one when they are searched for.
    """
    if not answers:
        return ()
    space = engine.space
    metric = get_metric(space.metric)
    try:
        queries = as_stored(embedder.encode_query([answer.query for answer in answers]), space, "query vectors")
    except VectorError as error:
        return (f"the known answers cannot be asked: {error}",)
    angle = _ROUNDING + math.sqrt(2 * max(0.0, 1 - (noise or Noise()).cosine))
    said = []
    for answer, query in zip(answers, queries, strict=True):
        scope = None if answer.partition is None else Scope(answer.partition)
        stored = engine.get([answer.document], scope=scope)
        what = f"the known answer to {answer.query!r}, document {answer.document!r},"
        if not stored:
            said.append(f"{what} is not in the collection.")
            continue
        document = stored[0][1]
        found = float(metric.scores(query, document[None])[0])
        # A vector that turns by an angle moves by no more than the angle times its length.
        slack = angle * float(np.linalg.norm(query)) * (1.0 if metric.by_distance else float(np.linalg.norm(document)))
        if not answer.low - slack <= found <= answer.high + slack:
            said.append(f"{what} has similarity {found:.4f}; {answer.low:g} to {answer.high:g} is expected.")
    return tuple(said)
