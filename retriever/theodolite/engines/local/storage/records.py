"""Documents as rows of the database: checked, encoded and hashed."""

import re
from collections.abc import Container, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import MALFORMED, CorruptionError, DocumentError
from theodolite.metadata import MAX_DEPTH, decode, encode_to_store
from theodolite.protocols import Scope
from theodolite.scopes import key_within, partition_key
from theodolite.types import Document


class Record(NamedTuple):
    """A document as it is stored."""

    id: str
    text: str
    metadata: str
    truncated: bool = False
    partition: str = ""

    def hash(self, vector: NDArray[np.float32]) -> bytes:
        """16 bytes that bind the record and its vector, (d,), together."""
        parts = self.id.encode(), self.text.encode(), self.metadata.encode(), self.partition.encode()
        lengths = b"%d %d %d %d %d " % (*map(len, parts), self.truncated)
        # Vectors are stored, and hashed, as little-endian: the byte order of every platform numpy has wheels for.
        digest = blake2b(b"".join((lengths, *parts)), digest_size=16)
        digest.update(vector.data)
        return digest.digest()

    def document(self) -> Document:
        if not isinstance(self.id, str) or not isinstance(self.text, str):
            raise CorruptionError(f"a stored document is damaged: its id is {self.id!r:.80}. Run verify()")
        return Document(self.text, stored_metadata(self.metadata), self.id)


def stored(metadata: str) -> Any:
    """Metadata, or one value of it, as the database holds it. Raises CorruptionError."""
    try:
        return decode(metadata)
    except MALFORMED as error:
        raise CorruptionError(
            f"stored metadata is damaged ({error}): {metadata!r:.80}. Restore the folder from a copy"
        ) from error


def stored_metadata(metadata: str) -> dict[str, Any]:
    """The metadata of one document, as the database holds it. Raises CorruptionError."""
    check_depth(metadata)
    found = stored(metadata)
    if not isinstance(found, dict):
        raise CorruptionError(f"stored metadata is damaged: it is no mapping: {metadata!r:.80}")
    return found


def check_depth(metadata: str) -> None:
    """Raises CorruptionError for JSON nested deeper than any that is stored: what reads it recurses."""
    if metadata.count("{") + metadata.count("[") <= _DEEPEST:
        return
    depth = 0
    for mark in _MARKS.findall(metadata):
        depth += (mark in "[{") - (mark in "]}")
        if depth > _DEEPEST:
            raise CorruptionError(f"stored metadata is damaged: it is nested too deeply: {metadata!r:.80}")


_DEEPEST = MAX_DEPTH + 1  # a date is stored as a mapping
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def records(
    documents: Sequence[Document],
    truncated: Container[int] = (),
    field: str | None = None,
    scope: Scope | None = None,
) -> tuple[list[Record], list[int]]:
    """The records to store, and which document each is made of; of equal ids in a partition the last one counts.

    Args:
        truncated: places of documents whose text the embedder did not read to its end.
        field: what partitions the collection.
        scope: the partition all of them must be of, if one is named.

    Raises:
        DocumentError: naming the first document that cannot be stored.
    """
    for index, document in enumerate(documents):
        if not isinstance(document.id, str):
            raise _refusal(document, index, f"the id is a {type(document.id).__name__}, not a string")
    made = [_record(document, index, truncated, field) for index, document in enumerate(documents)]
    if scope is not None:
        key = key_within(scope, field)
        for index, record in enumerate(made):
            if record.partition != key:
                raise _refusal(documents[index], index, f"it belongs to another {field} than {scope.partition!r}")
    last = {(record.id, record.partition): index for index, record in enumerate(made)}
    kept = sorted(last.values())
    return [made[index] for index in kept], kept


def _record(document: Document, index: int, truncated: Container[int], field: str | None) -> Record:
    if not isinstance(document.text, str):
        raise _refusal(document, index, f"the text is a {type(document.text).__name__}, not a string")
    for name, value in (("id", document.id), ("text", document.text)):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _refusal(
                    document,
                    index,
                    f"the {name} holds a lone surrogate, which is not text; decode the source with errors='replace'",
                ) from None
    if not document.id:
        raise _refusal(document, index, "it has no id")
    try:
        metadata = encode_to_store(document.metadata)
        key = partition_key(field, document.metadata)
        return Record(document.id, document.text, metadata, index in truncated, key)
    except DocumentError as error:
        raise _refusal(document, index, str(error)) from error


def _refusal(document: Document, index: int, why: str) -> DocumentError:
    return DocumentError(
        f"document {document.id!r} (number {index} of the batch) cannot be stored: {why}. Nothing of the batch was",
        ids=[document.id],
        index=index,
    )
