"""What is pinned with a collection at its creation."""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from theodolite.errors import MALFORMED, ConfigError, ManifestError, MetricMismatchError
from theodolite.types import Metric, Norms, Space, Transform
from theodolite.vectors.transforms import check_same, checked, decoded, encoded

FORMAT = 4
"""The version of the stored format. Newer ones are refused."""

OLDEST = 3
"""The oldest version that is read; the first commit makes it the current one. Those before it were never released."""

METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
_WIDEST = 1 << 24  # dimensions
NORMS: tuple[Norms, ...] = ("auto", "unit", "any")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Settings of a collection.

    Attributes:
        space: metric, dimension and norms; the first batch settles what is open.
        uid: 32 hexadecimal digits that name this collection.
        created: when, ISO-8601 in UTC.
        embedder: the name of the embedder given first, for people to read; it is not compared.
        partition: the metadata field that partitions the collection, if one does.
    """

    space: Space
    uid: str
    created: str
    embedder: str | None = None
    partition: str | None = None

    def to_json(self) -> str:
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        space = {part.name: getattr(self.space, part.name) for part in fields(self.space)}
        transforms = [encoded(transform) for transform in self.space.transforms]
        return json.dumps({**values, "space": {**space, "transforms": transforms}})

    @classmethod
    @lru_cache(maxsize=16)  # every commit reads it, and transforms can make it long
    def from_json(cls, text: str) -> "Manifest":
        """Raises ManifestError where the text is not a manifest."""
        try:
            values: dict[str, Any] = json.loads(text)
            transforms = tuple(decoded(each) for each in values["space"].get("transforms", ()))
            return cls(**{**values, "space": Space(**{**values["space"], "transforms": transforms})})
        except (ConfigError, *MALFORMED) as error:
            raise ManifestError(f"the collection's manifest cannot be read: {error}") from error

    def is_possible(self) -> bool:
        """Whether its values are what they are declared to be: a stranger's manifest may carry the right hash."""
        space = self.space
        dimensions = (space.dimension, space.raw_dimension)
        return (
            space.metric in METRICS
            and space.norms in NORMS
            and all(size is None or (type(size) is int and 1 <= size <= _WIDEST) for size in dimensions)
            and isinstance(self.uid, str)
            and re.fullmatch("[0-9a-f]{32}", self.uid) is not None
            and isinstance(self.created, str)
            and isinstance(self.embedder, (str, type(None)))
            and isinstance(self.partition, (str, type(None)))
        )

    def settled(self, space: Space) -> "Manifest":
        return replace(self, space=space)


def new_manifest(
    metric: Metric | None,
    norms: Norms,
    embedder: str | None,
    partition: str | None,
    transforms: Sequence[Transform] = (),
) -> Manifest:
    """A manifest for a new collection; the metric is cosine unless given."""
    check_settings(metric, norms)
    metric = metric or "cosine"
    return Manifest(
        Space(metric, None, norms, checked(transforms, metric, norms)),
        uuid.uuid4().hex,
        datetime.now(UTC).isoformat(timespec="seconds"),
        embedder,
        partition,
    )


def check_settings(metric: Metric | None, norms: Norms) -> None:
    """Raises ConfigError for a metric or norm policy that does not exist."""
    if metric is not None and metric not in METRICS:
        raise ConfigError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}", metric=metric)
    if norms not in NORMS:
        raise ConfigError(f"norms is {norms!r}; expected one of {', '.join(NORMS)}", norms=norms)


def check_partitioned(manifest: Manifest, partition: str | None) -> None:
    """Raises ConfigError where another partition field is pinned, or none; None adopts what is."""
    if partition is not None and partition != manifest.partition:
        pinned = f"partitioned by {manifest.partition!r}" if manifest.partition else "not partitioned"
        raise ConfigError(
            f"the collection is {pinned}, not by {partition!r}, and stays so. Open it without partition=, or build "
            "another collection",
            pinned=manifest.partition,
            asked=partition,
        )


def check_pinned(space: Space, metric: Metric | None, norms: Norms, transforms: Sequence[Transform] = ()) -> None:
    """Raise where an argument contradicts what is pinned; None, `auto` and no transforms adopt it.

    Raises:
        MetricMismatchError, ConfigError.
    """
    check_settings(metric, norms)
    if metric is not None and metric != space.metric:
        raise MetricMismatchError(
            f"the collection is pinned to metric {space.metric!r}, not {metric!r}. "
            f"Open it without metric=, or build another collection with metric={metric!r}",
            pinned=space.metric,
            asked=metric,
        )
    if norms not in ("auto", space.norms) and space.norms != "auto":
        raise ConfigError(
            f"the collection is pinned to norms={space.norms!r}, not {norms!r}",
            pinned=space.norms,
            asked=norms,
        )
    if given := checked(transforms, space.metric, space.norms):
        check_same(space.transforms, given)
