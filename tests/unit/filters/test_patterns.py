"""`$like` and `$ilike`: matches, and no pattern takes long."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.filters import matches, parse

relaxed = settings(deadline=None)


def fits(pattern: str, value: Any, operator: str = "$like") -> bool:
    return matches(parse({"f": {operator: pattern}}), {"f": value})


def slowly(pattern: str, text: str) -> bool:
    """The definition: % is nothing, or one more character."""
    rest = iter(pattern)
    tokens = [(next(rest), False) if character == "\\" else (character, character in "%_") for character in rest]

    @cache
    def at(token: int, place: int) -> bool:
        if token == len(tokens):
            return place == len(text)
        character, special = tokens[token]
        if special and character == "%":
            return at(token + 1, place) or (place < len(text) and at(token, place + 1))
        one = place < len(text) and (special or text[place] == character)
        return one and at(token + 1, place + 1)

    return at(0, 0)


FITTING: list[tuple[str, str]] = [
    ("", ""),
    ("%", ""),
    ("%", "anything\nin two lines"),
    ("%%", "a"),
    ("_", "\n"),
    ("_", "\0"),
    ("_", "\U0001f600"),
    ("__", "e\u0301"),
    ("a%", "a"),
    ("%a", "a"),
    ("a%a", "aa"),
    ("a%b%c", "a-b-b-c"),
    ("%ab%ab%", "abab"),
    ("%_b", "abb"),
    ("%a_", "aab"),
    ("2025-%-01", "2025-03-01"),
    ("50\\%", "50%"),
    ("a\\_b", "a_b"),
    ("a\\\\b", "a\\b"),
    ("\\a", "a"),
    (".*", ".*"),
    ("[a-z]+(?i)$", "[a-z]+(?i)$"),
]
OTHERS: list[tuple[str, str]] = [
    ("", "a"),
    ("_", ""),
    ("_", "ab"),
    ("_", "e\u0301"),
    ("a%a", "a"),
    ("ab%ba", "aba"),
    ("a%", "ba"),
    ("a", "a\n"),
    ("a", "A"),
    ("%ab%ab%", "abba"),
    ("50\\%", "50x"),
    ("a\\_b", "axb"),
    ("a\\\\b", "ab"),
    (".*", "a"),
    ("\ud800", "\ufffd"),
]


def test_patterns() -> None:
    for pattern, text in FITTING:
        assert fits(pattern, text), (pattern, text)
        assert slowly(pattern, text), (pattern, text)
    for pattern, text in OTHERS:
        assert not fits(pattern, text), (pattern, text)
        assert not slowly(pattern, text), (pattern, text)


def test_only_strings_fit() -> None:
    others: tuple[Any, ...] = (None, True, 1, 1.0, [], ["a"], {}, {"a": 1})
    for value in others:
        assert not fits("%", value)
        assert not fits("%", value, "$ilike")
    assert not matches(parse({"f": {"$like": "%"}}), {})


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("refund%", "REFUNDS"),
        ("%POLICY", "the Policy"),
        ("\u00c9t\u00c9", "\u00e9T\u00e9"),
        ("\\A_", "aB"),
        ("\u03a3", "\u03c3"),
    ],
)
def test_small_and_capital_letters(pattern: str, text: str) -> None:
    assert fits(pattern, text, "$ilike")
    assert not fits(pattern, text)


def test_accents_still_count() -> None:
    assert not fits("e", "\u00e9", "$ilike")
    assert not fits("\u00e9", "e\u0301", "$ilike")
    assert not fits("ss", "\u00df", "$ilike")


patterns = st.lists(st.sampled_from(["a", "b", "%", "_", "\\%", "\\_", "\\\\", ".", "\n"]), max_size=12).map("".join)
texts = st.text("ab%_\\.\n", max_size=14)


@relaxed
@given(patterns, texts)
def test_patterns_agree_with_their_definition(pattern: str, text: str) -> None:
    expected = slowly(pattern, text)
    assert fits(pattern, text) == expected
    assert fits(pattern.upper(), text, "$ilike") == slowly(pattern.upper(), text.upper())


@relaxed
@given(st.text())
def test_a_text_fits_itself(text: str) -> None:
    escaped = "".join("\\" + character if character in "%_\\" else character for character in text)
    for pattern in (escaped, "%" + escaped, escaped + "%", "_" * len(text)):
        assert fits(pattern, text)
        assert fits(pattern, text, "$ilike")
    assert not fits(escaped + "_", text)


@pytest.mark.parametrize("operator", ["$like", "$ilike"])
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%a" * 500 + "%b", "a" * 20_000),
        ("%a_" * 300 + "%b%", "a" * 20_000),
        ("%" * 9_000 + "b", "a" * 20_000),
        ("_%" * 4_900 + "b", "a" * 20_000),
        ("%" + "a" * 200 + "b%", "a" * 20_000),
        ("a" * 10_000, "a" * 100_001),
    ],
    ids=["many %", "many % and _", "only %", "one or more", "almost", "long"],
)
def test_hostile_patterns_end(operator: str, pattern: str, text: str) -> None:
    """One regular expression for all of the pattern would go on for longer than the world has existed."""
    assert not fits(pattern, text, operator)
