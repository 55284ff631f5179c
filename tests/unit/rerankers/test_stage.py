"""The stage scores all passages or none, and reports late and failed rerankers."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.crossing import averse, fond

from theodolite.errors import ConfigError, RerankError
from theodolite.rerankers.cross_encoder import CrossEncoderReranker
from theodolite.rerankers.stage import Rerank, RerankResult

TEXTS = [f"{'x' * i}" for i in range(20)]


def lengths(query: str, texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


class Slow:
    """Takes a while for each call after the first ones."""

    def __init__(self, seconds: float, batch_size: int | None = None, quick: int = 0) -> None:
        self.seconds = seconds
        self.quick = quick
        self.calls: list[int] = []
        if batch_size is not None:
            self.batch_size = batch_size

    def score(self, query: str, texts: Sequence[str]) -> list[int]:
        self.calls.append(len(texts))
        if len(self.calls) > self.quick:
            time.sleep(self.seconds)
        return lengths(query, texts)


class TestScores:
    @pytest.mark.parametrize(
        "kind",
        [
            list,
            tuple,
            np.array,
            lambda rows: np.array(rows, np.float16),
            lambda rows: np.array(rows, np.float32)[:, None],
            lambda rows: torch.tensor(rows, dtype=torch.bfloat16),
            lambda rows: torch.tensor(rows, dtype=torch.float32, requires_grad=True),
            lambda rows: [np.float32(row) for row in rows],
        ],
    )
    def test_of_any_kind(self, kind: Any) -> None:
        found = Rerank(lambda query, texts: kind([float(len(text)) for text in texts])).run("q", TEXTS)
        assert found.ok
        assert found.status == "ok"
        assert found.scored == 20
        assert found.scores is not None
        assert found.calibrated is not None
        assert found.scores.dtype == found.calibrated.dtype == np.float64
        np.testing.assert_array_equal(found.scores, np.arange(20))
        np.testing.assert_allclose(found.calibrated, 1 / (1 + np.exp(-np.arange(20.0))))

    def test_of_no_passages(self) -> None:
        for deadline in (None, 5.0):
            found = Rerank(lengths, deadline=deadline).run("q", [])
            assert found.ok
            assert found.scores is not None
            assert found.scores.shape == (0,)

    def test_its_own_calibration(self) -> None:
        class Own:
            def score(self, query: str, texts: Sequence[str]) -> list[int]:
                return lengths(query, texts)

            def calibrate(self, scores: Any) -> Any:
                return scores / 100

        found = Rerank(Own()).run("q", TEXTS)
        assert found.calibrated is not None
        np.testing.assert_array_equal(found.calibrated, np.arange(20) / 100)

    def test_the_caller_keeps_its_list(self) -> None:
        def greedy(query: str, texts: list[str]) -> list[int]:
            scores = lengths(query, texts)
            texts.clear()
            return scores

        given = list(TEXTS)
        assert Rerank(greedy).run("q", given).ok
        assert given == TEXTS

    def test_of_a_cross_encoder(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu", batch_size=2)
        texts = [averse("office"), fond("office"), "office " * 100]
        stage = Rerank(reranker, deadline=60)
        found, again = (stage.run("someone who does not hate this office", texts) for _ in range(2))
        assert found.scores is not None
        assert found.scores.argmax() == 1
        assert (found.scored, found.cached, again.cached) == (3, 0, 3)
        assert found.windows > 3
        assert (found.truncated, found.truncated_tokens) == (0, 0)
        np.testing.assert_array_equal(found.scores, again.scores)

    def test_a_model_by_its_folder(self, cross_folder: Path) -> None:
        stage = Rerank(str(cross_folder))
        assert isinstance(stage.reranker, CrossEncoderReranker)


class TestFailures:
    BAD: tuple[tuple[Any, str], ...] = (
        (lambda rows: [1.0], r"score of the reranker returned an array of shape \(1,\) for 20 texts"),
        (lambda rows: None, r"of shape \(\) for 20 texts|expected an array of numbers"),
        (lambda rows: [[1, 2]] * len(rows), r"shape \(20, 2\) for 20 texts"),
        (lambda rows: [[1, 2], [3]], "returned a list; expected an array of numbers"),
        (lambda rows: ["high"] * len(rows), "expected an array of numbers"),
        (lambda rows: [0.0, *[np.nan] * 19], "19 of 20 values that are not finite, first nan for text 1"),
        (lambda rows: [*[0.0] * 19, np.inf], "1 of 20 values that are not finite, first inf for text 19"),
    )

    @pytest.mark.parametrize(("made", "message"), BAD)
    def test_of_scores(self, made: Any, message: str) -> None:
        with pytest.raises(RerankError, match=message):
            Rerank(lambda query, texts: made(texts)).run("q", TEXTS)
        found = Rerank(lambda query, texts: made(texts), on_error="fallback").run("q", TEXTS)
        assert not found.ok
        assert (found.scores, found.calibrated) == (None, None)
        assert found.status.startswith("fallback: score of the reranker returned")

    @pytest.mark.parametrize(
        "calibrate", [lambda scores: -scores, lambda scores: scores, lambda scores: 1 - scores / 100, lambda scores: 0]
    )
    def test_of_calibration(self, calibrate: Any) -> None:
        class Wrong:
            def score(self, query: str, texts: Sequence[str]) -> list[int]:
                return lengths(query, texts)

        reranker: Any = Wrong()
        reranker.calibrate = calibrate
        with pytest.raises(RerankError, match="calibrate of the reranker"):
            Rerank(reranker).run("q", TEXTS)

    def test_an_exception(self) -> None:
        def broken(query: str, texts: Sequence[str]) -> list[int]:
            raise ConnectionError("no route to host")

        with pytest.raises(RerankError, match="reranking failed: ConnectionError: no route to host") as caught:
            Rerank(broken).run("q", TEXTS)
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert (caught.value.scored, caught.value.total) == (0, 20)
        found = Rerank(broken, on_error="fallback").run("q", TEXTS)
        assert found.status == "fallback: ConnectionError: no route to host"

    @pytest.mark.parametrize("on_error", ["raise", "fallback"])
    @pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_passes(self, on_error: Any, stop: type[BaseException]) -> None:
        def interrupted(query: str, texts: Sequence[str]) -> list[int]:
            raise stop

        with pytest.raises(stop):
            Rerank(interrupted, on_error=on_error).run("q", TEXTS)


class TestDeadline:
    def test_stops_between_parts(self) -> None:
        slow = Slow(1.1, batch_size=4, quick=1)
        found = Rerank(slow, deadline=1, on_error="fallback").run("q", TEXTS)
        assert (found.scores, found.calibrated, found.ok) == (None, None, False)
        assert slow.calls == [4, 4]
        assert found.status == "fallback: deadline of 1 s, 8 of 20 documents scored"
        assert found.scored == 8
        assert found.seconds >= 1

    def test_raises(self) -> None:
        with pytest.raises(RerankError, match=r"deadline of 0.01 s, 8 of 20 documents scored") as caught:
            Rerank(Slow(0.05), deadline=0.01).run("q", TEXTS)
        assert (caught.value.scored, caught.value.total) == (8, 20)
        assert caught.value.seconds >= 0.05
        assert caught.value.__cause__ is None

    def test_that_is_kept_changes_nothing(self) -> None:
        reported: list[int] = []
        slow = Slow(0, batch_size=7)
        found = Rerank(slow, deadline=600, progress=reported.append).run("q", TEXTS)
        assert found.scores is not None
        np.testing.assert_array_equal(found.scores, np.arange(20))
        assert slow.calls == reported == [7, 7, 6]

    def test_parts(self) -> None:
        for deadline, batch, calls in ((None, None, [20]), (600, None, [8, 8, 4]), (600, 50, [20])):
            slow = Slow(0)
            Rerank(slow, deadline=deadline, batch=batch).run("q", TEXTS)
            assert slow.calls == calls

    def test_over_with_the_last_part_is_late_all_the_same(self) -> None:
        found = Rerank(Slow(0.05, batch_size=20), deadline=0.01, on_error="fallback").run("q", TEXTS)
        assert found.status == "fallback: deadline of 0.01 s, 20 of 20 documents scored"

    def test_of_a_cross_encoder_is_looked_at_after_each_batch(self, cross_folder: Path) -> None:
        """Even within one long text. Scores so far stay in the cache."""
        reranker = CrossEncoderReranker(cross_folder, device="cpu", batch_size=2)
        texts = ["office " * 2000, "love", "hate"]
        stage = Rerank(reranker, deadline=1e-9, on_error="fallback")
        assert stage.run("q", texts).status == "fallback: deadline of 1e-09 s, 0 of 3 documents scored"
        assert stage.run("q", texts[1:]).status == "fallback: deadline of 1e-09 s, 2 of 2 documents scored"
        assert len(reranker.cache) == 2
        patient = Rerank(reranker, deadline=600).run("q", texts)
        assert (patient.ok, patient.scored, patient.cached) == (True, 3, 2)


class TestProgress:
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_what_it_raises_is_the_callers(self, error: type[BaseException], cross_folder: Path) -> None:
        def stop(done: int) -> None:
            raise error("enough")

        for reranker in (lengths, CrossEncoderReranker(cross_folder, device="cpu")):
            with pytest.raises(error, match="enough"):
                Rerank(reranker, progress=stop, on_error="fallback").run("q", TEXTS)


class TestOptions:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"candidates": 0}, "candidates is 0"),
            ({"candidates": 1.5}, "candidates is 1.5"),
            ({"candidates": True}, "candidates is True"),
            ({"batch": 0}, "batch is 0"),
            ({"deadline": 0}, "deadline is 0"),
            ({"deadline": -1.0}, "deadline is -1"),
            ({"deadline": float("nan")}, "deadline is nan"),
            ({"deadline": "1s"}, "deadline is '1s'"),
            ({"on_error": "ignore"}, "on_error is 'ignore'"),
            ({"progress": 1}, "progress is 1"),
            ({"min_relevance": 1.5}, "min_relevance is 1.5"),
            ({"min_relevance": True}, "min_relevance is True"),
            ({"min_relevance": 0.5, "on_error": "fallback"}, "min_relevance needs calibrated scores"),
            ({"reranker": None}, "the reranker is None"),
        ],
    )
    def test_that_do_not_fit(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Rerank(**{"reranker": lengths, **settings})

    def test_are_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Rerank(lengths).candidates = 3  # type: ignore[misc]  # what is tested

    def test_ok(self) -> None:
        assert RerankResult(np.zeros(1), np.zeros(1), "ok", 0.1).ok
        assert not RerankResult(None, None, "fallback: so", 0.1).ok
