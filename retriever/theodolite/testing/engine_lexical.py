"""The engine contract: lexical and hybrid search."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.filters import In, parse
from theodolite.protocols import Answer, Engine, Fusion, Request, Scope
from theodolite.ranking.versions import Latest, Versions
from theodolite.testing.checks import check
from theodolite.testing.engine_ranking import BOOSTS, CLOSE, NOW, Table, check_order, check_ranked, relevance_of
from theodolite.testing.ranking import Eligible, factors, reciprocal_ranks
from theodolite.testing.reference import METRICS, EngineUnderTest, Pair, Where, drawn, numbered, prepared
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.prepare import prepare

# Distinct words for every tokenizer, even with case folding or stemming.
_WORDS = ("lantern", "velvet", "harbour", "glacier", "octopus", "trumpet", "saffron", "meadow")
# A dictionary segmenter finds these words; an index of letter pairs finds them without a dictionary.
_UNSPACED = {
    "zh": "中文合約轉換體驗課問題",
    "ja": "国際標準化に関する動向と返金の手続き",
    "ko": "환불은 영업일 기준 5일이 걸립니다",
    "glued": "GitHub备份脚本上传失败的原因",
}
_UNSPACED_WORDS = {"zh": ("合約", "問題"), "ja": ("返金", "国際"), "ko": ("환불",), "glued": ("备份", "原因", "GitHub")}
_QUERIES = ("lantern", "velvet glacier", "Octopus trumpet meadow", "unheard")
_WHERES: tuple[Where, ...] = (None, {"source": "wiki"}, {"n": 1}, {"n": 7}, {"$id": ["d0", "d7919", "d5831", "none"]})
_VERSIONS = Versions((Latest("key", "day"),), 0)


class LexicalContract(EngineUnderTest):
    """Tests of lexical and hybrid search that hold for any tokenizer and scoring.

    BM25 scores depend on an engine's tokenizer. The order by score, the set of possible hits, and the fusion of the two
    arms do not.
    """

    def test_words_find_the_documents_that_hold_them(self) -> None:
        if "lexical" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(_passages(80), drawn(1, 80))
            for where in _WHERES:
                for scope in (None, Scope(None, In("n", (1, 2)))):
                    for k in (1, 7, 200):
                        self._check_words(pair, k, where, scope)

    def test_words_follow_what_is_written(self) -> None:
        if "lexical" in self.lacks:
            return
        with self.opened() as pair:
            names = numbered(40)
            for number in range(3):
                pair.add(_passages(40, seed=number), drawn(number, 40))
                self._check_words(pair, 100, None, None)
                pair.delete(names[number * 5 : number * 5 + 5])
                pair.update({names[-1]: {"source": "wiki"}})
                self._check_words(pair, 100, {"source": "wiki"}, None)
            pair.clear()
            self._check_words(pair, 100, None, None)

    def test_more_of_the_words_come_first(self) -> None:
        if "lexical" in self.lacks:
            return
        with self.opened() as pair:
            texts = ["saffron meadow", "saffron harbour", "glacier meadow", "octopus trumpet", "velvet lantern"]
            pair.add([Document(text, {}, name) for text, name in zip(texts, "abcde", strict=True)], drawn(1, 5))
            (answer,) = pair.engine.search(_lexical(pair, ["saffron meadow"], 5))
            found = [document.id for document in answer.documents]
            check(found[:1] == ["a"], f"of {texts} the words 'saffron meadow' find {found}")

    def test_words_are_found_in_scripts_without_spaces(self) -> None:
        if "lexical" in self.lacks:
            return
        with self.opened() as pair:
            pair.add([Document(text, {}, name) for name, text in _UNSPACED.items()], drawn(1, len(_UNSPACED)))
            asked = [(word, name) for name, some in _UNSPACED_WORDS.items() for word in some]
            answers = pair.engine.search(_lexical(pair, [word for word, _ in asked], 10))
            for (word, name), answer in zip(asked, answers, strict=True):
                found = [document.id for document in answer.documents]
                check(found == [name], f"of {_UNSPACED} the word {word!r} finds {found}")

    def test_boosts_multiply_what_words_are_worth(self) -> None:
        if self.lacks & {"lexical", "boosts"}:
            return
        with self.opened() as pair:
            pair.add(_passages(80), drawn(1, 80))
            for boosts in BOOSTS:
                for where in _WHERES:
                    plain = _lexical(pair, _QUERIES, 100, where)
                    for k in (1, 9, 100):
                        boosted = replace(plain, k=k, boosts=boosts, now=NOW)
                        for one, answer in zip(pair.engine.search(plain), pair.engine.search(boosted), strict=True):
                            scores = _scores(one)
                            product = factors(one.documents, boosts, NOW)
                            values = np.array([scores[document.id] for document in one.documents]) * product
                            names = [document.id for document in one.documents]
                            slack = CLOSE * np.abs(values)
                            what = f"a lexical search (k={k}, where={where}, boosts={boosts})"
                            check_ranked(answer, list(_scores(answer).values()), names, values, slack, k, what)

    def test_versions_bind_words(self) -> None:
        if self.lacks & {"lexical", "versions"}:
            return
        with self.opened() as pair:
            pair.add(_passages(60), drawn(1, 60))
            for where in _WHERES:
                self._check_words(pair, 100, where, None, _VERSIONS)
                self._check_words(pair, 100, where, Scope(None, In("n", (1, 2))), _VERSIONS)

    def test_both_arms_are_fused_by_rank(self) -> None:
        if "lexical" in self.lacks:
            return
        for metric in METRICS:
            with self.opened(metric) as pair:
                raw = drawn(1, 70)
                raw[40:50] = raw[3]
                pair.add(_passages(70), raw)
                fusions = (Fusion(), Fusion(0.5, 2.0, 1.0), Fusion(1.0, 0.0), Fusion(0.0, 1.0))
                for number, fusion in enumerate(fusions):
                    where = _WHERES[number % 3]
                    self._check_fused(pair, replace(_hybrid(pair, 100, where), fusion=fusion))
                    self._check_fused(pair, replace(_hybrid(pair, 5, where), fusion=fusion))
                self._check_fused(pair, replace(_hybrid(pair, 50, None), scope=Scope(None, In("n", (1, 2)))))
                if "boosts" not in self.lacks:
                    boosted = replace(_hybrid(pair, 20, None), boosts=(Table(),), now=NOW)
                    self._check_fused(pair, replace(boosted, relevance=relevance_of(metric)))
                if "versions" not in self.lacks:
                    self._check_fused(pair, replace(_hybrid(pair, 20, None), versions=_VERSIONS))

    def test_words_reveal_nothing_outside_the_scope(self) -> None:
        """Check that a search in a scope reports the same, however often the words occur outside it."""
        if "lexical" in self.lacks:
            return
        answers_by_crowd = []
        for crowd in (0, 1, 200):
            engine = self.partitioned(Space("cosine"), "tenant")
            if engine is None:
                return
            for tenant, count in (("acme", 30), ("bolt", crowd)):
                if count:
                    vectors, space = prepare(drawn(count, count), engine.space)
                    engine.add(_passages(count, tenant=tenant), vectors, space)
            answers_by_crowd.append(list(_answers(engine)))
            engine.close()
        for alone, *crowded in zip(*answers_by_crowd, strict=True):
            check(crowded == [alone] * 2, f"words find in a scope alone {alone}, beside others {crowded}")

    def _check_words(
        self, pair: Pair, k: int, where: Where, scope: Scope | None, versions: Versions | None = None
    ) -> None:
        """Check that the hits are eligible documents with one of the words, returned as they were stored."""
        request = replace(_lexical(pair, _QUERIES, k, where), scope=scope, versions=versions)
        eligible = Eligible(pair.documents, request)
        answers = pair.engine.search(request)
        check(len(answers) == len(_QUERIES), f"{len(answers)} answers to {len(_QUERIES)} queries")
        for text, answer in zip(_QUERIES, answers, strict=True):
            what = f"a lexical search for {text!r} (k={k}, where={where}, {scope}, {versions})"
            wanted = set(text.lower().split())
            holding = {one.id for one in eligible.documents if wanted & set(one.text.split())}
            found = {document.id for document in answer.documents}
            check(len(found) == len(answer.documents), f"{what} finds a document twice")
            check(found <= holding, f"{what} finds {found - holding}, which hold no word or are not eligible")
            size = min(k, len(holding))
            check(len(found) == size, f"{what} finds {len(found)} documents where it must find {size}")
            _check_parts(answer, what)
            trace = answer.trace
            check(trace.rows == len(eligible.inside), f"{what}: trace.rows is {trace.rows}, not {len(eligible.inside)}")
            count = len(eligible.documents)
            check(trace.eligible == count, f"{what}: trace.eligible is {trace.eligible}, not {count}")
            check(trace.superseded == eligible.superseded, f"{what}: trace.superseded is {trace.superseded}")
            for document in answer.documents:
                pair.check_document(document)

    def _check_fused(self, pair: Pair, request: Request) -> None:
        """Check that the fused answer follows from the separate answers of the two arms."""
        depth = 2 * len(pair.stored)
        near = pair.engine.search(replace(request, k=depth, mode="dense", texts=()))
        empty = Vectors(request.vectors[:, :0])
        words = pair.engine.search(replace(request, k=depth, mode="lexical", vectors=empty, relevance=None))
        wide = replace(request, fusion=replace(request.fusion, depth=depth))
        for one, other, answer in zip(near, words, pair.engine.search(wide), strict=True):
            what = f"a hybrid search (k={request.k}, where={request.where}, {request.fusion})"
            fused = reciprocal_ranks([_scores(one), _scores(other)], request.fusion)
            names = list(fused)
            values = np.array([fused[name] for name in names])
            scores = [] if answer.scores is None else answer.scores
            check_ranked(answer, scores, names, values, np.full(len(names), 1e-12), request.k, what)
            _check_each(answer, what)
            similar = {document.id: value for document, value in zip(one.documents, one.similarities, strict=True)}
            bm25 = {document.id: value for document, value in zip(other.documents, other.lexical, strict=True)}
            parts = zip(answer.documents, answer.similarities, answer.lexical, strict=True)
            for document, similarity, lexical in parts:
                given, expected = (similarity, lexical), (similar[document.id], bm25.get(document.id))
                check(given == expected, f"{what} gives {document.id!r} {given}, the arms alone {expected}")


def _check_each(answer: Answer, what: str) -> None:
    """Check that each document has a similarity, and a lexical score or None."""
    for name, values in (("similarities", answer.similarities), ("scores of words", answer.lexical)):
        check(len(values) == len(answer.documents), f"{what} gives {len(values)} {name}, not {len(answer.documents)}")


def _passages(count: int, seed: int = 0, **metadata: Any) -> list[Document]:
    """Return documents with some of the words each; some documents have none."""
    draw = np.random.default_rng(seed)
    documents = []
    for i, name in enumerate(numbered(count)):
        some = draw.choice(_WORDS, size=int(draw.integers(0, 4))).tolist()
        own = {"source": ("policy", "wiki", "chat")[i % 3], "n": i % 4, "key": i // 3, "day": -(i % 5), **metadata}
        documents.append(Document(" ".join(["plain", *some, "ending"]), own, name))
    return documents


def _lexical(pair: Pair, texts: Any, k: int, where: Where = None) -> Request:
    return Request(Vectors(np.empty((len(texts), 0), np.float32)), k, parse(where), texts=tuple(texts), mode="lexical")


def _hybrid(pair: Pair, k: int, where: Where) -> Request:
    queries = prepared(drawn(9, len(_QUERIES)), pair.engine)
    return Request(queries, k, parse(where), texts=_QUERIES, mode="hybrid")


def _scores(answer: Answer) -> dict[str, float]:
    """Return the scores that order the documents."""
    scores = answer.similarities if answer.scores is None else answer.scores
    return {document.id: score for document, score in zip(answer.documents, scores, strict=True)}


def _check_parts(answer: Answer, what: str) -> None:
    """Check that every document has a score, that scores decrease, and that they are the lexical scores."""
    scores = answer.scores or []
    check(
        len(scores) == len(answer.documents), f"{what} gives {len(scores)} scores to {len(answer.documents)} documents"
    )
    check(not answer.similarities, f"{what} gives similarities")
    check(list(answer.lexical) == scores, f"{what} gives {list(answer.lexical)} for words and {scores} in all")
    check(all(score > 0 for score in scores), f"{what} gives scores that are not above 0: {scores}")
    check_order(answer, scores, what)
    check(answer.trace.mode == "lexical", f"{what}: trace.mode is {answer.trace.mode!r}")


def _answers(engine: Engine) -> Iterator[Any]:
    """Yield the answers of lexical and hybrid searches in scopes, without timings."""
    vectors = prepared(drawn(9, len(_QUERIES)), engine)
    for scope in (Scope("acme"), Scope("acme", In("n", (1,))), Scope(None, In("tenant", ("acme",))), Scope("nobody")):
        for mode in ("lexical", "hybrid"):
            request = Request(vectors, 10, None, scope, texts=_QUERIES, mode=mode)
            if mode == "lexical":
                request = replace(request, vectors=Vectors(vectors[:, :0]))
            for answer in engine.search(request):
                yield replace(answer, trace=replace(answer.trace, timings={}))
