"""Partitions and scopes: who sees which documents, and who may change them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, DocumentError, InputError, short_repr
from theodolite.filters import And, Filter, In, Where, parse
from theodolite.metadata import plain_scalar
from theodolite.protocols import Scope
from theodolite.types import Document


def check_partition(field: Any) -> None:
    """Raises ConfigError for what cannot be a partition field: a top-level name."""
    if field is not None and (not isinstance(field, str) or not field or "." in field or field.startswith("$")):
        raise ConfigError(
            f"partition is {field!r}; it must be the name of a metadata field, without dots and without $ in front",
            partition=field,
        )


def plain_partition(value: Any) -> str | int | None:
    """A partition's value as metadata stores it: a string that is not empty, or an int; None for anything else.

    Subclasses become plain: the `str()` of an enumeration's member is not the text that is stored.
    """
    if isinstance(value, np.generic):
        value = plain_scalar(value, "the partition")
    try:
        if isinstance(value, str):
            plain = str.__str__(value)
            plain.encode()
            return plain or None
        if isinstance(value, int) and not isinstance(value, bool):
            return int(str(int(value)))
    except ValueError:  # a lone surrogate, or more digits than Python prints: it cannot be stored
        pass
    return None


def partition_key(field: str | None, metadata: Mapping[str, Any]) -> str:
    """The partition a document belongs to, as text: part of its primary key; empty where nothing is partitioned.

    Raises:
        DocumentError: the field is missing, or holds what names no partition.
    """
    if field is None:
        return ""
    # As it is stored, entry by entry: what a mapping of another kind answers to `get` may be something else.
    entries = dict(metadata.items())
    if plain_partition(entries.get(field)) is None:
        there = f"is {short_repr(entries[field])}" if field in entries else "is missing"
        raise DocumentError(
            f"the collection is partitioned by {field!r}, which {there}; it must be a string that is not empty or an "
            "int",
            field=field,
        )
    return key_of(entries[field])


def key_of(value: Any) -> str:
    """A partition's value as text: 1 and "1" are two. Raises InputError for what names no partition."""
    plain = plain_partition(value)
    if plain is None:
        raise InputError(f"{short_repr(value)} names no partition; it must be a string that is not empty or an int")
    return json.dumps(plain, ensure_ascii=False)


def key_within(scope: Scope | None, field: str | None) -> str:
    """The partition that a scope looks ids up in.

    Raises:
        InputError: it is not said.
        ConfigError: it is said of a collection that has none.
    """
    if scope is not None and scope.partition is not None:
        _check_partitioned(field)
        return key_of(scope.partition)
    if field is None:
        return ""
    raise InputError(
        f"the collection is partitioned by {field!r}, so an id alone names no document: use scoped({field}=...)",
        partition=field,
    )


def placed(document: Document, field: str, value: Any) -> Document:
    """The document with its partition's field filled in. One that names another partition stays, to be refused."""
    if not isinstance(document.metadata, Mapping) or field in document.metadata:
        return document
    return replace(document, metadata={**document.metadata, field: value})


def within(scope: Scope | None, field: str | None, where: Filter | None) -> Filter | None:
    """The filter that lets pass what lies in the scope and passes `where`."""
    parts = [] if scope is None else [scope_filter(scope, field)]
    return _all([part for part in [*parts, where] if part is not None])


def scope_filter(scope: Scope, field: str | None) -> Filter | None:
    """What the scope alone lets pass. Raises ConfigError for a partition of a collection that has none."""
    if scope.partition is None:
        return scope.where
    inside = In(_check_partitioned(field), (json.loads(key_of(scope.partition)),))
    return _all([part for part in (inside, scope.where) if part is not None])


def narrowed(scope: Scope | None, field: str | None, where: Where, fields: Mapping[str, Any]) -> tuple[Scope, bool]:
    """A scope inside another (None: everything), and whether it is exactly one partition, which may be written to.

    Raises:
        FilterError: `where` is no filter.
        InputError: nothing is said that would narrow it.
    """
    tree = parse(where)
    parts = [] if tree is None else [tree]
    conditions = {name: parse({name: value}) for name, value in fields.items()}
    if not parts and not conditions:
        raise InputError("a scope needs a filter, or fields with their values: scoped(tenant='acme')")
    inside = scope or Scope()
    asked = None if field is None else plain_partition(fields.get(field))
    same = asked is not None and (inside.partition is None or key_of(inside.partition) == key_of(asked))
    if field is not None and same:
        inside = replace(inside, partition=asked)
        del conditions[field]
    parts += [condition for condition in conditions.values() if condition is not None]
    whole = inside.partition is not None and inside.where is None and not parts
    return Scope(inside.partition, _all([*([] if inside.where is None else [inside.where]), *parts])), whole


def _check_partitioned(field: str | None) -> str:
    # Never taken for a scope of everything.
    if field is None:
        raise ConfigError("the collection is not partitioned, so a scope of one partition has no place in it")
    return field


def _all(parts: Sequence[Filter]) -> Filter | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))
