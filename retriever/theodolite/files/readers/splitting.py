"""Split texts into passages, measured in the embedder's own tokens."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from theodolite.errors import ConfigError, UnsupportedError
from theodolite.plugins import optional

_TOKENS = 256
_CHARACTERS = 4  # per token, if no tokenizer is available
_MAX_WORDS = 1 << 20  # words whose token counts are cached
_WORD = 40  # maximum characters of a cached word; sentences in scripts without spaces are longer
_PROBE = (
    'One two, "three"\n\nFour-five  six: 7.8 (nine)\n\tthis_is x^2 größer 中文 ελληνικά Überfluß.\n\n- Unbelievable'
)


class Splitter:
    """Splits texts at the largest boundaries (paragraphs, sentences, words) into pieces of a maximum size.

    Most tokenizers treat words separately. For these, the splitter sums the token counts of words and counts each word
    once, because tokenizing every candidate piece could cost more than embedding it. For other tokenizers it counts
    each piece.
    """

    def __init__(self, embedder: Any = None, chunk_tokens: int | None = None, overlap: int = 0) -> None:
        """
        Args:
            embedder: its `max_tokens` and `count_tokens` are used if it has them; otherwise four characters count
                as one token.
            chunk_tokens, overlap: see `Options`.

        Raises:
            MissingExtraError: the extra `cli` is not installed.
            ConfigError: the overlap is not smaller than a passage.
        """
        self._special = 0  # special tokens that the embedder adds
        self._count: Callable[[Sequence[str]], list[int]] | None = None
        self._words: dict[str, int] = {}
        count = getattr(embedder, "count_tokens", None)
        if count is not None:
            with contextlib.suppress(UnsupportedError):  # the embedder has the method but cannot count
                self._special = count([""])[0]
                self._count = count
        self._length = self._by_characters if self._count is None else self._by_tokenizer
        if self._count is not None:
            self._cache_words(_PROBE)
            if self._by_words(_PROBE) == self._by_tokenizer(_PROBE):
                self._length = self._by_words
        limit = getattr(embedder, "max_tokens", None)
        reads = _TOKENS if limit is None else max(1, limit - self._special)
        self.tokens = min(reads, chunk_tokens or _TOKENS)
        if not 0 <= overlap < self.tokens:
            raise ConfigError(f"overlap is {overlap}; it must be below the {self.tokens} tokens of a passage")
        self._overlap = overlap
        self._splitters: dict[tuple[bool, int], Any] = {}
        self._splitter(self.tokens, markdown=False)

    def split(self, text: str, *, markdown: bool = False, above: str = "") -> list[str]:
        """Split a text into pieces that are not blank.

        Args:
            markdown: whether to split at Markdown syntax.
            above: a line to put above each piece that does not begin with it. If it takes more than half of a piece,
                its first words are dropped.
        """
        size = self.tokens
        if above:
            above, taken = self._shortened(above)
            size -= taken
        if len(text) <= size and text.isascii():  # every token has at least one character
            pieces = [text.strip()]
        else:
            if self._length == self._by_words:
                self._cache_words(text)
            pieces = self._splitter(size, markdown=markdown).chunks(text)
        pieces = [piece for piece in pieces if piece.strip()]
        return [piece if piece.startswith(above) else f"{above}\n\n{piece}" for piece in pieces] if above else pieces

    def _splitter(self, tokens: int, *, markdown: bool) -> Any:
        with optional("cli"):
            from semantic_text_splitter import MarkdownSplitter, TextSplitter
        known = self._splitters.get((markdown, tokens))
        if known is None:
            kind = MarkdownSplitter if markdown else TextSplitter
            known = kind.from_callback(self._length, tokens, min(self._overlap, tokens - 1))
            self._splitters[markdown, tokens] = known
        return known

    def _shortened(self, above: str) -> tuple[str, int]:
        """Shorten a line from its start to at most half of a piece; return it and its number of tokens."""
        words = above.split()
        if self._length == self._by_words:
            self._cache_words(above)
        while words and (taken := self._length(" ".join(words))) > self.tokens // 2:
            del words[: max(1, len(words) // 8)]
        return (" ".join(words), taken) if words else ("", 0)

    def _cache_words(self, text: str) -> None:
        """Count the tokens of all new words at once."""
        words = {word for word in text.split() if len(word) <= _WORD}
        if len(self._words) + len(words) > _MAX_WORDS:
            self._words.clear()
        # A set difference would iterate over all known words.
        new = sorted(word for word in words if word not in self._words)
        if new and self._count is not None:
            for word, tokens in zip(new, self._count(new), strict=True):
                self._words[word] = tokens - self._special

    def _by_words(self, text: str) -> int:
        total = 0
        for word in text.split():
            tokens = self._words.get(word)
            total += self._by_tokenizer(word) if tokens is None else tokens  # long words and parts are not cached
        return total

    def _by_tokenizer(self, text: str) -> int:
        if self._count is None:
            return self._by_characters(text)
        # Some tokenizers turn an extremely long word into one unknown token.
        return max(self._count([text])[0] - self._special, max(map(len, text.split()), default=0) // _WORD)

    def _by_characters(self, text: str) -> int:
        return -(-len(text) // _CHARACTERS)
