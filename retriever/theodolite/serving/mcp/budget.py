"""Token budgets: how many tokens a text has, about, and the part of an answer that fits."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from theodolite.errors import InputError

DEFAULT = 8000
"""Default number of tokens of an answer. Hosts refuse or cut off long answers, often above 25,000."""
LEAST = 200
"""Minimum number of tokens that a call may ask for."""

# About what the tokenizers of chat models cut: the parts of words, three digits, one character of anything else.
_PIECES = re.compile(r"[A-Z]?[a-z]{1,5}|[A-Z]{1,2}|\s?[0-9]{1,3}|\n+|[^\sA-Za-z0-9]")
_RARE = re.compile("[\U00010000-\U0010ffff]")  # emoji and rare letters, about three tokens each


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: within a third of GPT-4's tokenizer, and mostly above it."""
    return len(_PIECES.findall(text)) + 2 * len(_RARE.findall(text))


def as_text(values: Any) -> str:
    """Return an answer as the JSON text that a model reads."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def tokens_of(values: Any) -> int:
    """Estimate the tokens of an answer."""
    return count_tokens(as_text(values))


def budget_of(arguments: Mapping[str, Any], limit: int) -> int:
    """Return the tokens that a call may use: its `max_tokens`, at most the server's limit. Raises InputError."""
    asked = arguments.get("max_tokens")
    if asked is None:
        return limit
    if isinstance(asked, bool) or not isinstance(asked, int) or not min(LEAST, limit) <= asked <= limit:
        raise InputError(f"max_tokens must be a whole number from {min(LEAST, limit):,} to {limit:,}.")
    return asked


def longest_that_fits(length: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `length` that fits; 0 if none does. If one fits, so do all below it."""
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
