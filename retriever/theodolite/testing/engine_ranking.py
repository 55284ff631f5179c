"""The engine contract: boosts, thresholds, and optional parts of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import InputError, UnsupportedError
from theodolite.filters import Compare, Filter, In, parse
from theodolite.protocols import Answer, Boost, Request, Scope
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Valid, Versions
from theodolite.testing.checks import check, raising
from theodolite.testing.ranking import Doubles, Eligible, factors, worth
from theodolite.testing.reference import METRICS, EngineUnderTest, Lacking, Pair, Where, drawn, numbered, prepared
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import MetricName

CLOSE = 1e-6  # maximum error of a score; relevance is at most 1

Wheres: tuple[Where, ...] = (None, {"tenth": True}, {"source": "wiki"}, {"tenth": 7})


@dataclass(frozen=True)
class Table:
    """A boost with factors from a table."""

    weight: float = 0.5
    name: str = "table"
    field: str = "source"

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        levels = {"policy": 1.0, "wiki": 0.5, "chat": 0.0}
        good = [levels.get(value, 0.7) if isinstance(value, str) else 0.3 for value in values]
        return 1.0 - self.weight * (1.0 - np.array(good, np.float64))


@dataclass(frozen=True)
class Halving:
    """A boost that decays with the days since a document's day: half-life 100 days, floor 0.4."""

    name: str = "halving"
    field: str = "day"

    def factors(self, values: Sequence[Any], now: float, /) -> NDArray[np.float64]:
        days = [now / 86_400 - value if isinstance(value, (int, float)) else 0.0 for value in values]
        return np.array(0.4 + 0.6 * np.exp2(-np.clip(np.array(days, np.float64), 0, None) / 100), np.float64)


@dataclass(frozen=True)
class Refusing(Table):
    """A boost that rejects documents with a day in the future."""

    name: str = "refusing"

    def refuses(self, now: float) -> Filter | None:
        return Compare("day", "$gt", now / 86_400)


BOOSTS: tuple[tuple[Boost, ...], ...] = ((Table(),), (Halving(),), (Table(0.9), Halving()))
NOW = 86_400.0 * 1000


def relevance_of(metric: MetricName) -> Relevance:
    """Return the metric's own relevance function, or a custom one for dot products."""
    return Relevance(metric, mapping=_squashed if metric == "dot" else None)


