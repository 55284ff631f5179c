"""Filters as Milvus expressions, if these are exact.

`filters.evaluate.matches` defines what a filter means. Documents have tokens (see `remote.field_tokens`): a test for
equality, existence or an element of a list becomes a lookup of hashed tokens. Numbers and instants of any
size are stored as strings in the same order, so comparisons are exact, too.

Milvus has no exact expression for patterns, substrings, the order of texts, and lists that contain dates. For these a
compiled filter has two expressions: documents that pass `must` match, and documents that match pass `may`.
The documents between the two are read and evaluated here (see `source`), up to a limit.

Expressions contain no user input: only hashes, digits and our own words.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple, assert_never

from theodolite.engines.remote.field_tokens import (
    date_strings,
    element_token,
    empty_token,
    exists_tokens,
    field_tokens,
    kind_token,
    list_form,
    reachable,
    value_token,
    wanted_forms,
)
from theodolite.filters import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or
from theodolite.filters.parse import check_field
from theodolite.filters.values import orderable

MAX_TOKENS = 20_000
"""Tokens of one lookup; it takes about half a second. A longer list of values is evaluated here."""

TRUE, FALSE = "key >= 0", "key < 0"

_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
_EXPONENT = 10**9  # added to an exponent, so that it is not negative
_INSTANT = 10**18  # the same for microseconds


class Condition(NamedTuple):
    """A filter as two expressions. They are equal if the filter is evaluated by the server alone.

    Attributes:
        must: every document that passes it matches.
        may: every document that matches passes it.
    """

    must: str
    may: str

    @property
    def exact(self) -> bool:
        return self.must == self.may


def row_fields(name: str, metadata: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return what filters read of a document: its hashed tokens, and its scalars by the hash of their path."""
    tokens, scalars = [_id_token(name)], {}
    for path, value in reachable(metadata).items():
        tokens += field_tokens(path, value)
        order = orderable(value)
        if order is not None and order[0] != "text":
            scalars[_scalar(path, order[0])] = _sortable(*order)
    return list(dict.fromkeys(map(hashed_token, tokens))), scalars


def compile_filter(tree: Filter | None) -> Condition:
    """Return a filter as a condition. Raises FilterError if the name of a field is not text."""
    return _same(TRUE) if tree is None else _compile(tree)


def all_of(expressions: Iterable[str]) -> str:
    parts = [part for part in dict.fromkeys(expressions) if part != TRUE]
    return FALSE if FALSE in parts else _joined(" and ", parts, TRUE)


def any_of(expressions: Iterable[str]) -> str:
    parts = [part for part in dict.fromkeys(expressions) if part != FALSE]
    return TRUE if TRUE in parts else _joined(" or ", parts, FALSE)


def negated(expression: str) -> str:
    return {TRUE: FALSE, FALSE: TRUE}.get(expression, f"not ({expression})")


def has_token(*tokens: str) -> str:
    """Return the expression for documents that have one of the tokens."""
    return _has(tokens)


def hashed_token(token: str) -> str:
    return blake2b(token.encode(errors="surrogatepass"), digest_size=12).hexdigest()


def _compile(tree: Filter) -> Condition:
    match tree:
        case Not(part=part):
            inner = _compile(part)
            return Condition(negated(inner.may), negated(inner.must))
        case And(parts=parts):
            compiled = [_compile(part) for part in parts]
            return Condition(all_of(each.must for each in compiled), all_of(each.may for each in compiled))
        case Or(parts=parts):
            compiled = [_compile(part) for part in parts]
            return Condition(any_of(each.must for each in compiled), any_of(each.may for each in compiled))
        case Ids(ids=ids):
            return _lookup([_id_token(name) for name in sorted(ids)], TRUE)
        case In(field=field, values=values):
            return _in(_checked(field), values)
        case Compare(field=field, order=order, value=value):
            return _compare(_checked(field), _OPERATORS[order], value)
        case Exists(field=field):
            return _same(_exists(_checked(field)))
        case Empty(field=field):
            return _same(any_of([negated(_exists(_checked(field))), _has([empty_token(field)])]))
        case Contains(field=field, value=value):
            return _contains(_checked(field), value)
        case Like(field=field):
            return Condition(FALSE, _is_text(_checked(field)))
        case _:
            assert_never(tree)


