"""Context: the passages of hits for a prompt, with their neighbors, merged, within a budget of tokens, and numbered."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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
from theodolite.frozen import frozen
from theodolite.inputs import as_count
from theodolite.protocols import Engine
from theodolite.types import Document, Hits

Counts = Callable[[Sequence[str]], Sequence[int]]
"""Counts the tokens of each of several texts."""

_LEAST_SHARED = 16  # characters that end one passage and begin the next by more than chance
_MOST_SHARED = 1000
_MOST_PER_TOKEN = 8  # characters: a text with more of them for each token of the budget is not counted as a whole first


@frozen()
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


@frozen()
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
        return _text(self.sources)

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


def each_counted(count: Any) -> Counts:
    """Return the function that counts several texts with one that counts a text."""
    if not callable(count):
        raise InputError(f"count is {type_of(count)}; expected a function from a text to its number of tokens")

    def counts(texts: Sequence[str]) -> list[int]:
        found = [count(text) for text in texts]
        for each in found:
            if isinstance(each, bool) or not isinstance(each, (int, np.integer)) or each < 0:
                raise InputError(f"count returned {short_repr(each)}; it must return how many tokens a text has")
        return list(map(int, found))

    return counts


def make_context(engine: Engine, hits: Hits, tokens: int, expand: Expand, count: Counts) -> Context:
    """Make the context of hits. See `Hits.context`.

    Args:
        engine: the collection that the hits are from.
        count: counts the tokens of several texts at once.
    """
    if as_count(tokens, "tokens") < 1:
        raise InputError("tokens is 0; it must be at least 1", tokens=tokens)
    passages = as_passages(hits, check_expand(expand), engine.partition)
    notes: tuple[str, ...] = ()
    if expand is not None:
        placed = [each for each in passages if each.group]
        neighbors = [] if hits.origin is None else read_neighbors(engine, hits.origin, placed, expand, tokens)
        blocks = _merged(passages, neighbors, expand)
        if alone := len(passages) - len(placed):
            notes = (f"{alone} of {len(passages)} hits lack the fields that say where they stand, and stand alone",)
    else:
        blocks = [_Block((passage,), 0) for passage in passages]
    if not blocks:
        return Context((), 0)
    sources = [_source(number, block) for number, block in enumerate(blocks, 1)]
    if (whole := _whole(sources, tokens, count)) is not None:
        return Context(tuple(sources), whole, (), notes)
    return _fitted(blocks, tokens, count, notes)


def _whole(sources: Sequence[Source], tokens: int, count: Counts) -> int | None:
    """Return how many tokens the sources have together; None if that is too many, as it obviously is in a long text."""
    text = _text(sources)
    if len(text) > _MOST_PER_TOKEN * tokens:
        return None
    (total,) = count([text])
    return total if total <= tokens else None


class _Block(NamedTuple):
    """Passages that follow one another, and the number of the best hit among them."""

    passages: Sequence[Passage]
    best: int


def _merged(hits: Sequence[Passage], neighbors: Sequence[Passage], expand: Window | str) -> list[_Block]:
    """Return the hits with the passages that each is read with, merged where they touch, best first."""
    texts: dict[Group, list[Passage]] = {}
    ranked: list[tuple[int, _Block]] = []
    for each in itertools.chain(hits, neighbors):
        if each.group in texts:
            texts[each.group].append(each)
        elif each.group:
            texts[each.group] = [each]
        else:
            ranked.append((each.rank or 0, _Block((each,), 0)))
    for passages in texts.values():
        if len(passages) == 1:
            if (rank := passages[0].rank) is not None:  # not what the filter found beside neighbors
                ranked.append((rank, _Block(passages, 0)))
            continue
        passages.sort(key=_by_position)
        parts: list[list[int]] = []  # the first and the last passage, the best hit and its rank
        for number, hit in enumerate(passages):
            if hit.rank is None:
                continue
            first, last = read_with(passages, number, expand)
            part = parts[-1] if parts else None
            if part and (first <= part[1] or passages[first].position - passages[part[1]].position == 1):
                part[1] = max(last, part[1])
                if hit.rank < part[3]:
                    part[2:] = number, hit.rank
            else:
                parts.append([first, last, number, hit.rank])
        ranked += [(rank, _Block(passages[first : last + 1], best - first)) for first, last, best, rank in parts]
    ranked.sort(key=_by_rank)
    return [block for _, block in ranked]


def _by_position(passage: Passage) -> tuple[float, str]:
    return passage.position, passage.document.id


def _by_rank(ranked: tuple[int, _Block]) -> int:
    return ranked[0]


def _fitted(blocks: Sequence[_Block], tokens: int, count: Counts, notes: tuple[str, ...]) -> Context:
    """Return the context of what fits: whole blocks, or else the passages around their best hits."""
    heads = [f"[{number}] {_title(block)}\n\n" for number, block in enumerate(blocks, 1)]
    found = iter(count([*heads, *(f"{each.document.text}\n\n" for block in blocks for each in block.passages)]))
    head_costs = [next(found) for _ in heads]
    costs = [[next(found) for _ in block.passages] for block in blocks]
    room = tokens
    while True:
        sources, left, left_out = list[Source](), room, list[tuple[int, str]]()
        for block, head, own in zip(blocks, head_costs, costs, strict=True):
            first, end = _range_that_fits(own, block.best, left - head)
            for number, each in enumerate(block.passages):
                if each.rank is not None and not first <= number < end:
                    left_out.append((each.rank, each.document.id))
            if first < end:
                sources.append(_source(len(sources) + 1, _Block(block.passages[first:end], block.best - first)))
                left -= head + sum(own[first:end])
        if not sources:
            needed = min(head + own[block.best] for block, head, own in zip(blocks, head_costs, costs, strict=True))
            raise InputError(
                f"the shortest hit has {needed:,} tokens with its title, and tokens is {tokens:,}. Raise tokens=, or "
                "split texts into shorter passages",
                tokens=tokens,
                needed=needed,
            )
        (total,) = count([_text(sources)])
        if total <= tokens:
            return Context(tuple(sources), total, tuple(name for _, name in sorted(left_out)), notes)
        room -= total - tokens  # together they have more tokens than each by itself


def _range_that_fits(costs: Sequence[int], best: int, room: int) -> tuple[int, int]:
    """Return the start and end of the passages around a hit that fit: the hit, the one after it, before it, and so on.

    Args:
        costs: the tokens of each passage of a block.
        best: the number of the hit.
    """
    if sum(costs) <= room:
        return 0, len(costs)
    if costs[best] > room:
        return best, best
    low = high = best
    room -= costs[best]
    grows = [True, True]
    for side in itertools.cycle((1, 0)):
        if not any(grows):
            break
        number = high + 1 if side else low - 1
        if not grows[side] or not 0 <= number < len(costs) or costs[number] > room:
            grows[side] = False
            continue
        room -= costs[number]
        low, high = min(low, number), max(high, number)
    return low, high + 1


def _source(number: int, block: _Block) -> Source:
    passages = block.passages
    documents = tuple([each.document for each in passages])
    found = tuple([each.document.id for each in passages if each.rank is not None])
    return Source(number, _title(block), documents, found, _joined([each.text for each in documents]))


def _text(sources: Iterable[Source]) -> str:
    return "\n\n".join(map(str, sources))


def _joined(texts: Sequence[str]) -> str:
    """Join passages; what one ends with and the next begins with, as readers cut texts with an overlap, stands once."""
    if len(texts) == 1:
        return texts[0]
    parts, tail = [texts[0]], texts[0]
    for text in texts[1:]:
        shared = _shared(tail, text)
        parts.append(text[shared:] if shared else f"\n\n{text}")
        tail = text if len(text) >= _MOST_SHARED else tail[-_MOST_SHARED:] + parts[-1]
    return "".join(parts)


def _shared(before: str, after: str) -> int:
    """Return how many characters end one text and begin another."""
    start = after[:_LEAST_SHARED]
    at = before.find(start, max(0, len(before) - _MOST_SHARED)) if len(start) == _LEAST_SHARED else -1
    while at >= 0:
        if after.startswith(before[at:]):
            return len(before) - at
        at = before.find(start, at + 1)
    return 0


def _title(block: _Block) -> str:
    """Return where the best hit is from, on one line: it is data, and must not look like another source."""
    passage = block.passages[block.best]
    path = passage.document.metadata.get(PATH)
    title = path if isinstance(path, str) and path else passage.document.id
    if passage.label is not None and isinstance(passage.label[1], str):
        title = f"{title}, {passage.label[1]}"
    return one_line(title)
