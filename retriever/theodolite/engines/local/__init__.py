"""The embedded engine: a folder on this machine. `engine` is the way in."""

from theodolite.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
