"""Make an `Embedder` from a name, a folder, an object or functions."""

import os
from typing import Any

from theodolite import plugins
from theodolite.embedders.functions import CallableEmbedder
from theodolite.errors import ConfigError, MissingExtraError, UnsupportedError, type_of
from theodolite.protocols import Embedder

_TORCH = "sentence-transformers"
_ONNX = ("onnxruntime", "tokenizers", "huggingface_hub")

_ACCEPTED = (
    "Pass the name or the folder of a sentence-transformers model, 'name:argument' for an embedder of "
    "another package, an object with dimension, encode_query and encode_document, a loaded "
    "SentenceTransformer, a function from a list of texts to vectors, a pair of them (for queries, for "
    "documents), or None"
)


def resolve(embedder: Any) -> Embedder | None:
    """Convert the argument to an Embedder.

    Args:
        embedder: one of

            - None, which stays None: the caller brings vectors;
            - an object with `dimension`, `encode_query` and `encode_document`, which is returned as it is. Without
              `dimension`, a short text is encoded when the dimension is first needed;
            - a string: `"name:argument"` or `"name"` with a name of `theodolite.plugins`, else the name of a
              sentence-transformers model on the Hugging Face hub, or its folder (see `model_embedder`);
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
            return model_embedder(embedder)
        case type():
            raise ConfigError(f"embedder is the class {embedder.__qualname__}; pass an instance. {_ACCEPTED}")
        case (query, document) if callable(query) and callable(document):
            return CallableEmbedder(query, document)
    if _encodes(embedder):
        if _has(embedder, "dimension"):
            complete: Embedder = embedder
            return complete
        if _has(embedder, "get_sentence_embedding_dimension") or _has(embedder, "get_embedding_dimension"):
            return check_embedder(plugins.load("embedders", _TORCH)(embedder), _TORCH)
        return CallableEmbedder(embedder.encode_query, embedder.encode_document)
    if callable(embedder):
        return CallableEmbedder(embedder, embedder)
    raise ConfigError(f"embedder is {type_of(embedder)}. {_ACCEPTED}")


def _by_name(text: str) -> Embedder:
    if not text.strip():
        raise ConfigError(f"embedder is an empty name. {_ACCEPTED}")
    return check_embedder(plugins.create("embedders", text, model_embedder), text)


def model_embedder(model: str | os.PathLike[str], *, precision: str | None = None, **settings: Any) -> Embedder:
    """Return the embedder of a sentence-transformers model: on onnxruntime if possible, else on torch.

    Both give the same vectors. onnxruntime is used if the extra `embed` is installed and the model has a float32 ONNX
    file or has been exported before.

    Args:
        precision: the data type to compute in. Anything but `float32` needs torch.
        settings: `revision`, `query_prompt` and `document_prompt`, if they are not the model's own.

    Raises:
        MissingExtraError: neither is installed, or only torch can run the model and is not installed.
        ConfigError: the model cannot be loaded.
        CorruptionError: the files of the model are damaged.
    """
    torch = plugins.installed("sentence_transformers")
    on_torch = plugins.load("embedders", _TORCH)
    if precision not in (None, "float32"):
        return check_embedder(on_torch(model, precision=precision, **settings), _TORCH)
    if torch and not plugins.installed(*_ONNX):
        return check_embedder(on_torch(model, **settings), _TORCH)
    from theodolite.embedders.hub import UnreachableError
    from theodolite.embedders.onnx.embedder import OnnxEmbedder

    try:
        return OnnxEmbedder(model, export=False, **settings)
    except UnreachableError:
        if not torch:
            raise
    except UnsupportedError as error:
        if not torch:
            extra, hint = _TORCH, f"pip install 'theodolite[{_TORCH}]'"
            raise MissingExtraError(f"{error}. To load it with torch, run: {hint}", extra=extra, hint=hint) from error
    return check_embedder(on_torch(model, **settings), _TORCH)


def check_embedder(made: Any, name: str) -> Embedder:
    """Return the object that a plug-in made. Raises ConfigError if it is not an Embedder."""
    if not (_encodes(made) and _has(made, "dimension")):
        raise ConfigError(
            f"the embedder {name!r} made {type_of(made)}, which lacks dimension, encode_query or encode_document"
        )
    embedder: Embedder = made
    return embedder


def _encodes(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("encode_query", "encode_document"))


def _has(value: Any, name: str) -> bool:
    # The class first, because reading a property may call a model.
    return hasattr(type(value), name) or hasattr(value, name)
