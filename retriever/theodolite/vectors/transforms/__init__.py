"""Transforms: steps that every vector passes before it is stored, fitted once and pinned with the collection.

`Truncate(d)`, `Pca(d)`, `Center()` and `Whiten(d)` are specifications. The first batch fits them, or `fit` does so
beforehand; the result is a `Fitted`. `vectors.prepare` applies them to documents and queries alike.
"""

from theodolite.vectors.transforms.fitted import Fitted
from theodolite.vectors.transforms.pinning import (
    check_chain,
    check_same,
    check_transforms,
    decode_transform,
    encode_transform,
)
from theodolite.vectors.transforms.specs import Center, Pca, Truncate, Whiten, fit

__all__ = [
    "Center",
    "Fitted",
    "Pca",
    "Truncate",
    "Whiten",
    "check_chain",
    "check_same",
    "check_transforms",
    "decode_transform",
    "encode_transform",
    "fit",
]
