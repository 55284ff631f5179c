"""Frozen dataclasses that are as cheap to make as ordinary ones.

The `__init__` of a frozen dataclass calls `object.__setattr__` for each field, which takes five times as long as an
assignment. One search makes about thirty values with two hundred fields. So here `__init__` assigns the fields while
the new value belongs to a twin class that allows it, and then gives the value its own class. Nothing else can hold
the value before.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

_set_attribute = object.__setattr__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, eq: bool = True, repr: bool = True) -> Callable[[type[T]], type[T]]:
    """Make a class a dataclass with `frozen=True, slots=True`. It has no `__post_init__`, `InitVar` or `kw_only`."""

    def decorate(cls: type[T]) -> type[T]:
        made: Any = dataclass(frozen=True, slots=True, eq=eq, repr=repr)(cls)
        made.__init__ = _init(made)
        return made  # type: ignore[no-any-return]  # `dataclass` returns the class that it was given, with slots

    return decorate


def _init(cls: Any) -> Callable[..., None]:
    """Return an `__init__` with the same signature as the dataclass's own."""
    twin = type(cls)(cls.__name__, cls.__bases__, {"__slots__": cls.__slots__})
    names: dict[str, Any] = {"_set_attribute": _set_attribute, "_twin": twin, "_own": cls}
    parameters, lines = ["self"], ['_set_attribute(self, "__class__", _twin)']
    for each in fields(cls):
        value = each.name
        if each.default_factory is not MISSING:
            names[f"_default_{each.name}"], names[f"_make_{each.name}"] = _MADE, each.default_factory
            parameters.append(f"{each.name}=_default_{each.name}")
            value = f"_make_{each.name}() if {each.name} is _default_{each.name} else {each.name}"
        elif each.default is not MISSING:
            names[f"_default_{each.name}"] = each.default
            parameters.append(f"{each.name}=_default_{each.name}")
        else:
            parameters.append(each.name)
        lines.append(f"self.{each.name} = {value}")
    source = f"def __init__({', '.join(parameters)}):\n " + "\n ".join([*lines, "self.__class__ = _own"])
    made: dict[str, Any] = {}
    exec(source, names, made)  # noqa: S102 - the source holds names of fields only, as in `dataclasses`
    init: Any = made["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = cls.__init__.__annotations__
    return init  # type: ignore[no-any-return]


class _Made:
    def __repr__(self) -> str:
        return "<factory>"


_MADE = _Made()
"""The default of a parameter whose field has a factory."""