def _squashed(products: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded: NDArray[np.float64] = products / (1 + np.abs(products))
    return bounded


def various(count: int, **metadata: Any) -> list[Document]:
    """Return documents of several sources and days. Some have neither."""
    documents = []
    for i, name in enumerate(numbered(count)):
        own: dict[str, Any] = {"tenth": i % 10 == 0, **metadata}
        if i % 7:
            own["source"] = ("policy", "wiki", "chat", "mail")[i % 4]
        if i % 5:
            own["day"] = (i * 37) % 1000
        documents.append(Document(f"The text of {name}.", own, name))
    return documents


class RankingContract(EngineUnderTest):
    """Tests of search with boosts and thresholds: exact over all eligible documents."""

    def test_boosts_agree_with_brute_force(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                raw = drawn(1, 400)
                raw[200:220] = raw[3]
                pair.add(various(400), raw)
                pair.delete(numbered(400)[50:60])
                queries = np.concatenate([drawn(2, 2), -drawn(3, 1)])
                for boosts in BOOSTS:
                    for where in Wheres:
                        for k in (1, 10, 500):
                            self._check_boosted(pair, queries, k, where, boosts)

    def test_a_boost_lifts_what_lies_far_down(self) -> None:
        """Check this with many nearer documents and a small k."""
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            raw = np.zeros((1500, len(drawn(1, 1)[0])))
            raw[:, 0], raw[:, 1] = 1.0, np.linspace(0.01, 1.0, 1500)
            documents = [Document("", {"source": "chat"}, name) for name in numbered(1500)]
            documents[1400] = replace(documents[1400], metadata={"source": "policy"})
            pair.add(documents, raw)
            for k in (1, 5):
                (answer,) = self._check_boosted(pair, raw[:1], k, None, (Table(),))
                first = answer.documents[0].metadata["source"]
                check(first == "policy", f"k={k}: a document that a boost lifts from place 1401 to 1 is not found")

    def test_boosts_of_equal_worth_are_ordered_by_similarity_and_id(self) -> None:
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            corner = drawn(1, 1)
            names = numbered(60)
            # All are equally relevant. The factor is 1 for every other document, and 0.5 for the rest.
            raw = np.repeat(corner, 60, axis=0)
            sources = [{"source": ("policy", "chat")[i % 2]} for i in range(60)]
            pair.add([Document("", own, name) for own, name in zip(sources, names, strict=True)], raw)
            expected = [*sorted(names[::2]), *sorted(names[1::2])]
            for k in (1, 29, 31, 60):
                (answer,) = self._check_boosted(pair, corner, k, None, (Table(),))
                found = [document.id for document in answer.documents]
                check(found == expected[:k], f"k={k}: {found} where ids give {expected[:k]}")

    def test_what_is_not_relevant_is_not_made_less_so(self) -> None:
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            raw = np.abs(drawn(1, 40))
            pair.add(various(40), raw)
            (answer,) = self._check_boosted(pair, -raw[:1], 40, None, (Table(0.9),))
            check(
                answer.scores is not None and np.allclose(answer.scores, answer.similarities, rtol=0, atol=CLOSE),
                "a boost changes the score of documents without relevance",
            )

    def test_min_relevance_leaves_out_what_has_less(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(various(200), drawn(1, 200))
                for least in (-0.5, 0.1, 0.4, 0.999999):
                    for boosts in ((), (Table(),)):
                        if not (boosts and "boosts" in self.lacks):
                            for where in Wheres:
                                self._check_boosted(pair, drawn(2, 2), 30, where, boosts, least)

    def test_boosts_follow_what_is_written(self) -> None:
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(various(100), drawn(1, 100))
            for number in range(4):
                self._check_boosted(pair, drawn(2, 1), 20, None, BOOSTS[-1])
                names = numbered(100)[number * 10 : number * 10 + 10]
                pair.update({name: {"source": "policy", "day": 999} for name in names})
                pair.add(various(20), drawn(number + 3, 20))
                pair.delete(names[:3])

    def test_a_search_that_a_boost_refuses_raises(self) -> None:
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(various(60), drawn(1, 60))
            pair.update({numbered(60)[7]: {"day": 2000, "source": "rare"}})
            query = prepared(drawn(2, 1), pair.engine)
            request = Request(query, 5, boosts=(Refusing(),), now=NOW, relevance=relevance_of("cosine"))
            with raising(InputError, "a search for a document that a boost refuses"):
                pair.engine.search(request)
            for where, scope in (({"source": "wiki"}, None), (None, Scope(None, In("source", ("wiki",))))):
                try:
                    pair.engine.search(replace(request, where=parse(where), scope=scope))
                except InputError as error:
                    raise AssertionError(f"a search is refused for a document it cannot find: {error}") from error

    def test_boosts_stay_in_a_scope(self) -> None:
        if "boosts" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(various(120), drawn(1, 120))
            scope = Scope(None, In("tenth", (True,)))
            for where in Wheres:
                self._check_boosted(pair, drawn(2, 1), 20, where, (Table(), Halving()), scope=scope)

    def test_vectors_are_given_where_they_are_asked_for(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(various(30), drawn(1, 30))
                for k in (1, 40):
                    request = Request(prepared(drawn(2, 2), pair.engine), k, with_vectors=True)
                    for answer in pair.engine.search(request):
                        given = answer.vectors
                        stored = np.array([pair.stored[document.id][1] for document in answer.documents])
                        check(
                            given is not None
                            and given.dtype == np.float32
                            and given.shape == stored.shape
                            and bool((given == stored).all()),
                            "the vectors of an answer are not those of its documents",
                        )

    def test_what_an_engine_lacks_it_refuses(self) -> None:
        """Check that the engine raises an error instead of ignoring an unsupported option."""
        known = set(get_args(Lacking))
        check(self.lacks <= known, f"{set(self.lacks) - known} are nothing that an engine may lack")
        with self.opened() as pair:
            pair.add(various(5), drawn(1, 5))
            request = Request(prepared(drawn(2, 1), pair.engine), 3)
            if "versions" in self.lacks:
                rules = Versions((Valid(end="day"),), 0)
                with raising(UnsupportedError, "rules for versions in an engine without them"):
                    pair.engine.search(replace(request, versions=rules))
            if "lexical" in self.lacks:
                words = replace(request, texts=["text"])
                with raising(UnsupportedError, "a hybrid search in an engine without words"):
                    pair.engine.search(replace(words, mode="hybrid"))
                with raising(UnsupportedError, "a lexical search in an engine without words"):
                    pair.engine.search(replace(words, mode="lexical", vectors=Vectors(request.vectors[:, :0])))
            if "boosts" in self.lacks:
                with raising(UnsupportedError, "boosts in an engine without them"):
                    pair.engine.search(replace(request, boosts=(Table(),), now=NOW, relevance=relevance_of("cosine")))

    def _check_boosted(
        self,
        pair: Pair,
        raw: Any,
        k: int,
        where: Where,
        boosts: tuple[Boost, ...],
        least: float | None = None,
        scope: Scope | None = None,
    ) -> list[Answer]:
        """Check that the answers are exact, up to rounding."""
        if boosts and "boosts" in self.lacks:
            return []
        relevance = relevance_of(pair.metric)
        request = Request(
            prepared(raw, pair.engine),
            k,
            parse(where),
            scope,
            boosts=boosts,
            now=NOW,
            relevance=relevance,
            min_relevance=least,
        )
        eligible = Eligible(pair.documents, request)
        answers = pair.engine.search(request)
        what = f"search (k={k}, where={where}, boosts={boosts}, min_relevance={least}, {pair.metric})"
        check(len(answers) == len(request.vectors), f"{len(answers)} answers to {len(request.vectors)} queries")
        names = [document.id for document in eligible.documents]
        of_documents = factors(eligible.documents, boosts, NOW)
        for query, answer in zip(request.vectors, answers, strict=True):
            similarities, sizes = pair.exact(query, names)
            exact = relevance(similarities)
            values = worth(exact, of_documents)
            values[exact < (-np.inf if least is None else least)] = -np.inf
            scores = relevance(np.array(answer.similarities)).tolist() if answer.scores is None else answer.scores
            check_ranked(answer, scores, names, values, CLOSE * np.maximum(1, sizes), k, what)
            trace = answer.trace
            check(trace.rows == len(eligible.inside), f"{what}: trace.rows is {trace.rows}, not {len(eligible.inside)}")
            check(trace.eligible == len(names), f"{what}: trace.eligible is {trace.eligible}, not {len(names)}")
            for document in answer.documents:
                pair.check_document(document)
        return answers


def check_ranked(
    answer: Answer, scores: Sequence[float], names: list[str], values: Doubles, slack: Doubles, k: int, what: str
) -> None:
    """Check that the documents are the k with the highest values, in the order of their scores.

    Args:
        scores: the scores of the documents of the answer.
        names: the ids of the eligible documents.
        values: the exact scores of these; -inf for documents that must not be found.
        slack: the tolerance of each value for rounding.
    """
    found = [document.id for document in answer.documents]
    check(len(set(found)) == len(found), f"{what} finds a document twice: {found}")
    check(set(found) <= set(names), f"{what} finds {set(found) - set(names)}, which are not eligible")
    check(len(scores) == len(found), f"{what} gives {len(scores)} scores to {len(found)} documents")
    size = min(k, int((values > -np.inf).sum()))
    check(len(found) == size, f"{what} finds {len(found)} documents where it must find {size}")
    check_order(answer, scores, what)
    if not found:
        return
    at = {name: i for i, name in enumerate(names)}
    places = np.array([at[name] for name in found])
    off = ~(np.abs(values[places] - scores) <= slack[places])
    check(not off.any(), f"{what} gives scores {np.array(scores)[off]}; exact are {values[places][off]}")
    kth = (values[places] - slack[places]).min()
    left_out = np.setdiff1d(np.flatnonzero(values - slack > kth + slack[places].max()), places)
    if answer.trace.complete:
        check(not len(left_out), f"{what} says it is complete and leaves out {[names[i] for i in left_out]}")
    else:
        check(len(left_out) <= 0.1 * len(found), f"{what} leaves out {len(left_out)} of {len(found)} documents")


def check_order(answer: Answer, scores: Sequence[float], what: str) -> None:
    """Check the order: by score, then by similarity, then by id."""
    similarities = answer.similarities or [0.0] * len(answer.documents)
    keys = [
        (-score, -similarity, document.id)
        for score, similarity, document in zip(scores, similarities, answer.documents, strict=True)
    ]
    check(keys == sorted(keys), f"{what} is not ordered by score, then similarity, then id")
