"""Read the neighbors of hits from their collection.

Most ids number the passages of a text, such as `guide.md#3`. Then neighbors are read by id, several times as fast as by
a filter, and each is checked to stand where its id says. If a hit has no neighbor there, the filter looks for them.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from theodolite.citing.window import Group, Passage, Window, is_in_section, neighbors_filter, place
from theodolite.filters import And, Filter, matches
from theodolite.origin import Origin
from theodolite.protocols import Engine, Request
from theodolite.types import Document, Vectors

_MOST_AT_ONCE = 16  # passages to read on each side of a hit, once its section has turned out to be long

_Known = Mapping[tuple[Group, float], Passage]
"""Passages by group and position."""


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
        found += [place(document, expand, engine.partition) for document in documents]
    return found if origin.accept is None else [each for each in found if origin.accept(each.document)]


def _read_by_id(
    engine: Engine, origin: Origin, hits: Sequence[Passage], expand: Window | str, most: int
) -> tuple[list[Passage], list[Passage]]:
    """Return the neighbors that were found by id, and the hits that need the filter."""
    known = {(hit.group, hit.position): hit for hit in hits}
    found, rest, pending = list[Passage](), list[Passage](), list(hits)
    numbered = set[Group]()  # texts whose ids number the passages
    ended = set[tuple[Group, float]]()  # positions before the first and after the last passage of such a text
    reach = 2
    while pending:
        wanted = [(hit, _unknown(hit, expand, known, ended, most)) for hit in pending]
        places = {
            name: (hit.group, at + further * step)
            for hit, nearest in wanted
            for at, step in nearest
            for further in range(reach if step else 1)
            for name in _ids_at(hit, at + further * step)
        }
        for document, _ in engine.get(list(places), scope=origin.scope) if places else ():
            passage = place(document, expand, engine.partition)
            key = passage.group, passage.position
            if places[document.id] == key and key not in known:
                known[key] = passage
                found.append(passage)
        numbered.update(each.group for each in found)
        pending = []
        for hit, nearest in wanted:
            here = [(at, step) for at, step in nearest if (hit.group, at) in known]
            if nearest and hit.group not in numbered:
                rest.append(hit)
            elif any(step for _, step in here):
                ended.update((hit.group, at) for at, _ in nearest if (hit.group, at) not in known)
                pending.append(hit)
        reach = min(2 * reach, _MOST_AT_ONCE)
    return found, rest


def _unknown(
    hit: Passage, expand: Window | str, known: _Known, ended: Container[tuple[Group, float]], most: int
) -> list[tuple[float, int]]:
    """Return the positions that must be read for a hit, each with the direction to go on in; 0 in a window.

    In a section, these are the first beyond the part of it that is known, on both sides.
    """
    if not is_in_section(hit, expand):
        size = expand.size if isinstance(expand, Window) else 1
        around = [hit.position + step for step in range(-size, size + 1)]
        return [(at, 0) for at in around if (hit.group, at) not in known and not _is_before_first(hit, at)]
    ends = []
    for step in (-1, 1):
        at, length = hit.position, 0
        while (passage := known.get((hit.group, at))) is not None and passage.label == hit.label and length < most:
            at, length = at + step, length + 1
        if (hit.group, at) not in known and (hit.group, at) not in ended and not _is_before_first(hit, at):
            ends.append((at, step))
    return ends


def _is_before_first(hit: Passage, at: float) -> bool:
    """Return whether no passage can have this position: ids number from 0, or from 1 where the first has no number."""
    return at < 0 or (at == 0 and hit.position == 1 and not hit.document.id.endswith("1"))


def _ids_at(hit: Passage, at: float) -> list[str]:
    """Return the ids that the passage at a position may have, judging by the hit's."""
    name, own = hit.document.id, f"{hit.position}"
    if own == "1" and not name.endswith(own):
        return [f"{name}#{at}"]
    prefix = name.removesuffix(own)
    if prefix == name or prefix[-1:].isdigit():
        return []
    return [f"{prefix}{at}", prefix[:-1]] if at == 1 and prefix.endswith("#") else [f"{prefix}{at}"]


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
