"""The engine contract: near-duplicates."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from theodolite.errors import EngineError
from theodolite.filters import Filter, In, parse
from theodolite.protocols import Duplicates, Engine, Scope, require
from theodolite.testing.checks import check, raising
from theodolite.testing.oracle import brute_force
from theodolite.testing.reference import DIMENSION, METRICS, EngineUnderTest, Pair, drawn, numbered, passages
from theodolite.types import Duplicate

_CLOSE = 1e-6  # tolerance of a cosine for rounding

Where = dict[str, Any] | None


class DuplicatesContract(EngineUnderTest):
    """Tests of duplicates: every pair with a cosine of at least the threshold, and no other pair."""

    def test_duplicates_agree_with_brute_force(self) -> None:
        if "duplicates" in self.lacks:
            return
        for metric in METRICS:
            with self.opened(metric) as pair:
                names = numbered(150)
                raw = drawn(1, 20)[np.arange(150) % 20] + 0.4 * drawn(2, 150)
                pair.add(passages(names), raw)
                pair.update({name: {"some": True} for name in names[::3]})
                pair.delete(names[20:40])
                pair.add(passages(names[60:70], new=True), raw[:10] * 3)
                for threshold in (0.2, 0.8, 0.95, 1.0):
                    for where in (None, {"some": True}, {"some": 7}):
                        _check(pair, threshold, where)

    def test_equal_directions_reach_a_cosine_of_one(self) -> None:
        if "duplicates" in self.lacks:
            return
        for metric in METRICS:
            with self.opened(metric) as pair:
                names = numbered(60)
                raw = np.repeat(drawn(1, 20), 3, axis=0)
                raw[1::3] *= 4
                pair.add(passages(names), raw)
                found = _as_found(pair.engine, 1.0)
                check(
                    sorted(found) == sorted(two for i in range(0, 60, 3) for two in _two(names[i : i + 3])),
                    f"at a threshold of 1 there are {len(found)} pairs, not the 60 of equal directions ({metric})",
                )
                check(set(found.values()) == {1.0}, f"equal directions have similarities {set(found.values())}")

    def test_few_documents_have_no_duplicates(self) -> None:
        if "duplicates" in self.lacks:
            return
        for metric in METRICS:
            with self.opened(metric) as pair:
                check(not _as_found(pair.engine, 0.5), "there are duplicates in an empty collection")
                pair.add(passages(["a"]), drawn(1, 1))
                check(not _as_found(pair.engine, 0.5), "a document is a duplicate of itself")
                if metric != "cosine":
                    pair.add(passages(["0", "00", "b"]), np.concatenate([np.zeros((2, DIMENSION)), drawn(1, 1)]))
                    check(list(_as_found(pair.engine, 1e-3)) == [("a", "b")], "vectors of zeros have a direction")

    def test_duplicates_are_of_one_commit(self) -> None:
        if "duplicates" in self.lacks:
            return
        with self.opened() as pair:
            names = numbered(60)
            pair.add(passages(names), np.tile(drawn(1, 1), (60, 1)))
            listing = _duplicates(pair.engine, 0.9)
            begun = [next(listing)]
            pair.add(passages([f"{name}+" for name in names]), np.tile(drawn(1, 1), (60, 1)))
            pair.delete(names[:5])
            pair.update({name: {"new": True} for name in names[5:10]})
            seen = _checked([*begun, *listing])
            kept = set(_two(names[10:]))
            check(kept <= seen.keys(), f"{len(kept - seen.keys())} pairs of unchanged documents are missing")
            late = {two for two in seen if not set(two) <= set(names)}
            check(not late, f"{len(late)} pairs are of documents that were added later")
            listing = _duplicates(pair.engine, 0.9)
            next(listing)
            pair.clear()
            pair.add(passages(names, late=True), np.tile(drawn(1, 1), (60, 1)))
            mixed = [one for one in listing if "late" in one.first.metadata or "late" in one.second.metadata]
            check(not mixed, f"{len(mixed)} pairs are of documents that were added after all had been deleted")

    def test_duplicates_report_progress(self) -> None:
        if "duplicates" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(passages(numbered(90)), drawn(1, 90))
            compared: list[int] = []
            list(_duplicates(pair.engine, 0.99, progress=compared.append))
            check(sum(compared) == 90 * 89 // 2, f"progress counts {sum(compared)} compared pairs of {90 * 89 // 2}")

    def test_duplicates_stay_in_a_scope(self) -> None:
        if "duplicates" in self.lacks:
            return
        with self.opened() as pair:
            pair.add([*passages(["a", "b"], n=1), *passages(["c", "d"], n=2)], np.tile(drawn(1, 1), (4, 1)))
            scope = Scope(None, In("n", (1,)))
            check(list(_as_found(pair.engine, 0.9, scope=scope)) == [("a", "b")], "duplicates leave the scope")
            led = _as_found(pair.engine, 0.9, where={"n": 2}, scope=scope)
            check(not led, "a filter leads duplicates out of the scope")

    def test_duplicates_of_a_closed_engine_raise(self) -> None:
        if "duplicates" in self.lacks:
            return
        with self.opened() as pair:
            pair.add(passages(["a", "b"]), drawn(1, 2))
            pair.engine.close()
            with raising(EngineError, "duplicates on a closed engine"):
                list(_duplicates(pair.engine, 0.9))


def _check(pair: Pair, threshold: float, where: Where) -> None:
    """Check that the engine and brute force find the same pairs, up to rounding near the threshold."""
    what = f"duplicates({threshold}, {where}, {pair.metric})"
    listed = list(_duplicates(pair.engine, threshold, parse(where)))
    for one in listed:
        pair.check_document(one.first)
        pair.check_document(one.second)
    found = _checked(listed)
    names = pair.eligible(where)
    vectors = np.array([pair.stored[name][1] for name in names]).reshape(len(names), DIMENSION)
    cosines = [brute_force(vector, vectors, "cosine") for vector in vectors]
    at = {name: i for i, name in enumerate(names)}
    check({name for two in found for name in two} <= at.keys(), f"{what} lists documents that are not eligible")
    for first, second in _two(names):
        exact = float(cosines[at[first]][at[second]])
        similarity = found.get((first, second))
        if similarity is None:
            check(exact < threshold + _CLOSE, f"{what} misses {first}, {second} of a cosine of {exact}")
        else:
            check(exact > threshold - _CLOSE, f"{what} lists {first}, {second} of a cosine of {exact}")
            check(abs(similarity - exact) < _CLOSE, f"{what} gives {first}, {second} {similarity}; exact is {exact}")
            check(float(np.float32(similarity)) == similarity, f"{what} gives no float32 value: {similarity}")


def _duplicates(engine: Engine, threshold: float, where: Filter | None = None, **options: Any) -> Iterator[Duplicate]:
    return require(engine, Duplicates, "duplicates()").duplicates(threshold, where, **options)


def _as_found(engine: Engine, threshold: float, where: Where = None, scope: Scope | None = None) -> dict[Any, float]:
    return _checked(list(_duplicates(engine, threshold, parse(where), scope=scope)))


def _checked(found: list[Duplicate]) -> dict[tuple[str, str], float]:
    """Return similarities by the sorted ids of pairs. Check that no pair comes twice."""
    named = {_ids(one): one.similarity for one in found}
    check(len(named) == len(found), f"{len(found) - len(named)} of {len(found)} pairs come twice")
    check(all(one != other for one, other in named), "a document is a duplicate of itself")
    return named


def _ids(found: Duplicate) -> tuple[str, str]:
    first, second = sorted((found.first.id, found.second.id))
    return first, second


def _two(names: list[str]) -> list[tuple[str, str]]:
    return list(combinations(sorted(names), 2))
