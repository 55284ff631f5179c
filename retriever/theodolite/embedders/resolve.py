"""Make an `Embedder` from a name, a folder, an object or functions."""

import os
from typing import Any

from theodolite import plugins
from theodolite.embedders.functions import CallableEmbedder
from theodolite.errors import ConfigError
from theodolite.protocols import Embedder

_DEFAULT = "sentence-transformers"

_ACCEPTED = (
    "Pass the name or the folder of a sentence-transformers model, 'name:argument' for an embedder of "
    "another package, an object with dimension, encode_query and encode_document, a loaded "
    "SentenceTransformer, a function from a list of texts to vectors, a pair of them (for queries, for "
    "documents), or None"
)


def resolve(embedder: Any) -> Embedder | None:
    """Return the Embedder that the argument stands for.

    Args:
        embedder: one of

            - None, which stays None: the caller brings vectors;
            - an object with `dimension`, `encode_query` and `encode_document`, which is returned as it is. Without
              `dimension`, a short text is encoded when the dimension is first needed;
            - a string: `"name:argument"` or `"name"` with a name of `theodolite.plugins`, else the name of a
              sentence-transformers model on the Hugging Face hub, or its folder;
            - a path: the folder of a sentence-transformers model;
            - a loaded SentenceTransformer;
            - a function from a list of texts to their vectors, or a pair of functions: for queries, for documents.

    Raises:
        ConfigError: the argument is none of these, the name is unknown, or the model cannot be loaded.
        MissingExtraError: a package that the embedder needs is not installed.
        CorruptionError: the files of the model are damaged.
    """
    match embedder:
        case None:
            return None
        case str():
            return _by_name(embedder)
        case os.PathLike():
            return _checked(plugins.load("embedders", _DEFAULT)(embedder), _DEFAULT)
        case type():
            raise ConfigError(f"embedder is the class {embedder.__qualname__}; pass an instance. {_ACCEPTED}")
        case (query, document) if callable(query) and callable(document):
            return CallableEmbedder(query, document)
    if _encodes(embedder):
        if _has(embedder, "dimension"):
            complete: Embedder = embedder
            return complete
        if _has(embedder, "get_sentence_embedding_dimension") or _has(embedder, "get_embedding_dimension"):
            return _checked(plugins.load("embedders", _DEFAULT)(embedder), _DEFAULT)
        return CallableEmbedder(embedder.encode_query, embedder.encode_document)
    if callable(embedder):
        return CallableEmbedder(embedder, embedder)
    raise ConfigError(f"embedder is a {type(embedder).__name__}. {_ACCEPTED}")


def _by_name(text: str) -> Embedder:
    if not text.strip():
        raise ConfigError(f"embedder is an empty name. {_ACCEPTED}")
    return _checked(plugins.create("embedders", text, _DEFAULT), text)


def _checked(made: Any, name: str) -> Embedder:
    if not (_encodes(made) and _has(made, "dimension")):
        raise ConfigError(
            f"the embedder {name!r} made a {type(made).__name__}, which lacks dimension, encode_query or "
            "encode_document"
        )
    embedder: Embedder = made
    return embedder


def _encodes(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("encode_query", "encode_document"))


def _has(value: Any, name: str) -> bool:
    # The class first, because reading a property may call a model.
    return hasattr(type(value), name) or hasattr(value, name)
