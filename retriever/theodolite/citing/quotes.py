"""Check what an answer quotes: is each quoted sentence in the stored text, word for word?"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from theodolite.analysis.sentences import sentences
from theodolite.analysis.unspaced_scripts import is_letter
from theodolite.citing.context import Context
from theodolite.display import html_table, one_line
from theodolite.errors import InputError, type_of
from theodolite.types import Document, Hits

Status = Literal["exact", "normalized", "different", "missing"]

_QUOTED = re.compile(
    r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|»([^«]+)«|「([^」]+)」|『([^』]+)』'
    r"|((?:^|\n)(?:[ \t]*>[^\n]*(?:\n|$))+)"
)
_MARGIN = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_OMISSION = re.compile(r"\s*(?:\[(?:…|\.{3})\]|…|\.{3})\s*")
_OMITTED = re.compile(r"(?:…|\.{3})\]?$")
_WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")  # noqa: RUF001
_SAME = str.maketrans("‘’‚‛“”„‟«»‐‑‒–—―−", '\'\'\'\'""""""-------')  # noqa: RUF001
_SKIPPED = "\u00ad\u200b\u200c\u200d\u2060\ufeff*_`"  # invisible characters, and emphasis in Markdown
_ENDS = " .,;:!?'\"()[]{}"  # punctuation that an answer puts around a quote
_NEAR = 0.5  # the similarity from which a sentence counts as a changed one
_MOST_TRIED = 20  # passages whose words are compared one by one


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence that an answer quotes.

    Attributes:
        text: the sentence.
        status: `exact`; `normalized`: the same up to case, white space, quotation marks, dashes, and punctuation at its
            ends; `different`: the nearest sentence has other words; `missing`: none is near.
        document_id: the document that has it, or the nearest sentence; None if it is missing.
        number: the number of this document's source in the context, or of its hit; None if it is missing.
        found: the text in the document that matches, or is nearest.
        difference: the words to take out and to put in to get from `found` to the quote, as `[-five-] {+ten+}`; empty
            if there are none.
    """

    text: str
    status: Status
    document_id: str | None = None
    number: int | None = None
    found: str = ""
    difference: str = ""

    @property
    def ok(self) -> bool:
        """Whether the document says so."""
        return self.status in ("exact", "normalized")


@dataclass(frozen=True, slots=True)
class QuoteCheck:
    """The quotes of an answer, in their order."""

    quotes: tuple[Quote, ...]

    @property
    def ok(self) -> bool:
        """Whether every quote is in the documents. An answer without quotes is fine."""
        return all(quote.ok for quote in self.quotes)

    def to_dict(self) -> dict[str, Any]:
        """Return the quotes as JSON values."""
        return {"ok": self.ok, "quotes": [{**asdict(quote), "ok": quote.ok} for quote in self.quotes]}

    def __str__(self) -> str:
        if not self.quotes:
            return "no quotes"
        return "\n".join(f"{quote.status:<10}  {_line(quote)}" for quote in self.quotes)

    def _repr_html_(self) -> str:
        rows = [(quote.status, quote.text, quote.document_id or "", quote.difference) for quote in self.quotes]
        return html_table("Quotes", ("", "quote", "document", "difference"), rows)


def verify_quotes(answer: str, hits: Hits | Context) -> QuoteCheck:
    """Check each sentence that an answer quotes against the text of the documents it was given.

    Quotes are texts between quotation marks, and block quotes of Markdown. A quote of several sentences is checked
    sentence by sentence; where it leaves out words by an ellipsis, its parts must follow one another in one document.

    Args:
        answer: the text of a language model, for example.
        hits: what it was given: hits, or the context made of them.

    Raises:
        InputError: an argument of another type.
    """
    if not isinstance(answer, str):
        raise InputError(f"answer is {type_of(answer)}; pass the text of the answer")
    if isinstance(hits, Context):
        given = [(source.number, document) for source in hits.sources for document in source.documents]
        given += [(source.number, Document(source.text, id=source.documents[0].id)) for source in hits.sources]
    elif isinstance(hits, Hits):
        given = [(hit.rank, hit.document) for hit in hits]
    else:
        raise InputError(f"hits is {type_of(hits)}; pass the Hits of a search, or their context")
    texts = [_Normalized(number, document) for number, document in given]
    return QuoteCheck(tuple(_check(sentence, texts) for sentence in _quoted(answer)))


class _Normalized:
    """A document's text without differences that do not matter, and where each character is from."""

    def __init__(self, number: int, document: Document) -> None:
        self.number, self.document = number, document
        self.text, self.places = _normalized(document.text)

    def original(self, start: int, end: int) -> str:
        """Return the text that a part of the normalized one stands for."""
        return self.document.text[self.places[start] : self.places[end - 1] + 1]


