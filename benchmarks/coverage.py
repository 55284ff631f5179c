"""The coverage that `search(coverage=)` promises beside the one measured, on random halves of judged collections.

    python benchmarks/coverage.py shared/data

The folder holds collections as `benchmarks/judged.py` reads them. Each question of a collection is searched once. Then
the questions are split at random 200 times: one half calibrates, the other half is searched with its distance. The mean
coverage of the other halves must lie between the promise - 0.01 and ceil((n + 1) * promise) / (n + 1) + 0.02; where the
first hit alone covers more, no list can cover less. Beside it stand the median length of the lists, and the fixed k
whose lists have the same coverage. A coverage that less than 90 % of the splits can promise is not for this collection:
those that can are not drawn like the others.

The second table has what calibrations of all questions say about unanswerable ones.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import judged  # noqa: E402
from theodolite import Calibration, ConfigError  # noqa: E402
from theodolite.evaluation.conformal import low_coverage, rank_of  # noqa: E402

SETS = ("scifact", "npl", "cranfield", "covidfaq", "peps")
COVERAGES = (0.8, 0.9, 0.95)
SPLITS = 200
DEPTH = 100
_PROMISED = 0.9  # share of the splits that must be able to promise a coverage


class Searched(NamedTuple):
    """The questions of a collection, searched once.

    Attributes:
        gaps: (n,), the first hit's score minus that of the best relevant one; infinite where none is found.
        places: (n,), the place of the best relevant hit, from 1; infinite where none is found.
        distances: (n, hits), the first hit's score minus each hit's.
    """

    gaps: NDArray[np.float64]
    places: NDArray[np.float64]
    distances: NDArray[np.float64]


class Kept(NamedTuple):
    """The coverage measured with calibrations on random halves.

    Attributes:
        questions: in one half.
        splits: how many could promise the coverage.
        coverage: the mean over the splits.
        most: the highest mean that the promise allows, without the tolerance.
        first: the share of questions whose first hit is relevant.
        low: the 5th percentile over the splits.
        expected_low: the 5th percentile of the true coverage, by the Beta distribution.
        length: the median length of the lists.
        fixed: the fixed k with the same coverage.
    """

    questions: int
    splits: int
    coverage: float
    most: float
    first: float
    low: float
    expected_low: float
    length: float
    fixed: int


def searched(kb: Any, data: judged.Judged) -> Searched:
    """Search for all questions."""
    lists = kb.search_many(vectors=data.asked, k=DEPTH)
    gaps, places = np.full(len(lists), np.inf), np.full(len(lists), np.inf)
    distances = np.full((len(lists), DEPTH), np.inf)
    for number, hits in enumerate(lists):
        distances[number, : len(hits)] = [hits[0].score - hit.score for hit in hits]
        found = [place for place, hit in enumerate(hits) if data.grades[number].get(hit.document.id)]
        if found:
            gaps[number], places[number] = distances[number, found[0]], found[0] + 1
    return Searched(gaps, places, distances)


def kept(found: Searched, coverage: float, splits: int = SPLITS) -> Kept | None:
    """Calibrate on random halves; None if too few can promise this coverage."""
    draw, count = np.random.default_rng(0), len(found.gaps)
    half = count // 2
    rank = rank_of(coverage, half)
    if rank > half:
        return None
    shares, lengths = [], []
    for _ in range(splits):
        order = draw.permutation(count)
        distance = np.sort(found.gaps[order[:half]])[rank - 1]
        if np.isinf(distance):
            continue
        others = order[half:]
        shares.append(float(np.mean(found.gaps[others] <= distance)))
        lengths.append(float(np.median(np.sum(found.distances[others] <= distance, axis=1))))
    if len(shares) < _PROMISED * splits:
        return None
    mean = float(np.mean(shares))
    fixed = next(k for k in range(1, DEPTH + 1) if k == DEPTH or np.mean(found.places <= k) >= mean)
    most, low = rank / (half + 1), float(np.quantile(shares, 0.05))
    first = float(np.mean(found.gaps <= 0))
    return Kept(half, len(shares), mean, most, first, low, low_coverage(rank, half), float(np.median(lengths)), fixed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the judged collections")
    parser.add_argument("--sets", nargs="*", default=SETS, help="their names")
    args = parser.parse_args()
    rows, calibrations, failed = [], dict[str, Calibration](), False
    for name in args.sets:
        data = judged.read(args.data / name)
        others = np.load(args.data / next(each for each in SETS if each != name) / "queries.f16.npy")
        with judged.opened(data) as kb:
            found = searched(kb, data)
            for coverage in COVERAGES:
                result = kept(found, coverage)
                ok = result is None or coverage - 0.01 <= result.coverage <= max(result.most, result.first) + 0.02
                failed |= not ok
                rows.append((name, coverage, result, ok))
            calibration = calibrations[name] = kb.calibrate(
                {f"{number}": vector for number, vector in enumerate(data.asked)},
                {
                    f"{number}": {document: round(grade) for document, grade in grades.items()}
                    for number, grades in enumerate(data.grades)
                },
                {f"{number}": vector for number, vector in enumerate(others.astype(np.float32))},
            )
            check(kb, data.asked, found, calibration)
    print("| set | questions | coverage | splits | mean | at most | 5th percentile | by Beta | median hits | fixed k |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, coverage, result, ok in rows:
        if result is None:
            print(f"| {name} | | {coverage} | refused | | | | | | |")
            continue
        print(
            f"| {name} | {result.questions} | {coverage} | {result.splits} | {result.coverage:.3f}{'' if ok else ' !'} "
            f"| {result.most:.3f} | {result.low:.3f} | {result.expected_low:.3f} | {result.length:g} | {result.fixed} |"
        )
    print(
        "\n| set | questions | AUROC, evidence taken out | let through | AUROC, other questions | let through | Brier |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, each in calibrations.items():
        hard, easy = each.separations
        print(
            f"| {name} | {each.questions} | {hard.auroc:.3f} | {hard.let_through:.0%} | {easy.auroc:.3f} "
            f"| {easy.let_through:.0%} | {each.brier:.3f} |"
        )
    return int(failed)


def check(kb: Any, vectors: Any, found: Searched, calibration: Calibration) -> None:
    """Raise AssertionError unless searches with `coverage=` return what the table counts."""
    for coverage in COVERAGES:
        try:
            distance = calibration.promise(coverage).distance
        except ConfigError:
            continue
        lists = kb.search_many(vectors=vectors, coverage=coverage)
        lengths = np.sum(found.distances <= distance, axis=1)
        assert [len(hits) for hits in lists] == lengths.tolist()


if __name__ == "__main__":
    sys.exit(main())
