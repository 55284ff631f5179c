"""Filters as SQL: conditions on the columns `id`, `tokens` and `fields`, with bound parameters only.

`filters.evaluate.matches` defines what a filter means. A condition is true exactly where it holds; elsewhere it is
false or NULL, which a WHERE clause treats alike. Therefore a negation is written as `IS NOT TRUE`.
"""

import math
import re
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, assert_never

from theodolite.engines.postgres.binary import encode_texts
from theodolite.engines.postgres.field_tokens import (
    MAX_SORT_TEXT,
    SORT_KEYS,
    decimal_text,
    number_sort_key,
    scalar_key,
)
from theodolite.engines.remote.escaping import ESCAPES, MARK, escape
from theodolite.engines.remote.field_tokens import (
    date_strings,
    element_token,
    empty_token,
    exists_tokens,
    list_form,
    value_suffixes,
    value_token,
    wanted_forms,
)
from theodolite.errors import UnsupportedError
from theodolite.filters import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or
from theodolite.filters.parse import check_field
from theodolite.filters.values import orderable

MAX_PARAMETERS = 60_000
"""PostgreSQL takes 65,535 in one statement."""

RANGE = "/* range */"
"""Marks a range in a statement. Such statements are not prepared.

How many documents pass depends on the bounds, so each is planned for its own. The plan of a prepared one ignores them,
and goes on reading all documents after an index was built.
"""

_MANY = 32  # values beyond which a hashed lookup of each document's tokens is faster than comparing two arrays
_LONGEST_NUMBER = 100_000  # digits; PostgreSQL has numbers of 131,072
_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_PRIVATE_USE = range(0xF0000, 0xFFFFE)  # more characters than a pattern may have


