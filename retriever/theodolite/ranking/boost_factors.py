"""The factors of boosts: one for each row, computed from columns."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.column import Column
from theodolite.columns.dictionary import LIST
from theodolite.columns.segment import Lists, Segment
from theodolite.errors import ConfigError
from theodolite.forking import register_at_fork
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.types import Mask

Doubles = NDArray[np.float64]

BUDGET = 64 << 20
"""Bytes of factors to keep; the least recently used are dropped first. Factors in use may take more."""

_MAX_PRODUCTS = 16
_SMALLEST = float(np.finfo(np.float64).tiny)  # the product of many small factors is not 0


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    """The factors of the first rows; arbitrary for rows that were dead at the commit `read_at`."""

    factors: Doubles
    read_at: int


class BoostFactors:
    """Computes the factors of one generation's rows, and keeps recent products. Thread-safe.

    Rows never change, so for the same boosts and the same `now` only the factors of new rows are computed.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._products: dict[Any, _Product] = {}
        self.nbytes = 0
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Empty the cache in a forked child if another thread may have been changing it."""
        if held:
            self._products, self.nbytes = {}, 0

    def product(
        self,
        boosts: tuple[Boost, ...],
        now: float,
        column: Callable[[str], Column],
        rows: int,
        in_scope: Mask | None = None,
    ) -> Doubles:
        """Return the product of the boosts' factors, (rows,), each in (0, 1]. Read-only.

        A boost is called once with the distinct values of each segment, including values of dead rows, whose factors
        are arbitrary. Values come from the column: equal to the stored ones as far as filters can tell, and a mapping
        is an empty one.

        Args:
            now: seconds since 1970, UTC.
            column: returns the column of a field, with at least `rows` rows, as the search's transaction sees it.
            in_scope: (rows,) True for rows in the scope; None for all. Boosts written by users then only get values of
                these rows, and nothing is cached, so that they learn nothing of other documents. The factors of other
                rows are arbitrary.

        Raises:
            ConfigError: a boost does not return one factor in (0, 1] for each value.
        """
        columns = [column(boost.field) for boost in boosts]
        if in_scope is not None and not all(isinstance(boost, (Freshness, Authority)) for boost in boosts):
            return compute_factors(boosts, now, columns, 0, rows, in_scope)
        read_at = max((column.read_at(rows) for column in columns), default=0)
        key = (boosts, now)
        try:
            with self._lock:
                product = self._products.get(key)
        except TypeError:  # a boost that cannot be hashed
            return compute_factors(boosts, now, columns, 0, rows)
        # A product of columns that were read later lacks rows that have died since.
        if product is None or product.read_at > read_at:
            product = _Product(np.empty(0, np.float64), 0)
        done = len(product.factors)
        if done < rows:
            more = compute_factors(boosts, now, columns, done, rows)
            product = _Product(np.concatenate([product.factors, more]) if done else more, read_at)
            product.factors.flags.writeable = False
        self._keep(key, product)
        return product.factors if len(product.factors) == rows else product.factors[:rows]

    def _keep(self, key: Any, product: _Product) -> None:
        with self._lock:
            before = self._products.pop(key, None)
            self.nbytes -= 0 if before is None else before.factors.nbytes
            self._products[key] = product
            self.nbytes += product.factors.nbytes
            while len(self._products) > 1 and (self.nbytes > self._budget or len(self._products) > _MAX_PRODUCTS):
                self.nbytes -= self._products.pop(next(iter(self._products))).factors.nbytes


def compute_factors(
    boosts: Sequence[Boost],
    now: float,
    columns: Sequence[Column],
    start: int,
    stop: int,
    in_scope: Mask | None = None,
) -> Doubles:
    """Return the product of the boosts' factors for the rows from `start` to `stop`, (stop - start,).

    See `BoostFactors.product`. With `in_scope`, `start` is 0.
    """
    product = np.ones(stop - start, np.float64)
    for boost, column in zip(boosts, columns, strict=True):
        if in_scope is not None and not isinstance(boost, (Freshness, Authority)):
            product[in_scope] *= _factors_in_scope(boost, column.segments, in_scope, now)
            continue
        for segment in column.segments:
            first, last = max(start, segment.start), min(stop, segment.stop)
            if first < last:
                factors = _segment_factors(boost, segment, now)[first - segment.start : last - segment.start]
                product[first - start : last - start] *= factors
    return np.maximum(product, _SMALLEST, out=product)


def _segment_factors(boost: Boost, segment: Segment, now: float) -> Doubles:
    """Return the factors of a segment's rows, (stop − start,)."""
    table = _code_factors(boost, segment, now)
    if segment.places is None:
        factors = table.take(segment.codes, mode="clip")  # without a mode numpy would check each code first
    else:
        factors = np.full(segment.stop - segment.start, table[0])
        factors[segment.places] = table.take(segment.codes, mode="clip")
    if segment.lists is not None:
        for places, of_lists in _list_factors(boost, segment.lists, now):
            factors[places] = of_lists
    return factors


