"""Causes: why a hit of one list is absent or elsewhere in the other, found by asking both collections.

Two kinds of evidence are joined. The *stages* of a search are taken off: first exact search without boosts, then with
the index, then with boosts, and so on. A change is due to the first stage that shows it. A change that exact search
shows, too, is explained by the *document*: whether both collections have it, with the same text and vector, and let it
pass. A hit without a difference of its own has moved because of other hits, and has their cause.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from theodolite.evaluation.diff_result import Change
from theodolite.evaluation.questions import Questions
from theodolite.evaluation.sides import Side, Stored, differing_fields
from theodolite.ranking.options import SearchOptions
from theodolite.types import Hits
from theodolite.vectors.metrics import get_metric

_SAME_DIRECTION = 0.9999  # the cosine of vectors that differ by rounding, or by half precision
_SAME_NORM = 1e-3  # the relative difference of norms by rounding
_UNIT = 0.02  # how far norms of unit vectors may be from 1
_EQUAL = 1e-6  # the relative difference of equal scores
_OF_DOCUMENT = ("absent", "behind", "version", "filter")  # causes that a document has by itself
_FIELDS = 3  # fields named in a detail

_Difference = tuple[str, str]  # a cause and its detail
_Ranks = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Stage:
    """The lists after one stage of the search.

    Attributes:
        name: `exact` for exact search without later stages, else the cause that the stage stands for.
        same: whether both sides have the same settings of the stage.
        lists: the lists of A and of B, by the position of the question.
    """

    name: str
    same: bool
    lists: tuple[Mapping[int, Hits], Mapping[int, Hits]]


_LATER = (
    ("boost", ("boosts",)),
    ("threshold", ("min_relevance",)),
    ("rerank", ("rerank",)),
    ("diversity", ("diversity", "dedupe")),
)
"""The stages after the index, in their order, with the options that ask for them."""


class Explainer:
    """Explains the changes of some questions."""

    def __init__(self, a: Side, b: Side, questions: Questions, found: tuple[Sequence[Hits], Sequence[Hits]]) -> None:
        """
        Args:
            found: the lists of A and of B, which have searched for these questions.
        """
        self._sides, self._questions = (a, b), questions
        self._numbers = [n for n, (ours, theirs) in enumerate(zip(*found, strict=True)) if _ids(ours) != _ids(theirs)]
        self._found = tuple({n: lists[n] for n in self._numbers} for lists in found)
        union = dict.fromkeys(name for lists in self._found for hits in lists.values() for name in _ids(hits))
        self._stored = (a.stored(union), b.stored(union))
        self._stages = list(self._taken_off())

    def changes(self) -> Iterable[list[Change]]:
        """Yield the changes of each question that has any."""
        for number in self._numbers:
            yield _Question(number, self._questions.ids[number], self._sides, self._stored, self._stages).changes()

    def _taken_off(self) -> Iterable[_Stage]:
        """Yield the stages of the search, the last one with the lists as they were found."""
        a, b = (side.options for side in self._sides)
        approximate = any(not hits.trace.complete for lists in self._found for hits in lists.values())
        steps: list[tuple[str, tuple[str, ...]]] = [("exact", ())]
        steps += [("index", ())] if approximate else []
        steps += [
            (name, fields)
            for name, fields in _LATER
            if any(getattr(each, field) not in ((), None) for each in (a, b) for field in fields)
        ]
        depth = max(a.candidates, b.candidates)
        options = [
            replace(each, k=depth, boosts=(), min_relevance=None, rerank=None, diversity=None, dedupe=None)
            for each in (a, b)
        ]
        for place, (name, fields) in enumerate(steps, start=1):
            read = (*fields, "as_of") if name == "boost" else fields
            same = all(getattr(a, field) == getattr(b, field) for field in read)
            if place == len(steps):
                yield _Stage(name, same, (self._found[0], self._found[1]))
                return
            options = [
                replace(each, **{field: getattr(full, field) for field in fields})
                for each, full in zip(options, (a, b), strict=True)
            ]
            lists = [self._again(side, each, name == "exact") for side, each in zip(self._sides, options, strict=True)]
            yield _Stage(name, same, (lists[0], lists[1]))

    def _again(self, side: Side, options: SearchOptions, exact: bool) -> Mapping[int, Hits]:
        hits = side.search_again(options, self._numbers, exact=exact) if self._numbers else []
        return dict(zip(self._numbers, hits, strict=True))


class _Question:
    """One question whose lists differ."""

    def __init__(
        self,
        number: int,
        name: str,
        sides: tuple[Side, Side],
        stored: tuple[Mapping[str, Stored], Mapping[str, Stored]],
        stages: Sequence[_Stage],
    ) -> None:
        self._number, self._name, self._sides, self._stored, self._stages = number, name, sides, stored, stages
        self._lists = [(stage.lists[0][number], stage.lists[1][number]) for stage in stages]
        self._ranks: list[tuple[_Ranks, _Ranks]] = [(_ranks(a), _ranks(b)) for a, b in self._lists]
        self._moved = [_moved(a, b) for a, b in self._ranks]
        a, b = self._ranks[-1]
        self._union = list(dict.fromkeys([*a, *b]))
        self._changed = [name for name in self._union if (name in a) != (name in b) or name in self._moved[-1]]
        self._own = {name: self._differences(name) for name in self._union}

    def changes(self) -> list[Change]:
        """Return the hits that differ, each with its cause."""
        a, b = self._ranks[-1]
        found = []
        for name in self._changed:
            (cause, detail), *others = self._causes(name)
            also = tuple(other for other, _ in others)
            found.append(Change(self._name, name, a.get(name), b.get(name), cause, also, detail))
        return found

    def _causes(self, name: str) -> list[_Difference]:
        """Return the cause of a change, and then further differences of the collections that concern it."""
        own = self._own[name]
        if own and own[0][0] in _OF_DOCUMENT:
            return own
        if hidden := self._hidden(name):  # by the same rules: because of documents that supersede it
            cause, other = self._others or ("version", None)
            return [(cause, hidden if other is None else f"{hidden}, because of other documents, such as {other!r}")]
        stage = next(stage for place, stage in enumerate(self._stages) if self._is_changed(name, place))
        if stage.name == "index":
            return [("index", _places("exact search", self._ranks[0], name))]
        if stage.name != "exact" and not stage.same:
            return [(stage.name, _places(f"before {stage.name}", self._before(stage), name))]
        if own:
            return own
        if self._others is not None:
            cause, other = self._others
            return [(cause, f"it moved because of other hits, such as {other!r}")]
        if stage.name != "exact":
            return [(stage.name, _places(f"before {stage.name}", self._before(stage), name))]
        return [self._small(name) or self._of_statistics() or ("unexplained", "")]

    def _is_changed(self, name: str, place: int) -> bool:
        """Return whether a stage's lists show the change of a hit that the final lists show."""
        (a, b), (last_a, last_b) = self._ranks[place], self._ranks[-1]
        if name in last_a and name in last_b:
            return (name in a) != (name in b) or name in self._moved[place]
        return (name in a, name in b) == (name in last_a, name in last_b)

    def _before(self, stage: _Stage) -> tuple[_Ranks, _Ranks]:
        return self._ranks[self._stages.index(stage) - 1]

    @cached_property
    def _others(self) -> tuple[str, str] | None:
        """The most frequent cause of the question's hits that differ in themselves, with a hit that has it."""
        for names in (self._changed, self._union):
            owned = [name for name in names if self._own[name]]
            if owned:
                cause, _ = Counter(self._own[name][0][0] for name in owned).most_common(1)[0]
                return cause, next(name for name in owned if self._own[name][0][0] == cause)
        return None

    # ----- the document

    def _differences(self, name: str) -> list[_Difference]:
        """Return the differences of one document in both collections, the earliest first."""
        a, b = self._sides
        ours, theirs = (stored.get(name) for stored in self._stored)
        if ours is None or theirs is None:
            pairs = zip(self._sides, (ours, theirs), strict=True)
            lacking = " and ".join(side.name for side, each in pairs if each is None)
            old = next((one for one, other in ((a, b), (b, a)) if one.is_behind(other)), None)
            if old is not None:
                return [("behind", f"{lacking} has no document with this id, and {old.name} lacks later commits")]
            return [("absent", f"{lacking} has no document with this id")]
        (document, vector), (other, other_vector) = ours, theirs
        if document.text != other.text and (self._reads_text or not np.array_equal(vector, other_vector)):
            return [("behind", "its text differs")]
        fields = differing_fields(document.metadata, other.metadata)
        named = ", ".join(map(repr, fields[:_FIELDS]))
        passes = a.passes(document), b.passes(other)
        if passes[0] != passes[1]:
            if a.conditions == b.conditions:
                return [("behind", f"its metadata differs, and with it whether it passes the filter: {named}")]
            return [("filter", f"it does not pass the filter of {'A' if passes[1] else 'B'}")]
        if fields and (a.has_rules or b.has_rules or a.options.boosts or b.options.boosts):
            return [("behind", f"its metadata differs: {named}")]
        if a.rules != b.rules and (hidden := self._hidden(name)):
            return [("version", hidden)]
        return self._of_collections(vector, other_vector)

    def _of_collections(self, vector: NDArray[np.float32], other: NDArray[np.float32]) -> list[_Difference]:
        """Return the differences that concern all documents, with figures of one."""
        a, b = self._sides
        modes = (a.options.arms, a.options.fusion), (b.options.arms, b.options.fusion)
        if modes[0] != modes[1]:
            return [("mode", f"{a.options.mode} in A, {b.options.mode} in B")]
        found: list[_Difference] = []
        if a.options.arms != "dense" and a.bm25 != b.bm25:
            found.append(("bm25", f"{a.bm25} in A, {b.bm25} in B"))
        if a.options.arms == "lexical":
            return found
        if a.space.metric != b.space.metric:
            found.append(("metric", f"{a.space.metric} in A, {b.space.metric} in B"))
        if a.space.transforms != b.space.transforms:
            return [*found, ("transforms", f"its vector has {len(vector)} numbers in A and {len(other)} in B")]
        if len(vector) != len(other):
            return [*found, ("embedder", f"its vector has {len(vector)} numbers in A and {len(other)} in B")]
        question, asked = (side.vector(self._number) for side in self._sides)
        if question is None or asked is None:  # a collection was empty when it was searched
            return found
        turned = False
        for what, one, two in (("its vectors", vector, other), ("the question's vectors", question, asked)):
            cosine = _cosine(one, two)
            if not turned and cosine < _SAME_DIRECTION:
                turned = True
                found.append(("embedder", f"{what} in A and B have cosine {cosine:.3f}"))
        lengths = [float(np.linalg.norm(each.astype(np.float64))) for each in (vector, other)]
        if _differ(lengths, by_much=_cosine(vector, other) < _SAME_DIRECTION):
            found.append(("norms", f"its vector has length {lengths[0]:.4g} in A and {lengths[1]:.4g} in B"))
        elif get_metric(a.space.metric).by_distance and get_metric(b.space.metric).by_distance and not turned:
            lengths = [float(np.linalg.norm(each.astype(np.float64))) for each in (question, asked)]
            if _differ(lengths, by_much=False):
                words = f"the question's vector has length {lengths[0]:.4g} in A and {lengths[1]:.4g} in B"
                found.append(("norms", words))
        return found

    @property
    def _reads_text(self) -> bool:
        return any(side.options.reads_text for side in self._sides)

    def _hidden(self, name: str) -> str:
        """Return in words whether version rules hide a document from one side only; empty if they do not."""
        a, b = (name in each for each in self._current)
        return "" if a == b else f"it is no longer current in {'A' if b else 'B'}"

    @cached_property
    def _current(self) -> list[set[str]]:
        """The documents that version rules let A and B find."""
        if not any(side.has_rules for side in self._sides):
            return [set(self._union)] * 2
        return [side.current(self._number, self._union) if side.has_rules else set(self._union) for side in self._sides]

    # ----- what is left

    def _small(self, name: str) -> _Difference | None:
        """Return a tie, or rounding."""
        a, b = self._stored
        pairs = [(a[each][1], b[each][1]) for each in self._union]
        question, asked = (side.vector(self._number) for side in self._sides)
        if question is not None and asked is not None:
            pairs.append((question, asked))
            if not all(np.array_equal(*pair) for pair in pairs):
                return "rounding", "the vectors in A and B are equal up to rounding"
        for side, hits in zip(self._sides, self._lists[0], strict=True):
            scores = {hit.document.id: hit.score for hit in hits}
            own = scores.pop(name, None)
            if own is not None:
                equal = [other for other, score in scores.items() if abs(score - own) <= _EQUAL * max(1.0, abs(own))]
                if equal:
                    return "tie", f"its score in {side.name} is that of {equal[0]!r}, {own:.6g}"
        return None

    def _of_statistics(self) -> _Difference | None:
        """Return a difference of the collections that documents outside the lists make."""
        a, b = self._sides
        if a.options.arms != "dense" and a.count != b.count:
            return "absent", f"word statistics and ranks differ: A has {a.count:,} documents, B has {b.count:,}"
        if a.options.arms != "dense" and a.conditions != b.conditions:
            return "filter", "documents that only one filter lets pass change the ranks"
        return None


