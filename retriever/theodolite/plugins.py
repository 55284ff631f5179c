"""Plug-ins: embedders, rerankers, indexes and engines by name, imported when a name is first used.

Names exist for the command line and for `Retriever.open`; objects never need one. Other packages add names through
the entry-point group `theodolite.<kind>`, for example `theodolite.embedders`. The name of an engine is a URL scheme.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from os import path
from typing import Any

from theodolite.errors import ConfigError, MissingExtraError, did_you_mean

# kind -> name -> ("module:attribute", the extra with the packages that the module needs)
_TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "embedders": {
        "sentence-transformers": (
            "theodolite.embedders.sentence_transformers:SentenceTransformerEmbedder",
            "sentence-transformers",
        ),
        "onnx": ("theodolite.embedders.onnx.embedder:OnnxEmbedder", "embed"),
        "onnx-int8": ("theodolite.embedders.onnx.embedder:int8", "embed"),
    },
    "rerankers": {
        "cross-encoder": ("theodolite.rerankers.cross_encoder:CrossEncoderReranker", "sentence-transformers"),
        "cross-encoder-onnx": ("theodolite.rerankers.cross_encoder:onnx", "onnx"),
    },
    # faiss is an entry point of our own package, registered like those of other packages.
    "indexes": {
        "hnsw": ("theodolite.indexes.hnsw:HnswIndex", "hnsw"),
        "symqg": ("theodolite.indexes.symqg:SymqgIndex", "symqg"),
    },
    "engines": {
        "dict": ("theodolite.testing.dict_engine:DictEngine", ""),
        "file": ("theodolite.engines.local:LocalEngine", ""),
        "http": ("theodolite.engines.http:HttpEngine", ""),
        "https": ("theodolite.engines.http:HttpEngine", ""),
        "milvus": ("theodolite.engines.milvus:MilvusEngine", "milvus"),
        "postgres": ("theodolite.engines.postgres:PostgresEngine", "postgres"),
        "postgresql": ("theodolite.engines.postgres:PostgresEngine", "postgres"),
    },
}

_GRAMMARS = ["bash", "c", "c_sharp", "cpp", "go", "java", "javascript", "php", "python", "ruby", "rust", "typescript"]

# extra -> the import names of the packages it brings
_PACKAGES: dict[str, tuple[str, ...]] = {
    "cli": (
        "bs4",
        "charset_normalizer",
        "markdown_it",
        "markdownify",
        "pathspec",
        "rich",
        "semantic_text_splitter",
        "typer",
        "yaml",
    ),
    "code": ("tree_sitter", *(f"tree_sitter_{each}" for each in _GRAMMARS)),
    "embed": ("huggingface_hub", "onnxruntime", "tokenizers"),
    "evaluate": ("ir_measures",),
    "faiss": ("faiss",),
    "hnsw": ("hnswlib",),
    "mcp": ("mcp", "orjson", "prometheus_client", "starlette", "uvicorn"),
    "milvus": ("pymilvus",),
    "office": ("docx", "pptx"),
    "pdf": ("pypdf",),
    "postgres": ("psycopg",),
    "report": ("sklearn", "vl_convert"),
    "minilm": ("sentence_transformers",),
    "onnx": ("huggingface_hub", "onnx", "onnxruntime", "sentence_transformers", "tokenizers"),
    "sentence-transformers": ("sentence_transformers",),
    "serve": ("orjson", "prometheus_client", "starlette", "uvicorn"),
    "symqg": ("rabitqlib",),
}

_NAMED = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)  # at least two characters: `C:\models` is a path


def load(kind: str, name: str) -> Callable[..., Any]:
    """Return the class or function behind a name. Built-in names take precedence over entry points.

    Raises:
        ConfigError: the name is not known.
        MissingExtraError: the optional package it needs is not installed. Other import errors pass through.
    """
    if name not in _TABLE.get(kind, {}):
        return _from_entry_point(kind, name)
    target, extra = _TABLE[kind][name]
    module, _, attribute = target.partition(":")
    with optional(extra) if extra else nullcontext():
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def create(kind: str, text: str, default: Callable[[str], Any]) -> Any:
    """Make an object from "name:argument" or "name"; any other text is the argument of `default`.

    Raises:
        ConfigError: there is no such name.
        MissingExtraError: an optional package is not installed.
    """
    named = _NAMED.fullmatch(text)
    if named and not path.exists(text):
        # No model on the Hugging Face hub has a colon in its name: an unknown name is a mistake, and `load` says so.
        name, argument = named.groups()
        make = load(kind, name)
        return make(argument) if argument else make()
    if text in names(kind):
        return load(kind, text)()
    return default(text)


def names(kind: str) -> list[str]:
    """Return all names of a kind, sorted: the built-in ones and those of other packages."""
    return sorted({*_TABLE.get(kind, {}), *(point.name for point in _entry_points(kind))})


def installed(*packages: str) -> bool:
    """Return whether all the packages can be imported, without importing them."""
    return all(
        sys.modules[name] is not None if name in sys.modules else find_spec(name) is not None for name in packages
    )


@contextmanager
def optional(extra: str) -> Iterator[None]:
    """Turn a failed import of a package that `extra` installs into MissingExtraError.

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
    raise unknown_name(kind, name, names(kind))


def unknown_name(kind: str, name: object, known: list[str]) -> ConfigError:
    """Return the error for a name that does not exist."""
    hint = did_you_mean(name, known)
    message = f"there are no {kind} named {name!r}.{hint} Known: {', '.join(known) or 'none'}"
    return ConfigError(message, name=name, known=known)


def _entry_points(kind: str) -> Any:
    from importlib.metadata import entry_points  # takes tens of milliseconds, and only names need it

    return entry_points(group=f"theodolite.{kind}")
