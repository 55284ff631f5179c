"""Words, fusion, reranking, near-duplicates and diversity, each against its definition over the stages before it."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.oracle.test_ranking import Both, opened, options_of, requests, seeds, texts, vector_of
from tests.sampling import sampled

from theodolite import Fusion, Hit, Hits
from theodolite.errors import InputError
from theodolite.protocols import Boost
from theodolite.ranking.diversity import scaled
from theodolite.rerankers.stage import Rerank
from theodolite.testing.ranking import Eligible, factors, reciprocal_ranks

ALL = 100
fusions = st.sampled_from([Fusion(), Fusion(1.0, 0.5, 2.0), Fusion(0.0, 1.0), Fusion(1.0, 0.0), Fusion(2.0, 1.0, 0.0)])
thresholds = st.sampled_from([0.5, 0.97, 1.0])
relaxed = settings(max_examples=sampled(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Asking:
    """One question of a collection, in any mode."""

    def __init__(self, data: st.DataObject, both: Both) -> None:
        self.both = both
        self.seed = data.draw(seeds)
        self.text = data.draw(texts)
        self.request = data.draw(requests(both, self.seed))
        self.view = both.view(self.request.scope)

    def ask(self, mode: str, k: int = ALL, **options: Any) -> Hits:
        given: dict[str, Any] = {**options_of(self.request), "k": k, "mode": options.pop("fusion", mode), **options}
        if not given["boosts"] and not given["versions"]:
            given.pop("as_of", None)
        if mode != "dense":
            del given["min_relevance"]
        query = None if mode == "dense" and "rerank" not in given else self.text
        return self.view.search(query, vector=None if mode == "lexical" else vector_of(self.seed), **given)

    def refused(self) -> bool:
        """Whether a boost refuses the search: then each mode does."""
        refusals = []
        for mode in ("dense", "lexical", "hybrid"):
            try:
                self.ask(mode)
            except InputError as refusal:
                refusals.append(str(refusal))
        assert len(refusals) in (0, 3)
        assert len(set(refusals)) <= 1
        return bool(refusals)


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


def product(hit: Hit, boosts: Sequence[Boost]) -> float:
    found = 1.0
    for boost in boosts:
        found *= hit.scores[boost.name]
    return found


@given(st.data())
@relaxed
def test_boosts_and_scopes_bind_words(data: st.DataObject) -> None:
    with opened(data) as both:
        asking = Asking(data, both)
        if asking.refused():
            return
        request = asking.request
        plain, boosted = asking.ask("lexical", boosts=()), asking.ask("lexical")
        found = [hit.document for hit in plain]
        inside = [
            one for key, (one, _) in both.stored.items() if request.scope is None or both.within(request.scope, key)
        ]
        eligible = Eligible(inside, request, both.partition)
        assert plain.trace.eligible == boosted.trace.eligible == len(eligible.documents)
        assert {one.id for one in found} <= {one.id for one in eligible.documents}
        expected = np.array([hit.score for hit in plain]) * factors(found, request.boosts, request.now)
        scores = dict(zip(names(plain), expected.tolist(), strict=True))
        assert {hit.document.id: hit.score for hit in boosted} == scores
        assert names(boosted) == sorted(scores, key=lambda name: (-scores[name], name))
        k = data.draw(st.integers(1, 5))
        assert names(asking.ask("lexical", k)) == names(boosted)[:k]


@given(st.data())
@relaxed
def test_a_hybrid_search_fuses_what_the_arms_find(data: st.DataObject) -> None:
    with opened(data) as both:
        asking = Asking(data, both)
        if asking.refused():
            return
        fusion = data.draw(fusions)
        near = {hit.document.id: hit for hit in asking.ask("dense", min_relevance=None)}
        words = {hit.document.id: hit for hit in asking.ask("lexical")}
        fused = reciprocal_ranks([{name: hit.score for name, hit in arm.items()} for arm in (near, words)], fusion)
        ranked = sorted(fused, key=lambda name: (-fused[name], -near[name].scores["similarity"], name))
        for k in (1, 3, ALL):
            hits = asking.ask("hybrid", k, fusion=fusion)
            assert [(hit.document.id, hit.score) for hit in hits] == [(name, fused[name]) for name in ranked[:k]]
            for hit in hits:
                own = near[hit.document.id]
                assert hit.scores["fusion"] == hit.score
                assert {**own.scores, "fusion": hit.score} == {n: v for n, v in hit.scores.items() if n != "lexical"}
                word = words.get(hit.document.id)
                assert hit.scores.get("lexical") == (None if word is None else word.scores["lexical"])
                assert hit.version == own.version


def judged(query: str, passages: Sequence[str]) -> list[float]:
    """A reranker with ties."""
    return [zlib.crc32((query + passage).encode()) % 5 - 2.0 for passage in passages]


@given(st.data())
@relaxed
def test_a_reranker_sorts_the_first(data: st.DataObject) -> None:
    with opened(data) as both:
        asking = Asking(data, both)
        if asking.refused():
            return
        mode = data.draw(st.sampled_from(["dense", "hybrid", "lexical"]))
        candidates, k = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
        first = asking.ask(mode)[: max(candidates, k)]
        boosts = asking.request.boosts
        raw = judged(asking.text, [hit.document.text for hit in first])
        sure = (1 / (1 + np.exp(-np.array(raw)))).tolist()
        scores = [s * product(hit, boosts) if boosts else r for hit, r, s in zip(first, raw, sure, strict=True)]
        order = sorted(range(len(first)), key=lambda place: (-scores[place], -raw[place], place))[:k]
        hits = asking.ask(mode, k, rerank=Rerank(judged, candidates))
        assert names(hits) == [first[place].document.id for place in order]
        assert [hit.score for hit in hits] == pytest.approx([scores[place] for place in order], rel=1e-12)
        assert [hit.scores["rerank"] for hit in hits] == [raw[place] for place in order]
        for hit, place in zip(hits, order, strict=True):
            kept = {name: value for name, value in hit.scores.items() if not name.startswith("rerank")}
            assert kept == first[place].scores


def cosines(both: Both, hits: Sequence[Hit]) -> NDArray[np.float64]:
    """Of the hits' own vectors, each with each."""
    stored = [both.stored[both.key(hit.document)][1].astype(np.float64) for hit in hits]
    found = np.zeros((len(hits), len(hits)))
    for i, one in enumerate(stored):
        for j, other in enumerate(stored):
            found[i, j] = (one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum())
    return found


