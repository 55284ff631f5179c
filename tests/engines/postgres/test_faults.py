"""Server faults: each raises one of our errors, and nothing is half written."""

import contextlib
import os
import random
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

import theodolite.engines.postgres
from theodolite import (
    CollectionNotFoundError,
    ConfigError,
    Document,
    EngineError,
    Freshness,
    LockedError,
    ManifestError,
    MetricMismatchError,
    Retriever,
    Valid,
)
from theodolite.engines.postgres import PostgresEngine
from theodolite.filters import In
from theodolite.settings import CollectionSettings
from theodolite.testing.postgres_server import PASSWORD, PostgresServer
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.engine


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """A new database on our own server."""
    name = f"faults_{time.monotonic_ns()}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield server.url(database=name)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def documents(count: int, text: str = "text") -> list[Document]:
    return [Document(f"{text} {number}", {"n": number}, f"d{number}") for number in range(count)]


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8))


def fill(url: str, count: int = 20) -> Retriever:
    kb = Retriever.open(url + "&collection=c", create=True)
    kb.add(documents(count), vectors=vectors(count))
    return kb


def test_a_restarted_server_is_found_again(server: PostgresServer, database: str) -> None:
    with fill(database) as kb:
        before = [hit.document.id for hit in kb.search(vector=vectors(1)[0])]
        server.restart()
        assert [hit.document.id for hit in kb.search(vector=vectors(1)[0])] == before
        server.restart()
        kb.add(documents(1, "new"), vectors=vectors(1))
        server.kill()
        server.start()
        assert kb.count() == 20
        assert kb.get("d0")[0].text == "new 0"


def test_a_stopped_server_is_an_engine_error_without_credentials(server: PostgresServer, database: str) -> None:
    with fill(database) as kb:
        server.stop()
        try:
            for call in (
                kb.count,
                lambda: kb.search(vector=vectors(1)[0]),
                lambda: kb.add(documents(1), vectors=vectors(1)),
            ):
                started = time.monotonic()
                with pytest.raises(EngineError, match="cannot be reached") as raised:
                    call()
                assert time.monotonic() - started < 15
                assert isinstance(raised.value.__cause__, psycopg.Error)
                assert PASSWORD not in f"{raised.value!r} {raised.value.details} {raised.value.__cause__!r}"
            with pytest.raises(EngineError, match="cannot be reached"):
                Retriever.open(database + "&collection=c")
        finally:
            server.start()
        assert kb.count() == 20


def test_a_connection_that_is_killed_in_an_add_leaves_all_or_nothing(database: str) -> None:
    with fill(database, 1) as kb, psycopg.connect(database, autocommit=True) as other:
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(random.uniform(0.05, 0.2)):
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'theodolite' AND datname = current_database() AND state <> 'idle'"
                )

        thread = threading.Thread(target=kill)
        thread.start()
        lost = done = 0
        try:
            deadline = time.monotonic() + 20
            while (lost < 3 or done < 2) and time.monotonic() < deadline:
                version = f"v{lost + done}"
                try:
                    kb.add(documents(400, version), vectors=vectors(400))
                    done += 1
                except EngineError:
                    lost += 1
        finally:
            stop.set()
            thread.join()
        assert lost
        texts = {document.text.partition(" ")[0] for document in kb.documents()}
        assert len(texts) == 1
        assert kb.count() in (1, 400)
        assert kb.info()["documents"] == kb.count() == len(list(kb.documents()))


def test_wrong_passwords_and_databases(server: PostgresServer, database: str) -> None:
    for url in (server.url(password="wrong"), server.url(database="nowhere"), server.url(user="nobody")):  # noqa: S106
        with pytest.raises(EngineError, match="cannot be reached") as raised:
            PostgresEngine.open(url + "&collection=c")
        assert PASSWORD not in repr(raised.value)
        assert "wrong" not in repr(raised.value)


def test_users_without_rights(server: PostgresServer, database: str) -> None:
    with (
        psycopg.connect(database, autocommit=True) as connection,
        contextlib.suppress(psycopg.errors.DuplicateObject),
    ):
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
    fill(database).close()
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    url = server.url(user="reader", password="r", database=str(name))  # noqa: S106
    with pytest.raises(EngineError, match="lacks a permission"):
        PostgresEngine.open(url + "&collection=c")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("GRANT USAGE ON SCHEMA theodolite TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA theodolite TO reader")
    with Retriever.open(url + "&collection=c", read_only=True) as kb:
        assert len(kb.search(vector=vectors(1)[0], k=5)) == 5
        with pytest.raises(EngineError, match="read-only"):
            kb.add(documents(1), vectors=vectors(1))
    with Retriever.open(url + "&collection=c") as kb, pytest.raises(EngineError, match="lacks a permission"):
        kb.add(documents(1), vectors=vectors(1))


