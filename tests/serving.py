"""A server in a thread, for tests: real sockets, real clients."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from theodolite import Document, Retriever
from theodolite.serving.access import Access, Grant
from theodolite.serving.app import Extension, make_app
from theodolite.serving.collections import Collections, Served
from theodolite.serving.limits import Limits
from theodolite.serving.server import listening_socket, make_server, without_warnings_of_requests
from theodolite.testing import HashingEmbedder

READER, WRITER, ACME, OTHER = ("reader-token-00001", "writer-token-00001", "acme-token-0000001", "other-token-000001")

GRANTS = {
    READER: Grant(),
    WRITER: Grant(write=True),
    ACME: Grant(frozenset({"handbook"}), {"team": "acme"}),
    OTHER: Grant(frozenset({"other"})),
}

DOCUMENTS = [
    Document(
        f"Passage {i}: refunds take {i} working days.", {"number": i, "team": "acme" if i % 2 else "zeta"}, f"d/{i}"
    )
    for i in range(20)
]


class Server:
    """A running server.

    Attributes:
        port: where it listens.
        collections: what it serves; more may be added.
    """

    def __init__(self, port: int, collections: Collections) -> None:
        self.port = port
        self.collections = collections
        self.url = f"http://127.0.0.1:{port}"

    def raw(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, token: str | None = READER) -> tuple[int, Any]:
        """Send JSON; return the status and the JSON answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        status, _, answer = self.raw(method, path, None if body is None else json.dumps(body), headers)
        return status, json.loads(answer)

    def post(self, path: str, body: Any, token: str | None = READER, collection: str = "handbook") -> tuple[int, Any]:
        """Call an endpoint of a collection."""
        return self.call("POST", f"/api/v1/collections/{collection}/{path}", body, token)


@contextmanager
def serving(
    *served: Served,
    access: Access | None = None,
    limits: Limits | None = None,
    extend: Callable[[Collections], Extension] | None = None,
) -> Iterator[Server]:
    """Serve collections on a free port until the end of the block."""
    collections = Collections(served)
    limits = limits or Limits()
    extensions = [] if extend is None else [extend(collections)]
    app = make_app(collections, access or Access(GRANTS), limits=limits, extensions=extensions)
    socket = listening_socket("127.0.0.1", 0)
    server = make_server(app, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        with without_warnings_of_requests():
            yield Server(socket.getsockname()[1], collections)
    finally:
        server.should_exit = True
        thread.join(30)
        socket.close()
        collections.close()


def handbook(folder: Path, name: str = "handbook", **served: Any) -> Served:
    """Return a small collection to serve."""
    kb = Retriever.open(folder / name, embedder=HashingEmbedder())
    kb.add(DOCUMENTS)
    return Served(name, kb, **served)
