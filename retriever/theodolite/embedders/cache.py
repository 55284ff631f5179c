"""Query cache (stub until the real module lands)."""

from typing import Any


class QueryCache:
    def __init__(self, encode: Any, size: int = 1024) -> None:
        self.encode_query = encode
