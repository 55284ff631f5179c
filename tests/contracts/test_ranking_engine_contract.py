"""The contracts of boosts, versions and words: each of their tests fails an engine that does not keep them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from theodolite.errors import UnsupportedError
from theodolite.protocols import Answer, Engine, Fusion, Request
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents
from theodolite.testing.engine_lexical import LexicalContract
from theodolite.testing.engine_ranking import RankingContract
from theodolite.testing.engine_versions import VersionsContract
from theodolite.testing.ranking import Eligible
from theodolite.testing.reference import Lacking
from theodolite.testing.reference_search import ReferenceSearch, Stored, Values
from theodolite.types import Document, Space, Version
from theodolite.vectors.metrics import MetricName


class Unboosted(ReferenceSearch):
    def boosted(self, request: Request, found: Sequence[Document], values: Values) -> Values:
        return values


class OneBoostOnly(ReferenceSearch):
    def boosted(self, request: Request, found: Sequence[Document], values: Values) -> Values:
        return super().boosted(replace(request, boosts=request.boosts[:1]), found, values)


class BoostsWhatIsNotRelevant(ReferenceSearch):
    """A factor below 1 raises a negative score."""

    def boosted(self, request: Request, found: Sequence[Document], values: Values) -> Values:
        factors = super().boosted(request, found, dict.fromkeys(values, 1.0))
        return {place: value * factors[place] for place, value in values.items()}


class BoostsTheFirstFew(ReferenceSearch):
    """Boosts only the nearest candidates, as many ranking layers do."""

    def scores(self, request: Request, found: Sequence[Document], near: Values, bm25: Values) -> Values:
        scores = super().scores(request, found, near, bm25)
        first = sorted(near, key=lambda place: -near[place])[: max(10 * request.k, 50)]
        return {place: scores[place] for place in scores if place in first or not near}


class ThresholdAfterBoosts(ReferenceSearch):
    def scores(self, request: Request, found: Sequence[Document], near: Values, bm25: Values) -> Values:
        scores = super().scores(replace(request, min_relevance=None), found, near, bm25)
        least = -np.inf if request.min_relevance is None or not request.boosts else request.min_relevance
        return {place: score for place, score in scores.items() if score >= least}


class NoThreshold(ReferenceSearch):
    def relevant(self, near: Values, request: Request) -> Values:
        return super().relevant(near, replace(request, min_relevance=None))


class AnyOrderOfTies(ReferenceSearch):
    def order(self, scores: Values, near: Values, found: Sequence[Document]) -> list[int]:
        return sorted(scores, key=lambda place: (-scores[place], -place))


class RefusesNothing(ReferenceSearch):
    def refuse(self, eligible: Eligible, request: Request) -> None: ...


class RefusesForAnything(ReferenceSearch):
    """Documents that could not be found count, too."""

    def refuse(self, eligible: Eligible, request: Request) -> None:
        super().refuse(Eligible(self.documents, replace(request, where=None, scope=None)), request)


class LeavesTheScope(ReferenceSearch):
    def eligible(self, request: Request) -> Eligible:
        return super().eligible(replace(request, scope=None))


class Unfiltered(ReferenceSearch):
    def eligible(self, request: Request) -> Eligible:
        return super().eligible(replace(request, where=None))


class FiltersFirst(ReferenceSearch):
    """Applies the rules after the filter."""

    def eligible(self, request: Request) -> Eligible:
        passing = Eligible(self.documents, replace(request, versions=None))
        eligible = Eligible(passing.documents, replace(request, where=None, scope=None), self.partition)
        eligible.inside = passing.inside
        return eligible


class NoVersions(ReferenceSearch):
    def eligible(self, request: Request) -> Eligible:
        return super().eligible(replace(request, versions=None))


class PartitionsMix(ReferenceSearch):
    """Documents of one partition replace those of another."""

    def __init__(self, stored: Sequence[Stored], metric: MetricName, *_: Any) -> None:
        super().__init__(stored, metric)


class VersionsAfterwards(ReferenceSearch):
    """Removes documents that are not current from the results, after the best were selected."""

    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        unbound = Eligible(self.documents, replace(request, versions=None))
        answer = super().answer(replace(request, versions=None), number, unbound)
        kept = [i for i, one in enumerate(answer.documents) if one in eligible.documents]
        return replace(
            super().answer(request, number, eligible),
            documents=[answer.documents[i] for i in kept],
            similarities=[answer.similarities[i] for i in kept],
            versions=[eligible.version(answer.documents[i]) for i in kept],
        )


class TellsOfVersionsAlways(ReferenceSearch):
    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        answer = super().answer(request, number, eligible)
        return replace(answer, versions=[Version() for _ in answer.documents])


class RankedOnceOnly(ReferenceSearch):
    """Caches the version state across writes."""

    known: dict[Any, Any]

    def __init__(self, stored: Sequence[Stored], metric: MetricName, *settings: Any) -> None:
        super().__init__(stored, metric, *settings)
        self.vectors = self.known.setdefault("vectors", {})
        self.vectors.update((id(document), vector) for document, vector in stored)

    def eligible(self, request: Request) -> Eligible:
        key = (request.where, request.scope, request.versions, request.boosts, request.texts)
        eligible: Eligible = self.known.setdefault(key, super().eligible(request))
        return eligible


class OtherVectors(ReferenceSearch):
    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        answer = super().answer(request, number, eligible)
        return replace(answer, vectors=None if answer.vectors is None else answer.vectors[::-1])


class RoundedVectors(ReferenceSearch):
    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        answer = super().answer(request, number, eligible)
        half = None if answer.vectors is None else answer.vectors.astype(np.float16).astype(np.float32)
        return replace(answer, vectors=half)


class AllWordsOnly(ReferenceSearch):
    """As FTS5 reads a query: every word must be there."""

    def bm25(self, text: str, eligible: Eligible) -> Values:
        found = super().bm25(text, eligible)
        wanted = set(text.lower().split())
        return {p: s for p, s in found.items() if wanted <= set(eligible.documents[p].text.lower().split())}


class WordsBetweenSpaces(ReferenceSearch):
    """Treats consecutive letters as one word, as FTS5 does."""

    def words(self, text: str) -> list[str]:
        return text.lower().split()


class CaseMatters(ReferenceSearch):
    def bm25(self, text: str, eligible: Eligible) -> Values:
        return super().bm25(" ".join(word for word in text.split() if word.islower()), eligible)


class FindsEverything(ReferenceSearch):
    def bm25(self, text: str, eligible: Eligible) -> Values:
        return dict.fromkeys(range(len(eligible.documents)), 0.001) | super().bm25(text, eligible)


class LowerIsBetter(ReferenceSearch):
    """As FTS5's own bm25() has it."""

    def bm25(self, text: str, eligible: Eligible) -> Values:
        return {place: -score for place, score in super().bm25(text, eligible).items()}


