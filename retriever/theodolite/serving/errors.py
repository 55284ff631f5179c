"""Errors as answers: a status and a JSON body, in the form that OpenAI's clients read."""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from theodolite.errors import (
    EmbedderDriftError,
    EngineError,
    InputError,
    IntegrityError,
    LockedError,
    MissingExtraError,
    RerankError,
    TheodoliteError,
)
from theodolite.metadata import as_json
from theodolite.serving.json_response import JsonResponse

logger = logging.getLogger("theodolite.serving")

OPENAI = "/v1/"
"""Paths that begin with it follow OpenAI's shape; their errors, too."""

_DETAILS = 2000  # characters of the details of an error

_CODES = {400: None, 401: "invalid_api_key", 403: "forbidden", 404: "not_found", 503: "unavailable"}


class HttpError(Exception):
    """An error of the HTTP interface itself, such as a collection that does not exist.

    Attributes:
        status: the HTTP status.
        kind: the type in the native API, such as "NotFound".
        message, headers: of the answer.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})


def not_found(what: str) -> HttpError:
    """Return the error for something that does not exist, or that the request must not know about."""
    return HttpError(404, "NotFound", f"there is no {what}")


def unauthorized() -> HttpError:
    """Return the error for a missing or wrong token: the same for each, so that it tells nothing."""
    return HttpError(
        401,
        "Unauthorized",
        "this needs a valid token. Send it as the header: Authorization: Bearer <token>",
        {"www-authenticate": "Bearer"},
    )


def status_of(error: TheodoliteError) -> int:
    """Return the HTTP status for an error of the library: 4xx if the request is wrong, 5xx if the server is."""
    match error:
        case InputError():
            return 400
        case LockedError() | MissingExtraError() | EmbedderDriftError() | RerankError():
            return 503
        case IntegrityError() | EngineError():
            return 500
        case _:
            return 400


def error_answer(path: str, error: HttpError | TheodoliteError) -> Response:
    """Return the answer for an error, in the form of the API that the path belongs to."""
    if isinstance(error, HttpError):
        return _answer(path, error.status, error.kind, error.message, {}, error.headers)
    status = status_of(error)
    if status == 500:  # the message may name folders of the server
        message = "the collection cannot be read or written; the server's log says why"
        return _answer(path, status, type(error).__name__, message, {}, {})
    headers = {"retry-after": "1"} if status == 503 else {}
    return _answer(path, status, type(error).__name__, error.message, error.details, headers)


def unexpected_answer(path: str) -> Response:
    """Return the answer for a defect of the server."""
    return _answer(path, 500, "ServerError", "the server failed; its log says why", {}, {})


def _answer(
    path: str, status: int, kind: str, message: str, details: Mapping[str, Any], headers: Mapping[str, str]
) -> Response:
    param = details.get("param")
    if path.startswith(OPENAI):
        kind = "invalid_request_error" if status < 500 else "server_error"
        body: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": _CODES.get(status)}
    else:
        body = {"message": message, "type": kind, "param": param, "code": _CODES.get(status)}
        if details and len(repr(details)) <= _DETAILS:
            body["details"] = {name: as_json(value) for name, value in details.items() if name != "param"}
    return JsonResponse({"error": body}, status, headers=dict(headers))


def param_error(param: str, message: str) -> InputError:
    """Return the error for a parameter of a request."""
    return InputError(message, param=param)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer an error: the exception handler of the application."""
    if not isinstance(error, (HttpError, TheodoliteError)):  # it is registered for these two
        raise error
    if isinstance(error, TheodoliteError) and status_of(error) == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_answer(request.url.path, error)
