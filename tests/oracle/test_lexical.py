"""Lexical search against BM25 computed one document at a time, and against FTS5's own."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from theodolite import CorruptionError, Document
from theodolite.engines.local import LocalEngine
from theodolite.engines.local import postings as postings_module
from theodolite.engines.local.folder import Folder
from theodolite.engines.local.lexical import Lexical, LexicalFound
from theodolite.engines.local.store import connect, read_state
from theodolite.ranking.words import words
from theodolite.types import Mask, Space
from theodolite.vectors import prepare

SPACE = Space("cosine", 2)
VOCABULARY = ["cat", "dog", "sun", "map", "box", "jam"]  # words that the stemmer leaves as they are

texts = st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join), min_size=1, max_size=12)
phrases = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3).map(" ".join)
queries = st.dictionaries(phrases, st.sampled_from([0.25, 1.0]), min_size=1, max_size=5)


def added(engine: LocalEngine, texts: Sequence[str], first: int = 0) -> None:
    documents = [Document(text, id=f"{i:03}") for i, text in enumerate(texts, first)]
    engine.add(documents, *prepare(np.ones((len(texts), 2)), SPACE))


def holding(texts: Sequence[str]) -> LocalEngine:
    engine = LocalEngine.open(metric="cosine")
    added(engine, texts)
    return engine


def find(
    engine: LocalEngine,
    query: str | Mapping[str, float],
    n: int = 100,
    scope: Mask | None = None,
    eligible: Mask | None = None,
    factors: NDArray[np.float64] | None = None,
    lexical: Lexical | None = None,
) -> LexicalFound:
    looked_for = words(query) if isinstance(query, str) else query
    searcher = lexical or Lexical()
    return engine._view.read(
        lambda connection, snapshot: searcher.search(
            connection, snapshot.state, looked_for, n, snapshot.live if scope is None else scope, eligible, factors
        )
    )


def occurrences(text: str, phrase: str) -> int:
    tokens, wanted = text.split(), phrase.split()
    return sum(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens)))


def reference(texts: Mapping[int, str], query: Mapping[str, float]) -> dict[int, float]:
    """BM25 of the documents that hold something, as the books have it."""
    mean = sum(len(text.split()) for text in texts.values()) / len(texts)
    scores: dict[int, float] = {}
    for phrase, weight in query.items():
        holders = {row: tf for row, text in texts.items() if (tf := occurrences(text, phrase))}
        idf = max(math.log((len(texts) - len(holders) + 0.5) / (len(holders) + 0.5)), 1e-6)
        for row, tf in holders.items():
            length = len(texts[row].split())
            part = weight * idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean))
            scores[row] = scores.get(row, 0.0) + part
    return scores


def as_dict(found: LexicalFound) -> dict[int, float]:
    return dict(zip(found.rows.tolist(), found.bm25.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(texts, queries, st.randoms(use_true_random=False))
def test_scores_are_those_of_the_formula_in_any_scope(held: list[str], query: dict[str, float], draw: Any) -> None:
    scope = np.array([draw.random() < 0.7 for _ in held])
    with closing(holding(held)) as engine:
        found = find(engine, query, scope=scope)
    inside = {row: text for row, text in enumerate(held) if scope[row]}
    assert as_dict(found) == pytest.approx(reference(inside, query) if inside else {}, rel=1e-12)
    assert found.worths.tolist() == sorted(found.bm25.tolist(), reverse=True)


@settings(max_examples=60, deadline=None)
@given(texts, queries)
def test_scores_are_those_of_fts5_where_the_scope_is_everything(held: list[str], query: dict[str, float]) -> None:
    match = " OR ".join(f'"{phrase}"' for phrase in query)
    with closing(holding(held)) as engine:
        with engine._store.read() as (connection, _):
            rows = connection.execute("SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ?", (match,))
            expected = dict(rows.fetchall())
        found = find(engine, dict.fromkeys(query, 1.0))
    assert as_dict(found) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
    assert found.worths.tolist() == [worths[row] for row in expected]
    assert found.bm25.tolist() == [everything[row] for row in expected]


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with closing(LocalEngine.open(metric="cosine")) as opened:
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
    lexical = Lexical()
    find(engine, "cat", lexical=lexical)
    engine.delete(["000"])
    added(engine, ["sun sun"], first=1)
    living = {2: "dog sun", 3: "map", 4: "sun sun"}
    for query in ("cat", "sun", "dog map"):
        found = as_dict(find(engine, query, lexical=lexical))
        assert found == pytest.approx(reference(living, dict.fromkeys(query.split(), 1.0)), rel=1e-12)


def test_rows_begin_anew_once_a_collection_was_cleared(engine: LocalEngine) -> None:
    lexical = Lexical()
    added(engine, ["cat sun map box", "dog"])
    find(engine, "cat dog", lexical=lexical)
    engine.clear()
    added(engine, ["dog", "cat sun"])
    assert as_dict(find(engine, "cat", lexical=lexical)) == as_dict(find(engine, "cat"))
    assert find(engine, "cat", lexical=lexical).rows.tolist() == [1]


def test_an_older_transaction_still_sees_its_documents(engine: LocalEngine) -> None:
    held = ["cat sun", "dog", "cat", "map"]
    added(engine, held)
    lexical = Lexical()
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
    with closing(LocalEngine.open(tmp_path / "kb", metric="cosine")) as engine:
        added(engine, ["cat", "sun-dried dog"])
    with closing(connect(Folder(tmp_path / "kb"), mode, 1.0)) as connection:
        state = read_state(connection)
        found = Lexical().search(connection, state, words("sun-dried"), 10, np.ones(2, np.bool_))
    assert found.rows.tolist() == [1]


def test_no_words_and_unknown_words_find_nothing(engine: LocalEngine) -> None:
    added(engine, ["cat"])
    assert [len(find(engine, query).rows) for query in ("", "zebra", "zebra-cat-map")] == [0, 0, 1]


def test_answers_do_not_depend_on_what_is_kept(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    added(engine, ["cat dog", "dog cat cat", "sun"])
    lexical = Lexical()
    kept = [as_dict(find(engine, "cat-dog sun", lexical=lexical)) for _ in range(2)]
    monkeypatch.setattr(postings_module, "KEPT", 0)
    lexical = Lexical()
    assert kept == [as_dict(find(engine, "cat-dog sun", lexical=lexical)) for _ in range(2)]
    assert not lexical._postings._words


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


@settings(max_examples=300, deadline=None)
@given(st.text() | nasty)
def test_any_text_is_searched_for(fuzzed: LocalEngine, text: str) -> None:
    found = find(fuzzed, text)
    assert (found.bm25 > 0).all()
    assert np.isfinite(found.worths).all()


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text() | nasty, st.just(1.0), max_size=4))
def test_any_string_is_looked_for(fuzzed: LocalEngine, strings: dict[str, float]) -> None:
    assert np.isfinite(find(fuzzed, strings).worths).all()


@pytest.mark.parametrize("text", ["aB1 " * 25_000, "cat " * 25_000, "c" * 100_000, '"' * 100_000, "é\0" * 50_000])
def test_long_texts_are_searched_for(fuzzed: LocalEngine, text: str) -> None:
    assert len(find(fuzzed, text).rows) <= 4


@pytest.mark.parametrize("make", [lambda word: word, str.upper, lambda word: f'"{word}"', lambda word: f"-{word}*"])
def test_operators_are_text(fuzzed: LocalEngine, make: Callable[[str], str]) -> None:
    assert find(fuzzed, make("cat")).rows.tolist() == find(fuzzed, "cat").rows.tolist()