class WordsAsTheyCome(ReferenceSearch):
    """One word is as good as two."""

    def bm25(self, text: str, eligible: Eligible) -> Values:
        return dict.fromkeys(reversed(super().bm25(text, eligible)), 1.0)

    def order(self, scores: Values, near: Values, found: Sequence[Document]) -> list[int]:
        return sorted(scores, key=lambda place: (-scores[place], [-ord(letter) for letter in found[place].id]))


class WordsCountEverywhere(ReferenceSearch):
    """The rarity of a word depends on documents outside of the scope."""

    def counted(self, eligible: Eligible) -> Sequence[Document]:
        return self.documents


class LosesTheScores(ReferenceSearch):
    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        return replace(super().answer(request, number, eligible), lexical=())


class AddsScores(ReferenceSearch):
    def fused(self, request: Request, dense: Values, lexical: Values) -> Values:
        return {place: dense.get(place, 0.0) + lexical.get(place, 0.0) for place in dense | lexical}


class PlainFusion(ReferenceSearch):
    def fused(self, request: Request, dense: Values, lexical: Values) -> Values:
        return super().fused(replace(request, fusion=Fusion()), dense, lexical)


class ShallowArms(ReferenceSearch):
    """An arm contributes no more than k."""

    def fused(self, request: Request, dense: Values, lexical: Values) -> Values:
        return super().fused(replace(request, fusion=replace(request.fusion, depth=1)), dense, lexical)


