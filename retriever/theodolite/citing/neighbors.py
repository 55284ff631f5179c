"""Read the neighbors of hits from their collection.

Most ids number the passages of a text, such as `guide.md#3`. Then the neighbors of all hits are read by id, in one call
for windows and two or three for sections, and each is checked to stand where its id says. That is several times as fast
as a filter, which looks for the neighbors of those hits that have none there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.citing.window import Group, Passage, Window, is_in_section, neighbors_filter, place
from theodolite.filters import And, Filter, matches
from theodolite.origin import Origin
from theodolite.protocols import Engine, Request
from theodolite.types import Document, Vectors

_GROWTH = 3  # of the number of passages read on each side of a hit, from 1 on, while its section goes on
_MOST_AT_ONCE = 16


def read_neighbors(
    engine: Engine, origin: Origin, hits: Sequence[Passage], expand: Window | str, most: int
) -> list[Passage]:
    """Return the passages that hits are read with, and maybe others, of those that the search could find.

    Args:
        hits: hits with a place.
        most: the most passages of a section that are needed.
    """
    found, rest = list[Passage](), hits
    partitioned = engine.partition is not None and (origin.scope is None or origin.scope.partition is None)
    if not partitioned and origin.versions is None:  # else ids are ambiguous, or a search has to apply the rules
        found, rest = _read_by_id(engine, origin, hits, expand, most)
        if origin.where is not None:
            found = [each for each in found if matches(origin.where, each.document.metadata, each.document.id)]
    if rest:
        documents = _read_by_filter(engine, origin, neighbors_filter(rest, expand))
        read = [place(document, expand, engine.partition) for document in documents]
        known = {(each.group, each.document.id) for each in (*hits, *found)}
        found += [each for each in read if each.group and (each.group, each.document.id) not in known]
    return found if origin.accept is None else [each for each in found if origin.accept(each.document)]


class _Text:
    """The passages of one text, as far as they are known.

    Attributes:
        passages: hits and passages read, by position.
        missing: positions without a passage.
        prefixes: those of the ids of its hits.
        numbered: whether ids number the passages: two hits have one prefix, or a neighbor was found by its id.
    """

    __slots__ = ("group", "missing", "numbered", "passages", "prefixes")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.prefixes: set[str] = set()
        self.passages: dict[float, Passage] = {}
        self.missing: set[float] = set()
        self.numbered = set[str]()


class _Numbered:
    """A hit whose id ends with its position, or may be that of a first passage, which has no number.

    Attributes:
        prefix: the id of another passage is this, and its position.
        first: the id of the first passage if it has no number; else empty.
    """

    __slots__ = ("first", "hit", "prefix", "text")

    def __init__(self, hit: Passage, text: _Text, prefix: str, first: str) -> None:
        self.hit = hit
        self.text = text
        self.prefix = prefix
        self.first = first
        if prefix in text.prefixes:
            text.numbered.add(prefix)
        text.prefixes.add(prefix)

    def in_window(self, size: int) -> list[int]:
        """Return the positions of the window around the hit that are not known."""
        at: Any = self.hit.position
        known = self.text.passages
        return [each for each in range(max(at - size, 0), at + size + 1) if each not in known]

    def in_section(self, reach: int, most: int) -> list[int]:
        """Return positions on both sides of the part of the section that is known; none if it ends there."""
        found = list[int]()
        position: Any = self.hit.position
        passages, label = self.text.passages, self.hit.label
        for step in (-1, 1):
            for at in range(position + step, position + step * most, step):
                passage = passages.get(at)
                if passage is None:
                    if at not in self.text.missing:
                        found += range(at, at + reach) if step > 0 else range(at, max(at - reach, -1), -1)
                    break
                if passage.label != label:
                    break
        return found


def _numbered(hit: Passage, text: _Text) -> _Numbered | None:
    """Return the hit with the pattern of its id; None if it has none."""
    name, at = hit.document.id, hit.position
    if not isinstance(at, int):
        return None
    if not name.endswith(own := str(at)):
        return _Numbered(hit, text, f"{name}#", "") if at == 1 else None
    prefix = name[: -len(own)]
    if prefix[-1:].isdigit():
        return None
    return _Numbered(hit, text, prefix, prefix[:-1] if prefix.endswith("#") else "")


def _read_by_id(
    engine: Engine, origin: Origin, hits: Sequence[Passage], expand: Window | str, most: int
) -> tuple[list[Passage], list[Passage]]:
    """Return the neighbors that were found by id, and the hits that need the filter."""
    texts: dict[Group, _Text] = {}
    pending, found, rest = list[_Numbered](), list[Passage](), list[Passage]()
    for hit in hits:
        text = texts.get(hit.group)
        if text is None:
            text = texts[hit.group] = _Text(hit.group)
        text.passages[hit.position] = hit
        if (numbered := _numbered(hit, text)) is None:
            rest.append(hit)
        else:
            pending.append(numbered)
    partition, reach = engine.partition, 1
    size = expand.size if isinstance(expand, Window) else 1
    windows = isinstance(expand, Window)
    while pending:
        wanted: dict[str, tuple[_Text, int, str]] = {}
        read: list[tuple[_Numbered, list[int]]] = []
        for each in pending:
            in_section = not windows and is_in_section(each.hit, expand)
            positions = each.in_section(reach, most) if in_section else each.in_window(size)
            if positions:
                read.append((each, positions))
                text, prefix = each.text, each.prefix
                for at in positions:
                    wanted[f"{prefix}{at}"] = text, at, prefix
                if each.first and 1 in positions:
                    wanted[each.first] = text, 1, each.prefix
        for document, _ in engine.get(list(wanted), scope=origin.scope) if wanted else ():
            passage = place(document, expand, partition)
            text, at, prefix = wanted[document.id]
            if passage.position == at and at not in text.passages and passage.group == text.group:
                text.passages[at] = passage
                text.numbered.add(prefix)
                found.append(passage)
        pending = []
        for each, positions in read:
            if each.prefix not in each.text.numbered:
                rest.append(each.hit)
            elif not windows and is_in_section(each.hit, expand):
                each.text.missing.update(at for at in positions if at not in each.text.passages)
                pending.append(each)
        reach = min(_GROWTH * reach, _MOST_AT_ONCE)
    return found, rest


def _read_by_filter(engine: Engine, origin: Origin, neighbors: Filter) -> list[Document]:
    where = neighbors if origin.where is None else And((neighbors, origin.where))
    found = list(engine.documents(where, scope=origin.scope))
    versions = origin.versions
    if not found or versions is None or versions.superseded == "show":
        return [document for document, _ in found]
    # A search applies the rules. Any vector will do, since it returns all that are current.
    hidden = replace(versions, superseded="hide")
    query = Vectors(np.asarray(found[0][1], np.float32)[None])
    request = Request(query, len(found), where, origin.scope, exact=True, probe=True, versions=hidden)
    return engine.search(request)[0].documents
