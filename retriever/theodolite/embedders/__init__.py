"""Embedders (stub until the real module lands)."""

from typing import Any


def resolve(embedder: Any) -> Any:
    return embedder
