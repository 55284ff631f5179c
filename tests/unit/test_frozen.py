"""`frozen`: values behave like those of a frozen dataclass."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from theodolite.frozen import frozen


@frozen()
class Value:
    name: str
    parts: list[int] = field(default_factory=list)
    size: int = 1


@dataclass(frozen=True, slots=True)
class Usual:
    name: str
    parts: list[int] = field(default_factory=list)
    size: int = 1


@frozen(eq=False, repr=False)
class Plain:
    name: str


def test_it_is_a_dataclass_of_its_own_class() -> None:
    value = Value("a", [1])
    assert type(value) is Value
    assert is_dataclass(value)
    assert [each.name for each in fields(Value)] == ["name", "parts", "size"]
    assert repr(value) == "Value(name='a', parts=[1], size=1)"
    assert value == Value("a", [1], 1) != Value("b", [1], 1)
    assert Plain("a") != Plain("a")


def test_nothing_can_be_assigned_added_or_deleted() -> None:
    value = Value("a")
    with pytest.raises(FrozenInstanceError):
        value.name = "b"  # type: ignore[misc]  # refused at run time, too
    with pytest.raises(FrozenInstanceError):
        del value.name
    for name in ("other", "__class__"):
        with pytest.raises((FrozenInstanceError, TypeError)):  # Python 3.11 raises TypeError for names without a slot
            setattr(value, name, "b")
    assert not hasattr(value, "__dict__")


def test_each_value_gets_a_new_default_from_a_factory() -> None:
    first, second = Value("a"), Value("a")
    assert first.parts == second.parts == []
    assert first.parts is not second.parts


@pytest.mark.parametrize("arguments", [((), {}), (("a", [], 1, 2), {}), (("a",), {"name": "b"}), (("a",), {"x": 1})])
def test_calls_that_do_not_fit_are_refused_as_by_a_dataclass(arguments: tuple[Any, Any]) -> None:
    messages = []
    for kind in (Value, Usual):
        with pytest.raises(TypeError) as caught:
            kind(*arguments[0], **arguments[1])
        messages.append(str(caught.value).replace(kind.__qualname__, "Kind"))
    assert messages[0] == messages[1]
    assert str(inspect.signature(Value)) == str(inspect.signature(Usual))


def test_copies_pickles_and_replaced_values_are_equal_and_frozen() -> None:
    value = Value("a", [1, 2], 3)
    for other in (copy.copy(value), copy.deepcopy(value), _pickled(value), replace(value, size=3)):
        assert type(other) is Value
        assert other == value
        with pytest.raises(FrozenInstanceError):
            other.size = 4  # type: ignore[misc]  # refused at run time, too


def _pickled(value: Value) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
