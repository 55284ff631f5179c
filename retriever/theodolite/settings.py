"""CollectionSettings: what a collection is created with and keeps for life."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from theodolite.errors import ConfigError, MetricMismatchError
from theodolite.scopes import check_partition
from theodolite.types import Norms, Space, Transform
from theodolite.vectors.metrics import DEFAULT_METRIC, MetricName, get_metric
from theodolite.vectors.transforms import check_same, check_transforms

NORMS: tuple[Norms, ...] = get_args(Norms)


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
        embedder: the embedder's name, shown to people and never compared.
        index: the spec of an approximate index, such as `hnsw`; `flat` for exact search, `auto` or None for no wish.

    Raises:
        ConfigError: a value that no collection can have.
    """

    metric: MetricName | None = None
    norms: Norms = "auto"
    partition: str | None = None
    transforms: Sequence[Transform] = ()
    embedder: str | None = None
    index: str | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            get_metric(self.metric)
        if self.norms not in NORMS:
            raise ConfigError(f"norms is {self.norms!r}; expected one of {', '.join(NORMS)}", norms=self.norms)
        check_partition(self.partition)
        transforms = check_transforms(self.transforms, self.metric or DEFAULT_METRIC, self.norms)
        object.__setattr__(self, "transforms", transforms)

    @property
    def space(self) -> Space:
        """The space of a new collection: the first batch settles its dimension, and `auto` norms."""
        return Space(self.metric or DEFAULT_METRIC, None, self.norms, tuple(self.transforms))

    def applied_to(self, space: Space) -> Space:
        """Return the space of a collection with these norms and transforms, as far as no batch has settled its own."""
        if space.dimension is None and self.transforms:
            space = replace(space, transforms=tuple(self.transforms))
        return replace(space, norms=self.norms) if space.norms == "auto" else space

    def check_pinned(self, space: Space, partition: str | None) -> None:
        """Compare with what an existing collection is pinned to: its space and its partition field.

        Raises:
            MetricMismatchError: another metric.
            ConfigError: other norms, transforms or another partition field.
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
