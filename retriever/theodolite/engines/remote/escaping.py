"""Text without U+0000, which stores such as PostgreSQL refuse: it is escaped reversibly.

The first four characters of Unicode are written as U+0001 and two characters of U+0002 and U+0003, so that

- the order of code points is kept, and with it all comparisons,
- a text contains another exactly if its escaped form contains the other's: an escape begins with a character that
  occurs nowhere else, so no match begins or ends inside one.
"""

import re

_ESCAPED = {chr(code): "\x01" + chr(2 + code // 2) + chr(2 + code % 2) for code in range(4)}
_PLAIN = {escaped: plain for plain, escaped in _ESCAPED.items()}
_RARE = re.compile("[\0-\x03]")
_ESCAPE = re.compile("\x01[\x02\x03][\x02\x03]")

ESCAPES: tuple[str, ...] = tuple(_ESCAPED.values())
"""The escaped forms of U+0000 to U+0003."""

MARK = "\x01"
"""The first character of every escape."""


def escape(text: str) -> str:
    """Return a text as it is stored."""
    if _RARE.search(text) is None:
        return text
    return _RARE.sub(lambda match: _ESCAPED[match[0]], text)


def unescape(stored: str) -> str:
    """Undo `escape`."""
    return stored if MARK not in stored else _ESCAPE.sub(lambda match: _PLAIN[match[0]], stored)