def _factors_in_scope(boost: Boost, segments: Sequence[Segment], in_scope: Mask, now: float) -> Doubles:
    """Return the factors of the rows in the scope, from one call with their distinct values.

    The order of the values depends on nothing else, so a boost cannot learn how rows are divided into segments.
    """
    number_of: dict[tuple[str, str], int] = {}
    values: list[Any] = []

    def number(value: Any) -> int:
        result = number_of.setdefault((type(value).__name__, repr(value)), len(values))
        if result == len(values):
            values.append(value)
        return result

    numbers = np.zeros(len(in_scope), np.int64)
    for segment in segments:
        part = in_scope[segment.start : segment.stop]
        if not part.any():
            continue
        codes = segment.codes[: len(part)]
        if segment.places is not None:
            codes = np.zeros(segment.stop - segment.start, np.int64)
            codes[segment.places] = segment.codes
            codes = codes[: len(part)]
        known = segment.dictionary.values()
        known[0] = None
        table = np.zeros(len(known), np.int64)
        for code in np.unique(codes[part]).tolist():
            if code != LIST:
                table[code] = number(known[code])
        numbers[segment.start : segment.stop] = table[codes]
        if segment.lists is not None:
            for place, value in zip(segment.lists.places.tolist(), segment.lists.values(), strict=True):
                if place < len(part) and part[place]:
                    numbers[segment.start + place] = number(value)
    order = sorted(number_of)
    factors = np.empty(len(values), np.float64)
    factors[[number_of[key] for key in order]] = _checked_factors(boost, [values[number_of[key]] for key in order], now)
    return factors[numbers[in_scope]]


def _code_factors(boost: Boost, segment: Segment, now: float) -> Doubles:
    """Return the factor of each code, (codes,)."""
    dictionary = segment.dictionary
    _, _, moments, texts, size = dictionary.starts
    match boost:
        case Freshness():
            table = np.full(size, boost.of_missing)
            table[moments:texts] = boost.of_instants(dictionary.moments, now)
        case Authority():
            table = np.full(size, boost.of_others)
            for value, factor in boost.table:
                if value is None:
                    table[0] = factor
                for first, last in dictionary.equal(value):
                    table[first:last] = factor
        case _:
            table = np.ones(size)
            present = np.bincount(segment.codes, minlength=size) > 0
            present[0] |= segment.places is not None
            present[LIST] = False
            values = dictionary.values()
            values[0] = None
            table[present] = _checked_factors(boost, list(itertools.compress(values, present.tolist())), now)
    return table


def _list_factors(boost: Boost, lists: Lists, now: float) -> Iterator[tuple[NDArray[np.int32], Any]]:
    """Yield places of lists in a segment, with their factors; if a place comes twice, the last counts."""
    match boost:
        case Freshness():
            return  # a list is not a date
        case Authority():
            for value, factor in boost.table:
                for first, last in lists.dictionary.equal(value):
                    yield lists.owners[lists.bounds[first] : lists.bounds[last]], factor
        case _:
            number_of: dict[bytes, int] = {}
            ends = itertools.pairwise(lists.ends.tolist())
            numbers = [number_of.setdefault(lists.codes[i:j].tobytes(), len(number_of)) for i, j in ends]
            known = lists.dictionary.values()
            values = [[known[code] for code in np.frombuffer(codes, lists.codes.dtype).tolist()] for codes in number_of]
            yield lists.places, _checked_factors(boost, values, now)[numbers]


def _checked_factors(boost: Boost, values: list[Any], now: float) -> Doubles:
    """Call a boost and check the factors it returns."""
    factors = boost.factors(values, now)
    what = f"boost {boost.name!r} on {boost.field!r}"
    if not isinstance(factors, np.ndarray) or factors.dtype != np.float64 or factors.shape != (len(values),):
        shape = f"{factors.dtype}, shape {factors.shape}" if isinstance(factors, np.ndarray) else type(factors).__name__
        raise ConfigError(
            f"{what} returned {shape} for {len(values)} values; it must return float64, shape {(len(values),)}"
        )
    wrong = np.flatnonzero(~((factors > 0) & (factors <= 1)))
    if len(wrong):
        first = int(wrong[0])
        raise ConfigError(
            f"{what}: {len(wrong)} of {len(values)} factors are not in (0, 1], first {factors[first]} for "
            f"{values[first]!r:.80}, at place {first}; see theodolite.testing.BoostContract",
            boost=boost.name,
            value=values[first],
            factor=float(factors[first]),
        )
    return factors
