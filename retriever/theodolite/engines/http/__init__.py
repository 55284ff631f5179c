"""The engine of collections that `theodolite serve` serves."""

from theodolite.engines.http.engine import HttpEngine

__all__ = ["HttpEngine"]
