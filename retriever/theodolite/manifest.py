"""Manifest: the settings stored with a collection."""

import json
import re
import uuid
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from theodolite.errors import MALFORMED, ConfigError, ManifestError
from theodolite.settings import NORMS, CollectionSettings
from theodolite.types import Space
from theodolite.vectors.metrics import METRICS
from theodolite.vectors.transforms import decode_transform, encode_transform

FORMAT = 4
"""The version of the stored format. Newer versions raise ManifestError."""

OLDEST = 3
"""The oldest readable version; the first commit upgrades it to the current one. Older ones were never released."""

_WIDEST = 1 << 24  # maximum dimension


@dataclass(frozen=True, slots=True)
class Manifest:
    """The settings stored with a collection.

    Attributes:
        space: metric, dimension, norms and transforms; the first batch settles the open ones.
        uid: 32 hexadecimal digits that identify this collection.
        created: the time of creation, ISO-8601 in UTC.
        embedder: the name of the first embedder, for information only; it is never compared.
        partition: the metadata field that partitions the collection, or None.
    """

    space: Space
    uid: str
    created: str
    embedder: str | None = None
    partition: str | None = None

    def to_json(self) -> str:
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        space = {part.name: getattr(self.space, part.name) for part in fields(self.space)}
        transforms = [encode_transform(transform) for transform in self.space.transforms]
        return json.dumps({**values, "space": {**space, "transforms": transforms}})

    @classmethod
    @lru_cache(maxsize=16)  # every commit reads it, and transforms can make it long
    def from_json(cls, text: str) -> "Manifest":
        """Read what `to_json` returned. Raises ManifestError if it is not a manifest."""
        try:
            values: dict[str, Any] = json.loads(text)
            transforms = tuple(decode_transform(each) for each in values["space"].get("transforms", ()))
            return cls(**{**values, "space": Space(**{**values["space"], "transforms": transforms})})
        except (ConfigError, *MALFORMED) as error:
            raise ManifestError(f"the collection's manifest cannot be read: {error}") from error

    def is_possible(self) -> bool:
        """Return whether all values have their declared types and ranges. A forged manifest may have the right hash."""
        space = self.space
        dimensions = (space.dimension, space.raw_dimension)
        return (
            space.metric in tuple(METRICS)  # a tuple compares by ==, so an unhashable metric raises nothing
            and space.norms in NORMS
            and all(size is None or (type(size) is int and 1 <= size <= _WIDEST) for size in dimensions)
            and isinstance(self.uid, str)
            and re.fullmatch("[0-9a-f]{32}", self.uid) is not None
            and isinstance(self.created, str)
            and isinstance(self.embedder, (str, type(None)))
            and isinstance(self.partition, (str, type(None)))
        )

    def settled(self, space: Space) -> "Manifest":
        """Return the manifest with a space that the first batch has settled."""
        return replace(self, space=space)


def new_manifest(settings: CollectionSettings) -> Manifest:
    """Return the manifest of a new collection."""
    return Manifest(
        settings.space,
        uuid.uuid4().hex,
        datetime.now(UTC).isoformat(timespec="seconds"),
        settings.embedder,
        settings.partition,
    )
