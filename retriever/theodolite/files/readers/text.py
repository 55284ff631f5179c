"""Plain text: detect the encoding, and read large files in pieces. All text formats are opened here."""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from theodolite.errors import DocumentError
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Unit
from theodolite.plugins import optional

HEAD = 8192
"""Bytes at the beginning of a file that are checked for binary data."""
WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""Byte order marks of UTF-16 and UTF-32, whose characters contain NUL bytes."""

_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))  # rare in texts
_WINDOW = 1 << 18  # characters of a text that are split together

_BLOCK = 1 << 20  # bytes
_BEFORE = 64  # bytes kept before the first byte that is not UTF-8
_SAMPLE = 1 << 15  # bytes used to detect the encoding
_PLAIN = re.compile(rb"([\t-\x7f]{20})[\t-\x7f]+([\t-\x7f]{20})")  # ASCII, which is the same in most encodings
_NEAR = 0.1


def read_text(file: File, options: Options) -> Iterator[Unit]:
    with opened(file.path) as text:
        yield from map(Unit, windows(iter(partial(text.read, _WINDOW), ""), _WINDOW))


def opened(path: Path, newline: str | None = None) -> IO[str]:
    """Open a text file in its detected encoding. `newline` is as for `open`.

    Raises:
        DocumentError: the file is binary, or its encoding is unknown.
        OSError.
    """
    return path.open(encoding=encoding_of(path), newline=newline)


def encoding_of(path: Path) -> str:
    """Return UTF-8, the encoding of the byte order mark, or the most likely encoding of the letters.

    Reads the whole file, so that nothing is stored before a later part turns out to be invalid.

    Raises:
        DocumentError: the file is binary or damaged UTF-8, or its encoding is unknown.
        OSError.
    """
    likely, plain, place = None, True, 0
    decoder = getincrementaldecoder("utf-8")()
    with path.open("rb") as raw:
        while block := raw.read(_BLOCK):
            if not place and block.startswith(WIDE):
                return "utf-32" if b"\0\0" in block[:4] else "utf-16"
            if is_binary(block, utf8=likely is None):
                raise DocumentError("binary")
            if likely is None:
                try:
                    decoder.decode(block, final=len(block) < _BLOCK)
                    plain = plain and block.isascii()
                except UnicodeDecodeError as error:
                    if is_binary(block, utf8=False):
                        raise DocumentError("binary") from None
                    if not (plain and block[: error.start].isascii()):
                        # Earlier non-ASCII letters were valid UTF-8, which other encodings never are by chance.
                        raise DocumentError(f"not UTF-8 at about byte {place + error.start:,}") from None
                    likely = _likely(block[max(0, error.start - _BEFORE) :])
            place += len(block)
    return likely or "utf-8-sig"


def whole_text(path: Path) -> str:
    """Return all of a text file. Raises as `opened`."""
    with opened(path) as file:
        return file.read()


def is_binary(data: bytes, *, utf8: bool = True) -> bool:
    """Return whether data with NUL bytes is binary: some part has too many control characters.

    Args:
        utf8: whether the data may be UTF-8. Binary data are never valid UTF-8 by chance.
    """
    if b"\0" not in data:
        return False
    for start in range(0, len(data), HEAD):
        part = data[start : start + HEAD]
        controls = len(part) - len(part.translate(None, _CONTROLS))
        if b"\0" in part and controls > max(1, len(part) * (0.1 if utf8 else 0.01)):
            return True
    return False


def windows(parts: Iterable[str], size: int) -> Iterator[str]:
    """Yield a text that comes in parts as pieces of about `size` characters, cut at a paragraph, line or word."""
    rest = ""
    for part in parts:
        rest += part
        while len(rest) >= size:
            cut = next((at for joint in ("\n\n", "\n", " ") if (at := rest.rfind(joint, 1, size)) > 0), size)
            yield rest[:cut]
            rest = rest[cut:]
    yield rest


def valid(text: str) -> tuple[str, int]:
    """Return a text that can be stored, and the number of invalid characters replaced by U+FFFD.

    Invalid characters are NUL and lone surrogates. Surrogate pairs become the character they encode.
    """
    if "\0" not in text:
        if text.isascii():
            return text, 0
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text, 0
    known = text.count("\ufffd")
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")
    return text, text.count("\ufffd") - known


def valid_values(value: Any) -> tuple[Any, int]:
    """Replace invalid characters in the strings and keys of metadata. See `valid`."""
    match value:
        case str():
            text = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            return text, text.count("\ufffd") - value.count("\ufffd")
        case list():
            pairs = [valid_values(item) for item in value]
            return [item for item, _ in pairs], sum(count for _, count in pairs)
        case dict():
            names, values = valid_values(list(value)), valid_values(list(value.values()))
            return dict(zip(names[0], values[0], strict=True)), names[1] + values[1]
    return value, 0


def _likely(sample: bytes) -> str:
    """Guess the encoding of a text that is not UTF-8."""
    with optional("cli"):
        from charset_normalizer import from_bytes
    # Sample only parts of the file: the letters that distinguish encodings must be among them.
    matches = from_bytes(_PLAIN.sub(rb"\1 \2", sample)[:_SAMPLE])
    best = matches.best()
    if best is None:
        raise DocumentError("its encoding is not known; convert it to UTF-8")
    # The library breaks near ties by name. Prefer Western European, the most common of these encodings.
    western = (match for match in matches if "cp1252" in (match.encoding, *match.could_be_from_charset))
    if any(match.chaos <= best.chaos + _NEAR and match.coherence >= best.coherence - _NEAR for match in western):
        return "cp1252"
    return best.encoding
