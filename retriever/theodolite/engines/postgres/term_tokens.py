"""The terms of texts, as lexical search stores them.

The terms are those of the local engine: its tokenizer and its rules for scripts without spaces. A document's row has

- `words`: all terms in order, each with its own space on either side, so that terms and phrases can be counted. Behind
  them the first letter, marked, of terms in scripts without spaces, since a query of a single letter finds the words
  that begin with it. A GIN index over TERMS finds documents by these;
- `length`: the number of terms.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from theodolite.analysis.query_terms import Phrase, Tokenizer
from theodolite.analysis.unspaced_scripts import is_letter, prepare_text

TERMS = "string_to_array(btrim(words), '  ')"
"""The distinct terms of a row as SQL, the expression that the index is over."""

_LONGEST = 200  # characters of a term that is not hashed: an entry of the index has at most 2,700 bytes
_LETTER = "\x02"
_MOST_REMEMBERED = 8_000_000  # characters
# The tokenizer ends a word at every other ASCII character, so what stands between them can be tokenized by itself.
# In UTF-8, all bytes of other characters are above 127.
_SEPARATORS = bytes(byte if byte > 127 or chr(byte).isalnum() else 32 for byte in range(256))


class Terms(NamedTuple):
    """The words of one document."""

    words: bytes
    length: int


class TermEncoder:
    """Makes the words of texts. Thread-safe.

    Most words occur in many texts. So texts are split here, and the tokenizer is asked once for each distinct chunk.
    """

    def __init__(self) -> None:
        self._tokenizer = Tokenizer()
        self._known: dict[bytes, bytes] = {}  # the words of a chunk
        self._size = 0

    def terms(self, texts: Sequence[str]) -> list[Terms]:
        """Return the words of each text."""
        chunks = [prepare_text(text).encode(errors="replace").translate(_SEPARATORS).split() for text in texts]
        words_of = self._words_of(set().union(*chunks)).__getitem__
        return [_terms(b"".join(map(words_of, each))) for each in chunks]

    def _words_of(self, chunks: set[bytes]) -> dict[bytes, bytes]:
        """Return the words of chunks; others may be among them."""
        if self._size > _MOST_REMEMBERED:
            self._known, self._size = {}, 0
        known = self._known  # another thread may begin a new one
        new = chunks.difference(known)
        if not new:
            return known
        plain = list(filter(bytes.isascii, new))
        other = list(new.difference(plain))
        # A plain chunk is one word. So all of them are one text, which is much faster than a text for each.
        one, *rest = self._tokenizer.terms([b" ".join(plain).decode(), *map(bytes.decode, other)])
        known.update(zip(plain, [f" {_short(term)} ".encode() for term in one], strict=True))
        known.update(
            zip(other, ["".join(f" {_short(term)} " for term in terms).encode() for terms in rest], strict=True)
        )
        self._size += sum(map(len, new))
        return known


def lookup_tokens(phrase: Phrase) -> list[str]:
    """Return the terms that every document with this phrase has."""
    if len(phrase) == 1 and is_letter(phrase[0]):
        return [_LETTER + phrase[0]]
    return list(dict.fromkeys(map(_short, phrase)))


def counted_text(phrase: Phrase) -> str:
    """Return the string that occurs in `words` as often as the phrase in the text."""
    if len(phrase) == 1 and is_letter(phrase[0]):
        return " " + phrase[0]
    return "".join(f" {_short(term)} " for term in phrase)


def _terms(words: bytes) -> Terms:
    length = words.count(b" ") // 2
    if not words.isascii():
        first = dict.fromkeys(term[0] for term in words[1:-1].decode().split("  ") if not term[0].isascii())
        words += "".join(f" {_LETTER}{letter} " for letter in first if _begins_run(letter)).encode()
    return Terms(words, length)


@lru_cache(maxsize=1 << 15)
def _begins_run(character: str) -> bool:
    return is_letter(character)


def _short(term: str) -> str:
    if len(term) <= _LONGEST:
        return term
    # Keep the first letter: single letters are looked up by it.
    return term[0] + "#" + blake2b(term.encode(), digest_size=20).hexdigest()
