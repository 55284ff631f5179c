"""Passages for a prompt with numbered sources, and the check of what an answer quotes from them."""

from theodolite.citing.context import Context, Source
from theodolite.citing.quotes import Quote, QuoteCheck, verify_quotes
from theodolite.citing.window import Window

__all__ = ["Context", "Quote", "QuoteCheck", "Source", "Window", "verify_quotes"]
