"""Faults of Milvus: each raises one of our errors, without credentials and within the timeout.

The server is shared by all tests, so it is reached through a relay that a test can cut and mend.
"""

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from theodolite import ConfigError, Document, EngineError, ManifestError, Retriever
from theodolite.engines.milvus import MilvusEngine
from theodolite.engines.milvus.catalog import CATALOG
from theodolite.settings import CollectionSettings

pytestmark = pytest.mark.engine

PASSWORD = "correct-horse"  # noqa: S105 - the server asks for none
TIMEOUT = 3.0
NewUrl = Callable[[], str]


class Relay:
    """Passes bytes on to a server. While it is cut, the server looks as if it were stopped."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
        self._listener = None
        while self._open:
            with contextlib.suppress(OSError):
                self._open[-1].shutdown(socket.SHUT_RDWR)
            self._open.pop().close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relayed(new_url: NewUrl) -> Iterator[tuple[Relay, str]]:
    """A relay, and the URL of a new collection behind it."""
    parts = urlsplit(new_url())
    relay = Relay(str(parts.hostname), parts.port or 19530)
    yield relay, f"milvus://anna:{PASSWORD}@127.0.0.1:{relay.port}{parts.path}"
    relay.cut()


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 8))


def fill(url: str, count: int = 20) -> Retriever:
    kb = Retriever.open(url, create=True, timeout=TIMEOUT)
    kb.add([Document(f"text {number}", {"n": number}, f"d{number}") for number in range(count)], vectors=vectors(count))
    return kb


def test_a_stopped_server_is_an_engine_error_and_found_again(relayed: tuple[Relay, str]) -> None:
    relay, url = relayed
    with fill(url) as kb:
        before = [hit.document.id for hit in kb.search(vector=vectors(1)[0], k=5)]
        relay.cut()
        for call in (
            lambda: kb.count({"n": 1}),
            lambda: kb.search(vector=vectors(1)[0]),
            lambda: kb.get("d0"),
            lambda: kb.add([Document("more", {}, "more")], vectors=vectors(1)),
        ):
            started = time.monotonic()
            with pytest.raises(EngineError) as raised:
                call()
            assert time.monotonic() - started < 10 * TIMEOUT
            assert raised.value.__cause__ is not None
            assert PASSWORD not in f"{raised.value!r} {raised.value.details} {raised.value.__cause__!r}"
        with pytest.raises(EngineError, match="Fail connecting to server") as refused:
            MilvusEngine.open(url, CollectionSettings(), timeout=TIMEOUT)
        assert PASSWORD not in repr(refused.value)
        relay.mend()
        deadline = time.monotonic() + 60
        while True:  # the client connects again when its pause is over
            try:
                found = [hit.document.id for hit in kb.search(vector=vectors(1)[0], k=5)]
                break
            except EngineError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert found == before
        assert kb.count() == 20
        assert PASSWORD not in f"{kb!r} {kb.info()}"


def test_a_server_restarted_between_two_searches_is_not_noticed(relayed: tuple[Relay, str]) -> None:
    relay, url = relayed
    with fill(url) as kb:
        before = [hit.document.id for hit in kb.search(vector=vectors(1)[0], k=5)]
        relay.cut()
        relay.mend()
        assert [hit.document.id for hit in kb.search(vector=vectors(1)[0], k=5)] == before


def test_collections_of_other_programs_are_not_touched(new_url: NewUrl) -> None:
    url = new_url()
    server, _, name = url.rpartition("/")
    client = MilvusClient(server.replace("milvus://", "http://"))
    schema = MilvusClient.create_schema(auto_id=False, description="of another program")
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    client.create_collection(name, schema=schema)
    for create in (True, False):
        with pytest.raises(ManifestError, match="was not created by theodolite"):
            MilvusEngine.open(url, CollectionSettings(), create=create)
    assert client.describe_collection(name)["description"] == "of another program"
    client.drop_collection(name)
    client.close()


def test_the_manifest_of_another_collection(new_url: NewUrl) -> None:
    url = new_url()
    fill(url).close()
    engine = MilvusEngine.open(url, CollectionSettings())
    catalog, key = engine._collection.catalog, f"manifest {engine._collection.settled_as}"
    stored = catalog.read(key)
    assert stored is not None
    version, _, body = stored.partition(" ")
    for text, error, said in (
        (f"99 {body}", ManifestError, "has format '99'"),
        (f"{version} of another program", ManifestError, "manifest"),
        (None, ManifestError, "manifest is missing"),
        (f"{version} {json.dumps({**json.loads(body), 'partition': 'tenant'})}", ConfigError, "partition"),
    ):
        catalog.write(key, text)
        with pytest.raises(error, match=said):
            MilvusEngine.open(url, CollectionSettings(partition=None if text is None else "other"))
    catalog.write(key, stored)
    engine.close()
    with Retriever.open(url, embedder=None) as kb:
        assert kb.count() == 20


def test_a_catalog_of_another_program(new_url: NewUrl) -> None:
    url = new_url()
    address = url.rpartition("/")[0].replace("milvus://", "http://")
    database = f"other_{uuid.uuid4().hex}"
    client = MilvusClient(address)
    client.create_database(database)
    other = MilvusClient(address, db_name=database)
    other.create_collection(CATALOG, dimension=4)
    with pytest.raises(ManifestError, match="theodolite_catalog was not created by theodolite"):
        MilvusEngine.open(f"{url}?database={database}", CollectionSettings())
    with pytest.raises(EngineError, match="nowhere"):
        MilvusEngine.open(f"{url}?database=nowhere", CollectionSettings(), timeout=TIMEOUT)
    other.drop_collection(CATALOG)
    other.close()
    client.drop_database(database)
    client.close()
