"""Many strings in one buffer, sorted."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.filters.values import like

_WILD = re.compile(r"[%_]|\\.", re.DOTALL)


class Strings:
    """A sequence of strings. UTF-8 keeps the order of code points, so sorted bytes are sorted strings.

    Attributes:
        blob: all strings, one after the other, in UTF-8.
        ends: (n + 1,) where each begins, and where the last ends.
    """

    __slots__ = ("blob", "ends")

    def __init__(self, blob: bytes, ends: NDArray[np.int64]) -> None:
        self.blob = blob
        self.ends = ends

    @classmethod
    def of(cls, strings: Sequence[str]) -> "Strings":
        joined = "".join(strings)
        sizes = map(len, strings if joined.isascii() else (text.encode() for text in strings))
        ends = np.zeros(len(strings) + 1, np.int64)
        np.cumsum(np.fromiter(sizes, np.int64, len(strings)), out=ends[1:])
        return cls(joined.encode(), ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> str:
        return self.blob[self.ends[number] : self.ends[number + 1]].decode()

    @property
    def nbytes(self) -> int:
        return len(self.blob) + self.ends.nbytes

    def all(self) -> list[str]:
        """Return all strings."""
        ends = self.ends.tolist()
        return [self.blob[first:last].decode() for first, last in itertools.pairwise(ends)]

    def bisect(self, wanted: bytes, low: int = 0, high: int | None = None) -> int:
        """Return the number of strings before `wanted`; those from `low` to `high` are sorted."""
        last = len(self) if high is None else high
        while low < last:
            middle = (low + last) // 2
            if self.blob[self.ends[middle] : self.ends[middle + 1]] < wanted:
                low = middle + 1
            else:
                last = middle
        return low

    def find(self, text: str, low: int = 0, high: int | None = None) -> int | None:
        """Return the number of a string among those from `low` to `high`, which are sorted; None if it is missing."""
        try:
            wanted = text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which no stored string has
            return None
        last = len(self) if high is None else high
        place = self.bisect(wanted, low, last)
        return place if place < last and self.blob[self.ends[place] : self.ends[place + 1]] == wanted else None

    def starting_with(self, text: str) -> range:
        """Return the numbers of the strings, which are sorted, that start with this text."""
        wanted = text.encode()
        return range(self.bisect(wanted), self.bisect(wanted + b"\xff"))

    def with_letter_at(self, signs: Sequence[tuple[int, bytes]], low: int, high: int) -> NDArray[np.int64]:
        """Return the numbers of the strings from `low` to `high` that have a letter at its place, in bytes."""
        blob, starts = np.frombuffer(self.blob, np.uint8), self.ends[low:high]
        sizes = self.ends[low + 1 : high + 1] - starts
        matches = np.zeros(high - low, np.bool_)
        for place, letters in signs:
            long = np.flatnonzero(sizes > place)
            matches[long] |= np.isin(blob[starts[long] + place], np.frombuffer(letters, np.uint8))
        return low + np.flatnonzero(matches)

    def containing(self, text: str) -> NDArray[np.int64]:
        """Return the numbers of the strings with this substring."""
        try:
            wanted = text.encode()
        except UnicodeEncodeError:
            return np.empty(0, np.int64)
        if not wanted:
            return np.arange(len(self))
        numbers = []
        ends = self.ends
        at = self.blob.find(wanted)
        while at >= 0:
            number = int(ends.searchsorted(at, "right")) - 1
            end = int(ends[number + 1])
            if at + len(wanted) <= end:
                numbers.append(number)
                at = end
            else:  # it reaches into the next string
                at += 1
            at = self.blob.find(wanted, at)
        return np.array(numbers, np.int64)

    def matching(self, pattern: str, ignore_case: bool, low: int = 0, high: int | None = None) -> NDArray[np.int64]:
        """Return the numbers of the strings from `low` to `high` that match a pattern of `$like`."""
        matches = like(pattern, ignore_case)
        last = len(self) if high is None else high
        likely: Sequence[int] = range(low, last)
        literal = max(_WILD.split(pattern), key=len)
        if len(literal) > 1 and not ignore_case:
            numbers = self.containing(literal)
            likely = numbers[(numbers >= low) & (numbers < last)].tolist()
        return np.array([number for number in likely if matches(self[number])], np.int64)
