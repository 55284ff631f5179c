"""The terms of texts, as lexical search stores them.

The terms are those of the local engine: its tokenizer and its rules for scripts without spaces. A document's row has

- `terms`: its distinct terms; and the first letter, marked, of terms in scripts without spaces, since a query of a
  single letter finds the words that begin with it. A GIN index finds documents by these;
- `words`: all terms in order, each with its own space on either side, so that terms and phrases can be counted;
- `length`: the number of terms.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from theodolite.analysis.query_terms import Phrase, Tokenizer
from theodolite.analysis.unspaced_scripts import is_letter, prepare_text

_LONGEST = 200  # characters of a term that is not hashed: an entry of the index has at most 2,700 bytes
_LETTER = "\x02"


class Terms(NamedTuple):
    """The words of one document."""

    distinct: tuple[str, ...]
    text: str
    length: int


def document_terms(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Terms]:
    """Return the words of each text."""
    return [_terms(terms) for terms in tokenizer.terms([prepare_text(text) for text in texts])]


def lookup_tokens(phrase: Phrase) -> list[str]:
    """Return the entries of `terms` that every document with this phrase has."""
    if len(phrase) == 1 and is_letter(phrase[0]):
        return [_LETTER + phrase[0]]
    return list(dict.fromkeys(map(_short, phrase)))


def counted_text(phrase: Phrase) -> str:
    """Return the string that occurs in `words` as often as the phrase in the text."""
    if len(phrase) == 1 and is_letter(phrase[0]):
        return " " + phrase[0]
    return "".join(f" {_short(term)} " for term in phrase)


def _terms(terms: Sequence[str]) -> Terms:
    short = [term if len(term) <= _LONGEST else _short(term) for term in terms]
    distinct = dict.fromkeys(short)
    letters = {_LETTER + term[0]: None for term in distinct if not term[0].isascii() and _begins_run(term[0])}
    return Terms((*distinct, *letters), "".join(f" {term} " for term in short), len(short))


@lru_cache(maxsize=1 << 15)
def _begins_run(character: str) -> bool:
    return is_letter(character)


def _short(term: str) -> str:
    if len(term) <= _LONGEST:
        return term
    # Keep the first letter: single letters are looked up by it.
    return term[0] + "#" + blake2b(term.encode(), digest_size=20).hexdigest()
