"""Context: the passages of hits for a prompt, with their neighbors, merged, within a budget of tokens, and numbered."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from theodolite.citing.neighbors import read_neighbors
from theodolite.citing.window import (
    PATH,
    Expand,
    Group,
    Passage,
    Window,
    as_passages,
    check_expand,
    read_with,
)
from theodolite.display import one_line
from theodolite.errors import InputError, short_repr, type_of
from theodolite.inputs import as_count
from theodolite.protocols import Engine
from theodolite.types import Document, Hits

Count = Callable[[str], int]
"""Counts the tokens of a text."""

_LEAST_SHARED = 16  # characters that end one passage and begin the next by more than chance
_MOST_SHARED = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered part of a context: passages of one text that follow one another.

    Attributes:
        number: from 1, as the context shows it and an answer cites it.
        title: where it is from: the path, or else the id, and the section.
        documents: the passages, in their order.
        hits: the ids of those that are hits.
        text: the texts of the passages, without what two of them share.
    """

    number: int
    title: str
    documents: tuple[Document, ...]
    hits: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"[{self.number}] {self.title}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Context:
    """Passages for a prompt, best first: `str` is the text to insert.

    Attributes:
        sources: the parts, numbered from 1.
        tokens: how many tokens the text has.
        left_out: the ids of hits that did not fit, best first.
        notes: sentences that the caller should know, such as that some hits have no place.
    """

    sources: tuple[Source, ...]
    tokens: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.sources))

    def to_dict(self) -> dict[str, Any]:
        """Return the context as JSON values, with the ids of documents."""
        return {
            "text": str(self),
            "tokens": self.tokens,
            "sources": [
                {
                    "number": source.number,
                    "title": source.title,
                    "documents": [document.id for document in source.documents],
                    "hits": list(source.hits),
                    "text": source.text,
                }
                for source in self.sources
            ],
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


def make_context(engine: Engine, hits: Hits, tokens: int, expand: Expand, count: Count) -> Context:
    """Make the context of hits. See `Hits.context`.

    Args:
        engine: the collection that the hits are from.
    """
    if as_count(tokens, "tokens") < 1:
        raise InputError("tokens is 0; it must be at least 1", tokens=tokens)
    if not callable(count):
        raise InputError(f"count is {type_of(count)}; expected a function from a text to its number of tokens")
    passages = as_passages(hits, check_expand(expand), engine.partition)
    blocks = [[passage] for passage in passages]
    count = cache(count)
    notes: tuple[str, ...] = ()
    if expand is not None:
        placed = [each for each in passages if each.group]
        neighbors = [] if hits.origin is None else read_neighbors(engine, hits.origin, placed, expand, tokens)
        blocks = _merged(passages, neighbors, expand)
        if alone := sum(not each.group for each in passages):
            notes = (f"{alone} of {len(passages)} hits lack the fields that say where they stand, and stand alone",)
    room = tokens
    while True:
        sources, left_out, needed = _fitted(blocks, room, count)
        if hits and not sources:
            raise InputError(
                f"the shortest hit has {needed:,} tokens with its title, and tokens is {tokens:,}. Raise tokens=, or "
                "split texts into shorter passages",
                tokens=tokens,
                needed=needed,
            )
        context = Context(tuple(sources), 0, tuple(left_out), notes)
        total = _checked(count, str(context)) if sources else 0
        if total <= tokens:
            return Context(context.sources, total, context.left_out, notes)
        room -= total - tokens  # together they have more tokens than each by itself


def _merged(hits: Sequence[Passage], neighbors: Sequence[Passage], expand: Window | str) -> list[list[Passage]]:
    """Return blocks of passages that follow one another, each with a hit or more, in the order of their best hits."""
    by_text: dict[Group, dict[str, Passage]] = {}
    for each in (*hits, *neighbors):
        if each.group:
            by_text.setdefault(each.group, {}).setdefault(each.document.id, each)
    blocks = [[each] for each in hits if not each.group]
    for passages in by_text.values():
        ordered = sorted(passages.values(), key=lambda each: (each.position, each.document.id))
        parts: list[tuple[int, int]] = []
        for number, hit in enumerate(ordered):
            if hit.rank is None:
                continue
            first, last = read_with(ordered, number, expand)
            if parts and (first <= parts[-1][1] or _is_next(ordered[parts[-1][1]], ordered[first])):
                parts[-1] = parts[-1][0], max(last, parts[-1][1])
            else:
                parts.append((first, last))
        blocks += [ordered[first : last + 1] for first, last in parts]
    return sorted(blocks, key=lambda block: min(map(_rank, block)))


def _is_next(one: Passage, other: Passage) -> bool:
    return other.position - one.position == 1


def _rank(passage: Passage) -> float:
    return math.inf if passage.rank is None else passage.rank


def _fitted(blocks: Sequence[Sequence[Passage]], room: int, count: Count) -> tuple[list[Source], list[str], int]:
    """Return the sources that fit, the ids of hits that do not, and the fewest tokens that a best hit needs."""
    sources: list[Source] = []
    left_out: list[tuple[int, str]] = []
    fewest = 0
    for block in blocks:
        best = min(block, key=_rank)
        title = _title(best)
        head = _checked(count, f"[{len(sources) + 1}] {title}\n\n")
        costs = [_checked(count, f"{each.document.text}\n\n") for each in block]
        needed = head + costs[block.index(best)]
        fewest = min(fewest or needed, needed)
        chosen = block if head + sum(costs) <= room else _around(block, costs, block.index(best), room - head)
        kept = {id(each) for each in chosen}
        left_out += [(each.rank, each.document.id) for each in block if each.rank is not None and id(each) not in kept]
        if not chosen:
            continue
        sources.append(
            Source(
                len(sources) + 1,
                title,
                tuple(each.document for each in chosen),
                tuple(each.document.id for each in chosen if each.rank is not None),
                _joined([each.document.text for each in chosen]),
            )
        )
        room -= head + sum(cost for each, cost in zip(block, costs, strict=True) if id(each) in kept)
    return sources, [name for _, name in sorted(left_out)], fewest


def _around(block: Sequence[Passage], costs: Sequence[int], best: int, room: int) -> Sequence[Passage]:
    """Return the passages around a hit that fit, the nearest first: after it, before it, and so on."""
    if costs[best] > room:
        return ()
    low = high = best
    room -= costs[best]
    grows = [True, True]
    for side in itertools.cycle((1, 0)):
        if not any(grows):
            return block[low : high + 1]
        number = high + 1 if side else low - 1
        if not grows[side] or not 0 <= number < len(block) or costs[number] > room:
            grows[side] = False
            continue
        room -= costs[number]
        low, high = min(low, number), max(high, number)
    raise AssertionError  # the loop has no other end


def _joined(texts: Sequence[str]) -> str:
    """Join passages; what one ends with and the next begins with, as readers cut texts with an overlap, stands once."""
    whole = texts[0]
    for text in texts[1:]:
        shared = _shared(whole, text)
        whole += text[shared:] if shared else f"\n\n{text}"
    return whole


def _shared(before: str, after: str) -> int:
    """Return how many characters end one text and begin another."""
    start = after[:_LEAST_SHARED]
    at = before.find(start, max(0, len(before) - _MOST_SHARED)) if len(start) == _LEAST_SHARED else -1
    while at >= 0:
        if after.startswith(before[at:]):
            return len(before) - at
        at = before.find(start, at + 1)
    return 0


def _title(passage: Passage) -> str:
    """Return where a passage is from, on one line: it is data, and must not look like another source."""
    metadata = passage.document.metadata
    path = metadata.get(PATH)
    parts = [path if isinstance(path, str) and path else passage.document.id]
    if passage.label is not None and isinstance(passage.label[1], str):
        parts.append(passage.label[1])
    return one_line(", ".join(parts))


def _checked(count: Count, text: str) -> int:
    found: Any = count(text)
    if isinstance(found, bool) or not isinstance(found, (int, np.integer)) or found < 0:
        raise InputError(f"count returned {short_repr(found)}; it must return how many tokens a text has")
    return int(found)
