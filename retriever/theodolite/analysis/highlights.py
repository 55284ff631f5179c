"""Highlights: the sentences of a passage that match a query best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from theodolite.analysis.query_terms import Phrase, Tokenizer, query_terms
from theodolite.analysis.sentences import sentences
from theodolite.analysis.unspaced_scripts import is_letter, prepare_text, separate_runs
from theodolite.forking import COLLECTIONS


@dataclass(frozen=True, slots=True)
class Highlight:
    """A sentence of a passage.

    Attributes:
        start, end: its position: `text == passage[start:end]`.
        text: the sentence.
        score: how well it matches: the share of the query's words that it contains, rare ones weighing more, in (0, 1];
            or the similarity of its vector, if vectors were asked for.
    """

    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class ByWords:
    """Finds the sentences that contain words of the query, as lexical search would."""

    query: str

    def __call__(self, text: str) -> tuple[Highlight, ...]:
        """Return the sentences, best first. Of equal scores, headings come last."""
        phrases = _phrases(self.query)
        spans = sentences(text)
        if not phrases or not spans:
            return ()
        with COLLECTIONS:
            terms = _tokenizer().terms([prepare_text(text[start:end]) for start, end in spans])
        scores = _scores(phrases, terms)
        found = [
            Highlight(start, end, text[start:end], score)
            for (start, end), score in zip(spans, scores, strict=True)
            if score > 0
        ]
        return tuple(sorted(found, key=lambda each: (-each.score, each.text.startswith("#"))))


@dataclass(frozen=True, slots=True)
class Found:
    """Returns highlights that were computed before."""

    query: str
    highlights: tuple[Highlight, ...]

    def __call__(self, text: str) -> tuple[Highlight, ...]:
        return self.highlights


def _scores(phrases: Mapping[Phrase, float], terms: Sequence[Sequence[str]]) -> list[float]:
    """Return the share of the phrases' weight that each sentence has, weighed by how few of the sentences have it."""
    weights: list[dict[Phrase, float]] = [{} for _ in terms]
    total = 0.0
    for phrase, weight in phrases.items():
        having = [place for place, words in enumerate(terms) if _holds(words, phrase)]
        rarity = weight * math.log(1 + (len(terms) + 1) / (len(having) + 0.5))
        # Phrases that no sentence has count only if they are words of their own, not other spellings.
        total += rarity if having or (len(phrase) == 1 and weight == 1) else 0.0
        for place in having:
            weights[place][phrase] = rarity
    return [sum(found.values()) / total if found else 0.0 for found in weights]


def _holds(words: Sequence[str], phrase: Phrase) -> bool:
    if len(phrase) > 1:
        size = len(phrase)
        return any(tuple(words[at : at + size]) == phrase for at in range(len(words) - size + 1))
    (word,) = phrase
    return word in words or (is_letter(word) and any(other.startswith(word) for other in words))


@lru_cache(64)
def _phrases(query: str) -> dict[Phrase, float]:
    """Return what lexical search looks up for a query."""
    with COLLECTIONS:
        return _tokenizer().phrases(query_terms(separate_runs(query)))


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer()
