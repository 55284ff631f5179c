"""Words: what a lexical search looks for when somebody asks for a text.

The text is never syntax. It becomes plain strings, each of one or several words; a string of several is a phrase: its
words must follow one another. The index is plain (words as Unicode has them, stemmed), so that what serves identifiers
and numbers stands here, on the side of the question:

    getUserName    finds  getUserName, get_user_name and get user name; then get, user, name
    get user name  finds  getUserName and getUser, too
    E-1234         finds  E-1234 and E1234; E1234 finds both
    v1.2.3         finds  v1.2.3 before the single numbers
    $2,400,000     finds  2,400,000, 2 400 000 and 2400000; each of these finds all three

Texts in scripts without spaces come with a space around each run of letters (see `engines.local.scripts`); a run is one
word here.

These rules only add to what is looked for, and what they add counts for less where the text is prose. A phrase or a
joined word is rarer than its parts, so that what is spelt alike comes first. Signs are not indexed: C++ and C# are C.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

MOST = 256
"""Words of a text that are read; what follows is not looked for."""

STRINGS = 1024
"""How many strings are looked for, at most."""

LESS = 0.25
"""What other spellings of prose, and parts of words, count."""

_LONGEST = 64  # characters of what is split or joined
_NEIGHBOURS = 3  # that may have been written as one word

# Runs of letters and digits, with marks that Unicode could not compose into their letter: the index drops these.
_WORD = re.compile(r"[^\W_][^\W_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W_\u0300-\u036f]*)*")
# Digits, snake_case, dotted.names, C::names, paths: how these are spelt matters.
_CODE = re.compile(r"\d|\w[._:\\]+\w|_")

# Words of grammar, which say nothing of what a passage is about and cost the most to look for. The halves of
# contractions are among them: "don't" is indexed as "don" and "t".
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


def words(text: str) -> dict[str, float]:
    """What to look for, and how much each string counts: 1, or LESS. Strings are distinct, of one or several words.

    Empty where the text has no letter and no digit. English function words are left out, unless all of them are.
    """
    chunks: list[tuple[str, list[str]]] = []
    left = MOST
    for chunk in unicodedata.normalize("NFC", text).split():
        if some := _WORD.findall(chunk)[:left]:
            chunks.append((chunk, some))
            left -= len(some)
    flat = [word for _, some in chunks for word in some]
    ignored = {word for word in flat if word.lower() in _FUNCTION_WORDS}
    if len(ignored) == len(set(flat)):
        ignored = set()
    weights: dict[str, float] = {}
    for string, weight in chain(
        *(_spellings(chunk, some, ignored) for chunk, some in chunks),
        _joined(flat, ignored),
    ):
        if len(weights) < STRINGS or string in weights:
            weights[string] = max(weight, weights.get(string, 0.0))
    return weights


def _spellings(chunk: str, some: Sequence[str], ignored: set[str]) -> Iterator[tuple[str, float]]:
    """The words of a text without spaces, and what it may be written as elsewhere."""
    number = len(some) > 1 and all(map(str.isdecimal, some))
    for word in some:
        if word not in ignored:
            yield word, LESS if number else 1.0
            if (folded := word.casefold()) != word.lower():
                yield folded, 1.0  # ss for ß, which the index keeps
            if word.isascii() and word.isdecimal() and 3 < len(word) <= _LONGEST:
                yield f"{int(word):,}".replace(",", " "), 1.0
    if ignored.issuperset(some) or sum(map(len, some)) > _LONGEST:
        return
    parts = [part for word in some for part in _split(word)]
    code = len(parts) > len(some) or _CODE.search(chunk) is not None
    weight = 1.0 if code else LESS
    if len(some) > 1:
        yield "".join(some), weight
        # The halves of contractions are among the commonest words there are: "don t" is not worth what it costs.
        if code or ignored.isdisjoint(some):
            yield " ".join(some), weight
    if len(parts) > len(some):
        yield " ".join(parts), weight
        yield from ((part, LESS) for part in parts if len(part) > 1 and part.lower() not in _FUNCTION_WORDS)


def _joined(flat: Sequence[str], ignored: set[str]) -> Iterator[tuple[str, float]]:
    """Neighbours as one word. Most of them name nothing, which costs little to find out."""
    for many in range(2, _NEIGHBOURS + 1):
        for start in range(len(flat) - many + 1):
            some = flat[start : start + many]
            if not ignored.issuperset(some) and sum(map(len, some)) <= _LONGEST:
                thousands = all(map(str.isdecimal, some)) and all(len(group) == 3 for group in some[1:])
                yield "".join(some), 1.0 if thousands else LESS


def _split(word: str) -> list[str]:
    """getHTTPResponse2 as get, HTTP, Response, 2."""
    parts, start = [], 0
    for at, (before, here) in enumerate(pairwise(word), start=1):
        starts = here.isupper() and (before.islower() or word[at + 1 : at + 2].islower())
        if before.isdigit() != here.isdigit() or (starts and not before.isdigit()):
            parts.append(word[start:at])
            start = at
    return [*parts, word[start:]]
