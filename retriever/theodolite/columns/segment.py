"""Consecutive rows of one column: the value of each row as a code of a dictionary."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.dictionary import LIST, Dictionary, Run
from theodolite.filters import Contains, In, Test
from theodolite.filters.values import same
from theodolite.metadata import decode_stored
from theodolite.types import Mask

Codes = NDArray[np.unsignedinteger[Any]]
T = TypeVar("T", bound=np.generic)

_PARSED = 1 << 16  # lists parsed at a time
_UNHASHABLE = (list, dict)
_MAX_RUNS = 3  # up to which comparing is faster than looking each code up
_MAX_RUNS_LARGE = 8  # the same if the table of codes does not fit the processor's first cache
_SPARSE = 32  # if fewer than one row in 32 has a value, only these rows are stored


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The lists among a segment's values.

    Attributes:
        places: (lists,) the place of each list in the segment.
        ends: (lists + 1,) where each list begins in `codes`, and where the last ends.
        codes: the elements, list after list.
        dictionary: the distinct elements.
        owners: (elements,) the place of each element's list, sorted by the element's code.
        bounds: (codes + 1,) where each code begins in `owners`, and where the last ends.
    """

    places: NDArray[np.int32]
    ends: NDArray[np.int64]
    codes: Codes
    dictionary: Dictionary
    owners: NDArray[np.int32]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, places: NDArray[np.int32], numbers: NDArray[np.int64], lists: Sequence[list[Any]]) -> "Lists":
        """Build from lists: `lists[numbers[i]]` is at `places[i]`."""
        return cls._of(places, numbers, list(itertools.chain.from_iterable((*items, math.inf) for items in lists)))

    @classmethod
    def parsed(cls, places: NDArray[np.int32], numbers: NDArray[np.int64], texts: Sequence[str]) -> "Lists":
        """Build from JSON texts of non-empty lists: `texts[numbers[i]]` is at `places[i]`."""
        # Parsed as one list: millions of small lists would keep the garbage collector busy. Stored values are finite.
        items: list[Any] = []
        for start in range(0, len(texts), _PARSED):
            part = ",Infinity,".join(text[1:-1] for text in texts[start : start + _PARSED])
            items += decode_stored(f"[{part},Infinity]")
        return cls._of(places, numbers, items)

    @classmethod
    def _of(cls, places: NDArray[np.int32], numbers: NDArray[np.int64], items: list[Any]) -> "Lists":
        """Build from the elements of all distinct lists, with infinity after each list."""
        number_of: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
        kinds: Sequence[Any] = items
        if not set(map(type, items)) <= {str, float}:
            # To Python 1, 1.0 and True are equal.
            kinds = [(type(item), repr(item) if type(item) in _UNHASHABLE else item) for item in items]
        of_items = np.fromiter(map(number_of.__getitem__, kinds), np.int64, len(items))
        first = np.full(len(number_of), -1, np.int64)
        first[of_items[::-1]] = np.arange(len(items))[::-1]
        separators = np.flatnonzero(of_items == of_items[-1])
        dictionary, codes = Dictionary.of([items[number] for number in first.tolist()], inner=True)
        # From the distinct lists to all of them.
        begins = np.concatenate([[0], separators[:-1] + 1])
        sizes = separators - begins
        ends = np.zeros(len(places) + 1, np.int64)
        np.cumsum(sizes[numbers], out=ends[1:])
        of_all = np.arange(ends[-1]) + np.repeat(begins[numbers] - ends[:-1], sizes[numbers])
        return cls.indexed(places, ends, _narrow(codes[of_items[of_all]], dictionary), dictionary)

    @classmethod
    def indexed(
        cls, places: NDArray[np.int32], ends: NDArray[np.int64], codes: Codes, dictionary: Dictionary
    ) -> "Lists":
        """Build from codes, and index the lists by element."""
        order = np.argsort(codes, kind="stable")
        owners = np.repeat(places, np.diff(ends))[order]
        bounds = np.searchsorted(codes[order], np.arange(dictionary.starts[-1] + 1))
        return cls(places, ends, codes, dictionary, owners, bounds)

    @property
    def nbytes(self) -> int:
        arrays = (self.places, self.ends, self.codes, self.owners, self.bounds)
        return sum(array.nbytes for array in arrays) + self.dictionary.nbytes

    def mark(self, test: In | Contains, mask: Mask) -> None:
        """Set `mask` for rows whose list, or one of its elements, passes."""
        values = test.values if isinstance(test, In) else (test.value,)
        for first, last in self.dictionary.among(values):
            mask[self.owners[self.bounds[first] : self.bounds[last]]] = True
        if isinstance(test, In):
            for value in values:
                if isinstance(value, list) and value:
                    self._mark_equal(value, mask)

    def values(self) -> list[list[Any]]:
        """Return the lists."""
        known = self.dictionary.values()
        items = [known[code] for code in self.codes.tolist()]
        ends = self.ends.tolist()
        return [items[first:last] for first, last in itertools.pairwise(ends)]

    def _mark_equal(self, wanted: list[Any], mask: Mask) -> None:
        """Set `mask` for rows whose whole list equals this one."""
        # Candidates have the same length and the same first element.
        fits = np.diff(self.ends) == len(wanted)
        first = np.zeros(len(self.bounds), np.bool_)
        for start, stop in self.dictionary.equal(wanted[0]):
            first[start:stop] = True
        fits &= first[self.codes[self.ends[:-1]]]
        if fits.any():
            known = self.dictionary.values()
            for number in np.flatnonzero(fits).tolist():
                codes = self.codes[self.ends[number] : self.ends[number + 1]].tolist()
                mask[self.places[number]] |= same([known[code] for code in codes], wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The values of the rows from `start` to `stop`. Immutable.

    Attributes:
        read_at: the commit at which they were read; rows that were dead by then have no value.
        codes: (stop − start,); (places,) if few rows have a value.
        places: the places in the segment that `codes` is for; None for all.
        lists: the lists among the values; None if there are none.
    """

    start: int
    stop: int
    read_at: int
    dictionary: Dictionary
    codes: Codes
    places: NDArray[np.int32] | None
    lists: Lists | None

    @classmethod
    def of(
        cls,
        start: int,
        stop: int,
        read_at: int,
        places: NDArray[np.int32],
        numbers: NDArray[np.int64],
        values: list[Any],
        texts: Sequence[str] | None = None,
    ) -> "Segment":
        """Build a segment where the row `start + places[i]` has `values[numbers[i]]`, and other rows have no value.

        Args:
            texts: the values as JSON texts. If given, non-empty lists are parsed from these, and `values` may have any
                non-empty list in their place.
        """
        dictionary, of_values = Dictionary.of(values)
        codes = of_values[numbers] if len(values) else np.empty(0, np.uint32)
        lists = None
        with_list = np.flatnonzero(codes == LIST)
        if len(with_list):
            distinct, of_distinct = np.unique(numbers[with_list], return_inverse=True)
            if texts is None:
                lists = Lists.of(places[with_list], of_distinct, [values[number] for number in distinct.tolist()])
            else:
                lists = Lists.parsed(places[with_list], of_distinct, [texts[number] for number in distinct.tolist()])
        if len(places) * _SPARSE > stop - start:
            dense = np.zeros(stop - start, np.uint32)
            dense[places] = codes
            return cls(start, stop, read_at, dictionary, _narrow(dense, dictionary), None, lists)
        return cls(start, stop, read_at, dictionary, _narrow(codes, dictionary), places, lists)

    @property
    def nbytes(self) -> int:
        places = 0 if self.places is None else self.places.nbytes
        return self.codes.nbytes + places + self.dictionary.nbytes + (0 if self.lists is None else self.lists.nbytes)

    def mask(self, test: Test, out: Mask) -> None:
        """Write the mask of the rows that pass to `out`, (stop − start,)."""
        runs = self.dictionary.runs(test)
        if self.places is None:
            _select(self.codes, runs, self.dictionary.starts[-1], out)
        else:
            passing = np.empty(len(self.codes), np.bool_)
            _select(self.codes, runs, self.dictionary.starts[-1], passing)
            out[:] = bool(runs) and runs[0][0] == 0
            out[self.places] = passing
        if self.lists is not None and isinstance(test, (In, Contains)):
            self.lists.mark(test, out)

    def each(self, of_code: NDArray[T]) -> NDArray[T]:
        """Return `of_code[code]` for the code of each row, (stop − start,)."""
        if self.places is None:
            return of_code[self.codes]
        out = np.full(self.stop - self.start, of_code[0])
        out[self.places] = of_code[self.codes]
        return out

    def code(self, place: int) -> int:
        """Return the code of one row, counted from `start`."""
        if self.places is None:
            return int(self.codes[place])
        at = int(self.places.searchsorted(place))
        return int(self.codes[at]) if at < len(self.places) and self.places[at] == place else 0

    def entries(self) -> tuple[NDArray[np.int32], NDArray[np.int64], list[Any]]:
        """Return places, numbers and values from which `of` would build this segment."""
        places = self.places
        codes = self.codes
        if places is None:
            places = np.flatnonzero(codes).astype(np.int32)
            codes = codes[places]
        values = self.dictionary.values()
        numbers = codes.astype(np.int64)
        if self.lists is not None:
            with_list = np.flatnonzero(codes == LIST)
            numbers[with_list] = np.arange(len(values), len(values) + len(with_list))
            values += self.lists.values()
        return places, numbers, values


def _select(codes: Codes, runs: list[Run], size: int, out: Mask) -> None:
    """Write the mask of the codes that are in one of the runs."""
    if len(runs) > (_MAX_RUNS if size < 1 << 15 else _MAX_RUNS_LARGE):
        table = np.zeros(size, np.bool_)
        for first, last in runs:
            table[first:last] = True
        table.take(codes, out=out, mode="clip")  # without a mode numpy would check, and copy through a buffer
        return
    out[:] = False
    for number, (first, last) in enumerate(runs):
        if last - first == 1:
            part = codes == first
        elif last == size:
            part = codes >= first
        elif first == 0:
            part = codes < last
        else:
            part = codes >= first
            part &= codes < last
        if number:
            out |= part
        else:
            out[:] = part


def _narrow(codes: NDArray[np.uint32], dictionary: Dictionary) -> Codes:
    """Return the codes in the smallest type that also holds the number of codes, so that both can be compared."""
    size = dictionary.starts[-1]
    return codes.astype(np.uint8 if size < 256 else np.uint16 if size < 65536 else np.uint32)
