"""A calibration through any engine: what it learns, promises and withdraws is the same as in a folder."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, Document, Retriever
from theodolite.evaluation.calibration import COVERAGES

COUNT, DIMENSION = 60, 16
HALF = DIMENSION // 2
_DRAW = np.random.default_rng(4)
VECTORS = np.zeros((COUNT, DIMENSION))
VECTORS[:, :HALF] = _DRAW.standard_normal((COUNT, HALF))
DOCUMENTS = [Document(f"passage number {n}", {"lang": "en" if n % 2 else "de"}, f"d{n:02}") for n in range(COUNT)]
QUESTIONS = {f"q{n}": VECTORS[n] + 0.7 * _DRAW.standard_normal(DIMENSION) for n in range(COUNT)}
JUDGMENTS = {f"q{n}": {f"d{n:02}": 1} for n in range(COUNT)}
OTHERS = {f"o{n}": np.r_[np.zeros(HALF), _DRAW.standard_normal(HALF)] for n in range(30)}  # no document is near
OPTIONS: list[dict[str, Any]] = [{}, {"where": {"lang": "en"}}]


def filled(kb: Retriever) -> Retriever:
    """Add the documents."""
    kb.add(DOCUMENTS, vectors=VECTORS)
    return kb


def calibrated(kb: Retriever) -> list[Any]:
    """Calibrate twice, and return all that is learned and found, up to the last bits of similarities."""
    found: list[Any] = []
    for options in OPTIONS:
        english = [name for n, name in enumerate(QUESTIONS) if n % 2 or not options]
        calibration = kb.calibrate({name: QUESTIONS[name] for name in english}, JUDGMENTS, OTHERS, **options)
        found.append((calibration.questions, calibration.highest_coverage, calibration.max_hits, calibration.notes))
        found.append([asdict(each) for each in calibration.separations])
        found += [asdict(calibration.promise(coverage)) for coverage in COVERAGES]
        found += searched(kb, **options)
    return found


def searched(kb: Retriever, **options: Any) -> list[Any]:
    """Return the lists and verdicts of searches, with and without a coverage."""
    found: list[Any] = []
    for vector in [*list(QUESTIONS.values())[:12], *list(OTHERS.values())[:6]]:
        hits, covered = kb.search(vector=vector, k=5, **options), kb.search(vector=vector, coverage=0.8, **options)
        assert hits.verdict is not None
        assert hits.verdict == covered.verdict
        assert covered.trace.complete
        found.append((hits.verdict.label, hits.verdict.probability, [hit.document.id for hit in covered]))
    return found


def compare(found: list[Any], expected: list[Any]) -> None:
    """Fail unless both are the same, figures up to rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, dict):
            assert one == pytest.approx(other, abs=1e-6)
        elif isinstance(one, tuple) and isinstance(one[1], float):
            assert (one[0], *one[2:]) == (other[0], *other[2:])
            assert one[1] == pytest.approx(other[1], abs=1e-6)
        else:
            assert repr(one) == repr(other)


def check(kb: Retriever, reopened: Retriever) -> None:
    """Calibrate an empty collection after filling it, read it in another program, and change its documents.

    Args:
        reopened: the same collection, opened a second time.
    """
    with Retriever.open(embedder=None) as folder:
        expected = calibrated(filled(folder))
    compare(calibrated(filled(kb)), expected)
    compare(searched(reopened), expected[5 : 5 + 18])
    assert [each["withdrawn"] for each in reopened.info()["calibrations"]] == [None, None]
    with pytest.raises(ConfigError, match="there is none for"):
        reopened.search(vector=QUESTIONS["q0"], where={"lang": "de"}, coverage=0.8)
    with pytest.raises(ConfigError, match="at least 99 questions"):
        reopened.search(vector=QUESTIONS["q0"], coverage=0.99)
    kb.delete([document.id for document in DOCUMENTS[::3]])
    for each in reopened.info()["calibrations"]:
        assert "documents have changed" in each["withdrawn"]
    with pytest.raises(ConfigError, match="documents have changed"):
        reopened.search(vector=QUESTIONS["q0"], coverage=0.8)
    verdict = reopened.search(vector=QUESTIONS["q0"]).verdict
    assert verdict is not None
    assert verdict.label == "unknown"
