"""The error tree."""

import copy
import pickle
import re
from typing import Any

import pytest

from theodolite import errors
from theodolite.errors import MissingExtraError, Override, TheodoliteError, VectorError

TREE = {
    "TheodoliteError": ("Exception",),
    "InputError": ("TheodoliteError", "ValueError"),
    "VectorError": ("InputError",),
    "FilterError": ("InputError",),
    "DocumentError": ("InputError",),
    "ConfigError": ("TheodoliteError",),
    "MissingExtraError": ("ConfigError", "ImportError"),
    "MetricMismatchError": ("ConfigError",),
    "UnsupportedError": ("ConfigError",),
    "IntegrityError": ("TheodoliteError",),
    "ManifestError": ("IntegrityError",),
    "CollectionNotFoundError": ("ManifestError",),
    "EmbedderDriftError": ("IntegrityError",),
    "CorruptionError": ("IntegrityError",),
    "EngineError": ("TheodoliteError",),
    "LockedError": ("EngineError",),
    "RerankError": ("TheodoliteError",),
}

CLASSES: list[type[TheodoliteError]] = [getattr(errors, name) for name in TREE]


def test_tree() -> None:
    found = {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and not issubclass(value, Warning)
    }
    assert found == TREE


def test_the_drawing_shows_the_tree() -> None:
    """The module's docstring draws what there is, each under its first base."""
    assert errors.__doc__
    path: list[str] = []
    drawn = {}
    for indent, name, also in re.findall(r"^( +)(\w+Error)\b(?: \((\w+)\))?", errors.__doc__, re.MULTILINE):
        depth = len(indent) // 2 - 2
        path[depth:] = [name]
        drawn[name] = tuple(filter(None, (path[depth - 1] if depth else "Exception", also)))
    assert drawn == TREE


@pytest.mark.parametrize("kind", CLASSES)
def test_details_are_attributes(kind: type[TheodoliteError]) -> None:
    error = kind("3 of 7 went wrong", rows=[1, 2, 5], total=7)
    assert str(error) == "3 of 7 went wrong"
    assert error.details == {"rows": [1, 2, 5], "total": 7}
    assert error.rows == [1, 2, 5]
    assert error.total == 7
    assert getattr(error, "ids", None) is None
    with pytest.raises(AttributeError, match=f"'{kind.__name__}' has no attribute 'ids'"):
        _ = error.ids


@pytest.mark.parametrize("kind", CLASSES)
def test_a_message_alone_is_enough(kind: type[TheodoliteError]) -> None:
    error = kind("went wrong")
    assert str(error) == "went wrong"
    assert error.args == ("went wrong",)
    assert error.details == {}
    assert "went wrong" in repr(error)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_message_and_details(kind: type[TheodoliteError], protocol: int) -> None:
    error = kind("3 of 7 went wrong", rows=[1, 2, 5], path="a/b")
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
    _check_equal(again, error)
    assert again.rows == [1, 2, 5]


@pytest.mark.parametrize("kind", CLASSES)
def test_copying_keeps_message_and_details(kind: type[TheodoliteError]) -> None:
    error = kind("3 of 7 went wrong", rows=[1, 2, 5])
    _check_equal(copy.copy(error), error)
    _check_equal(copy.deepcopy(error), error)


def _check_equal(one: Any, other: TheodoliteError) -> None:
    assert type(one) is type(other)
    assert str(one) == str(other)
    assert one.args == other.args
    assert one.details == other.details


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", ["name", "path", "msg", "line", "errno", "filename"])
def test_any_keyword_can_be_read_back(kind: type[TheodoliteError], name: str) -> None:
    """Also those that a built-in base has an attribute for: ImportError has `name`, `path` and `msg`."""
    details: dict[str, Any] = {name: "here"}
    assert getattr(kind("went wrong", **details), name) == "here"


@pytest.mark.parametrize("kind", CLASSES)
def test_a_front_end_can_word_the_advice_itself(kind: type[TheodoliteError]) -> None:
    error = kind("It drifts.", override=Override("on_drift", "warn", "use it anyway"), rows=[1])
    assert str(error) == "It drifts. Pass EmbedderOptions(on_drift='warn') to use it anyway"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    _check_equal(again, error)
    assert (again.message, again.override) == ("It drifts.", error.override)


def test_an_error_without_details_yet_has_no_attributes() -> None:
    """As while it is unpickled: no endless recursion."""
    error = VectorError.__new__(VectorError)
    with pytest.raises(AttributeError):
        _ = error.details
    with pytest.raises(AttributeError):
        _ = error.anything


def test_built_in_bases_catch_them() -> None:
    with pytest.raises(ValueError, match="x"):
        raise VectorError("x")
    with pytest.raises(ImportError, match="x"):
        raise MissingExtraError("x")
