"""The settings of a collection: CollectionSettings, as callers pass them, and Manifest, as they are stored."""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, get_args

from theodolite.analysis.bm25 import BM25
from theodolite.errors import MALFORMED, ConfigError, ManifestError, MetricMismatchError, VectorError
from theodolite.scopes import check_partition
from theodolite.types import EmbedderSpec, Norms, Space, Transform
from theodolite.vectors.metrics import DEFAULT_METRIC, METRICS, MetricName, get_metric
from theodolite.vectors.transforms import check_same, check_transforms, decode_transform, encode_transform

NORMS: tuple[Norms, ...] = get_args(Norms)

FORMAT = 5
"""The version of the stored format. Newer versions raise ManifestError."""

OLDEST = 3
"""The oldest readable version; the first commit upgrades it to the current one. Older ones were never released."""

DEFAULT_BM25 = BM25()
"""How collections rank words that name no other values."""

_WIDEST = 1 << 24  # maximum dimension


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """The settings that are pinned with a collection, as the caller of `Retriever.open` passes them.

    A new collection is created with them. An existing collection is compared with them (`check_pinned`); a default
    adopts the collection's own setting.

    Attributes:
        metric: `cosine`, `dot` or `l2`; None is cosine for a new collection.
        norms: `unit`, `any`, or `auto`, which the first batch settles.
        partition: the metadata field that partitions the collection.
        transforms: applied to vectors before they are stored; fitted by the first batch unless they are already. Kept
            as a tuple.
        embedder: the record of the embedder, stored with the first documents, so that it can be made again.
        index: the spec of an approximate index, such as `hnsw`; `flat` for exact search, `auto` or None for no wish.
        k1, b: the settings of BM25 in lexical search; None is 1.2 and 0.75 for a new collection.

    Raises:
        ConfigError: a value that no collection can have.
    """

    metric: MetricName | None = None
    norms: Norms = "auto"
    partition: str | None = None
    transforms: Sequence[Transform] = ()
    embedder: EmbedderSpec | None = None
    index: str | None = None
    k1: float | None = None
    b: float | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            get_metric(self.metric)
        if self.norms not in NORMS:
            raise ConfigError(f"norms is {self.norms!r}; expected one of {', '.join(NORMS)}", norms=self.norms)
        check_partition(self.partition)
        transforms = check_transforms(self.transforms, self.metric or DEFAULT_METRIC, self.norms)
        object.__setattr__(self, "transforms", transforms)
        _ = self.bm25  # raises for values out of range

    @property
    def space(self) -> Space:
        """The space of a new collection. The first batch fixes its dimension, and `auto` norms."""
        return Space(self.metric or DEFAULT_METRIC, None, self.norms, tuple(self.transforms))

    @property
    def bm25(self) -> BM25:
        """The settings of BM25 in a new collection."""
        return BM25(**{name: value for name, value in (("k1", self.k1), ("b", self.b)) if value is not None})

    def applied_to(self, space: Space) -> Space:
        """Return the space of a collection with these norms and transforms, where no batch has fixed its own yet."""
        if space.dimension is None and self.transforms:
            space = replace(space, transforms=tuple(self.transforms))
        return replace(space, norms=self.norms) if space.norms == "auto" else space

    def check_pinned(self, space: Space, partition: str | None, bm25: BM25 = DEFAULT_BM25) -> None:
        """Compare with the pinned settings of an existing collection: its space, partition field and BM25.

        Raises:
            MetricMismatchError: another metric.
            ConfigError: other norms or transforms, another partition field, or other values of k1 or b.
        """
        if self.metric not in (None, space.metric):
            raise MetricMismatchError(
                f"the collection is pinned to metric {space.metric!r}, not {self.metric!r}. "
                f"Open it without metric=, or build another collection with metric={self.metric!r}",
                pinned=space.metric,
                asked=self.metric,
            )
        if self.norms not in ("auto", space.norms) and space.norms != "auto":
            raise ConfigError(
                f"the collection is pinned to norms={space.norms!r}, not {self.norms!r}. Open it without norms=, or "
                "build another collection",
                pinned=space.norms,
                asked=self.norms,
            )
        if given := check_transforms(self.transforms, space.metric, space.norms):
            check_same(space.transforms, given)
        if self.partition not in (None, partition):
            pinned = f"partitioned by {partition!r}" if partition else "not partitioned"
            raise ConfigError(
                f"the collection is {pinned}, not by {self.partition!r}, and stays so. Open it without partition=, or "
                "build another collection",
                pinned=partition,
                asked=self.partition,
            )
        self.check_bm25(bm25)

    def check_bm25(self, pinned: BM25) -> None:
        """Compare with the pinned settings of BM25. Raises ConfigError if they differ."""
        for name, asked, value in (("k1", self.k1, pinned.k1), ("b", self.b, pinned.b)):
            if asked not in (None, value):
                raise ConfigError(
                    f"the collection is pinned to {name}={value:g}, not {asked:g}. Open it without {name}=, or build "
                    "another collection",
                    pinned=value,
                    asked=asked,
                )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The settings stored with a collection.

    Attributes:
        space: metric, dimension, norms and transforms; the first batch settles the open ones.
        uid: 32 hexadecimal digits that identify this collection.
        created: the time of creation, ISO-8601 in UTC.
        embedder: the embedder of the first documents. Formats before 5 record its name alone.
        partition: the metadata field that partitions the collection, or None.
        bm25: the settings of lexical search. Stored only if they are not the defaults, which older collections have.
    """

    space: Space
    uid: str
    created: str
    embedder: EmbedderSpec | None = None
    partition: str | None = None
    bm25: BM25 = DEFAULT_BM25

    def to_json(self) -> str:
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        values["embedder"] = None if self.embedder is None else asdict(self.embedder)
        del values["bm25"]
        if self.bm25 != DEFAULT_BM25:
            values["bm25"] = asdict(self.bm25)
        space = {part.name: getattr(self.space, part.name) for part in fields(self.space)}
        transforms = [encode_transform(transform) for transform in self.space.transforms]
        return json.dumps({**values, "space": {**space, "transforms": transforms}})

    @classmethod
    @lru_cache(maxsize=16)  # every commit reads it, and transforms can make it long
    def from_json(cls, text: str) -> "Manifest":
        """Read the output of `to_json`. Raises ManifestError if it is not a manifest."""
        try:
            values: dict[str, Any] = json.loads(text)
            transforms = tuple(decode_transform(each) for each in values["space"].get("transforms", ()))
            space = Space(**{**values["space"], "transforms": transforms})
            bm25 = BM25(**values.get("bm25", {}))
            return cls(**{**values, "space": space, "embedder": _embedder(values.get("embedder")), "bm25": bm25})
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
            and (self.embedder is None or _is_possible(self.embedder))
            and isinstance(self.partition, (str, type(None)))
        )

    def settled(self, space: Space, embedder: EmbedderSpec | None) -> "Manifest":
        """Return the manifest with the space of a batch, and with its embedder, if there is one.

        Raises:
            VectorError: the vectors were prepared for another space than the one that another writer has pinned.
        """
        if self.space != space and self.space.dimension is not None:
            raise VectorError(
                f"the vectors are prepared for {space}, but the collection is pinned to {self.space}: "
                "another writer fixed it first",
                expected=self.space.dimension,
                got=space.dimension,
            )
        return replace(self, space=space, embedder=embedder or self.embedder)


def _embedder(value: Any) -> EmbedderSpec | None:
    if isinstance(value, str):
        # Formats 3 and 4 record only a name; for an object, the name of its class. Another model on the hub may have
        # the same name.
        return EmbedderSpec(value, by_name=not value.isidentifier())
    return None if value is None else EmbedderSpec(**value)


def _is_possible(spec: EmbedderSpec) -> bool:
    optional = (spec.revision, spec.precision, spec.query_prompt, spec.document_prompt)
    return (
        isinstance(spec.name, str)
        and all(isinstance(value, (str, type(None))) for value in optional)
        and isinstance(spec.by_name, bool)
    )


def new_manifest(settings: CollectionSettings) -> Manifest:
    """Return the manifest of a new collection."""
    return Manifest(
        settings.space,
        uuid.uuid4().hex,
        datetime.now(UTC).isoformat(timespec="seconds"),
        settings.embedder,
        settings.partition,
        settings.bm25,
    )
