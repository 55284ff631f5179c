"""Boosts on a remote store: factors of the documents that a search looks at, and searches that a boost refuses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from theodolite.columns import Column
from theodolite.engines.remote.source import Doubles, Eligible, Keys, Source
from theodolite.filters import And, Filter
from theodolite.protocols import Request
from theodolite.ranking.boost_factors import compute_factors
from theodolite.ranking.boosts import refusal, refused_documents


def factors_by_key(source: Source, request: Request) -> Callable[[Keys], Doubles]:
    """Return a function that computes the product of the boosts' factors, (n,), for documents by key.

    Values come from columns, as on the local engine: equal to the stored ones as far as filters can tell, except that
    mappings are empty. A boost gets only values of these documents.
    """
    boosts, fields = request.boosts, list(dict.fromkeys(boost.field for boost in request.boosts))

    def factors(keys: Keys) -> Doubles:
        if not len(keys):
            return np.empty(0)
        values = source.values(keys, fields).values
        columns = [Column.of(boost.field, values[boost.field]) for boost in boosts]
        return compute_factors(boosts, request.now, columns, 0, len(keys), np.ones(len(keys), np.bool_))

    return factors


def check_refusals(source: Source, request: Request, eligible: Eligible, total: int) -> None:
    """Refuse a search if a boost refuses one of the documents that it may find.

    Args:
        total: the number of eligible documents.

    Raises:
        InputError: with `boost`, `count` and `first`, an id.
    """
    for boost, tree in refused_documents(request.boosts, request.now):
        refused = replace(eligible, where=_both(eligible.where, tree))
        count = source.count(refused)
        if count:
            raise refusal(boost, count, total, source.first_id(refused))


def _both(first: Filter | None, second: Filter) -> Filter:
    return second if first is None else And((first, second))
