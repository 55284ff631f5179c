"""A few documents of the collection, embedded again: the canary's texts are ours, these are the caller's own."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import MALFORMED, CorruptionError, VectorError
from theodolite.guards.drift import Drift, compare
from theodolite.guards.noise import Doubles, Noise, between
from theodolite.guards.notes import keep_note, read_note
from theodolite.protocols import Embedder, Engine, Scope
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.metrics import Cosine, get_metric
from theodolite.vectors.prepare import prepare

NOTE = "canary-documents"
MOST = 8
_EACH = 4  # of one batch
_LONGEST = 2000  # characters; longer ones would take too long at each opening

Entry = tuple[str, Any, str]
"""Id, partition's value or None, and SHA-256 of the vector: a document that was given another since is left out."""


def read_sample(engine: Engine) -> list[Entry]:
    text = read_note(engine, NOTE)
    if text is None:
        return []
    try:
        entries = [(str(name), partition, str(digest)) for name, partition, digest in json.loads(text)]
        if not all(isinstance(partition, (str, int, float, NoneType)) for _, partition, _ in entries):
            raise TypeError("a partition is no plain value")
        return entries
    except MALFORMED as error:
        raise CorruptionError(f"the note of sampled documents cannot be read: {error}") from error


def still_stored(engine: Engine, sample: list[Entry]) -> list[Entry]:
    """The sample without documents that were deleted or given another vector: others may take their places."""
    digests = {_digest(vector) for _, vector in _stored(engine, sample)}
    return [entry for entry in sample if entry[2] in digests]


def join(engine: Engine, held: list[Entry], documents: Sequence[Document], vectors: Vectors) -> list[Entry]:
    """The sample with some of these documents, which have been stored with these vectors; kept in the engine."""
    field = engine.partition
    short = [i for i, document in enumerate(documents) if len(document.text) <= _LONGEST]
    count = min(_EACH, MOST - len(held), len(short))
    chosen = [short[i * len(short) // count] for i in range(count)]
    added: list[Entry] = [
        (documents[i].id, None if field is None else documents[i].metadata[field], _digest(vectors[i])) for i in chosen
    ]
    if added:
        held = [*held, *added]
        keep_note(engine, NOTE, json.dumps(held))
    return held


def drift_of(engine: Engine, embedder: Embedder, sample: list[Entry], noise: Noise | None) -> Drift | None:
    """Vectors of sampled documents now, compared with those stored; None where no document is left.

    None, too, where a mean has been taken off: what is left, and `Whiten` above all, enlarges rounding without bound.

    Args:
        noise: of the embedder, as the canary knows it.
    """
    if any(transform.subtracts_mean for transform in engine.space.transforms):
        return None
    found = list(_stored(engine, sample))
    if not found:
        return None
    texts = tuple(document.text for document, _ in found)
    then = np.array([vector for _, vector in found], np.float64)
    now = _embed(engine, embedder, texts)
    return compare("corpus", texts, then, now, noise, norms=not get_metric(engine.space.metric).normalizes)


def noise_of(engine: Engine, embedder: Embedder, drift: Drift) -> Noise:
    """The noise of sampled documents, which are embedded one by one and together.

    The batches in which they were stored cannot be made again.
    """
    alone = np.concatenate([_embed(engine, embedder, (text,)) for text in drift.texts])
    again = _embed(engine, embedder, drift.texts[:1])
    return between((alone[:1], again), (_embed(engine, embedder, drift.texts), alone))


def _embed(engine: Engine, embedder: Embedder, texts: tuple[str, ...]) -> Doubles:
    """Vectors of documents as they would be stored; NaN where they could not be."""
    space = engine.space
    try:
        return as_stored(embedder.encode_document(texts), space).astype(np.float64)
    except VectorError:
        return np.full((len(texts), space.stored.dimension or 1), np.nan)


def as_stored(vectors: Any, space: Space, name: str = "vectors") -> Vectors:
    """Vectors as they would be stored, lengths that would be refused among them: these are to be told of.

    Raises:
        VectorError: they are zero, NaN, infinite, or of another dimension.
    """
    if not space.transforms:
        return prepare(vectors, replace(space, norms="any"), name=name)[0]
    try:
        return prepare(vectors, space, name=name)[0]
    except VectorError:  # other lengths, perhaps; what transforms make of them depends on the policy
        return prepare(prepare(vectors, Space(Cosine.name), name=name)[0], space, name=name)[0]


def _stored(engine: Engine, sample: list[Entry]) -> Iterator[tuple[Document, NDArray[np.float32]]]:
    parts: defaultdict[Any, dict[str, str]] = defaultdict(dict)
    for name, partition, digest in sample:
        parts[partition][name] = digest
    for partition, digests in parts.items():
        scope = None if partition is None else Scope(partition)
        for document, vector in engine.get(list(digests), scope=scope):
            if _digest(vector) == digests[document.id] and document.text.strip():
                yield document, vector


def _digest(vector: NDArray[np.float32]) -> str:
    return sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()
