"""The passages before and after a passage, by the numbers in ids: `guide.md`, `guide.md#2`, `guide.md#3`."""

import re

from theodolite.retriever import Retriever
from theodolite.types import Document

_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,8})", re.DOTALL)


def read(kb: Retriever, name: str, neighbors: int) -> tuple[list[Document], int]:
    """Return a passage among its neighbors, in their order, and its place in the list; ([], 0) if it is not stored."""
    found = kb.get([name])
    if not found:
        return [], 0
    before: list[Document] = []
    while len(before) < neighbors and (one := _first(kb, _before((before or found)[-1].id))):
        before.append(one)
    after: list[Document] = []
    while len(after) < neighbors and (one := _first(kb, _after((after or found)[-1].id))):
        after.append(one)
    return [*reversed(before), *found, *after], len(before)


def _first(kb: Retriever, ids: list[str]) -> Document | None:
    return next(iter(kb.get(ids)), None)


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
