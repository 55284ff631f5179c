"""Read what callers pass: documents, ids, numbers, vectors and paths."""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import DocumentError, InputError, VectorError, short_repr, type_of
from theodolite.metadata import encode
from theodolite.types import Document

_ORDER = "A document takes its text first: Document(text, metadata, id=...)"

DocumentLike = Document | str | Mapping[str, Any]
"""A document, its text, or a mapping with `text` and, optionally, `id` and `metadata`."""


def as_document(
    item: DocumentLike, number: int, place: Callable[[Document], Document] = lambda document: document
) -> Document:
    """Return an item as a document with an id, after `place` has changed it; `number` is for messages.

    Raises:
        DocumentError: it is not a document.
    """
    match item:
        case Document():
            document = item
        case str():
            document = Document(item)
        case Mapping():
            unknown = [key for key in item if key not in ("id", "text", "metadata")]
            if unknown or "text" not in item:
                what = f"the unknown key {unknown[0]!r}" if unknown else "no 'text'"
                raise DocumentError(
                    f"document number {number} has {what}; a mapping has 'text', and may have 'id' and 'metadata'",
                    index=number,
                )
            metadata, id = item.get("metadata"), item.get("id")
            document = Document(item["text"], {} if metadata is None else metadata, "" if id is None else id)
        case _:
            raise DocumentError(f"document number {number} is {_foreign(item)}", index=number)
    if type(document.metadata) is not dict and not isinstance(document.metadata, Mapping):
        raise DocumentError(
            f"document number {number} cannot be stored: metadata is {type_of(document.metadata)}, not a "
            f"mapping of names to values. {_ORDER}",
            index=number,
        )
    document = place(document)
    # 0 and False are mistakes, and the store refuses them.
    return _named(document, number) if document.id in (None, "") else document


def _foreign(item: Any) -> str:
    """Describe something that is not a document, with the call that makes one of it."""
    kind = type(item).__name__
    if hasattr(item, "page_content"):
        return f"a {kind} of LangChain; pass Document(doc.page_content, doc.metadata, id=doc.id or '')"
    if hasattr(item, "get_content") and hasattr(item, "node_id"):
        return f"a {kind} of LlamaIndex; pass Document(node.get_content(), node.metadata, id=node.node_id)"
    return f"a {kind}; expected a Document, a text or a mapping"


def _named(document: Document, number: int) -> Document:
    """Return the document with an id derived from its text and metadata."""
    if not isinstance(document.text, str):
        raise DocumentError(
            f"the text of document number {number} is {type_of(document.text)}, not a string. {_ORDER}",
            index=number,
        )
    if not document.text:
        raise DocumentError(
            f"document number {number} has neither an id nor a text to derive one from. Pass an id",
            index=number,
        )
    try:
        parts = document.text.encode(), encode(document.metadata, canonical=True).encode()
    except UnicodeEncodeError:
        raise DocumentError(
            f"the text of document number {number} holds a lone surrogate, which is not text; decode the source "
            "with errors='replace'",
            index=number,
        ) from None
    except DocumentError as error:
        raise DocumentError(f"document number {number} cannot be stored: {error}", index=number) from error
    digest = blake2b(b"%d " % len(parts[0]) + parts[0] + parts[1], digest_size=16)
    return Document(document.text, document.metadata, digest.hexdigest())


def as_ids(ids: str | Iterable[str]) -> list[str]:
    """Return one id or several as a list. Raises DocumentError for ids that are not strings, or not UTF-8."""
    listed = [ids] if isinstance(ids, str) else list(ids)
    for name in listed:
        if not isinstance(name, str):
            raise DocumentError(f"id {name!r} is {type_of(name)}; ids are strings", id=name)
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DocumentError(f"id {name!r} holds a lone surrogate, which is not text", id=name) from None
    return listed


def is_number(given: Any) -> bool:
    """Return whether the value is a number of Python or numpy, and not a boolean."""
    return isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool)


