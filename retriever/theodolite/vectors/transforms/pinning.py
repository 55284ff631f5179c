"""Transforms as arguments and as part of the manifest: checked, compared, written and read."""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, ManifestError
from theodolite.types import Norms, Space, Transform
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import check_moves
from theodolite.vectors.transforms.fitted import Fitted, encoded, hash_of
from theodolite.vectors.transforms.specs import Center, Pca, Spec, Truncate, Whiten

__all__ = ["check_chain", "check_same", "checked", "decoded", "encoded"]

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Truncate, Pca, Center, Whiten)}


def checked(transforms: Any, metric: MetricName, norms: Norms) -> tuple[Transform, ...]:
    """Transforms as they were given, made a tuple.

    Raises:
        ConfigError: what is no transform, one given twice, dimensions that do not follow from one another, or a
            mean to be taken off where dot products of any length count.
    """
    if not isinstance(transforms, Iterable) or isinstance(transforms, (str, bytes)):
        raise ConfigError(f"transforms is {transforms!r}; expected a list such as [Center(), Pca(128)]")
    found: list[Transform] = []
    for place, each in enumerate(transforms):
        if not isinstance(each, (Spec, Fitted)):
            raise ConfigError(
                f"transforms[{place}] is {each!r}; expected Truncate(d), Pca(d), Center() or Whiten(d), fitted or not"
            )
        kinds = [type(other.spec) for other in found]
        if type(each.spec) in kinds:
            name = type(each.spec).__name__
            raise ConfigError(
                f"transforms has {name} twice, at places {kinds.index(type(each.spec))} and {place}; once is enough"
            )
        found.append(each)
    check_chain(found)
    check_moves(Space(metric, None, norms, tuple(found)))
    return tuple(found)


def check_chain(transforms: Iterable[Transform], dimension: int | None = None) -> None:
    """Raises ConfigError where vectors of `dimension` (None: not known) cannot pass them one after the other."""
    for each in transforms:
        entering = each.entered if dimension is None else dimension
        dimension = each.spec.size if entering is None else each.leaving(entering)


def check_same(pinned: tuple[Transform, ...], given: tuple[Transform, ...]) -> None:
    """Raises ConfigError where `given` are not what is pinned. What is fitted fits what is not, of equal kind."""

    def same(one: Transform, other: Transform) -> bool:
        both = isinstance(one, Fitted) and isinstance(other, Fitted)
        return one == other if both else one.spec == other.spec

    if len(pinned) != len(given) or not all(map(same, pinned, given)):
        raise ConfigError(
            f"the collection is pinned to {_listed(pinned)}, not {_listed(given)}, and stays so: its vectors are "
            "stored transformed. Open it without transforms=, or build another collection from the documents",
            pinned=pinned,
            asked=given,
        )


def decoded(values: dict[str, Any]) -> Transform:
    """The transform that `encoded` wrote.

    Raises:
        ManifestError: its hash is not that of its values.
    """
    rest = {name: value for name, value in values.items() if name != "sha256"}
    if hash_of(rest) != values.get("sha256"):
        raise ManifestError(
            f"the pinned transform {values.get('name')}({values.get('d') or ''}) does not match its hash: the manifest "
            "is damaged. Restore the folder from a copy"
        )
    kind, d, entered = _KINDS[rest["name"]], rest["d"], rest["entered"]
    spec = kind() if d is None else kind(d)
    if entered is None:
        found: Transform = spec
        return found
    mean, matrix = _array(rest["mean"], "<f8", (entered,)), _array(rest["matrix"], "<f4", (entered, -1))
    return Fitted(spec, entered, mean, matrix)


def _array(text: str | None, dtype: str, shape: tuple[int, ...]) -> Any:
    if text is None:
        return None
    return np.frombuffer(b64decode(text), dtype).reshape(shape).astype(dtype[1:])


def _listed(transforms: Sequence[Transform]) -> str:
    return f"transforms=[{', '.join(map(repr, transforms))}]" if transforms else "no transforms"
