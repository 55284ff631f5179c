"""Metadata as tokens for equality, which a store can look up whatever the field.

Every value that a filter can name gets tokens: strings that are equal exactly if `filters.values.same` says that the
values are. So the tests of a filter become lookups of tokens, whatever the field:

    ? path kind    the field exists, with a value of this kind
    l path kind    it is a list with an element of this kind
    e path         its value is None, "" or []
    u path         its value is a string that looks like a date but is not
    = path form    the value is equal to this
    * path form    an element of its list is equal to this

A path is preceded by its length, so that no path and value run together. The form of a value is a letter for its kind
and its canonical text: 1 and 1.0 have the same, True another. Equality of dates is not transitive: a date equals each
string that names its instant, and two such strings differ. So a string that names an instant has two forms, and
a filter looks for the forms that its own value equals.

Long tokens are replaced by their hash, 160 bits of BLAKE2: an index entry has at most 2,700 bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any, get_args

from theodolite.engines.remote.escaping import escape
from theodolite.filters.dates import instant, is_unreadable
from theodolite.filters.values import kind_of
from theodolite.types import FieldKind

KINDS: tuple[FieldKind, ...] = get_args(FieldKind)
BEYOND_INT64 = 1 << 63

_KIND_LETTERS: dict[FieldKind, str] = {kind: kind[:2] for kind in KINDS}
_LONGEST = 200  # characters of a token that is not hashed
_DIGITS = 20  # of a number of 64 bits, with its sign


def reachable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return every dotted path in stored metadata that `filters.values.lookup` finds, with its value."""
    if dict not in map(type, metadata.values()):
        return dict(metadata)
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if type(value) is dict and "." not in key:
            found.update((f"{key}.{path}", inner) for path, inner in reachable(value).items())
    found.update(metadata)  # a key that contains the dot itself takes precedence
    return found


def field_tokens(path: str, value: Any) -> list[str]:
    """Return the tokens of one field."""
    kind = kind_of(value)
    tokens = [kind_token(path, kind)]
    if value is None or value == "" or value == []:
        tokens.append(empty_token(path))
    tokens += [value_token(path, form) for form in _stored_forms(value)]
    if isinstance(value, list):
        tokens += {element_token(path, form) for item in value for form in _stored_forms(item)}
        tokens += {element_kind_token(path, each) for each in set(map(kind_of, value))}
    elif kind == "string" and is_unreadable(value):
        tokens.append(unreadable_token(path))
    return tokens


def exists_tokens(path: str) -> list[str]:
    """Return tokens. Every document with the field has one of them."""
    return [kind_token(path, kind) for kind in KINDS]


def kind_token(path: str, kind: FieldKind) -> str:
    return _token("?", path, _KIND_LETTERS[kind])


def element_kind_token(path: str, kind: FieldKind) -> str:
    return _token("l", path, _KIND_LETTERS[kind])


def unreadable_token(path: str) -> str:
    return _token("u", path, "")


def empty_token(path: str) -> str:
    return _token("e", path, "")


def value_token(path: str, form: str) -> str:
    return _token("=", path, form)


def element_token(path: str, form: str) -> str:
    return _token("*", path, form)


def value_suffixes(path: str, values: Iterable[Any]) -> list[str]:
    """Return the tokens of values that equal one of these or have an element that does, without their first letter.

    That letter is = or *, and behind it both tokens of a form are the same. This is the fast way for a million values.
    """
    start = f"{len(path)}:{path}"
    number, text = escape(start + "n"), escape(start + "s")
    longest = _LONGEST - len(start) - len("=s")
    found: list[str] = []
    for value in values:
        kind = type(value)
        if kind is int and -BEYOND_INT64 < value < BEYOND_INT64 and longest >= _DIGITS:
            found.append(f"{number}{value}")
        elif kind is str and len(value) <= longest and value.isascii() and instant(value) is None:
            found.append(text + escape(value))
        else:
            tokens = [token(path, form) for form in wanted_forms(value) for token in (value_token, element_token)]
            found += {token[1:] for token in tokens}
    return found


def wanted_forms(value: Any) -> list[str]:
    """Return the forms of stored values that equal a filter's value; none if nothing can."""
    if isinstance(value, str):
        moment = instant(value)
        try:
            value.encode()
        except UnicodeEncodeError:
            return []
        return [f"s{value}"] if moment is None else [f"s{value}", f"d{moment}"]
    if isinstance(value, date):
        moment = instant(value)
        return [f"d{moment}", f"j{moment}"]
    return _stored_forms(value)


def list_form(value: list[Any]) -> str:
    """Return the form of a list. All dates and strings in it that name the same instant look the same."""
    digest = blake2b(digest_size=20)
    for part in _list_parts(value):
        digest.update(part.encode(errors="surrogatepass"))
    return "L" + digest.hexdigest()


def date_strings(value: list[Any]) -> list[str | None]:
    """Return the strings in a list that name instants, in order, and None for each date."""
    found: list[str | None] = []
    for item in value:
        if isinstance(item, list):
            found += date_strings(item)
        elif isinstance(item, (str, date)) and instant(item) is not None:
            found.append(escape(item) if isinstance(item, str) else None)
    return found


def _stored_forms(value: Any) -> list[str]:
    match value:
        case None:
            return ["z"]
        case bool():
            return ["b1" if value else "b0"]
        case int() | float():
            return [f"n{_number(value)}"]
        case str():
            moment = instant(value)
            return [f"s{value}"] if moment is None else [f"s{value}", f"j{moment}"]
        case date():
            return [f"d{instant(value)}"]
        case list():
            return [list_form(value)]
        case _:  # nothing equals a mapping
            return []


def _number(value: int | float) -> str:
    """Return the same text for equal numbers."""
    if isinstance(value, float):
        if not value.is_integer():  # infinity, too, which is never stored
            return repr(value)
        value = int(value)
    fits = -BEYOND_INT64 < value < BEYOND_INT64
    return str(value) if fits else f"{value:x}x"  # Python limits the digits of a decimal


def _list_parts(value: list[Any]) -> Iterator[str]:
    yield "["
    for item in value:
        if isinstance(item, list):
            yield from _list_parts(item)
        else:
            moment = instant(item)
            form = f"i{moment}" if moment is not None else next(iter(_stored_forms(item)), "m")
            yield f"{len(form)}:{form}"
    yield "]"


def _token(kind: str, path: str, form: str) -> str:
    token = f"{kind}{len(path)}:{path}{form}"
    if len(token) > _LONGEST:
        return kind + "#" + blake2b(token.encode(), digest_size=20).hexdigest()
    return escape(token)