def as_k(k: Any, name: str = "k") -> int:
    """Return a number of hits. Raises InputError unless it is a whole number of at least 1."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"{name} is {k!r}; it must be a whole number of at least 1", k=k)
    return int(k)


def as_count(count: Any, name: str) -> int:
    """Return a count. Raises InputError unless it is a whole number of at least 0."""
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
        raise InputError(f"{name} is {count!r}; it must be a whole number of at least 0")
    return int(count)


def check_questions(texts: Any) -> None:
    """Raise InputError for a query without text."""
    for number, query in enumerate(texts):
        if not isinstance(query, str) or not query.strip():
            hint = ", or search_many for several queries" if isinstance(query, (list, tuple)) else ""
            raise InputError(
                f"query {number} is {short_repr(query)}; expected a string that is not blank{hint}", index=number
            )


def as_threshold(threshold: Any) -> float:
    """Return a cosine to reach. Raises InputError unless it is a number above 0 and at most 1."""
    number = isinstance(threshold, (int, float, np.integer, np.floating)) and not isinstance(threshold, bool)
    if not number or not 0 < threshold <= 1:
        raise InputError(
            f"threshold is {threshold!r}; it is a cosine above 0 and at most 1, such as 0.92", threshold=threshold
        )
    return float(threshold)


def as_batch(vector: Any) -> Any:
    """Return one vector as a batch of one."""
    shape = getattr(vector, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == 1:
        return vector
    return vector[None] if hasattr(vector, "dtype") else [vector]


def as_vectors(vectors: Any, name: str) -> Any:
    """Return vectors, (n, d) or an iterable. Raises VectorError for values without rows, such as a number or a text."""
    rows = vectors.ndim > 0 if hasattr(vectors, "ndim") else hasattr(vectors, "__iter__")
    if not rows or isinstance(vectors, (str, bytes, bytearray, Mapping)):
        raise VectorError(
            f"{name} is {short_repr(vectors)} ({type(vectors).__name__}); expected an array (n, dimension), or a list "
            "of vectors"
        )
    return vectors


def as_folder(location: Any) -> Path:
    """Return a folder's absolute path. Raises InputError, as `as_path`."""
    return as_path(location, "location")


def as_path(given: Any, name: str) -> Path:
    """Return an absolute path.

    Args:
        name: the argument's name, for messages.

    Raises:
        InputError: it is not a str or a path-like, is empty, contains NUL, or is not UTF-8.
    """
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise InputError(f"{name} is {short_repr(text)} ({type(text).__name__}); pass a str or a pathlib.Path")
    if not text:  # an unset environment variable, for example; pathlib would take the working directory
        raise InputError(f"{name} is empty; pass a path, or '.' for the working directory")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} is {short_repr(text)}, which is not UTF-8; rename it") from None
    if "\0" in text:
        raise InputError(f"{name} is {short_repr(text)}, which contains a NUL character; no file can have such a name")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~name of an unknown user
        raise InputError(f"{name} is {short_repr(text)}: {error}") from error


def check_lengths(documents: Any, vectors: Any) -> None:
    """Raise DocumentError if documents and vectors differ in number."""
    if hasattr(documents, "__len__") and hasattr(vectors, "__len__") and len(documents) != len(vectors):
        raise DocumentError(
            f"there are {len(documents)} documents and {len(vectors)} vectors; each document needs one. "
            "Nothing is stored",
            documents=len(documents),
            vectors=len(vectors),
        )


def taker(vectors: Any) -> Callable[[int], Any]:
    """Return a function that returns the next n vectors: slices of an array, or items of an iterable."""
    if vectors is None:
        return lambda n: None
    if not hasattr(vectors, "shape"):
        rows = iter(vectors)
        return lambda n: list(itertools.islice(rows, n))
    given = 0

    def slices(n: int) -> Any:
        nonlocal given
        given += n
        return vectors[given - n : given]

    return slices
