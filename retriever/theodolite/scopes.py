"""Partitions and scopes: the documents that a view sees, and whether it may change them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, DocumentError, InputError, UnsupportedError, did_you_mean, short_repr
from theodolite.filters import And, Filter, In, Where, parse
from theodolite.filters.tree import fields as fields_of
from theodolite.metadata import plain_scalar
from theodolite.protocols import Scope
from theodolite.types import Document


def check_partition(field: Any) -> None:
    """Raise ConfigError unless `field` is a top-level field name or None."""
    if field is not None and (not isinstance(field, str) or not field or "." in field or field.startswith("$")):
        raise ConfigError(
            f"partition is {field!r}; expected the name of a metadata field, without dots and without a leading $",
            partition=field,
        )


def plain_partition(value: Any) -> str | int | None:
    """Return a partition's value as metadata stores it, a non-empty string or an int; None for anything else.

    Subclasses become plain values: the `str()` of an enum member differs from the stored text.
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
    except ValueError:  # a lone surrogate, or more digits than Python prints: neither can be stored
        pass
    return None


def partition_key(field: str | None, metadata: Mapping[str, Any]) -> str:
    """Return a document's partition as text, which is part of its primary key; empty without partitions.

    Raises:
        DocumentError: the field is missing, or its value cannot be a partition.
    """
    if field is None:
        return ""
    # Copy the items, as storing does: `get` of a custom mapping may return something else.
    entries = dict(metadata.items())
    if plain_partition(entries.get(field)) is None:
        there = f"is {short_repr(entries[field])}" if field in entries else "is missing"
        raise DocumentError(
            f"the collection is partitioned by {field!r}, which {there}; expected a string that is not empty, or an "
            "int",
            field=field,
        )
    return key_of(entries[field])


def key_of(value: Any) -> str:
    """Return a partition's value as text; 1 and "1" differ. Raises InputError if it cannot be a partition."""
    plain = plain_partition(value)
    if plain is None:
        raise InputError(f"{short_repr(value)} is not a partition; expected a string that is not empty, or an int")
    return json.dumps(plain, ensure_ascii=False)


def key_within(scope: Scope | None, field: str | None) -> str:
    """Return the partition in which a scope looks up ids.

    Raises:
        InputError: the collection is partitioned, but the scope names no partition.
        ConfigError: the scope names a partition, but the collection is not partitioned.
    """
    if scope is not None and scope.partition is not None:
        _check_partitioned(field)
        return key_of(scope.partition)
    if field is None:
        return ""
    raise InputError(
        f"the collection is partitioned by {field!r}, so an id alone is ambiguous: use scoped({field}=...)"
        + misspelled_partition(scope, field),
        partition=field,
    )


def partition_to_write(scope: Scope | None, field: str | None, *, ids: bool) -> str:
    """Return the key of the partition to write to; empty for writes that do not name documents by id.

    Raises:
        UnsupportedError: the scope is read-only.
        InputError, ConfigError: the same as `key_within`, for writes that name documents by id.
    """
    if scope is not None and (scope.partition is None or scope.where is not None):
        raise read_only_scope(scope, field)
    return key_within(scope, field) if ids else ""


def read_only_scope(scope: Scope | None, field: str | None) -> UnsupportedError:
    """Return the error for a write to a scope that is not exactly one partition."""
    if field is None:
        return UnsupportedError(
            "this scope is read-only: only a scope of exactly one partition can be written to, and the collection is "
            "not partitioned. Write to the collection itself"
        )
    return UnsupportedError(
        f"this scope is read-only: only a scope of exactly one partition, scoped({field}=value), can be written to"
        + misspelled_partition(scope, field)
    )


def misspelled_partition(scope: Scope | None, field: str | None) -> str:
    """Return a hint if the scope filters on a field with a similar name instead of the partition field."""
    if field is None or scope is None or scope.partition is not None or scope.where is None:
        return ""
    names = fields_of(scope.where)
    hints = {name: did_you_mean(name, (field,)) for name in sorted(names)} if field not in names else {}
    return next((f". The scope names {short_repr(name)}.{hint}" for name, hint in hints.items() if hint), "")


def placed(scope: Scope | None, field: str | None, document: Document) -> Document:
    """Fill in the partition of a scope where it is missing. A different value stays, and raises an error later."""
    if scope is None or field is None or not isinstance(document.metadata, Mapping) or field in document.metadata:
        return document
    return replace(document, metadata={**document.metadata, field: scope.partition})


def within(scope: Scope | None, field: str | None, where: Filter | None) -> Filter | None:
    """Return a filter for the documents in the scope that pass `where`."""
    parts = [] if scope is None else [scope_filter(scope, field)]
    return _all([part for part in [*parts, where] if part is not None])


def scope_filter(scope: Scope, field: str | None) -> Filter | None:
    """Return the scope as a filter. Raises ConfigError if it names a partition and the collection has none."""
    if scope.partition is None:
        return scope.where
    inside = In(_check_partitioned(field), (json.loads(key_of(scope.partition)),))
    return _all([part for part in (inside, scope.where) if part is not None])


def narrowed(scope: Scope | None, field: str | None, where: Where, fields: Mapping[str, Any]) -> tuple[Scope, bool]:
    """Narrow a scope. Return the new scope, and whether it is exactly one whole partition and thus writable.

    Args:
        scope: the outer scope, or None for the whole collection.
        field: the partition field, or None.
        where: a filter, or None.
        fields: fields with the values they must have.

    Raises:
        FilterError: `where` is not a filter.
        InputError: neither a filter nor fields are given.
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
    # Without this check, the scope would cover the whole collection.
    if field is None:
        raise ConfigError("the collection is not partitioned, so it has no scope of one partition")
    return field


def _all(parts: Sequence[Filter]) -> Filter | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))
