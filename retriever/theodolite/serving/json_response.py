"""JSON answers, and JSON bodies of requests."""

import json
import math
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from theodolite.errors import InputError

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_HUGE = re.compile(r"[eE]\+?\d{3}|\d{300}")  # numbers that may be infinite
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DEEPEST = 200  # levels of a body: filters and metadata have at most 64


class JsonResponse(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _encode(content).encode("utf-8", "backslashreplace")


async def json_body(request: Request, *, strict: bool = True) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises InputError if it is anything else.

    Args:
        strict: whether to refuse infinite numbers and text that is not Unicode, which Python's own JSON can hold.
    """
    body = await request.body()
    try:
        text = body.decode("utf-8")
        huge = strict and _HUGE.search(text) is not None
        value = json.loads(text, parse_constant=_refuse if strict else None, parse_float=_finite if huge else None)
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#x}") from error
    except RecursionError as error:
        raise InputError("the body is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError("the body is not a JSON object")
    # Most bodies need no look at each value, such as the numbers of a vector.
    if strict and (_SURROGATE.search(text) is not None or text.count("[") + text.count("{") > _DEEPEST):
        _check(value)
    return value


def _check(value: Any) -> None:
    """Raise InputError for a value that is nested too deeply, or has text that is not Unicode."""
    layer = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in layer:
            if isinstance(each, str):
                if not each.isascii():
                    try:
                        each.encode()
                    except UnicodeEncodeError:
                        raise InputError("the body has a lone surrogate, which is not text") from None
            elif isinstance(each, dict):
                inner += each.keys()
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return
        layer = inner
    raise InputError("the body is nested too deeply")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