def _quoted(answer: str) -> Iterator[str]:
    """Yield the quoted sentences of an answer."""
    for match in _QUOTED.finditer(answer):
        quote = next(group for group in match.groups() if group is not None)
        if match[8] is not None:
            quote = _MARGIN.sub("", quote)
        start = None
        for first, end in sentences(quote):
            start = first if start is None else start
            if not _OMITTED.search(quote, start, end):  # else the quote goes on after what it leaves out
                yield quote[start:end]
                start = None
        if start is not None:
            yield quote[start:].rstrip()


def _check(sentence: str, texts: Sequence[_Normalized]) -> Quote:
    for each in texts:
        if _find([sentence], each.document.text) is not None:
            return Quote(sentence, "exact", each.document.id, each.number, sentence)
    parts = [part for part in (_normalized(part)[0].strip(_ENDS) for part in _OMISSION.split(sentence)) if part]
    for each in texts:
        if parts and (span := _find(parts, each.text)) is not None:
            return Quote(sentence, "normalized", each.document.id, each.number, each.original(*span))
    return _nearest(sentence, texts)


def _find(parts: Sequence[str], text: str) -> tuple[int, int] | None:
    """Return where the parts stand in a text, one after the other, in whole words; None if they do not."""
    first, end = -1, 0
    for part in parts:
        at = text.find(part, end)
        while at >= 0 and (_is_inside(text, at) or _is_inside(text, at + len(part))):
            at = text.find(part, at + 1)
        if at < 0:
            return None
        first, end = at if first < 0 else first, at + len(part)
    return first, end


def _is_inside(text: str, at: int) -> bool:
    """Return whether a place lies within a word or a number: 5 is not quoted from 50, 5.5 or -5."""
    before, after = text[at - 1 : at] if at else "", text[at : at + 1]
    if is_letter(before) or is_letter(after):  # no spaces separate these words
        return False
    beyond, next_after = text[at - 2 : at - 1] if at > 1 else "", text[at + 1 : at + 2]
    return (
        (before.isalnum() and after.isalnum())
        or (beyond.isdigit() and before in (".", ",") and after.isdigit())
        or (before.isdigit() and after in (".", ",") and next_after.isdigit())
        or (before == "-" and after.isdigit() and not beyond.isalnum())
    )


def _nearest(sentence: str, texts: Sequence[_Normalized]) -> Quote:
    """Return the quote with the most similar sentence of the documents, and what differs."""
    words = _WORD.findall(sentence)
    folded = [_normalized(word)[0] for word in words]
    known = set(folded)
    best: tuple[float, _Normalized, str] | None = None
    shared = sorted(texts, key=lambda each: -len(known.intersection(_WORD.findall(each.text))))
    for each in shared[:_MOST_TRIED]:
        for start, end in sentences(each.document.text):
            found = each.document.text[start:end]
            matcher = SequenceMatcher(None, [_normalized(word)[0] for word in _WORD.findall(found)], folded, False)
            if best is None or matcher.quick_ratio() > best[0]:
                ratio = matcher.ratio()
                if best is None or ratio > best[0]:
                    best = ratio, each, found
    if best is None or best[0] < _NEAR:
        return Quote(sentence, "missing")
    _, each, found = best
    return Quote(sentence, "different", each.document.id, each.number, found, _difference(_WORD.findall(found), words))


def _difference(found: Sequence[str], quoted: Sequence[str]) -> str:
    """Return both as one text, with the words that only one has in brackets."""
    parts = []
    before, after = ([_normalized(word)[0] for word in words] for words in (found, quoted))
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(" ".join(found[a:b]))
            continue
        if b > a:
            parts.append(f"[-{' '.join(found[a:b])}-]")
        if d > c:
            parts.append(f"{{+{' '.join(quoted[c:d])}+}}")
    return re.sub(r" (?=[.,;:!?])", "", " ".join(parts))


def _normalized(text: str) -> tuple[str, list[int]]:
    """Return a text with one form of case, spaces, quotation marks and dashes, and where each character is from."""
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        if character in _SKIPPED:
            continue
        plain = unicodedata.normalize("NFKD", character.translate(_SAME)).casefold()
        if character.isspace():
            if not characters or characters[-1] == " ":
                continue
            plain = " "
        characters += plain
        places += [place] * len(plain)
    return "".join(characters), places


def _line(quote: Quote) -> str:
    shown = one_line(quote.difference) or f'"{one_line(quote.text)}"'
    return shown if quote.document_id is None else f"[{quote.number}] {one_line(quote.document_id)}: {shown}"
