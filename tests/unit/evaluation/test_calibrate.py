"""Calibrating a collection: what is stored, what a search promises, and when neither holds."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    Calibration,
    CollectionSettings,
    ConfigError,
    Document,
    EmbedderOptions,
    EngineError,
    InputError,
    JudgmentWarning,
    Latest,
    Monitor,
    Rerank,
    Retriever,
    SearchOptions,
    UnsupportedError,
)
from theodolite.evaluation.calibration import COVERAGES
from theodolite.testing import DictEngine, HashingEmbedder
from theodolite.types import Hits

DIMENSION = 24
HALF = DIMENSION // 2
COUNT = 120  # documents, each with its question


def documents_and_vectors(seed: int = 0) -> tuple[list[Document], Any]:
    """Documents in the first half of the dimensions, in clusters of four."""
    draw = np.random.default_rng(seed)
    centers = draw.standard_normal((COUNT // 4, HALF))
    vectors = np.zeros((COUNT, DIMENSION))
    vectors[:, :HALF] = np.repeat(centers, 4, axis=0) + 0.5 * draw.standard_normal((COUNT, HALF))
    meta = [{"path": f"{n // 4}.md", "lang": "en" if n % 2 else "de"} for n in range(COUNT)]
    return [Document(f"passage {n}", meta[n], f"d{n}") for n in range(COUNT)], vectors


DOCUMENTS, VECTORS = documents_and_vectors()
_DRAW = np.random.default_rng(1)
QUESTIONS = {f"q{n}": VECTORS[n] + 0.6 * _DRAW.standard_normal(DIMENSION) for n in range(COUNT)}
JUDGMENTS = {f"q{n}": {f"d{n}": 1} for n in range(COUNT)}
# In the other half: no document is near.
OTHERS = {f"o{n}": np.r_[np.zeros(HALF), _DRAW.standard_normal(HALF)] for n in range(60)}


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open() as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        yield kb


def gaps_of(kb: Retriever, **options: Any) -> list[float]:
    """The score of the first hit minus that of the relevant one, for each question, computed apart."""
    found = []
    for name, vector in QUESTIONS.items():
        hits = kb.search(vector=vector, k=100, **options)
        scores = [hit.score for hit in hits if hit.document.id in JUDGMENTS[name]]
        found.append(hits[0].score - scores[0] if scores else math.inf)
    return found


def changed(kb: Retriever, count: int) -> None:
    """Replace as many documents by others."""
    other = np.random.default_rng(9).standard_normal((count, DIMENSION))
    kb.add([Document(f"other {n}", DOCUMENTS[n].metadata, f"d{n}") for n in range(count)], vectors=other)


def withdrawn(kb: Retriever) -> str | None:
    """The reason why the only calibration does not hold, checked now."""
    (found,) = kb.info()["calibrations"]
    reason: str | None = found["withdrawn"]
    return reason


def test_the_distance_is_the_gap_of_the_rank(kb: Retriever) -> None:
    gaps = sorted(gaps_of(kb))
    found = kb.calibrate(QUESTIONS, JUDGMENTS)
    assert found.questions == COUNT
    for coverage in (0.5, 0.8, 0.9):
        assert found.promise(coverage).distance == gaps[math.ceil((COUNT + 1) * coverage) - 1]


def test_a_search_with_coverage_returns_the_hits_within_the_distance(kb: Retriever) -> None:
    distance = kb.calibrate(QUESTIONS, JUDGMENTS).promise(0.8).distance
    covered = 0
    for name, vector in QUESTIONS.items():
        hits, full = kb.search(vector=vector, coverage=0.8), kb.search(vector=vector, k=100)
        assert list(hits) == [hit for hit in full if full[0].score - hit.score <= distance]
        covered += any(hit.document.id in JUDGMENTS[name] for hit in hits)
    # On the calibration questions themselves the rank counts exactly; ties can only add.
    assert covered >= math.ceil((COUNT + 1) * 0.8)
    (note,) = kb.search(vector=QUESTIONS["q0"], coverage=0.8).trace.notes
    assert "80%" in note
    assert f"{COUNT} of the calibration" in note


def test_all_ways_to_search_keep_the_promise(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    vectors = list(QUESTIONS.values())[:5]
    expected = [kb.search(vector=vector, coverage=0.9).items for vector in vectors]
    options = SearchOptions(coverage=0.9)
    assert [hits.items for hits in kb.search_many(vectors=vectors, coverage=0.9)] == expected
    assert [hits.items for hits in kb.search_many_with(options, vectors=vectors)] == expected
    assert kb.search_with(options, vector=vectors[0]).items == expected[0]


async def test_async_twins_calibrate_and_cover(kb: Retriever) -> None:
    found = await kb.acalibrate(QUESTIONS, JUDGMENTS, OTHERS)
    hits = await kb.asearch(vector=QUESTIONS["q0"], coverage=0.9)
    assert hits.items == kb.search(vector=QUESTIONS["q0"], coverage=0.9).items
    assert hits.verdict == found.verdict(hits)
    (many,) = await kb.asearch_many(vectors=[QUESTIONS["q0"]], coverage=0.9)
    assert many.items == hits.items


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_on_random_halves_is_what_is_promised(kb: Retriever, coverage: float) -> None:
    draw, half = np.random.default_rng(0), COUNT // 2
    # Far from their documents: the relevant one is first for a third of them.
    hard = {name: VECTORS[n] + 2.0 * draw.standard_normal(DIMENSION) for n, name in enumerate(QUESTIONS)}
    lists = kb.search_many(vectors=list(hard.values()), k=COUNT)
    places = [[hit.document.id for hit in hits].index(f"d{n}") for n, hits in enumerate(lists)]
    gaps = np.array([hits[0].score - hits[place].score for hits, place in zip(lists, places, strict=True)])
    assert np.mean(gaps == 0) < 0.5
    shares = []
    for number in range(200):
        order = draw.permutation(COUNT)
        if number < 3:  # through the collection itself; the rest takes the gaps above, which it must equal
            found = kb.calibrate({f"q{n}": hard[f"q{n}"] for n in order[:half]}, JUDGMENTS, max_hits=COUNT)
            lists = kb.search_many(vectors=[hard[f"q{n}"] for n in order[half:]], coverage=coverage)
            covered = [
                any(hit.document.id == f"d{n}" for hit in hits) for n, hits in zip(order[half:], lists, strict=True)
            ]
        rank = math.ceil((half + 1) * coverage)
        distance = np.sort(gaps[order[:half]])[rank - 1]
        if number < 3:
            assert found.promise(coverage).distance == distance
            assert covered == (gaps[order[half:]] <= distance).tolist()
        shares.append(np.mean(gaps[order[half:]] <= distance))
    assert coverage - 0.01 <= np.mean(shares) <= math.ceil((half + 1) * coverage) / (half + 1) + 0.02


def test_verdicts_tell_answerable_questions_from_others(kb: Retriever) -> None:
    assert kb.search(vector=QUESTIONS["q0"]).verdict is None
    found = kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
    answerable = [kb.search(vector=vector, k=1).verdict for vector in QUESTIONS.values()]
    others = [kb.search(vector=vector).verdict for vector in OTHERS.values()]
    assert all(each is not None and each.probability is not None for each in (*answerable, *others))
    labels = [each.label for each in others if each is not None]
    assert labels.count("none") > 0.9 * len(labels)
    lost = [each for each in answerable if each is not None and each.label == "none"]
    assert len(lost) <= 0.05 * (COUNT + 1)
    hard, easy = found.separations
    assert (hard.kind, easy.kind) == ("evidence taken out", "other questions")
    assert (hard.questions, easy.questions) == (COUNT, len(OTHERS))
    assert easy.auroc > 0.99 > hard.auroc
    assert easy.let_through < 0.05 < hard.let_through


def test_the_verdict_does_not_depend_on_how_many_hits_are_shown(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
    vector = QUESTIONS["q3"]
    expected = kb.search(vector=vector).verdict
    assert expected is not None
    ways: list[dict[str, Any]] = [{"k": 1}, {"k": 50}, {"coverage": 0.9}, {"dedupe": 0.99}, {"diversity": 0.3}]
    for options in ways:
        assert kb.search(vector=vector, **options).verdict == expected


def test_probabilities_are_right_on_new_questions(kb: Retriever) -> None:
    """Calibrate with half of the questions; the mean probability of the others is their share of answers."""
    names = list(QUESTIONS)
    half = {name: QUESTIONS[name] for name in names[::2]}
    kb.calibrate(half, JUDGMENTS, {name: OTHERS[name] for name in list(OTHERS)[::2]})
    found: list[tuple[Any, float, float]] = []
    found += [(kb.search(vector=QUESTIONS[name]).verdict, 1.0, 0.5 / 60) for name in names[1::2]]
    found += [(kb.search(vector=OTHERS[name]).verdict, 0.0, 0.25 / 30) for name in list(OTHERS)[1::2]]
    for name in names[1::2]:  # evidence taken out: a collection without the document
        hits = kb.search(vector=QUESTIONS[name], where={"$not": {"$id": [f"d{name[1:]}"]}})
        assert hits.verdict is not None
        assert hits.verdict.label == "unknown"  # another filter
        plain = kb.search(vector=QUESTIONS[name])
        without = Hits(hits.items, plain.trace)
        (calibration,) = [state.calibration for state in kb._searcher.verdicts._states.values() if state.calibration]
        found.append((calibration.verdict(without), 0.0, 0.25 / 60))
    brier = sum(weight * (verdict.probability - true) ** 2 for verdict, true, weight in found)
    expected = calibration.brier
    assert brier == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"where": {"lang": "en"}}, "where"),
        ({"mode": "lexical"}, "lexical search"),
        ({"as_of": "2026-01-01", "versions": Latest("path", "lang")}, "as_of"),
        ({"min_relevance": 0.1}, "min_relevance"),
    ],
)
def test_a_search_of_another_kind_is_refused_and_has_no_verdict(
    kb: Retriever, options: dict[str, Any], differs: str
) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    with pytest.raises(ConfigError, match=f"there is none for .*{differs}"):
        kb.search("passage", coverage=0.8, **options) if "mode" in options else kb.search(
            vector=QUESTIONS["q0"], coverage=0.8, **options
        )
    if "mode" in options:
        verdict = kb.search("passage", **options).verdict
    else:
        verdict = kb.search(vector=QUESTIONS["q0"], **options).verdict
    assert verdict is not None
    assert (verdict.label, verdict.probability) == ("unknown", None)
    assert "no calibration" in verdict.reason


def test_each_kind_of_search_has_a_calibration_of_its_own(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    english = {name: QUESTIONS[name] for name in list(QUESTIONS)[1::2]}
    filtered = kb.calibrate(english, JUDGMENTS, where={"lang": "en"})
    scoped = kb.scoped(lang="de")
    german = {name: QUESTIONS[name] for name in list(QUESTIONS)[::2]}
    within = scoped.calibrate(german, JUDGMENTS)
    assert filtered.questions == within.questions == COUNT // 2
    assert len(kb.info()["calibrations"]) == 3
    (own,) = scoped.info()["calibrations"]
    assert own["search"] == "dense search in a scope"
    assert len(kb.search(vector=QUESTIONS["q1"], where={"lang": "en"}, coverage=0.9)) >= 1
    assert len(scoped.search(vector=QUESTIONS["q0"], coverage=0.9)) >= 1
    with pytest.raises(ConfigError, match="in a scope"):
        kb.scoped(lang="en").search(vector=QUESTIONS["q1"], coverage=0.9)
    kb.calibrate(QUESTIONS, JUDGMENTS)  # in place of the first
    assert len(kb.info()["calibrations"]) == 3


@pytest.mark.parametrize("options", [{"k": 5}, {"dedupe": 0.9}, {"diversity": 0.5}, {"accept": bool}])
def test_coverage_excludes_what_would_break_its_promise(kb: Retriever, options: dict[str, Any]) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    with pytest.raises(ConfigError, match="exclude each other"):
        kb.search(vector=QUESTIONS["q0"], coverage=0.9, **options)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1, "0.9", True, math.nan])
def test_a_coverage_that_is_no_share_is_refused(coverage: Any) -> None:
    with pytest.raises(InputError, match="coverage is"):
        SearchOptions(coverage=coverage)


def test_coverage_without_calibration_or_by_documents_is_refused(kb: Retriever) -> None:
    with pytest.raises(ConfigError, match=r"Call kb\.calibrate"):
        kb.search(vector=QUESTIONS["q0"], coverage=0.9)
    kb.calibrate(QUESTIONS, JUDGMENTS)
    with pytest.raises(ConfigError, match="searches by documents"):
        kb.search(like="d0", coverage=0.9)
    verdict = kb.search(like="d0").verdict
    assert verdict is not None
    assert verdict.label == "unknown"


def test_twenty_questions_cannot_promise_99_percent(kb: Retriever) -> None:
    kb.calibrate(dict(list(QUESTIONS.items())[:20]), JUDGMENTS)
    with pytest.raises(
        ConfigError, match=r"at least 99 questions, and the calibration has 20\. .* is 0\.\d+"
    ) as caught:
        kb.search(vector=QUESTIONS["q0"], coverage=0.99)
    highest = caught.value.details["highest"]
    assert caught.value.details["needed"] == 99
    assert len(kb.search(vector=QUESTIONS["q0"], coverage=highest)) >= 1


def test_questions_whose_relevant_passage_is_too_far_down_limit_the_coverage(kb: Retriever) -> None:
    found = kb.calibrate(QUESTIONS, JUDGMENTS, max_hits=1)
    first = sum(gap == 0 for gap in gaps_of(kb))
    assert found.gaps == (0.0,) * first
    with pytest.raises(ConfigError, match=f"only {first} of the {COUNT} questions have a relevant passage"):
        kb.search(vector=QUESTIONS["q0"], coverage=0.99)


def test_few_questions_are_calibrated_with_a_warning_in_the_notes_and_fewer_are_refused(kb: Retriever) -> None:
    found = kb.calibrate(dict(list(QUESTIONS.items())[:9]), JUDGMENTS)
    assert found.highest_coverage == 0.9
    assert any("too few to rely on" in note for note in found.notes)
    assert found.none_below is None
    assert round(found.promise(0.9).low, 2) == 0.72
    with pytest.raises(InputError, match="one question has a relevant document"):
        kb.calibrate(dict(list(QUESTIONS.items())[:1]), JUDGMENTS)
    assert kb.info()["calibrations"][0]["questions"] == 9  # the earlier one stays


def test_judgments_that_do_not_belong_are_refused_and_nothing_is_stored(kb: Retriever) -> None:
    with pytest.raises(InputError, match="none of the 120 relevant documents is in the collection"):
        kb.calibrate(QUESTIONS, {name: {f"x{name}": 1} for name in QUESTIONS})
    with pytest.raises(InputError, match="0 questions have a relevant document"):
        kb.calibrate(QUESTIONS, {name: {f"d{name[1:]}": 0} for name in QUESTIONS})
    with pytest.raises(InputError, match="0 questions have"):
        kb.calibrate(QUESTIONS, {"another": {"d0": 1}})
    with pytest.raises(ConfigError, match="takes no dedupe"):
        kb.calibrate_with(SearchOptions(dedupe=0.9), QUESTIONS, JUDGMENTS)
    with pytest.raises(InputError, match="unanswerable_share"):
        kb.calibrate(QUESTIONS, JUDGMENTS, unanswerable_share=1)
    with pytest.raises(InputError, match="max_hits is 0"):
        kb.calibrate(QUESTIONS, JUDGMENTS, max_hits=0)
    assert "calibrations" not in kb.info()


def test_questions_without_their_documents_are_left_out(kb: Retriever) -> None:
    kb.delete(["d0", "d1"])
    with pytest.warns(JudgmentWarning, match="2 questions left out"):
        found = kb.calibrate({**QUESTIONS, "unjudged": VECTORS[5]}, JUDGMENTS)
    assert found.questions == COUNT - 2
    assert any("1 questions left out: no document is judged" in note for note in found.notes)


def test_files_are_judged_by_a_field(kb: Retriever) -> None:
    pages = {f"q{n}": {f"{n // 4}.md": 1} for n in range(COUNT)}
    by_page, by_passage = kb.calibrate(QUESTIONS, pages, by="path"), kb.calibrate(QUESTIONS, JUDGMENTS)
    assert by_page.promise(0.9).distance <= by_passage.promise(0.9).distance
    assert by_page.separations[0].auroc > by_passage.separations[0].auroc  # without the neighbors, too


def test_scores_that_do_not_tell_say_so(kb: Retriever) -> None:
    draw = np.random.default_rng(3)
    same = {f"s{n}": VECTORS[n] + 0.6 * draw.standard_normal(DIMENSION) for n in range(COUNT)}
    everywhere = {f"q{n}": {f"d{n}": 1} for n in range(COUNT)}
    kb.add([Document("twin", id=f"t{n}") for n in range(COUNT)], vectors=VECTORS)  # evidence taken out leaves a twin
    found = kb.calibrate(QUESTIONS, everywhere, same)
    assert not found.tells
    verdict = kb.search(vector=QUESTIONS["q0"]).verdict
    assert verdict is not None
    assert verdict.label == "unknown"
    assert "do not tell" in verdict.reason
    assert "do not tell" in str(found)
    assert len(kb.search(vector=QUESTIONS["q0"], coverage=0.9)) >= 1  # which does not depend on it


def test_nothing_found_is_no_answer(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS, min_relevance=0.5)
    hits = kb.search(vector=OTHERS["o0"], min_relevance=0.5)
    assert len(hits) == 0
    assert hits.verdict is not None
    assert hits.verdict.label == "none"
    assert hits.verdict.probability is not None
    assert 0 < hits.verdict.probability < 0.1


@pytest.mark.parametrize(("count", "holds"), [(0, True), (22, True), (26, False)])
def test_a_fifth_of_changed_documents_withdraws(kb: Retriever, count: int, holds: bool) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
    if count:
        changed(kb, count)
    reason = withdrawn(kb)
    verdict = kb.search(vector=QUESTIONS["q100"]).verdict
    assert verdict is not None
    if holds:
        assert reason is None
        assert verdict.label != "unknown"
        assert kb.search(vector=QUESTIONS["q100"], coverage=0.8)
    else:
        assert reason is not None
        assert "about 22% of the 120 documents have changed" in reason
        assert (verdict.label, verdict.reason) == ("unknown", reason)
        with pytest.raises(ConfigError, match="have changed"):
            kb.search(vector=QUESTIONS["q100"], coverage=0.8)


def test_additions_deletions_and_no_metadata_count_as_changes(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    kb.update([f"d{n}" for n in range(COUNT)], {"seen": True})
    assert withdrawn(kb) is None
    kb.delete([f"d{n}" for n in range(14)])
    assert withdrawn(kb) is None
    kb.add([Document("new", id=f"n{n}") for n in range(14)], vectors=VECTORS[:14] + 1)
    assert "about 23%" in (withdrawn(kb) or "")
    kb.calibrate(dict(list(QUESTIONS.items())[14:]), JUDGMENTS)
    assert withdrawn(kb) is None


def test_other_programs_see_it_and_see_it_withdrawn(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb", create=True) as other:
        kb.add(DOCUMENTS, vectors=VECTORS)
        found = kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
        hits = other.search(vector=QUESTIONS["q0"])
        assert hits.verdict == found.verdict(hits)
        changed(other, 40)
        assert "have changed" in (withdrawn(kb) or "")
    with Retriever.open(tmp_path / "kb", read_only=True) as again:
        verdict = again.search(vector=QUESTIONS["q50"]).verdict
        assert verdict is not None
        assert "have changed" in verdict.reason
        with pytest.raises(EngineError, match="read-only"):
            again.calibrate(QUESTIONS, JUDGMENTS)


def test_a_calibration_is_as_it_was_made_when_it_is_read_again(kb: Retriever) -> None:
    found = kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS, max_hits=50)
    again = Calibration.from_json(found.to_json())
    assert again == found
    assert str(again) == str(found)
    assert json.loads(json.dumps(found.to_dict()))["questions"] == COUNT
    assert [each["coverage"] for each in found.to_dict()["promises"]] == [
        each for each in COVERAGES if each <= found.highest_coverage
    ]


def test_a_calibration_of_another_collection_is_withdrawn(kb: Retriever) -> None:
    calibration = kb.calibrate(QUESTIONS, JUDGMENTS)
    documents, vectors = documents_and_vectors(seed=5)
    with Retriever.open() as other:
        other.add(documents, vectors=vectors)
        other._searcher.verdicts.keep(calibration)
        assert "about 100% of the 120 documents" in (withdrawn(other) or "")
    with Retriever.open(metric="l2") as other:
        other.add(DOCUMENTS, vectors=VECTORS)
        other._searcher.verdicts.keep(calibration)
        assert "another metric" in (withdrawn(other) or "")
    with Retriever.open() as other:  # the same documents and vectors: it holds
        other.add(DOCUMENTS, vectors=VECTORS)
        other._searcher.verdicts.keep(calibration)
        assert withdrawn(other) is None


def test_copies_and_backups_take_it_along(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        kb.calibrate(QUESTIONS, JUDGMENTS)
        kb.backup(tmp_path / "backup")
        kb.copy_to(tmp_path / "copy")
        expected = kb.search(vector=QUESTIONS["q0"], coverage=0.9)
    for name in ("backup", "copy"):
        with Retriever.open(tmp_path / name) as copied:
            assert copied.search(vector=QUESTIONS["q0"], coverage=0.9).items == expected.items


TEXTS = [f"{word} {number} apples" for word in ("red", "green", "blue", "old", "new") for number in range(8)]
TEXT_QUESTIONS = {f"q{n}": f"where are {text}" for n, text in enumerate(TEXTS)}
TEXT_JUDGMENTS = {f"q{n}": {f"d{n}": 1} for n in range(len(TEXTS))}


def test_another_embedder_withdraws(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(64)) as kb:
        kb.add([Document(text, id=f"d{n}") for n, text in enumerate(TEXTS)])
        kb.calibrate(TEXT_QUESTIONS, TEXT_JUDGMENTS)
        assert kb.search("where are red apples").verdict is not None
        assert withdrawn(kb) is None

    def other(texts: Any) -> Any:
        return -HashingEmbedder(64).encode_query(list(texts))

    with pytest.warns(match="no longer produces"):
        opened = Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(other, on_drift="warn"))
    with opened as kb:
        verdict = kb.search("where are red apples").verdict
        assert verdict is not None
        assert "no longer produces" in verdict.reason
        with pytest.raises(ConfigError, match="no longer produces"):
            kb.search("where are red apples", coverage=0.5)


def test_a_drift_that_the_monitor_finds_withdraws(tmp_path: Path) -> None:
    """The monitor sees 200 near questions, and then 200 far ones."""
    now = [time.time() + 60]
    monitor = Monitor(interval=None, clock=lambda: now[0])
    with Retriever.open(tmp_path / "kb", monitor=monitor) as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
        near, far = list(QUESTIONS.values()), list(OTHERS.values())
        kb.search_many(vectors=[near[n % COUNT] for n in range(400)])
        assert monitor.flush() == []
        assert withdrawn(kb) is None
        now[0] += 60
        kb.search_many(vectors=[far[n % 60] for n in range(200)])
        assert [alert.cause for alert in monitor.flush()] == ["similarity"]
        assert "the mean similarity of the first hit" in (withdrawn(kb) or "")
    with Retriever.open(tmp_path / "kb") as kb:  # which has no monitor, and reads its file
        assert "the monitor found a drift" in (withdrawn(kb) or "")
        calibration = kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
        assert calibration.at < now[0]
        assert "the monitor found a drift" in (withdrawn(kb) or "")  # by the clock above, it comes later


def test_engines_with_notes_calibrate_and_others_refuse() -> None:
    with Retriever.open("dict://") as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
        assert kb.search(vector=QUESTIONS["q0"], coverage=0.9).verdict is not None
        changed(kb, 40)
        assert "have changed" in (withdrawn(kb) or "")

    class WithoutNotes(DictEngine):
        read_note = write_note = note_names = None  # type: ignore[assignment]  # so that it is no `Notes`

    engine = WithoutNotes.open("dict://", CollectionSettings())
    with Retriever(engine) as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        with pytest.raises(UnsupportedError, match=r"calibrate.* is not supported"):
            kb.calibrate(QUESTIONS, JUDGMENTS)
        assert kb.search(vector=QUESTIONS["q0"]).verdict is None


def test_a_damaged_note_is_told_and_does_not_stop_searches(kb: Retriever) -> None:
    kb.calibrate(QUESTIONS, JUDGMENTS)
    engine: Any = kb._engine
    (name,) = [name for name in engine.note_names() if name.startswith("calibration:")]
    for text in ("no json", "[]", "{}", '{"format": 99}'):
        engine.write_note(name, text)
        assert "cannot be read" in (withdrawn(kb) or "")
        verdict = kb.search(vector=QUESTIONS["q0"]).verdict
        assert verdict is not None
        assert verdict.label == "unknown"
        with pytest.raises(ConfigError, match="cannot be read"):
            kb.search(vector=QUESTIONS["q0"], coverage=0.8)


def test_a_reranked_search_is_calibrated_with_what_the_reranker_reads() -> None:
    def lengths(query: str, texts: Any) -> Any:
        return [float(len(set(query.split()) & set(text.split()))) for text in texts]

    with Retriever.open(embedder=HashingEmbedder(64)) as kb:
        kb.add([Document(text, id=f"d{n}") for n, text in enumerate(TEXTS)])
        found = kb.calibrate(TEXT_QUESTIONS, TEXT_JUDGMENTS, rerank=Rerank(lengths, candidates=12))
        assert found.max_hits == 12
        hits = kb.search("where are red 3 apples", rerank=Rerank(lengths, candidates=12), coverage=0.5)
        assert hits.trace.rerank == "ok"
        with pytest.raises(ConfigError, match="rerank"):
            kb.search("where are red 3 apples", rerank=Rerank(lengths, candidates=13), coverage=0.5)
        with pytest.raises(ConfigError, match="on_error"):
            kb.search(
                "where are red 3 apples", rerank=Rerank(lengths, candidates=12, on_error="fallback"), coverage=0.5
            )


def test_hybrid_verdicts_go_by_similarity_because_ranks_say_nothing() -> None:
    with Retriever.open(embedder=HashingEmbedder(64)) as kb:
        kb.add([Document(text, id=f"d{n}") for n, text in enumerate(TEXTS)])
        found = kb.calibrate(TEXT_QUESTIONS, TEXT_JUDGMENTS, {"o1": "who sings", "o2": "which song"}, mode="hybrid")
        hits = kb.search("where are red 3 apples", mode="hybrid")
        assert hits.verdict is not None
        assert hits.verdict.probability == found.model(hits[0].scores["similarity"])
        assert hits.to_dict()["verdict"] == hits.verdict.to_dict()
        assert f"verdict {hits.verdict.label}" in repr(hits)


def test_progress_counts_all_questions(kb: Retriever) -> None:
    done: list[int] = []
    kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS, progress=done.append)
    assert sum(done) == len(QUESTIONS) + len(OTHERS)


def test_synthetic_questions_are_named(kb: Retriever) -> None:
    made = {f"synthetic:{n}": vector for n, vector in enumerate(QUESTIONS.values())}
    found = kb.calibrate(made, {f"synthetic:{n}": {f"d{n}": 1} for n in range(COUNT)})
    assert any("synthetic" in note for note in found.notes)
