"""The door for texts: what embedders are given."""

from collections.abc import Sequence

from theodolite.errors import InputError


def as_list(texts: Sequence[str]) -> list[str]:
    """The texts as a list of their own, each of them a string that can be written as UTF-8.

    Raises:
        InputError: one string in place of a list, an item that is no string, or half of a surrogate pair.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is one string; pass a list of texts")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(
                f"text {number} of {len(listed)} is a {type(text).__name__}; pass strings",
                index=number,
                total=len(listed),
            )
        if not text.isascii() and not _encodable(text):
            raise InputError(
                f"text {number} of {len(listed)} holds half of a surrogate pair, which is no character. "
                "Was it decoded with errors='surrogateescape', or cut in the middle?",
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
