"""A simple, slow implementation of eligibility, boosts and rank fusion: the reference for every engine.

It works one document at a time, and is independent of the code in engines.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import InputError
from theodolite.filters import lookup, matches
from theodolite.filters.values import MISSING
from theodolite.protocols import Boost, Fusion, Request
from theodolite.ranking.relevance import Relevance
from theodolite.scopes import scope_filter
from theodolite.testing.versions import Reference
from theodolite.types import Document, Version

Doubles = NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)


class Eligible:
    """The documents that a request may find.

    Args:
        documents: all documents.
        request: the request.
        partition: the field that partitions the collection, or None.

    Attributes:
        inside: the documents in the scope.
        documents: the documents in the scope that are eligible by the filter and the version rules.
        superseded: the number of documents that the version rules leave out.
    """

    def __init__(self, documents: Sequence[Document], request: Request, partition: str | None = None) -> None:
        tree = None if request.scope is None else scope_filter(request.scope, partition)
        self.inside = [document for document in documents if matches(tree, document.metadata, document.id)]
        self.superseded = 0
        self._reference: Reference | None = None
        if request.versions is None:
            self.documents = [one for one in self.inside if matches(request.where, one.metadata, one.id)]
        else:
            self._reference = Reference(
                self.inside, request.versions, lambda one: matches(request.where, one.metadata, one.id), partition
            )
            self.documents = self._reference.found()
            self.superseded = self._reference.superseded

    def version(self, document: Document) -> Version | None:
        """Return the version status of a document; see `testing.versions` for the form of its values."""
        return None if self._reference is None else self._reference.version(document)


def factors(documents: Sequence[Document], boosts: Sequence[Boost], now: float) -> Doubles:
    """Return the product of the boosts' factors for each document, (n,)."""
    product = np.ones(len(documents))
    for boost in boosts:
        for place, document in enumerate(documents):
            value = lookup(document.metadata, boost.field)
            product[place] *= boost.factors([None if value is MISSING else value], now)[0]
    return product


def worth(relevance: Doubles, factors: Doubles) -> Doubles:
    """Return relevance times factor, (n,). Relevance of 0 or less does not change."""
    return np.array([r * f if r > 0 else r for r, f in zip(relevance.tolist(), factors.tolist(), strict=True)])


def relevant(similarities: NDArray[np.floating], relevance: Relevance) -> Doubles:
    """Return the relevance of each similarity, (n,), computed one by one."""
    return np.array([relevance(np.array([one], np.float64))[0] for one in similarities.tolist()], np.float64)


def check_refused(documents: Sequence[Document], boosts: Sequence[Boost], now: float) -> None:
    """Raise InputError if a boost refuses one of the documents that may be found."""
    for boost in boosts:
        refuses = getattr(boost, "refuses", None)
        tree = None if refuses is None else refuses(now)
        refused = [] if tree is None else [one.id for one in documents if matches(tree, one.metadata, one.id)]
        if refused:
            raise InputError(f"{boost.name}: {len(refused)} documents are refused, first {refused[0]!r}")


def reciprocal_ranks(arms: Sequence[Mapping[Name, float]], fusion: Fusion) -> dict[Name, float]:
    """Fuse the scores of the dense and the lexical arm by weighted reciprocal rank fusion.

    A document's rank is one more than the number of documents with a higher score.
    """
    sums: dict[Name, float] = {}
    for arm, weight in zip(arms, (fusion.dense, fusion.lexical), strict=True):
        for name, score in arm.items():
            rank = 1 + sum(other > score for other in arm.values())
            if weight > 0:
                sums[name] = sums.get(name, 0.0) + weight / (fusion.constant + rank)
    return sums
