"""Transforms as arguments and in the manifest: check, compare and read them."""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, ManifestError
from theodolite.types import Norms, Space, Transform
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import check_centering
from theodolite.vectors.transforms.fitted import Fitted, encode_transform, hash_of
from theodolite.vectors.transforms.specs import Center, Pca, Spec, Truncate, Whiten

__all__ = ["check_chain", "check_same", "check_transforms", "decode_transform", "encode_transform"]

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Truncate, Pca, Center, Whiten)}


def check_transforms(transforms: Any, metric: MetricName, norms: Norms) -> tuple[Transform, ...]:
    """Check transforms and return them as a tuple.

    Raises:
        ConfigError: something that is not a transform, the same kind twice, dimensions that do not fit together, or a
            mean subtracted from vectors of any length under an inner product.
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
    check_centering(Space(metric, None, norms, tuple(found)))
    return tuple(found)


def check_chain(transforms: Iterable[Transform], dimension: int | None = None) -> None:
    """Raise ConfigError if vectors of `dimension` (None: unknown) cannot pass the transforms one after the other."""
    for each in transforms:
        entering = each.input_dimension if dimension is None else dimension
        dimension = each.spec.size if entering is None else each.output_dimension(entering)


def check_same(pinned: tuple[Transform, ...], given: tuple[Transform, ...]) -> None:
    """Raise ConfigError if `given` differs from `pinned`. A fitted transform equals an unfitted one of its kind."""

    def same(one: Transform, other: Transform) -> bool:
        both = isinstance(one, Fitted) and isinstance(other, Fitted)
        return one == other if both else one.spec == other.spec

    if len(pinned) != len(given) or not all(map(same, pinned, given)):
        raise ConfigError(
            f"the collection is pinned to {_listed(pinned)}, not {_listed(given)}, because its vectors are stored "
            "transformed. Open it without transforms=, or build another collection from the documents",
            pinned=pinned,
            asked=given,
        )


def decode_transform(values: dict[str, Any]) -> Transform:
    """Return the transform that `encode_transform` wrote.

    Raises:
        ManifestError: its values do not match its hash.
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