def test_old_and_missing_extensions(database: str) -> None:
    fill(database).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
        with pytest.raises(ConfigError, match=r"pgvector 0\.7\.4 is too old"):
            PostgresEngine.open(database + "&collection=c")
        connection.execute("DROP EXTENSION vector CASCADE")
    with pytest.raises(ConfigError, match="no extension vector"):
        PostgresEngine.open(database + "&collection=c")


def test_tables_of_other_programs_and_versions(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other")
        connection.execute("CREATE TABLE other.collections (id int)")
        with pytest.raises(ManifestError, match="another program"):
            PostgresEngine.open(database + "&schema=other&collection=c")
        fill(database).close()
        connection.execute("UPDATE theodolite.schema_version SET version = 99")
        with pytest.raises(ManifestError, match="format 99"):
            PostgresEngine.open(database + "&collection=c")


def test_the_manifest_of_another_collection(database: str) -> None:
    with fill(database) as kb, psycopg.connect(database, autocommit=True) as connection:
        fill(database + "&schema=second").close()
        stored = connection.execute("SELECT manifest FROM theodolite.collections").fetchone()
        foreign = connection.execute("SELECT manifest FROM second.collections").fetchone()
        connection.execute("UPDATE theodolite.collections SET manifest = %s", foreign)
        for call in (lambda: kb.add(documents(1), vectors=vectors(1)), lambda: kb.search(vector=vectors(1)[0])):
            with pytest.raises(EngineError, match="was deleted"):
                call()
        with pytest.raises(ManifestError, match="the manifest is that of another collection"):
            PostgresEngine.open(database + "&collection=c")
        connection.execute("UPDATE theodolite.collections SET manifest = 'of another program'")
        with pytest.raises(ManifestError, match="manifest cannot be read"):
            PostgresEngine.open(database + "&collection=c")
        connection.execute("UPDATE theodolite.collections SET manifest = %s", stored)
        PostgresEngine.open(database + "&collection=c").close()


@pytest.fixture
def small_disk(server: PostgresServer) -> Iterator[str]:
    """The URL of a database on a disk of 32 MB, which is made in memory."""
    place = server.folder / "small"
    place.mkdir()
    owner = server.folder.stat()
    options = f"size=32m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place]).returncode:
        pytest.xfail("this machine does not let us make a small disk")
    name = f"small_{time.monotonic_ns()}"
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(place))))
            connection.execute(f"CREATE DATABASE {name} TABLESPACE small".encode())
            yield server.url(database=name)
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk(server: PostgresServer, small_disk: str) -> None:
    def add(number: int) -> None:
        words = [" ".join(random.randbytes(30).hex() for _ in range(50)) for _ in range(1000)]  # hardly compressible
        kb.add([Document(text, {}, f"{number} {place}") for place, text in enumerate(words)], vectors=vectors(1000))

    with fill(small_disk) as kb:
        before = [hit.document.id for hit in kb.search(vector=vectors(1)[0])]
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"the server is out of space or memory: .*No space left") as raised:
            deque(map(add, range(100)), 0)
        assert time.monotonic() - started < 60
        assert isinstance(raised.value.__cause__, psycopg.errors.DiskFull)
        assert PASSWORD not in f"{raised.value!r} {raised.value.details}"
        _check_whole(kb)
        subprocess.run(["mount", "-o", "remount,size=256m", server.folder / "small"], check=True)
        kb.delete([document.id for document in kb.documents() if " " in document.id])
        assert [hit.document.id for hit in kb.search(vector=vectors(1)[0])] == before
        add(1)
        _check_whole(kb)


def _check_whole(kb: Retriever) -> None:
    """Check that batches are stored whole, and that all counts agree."""
    count = kb.count()
    assert (count - 20) % 1000 == 0
    assert kb.info()["documents"] == count == len(list(kb.documents()))


def test_the_servers_clock_is_not_read() -> None:
    """Times come from this program: the server's clock may be wrong by years."""
    clocks = r"\b(now\(\)|(current|local)_?(date|time)|(clock|statement|transaction)_timestamp|timeofday)"
    engines = Path(theodolite.engines.postgres.__file__).parents[1]
    for path in [*engines.glob("postgres/*.py"), *engines.glob("remote/*.py"), *engines.glob("milvus/*.py")]:
        assert not re.search(clocks, path.read_text(), re.IGNORECASE), path


