"""Documents as engines store them: checked, encoded and hashed."""

from collections.abc import Collection, Container, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError, DocumentError, type_of
from theodolite.metadata import check_names, encode, encode_to_store, stored_metadata
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
        """Return a hash of 16 bytes over the record and its vector, (d,)."""
        parts = self.id.encode(), self.text.encode(), self.metadata.encode(), self.partition.encode()
        lengths = b"%d %d %d %d %d " % (*map(len, parts), self.truncated)
        # Vectors are stored, and hashed, as little-endian: the byte order of every platform numpy has wheels for.
        result = blake2b(b"".join((lengths, *parts)), digest_size=16)
        result.update(vector.data)
        return result.digest()

    def document(self) -> Document:
        """Return the document. Raises CorruptionError if the record is damaged."""
        if not isinstance(self.id, str) or not isinstance(self.text, str):
            raise CorruptionError(f"a stored document is damaged: its id is {self.id!r:.80}. Run verify()")
        return Document(self.text, stored_metadata(self.metadata), self.id)


def make_records(
    documents: Sequence[Document],
    truncated: Container[int] = (),
    field: str | None = None,
    scope: Scope | None = None,
) -> tuple[list[Record], list[int]]:
    """Return the records to store, and the place of each in the batch. Of equal ids in a partition, the last is stored.

    Args:
        truncated: places of documents whose text the embedder did not read to its end.
        field: the field that partitions the collection.
        scope: a partition that all documents must belong to.

    Raises:
        DocumentError: a document cannot be stored. The error names the first.
    """
    for index, document in enumerate(documents):
        if not isinstance(document.id, str):
            raise _refusal(document, index, f"the id is {type_of(document.id)}, not a string")
    batch = [_record(document, index, truncated, field) for index, document in enumerate(documents)]
    if scope is not None:
        key = key_within(scope, field)
        for index, record in enumerate(batch):
            if record.partition != key:
                raise _refusal(documents[index], index, f"it belongs to another {field} than {scope.partition!r}")
    last = {(record.id, record.partition): index for index, record in enumerate(batch)}
    places = sorted(last.values())
    return [batch[index] for index in places], places


def check_all_found(ids: Collection[str], found: Container[str]) -> None:
    """Raise DocumentError if ids to update are not in the collection."""
    missing = [name for name in ids if name not in found]
    if missing:
        raise DocumentError(
            f"{len(missing)} of {len(ids)} documents to update are not in the collection, first {missing[0]!r}. "
            "Nothing was updated; add them instead",
            ids=missing,
        )


def updated_record(stored: Record, change: Mapping[str, Any], field: str | None, *, replace: bool) -> Record:
    """Return a stored record with its metadata merged with `change`, or replaced.

    Args:
        field: the field that partitions the collection.

    Raises:
        DocumentError: the metadata cannot be stored, or the document would move to another partition.
    """
    if not isinstance(change, Mapping):
        raise DocumentError(f"metadata is {type_of(change)}, not a mapping of names to values. Nothing was updated")
    metadata = dict(change) if replace else {**stored_metadata(stored.metadata), **change}
    encoded = encode(metadata)
    check_names(change)  # not the stored ones: earlier versions allowed longer names
    if partition_key(field, metadata) != stored.partition:
        raise DocumentError(
            f"document {stored.id!r} cannot move to another partition: {field!r} is part of a document's key. Nothing "
            "was updated. Delete it and add it to the other partition",
            ids=[stored.id],
        )
    return stored._replace(metadata=encoded)


def _record(document: Document, index: int, truncated: Container[int], field: str | None) -> Record:
    if not isinstance(document.text, str):
        raise _refusal(document, index, f"the text is {type_of(document.text)}, not a string")
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
        f"document {document.id!r} (number {index} of the batch) cannot be stored: {why}. Nothing was stored",
        ids=[document.id],
        index=index,
    )
