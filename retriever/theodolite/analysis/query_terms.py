"""From the text of a query to the terms that lexical search looks up.

The text is never syntax. `query_terms` makes plain strings from it, each of one or several words; a string of several
words is a phrase, whose words must follow one another. `Tokenizer` then turns the strings into terms of the index.

The index itself is plain (words as Unicode defines them, stemmed), so identifiers and numbers are handled here:

    getUserName    matches  getUserName, get_user_name and get user name; then get, user, name
    get user name  matches  getUserName and getUser, too
    E-1234         matches  E-1234 and E1234; E1234 matches both
    v1.2.3         matches  v1.2.3 before the single numbers
    $2,400,000     matches  2,400,000, 2 400 000 and 2400000; each of these matches all three

Texts in scripts without spaces arrive with a space around each run of letters (see `unspaced_scripts`); a run is
one word here.

These rules only add strings, and in prose the added strings weigh less. A phrase or a joined word is rarer than its
parts, so documents with the same spelling rank first. Punctuation is not indexed: C++ and C# are C.
"""

import re
import sqlite3
import unicodedata
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise

from theodolite.analysis.bm25 import query_weight
from theodolite.analysis.unspaced_scripts import indexed_words
from theodolite.forking import COLLECTIONS, register_at_fork

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""FTS5's tokenizer of the index, with its options."""

MAX_WORDS = 256
"""Maximum number of words read from a query; the rest is ignored."""

MAX_STRINGS = 1024
"""Maximum number of strings to look up."""

LOW_WEIGHT = 0.25
"""The weight of other spellings of prose, and of parts of words. Words as written weigh 1 each time."""

Phrase = tuple[str, ...]
"""Terms as the index has them; several must follow one another."""

_MAX_LENGTH = 64  # characters of a word that is split or joined
_MAX_JOINED = 3  # adjacent words that may be written as one
_MAX_PIECES = 1024  # of runs in scripts without spaces: a long text in Chinese is one word of thousands of letters

# Runs of letters and digits, with marks that Unicode could not compose into their letter: the index drops these.
_WORD = re.compile(r"[^\W_][^\W_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W_\u0300-\u036f]*)*")
# Digits, snake_case, dotted.names, C::names, paths: their spelling matters.
_CODE = re.compile(r"\d|\w[._:\\]+\w|_")

# Function words say nothing about the topic of a passage and cost the most to look up. The halves of contractions are
# among them: "don't" is indexed as "don" and "t".
_FUNCTION_WORDS = frozenset(
    """
    a about above after again against all also am an and any are aren as at be because been before being below between
    both but by can cannot could couldn d did didn do does doesn doing don down during each either else ever every few
    for from further had hadn has hasn have haven having he her here hers herself him himself his how however i if in
    into is isn it its itself just ll m may me might more most much must my myself neither no nor not now of off on once
    only onto or other ought our ours ourselves out over own per re s same shall shan she should shouldn so some such t
    than that the their theirs them themselves then there therefore these they this those though through thus to too
    under until up upon us ve very was wasn we were weren what when where whether which while who whom whose why will
    with within without won would wouldn yet you your yours yourself yourselves
    """.split()  # noqa: SIM905 - a list in prose is read more easily
)


def query_terms(text: str) -> dict[str, float]:
    """Return the strings to look up and the weight of each: how often it is written, or LOW_WEIGHT for other spellings.

    Empty if the text has no letter and no digit. English function words are left out, unless there are no others.
    """
    chunks: list[tuple[str, list[str]]] = []
    left = MAX_WORDS
    for chunk in unicodedata.normalize("NFC", text).split():
        if words := _WORD.findall(chunk)[:left]:
            chunks.append((chunk, words))
            left -= len(words)
    all_words = [word for _, words in chunks for word in words]
    ignored = {word for word in all_words if word.lower() in _FUNCTION_WORDS}
    if len(ignored) == len(set(all_words)):
        ignored = set()
    weights: dict[str, float] = {}
    for string, weight in chain(
        *(_spellings(chunk, words, ignored) for chunk, words in chunks),
        _joined(all_words, ignored),
    ):
        if len(weights) < MAX_STRINGS or string in weights:
            weights[string] = max(weight, weights.get(string, 0.0))
    for word, count in Counter(all_words).items():
        if weights.get(word) == 1:
            weights[word] = count
    return weights


def _added(known: float, weight: float) -> float:
    """Return the weight of several strings that are the same to the index: words as written count each time."""
    return known + weight if min(known, weight) >= 1 else max(known, weight)


