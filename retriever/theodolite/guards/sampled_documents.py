"""Sampled documents: a few of the caller's own documents, embedded again and compared with their stored vectors."""

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
from theodolite.guards.noise import Doubles, Noise, noise_between
from theodolite.guards.notes import keep_note, read_note
from theodolite.protocols import Embedder, Engine, Scope
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.metrics import Cosine, get_metric
from theodolite.vectors.prepare import prepare

NOTE = "canary-documents"
MAX_DOCUMENTS = 8
_MAX_PER_BATCH = 4
_MAX_CHARACTERS = 2000  # longer documents would slow down opening

Entry = tuple[str, Any, str]
"""Id, partition value or None, and SHA-256 of the vector. Documents whose vector has changed are left out."""


def read_sample(engine: Engine) -> list[Entry]:
    """Return the sample stored with the collection.

    Raises:
        CorruptionError: it cannot be read.
    """
    text = read_note(engine, NOTE)
    if text is None:
        return []
    try:
        entries = [(str(name), partition, str(digest)) for name, partition, digest in json.loads(text)]
        if not all(isinstance(partition, (str, int, float, NoneType)) for _, partition, _ in entries):
            raise TypeError("a partition is not a plain value")
        return entries
    except MALFORMED as error:
        raise CorruptionError(f"the stored sample of documents (note {NOTE!r}) cannot be read: {error}") from error


def unchanged_entries(engine: Engine, sample: list[Entry]) -> list[Entry]:
    """Return the entries whose documents still have the same vector; others may be replaced."""
    digests = {_digest(vector) for _, vector in _unchanged(engine, sample)}
    return [entry for entry in sample if entry[2] in digests]


def add_documents(engine: Engine, sample: list[Entry], documents: Sequence[Document], vectors: Vectors) -> list[Entry]:
    """Add some of these documents, which were stored with these vectors, to the sample, and store it."""
    field = engine.partition
    short = [i for i, document in enumerate(documents) if len(document.text) <= _MAX_CHARACTERS]
    count = min(_MAX_PER_BATCH, MAX_DOCUMENTS - len(sample), len(short))
    parts = [short[i * len(short) // count : (i + 1) * len(short) // count] for i in range(count)]
    # The shortest of each part: they are embedded whenever the collection is opened.
    chosen = [min(part, key=lambda i: len(documents[i].text)) for part in parts]
    added: list[Entry] = [
        (documents[i].id, None if field is None else documents[i].metadata[field], _digest(vectors[i])) for i in chosen
    ]
    if added:
        sample = [*sample, *added]
        keep_note(engine, NOTE, json.dumps(sample))
    return sample


def sample_drift(engine: Engine, embedder: Embedder, sample: list[Entry], noise: Noise | None) -> Drift | None:
    """Compare vectors of sampled documents with the stored ones; None if there are no documents left.

    Also None if a transform subtracts a mean, because transforms such as `Whiten` can then amplify rounding errors
    without limit.

    Args:
        noise: the noise of the embedder, as recorded with the canary.
    """
    if any(transform.subtracts_mean for transform in engine.space.transforms):
        return None
    stored = list(_unchanged(engine, sample))
    if not stored:
        return None
    texts = tuple(document.text for document, _ in stored)
    then = np.array([vector for _, vector in stored], np.float64)
    now = _embed(engine, embedder, texts)
    return compare("corpus", texts, then, now, noise, norms=not get_metric(engine.space.metric).normalizes)


def sample_noise(engine: Engine, embedder: Embedder, drift: Drift) -> Noise:
    """Measure the noise of sampled documents by embedding them one by one and together.

    The batches in which they were stored are no longer known.
    """
    alone = np.concatenate([_embed(engine, embedder, (text,)) for text in drift.texts])
    again = _embed(engine, embedder, drift.texts[:1])
    return noise_between((alone[:1], again), (_embed(engine, embedder, drift.texts), alone))


def _embed(engine: Engine, embedder: Embedder, texts: tuple[str, ...]) -> Doubles:
    """Return the vectors of documents as they would be stored; NaN for vectors that would be refused."""
    space = engine.space
    try:
        return as_stored(embedder.encode_document(texts), space).astype(np.float64)
    except VectorError:
        return np.full((len(texts), space.stored.dimension or 1), np.nan)


def as_stored(vectors: Any, space: Space, name: str = "vectors") -> Vectors:
    """Return vectors as they would be stored, but accept norms that would be refused, because drift reports them.

    Raises:
        VectorError: vectors are zero, NaN, infinite, or of another dimension.
    """
    if not space.transforms:
        return prepare(vectors, replace(space, norms="any"), name=name)[0]
    try:
        return prepare(vectors, space, name=name)[0]
    except VectorError:  # perhaps because of norms; normalize before the transforms
        return prepare(prepare(vectors, Space(Cosine.name), name=name)[0], space, name=name)[0]


def _unchanged(engine: Engine, sample: list[Entry]) -> Iterator[tuple[Document, NDArray[np.float32]]]:
    """Yield the sampled documents whose vectors have not changed."""
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