def _in(field: str, values: Sequence[Any]) -> Condition:
    conditions = []
    if any(value is None for value in values):
        conditions.append(_same(negated(_exists(field))))
    forms = [form for value in values if not isinstance(value, list) for form in wanted_forms(value)]
    tokens = [token(field, form) for form in dict.fromkeys(forms) for token in (value_token, element_token)]
    if tokens:
        conditions.append(_lookup(tokens, _exists(field)))
    conditions += [_list(field, value, (value_token, element_token)) for value in values if isinstance(value, list)]
    return Condition(any_of(each.must for each in conditions), any_of(each.may for each in conditions))


def _contains(field: str, value: Any) -> Condition:
    if isinstance(value, list):
        return _list(field, value, (element_token,))
    element = _lookup([element_token(field, form) for form in wanted_forms(value)], FALSE)
    if not isinstance(value, str):
        return element
    return Condition(element.must, any_of([element.may, _is_text(field)]))


def _list(field: str, value: list[Any], places: Sequence[Any]) -> Condition:
    """Return whether the field, or an element of its list, equals a list. Dates in lists are compared here."""
    expression = _has([token(field, list_form(value)) for token in places])
    return Condition(FALSE if date_strings(value) else expression, expression)


def _compare(field: str, operator: str, value: Any) -> Condition:
    order = orderable(value)
    if order is None:
        return _same(FALSE)
    if order[0] == "text":
        return Condition(FALSE, _is_text(field))
    if order[1] in (float("inf"), float("-inf")):
        above = (order[1] > 0) == (operator in ("<", "<="))
        return _same(_has([kind_token(field, "number")]) if above else FALSE)
    return _same(f'scalars["{_scalar(field, order[0])}"] {operator} "{_sortable(*order)}"')


def _lookup(tokens: Sequence[str], else_may: str) -> Condition:
    """Return whether a document has one of the tokens; if these are too many, whether it passes `else_may`."""
    return _same(_has(tokens)) if len(tokens) <= MAX_TOKENS else Condition(FALSE, else_may)


def _exists(field: str) -> str:
    return _has(exists_tokens(field))


def _is_text(field: str) -> str:
    return _has([kind_token(field, "string"), kind_token(field, "date")])


def _has(tokens: Sequence[str]) -> str:
    if not tokens:
        return FALSE
    listed = ",".join(f'"{hashed_token(token)}"' for token in tokens)
    return f"array_contains_any(tokens, [{listed}])"


def _same(expression: str) -> Condition:
    return Condition(expression, expression)


def _joined(word: str, parts: Sequence[str], empty: str) -> str:
    return word.join(f"({part})" for part in parts) if len(parts) > 1 else (parts[0] if parts else empty)


def _checked(field: str) -> str:
    if not field.isascii():
        check_field(field)  # trees built in Python may name a field that is not text
    return field


def _id_token(name: str) -> str:
    return f"$id{name}"


def _scalar(path: str, kind: str) -> str:
    """Return the name of a scalar."""
    return kind[0] + hashed_token(path)


def _sortable(kind: str, value: Any) -> str:
    """Return a number, or an instant, as a string. Strings of one kind are in the order of their values."""
    if kind == "instant":
        return f"{value + _INSTANT:019}"
    sign, digits, exponent = Decimal(value).as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return "o"
    text = "".join(map(str, digits))
    first = len(text) + exponent  # the number is 0.digits times ten to this power
    text = f"{first + _EXPONENT:010}{text.rstrip('0')}"
    # The larger the digits, the lower a negative number; a longer one is lower, too.
    return f"n{text.translate(_COMPLEMENT)}~" if sign else f"p{text}"
