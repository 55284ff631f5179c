"""Validate texts before they are embedded."""

from collections.abc import Sequence

from theodolite.errors import InputError, type_of


def as_list(texts: Sequence[str]) -> list[str]:
    """Return the texts as a new list, after checking that each is a string that UTF-8 can encode.

    Raises:
        InputError: a single string instead of a list, an item that is not a string, or half of a surrogate pair.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is a single string; pass a list of texts")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(
                f"text {number} of {len(listed)} is {type_of(text)}; pass strings",
                index=number,
                total=len(listed),
            )
        if not text.isascii() and not _encodable(text):
            raise InputError(
                f"text {number} of {len(listed)} holds half of a surrogate pair, which UTF-8 cannot encode. "
                "Was it decoded with errors='surrogateescape', or cut in the middle of a character?",
                index=number,
                total=len(listed),
            )
    return listed


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
