"""Transforms: what every vector passes between the door and the store, fitted once and pinned with the collection.

`Truncate(d)`, `Pca(d)`, `Center()` and `Whiten(d)` say what is wanted. The first batch fits them, or `fit` does
beforehand; a `Fitted` is what acts. Documents and questions take the same way, inside `vectors.prepare`.
"""

from theodolite.vectors.transforms.fitted import Fitted
from theodolite.vectors.transforms.pinning import check_chain, check_same, checked, decoded, encoded
from theodolite.vectors.transforms.specs import Center, Pca, Truncate, Whiten, fit

__all__ = [
    "Center",
    "Fitted",
    "Pca",
    "Truncate",
    "Whiten",
    "check_chain",
    "check_same",
    "checked",
    "decoded",
    "encoded",
    "fit",
]
