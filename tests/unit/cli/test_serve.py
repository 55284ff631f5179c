"""`theodolite serve`, and `theodolite search` through it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.unit.shell import Shell

from theodolite import Retriever
from theodolite.cli import quick_search, running_server

ARGUMENTS = (sys.executable, "-m", "theodolite")


@contextmanager
def running(shell: Shell, *arguments: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run the command on a free port; yield what it says, and the process. It must stop by SIGTERM, with code 0."""
    process = subprocess.Popen(
        [*ARGUMENTS, "serve", *arguments, "--port", "0", "--json"],
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        yield json.loads(line), process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    made.environment["XDG_RUNTIME_DIR"] = str(runtime)
    made.fill()
    return made


def refused(shell: Shell, *arguments: str, code: int) -> str:
    """Run the command, which must fail with this code; return what it says."""
    done = subprocess.run(
        [*ARGUMENTS, "serve", *arguments],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def port_of(said: dict[str, Any]) -> int:
    return int(said["url"].rpartition(":")[2])


def search(shell: Shell, *arguments: str) -> str:
    """Search in a process of its own, which fails if it loads a model, or anything that takes long to import."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['numpy', 'typer', 'rich', 'httpx']))\n"
        "from theodolite.cli import main\n"
        f"sys.argv = ['theodolite', 'search', *{list(arguments)!r}]\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.folder, env=shell.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_search_goes_through_a_running_server_and_prints_the_same(shell: Shell) -> None:
    variants = (
        ["kb", "refunds"],
        ["kb", "refunds", "-k", "1", "--explain"],
        ["kb", "--mode", "hybrid", "refunds", '--where={"lang": "de"}'],
        ["kb", "refunds", "--dedupe", "0.99", "--diversity", "0.3"],
    )
    alone = [shell.run("search", *each)[0] for each in variants]
    (as_json,) = [shell.json("search", "kb", "refunds", "--explain")]
    with running(shell, "kb") as (said, _):
        assert said["collections"] == ["kb"]
        assert [search(shell, *each) for each in variants] == alone
        found = json.loads(search(shell, "kb", "refunds", "--explain", "--json"))
        assert {**found, "trace": None} == {**as_json, "trace": None}
        # Another path to the same folder.
        (shell.folder / "link").symlink_to("kb")
        assert search(shell, "link", "refunds") == alone[0]
        # Documents that another process adds are found at once.
        shell.run("add", "kb", "--text", "a refund of a refund", "--id", "new")
        assert "\tnew\t" in search(shell, "kb", "refund refund")
        # What the server refuses, the command says itself.
        assert "at least 1" in shell.run("search", "kb", "refunds", "-k", "0", code=2)[1]
    assert list((shell.folder / "runtime" / "theodolite").iterdir()) == []
    assert shell.run("search", "kb", "refunds", "-k", "1")[0]


def test_a_server_that_was_killed_is_not_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", shell.environment["XDG_RUNTIME_DIR"])
    with running(shell, "kb") as (_, process):
        assert running_server.find_server(shell.folder / "kb") is not None
        process.kill()
        process.wait()
        assert running_server.find_server(shell.folder / "kb") is None
        assert shell.run("search", "kb", "refunds")[0]
        process.returncode = 0


def test_files_that_others_can_write_or_read_are_not_trusted(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", shell.environment["XDG_RUNTIME_DIR"])
    folder = shell.folder / "kb"
    with running_server.announced({"kb": folder}, "127.0.0.1", 1, "t"):
        assert (found := running_server.find_server(folder)) is not None
        assert (found.name, found.pid) == ("kb", os.getpid())
        (file,) = (tmp_path / "runtime" / "theodolite").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        for mode in (0o644, 0o620):
            file.chmod(mode)
            assert running_server.find_server(folder) is None
        file.chmod(0o600)
        text = file.read_text()
        for wrong in ({"pid": 1}, {"pid": os.getpid(), "started": "0"}, {"pid": -1}, {"pid": "x"}, {"more": 1}):
            file.write_text(json.dumps({**json.loads(text), **wrong}))
            assert running_server.find_server(folder) is None
        file.write_text("{")
        assert running_server.find_server(folder) is None
        file.write_text(text)
        file.parent.chmod(0o755)
        assert running_server.find_server(folder) is None
        file.parent.chmod(0o700)
    assert running_server.find_server(folder) is None


def test_options_that_a_server_does_not_take_are_left_to_the_command() -> None:
    parse = quick_search._parse
    assert parse(["kb", "q", "--freshness", "at:30d"]) is None
    assert parse(["kb"]) is None
    assert parse(["kb", "q", "-k"]) is None
    assert parse(["kb", "q", "--mode", "bm25"]) is None
    assert parse(["kb", "q", "--where", "{"]) is None
    assert parse(["kb", "q", "--help"]) is None
    found = parse(["kb", "-k", "3", "--", "-q"])
    assert found is not None
    assert (found.location, found.body["query"], found.body["k"]) == ("kb", "-q", 3)


def test_writing_needs_the_token_that_was_made(shell: Shell) -> None:
    with running(shell, "kb", "--write") as (said, _):
        token_file = Path(said["token_file"])
        assert token_file.stat().st_mode & 0o777 == 0o600
        token = token_file.read_text()
        for sent, expected in ((None, 401), ("wrong-token-0000001", 401), (token, 200)):
            connection = HTTPConnection("127.0.0.1", port_of(said))
            headers = {"Content-Type": "application/json"}
            if sent is not None:
                headers["Authorization"] = f"Bearer {sent}"
            body = json.dumps({"documents": [{"id": "new", "text": "a new text"}]})
            connection.request("POST", "/api/v1/collections/kb/add", body, headers)
            answer = connection.getresponse()
            assert answer.status == expected, answer.read()
            connection.close()
    assert not token_file.exists()
    with Retriever.open(shell.folder / "kb", read_only=True) as kb:
        assert [document.id for document in kb.get(["new"])] == ["new"]


def test_a_port_that_is_taken_is_named_with_its_holder(shell: Shell) -> None:
    with running(shell, "kb") as (said, process):
        err = refused(shell, "kb", "--port", str(port_of(said)), code=1)
        assert f"port {port_of(said)} of 127.0.0.1 is taken" in err
        assert "which is free" in err
        if sys.platform == "linux":
            assert f"process {process.pid}" in err


def test_what_cannot_be_served_is_refused(shell: Shell) -> None:
    assert "there is no collection" in refused(shell, "missing", "--port", "0", code=3).lower()
    assert "--token-file" in refused(shell, "kb", "--host", "0.0.0.0", code=1)  # noqa: S104
    (shell.folder / "tokens.json").write_text('[{"token": "short"}]')
    assert "16" in refused(shell, "kb", "--port", "0", "--token-file", "tokens.json", code=2)
    assert "two collections" in refused(shell, "kb", "kb", "--port", "0", code=2)
    database = next(path for path in (shell.folder / "kb").iterdir() if path.suffix in (".sqlite", ".db", ".sqlite3"))
    content = bytearray(database.read_bytes())
    content[:2000] = b"x" * 2000
    database.write_bytes(content)
    refused(shell, "kb", "--port", "0", code=3)


def test_without_its_embedder_a_collection_is_served_for_words(shell: Shell) -> None:
    (shell.plugin / "words-1.0.dist-info" / "entry_points.txt").write_text("")
    with running(shell, "kb") as (said, _):
        statuses = {}
        for mode in ("dense", "lexical"):
            connection = HTTPConnection("127.0.0.1", port_of(said))
            body = json.dumps({"query": "refunds", "mode": mode})
            connection.request("POST", "/api/v1/collections/kb/search", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            statuses[mode] = (answer.status, json.loads(answer.read()))
            connection.request("GET", "/health")
            health = connection.getresponse()
            assert health.status == 503
            assert json.loads(health.read())["collections"]["kb"]["embedder"] == "missing"
            connection.close()
        assert statuses["dense"][0] == 400
        assert "words" in statuses["dense"][1]["error"]["message"]
        assert statuses["lexical"][0] == 200


@pytest.mark.parametrize(
    "broken",
    [
        "raise RuntimeError('no such device')",
        "class Plugin:\n    def __init__(self):\n        raise OSError('no such device')",
        "class Plugin:\n    dimension = 64\n    encode_query = encode_document = lambda self, texts: 1 / 0",
    ],
    ids=["import", "make", "encode"],
)
def test_a_broken_embedder_leaves_search_by_words(shell: Shell, broken: str) -> None:
    (shell.plugin / "words.py").write_text(broken)
    with running(shell, "kb") as (said, _):
        connection = HTTPConnection("127.0.0.1", port_of(said))
        body = json.dumps({"query": "refunds", "mode": "lexical"})
        connection.request("POST", "/api/v1/collections/kb/search", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, len(json.loads(answer.read())["hits"])) == (200, 1)
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read())
        assert health["collections"]["kb"]["embedder"] == "missing"
        assert "no such device" in str(health) or "ZeroDivisionError" in str(health)
        assert "division by zero" not in str(health)  # another library's text may have paths
        connection.close()


def test_an_embedder_that_has_changed_is_refused_or_makes_health_fail(shell: Shell) -> None:
    module = shell.plugin / "words.py"
    module.write_text(module.read_text().replace("super().__init__(64)", "super().__init__(64, query_prefix='x y z ')"))
    err = refused(shell, "kb", "--port", "0", code=3)
    assert "no longer produces" in err
    assert "--on-drift warn" in err
    with running(shell, "kb", "--on-drift", "warn") as (said, _):
        connection = HTTPConnection("127.0.0.1", port_of(said))
        connection.request("GET", "/health")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (503, "failing")
        connection.close()


def test_requests_in_progress_end_before_the_server_stops(shell: Shell) -> None:
    with running(shell, "kb") as (said, process):
        connection = HTTPConnection("127.0.0.1", port_of(said))
        body = json.dumps({"query": "refunds"}).encode()
        connection.putrequest("POST", "/api/v1/collections/kb/search")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5])
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        connection.send(body[5:])
        assert connection.getresponse().status == 200
        connection.close()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load(shell: Shell) -> None:
    with running(shell, "kb", "--write") as (said, process):
        token = Path(said["token_file"]).read_text()
        acknowledged: list[str] = []

        def write(writer: int) -> None:
            connection = HTTPConnection("127.0.0.1", port_of(said), timeout=30)
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            for number in range(10_000):
                name = f"{writer}-{number}"
                body = json.dumps({"documents": [{"id": name, "text": f"the text of {name}"}]})
                try:
                    connection.request("POST", "/api/v1/collections/kb/add", body, headers)
                    if connection.getresponse().read():
                        acknowledged.append(name)
                except (OSError, HTTPException):
                    break
            connection.close()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 60
        while len(acknowledged) < 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        for writer in writers:
            writer.join()
        assert len(acknowledged) >= 40
        with Retriever.open(shell.folder / "kb", read_only=True) as kb:
            kb.verify()
            assert {document.id for document in kb.get(acknowledged)} == set(acknowledged)
        process.returncode = 0