class BoostsAfterFusion(ReferenceSearch):
    def scores(self, request: Request, found: Sequence[Document], near: Values, bm25: Values) -> Values:
        fused = super().scores(replace(request, boosts=()), found, near, bm25)
        return self.boosted(request, found, fused) if request.boosts and request.mode == "hybrid" else fused


def dictionary(ranked: type[ReferenceSearch]) -> type[DictEngine]:
    return type(ranked.__name__, (DictEngine,), {"search_class": ranked})


def remembering(contents: Contents) -> DictEngine:
    return dictionary(type("Remembering", (RankedOnceOnly,), {"known": {}}))(contents)


class Refusing(DictEngine):
    """Rejects unsupported requests."""

    lacks: frozenset[Lacking] = frozenset()

    def search(self, request: Request) -> list[Answer]:
        asked = {"boosts": bool(request.boosts), "versions": request.versions, "lexical": request.mode != "dense"}
        lacking = [what for what in self.lacks if asked[what]]
        if lacking:
            raise UnsupportedError(f"there are no {lacking}")
        return super().search(request)


class Contract(RankingContract, VersionsContract, LexicalContract):
    def __init__(self, make: Callable[[Contents], Engine]) -> None:
        self.make = make

    def engine(self, space: Space) -> Engine:
        return self.make(Contents(space))

    def partitioned(self, space: Space, field: str) -> Engine:
        return self.make(Contents(space, field))


BOOSTS, FAR = "test_boosts_agree_with_brute_force", "test_a_boost_lifts_what_lies_far_down"
TIES, NEGATIVE = (
    "test_boosts_of_equal_worth_are_ordered_by_similarity_and_id",
    "test_what_is_not_relevant_is_not_made_less_so",
)
LEAST, WRITTEN = "test_min_relevance_leaves_out_what_has_less", "test_boosts_follow_what_is_written"
REFUSED, SCOPE = "test_a_search_that_a_boost_refuses_raises", "test_boosts_stay_in_a_scope"
VECTORS, LACKS = "test_vectors_are_given_where_they_are_asked_for", "test_what_an_engine_lacks_it_refuses"
RULES, RULES_WRITTEN = "test_rules_for_versions_mean_what_they_say", "test_rules_for_versions_follow_writes"
PARTITIONS, NO_RULES = "test_partitions_do_not_supersede_one_another", "test_without_rules_nothing_is_left_out"
BEST, WORDS = "test_the_best_current_documents_are_found", "test_words_find_the_documents_that_hold_them"
WORDS_WRITTEN, MORE = "test_words_follow_what_is_written", "test_more_of_the_words_come_first"
WORDS_BOOSTED, WORDS_RULES = "test_boosts_multiply_what_words_are_worth", "test_versions_bind_words"
UNSPACED = "test_words_are_found_in_scripts_without_spaces"
FUSED, OUTSIDE = "test_both_arms_are_fused_by_rank", "test_words_reveal_nothing_outside_the_scope"

