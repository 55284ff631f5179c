"""Parts by name: a name leads to a class or function, which is imported when it is first asked for.

Names exist for the command line and for `Retriever.open`; objects never need one. Other packages add names
through the entry-point group `theodolite.<kind>`, for example `theodolite.embedders`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from theodolite.errors import ConfigError, MissingExtraError

# kind -> name -> ("module:attribute", the extra that brings what the module needs)
_TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "embedders": {
        "sentence-transformers": (
            "theodolite.embedders.sentence_transformers:SentenceTransformerEmbedder",
            "sentence-transformers",
        ),
        "onnx": ("theodolite.embedders.onnx.embedder:OnnxEmbedder", "onnx"),
        "onnx-int8": ("theodolite.embedders.onnx.embedder:int8", "onnx"),
    },
    "rerankers": {
        "cross-encoder": ("theodolite.rerankers.cross_encoder:CrossEncoderReranker", "sentence-transformers"),
        "cross-encoder-onnx": ("theodolite.rerankers.cross_encoder:onnx", "onnx"),
    },
    # faiss comes by an entry point of our own package: the way that is open to any other.
    "indexes": {"hnsw": ("theodolite.indexes.hnsw:HnswIndex", "hnsw")},
}

# extra -> the import names of the packages it brings
_PACKAGES: dict[str, tuple[str, ...]] = {
    "cli": ("bs4", "charset_normalizer", "markdown_it", "markdownify", "rich", "semantic_text_splitter", "typer"),
    "faiss": ("faiss",),
    "hnsw": ("hnswlib",),
    "pdf": ("pypdf",),
    "minilm": ("sentence_transformers",),
    "onnx": ("onnx", "onnxruntime", "sentence_transformers", "tokenizers", "huggingface_hub"),
    "sentence-transformers": ("sentence_transformers",),
}


def load(kind: str, name: str) -> Callable[..., Any]:
    """The class or function behind a name. Our own names come before those of entry points.

    Raises:
        ConfigError: the name is not known.
        MissingExtraError: the optional package it needs is not installed. Other failures to import it pass
            through.
    """
    if name not in _TABLE.get(kind, {}):
        return _from_entry_point(kind, name)
    target, extra = _TABLE[kind][name]
    module, _, attribute = target.partition(":")
    with optional(extra) if extra else nullcontext():
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def names(kind: str) -> list[str]:
    """All names of a kind, sorted: ours and those of other packages."""
    return sorted({*_TABLE.get(kind, {}), *(point.name for point in _entry_points(kind))})


@contextmanager
def optional(extra: str) -> Iterator[None]:
    """Around the import of a package that `extra` brings: its absence becomes MissingExtraError.

    Only of those: a module missing inside an installed package is another fault, and keeps its own message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name
        if package not in _PACKAGES[extra]:
            raise
        hint = f"pip install 'theodolite[{extra}]'"
        message = f"the package {package!r} is not installed. Run: {hint}"
        raise MissingExtraError(message, extra=extra, package=package, hint=hint) from error


def _from_entry_point(kind: str, name: str) -> Callable[..., Any]:
    for point in _entry_points(kind):
        if point.name == name:
            found: Callable[..., Any] = point.load()
            return found
    from difflib import get_close_matches

    known = names(kind)
    close = get_close_matches(name, known, n=1)
    raise ConfigError(
        f"there is nothing called {name!r} among the {kind}."
        + (f" Did you mean {close[0]!r}?" if close else "")
        + f" Known: {', '.join(known) or 'none'}",
        name=name,
        known=known,
    )


def _entry_points(kind: str) -> Any:
    from importlib.metadata import entry_points  # tens of milliseconds, needed for names only

    return entry_points(group=f"theodolite.{kind}")