@pytest.mark.parametrize("years", [-10, 10])
def test_clocks_may_differ_by_years(database: str, monkeypatch: pytest.MonkeyPatch, years: int) -> None:
    """The order of commits decides, not times, and dates are compared with this program's clock or `as_of`."""
    days = {f"d{number}": f"20{20 + number}-06-01" for number in range(8)}
    boost = Freshness("day", half_life="365d", weight=0.9)
    true_time = time.time

    def found(kb: Retriever, as_of: str | float | None = None) -> list[tuple[str, float | None]]:
        hits = kb.search(vector=vectors(1)[0], k=8, boosts=boost, versions=Valid("day"), as_of=as_of)
        return [(hit.document.id, hit.score) for hit in hits]

    with Retriever.open(database + "&collection=c", embedder=None, create=True) as kb:
        kb.add([Document("first", {"day": day}, name) for name, day in days.items()], vectors=vectors(8))
        pinned, now = found(kb, "2024-01-01"), found(kb, true_time())
        assert [name for name, _ in now] != [name for name, _ in pinned]
        monkeypatch.setattr(time, "time", lambda: true_time() + years * 365.25 * 86_400)
        assert found(kb, "2024-01-01") == pinned
        with Retriever.open(database + "&collection=c", embedder=None) as other:
            other.add([Document("second", {"day": days["d0"]}, "d0")], vectors=vectors(1))
            assert found(other, "2024-01-01") == pinned
            skewed = found(other)
            assert skewed == found(kb, time.time())
            today = time.strftime("%Y-%m-%d", time.gmtime(time.time()))
            assert len(skewed) == sum(day <= today for day in days.values())
        monkeypatch.undo()
        assert kb.get("d0")[0].text == "second"
        assert kb.info()["commits"] == 2
        assert found(kb, "2024-01-01") == pinned


def test_settings_and_names_are_compared(database: str) -> None:
    with fill(database):
        with pytest.raises(MetricMismatchError):
            PostgresEngine.open(database + "&collection=c", CollectionSettings("l2"))
        with pytest.raises(CollectionNotFoundError, match="did you mean 'c'"):
            PostgresEngine.open(database + "&collection=cc", create=False)
        PostgresEngine.check(database + "&collection=new", create=True)
        with pytest.raises(CollectionNotFoundError):
            PostgresEngine.check(database + "&collection=new", create=False)
        with pytest.raises(MetricMismatchError):
            PostgresEngine.check(database + "&collection=c", CollectionSettings("l2"))


def test_another_writer_is_waited_for(database: str) -> None:
    with fill(database), psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM theodolite.collections FOR UPDATE")
        engine = PostgresEngine.open(database + "&collection=c", lock_timeout=0.2)
        with pytest.raises(LockedError, match=r"not free within 0\.2 s"):
            engine.delete(["d0"])
        assert engine.count() == 20
        other.rollback()
        assert engine.delete(["d0"]) == 1
        engine.close()


def test_a_statement_may_take_too_long(database: str) -> None:
    fill(database, 2000).close()
    engine = PostgresEngine.open(database + "&collection=c", statement_timeout=0.1)
    with pytest.raises(EngineError, match="statement_timeout"):
        engine.count(In("n", tuple(range(500_000))))
    engine.close()


def test_a_collection_that_was_deleted(database: str) -> None:
    with fill(database) as kb, psycopg.connect(database, autocommit=True) as other:
        other.execute("DELETE FROM theodolite.collections")
        with pytest.raises(EngineError, match="was deleted"):
            kb.search(vector=vectors(1)[0])
        with pytest.raises(EngineError, match="was deleted"):
            kb.add(documents(1), vectors=vectors(1))
        other.execute("DROP SCHEMA theodolite CASCADE")
        with pytest.raises(EngineError, match="are gone"):
            kb.count()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_has_connections_of_its_own(database: str) -> None:
    with fill(database) as kb:
        before = kb.count()
        child = os.fork()
        if not child:
            ok = False
            try:
                ok = kb.count() == before and len(kb.search(vector=vectors(1)[0], k=3)) == 3
                kb.close()
            finally:
                os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert kb.count() == before  # the child has not ended our sessions


def test_credentials_are_nowhere(database: str) -> None:
    with fill(database) as kb:
        hits = kb.search(vector=vectors(1)[0])
        engine = PostgresEngine.open(database + "&collection=c")
        shown = f"{kb!r} {kb.info()} {hits.trace} {engine!r} {vars(engine)} {engine._connections.location}"
        engine.close()
    assert PASSWORD not in shown


def test_vectors_are_those_of_the_batch(database: str) -> None:
    """Binary rows hold exactly the float32 values, also the smallest and the largest."""
    engine = PostgresEngine.open(database + "&collection=c", CollectionSettings("dot"))
    raw = np.array([[1e-45, 1e-38, 1.17549435e-38], [1e18, -1e-30, 0.1], [0.0, -0.0, 3.4e-20]], np.float32)
    prepared, space = prepare(raw, engine.space)
    engine.add(documents(3), prepared, space)
    for number, (_, vector) in enumerate(engine.documents()):
        assert vector.tobytes() == prepared[number].tobytes()
    engine.close()