BROKEN: list[tuple[type[ReferenceSearch], str]] = [
    *((Unboosted, test) for test in (BOOSTS, FAR, WRITTEN, SCOPE, WORDS_BOOSTED)),
    *((OneBoostOnly, test) for test in (BOOSTS, WORDS_BOOSTED)),
    *((BoostsWhatIsNotRelevant, test) for test in (BOOSTS, NEGATIVE)),
    (BoostsTheFirstFew, FAR),
    *((ThresholdAfterBoosts, LEAST), (NoThreshold, LEAST), (Unfiltered, LEAST)),
    (AnyOrderOfTies, TIES),
    *((RefusesNothing, REFUSED), (RefusesForAnything, REFUSED)),
    *((LeavesTheScope, test) for test in (SCOPE, RULES, WORDS, WORDS_RULES)),
    *((Unfiltered, test) for test in (BOOSTS, RULES, WORDS)),
    *((FiltersFirst, test) for test in (RULES, RULES_WRITTEN, WORDS_RULES)),
    *((NoVersions, test) for test in (RULES, BEST, WORDS_RULES)),
    (VersionsAfterwards, BEST),
    *((TellsOfVersionsAlways, test) for test in (RULES, RULES_WRITTEN)),
    *((OtherVectors, VECTORS), (RoundedVectors, VECTORS)),
    *((AllWordsOnly, test) for test in (WORDS, WORDS_WRITTEN)),
    (WordsBetweenSpaces, UNSPACED),
    *((CaseMatters, test) for test in (WORDS, WORDS_WRITTEN)),
    *((FindsEverything, test) for test in (WORDS, WORDS_WRITTEN)),
    *((LowerIsBetter, test) for test in (WORDS, MORE)),
    (WordsAsTheyCome, MORE),
    (LosesTheScores, WORDS),
    *((broken, FUSED) for broken in (AddsScores, PlainFusion, ShallowArms, BoostsAfterFusion, LosesTheScores)),
]
BROKEN_OTHERWISE: list[tuple[Callable[[Contents], Engine], str]] = [
    *((remembering, test) for test in (WRITTEN, RULES_WRITTEN, WORDS_WRITTEN)),
    (dictionary(PartitionsMix), PARTITIONS),
    (dictionary(WordsCountEverywhere), OUTSIDE),
]


def fails(contract: Contract, test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(contract, test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_a_broken_engine_fails(broken: type[ReferenceSearch], test: str) -> None:
    fails(Contract(dictionary(broken)), test)


@pytest.mark.parametrize(("broken", "test"), BROKEN_OTHERWISE)
def test_one_that_is_broken_elsewhere_fails(broken: Callable[[Contents], Engine], test: str) -> None:
    fails(Contract(broken), test)


@pytest.mark.parametrize("test", [PARTITIONS, OUTSIDE])
def test_partitions_that_keep_apart_pass(test: str) -> None:
    getattr(Contract(DictEngine), test)()


class SaysNothingOfRules(DictEngine):
    """Returns versions that were not requested."""

    def search(self, request: Request) -> list[Answer]:
        return [replace(one, versions=[None] * len(one.documents)) for one in super().search(request)]


def test_versions_that_were_not_requested_fail() -> None:
    fails(Contract(SaysNothingOfRules), NO_RULES)


LACKING: tuple[Lacking, ...] = ("boosts", "versions", "lexical")


@pytest.mark.parametrize("what", LACKING)
@pytest.mark.thorough
def test_what_an_engine_lacks_must_be_said_and_refused(what: Lacking) -> None:
    refusing = type("Refusing", (Refusing,), {"lacks": frozenset([what])})
    honest, silent = Contract(refusing), Contract(DictEngine)
    honest.lacks = silent.lacks = frozenset([what])  # type: ignore[misc]  # a class's, but for this one
    for test in TESTS:
        getattr(honest, test)()
    fails(silent, LACKS)
    unsaid = {"boosts": BOOSTS, "versions": RULES, "lexical": WORDS}[what]
    with pytest.raises(UnsupportedError):
        getattr(Contract(refusing), unsaid)()


TESTS = sorted(
    name
    for contract in (RankingContract, VersionsContract, LexicalContract)
    for name in vars(contract)
    if name.startswith("test_")
)


def test_every_test_can_fail() -> None:
    shown = {test for _, test in BROKEN} | {test for *_, test in BROKEN_OTHERWISE} | {LACKS, NO_RULES}
    assert shown == set(TESTS)
