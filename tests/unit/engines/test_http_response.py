"""The client reads heads of answers itself where they are usual; it must read what the standard library reads."""

import random
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from io import BufferedReader, BytesIO
from typing import Any

import pytest

from theodolite.engines.http.connection import _Response

LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK"),
    *(b"HTTP/1.1 204 No", b"HTTP/1.1 304 N", b"HTTP/1.1 100 Continue", b"HTTP/2 200 OK", b"HTTP/1.1 999 x", b"x"),
]
HEADERS = [
    *(b"Content-Length: 5", b"content-length:5", b"Content-Length: 05", b"content-length: 5 ", b"content-length: x"),
    *(b"content-length: -1", b"content-length: 3", b"content-length: 5, 5", b"x-content-length: 3"),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"connection: keep-alive", b" folded", b"x: y", b"x:"),
]
BODIES = [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"hel", b"hello again", b""]


class Socket:
    """A connection on which an answer has arrived."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: Any) -> BufferedReader:
        return BufferedReader(BytesIO(self._answer))


def read(make: Callable[..., HTTPResponse], answer: bytes) -> Any:
    """Return what is read of an answer, or the name of the error."""
    response = make(Socket(answer), method="POST")
    try:
        response.begin()
        return response.status, response.read(), response.will_close, response.chunked
    except (HTTPException, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_read_as_by_the_standard_library(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(2000):
        head = [draw.choice(LINES), *draw.sample(HEADERS, draw.randint(0, 4))]
        answer = b"\r\n".join(head) + b"\r\n\r\n" + draw.choice(BODIES)
        assert read(_Response, answer) == read(HTTPResponse, answer), answer