def _ids(hits: Hits) -> list[str]:
    return [hit.document.id for hit in hits]


def _ranks(hits: Hits) -> _Ranks:
    return {hit.document.id: hit.rank for hit in hits}


def _moved(a: _Ranks, b: _Ranks) -> set[str]:
    """Return the common ids that are out of order: all except the longest sequence that both lists share."""
    common = [name for name in a if name in b]
    tails: list[int] = []  # the lowest last rank of a sequence of each length
    lasts: list[int] = []  # positions of these in `common`
    before: list[int] = []  # the position that precedes each one in its sequence; -1 for none
    for place, name in enumerate(common):
        at = bisect_left(tails, b[name])
        before.append(lasts[at - 1] if at else -1)
        tails[at : at + 1] = [b[name]]
        lasts[at : at + 1] = [place]
    kept = set()
    place = lasts[-1] if lasts else -1
    while place >= 0:
        kept.add(common[place])
        place = before[place]
    return set(common) - kept


def _places(what: str, ranks: tuple[_Ranks, _Ranks], name: str) -> str:
    said = [
        f"{each[name]} in {side}" if name in each else f"none in {side}" for side, each in zip("AB", ranks, strict=True)
    ]
    return f"{what}: rank {', '.join(said)}"


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the cosine of two vectors; 1 if one of them is zero, which has no direction."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 1.0


def _differ(lengths: Sequence[float], *, by_much: bool) -> bool:
    """Return whether lengths differ; by much: one is 1 and the other is not."""
    if by_much:
        return (abs(lengths[0] - 1) <= _UNIT) != (abs(lengths[1] - 1) <= _UNIT)
    return abs(lengths[0] - lengths[1]) > _SAME_NORM * max(lengths)
