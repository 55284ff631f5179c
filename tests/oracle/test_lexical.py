"""Lexical search against BM25 computed one document at a time, and against FTS5's own."""

import math
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite import CorruptionError, Document
from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import TOKENIZER, query_terms
from theodolite.analysis.unspaced_scripts import (
    indexed_words,
    needs_preparation,
    prepare_text,
    separate_runs,
)
from theodolite.engines.local import LocalEngine
from theodolite.engines.local.search import lexical as lexical_module
from theodolite.engines.local.search.lexical import LexicalResult, LexicalSearch
from theodolite.engines.local.storage.database import connect, read_state
from theodolite.engines.local.storage.folder import Folder
from theodolite.types import Mask, Space
from theodolite.vectors.prepare import prepare

SPACE = Space("cosine", 2)
VOCABULARY = ["cat", "dog", "sun", "map", "box", "jam"]  # words that the stemmer leaves as they are

texts = st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join), min_size=1, max_size=12)
phrases = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3).map(" ".join)
queries = st.dictionaries(phrases, st.sampled_from([0.25, 1.0]), min_size=1, max_size=5)

# Runs of several scripts, Latin words and digits glued to them, half-width and full-width forms, emoji.
RUNS = ["猫", "犬猫", "日本語", "かな", "カナ", "환불은", "환불", "𠮷野家", "々"]
FORMS = ["ﾈｺ", "ｶﾞ", "\uff43\uff41\uff54", "\uff15", "\uff0c"]  # the last ones are cat, 5 and a comma, full-width
GLUED = [*RUNS, *VOCABULARY, *FORMS, "5", "2024", " ", " ", "。", "-", "😀", "👩\u200d🚀", "犬\n猫"]
mixed = st.lists(st.sampled_from(GLUED), max_size=12).map("".join)
randoms = st.randoms(use_true_random=False)
mixed_texts = st.lists(mixed, min_size=1, max_size=12)
runs = st.lists(st.sampled_from(RUNS), min_size=1, max_size=3).map("".join)
mixed_queries = st.dictionaries(runs | phrases, st.sampled_from([0.25, 1.0]), min_size=1, max_size=5)


def added(engine: LocalEngine, texts: Sequence[str], first: int = 0) -> None:
    documents = [Document(text, id=f"{i:03}") for i, text in enumerate(texts, first)]
    engine.add(documents, *prepare(np.ones((len(texts), 2)), SPACE))


def holding(texts: Sequence[str]) -> LocalEngine:
    engine = LocalEngine.open()
    added(engine, texts)
    return engine