@given(st.data())
@relaxed
def test_near_duplicates_become_one_hit(data: st.DataObject) -> None:
    with opened(data) as both:
        asking = Asking(data, both)
        if asking.refused():
            return
        mode = data.draw(st.sampled_from(["dense", "hybrid", "lexical"]))
        threshold, k = data.draw(thresholds), data.draw(st.integers(1, 6))
        ranked = asking.ask(mode)
        alike = cosines(both, ranked).astype(np.float32) >= np.float32(threshold)
        kept: list[int] = []
        stands: dict[int, list[int]] = {}
        for place in range(len(ranked)):
            same = [other for other in kept if alike[other, place]]
            if same:
                stands[same[0]].append(place)
            else:
                kept.append(place)
                stands[place] = []
        hits = asking.ask(mode, k, dedupe=threshold)
        assert [(hit.document.id, hit.score) for hit in hits] == [
            (ranked[place].document.id, ranked[place].score) for place in kept[:k]
        ]
        for hit, place in zip(hits, kept, strict=False):
            others = [ranked[other].document.id for other in stands[place]]
            assert names(hit.duplicates) == others[: len(hit.duplicates)]
            assert [other.rank for other in hit.duplicates] == list(range(1, len(hit.duplicates) + 1))


@given(st.data())
@relaxed
def test_diversity_is_mmr(data: st.DataObject) -> None:
    with opened(data) as both:
        asking = Asking(data, both)
        if asking.refused():
            return
        mode = data.draw(st.sampled_from(["dense", "hybrid", "lexical"]))
        weight, k = data.draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])), data.draw(st.integers(1, 8))
        left = list(asking.ask(mode))
        similar = {
            (one.document.id, other.document.id): cosine
            for one, row in zip(left, cosines(both, left), strict=True)
            for other, cosine in zip(left, row.tolist(), strict=True)
        }
        part = "relevance" if both.metric == "l2" and mode == "dense" and not asking.request.boosts else None
        raw = np.array([hit.scores[part] if part else hit.score for hit in left])
        scale = {"lexical": "open", "hybrid": "fusion"}.get(mode, "relevance")
        values = dict(zip(names(left), scaled(raw, scale).tolist(), strict=True))  # type: ignore[arg-type]  # a Scale
        chosen: list[Hit] = []
        for hit in asking.ask(mode, k, diversity=weight):
            worth = {
                one.document.id: (1 - weight) * values[one.document.id]
                - weight * max(similar[one.document.id, other.document.id] for other in chosen)
                if chosen
                else values[one.document.id]
                for one in left
            }
            assert worth[hit.document.id] >= max(worth.values()) - 1e-12
            (own,) = (one for one in left if one.document.id == hit.document.id)
            assert (hit.score, hit.scores) == (own.score, own.scores)
            left.remove(own)
            chosen.append(own)
        assert len(chosen) == min(k, len(chosen) + len(left))
