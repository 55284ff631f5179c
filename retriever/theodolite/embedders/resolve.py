"""Embedders: what `embedder=` may be, and how it becomes an `Embedder`."""

import os
from typing import Any

from theodolite import plugins
from theodolite.embedders.functions import CallableEmbedder
from theodolite.errors import ConfigError
from theodolite.protocols import Embedder

__all__ = ["CallableEmbedder", "resolve"]

_OURS = "sentence-transformers"

_FITS = (
    "Pass the name or the folder of a sentence-transformers model, 'name:argument' for an embedder of "
    "another package, an object with dimension, encode_query and encode_document, a loaded "
    "SentenceTransformer, a function from a list of texts to vectors, a pair of them (for queries, for "
    "documents), or None"
)


def resolve(embedder: Any) -> Embedder | None:
    """Turn what a caller passes as `embedder` into an Embedder.

    Args:
        embedder: one of

            - None, which stays None: the caller brings vectors;
            - an object with `dimension`, `encode_query` and `encode_document`: itself (without `dimension`,
              that is found by encoding a short text when it is first needed);
            - a string: `"name:argument"` or `"name"`, where the name is known to `theodolite.plugins`, else
              the name of a sentence-transformers model, on the Hugging Face hub or in a folder;
            - a path: the folder of a sentence-transformers model;
            - a loaded SentenceTransformer;
            - a function from a list of texts to their vectors, or a pair of functions: for queries, for
              documents.

    Raises:
        ConfigError: it is none of these, the name is not known, or the model cannot be loaded.
        MissingExtraError: the package it needs is not installed.
        CorruptionError: the files of the model are damaged.
    """
    match embedder:
        case None:
            return None
        case str():
            return _by_name(embedder)
        case os.PathLike():
            return _fitting(plugins.load("embedders", _OURS)(embedder), _OURS)
        case type():
            raise ConfigError(f"embedder is the class {embedder.__qualname__}; pass an object of it. {_FITS}")
        case (query, document) if callable(query) and callable(document):
            return CallableEmbedder(query, document)
    if _encodes(embedder):
        if _has(embedder, "dimension"):
            found: Embedder = embedder
            return found
        if _has(embedder, "get_sentence_embedding_dimension") or _has(embedder, "get_embedding_dimension"):
            return _fitting(plugins.load("embedders", _OURS)(embedder), _OURS)
        return CallableEmbedder(embedder.encode_query, embedder.encode_document)  # finds the dimension itself
    if callable(embedder):
        return CallableEmbedder(embedder, embedder)
    raise ConfigError(f"embedder is a {type(embedder).__name__}, which does not fit. {_FITS}")


def _by_name(text: str) -> Embedder:
    if not text.strip():
        raise ConfigError(f"embedder is an empty name. {_FITS}")
    return _fitting(plugins.create("embedders", text, _OURS), text)


def _fitting(made: Any, name: str) -> Embedder:
    if not (_encodes(made) and _has(made, "dimension")):
        raise ConfigError(
            f"the embedder {name!r} made a {type(made).__name__}, which lacks dimension, encode_query or "
            "encode_document"
        )
    found: Embedder = made
    return found


def _encodes(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("encode_query", "encode_document"))


def _has(value: Any, name: str) -> bool:
    # The class first: reading a property may already call a model.
    return hasattr(type(value), name) or hasattr(value, name)