@pytest.fixture(scope="module")
def fts5() -> Iterator[Callable[[str], list[str]]]:
    """The words that FTS5 itself makes of a text."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE words USING fts5vocab(texts, instance)")

        def made(text: str) -> list[str]:
            connection.execute("DELETE FROM texts")
            connection.execute("INSERT INTO texts VALUES (?)", (text,))
            return [word for (word,) in connection.execute("SELECT term FROM words ORDER BY offset")]

        yield made


def find(
    engine: LocalEngine,
    query: str | Mapping[str, float],
    n: int = 100,
    scope: Mask | None = None,
    eligible: Mask | None = None,
    factors: NDArray[np.float64] | None = None,
    lexical: LexicalSearch | None = None,
) -> LexicalResult:
    looked_for = query_terms(query) if isinstance(query, str) else query
    searcher = lexical or LexicalSearch(BM25())
    return engine._snapshots.read(
        lambda connection, snapshot: searcher.search(
            connection, snapshot.state, looked_for, n, snapshot.live if scope is None else scope, eligible, factors
        )
    )


def occurrences(tokens: Sequence[str], phrase: str) -> int:
    wanted = phrase.split()
    if len(phrase) == 1 and is_spelt_without_spaces(phrase):
        return sum(token.startswith(phrase) for token in tokens)
    return sum(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens)))


def is_spelt_without_spaces(character: str) -> bool:
    return unicodedata.name(character, "").startswith(
        ("CJK UNIFIED", "IDEOGRAPHIC ITERATION", "HIRAGANA", "KATAKANA", "HANGUL SYLLABLE")
    )


def tokens_of(text: str) -> list[str]:
    """The words of a text, by the names of its characters: each letter of a run, with the letter after it."""
    tokens: list[str] = []
    text = unicodedata.normalize("NFKC", text.replace("犬\n猫", "犬猫")).lower()
    for kind, group in groupby(text, lambda one: (is_spelt_without_spaces(one), one.isalnum())):
        word = "".join(group)
        if kind == (True, True):
            tokens += [word[at : at + 2] for at in range(len(word))]
        elif kind[1]:
            tokens.append(word)
    return tokens


def reference(
    texts: Mapping[int, str], query: Mapping[str, float], k1: float = 1.2, b: float = 0.75
) -> dict[int, float]:
    """BM25 of the documents that hold something, as the books have it."""
    documents = {row: tokens_of(text) for row, text in texts.items()}
    mean = sum(map(len, documents.values())) / len(texts)
    scores: dict[int, float] = {}
    for phrase, weight in query.items():
        holders = {row: tf for row, tokens in documents.items() if (tf := occurrences(tokens, phrase))}
        idf = max(math.log((len(texts) - len(holders) + 0.5) / (len(holders) + 0.5)), 1e-6)
        for row, tf in holders.items():
            length = len(documents[row])
            part = weight * idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean))
            scores[row] = scores.get(row, 0.0) + part
    return scores


def as_dict(found: LexicalResult) -> dict[int, float]:
    return dict(zip(found.rows.tolist(), found.bm25.tolist(), strict=True))


@settings(max_examples=sampled(60), deadline=None)
@given(texts, queries, st.sampled_from([(1.2, 0.75), (0.0, 1.0), (0.9, 0.4), (50.0, 0.0)]), randoms)
def test_scores_are_those_of_the_formula_in_any_scope(
    held: list[str], query: dict[str, float], k1_and_b: tuple[float, float], draw: Any
) -> None:
    scope = np.array([draw.random() < 0.7 for _ in held])
    with closing(holding(held)) as engine:
        found = find(engine, query, scope=scope, lexical=LexicalSearch(BM25(*k1_and_b)))
    inside = {row: text for row, text in enumerate(held) if scope[row]}
    assert as_dict(found) == pytest.approx(reference(inside, query, *k1_and_b) if inside else {}, rel=1e-12)
    assert found.boosted.tolist() == sorted(found.bm25.tolist(), reverse=True)


def in_pairs(query: Mapping[str, float]) -> dict[str, float]:
    """The words as they are looked for: of each run its pairs, or its only letter; a repeated one weighs more."""
    weights: dict[str, float] = {}
    for phrase, weight in query.items():
        run = is_spelt_without_spaces(phrase[0])
        parts = [phrase] if not run or len(phrase) == 1 else [phrase[at : at + 2] for at in range(len(phrase) - 1)]
        for piece in parts:
            known = weights.get(piece, 0.0)
            weights[piece] = known + weight if known >= 1 and weight >= 1 else max(known, weight)
    return {piece: weight if weight <= 1 else weight * 2.5 / (1.5 + weight) for piece, weight in weights.items()}


@settings(max_examples=sampled(150), deadline=None)
@given(mixed_texts, mixed_queries, st.randoms(use_true_random=False))
def test_scores_are_those_of_the_formula_in_scripts_without_spaces(
    held: list[str], query: dict[str, float], draw: Any
) -> None:
    scope = np.array([draw.random() < 0.7 for _ in held])
    with closing(holding(held)) as engine:
        found = find(engine, query, scope=scope)
    inside = {row: text for row, text in enumerate(held) if scope[row]}
    assert as_dict(found) == pytest.approx(reference(inside, in_pairs(query)) if inside else {}, rel=1e-12)


@settings(max_examples=sampled(60), deadline=None)
@given(st.one_of(texts, mixed_texts), mixed_queries)
def test_scores_are_those_of_fts5_where_the_scope_is_everything(held: list[str], query: dict[str, float]) -> None:
    query = {piece: weight for piece, weight in in_pairs(query).items() if len(piece) > 1}
    assume(query)
    match = " OR ".join(f'"{phrase}"' for phrase in query)
    with closing(holding(held)) as engine:
        with engine._store.read() as (connection, _):
            rows = connection.execute("SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ?", (match,))
            expected = dict(rows.fetchall())
        found = find(engine, dict.fromkeys(query, 1.0))
    assert as_dict(found) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=sampled(40), deadline=None)
@given(texts, texts, queries)
def test_a_scope_answers_as_its_documents_alone_would(
    mine: list[str], others: list[str], query: dict[str, float]
) -> None:
    mixed = [text for pair in zip(others, mine, strict=False) for text in pair] + mine[len(others) :]
    scope = np.array([i % 2 == 1 for i in range(2 * min(len(mine), len(others)))] + [True] * len(mine[len(others) :]))
    with closing(holding(mixed)) as engine, closing(holding(mine)) as alone:
        among, by_itself = find(engine, query, scope=scope), find(alone, query)
    place = np.cumsum(scope) - 1
    assert place[among.rows].tolist() == by_itself.rows.tolist()
    assert among.bm25.tolist() == by_itself.bm25.tolist()  # to the last bit


@settings(max_examples=sampled(60), deadline=None)
@given(texts, queries, st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_n_best_by_worth_are_found_with_all_that_tie(
    held: list[str], query: dict[str, float], n: int, draw: Any
) -> None:
    eligible = np.array([draw.random() < 0.7 for _ in held])
    factors = np.array([draw.choice([0.3, 0.8, 1.0]) for _ in held])
    with closing(holding(held)) as engine:
        everything = as_dict(find(engine, query))
        found = find(engine, query, n, eligible=eligible, factors=factors)
    worths = {row: score * factors[row] for row, score in everything.items() if eligible[row]}
    least = sorted(worths.values(), reverse=True)[:n][-1] if worths else 0.0
    expected = sorted((row for row in worths if worths[row] >= least), key=lambda row: (-worths[row], row))
    assert found.rows.tolist() == expected
    assert found.boosted.tolist() == [worths[row] for row in expected]
    assert found.bm25.tolist() == [everything[row] for row in expected]


@settings(max_examples=sampled(300), deadline=None)
@given(mixed)
def test_texts_are_indexed_by_pairs_of_letters(fts5: Callable[[str], list[str]], text: str) -> None:
    assert fts5(prepare_text(text)) == tokens_of(text)


@settings(max_examples=sampled(200), deadline=None)
@given(st.text(st.characters(max_codepoint=0xDFF, exclude_characters="ß")))
def test_texts_in_other_scripts_are_indexed_as_they_are(text: str) -> None:
    assert prepare_text(text) is separate_runs(text) is text
    assert not needs_preparation(text)
    assert indexed_words(text) == [text]


@pytest.mark.thorough
def test_fts5_takes_each_pair_for_one_word(fts5: Callable[[str], list[str]]) -> None:
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    letters = [one for one in every if prepare_text(one) != one and indexed_words(one + one) == [one + one]]
    assert len(letters) > 100_000
    pairs = [first + second for first, second in pairwise(letters)]
    assert fts5(" ".join(pairs)) == pairs


@settings(max_examples=sampled(200), deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | mixed, min_size=1, max_size=6))
@pytest.mark.thorough
def test_any_text_can_be_taken_out_of_the_index(held: list[str]) -> None:
    with closing(holding(held)) as engine:
        added(engine, held[::-1])
        engine.delete([f"{number:03}" for number in range(0, len(held), 2)])
        engine.verify()


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with closing(LocalEngine.open()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("getUserName", "calls get_user_name twice"),
        ("getUserName", "calls getUserName twice"),
        ("get user name", "calls getUserName twice"),
        ("snake_case", "written in snakeCase"),
        ("snake case", "written in SnakeCase"),
        ("os.path.join", "use os.path.join for that"),
        ("v1.2.3", "released as v1.2.3"),
        ("E-1234", "error E1234 was raised"),
        ("E1234", "error E-1234 was raised"),
        ("$2,400,000", "a sum of 2400000 dollars"),
        ("2400000", "a sum of $2,400,000"),
        ("2 400 000", "a sum of 2400000 dollars"),
        ("2400000", "a sum of 2\u202f400\u202f000 francs"),
        ("cafe", "a café"),
        ("café", "a cafe"),
        ("cafe\u0301", "a café"),
        ("café", "a cafe\u0301"),
        ("ÉCOLE", "une école"),
        ("Straße", "die strasse"),
        ("strasse", "die Straße"),
        ("STRASSE", "DIE STRAẞE"),
        ("Muller", "Herr Müller"),
        ("返金", "返金の手続き"),
        ("GitHub备份", "备份到GitHub"),
        ("ｶﾞｽ", "ガス料金"),
        ("\uff21\uff30\uff29", "api"),
        ("환불정책", "환불 정책"),
        ("C++", "written in C"),
        ("refunding", "refunds are paid"),
    ],
)
def test_spellings_find_one_another(engine: LocalEngine, query: str, text: str) -> None:
    added(engine, ["something else", text, "nothing of the kind"])
    assert find(engine, query).rows.tolist() == [1]


@pytest.mark.parametrize(
    ("query", "exact", "other"),
    [
        ("getUserName", "def get_user_name", "the user may get a name"),
        ("v1.2.3", "since v1.2.3 only", "3 of v1 and 2"),
        ("E-1234", "error E-1234 here", "1234 errors, e here"),
        ("$2,400,000", "a sum of 2400000", "sums of 2, of 400 and of 000"),
        ("is_valid", "call is_valid here", "a valid call here"),
    ],
)
def test_what_is_spelt_alike_comes_first(engine: LocalEngine, query: str, exact: str, other: str) -> None:
    added(engine, [other, exact, *(f"text {word}" for word in ("one", "two", "three", "four"))])
    assert find(engine, query).rows[0] == 1


def test_what_was_deleted_or_replaced_counts_no_more(engine: LocalEngine) -> None:
    added(engine, ["cat", "cat dog", "dog sun", "map"])
    lexical = LexicalSearch(BM25())
    find(engine, "cat", lexical=lexical)
    engine.delete(["000"])
    added(engine, ["sun sun"], first=1)
    living = {2: "dog sun", 3: "map", 4: "sun sun"}
    for query in ("cat", "sun", "dog map"):
        found = as_dict(find(engine, query, lexical=lexical))
        assert found == pytest.approx(reference(living, dict.fromkeys(query.split(), 1.0)), rel=1e-12)


def test_rows_start_over_after_a_collection_was_cleared(engine: LocalEngine) -> None:
    lexical = LexicalSearch(BM25())
    added(engine, ["cat sun map box", "dog"])
    find(engine, "cat dog", lexical=lexical)
    engine.clear()
    added(engine, ["dog", "cat sun"])
    assert as_dict(find(engine, "cat", lexical=lexical)) == as_dict(find(engine, "cat"))
    assert find(engine, "cat", lexical=lexical).rows.tolist() == [1]


def test_an_older_transaction_still_sees_its_documents(engine: LocalEngine) -> None:
    held = ["cat sun", "dog", "cat", "map"]
    added(engine, held)
    lexical = LexicalSearch(BM25())
    looked_for = {"cat": 1.0}
    with engine._store.read() as (connection, state):
        engine.delete(["000"])
        # A later transaction fills what is kept; the row that has ended is not in it.
        assert find(engine, "cat", lexical=lexical).rows.tolist() == [2]
        found = lexical.search(connection, state, looked_for, 10, np.ones(4, np.bool_))
    assert as_dict(found) == pytest.approx(reference(dict(enumerate(held)), looked_for), rel=1e-12)
    assert find(engine, "cat", lexical=lexical).rows.tolist() == [2]


@pytest.mark.parametrize("mode", ["ro", "immutable"])
def test_folders_that_nothing_can_write_to_are_searched(tmp_path: Path, mode: str) -> None:
    with closing(LocalEngine.open(tmp_path / "kb")) as engine:
        added(engine, ["cat", "sun-dried dog"])
    with closing(connect(Folder(tmp_path / "kb"), mode, 1.0)) as connection:
        state = read_state(connection)
        found = LexicalSearch(BM25()).search(connection, state, query_terms("sun-dried"), 10, np.ones(2, np.bool_))
    assert found.rows.tolist() == [1]


def test_no_words_and_unknown_words_find_nothing(engine: LocalEngine) -> None:
    added(engine, ["cat"])
    assert [len(find(engine, query).rows) for query in ("", "zebra", "zebra-cat-map")] == [0, 0, 1]


def test_answers_do_not_depend_on_what_is_kept(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    added(engine, ["cat dog", "dog cat cat", "sun"])
    lexical = LexicalSearch(BM25())
    kept = [as_dict(find(engine, "cat-dog sun", lexical=lexical)) for _ in range(2)]
    monkeypatch.setattr(lexical_module, "BUDGET", 0)
    lexical = LexicalSearch(BM25())
    assert kept == [as_dict(find(engine, "cat-dog sun", lexical=lexical)) for _ in range(2)]
    assert not lexical._postings._terms


@pytest.mark.parametrize("damage", ["DELETE FROM lexical_docsize WHERE id = 1", "rows"])
def test_an_index_that_does_not_fit_the_documents_is_damage(engine: LocalEngine, damage: str) -> None:
    added(engine, ["cat", "cat dog"])
    if damage != "rows":
        with engine._store.write() as (connection, _):
            connection.execute(damage)
    with pytest.raises(CorruptionError, match=r"the lexical index.*repair"):
        find(engine, "dog", scope=np.ones(1, np.bool_) if damage == "rows" else None)


NASTY = [
    '"',
    "'",
    "*",
    "^",
    "(",
    ")",
    ":",
    "-",
    "+",
    "{",
    "}",
    " AND ",
    " OR ",
    " NOT ",
    "NEAR(",
    "\0",
    "\ud800",
    "\udfff",
]
nasty = st.lists(
    st.sampled_from([*NASTY, "cat", "dog", "É", "e\u0301", "ß", "İ", "ﬁ", "漢字", "हिन्दी", "👩\u200d🚀"])
).map("".join)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[LocalEngine]:
    with closing(holding(["cat dog", 'a "cat" AND NEAR(dog)', "漢字 हिन्दी É ß", "x\0y"])) as opened:
        yield opened


@settings(max_examples=sampled(300), deadline=None)
@given(st.text() | nasty)
def test_any_text_is_searched_for(fuzzed: LocalEngine, text: str) -> None:
    found = find(fuzzed, text)
    assert (found.bm25 > 0).all()
    assert np.isfinite(found.boosted).all()


@settings(max_examples=sampled(100), deadline=None)
@given(st.dictionaries(st.text() | nasty, st.just(1.0), max_size=4))
def test_any_string_is_looked_for(fuzzed: LocalEngine, strings: dict[str, float]) -> None:
    assert np.isfinite(find(fuzzed, strings).boosted).all()


@pytest.mark.parametrize("text", ["aB1 " * 25_000, "cat " * 25_000, "c" * 100_000, '"' * 100_000, "é\0" * 50_000])
def test_long_texts_are_searched_for(fuzzed: LocalEngine, text: str) -> None:
    assert len(find(fuzzed, text).rows) <= 4


@pytest.mark.parametrize("make", [lambda word: word, str.upper, lambda word: f'"{word}"', lambda word: f"-{word}*"])
def test_operators_are_text(fuzzed: LocalEngine, make: Callable[[str], str]) -> None:
    assert find(fuzzed, make("cat")).rows.tolist() == find(fuzzed, "cat").rows.tolist()