class Condition(NamedTuple):
    """A condition in SQL, with a placeholder %s for each parameter."""

    sql: str
    parameters: tuple[Any, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for equal conditions. Trees of filters are not: for Python, 1 equals True."""
        return self.sql, tuple(tuple(value) if isinstance(value, list) else value for value in self.parameters)


TRUE = Condition("TRUE")
FALSE = Condition("FALSE")


def all_of(conditions: Sequence[Condition]) -> Condition:
    return _joined(" AND ", conditions, TRUE)


def any_of(conditions: Sequence[Condition]) -> Condition:
    return _joined(" OR ", conditions, FALSE)


def compile_filter(tree: Filter | None) -> Condition:
    """Return a filter as SQL.

    Raises:
        UnsupportedError: it has more conditions than a statement takes.
        FilterError: a field's name is not text.
    """
    condition = TRUE if tree is None else _compile(tree)
    if len(condition.parameters) > MAX_PARAMETERS:
        raise UnsupportedError(
            f"the filter has {len(condition.parameters):,} values in separate conditions; PostgreSQL takes at most "
            f"{MAX_PARAMETERS:,}. List the values of one field in one $in, which has no limit"
        )
    return condition


def _compile(tree: Filter) -> Condition:
    match tree:
        case Not(part=part):
            inner = _compile(part)
            return Condition(f"({inner.sql}) IS NOT TRUE", inner.parameters)
        case And(parts=parts):
            return all_of([_compile(part) for part in parts])
        case Or(parts=parts):
            return any_of([_compile(part) for part in parts])
        case Ids(ids=ids):
            return Condition("id = ANY(%s::text[])", (encode_texts(map(escape, ids)),))
        case In(field=field, values=values):
            return _in(_checked(field), values)
        case Compare(field=field, order=order, value=value):
            return _compare(_checked(field), _OPERATORS[order], value)
        case Exists(field=field):
            return _has(exists_tokens(_checked(field)))
        case Empty(field=field):
            return any_of([_lacks(_checked(field)), _has([empty_token(field)])])
        case Contains(field=field, value=value):
            return _contains(_checked(field), value)
        case Like(field=field, pattern=pattern, ignore_case=ignore_case):
            return _like(_checked(field), pattern, ignore_case=ignore_case)
        case _:
            assert_never(tree)


def _checked(field: str) -> str:
    if not field.isascii():
        check_field(field)  # trees built in Python may name a field that is not text
    return field


def _has(tokens: Sequence[str]) -> Condition:
    """Return the condition that a document has one of the tokens."""
    if not tokens:
        return FALSE
    return Condition("tokens && %s::text[]", (list(tokens),))


def _has_value(field: str, values: Sequence[Any]) -> Condition:
    """Return the condition that the field, or an element of its list, is equal to one of the values; no lists."""
    if len(values) <= _MANY:
        forms = [form for value in values for form in wanted_forms(value)]
        return _has([token(field, form) for form in forms for token in (value_token, element_token)])
    # Arrays are compared element by element; `= ANY` of a constant array is a lookup in a hash table.
    return Condition(
        "EXISTS (SELECT FROM unnest(tokens) AS t(token) "
        "WHERE left(token, 1) IN ('=', '*') AND substr(token, 2) = ANY(%s::text[]))",
        (encode_texts(value_suffixes(field, values)),),
    )


def _lacks(field: str) -> Condition:
    return Condition("NOT tokens && %s::text[]", (exists_tokens(field),))


def _in(field: str, values: Sequence[Any]) -> Condition:
    conditions = [_lacks(field)] if None in values else []
    scalars = [value for value in values if not isinstance(value, list)]
    if scalars:
        conditions.append(_has_value(field, scalars))
    for value in values:
        if isinstance(value, list):
            conditions += [_is_list(field, value, "="), _is_list(field, value, "*")]
    return any_of(conditions)


def _is_list(field: str, value: list[Any], place: str) -> Condition:
    """Return the condition that the field, or an element of its list, is equal to a list."""
    form = list_form(value)
    tokens = _has([(value_token if place == "=" else element_token)(field, form)])
    strings = date_strings(value)
    if not any(strings):
        return tokens
    # Strings that name an instant differ from one another, and equal dates of that instant.
    stored = "fields #> ARRAY[%s, %s]::text[]"
    key = (scalar_key("l", field), place + form)
    same = (
        f"EXISTS (SELECT FROM jsonb_array_elements({stored}) AS v(found) WHERE NOT EXISTS (SELECT FROM "
        "unnest(%s::text[]) WITH ORDINALITY AS w(wanted, place) WHERE found->>(place - 1)::int <> wanted))"
    )
    unknown = Condition(f"({stored}) IS NULL", key)  # the stored ones are all dates
    return all_of([tokens, any_of([unknown, Condition(same, (*key, strings))])])


def _compare(field: str, operator: str, value: Any) -> Condition:
    order = orderable(value)
    match order:
        case None:
            return FALSE
        case "number", number:
            return _compare_number(field, operator, number)
        case "instant", moment:
            return _compare_sort_key("i", field, operator, moment)
        case _, text:
            cut = _before_surrogate(text)
            bound = escape(text if cut is None else cut)
            if cut is not None:
                # Nothing stored equals it, and what begins with `cut` and a higher character is greater.
                bound, operator = bound + "\ue000", "<" if operator in ("<", "<=") else ">="
            no_date = Condition("NOT fields ? %s", (scalar_key("i", field),))
            if len(bound) < MAX_SORT_TEXT:  # a longer text that begins with it is greater, as its sort key is
                return all_of([_compare_sort_key("s", field, operator, bound), no_date])
            near = _compare_sort_key("s", field, operator[0] + "=", bound[:MAX_SORT_TEXT])
            exact = Condition(f'(fields->>%s::text) COLLATE "C" {operator} %s', (scalar_key("s", field), bound))
            return all_of([near, exact, no_date])


def _compare_sort_key(kind: str, field: str, operator: str, bound: float | str) -> Condition:
    """Compare a sort key, which an index may hold (see `range_indexes`)."""
    key, types = scalar_key(kind, field), {"n": "float8", "i": "bigint", "s": "text"}
    sort_key = SORT_KEYS[kind]
    sql = f"{sort_key.format('%s')} {operator} %s::{types[kind]} {RANGE}"
    return Condition(sql, (*[key] * sort_key.count("{0}"), bound))


def _compare_number(field: str, operator: str, number: int | float) -> Condition:
    """Compare with a number, exactly."""
    key = scalar_key("n", field)
    is_number = Condition("fields ? %s", (key,))
    infinite = isinstance(number, float) and math.isinf(number)
    # No stored number reaches infinity, or has that many digits.
    if infinite or (isinstance(number, int) and number.bit_length() > 3 * _LONGEST_NUMBER):
        below = operator in ("<", "<=")
        return is_number if below == (number > 0) else FALSE
    rounded, unique = number_sort_key(number)
    if unique:
        return _compare_sort_key("n", field, operator, rounded)
    near = _compare_sort_key("n", field, operator[0] + "=", rounded)
    return all_of([near, Condition(f"fields->%s::text {operator} %s::jsonb", (key, decimal_text(number)))])


def _before_surrogate(text: str) -> str | None:
    """Return the part of a text before its first lone surrogate; None if it has none."""
    found = re.search("[\ud800-\udfff]", text)
    return None if found is None else text[: found.start()]


def _contains(field: str, value: Any) -> Condition:
    if isinstance(value, list):
        return _is_list(field, value, "*")
    conditions = [_has([element_token(field, form) for form in wanted_forms(value)])]
    if isinstance(value, str) and _before_surrogate(value) is None:
        conditions.append(Condition("strpos(fields->>%s::text, %s) > 0", (scalar_key("s", field), escape(value))))
    return any_of(conditions)


def _like(field: str, pattern: str, *, ignore_case: bool) -> Condition:
    """Return the condition that a string matches a pattern.

    To ignore case, letters of the pattern are mapped to one case, in both the pattern and the text. An escape (see
    `remote.escaping`) stands for one character. So in texts with escapes, each escape is replaced by a character that
    does not occur in the pattern, and such characters in the text by another one.
    """
    if _before_surrogate(pattern) is not None:
        return FALSE  # no text has a lone surrogate
    pieces = list(_pieces(pattern))
    literals = {character for character, literal in pieces if literal}
    lower = {variant: literal for literal in literals for variant in _variants(literal)} if ignore_case else {}
    canonical = {literal: lower.setdefault(literal, literal) for literal in literals} if ignore_case else {}
    lower = {variant: to for variant, to in lower.items() if variant != to}
    rare = [character for character in map(chr, _PRIVATE_USE) if character not in literals][: len(ESCAPES) + 1]
    replaced = dict(zip(map(chr, range(len(ESCAPES))), rare, strict=False))

    def written(substitute: bool) -> str:
        text = []
        for character, literal in pieces:
            shown = canonical.get(character, character)
            if literal:
                shown = replaced.get(shown, shown) if substitute else escape(shown)
            text.append("\\" + shown if literal and shown in ("%", "_", "\\") else shown)
        return "".join(text)

    string = "(fields->>%s::text)"
    key = scalar_key("s", field)
    if lower:
        plain = Condition(f"translate({string}, %s, %s)", (key, "".join(lower), "".join(lower.values())))
    else:
        plain = Condition(string, (key,))
    *others, filler = rare
    sql, parameters = f"translate({plain.sql}, %s, %s)", (*plain.parameters, "".join(others), filler * len(others))
    for escaped, other in zip(ESCAPES, others, strict=True):
        sql, parameters = f"replace({sql}, %s, %s)", (*parameters, escaped, other)
    return Condition(
        f'(CASE WHEN strpos({string}, %s) = 0 THEN {plain.sql} COLLATE "C" LIKE %s ELSE {sql} COLLATE "C" LIKE %s END)',
        (key, MARK, *plain.parameters, written(False), *parameters, written(True)),
    )


def _pieces(pattern: str) -> Sequence[tuple[str, bool]]:
    """Return the characters of a pattern, and whether each is literal."""
    pieces: list[tuple[str, bool]] = []
    characters = iter(pattern)
    for character in characters:
        if character in ("%", "_"):
            if (character, False) != (pieces[-1] if pieces else None) or character == "_":
                pieces.append((character, False))
        else:
            pieces.append((next(characters) if character == "\\" else character, True))
    return pieces


@lru_cache(maxsize=1)
def _cased() -> str:
    """Return all characters that have another case."""
    found = map(chr, (*range(0xD800), *range(0xE000, 0x110000)))
    return "".join(character for character in found if character.lower() != character or character.upper() != character)


@lru_cache(maxsize=1024)
def _variants(character: str) -> tuple[str, ...]:
    """Return the characters that `re.IGNORECASE` treats as equal, sorted. All of them have the same variants."""
    if character.lower() == character and character.upper() == character:
        return (character,)
    return tuple(sorted(re.findall(re.escape(character), _cased(), re.IGNORECASE)))


def _joined(word: str, conditions: Sequence[Condition], none: Condition) -> Condition:
    if not conditions:
        return none
    if len(conditions) == 1:
        return conditions[0]
    sql = word.join(f"({condition.sql})" for condition in conditions)
    return Condition(sql, tuple(parameter for condition in conditions for parameter in condition.parameters))
