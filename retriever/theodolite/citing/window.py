"""Where passages stand in their texts, and which neighbors a hit is read with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, NamedTuple

from theodolite.errors import InputError, did_you_mean, short_repr
from theodolite.filters.tree import And, Compare, Filter, In, Not, Or
from theodolite.types import Document, Hit

PATH = "path"
_POSITIONS = ("chunk", "position")
_LABELS = ("section", "heading", "symbol", "page", "slide")
_RECORDS = ("record", "line")  # a reader numbers the passages of each record of a file by themselves
_LISTED = 8  # fields named in a message

Group = tuple[tuple[str, Any], ...]
"""The fields and values that all passages of one text have, and no others."""


@dataclass(frozen=True, slots=True)
class Window:
    """The neighbors to read a hit with: passages of the same text, up to `size` positions before and after it.

    Attributes:
        size: how far the positions may differ, at least 1.
        group: the metadata field that says which text a passage is of.
        order: the metadata field with the passage's position in it, a number.

    Raises:
        InputError: a size below 1, or a name that is no field.
    """

    size: int = 1
    group: str = PATH
    order: str = _POSITIONS[0]

    def __post_init__(self) -> None:
        size: Any = self.size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"the size of a window is {size!r}; it must be a whole number of at least 1")
        for name, value in (("group", self.group), ("order", self.order)):
            if not isinstance(value, str) or not value:
                raise InputError(f"{name} is {value!r}; expected the name of a metadata field")


Expand = Window | Literal["section"] | None
"""The passages that a hit is read with: neighbors, the rest of its section, or none."""


class Passage(NamedTuple):
    """A document with its place. Without one it stands alone: `group` is empty.

    Attributes:
        rank: the rank of the hit; None for a neighbor.
        label: the field and the value that name its section; None if it has none.
    """

    document: Document
    rank: int | None = None
    group: Group = ()
    position: float = 0
    label: tuple[str, Any] | None = None


def check_expand(expand: Any) -> Expand:
    """Return what `expand` says. Raises InputError if it is none of the choices."""
    if expand is None or isinstance(expand, Window) or (isinstance(expand, str) and expand == "section"):
        return expand  # type: ignore[return-value]  # checked
    hint = f"; did you mean Window({expand})?" if isinstance(expand, int) else ""
    raise InputError(f'expand is {short_repr(expand)}; expected "section", Window(...) or None{hint}')


def as_passages(hits: Iterable[Hit], expand: Expand, partition: str | None) -> list[Passage]:
    """Return the hits with their places.

    Args:
        partition: the field that partitions the collection: texts of two partitions may have one path.

    Raises:
        InputError: no hit has the fields that say where it stands.
    """
    hits = list(hits)
    if expand is None:
        return [Passage(hit.document, hit.rank, label=_label(hit.document.metadata)) for hit in hits]
    found = [place(hit.document, expand, partition, hit.rank) for hit in hits]
    if hits and not any(each.group for each in found):
        raise _no_place(expand, hits[0].document.metadata)
    return found


def place(document: Document, expand: Window | str, partition: str | None, rank: int | None = None) -> Passage:
    """Return a document with its place."""
    metadata = document.metadata
    if isinstance(expand, Window):
        group, order = expand.group, expand.order
    else:
        group, order = PATH, position_field(metadata)
    text: Any = metadata.get(group)
    position: Any = metadata.get(order)
    label = _label(metadata) if rank is not None or not isinstance(expand, Window) else None  # no neighbor shows it
    if not _is_number(position) or not _is_single(text):
        return Passage(document, rank, (), 0, label)
    key: Group = ((group, text),)
    if group == PATH:
        for name in _RECORDS:
            if name in metadata and _is_number(metadata[name]):
                # A record of a table is `table.csv#1`, and the first passage of a plain file has no number.
                if document.id != text and (position == 1 or document.id != f"{text}#{position}"):
                    key = (key[0], (name, metadata[name]))
                break
    if partition is not None and partition != group:
        key += ((partition, metadata[partition]),)
    return Passage(document, rank, key, position, label)


def position_field(metadata: Mapping[str, Any]) -> str:
    """Return the field with the position of a passage in its text."""
    return _POSITIONS[0] if _POSITIONS[0] in metadata else _POSITIONS[1]


def neighbors_filter(passages: Sequence[Passage], expand: Window | str) -> Filter:
    """Return a filter that the neighbors of the passages pass, and maybe some of the passages themselves."""
    parts: dict[tuple[Any, ...], Filter] = {}
    for each in passages:
        inside = tuple(In(name, (value,)) for name, value in each.group)
        if is_in_section(each, expand) and each.label is not None:
            name, value = each.label
            parts[each.group, each.label] = And((*inside, In(name, (value,))))
        else:
            size, order = _window(each, expand)
            low, high = Compare(order, "$gte", each.position - size), Compare(order, "$lte", each.position + size)
            parts[each.group, each.position] = And((*inside, low, high, Not(In(order, (each.position,)))))
    return Or(tuple(parts.values()))


def read_with(ordered: Sequence[Passage], number: int, expand: Window | str) -> tuple[int, int]:
    """Return the first and the last passage that one is read with, among those of its text, by position.

    A section ends where a position is missing.
    """
    hit = ordered[number]
    first = last = number
    if is_in_section(hit, expand):
        while first and _follows(ordered[first - 1], ordered[first]):
            first -= 1
        while last + 1 < len(ordered) and _follows(ordered[last], ordered[last + 1]):
            last += 1
        return first, last
    size, _ = _window(hit, expand)
    while first and hit.position - ordered[first - 1].position <= size:
        first -= 1
    while last + 1 < len(ordered) and ordered[last + 1].position - hit.position <= size:
        last += 1
    return first, last


def is_in_section(passage: Passage, expand: Window | str) -> bool:
    """Return whether a passage is read with its section. One without a section has a window of 1."""
    return expand == "section" and passage.label is not None


def _follows(one: Passage, other: Passage) -> bool:
    return one.label == other.label and other.position - one.position <= 1


def _window(passage: Passage, expand: Window | str) -> tuple[int, str]:
    """Return the size of the window and the field of positions."""
    if isinstance(expand, Window):
        return expand.size, expand.order
    metadata = passage.document.metadata
    return 1, next(name for name in _POSITIONS if _is_number(metadata.get(name)))


def _label(metadata: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the field and the value that name a passage's section."""
    for name in _LABELS:
        value = metadata.get(name)
        if value is not None and _is_single(value):
            return name, value
    return None


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_single(value: Any) -> bool:
    return (type(value) is str or isinstance(value, (str, int, float, date))) and value != ""


def _no_place(expand: Window | str, metadata: Mapping[str, Any]) -> InputError:
    if isinstance(expand, Window):
        group, order = expand.group, repr(expand.order)
        lacking = [name for name in (group, expand.order) if name not in metadata] or [expand.order]
        hint = did_you_mean(lacking[0], metadata)
    else:
        group, order = PATH, " or ".join(map(repr, _POSITIONS))
        hint = ' Name your own fields: expand=Window(1, group="page", order="number")'
    names = ", ".join(map(short_repr, list(metadata)[:_LISTED])) or "none"
    return InputError(
        f"no hit has a value in {group!r} and a number in {order}, which say where it stands.{hint} Fields of the "
        f"first hit: {names}",
        fields=list(metadata),
    )
