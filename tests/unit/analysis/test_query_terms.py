"""The terms that a query looks up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.analysis.bm25 import K3, query_weight
from theodolite.analysis.query_terms import LOW_WEIGHT, MAX_STRINGS, MAX_WORDS, Tokenizer, query_terms


def full(text: str) -> set[str]:
    return {string for string, weight in query_terms(text).items() if weight >= 1}


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("getUserName", {"getUserName", "get User Name"}),
        ("getHTTPResponse2", {"getHTTPResponse2", "get HTTP Response 2"}),
        ("snake_case", {"snake", "case", "snakecase", "snake case"}),
        ("os.path", {"os", "path", "ospath", "os path"}),
        ("v1.2", {"v1", "2", "v12", "v1 2", "v 1 2"}),
        ("E-1234", {"E", "1234", "1 234", "E1234", "E 1234"}),
        ("E1234", {"E1234", "E 1234"}),
        ("2400000", {"2400000", "2 400 000"}),
        ("COVID-19", {"COVID", "19", "COVID19", "COVID 19"}),
        ("a sun-dried tomato.", {"sun", "dried", "tomato"}),
        ("Straße", {"Straße", "strasse"}),
        ("C++ C#", {"C"}),
        ("naïve", {"naïve"}),
    ],
)
def test_spellings_count_in_full_where_they_matter(text: str, strings: set[str]) -> None:
    assert full(text) == strings


@pytest.mark.parametrize("text", ["$2,400,000", "2 400 000", "2.400.000", "2\u202f400\u202f000", "2400000"])
def test_thousands_match_however_they_are_grouped(text: str) -> None:
    assert "2400000" in full(text)


def test_other_spellings_of_prose_count_for_less() -> None:
    found = query_terms("sun-dried red tomato")
    assert found["sundried"] == found["sun dried"] == found["redtomato"] == found["driedredtomato"] == LOW_WEIGHT


def test_parts_of_an_identifier_count_for_less() -> None:
    assert query_terms("getUserName")["User"] == LOW_WEIGHT
    assert query_terms("getUserName user")["user"] == 1  # asked for by itself, too


def test_adjacent_words_may_be_one_identifier() -> None:
    assert {"getusername", "getuser", "username"} <= set(query_terms("get user name"))


def test_a_repeated_string_is_looked_up_once() -> None:
    assert full("tomato soup, tomato") == {"tomato", "soup"}


def test_a_repeated_word_counts_each_time() -> None:
    found = query_terms("tomato soup, tomato-soup and a tomato")
    assert (found["tomato"], found["soup"]) == (3, 2)
    assert found["tomato soup"] == found["tomatosoup"] == LOW_WEIGHT  # other spellings count once


def test_a_repeated_word_weighs_less_than_as_often() -> None:
    """Words that the index does not tell apart are the same word."""
    weights = Tokenizer().phrases(query_terms("bank banks money sun-dried"))
    assert weights["bank",] == pytest.approx(2 * (K3 + 1) / (K3 + 2))
    assert 1 < weights["bank",] < 2
    assert weights["monei",] == 1
    assert weights["sun", "dri"] == LOW_WEIGHT
    assert query_weight(1000) < K3 + 1


def test_function_words_are_left_out() -> None:
    assert full("How do I get the money that I've paid back?") == {"get", "money", "paid", "back"}
    assert not any(" " in string for string in query_terms("don't state-of-the-art"))


def test_function_words_are_kept_where_there_are_no_others() -> None:
    assert {"to", "be", "or", "not"} <= full("To be or not to be".lower())


@pytest.mark.parametrize("text", ["", " ", "\0", "?!", "“”", '"', "* ^ ( ) :", "\ud800", "🦆"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    assert query_terms(text) == {}


@given(
    st.text(max_size=200) | st.lists(st.sampled_from(['"', "NEAR(", "a", "B1", "-", " ", "\0", "_", "é"])).map("".join)
)
def test_strings_are_words_and_spaces(text: str) -> None:
    for string, weight in query_terms(text).items():
        assert string.replace(" ", "")
        assert not set(string) & set("\"'*^():+-{}\0\\_")
        assert weight == LOW_WEIGHT or weight in range(1, MAX_WORDS + 1)


@pytest.mark.parametrize("text", ["aB" * 50_000, "a b1 " * 20_000, "word" * 25_000, "1" * 100_000, "1,2 " * 25_000])
def test_the_number_of_strings_is_limited(text: str) -> None:
    assert 0 < len(query_terms(text)) <= MAX_STRINGS


def test_words_beyond_the_limit_are_ignored() -> None:
    found = query_terms(" ".join(f"{chr(97 + i % 26)}x{'y' * (i // 26)}" for i in range(MAX_WORDS)) + " beyond")
    assert "beyond" not in found
