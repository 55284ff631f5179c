"""Read a passage with those before and after it in its text."""

import re

from theodolite.citing.neighbors import read_neighbors
from theodolite.citing.window import PATH, Window, place, position_field
from theodolite.origin import Origin
from theodolite.protocols import Engine, Scope
from theodolite.types import Document

_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,8})", re.DOTALL)


def read_around(engine: Engine, name: str, size: int, scope: Scope | None) -> list[Document]:
    """Return a document among its neighbors, in their order; empty if it is not stored.

    A document that has no position in its metadata is placed by its id: `guide.md`, `guide.md#2`, `guide.md#3`.

    Args:
        size: maximum neighbors on each side.
    """
    found = [document for document, _ in engine.get([name], scope=scope)]
    if not found or not size:
        return found
    expand = Window(size, PATH, position_field(found[0].metadata))
    hit = place(found[0], expand, engine.partition)
    if not hit.group:
        return _by_ids(engine, found[0], size, scope)
    near = read_neighbors(engine, Origin(lambda: None, None, scope), [hit], expand, 0)
    places = {each.document.id: each for each in near if each.group == hit.group} | {name: hit}
    ordered = sorted(places.values(), key=lambda each: each.position)
    return [each.document for each in ordered if abs(each.position - hit.position) <= size]


def _by_ids(engine: Engine, document: Document, size: int, scope: Scope | None) -> list[Document]:
    def first(ids: list[str]) -> Document | None:
        return next((each for each, _ in engine.get(ids, scope=scope)), None) if ids else None

    passages = [document]
    while len(passages) <= size and (one := first(_before(passages[0].id))):
        passages.insert(0, one)
    last = len(passages) + size
    while len(passages) < last and (one := first(_after(passages[-1].id))):
        passages.append(one)
    return passages


def _before(name: str) -> list[str]:
    """Return ids that the passage before this one may have; the first that is stored is it."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None or numbered[2] == "1":
        return []
    base, number = numbered[1], int(numbered[2])
    return [f"{base}#{number - 1}", *([base] if number == 2 else [])]


def _after(name: str) -> list[str]:
    """Return ids that the passage after this one may have. A record of a file may be split: `faq.csv#7#2`."""
    numbered = _NUMBERED.fullmatch(name)
    return [f"{name}#2", *([f"{numbered[1]}#{int(numbered[2]) + 1}"] if numbered else [])]
