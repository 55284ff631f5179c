"""What boosts make of the rows: one factor for each, from columns."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.columns.dictionary import LIST
from theodolite.engines.local.derived.columns.segment import Lists, Segment
from theodolite.errors import ConfigError
from theodolite.forking import register_at_fork
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.types import Mask

Doubles = NDArray[np.float64]

BUDGET = 64 << 20
"""Bytes that factors may take; those used longest ago give way. Those in use may take more."""

_KEPT = 16
_LEAST = float(np.finfo(np.float64).tiny)  # the product of many small factors is not 0


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    """The factors of the first rows; those of rows that were dead at the commit `read_at` are arbitrary."""

    factors: Doubles
    read_at: int


class BoostFactors:
    """BoostFactors of one generation's rows, the products used last kept. Shared by threads.

    Rows never change, so that for the same boosts and the same `now` only those of new rows are computed.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._held: dict[Any, _Product] = {}
        self.nbytes = 0
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: what another thread was changing is computed again."""
        if held:
            self._held, self.nbytes = {}, 0

    def product(
        self,
        boosts: tuple[Boost, ...],
        now: float,
        column: Callable[[str], Column],
        rows: int,
        inside: Mask | None = None,
    ) -> Doubles:
        """The product of the boosts' factors for rows 0 to `rows`, shape (rows,), each in (0, 1]; not to be written to.

        A boost is asked once for each distinct value of a segment, be it of a row that is dead: those rows' factors
        mean nothing. Values are those of the column: equal to the stored ones as far as filters can tell, and a
        mapping is an empty one.

        Args:
            now: seconds since 1970, UTC.
            column: the column of a field, with `rows` rows at least, as the search's transaction may use it.
            inside: (rows,) which rows are in the scope; None for all. Boosts that others have written are asked about
                these only, each time anew: what lies outside is not for their eyes. Factors of other rows
                mean nothing.

        Raises:
            ConfigError: a boost does not give one factor in (0, 1] for each value.
        """
        columns = [column(boost.field) for boost in boosts]
        if inside is not None and not all(isinstance(boost, (Freshness, Authority)) for boost in boosts):
            return self._computed(boosts, now, columns, 0, rows, inside)
        read_at = max((found.read_at(rows) for found in columns), default=0)
        key = (boosts, now)
        try:
            with self._lock:
                known = self._held.get(key)
        except TypeError:  # a boost that cannot be hashed
            return self._computed(boosts, now, columns, 0, rows)
        # A product from columns that were read later lacks rows that have died since.
        if known is None or known.read_at > read_at:
            known = _Product(np.empty(0, np.float64), 0)
        done = len(known.factors)
        if done < rows:
            more = self._computed(boosts, now, columns, done, rows)
            known = _Product(np.concatenate([known.factors, more]) if done else more, read_at)
            known.factors.flags.writeable = False
        self._keep(key, known)
        return known.factors if len(known.factors) == rows else known.factors[:rows]

    def _computed(
        self,
        boosts: Sequence[Boost],
        now: float,
        columns: Sequence[Column],
        start: int,
        stop: int,
        inside: Mask | None = None,
    ) -> Doubles:
        product = np.ones(stop - start, np.float64)
        for boost, column in zip(boosts, columns, strict=True):
            if inside is not None and not isinstance(boost, (Freshness, Authority)):
                product[inside] *= _within(boost, column.segments, inside, now)
                continue
            for segment in column.segments:
                first, last = max(start, segment.start), min(stop, segment.stop)
                if first < last:
                    found = _of_segment(boost, segment, now)[first - segment.start : last - segment.start]
                    product[first - start : last - start] *= found
        return np.maximum(product, _LEAST, out=product)

    def _keep(self, key: Any, product: _Product) -> None:
        with self._lock:
            before = self._held.pop(key, None)
            self.nbytes -= 0 if before is None else before.factors.nbytes
            self._held[key] = product
            self.nbytes += product.factors.nbytes
            while len(self._held) > 1 and (self.nbytes > self._budget or len(self._held) > _KEPT):
                self.nbytes -= self._held.pop(next(iter(self._held))).factors.nbytes


def _of_segment(boost: Boost, segment: Segment, now: float) -> Doubles:
    """The factors of a segment's rows, (stop − start,)."""
    table = _of_codes(boost, segment, now)
    if segment.places is None:
        found = table.take(segment.codes, mode="clip")  # without a mode numpy would check each code first
    else:
        found = np.full(segment.stop - segment.start, table[0])
        found[segment.places] = table.take(segment.codes, mode="clip")
    if segment.lists is not None:
        for places, factors in _of_lists(boost, segment.lists, now):
            found[places] = factors
    return found


def _within(boost: Boost, segments: Sequence[Segment], inside: Mask, now: float) -> Doubles:
    """The factors of the rows that are inside, of a boost that is asked once for each distinct value of these.

    In an order that depends on the values alone: not even how rows are divided into segments tells of others.
    """
    number_of: dict[tuple[str, str], int] = {}
    values: list[Any] = []

    def number(value: Any) -> int:
        found = number_of.setdefault((type(value).__name__, repr(value)), len(values))
        if found == len(values):
            values.append(value)
        return found

    numbers = np.zeros(len(inside), np.int64)
    for segment in segments:
        part = inside[segment.start : segment.stop]
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
    given = _asked(boost, [values[number_of[key]] for key in order], now)
    factors = np.empty(len(values), np.float64)
    factors[[number_of[key] for key in order]] = given
    return factors[numbers[inside]]


def _of_codes(boost: Boost, segment: Segment, now: float) -> Doubles:
    """The factor of each code, (codes,)."""
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
            there = np.bincount(segment.codes, minlength=size) > 0
            there[0] |= segment.places is not None
            there[LIST] = False
            values = dictionary.values()
            values[0] = None
            table[there] = _asked(boost, list(itertools.compress(values, there.tolist())), now)
    return table


def _of_lists(boost: Boost, lists: Lists, now: float) -> Iterator[tuple[NDArray[np.int32], Any]]:
    """Places of lists in a segment, with their factors; where a place comes twice, the last counts."""
    match boost:
        case Freshness():
            return  # a list is no date
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
            yield lists.places, _asked(boost, values, now)[numbers]


def _asked(boost: Boost, values: list[Any], now: float) -> Doubles:
    """The factors that a boost gives, checked."""
    factors = boost.factors(values, now)
    what = f"boost {boost.name!r} on {boost.field!r}"
    if not isinstance(factors, np.ndarray) or factors.dtype != np.float64 or factors.shape != (len(values),):
        shape = f"{factors.dtype}, shape {factors.shape}" if isinstance(factors, np.ndarray) else type(factors).__name__
        raise ConfigError(
            f"{what} gives {shape} for {len(values)} values; it must give float64, shape {(len(values),)}"
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
