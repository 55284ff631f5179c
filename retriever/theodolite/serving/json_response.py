"""JSON answers, and JSON bodies of requests."""

import json
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from theodolite.errors import InputError

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_DEEPEST = 200  # levels of a body: filters and metadata have at most 64
_LARGE = 2**63  # orjson reads larger integers as floats


class JsonResponse(Response):
    """An answer in JSON. It has no number that is not finite: no score, vector or metadata is."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        try:
            return orjson.dumps(content)
        except TypeError:  # integers of more than 64 bits, and text that is not Unicode
            return _encode(content).encode("utf-8", "backslashreplace")


async def json_body(request: Request, *, strict: bool = True) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises InputError if it is anything else.

    Args:
        strict: whether to refuse infinite numbers and text that is not Unicode, which Python's own JSON can hold.
    """
    body = await request.body()
    try:
        value = _strict(body) if strict else json.loads(body.decode("utf-8"))
    except RecursionError as error:
        raise InputError("the body is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError("the body is not a JSON object")
    return value


def _strict(body: bytes) -> Any:
    value = orjson.loads(body)
    if body.count(b"[") + body.count(b"{") > _DEEPEST:
        _check_depth(value)
    return json.loads(body) if _has_large_number(value) else value


def _check_depth(value: Any) -> None:
    """Raise RecursionError for a value that is nested too deeply."""
    layer = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in layer:
            if isinstance(each, (dict, list)):
                inner += each.values() if isinstance(each, dict) else each
        if not inner:
            return
        layer = inner
    raise RecursionError


def _has_large_number(value: Any) -> bool:
    """Return whether a JSON value has a number that may have been an integer of more than 64 bits."""
    if isinstance(value, dict):
        return any(map(_has_large_number, value.values()))
    if isinstance(value, list):
        try:  # a vector, in one go
            return bool(value) and (max(value) >= _LARGE or min(value) <= -_LARGE)
        except TypeError:
            return any(map(_has_large_number, value))
    return isinstance(value, float) and abs(value) >= _LARGE
