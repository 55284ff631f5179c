"""Limits: how much one request may ask of the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from theodolite.errors import InputError

_BIG = 100_000  # nodes of a JSON value that is counted no further


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server.

    Attributes:
        body: bytes of a request's body.
        k: hits of a search, and documents on a page.
        conditions: keys and values of a filter.
        queries: queries of one search.
        seconds: for the answer to one request.
        body_seconds: for a request's headers, and for its body.
        requests: requests in progress; more are answered with 503.
    """

    body: int = 16 * 1024 * 1024
    k: int = 1000
    conditions: int = 10_000
    queries: int = 100
    seconds: float = 60.0
    body_seconds: float = 15.0
    requests: int = 256

    def check_k(self, k: Any, name: str = "k") -> int:
        """Return a number of hits or documents. Raises InputError if it is not a number from 1 to the limit."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.k:
            raise InputError(f"{name} is {k!r:.40}; expected a whole number from 1 to {self.k:,}", param=name)
        return k

    def check_where(self, where: Any, name: str = "where") -> Mapping[str, Any] | None:
        """Return a filter as JSON values. Raises InputError if it is not an object, or has too many conditions."""
        if where is None:
            return None
        if not isinstance(where, Mapping):
            raise InputError(f"{name} is not an object; write a filter such as {{'lang': 'en'}}", param=name)
        if _size(where) > self.conditions:
            raise InputError(f"{name} has more than {self.conditions:,} keys and values", param=name)
        return where


def _size(value: Any) -> int:
    """Count the keys and values of a JSON value."""
    size, open_ = 0, [value]
    while open_ and size < _BIG:
        each = open_.pop()
        size += 1
        if isinstance(each, Mapping):
            size += len(each)
            open_.extend(each.values())
        elif isinstance(each, list):
            open_.extend(each)
    return size
