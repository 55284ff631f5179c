"""A toy reranker that understands "not", and its scores for four texts."""

from collections.abc import Sequence

NEGATIONS = {"not", "never", "hate"}
QUERY = "people who do not hate this office"
TEXTS = ["I hate this office", "I love this office", "I do not hate this office", "Never go to this office"]
BEST = ["c", "b", "d", "a"]
"""The texts are a, b, c and d: the best first."""


def negated(text: str) -> int:
    return sum(word in NEGATIONS for word in text.lower().split()) % 2


def agreement(query: str, texts: Sequence[str]) -> list[float]:
    """Score texts high if they negate like the query; of equal texts, prefer the longer one slightly."""
    return [(2.0 if negated(text) == negated(query) else -2.0) + len(text) / 100 for text in texts]
