"""Known answers: queries with an expected similarity to a document, checked whenever the embedder is."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from theodolite.errors import MALFORMED, ConfigError, CorruptionError, VectorError, type_of
from theodolite.guards.noise import Noise
from theodolite.guards.notes import keep_note, read_note
from theodolite.guards.sampled_documents import as_stored
from theodolite.protocols import Embedder, Engine, Scope
from theodolite.vectors.metrics import get_metric

NOTE = "known-answers"
_ROUNDING = 1e-5  # angle between vectors of one float32 model on different machines or thread counts


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A query, a document, and the range of their similarity.

    Attributes:
        query: the text of the query.
        document: the id of the document that answers it.
        low, high: bounds of the similarity.
        partition: the document's value of the partition field, in a partitioned collection.
    """

    query: str
    document: str
    low: float
    high: float
    partition: str | int | None = None


def as_answers(expect: Iterable[Any], field: str | None) -> tuple[KnownAnswer, ...]:
    """Validate the known answers that a caller passes.

    Args:
        expect: tuples (query, id, low, high), or (query, (partition, id), low, high) in a partitioned collection.
        field: the partition field.

    Raises:
        ConfigError: an answer is invalid.
    """
    if isinstance(expect, (str, bytes)) or not isinstance(expect, Iterable):
        raise ConfigError(f"expect is {type_of(expect)}; expected a list of (query, document id, low, high)")
    return tuple(_answer(item, number, field) for number, item in enumerate(expect))


def _answer(item: Any, number: int, field: str | None) -> KnownAnswer:
    try:
        query, document, low, high = item
        partition, name = (None, document) if field is None else document
    except (TypeError, ValueError):
        shape = "(query, document id, low, high)" if field is None else f"(query, ({field}, document id), low, high)"
        raise ConfigError(f"expect[{number}] is {item!r}; expected {shape}") from None
    if not isinstance(query, str) or not query.strip() or not isinstance(name, str) or not name:
        raise ConfigError(f"expect[{number}] is {item!r}; the query must be a text and the document an id")
    try:
        bounds = float(low), float(high)
    except (TypeError, ValueError):
        raise ConfigError(f"expect[{number}] has the bounds {low!r} and {high!r}; they must be numbers") from None
    if not bounds[0] <= bounds[1] or not all(map(math.isfinite, bounds)):
        raise ConfigError(
            f"expect[{number}] has the bounds {low!r} and {high!r}; they must be finite, and low not above high"
        )
    return KnownAnswer(query, name, *bounds, partition)


def read_answers(engine: Engine) -> tuple[KnownAnswer, ...]:
    """Return the known answers stored with the collection.

    Raises:
        CorruptionError: they cannot be read.
    """
    text = read_note(engine, NOTE)
    if text is None:
        return ()
    try:
        return tuple(_from_json(*values) for values in json.loads(text))
    except (ConfigError, *MALFORMED) as error:
        raise CorruptionError(f"the stored known answers (note {NOTE!r}) cannot be read: {error}") from error


def _from_json(query: Any, document: Any, low: Any, high: Any, partition: Any = None) -> KnownAnswer:
    if partition is None:
        return _answer((query, document, low, high), 0, None)
    if not isinstance(partition, (str, int)):
        raise TypeError(f"{partition!r} is not a partition")
    return _answer((query, (partition, document), low, high), 0, "partition")


def store_answers(engine: Engine, answers: Sequence[KnownAnswer]) -> None:
    """Store known answers with the collection, replacing earlier ones."""
    keep_note(engine, NOTE, json.dumps([astuple(answer) for answer in answers]) if answers else None)


def wrong_answers(
    engine: Engine, embedder: Embedder, answers: Sequence[KnownAnswer], noise: Noise | None
) -> tuple[str, ...]:
    """Return a sentence for each answer whose document is missing or whose similarity is out of bounds.

    The bounds are widened by the noise of a query's vector, because queries are embedded together here but one by one
    in a search.
    """
    if not answers:
        return ()
    space = engine.space
    metric = get_metric(space.metric)
    try:
        queries = as_stored(embedder.encode_query([answer.query for answer in answers]), space, "query vectors")
    except VectorError as error:
        return (f"the known answers cannot be checked: {error}.",)
    angle = _ROUNDING + math.sqrt(2 * max(0.0, 1 - (noise or Noise()).cosine))
    wrong = []
    for answer, query in zip(answers, queries, strict=True):
        scope = None if answer.partition is None else Scope(answer.partition)
        stored = engine.get([answer.document], scope=scope)
        subject = f"the known answer to {answer.query!r}, document {answer.document!r},"
        if not stored:
            wrong.append(f"{subject} is not in the collection.")
            continue
        document = stored[0][1]
        similarity = float(metric.scores(query, document[None])[0])
        # A vector that turns by an angle moves by at most the angle times its length.
        slack = angle * float(np.linalg.norm(query)) * (1.0 if metric.by_distance else float(np.linalg.norm(document)))
        if not answer.low - slack <= similarity <= answer.high + slack:
            wrong.append(f"{subject} has similarity {similarity:.4f}; expected {answer.low:g} to {answer.high:g}.")
    return tuple(wrong)
