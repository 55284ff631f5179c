"""Make a `Reranker` from a name, a folder, an object or a function."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import plugins
from theodolite.errors import ConfigError, type_of
from theodolite.protocols import Reranker
from theodolite.rerankers.cross_encoder import logistic

_DEFAULT = "cross-encoder"

_ACCEPTED = (
    "Pass the name or the folder of a cross-encoder, 'name:argument' for a reranker of another package, an object "
    "with score(query, texts), a loaded CrossEncoder, or a function from a query and a list of texts to scores"
)


def resolve(reranker: Any) -> Reranker:
    """Convert the argument to a Reranker.

    Args:
        reranker: one of

            - an object with `score(query, texts)` and `calibrate(scores)`, which is returned as it is. Without
              `calibrate` its scores are calibrated by the logistic function;
            - a string: `"name:argument"` or `"name"` with a name of `theodolite.plugins`, else the name of a
              cross-encoder on the Hugging Face hub, or its folder;
            - a path: the folder of a cross-encoder;
            - a loaded CrossEncoder of sentence-transformers;
            - a function from a query and a list of texts to their scores.

    Raises:
        ConfigError: the argument is none of these, the name is unknown, or the model cannot be loaded.
        MissingExtraError: a package that the reranker needs is not installed.
    """
    match reranker:
        case str():
            return _by_name(reranker)
        case os.PathLike():
            return _checked(plugins.load("rerankers", _DEFAULT)(reranker))
        case type():
            raise ConfigError(f"the reranker is the class {reranker.__qualname__}; pass an instance. {_ACCEPTED}")
    if callable(getattr(reranker, "score", None)):
        return _checked(reranker)
    if callable(getattr(reranker, "predict", None)) and hasattr(reranker, "tokenizer"):
        return _checked(plugins.load("rerankers", _DEFAULT)(reranker))
    if callable(reranker):
        return CallableReranker(reranker)
    raise ConfigError(f"the reranker is {type_of(reranker)}. {_ACCEPTED}")


def _by_name(text: str) -> Reranker:
    if not text.strip():
        raise ConfigError(f"the reranker is an empty name. {_ACCEPTED}")
    return _checked(plugins.create("rerankers", text, plugins.load("rerankers", _DEFAULT)))


def _checked(made: Any) -> Reranker:
    if isinstance(made, Reranker):
        return made
    if callable(getattr(made, "score", None)):
        return CallableReranker(made.score, getattr(made, "batch_size", None))
    raise ConfigError(f"{type_of(made)} has no method score(query, texts)")


class CallableReranker:
    """A reranker made of a function. Its scores are calibrated by the logistic function."""

    def __init__(self, function: Callable[[str, Sequence[str]], Any], batch_size: int | None = None) -> None:
        """
        Args:
            function: takes a query and n texts, returns n scores; higher is better.
            batch_size: number of texts in a call when there is a deadline.
        """
        self._function = function
        if batch_size is not None:
            self.batch_size = batch_size

    def score(self, query: str, texts: Sequence[str], /) -> Any:
        """Return the scores as the function returns them."""
        return self._function(query, texts)

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.float64]:
        """Return 1 / (1 + exp(-score)), (n,)."""
        return logistic(scores)

    def __repr__(self) -> str:
        return f"<CallableReranker {getattr(self._function, '__qualname__', type(self._function).__name__)}>"
