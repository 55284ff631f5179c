"""Split scripts that are written without spaces into words that FTS5 can index.

FTS5 treats consecutive letters as one word. So only the whole of 返金の手続き would be found, and no part of
GitHub备份. Python cannot register its own tokenizer. So texts are prepared here before they are indexed, and questions
before they are looked up:

    GitHub备份脚本    is indexed as    GitHub 备份 份脚 脚本 本
    환불은            is indexed as    환불 불은 은
    ｶﾞｽ料金            is indexed as    ガス ス料 料金 金
    Straße            is indexed as    Strasse

A run of such letters becomes the pairs of neighbors (bigrams), and its last letter. So one word begins at each letter:
the length of a document is its number of letters, and a single letter is found by the words that begin with it. A word
of several letters is looked up by its pairs.

The scripts are Chinese, Japanese and Korean, Thai, Lao, Khmer and Burmese. Korean has spaces, but its particles are
glued to the words. The vowel signs and tone marks of Thai, Lao, Khmer and Burmese are left out, as FTS5 leaves out the
accents of Latin letters. A run of Chinese or Japanese continues across a line break.

A text without these letters, full-width or half-width forms or ß is indexed as it is. The results of these functions
must never change, because removing a document needs the same words as indexing it (see `lexical_table`). So the
letters are listed here; the Unicode tables of Python grow with its versions.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from operator import add

# Ideographs, with the signs for repetition, closing and zero; Bopomofo; kana.
_CHINESE_JAPANESE = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
    "\u3105-\u312f\u31a0-\u31bf"
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\U0001aff0-\U0001b16f"
)
_KOREAN = "\u1100-\u11ff\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb"
_THAI_LAO = "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf"
_KHMER = "\u1780-\u17b3\u17d7\u17dc"
_BURMESE = (
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"
    "\ua9e0-\ua9e4\ua9e6-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a\uaa7e\uaa7f"
)
_LETTERS = _CHINESE_JAPANESE + _KOREAN + _THAI_LAO + _KHMER + _BURMESE

# Forms that NFKC turns into one of these letters, or a Latin one: radicals, single jamo, full-width and half-width.
_FORMS = "\u2f00-\u2fd5\u3131-\u318e\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"

# Voiced marks that do not combine with a kana, variation selectors, and the signs of Thai, Lao, Khmer and Burmese.
_MARKS = (
    "\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    "\u17b4-\u17d3\u17dd\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d"
    "\u108f\u109a-\u109d\ua9e5\uaa7b-\uaa7d"
)

_LINE_END = f"(?<=[{_CHINESE_JAPANESE}])\r?\n(?=[{_CHINESE_JAPANESE}])"
_FOREIGN = f"(?:[{_LETTERS}{_FORMS}][{_LETTERS}{_FORMS}{_MARKS}]*|{_LINE_END})+"
_CHANGED = f"[{_LETTERS}{_FORMS}ßẞ]"
# Bytes that begin none of these in UTF-8. They recognize Latin texts at a tenth of the cost of the regular expression.
# Curly quotes begin with the same bytes as radicals, so radicals count only in texts with other such letters.
_UNCHANGED = bytes(byte for byte in range(256) if byte not in (0xE0, 0xE1, *range(0xE3, 0xF4)))
_DROPPED = f"[{_MARKS}\r\n]+"
_RUN = f"[{_LETTERS}]+"


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    """Compile an expression at its first use. That takes milliseconds, and opening a collection needs none of them."""
    return re.compile(expression)


def prepare_text(text: str) -> str:
    """Return a text as it is indexed; the text itself if nothing changes."""
    return _rewrite(text, _pairs)


def separate_runs(text: str) -> str:
    """Return a question, spelled as in the index, with spaces around each run. Runs stay whole."""
    return _rewrite(text, lambda run: f" {run[0]} ")


def indexed_words(word: str) -> list[str]:
    """Return the indexed words to look up for a word of a question: the pairs or the letter of each run, or itself."""
    if not needs_preparation(word):
        return [word]
    result: list[str] = []
    for part in separate_runs(word).split():
        result += map(add, part, part[1:]) if len(part) > 1 and _compiled(_RUN).match(part) else [part]
    return result


def needs_preparation(text: str) -> bool:
    """Return whether preparation changes a text."""
    if text.isascii():
        return False
    if not text.encode(errors="replace").translate(None, _UNCHANGED):
        return "ß" in text
    return _compiled(_CHANGED).search(text) is not None


def is_letter(word: str) -> bool:
    """Return whether a word is a single letter of a run, which many words of the index begin with."""
    return len(word) == 1 and _compiled(_RUN).match(word) is not None


def _rewrite(text: str, replacement: Callable[[re.Match[str]], str]) -> str:
    if not needs_preparation(text):
        return text

    def rewrite(match: re.Match[str]) -> str:
        normalized = _compiled(_DROPPED).sub("", unicodedata.normalize("NFKC", match[0]))
        return _compiled(_RUN).sub(replacement, normalized)

    return _compiled(_FOREIGN).sub(rewrite, text).replace("ß", "ss").replace("ẞ", "SS")


def _pairs(match: re.Match[str]) -> str:
    run = match[0]
    return f" {' '.join(map(add, run, run[1:]))} {run[-1]} "
