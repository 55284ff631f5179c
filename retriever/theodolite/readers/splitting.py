"""Cutting texts into passages, in the embedder's own tokens."""

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from theodolite.errors import UnsupportedError
from theodolite.plugins import optional

_TOKENS = 256
_CHARACTERS = 4  # of a token, where nothing can count
_KEPT = 1 << 20  # words whose lengths are remembered
_WORD = 40  # characters; longer ones, such as whole sentences of scripts without spaces, are not


class Splitter:
    """Cuts texts at their largest joints (sections, paragraphs, sentences, words) into pieces of a size.

    Tokens are counted word by word, and each word once: tokenizers begin anew behind white space, and asking them for
    each candidate piece would cost more than embedding it.
    """

    def __init__(self, embedder: Any = None, chunk_tokens: int | None = None, overlap: int = 0) -> None:
        """
        Args:
            embedder: its `max_tokens` and `count_tokens` are used where it has them; else four characters count as
                one token.
            chunk_tokens, overlap: see `Options`.

        Raises:
            MissingExtraError: the extra `cli` is not installed.
        """
        with optional("cli"):
            from semantic_text_splitter import MarkdownSplitter, TextSplitter
        count = getattr(embedder, "count_tokens", None)
        limit = getattr(embedder, "max_tokens", None)
        self._own = 0  # tokens the embedder adds
        self._count: Callable[[Sequence[str]], list[int]] | None = None
        if count is not None:
            with contextlib.suppress(UnsupportedError):  # an embedder that cannot tell after all
                self._own = count([""])[0]
                self._count = count
        self._words: dict[str, int] = {}
        reads = _TOKENS if limit is None else max(1, limit - self._own)
        self.tokens = min(reads, chunk_tokens or _TOKENS)
        overlap = min(overlap, self.tokens - 1)
        self._text: Any = TextSplitter.from_callback(self._length, self.tokens, overlap)
        self._markdown: Any = MarkdownSplitter.from_callback(self._length, self.tokens, overlap)

    def split(self, text: str, *, markdown: bool = False) -> list[tuple[int, str]]:
        """Pieces of a text, each with the place of its first character."""
        self._learn(text)
        if len(text) <= self.tokens and text.isascii():  # a token is one character at least
            stripped = text.strip()
            return [(text.index(stripped), stripped)] if stripped else []
        found: list[tuple[int, str]] = (self._markdown if markdown else self._text).chunk_indices(text)
        return [(at, piece) for at, piece in found if piece.strip()]

    def _learn(self, text: str) -> None:
        if self._count is None:
            return
        words = {word for word in text.split() if len(word) <= _WORD}
        if len(self._words) + len(words) > _KEPT:
            self._words.clear()
        new = sorted(words - self._words.keys())
        if new:
            for word, tokens in zip(new, self._count(new), strict=True):
                self._words[word] = tokens - self._own

    def _length(self, text: str) -> int:
        if self._count is None:
            return -(-len(text) // _CHARACTERS)
        total = 0
        for word in text.split():
            tokens = self._words.get(word)
            if tokens is None:  # long, or cut out of a longer one; tokenizers call what is much too long one token
                tokens = max(self._count([word])[0] - self._own, len(word) // _WORD)
            total += tokens
        return total


_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class Headings:
    """The headings of a Markdown text, by place."""

    def __init__(self, text: str, above: Sequence[str] = ()) -> None:
        """`above`: the headings that stand before the text."""
        self._text = text
        self._path: list[tuple[int, tuple[str, ...]]] = [(0, tuple(above))]
        levels = [(level, name) for level, name in enumerate(above, start=1)]
        place, fenced = 0, False
        for line in text.splitlines(keepends=True):
            if _FENCE.match(line):
                fenced = not fenced
            elif not fenced and (match := _HEADING.match(line.rstrip())):
                level = len(match[1])
                levels = [(other, name) for other, name in levels if other < level] + [(level, match[2].strip())]
                self._path.append((place, tuple(name for _, name in levels)))
            place += len(line)

    def at(self, place: int) -> tuple[str, ...]:
        """The headings above the first line of prose at or behind a place."""
        for line in self._text[place:].splitlines(keepends=True)[:16]:
            if line.strip() and not _HEADING.match(line.rstrip()):
                break
            place += len(line)
        found: tuple[str, ...] = ()
        for start, path in self._path:
            if start > place:
                break
            found = path
        return found

    @property
    def last(self) -> tuple[str, ...]:
        """The headings in force at the end."""
        return self._path[-1][1]
