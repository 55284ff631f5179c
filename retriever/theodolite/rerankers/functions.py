"""A plain function as a reranker."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.rerankers.output import logistic


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
