"""Which stores break which promises."""

from collections.abc import Mapping
from typing import Any

BROKEN: dict[str, tuple[str, ...]] = {}
LUCK = frozenset({"threads add and query"})


def promise_of(function: str, params: Mapping[str, Any]) -> str:
    """What the table calls a test: each rule for filters is a promise of its own."""
    name = function.removeprefix("test_").replace("_", " ")
    return f"{name}: {params['rule'].label}" if "rule" in params else name
