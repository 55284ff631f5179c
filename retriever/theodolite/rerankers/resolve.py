"""Rerankers: what `rerank=` may be, and how it becomes a `Reranker`."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import plugins
from theodolite.errors import ConfigError
from theodolite.protocols import Reranker
from theodolite.rerankers.output import logistic

__all__ = ["CallableReranker", "resolve"]

_OURS = "cross-encoder"

_NAMED = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)  # two characters at least: `C:\models` is a path

_FITS = (
    "Pass the name or the folder of a cross-encoder, 'name:argument' for a reranker of another package, an object "
    "with score(query, texts), a loaded CrossEncoder, or a function of a query and a list of texts"
)


class CallableReranker:
    """A function as a reranker; its scores are calibrated by the logistic function."""

    def __init__(self, function: Callable[[str, Sequence[str]], Any], batch_size: int | None = None) -> None:
        """
        Args:
            function: takes a query and n texts, returns n scores, higher is better.
            batch_size: how many texts to give it at once where there is a deadline.
        """
        self._function = function
        if batch_size is not None:
            self.batch_size = batch_size

    def score(self, query: str, texts: Sequence[str], /) -> Any:
        """What the function returns."""
        return self._function(query, texts)

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.float64]:
        """1 / (1 + exp(-score)), (n,)."""
        return logistic(scores)

    def __repr__(self) -> str:
        return f"<CallableReranker {getattr(self._function, '__qualname__', type(self._function).__name__)}>"


def resolve(reranker: Any) -> Reranker:
    """Turn what a caller passes as a reranker into a Reranker.

    Args:
        reranker: one of

            - an object with `score(query, texts)` and `calibrate(scores)`: itself; without `calibrate`, raw scores
              are calibrated by the logistic function;
            - a string: `"name:argument"` or `"name"`, where the name is known to `theodolite.plugins`, else the
              name of a cross-encoder, on the Hugging Face hub or in a folder;
            - a path: the folder of a cross-encoder;
            - a loaded CrossEncoder of sentence-transformers;
            - a function of a query and a list of texts, which returns their scores.

    Raises:
        ConfigError: it is none of these, the name is not known, or the model cannot be loaded.
        MissingExtraError: the package it needs is not installed.
    """
    match reranker:
        case str():
            return _by_name(reranker)
        case os.PathLike():
            return _fitting(plugins.load("rerankers", _OURS)(reranker))
        case type():
            raise ConfigError(f"the reranker is the class {reranker.__qualname__}; pass an object of it. {_FITS}")
    if callable(getattr(reranker, "score", None)):
        return _fitting(reranker)
    if callable(getattr(reranker, "predict", None)) and hasattr(reranker, "tokenizer"):
        return _fitting(plugins.load("rerankers", _OURS)(reranker))
    if callable(reranker):
        return CallableReranker(reranker)
    raise ConfigError(f"the reranker is a {type(reranker).__name__}, which does not fit. {_FITS}")


def _by_name(text: str) -> Reranker:
    if not text.strip():
        raise ConfigError(f"the reranker is an empty name. {_FITS}")
    named = _NAMED.fullmatch(text)
    if named and not os.path.exists(text):
        # No model's name on the hub has a colon: if the name is not known, it is a mistake, and load says so.
        name, argument = named.groups()
        make = plugins.load("rerankers", name)
        return _fitting(make(argument) if argument else make())
    if text in plugins.names("rerankers"):
        return _fitting(plugins.load("rerankers", text)())
    return _fitting(plugins.load("rerankers", _OURS)(text))


def _fitting(made: Any) -> Reranker:
    if isinstance(made, Reranker):
        return made
    if callable(getattr(made, "score", None)):
        return CallableReranker(made.score, getattr(made, "batch_size", None))
    raise ConfigError(f"a {type(made).__name__} has no method score(query, texts)")
