"""Split a text into sentences, with their places in it."""

import re
from collections.abc import Iterator

MAX_LENGTH = 300
"""Maximum characters of a sentence; longer ones are cut, at a space or a comma if there is one."""

Span = tuple[int, int]

# Full stops with what closes after them; those of Chinese and Japanese, which no space follows; empty lines; and the
# ends of lines before a heading, an item of a list, a row of a table or a quotation.
_END = re.compile(
    r"""[.!?…]+["'”’»)\]]*(?=\s)"""  # noqa: RUF001
    r"|[。！？｡]+[」』”’）]*"  # noqa: RUF001
    r"|\n(?=\s*\n)|(?<=\n)\#[^\n]*|\n(?=[ \t]*(?:[-*+•>|\#]|\d+[.)]\s))"
)
_LAST_WORD = re.compile(r"[^\W\d_.]+(?:\.[^\W\d_.]+)*\.$")
_ABBREVIATIONS = frozenset(
    """
    approx. ca. cf. co. corp. dr. e.g. eq. etc. fig. i.e. inc. jr. ltd. mr. mrs. ms. no. p. pp. prof. sec. st. vs.
    bzw. d.h. usw. z.b.
    """.split()  # noqa: SIM905 - a list in prose is read more easily
)
_BREAKS = ("\n", "; ", "；", ", ", "，", "、", " ")  # noqa: RUF001
_WORDS = re.compile(r"\w")


def sentences(text: str) -> list[Span]:
    """Return the start and the end of each sentence that has a letter or a digit, in order."""
    return [part for span in _spans(text) for part in _cut(text, *_stripped(text, *span)) if _WORDS.search(text, *part)]


def _spans(text: str) -> Iterator[Span]:
    start = 0
    for match in _END.finditer(text):
        if match[0][0] in ".!?…" and not _ends(text, start, match):
            continue
        yield start, match.end()
        start = match.end()
    yield start, len(text)


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Return whether punctuation ends the sentence: not after an abbreviation, nor before a lowercase letter."""
    after = text[match.end() : match.end() + 8].lstrip()
    if after[:1].islower() or match[0][0] != ".":
        return not after[:1].islower()
    word = _LAST_WORD.search(text, max(start, match.start() - 20), match.start() + 1)
    return word is None or (word[0].lower() not in _ABBREVIATIONS and len(word[0]) > 2)


def _stripped(text: str, start: int, end: int) -> Span:
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())


def _cut(text: str, start: int, end: int) -> Iterator[Span]:
    while end - start > MAX_LENGTH:
        window = text[start : start + MAX_LENGTH]
        ends = (window.rfind(mark, MAX_LENGTH // 2) + len(mark) for mark in _BREAKS if window.rfind(mark, 1) > 0)
        size = next((size for size in ends if size > MAX_LENGTH // 2), MAX_LENGTH)
        yield _stripped(text, start, start + size)
        start, end = _stripped(text, start + size, end)
    yield start, end