def _spellings(chunk: str, words: Sequence[str], ignored: set[str]) -> Iterator[tuple[str, float]]:
    """Yield the words of a chunk without spaces, and other ways to write it."""
    number = len(words) > 1 and all(map(str.isdecimal, words))
    for word in words:
        if word not in ignored:
            yield word, LOW_WEIGHT if number else 1.0
            if (folded := word.casefold()) != word.lower():
                yield folded, 1.0  # ss for ß, which the index keeps
            if word.isascii() and word.isdecimal() and 3 < len(word) <= _MAX_LENGTH:
                yield f"{int(word):,}".replace(",", " "), 1.0
    if ignored.issuperset(words) or sum(map(len, words)) > _MAX_LENGTH:
        return
    parts = [part for word in words for part in _split(word)]
    code = len(parts) > len(words) or _CODE.search(chunk) is not None
    weight = 1.0 if code else LOW_WEIGHT
    if len(words) > 1:
        yield "".join(words), weight
        # The halves of contractions are among the most frequent words: looking up "don t" costs more than it gains.
        if code or ignored.isdisjoint(words):
            yield " ".join(words), weight
    if len(parts) > len(words):
        yield " ".join(parts), weight
        yield from ((part, LOW_WEIGHT) for part in parts if len(part) > 1 and part.lower() not in _FUNCTION_WORDS)


def _joined(words: Sequence[str], ignored: set[str]) -> Iterator[tuple[str, float]]:
    """Yield adjacent words written as one. Most of these do not occur, which is cheap to find out."""
    for count in range(2, _MAX_JOINED + 1):
        for start in range(len(words) - count + 1):
            adjacent = words[start : start + count]
            if not ignored.issuperset(adjacent) and sum(map(len, adjacent)) <= _MAX_LENGTH:
                thousands = all(map(str.isdecimal, adjacent)) and all(len(group) == 3 for group in adjacent[1:])
                yield "".join(adjacent), 1.0 if thousands else LOW_WEIGHT


def _split(word: str) -> list[str]:
    """Split getHTTPResponse2 into get, HTTP, Response, 2."""
    parts, start = [], 0
    for at, (before, here) in enumerate(pairwise(word), start=1):
        starts = here.isupper() and (before.islower() or word[at + 1 : at + 2].islower())
        if before.isdigit() != here.isdigit() or (starts and not before.isdigit()):
            parts.append(word[start:at])
            start = at
    return [*parts, word[start:]]


class Tokenizer:
    """Turns strings into terms of the index: FTS5 tokenizes them itself, in a table in memory. Thread-safe.

    Creating such a table takes several times as long as using it, so connections are kept.
    """

    def __init__(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        weakref.finalize(self, _close_all, self._idle)
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Drop the parent's connections in a forked child."""
        COLLECTIONS.drop(self._idle)

    def phrases(self, strings: Mapping[str, float], *, prepared: bool = True) -> dict[Phrase, float]:
        """Return the strings as phrases of terms, in order, with their weights.

        If several strings become the same phrase, as bank and banks do, it is a word that the query repeats. A word
        that is repeated weighs more, but less and less so (see `bm25.query_weight`).

        Args:
            prepared: whether the texts were prepared for the index (see `unspaced_scripts`).
        """
        if prepared:
            strings = _in_pieces(strings)
        weights: dict[Phrase, float] = {}
        for phrase, weight in zip(map(tuple, self.terms(list(strings))), strings.values(), strict=True):
            if phrase:
                weights[phrase] = _added(weights.get(phrase, 0.0), weight)
        return {phrase: query_weight(weight) for phrase, weight in weights.items()}

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the terms of each text, in order. Texts are prepared for the index already."""
        try:
            connection = self._idle.pop()
        except IndexError:  # all are in use
            connection = _connect()
        try:
            tokenized = _tokenize(connection, texts)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return tokenized


def _in_pieces(strings: Mapping[str, float]) -> dict[str, float]:
    """Split runs in scripts without spaces as the indexed texts were split."""
    weights: dict[str, float] = {}
    for string, weight in strings.items():
        for piece in indexed_words(string):
            if piece in weights or len(weights) < _MAX_PIECES:
                weights[piece] = _added(weights.get(piece, 0.0), weight)
    return weights


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, tokenize='{TOKENIZER}')")
    connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(words, instance)")
    return connection


def _tokenize(connection: sqlite3.Connection, strings: Sequence[str]) -> list[list[str]]:
    connection.execute("BEGIN")
    # A lone surrogate is not text: it is replaced by a character that separates words.
    plain = [string.encode(errors="replace").decode() for string in strings]
    connection.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(plain))
    terms: list[list[str]] = [[] for _ in strings]
    for number, term in connection.execute("SELECT doc, term FROM tokens ORDER BY doc, offset"):
        terms[number].append(term)
    connection.execute("ROLLBACK")
    return terms


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()
