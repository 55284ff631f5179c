"""Requests from elsewhere, wrong tokens, slow clients and huge bodies are refused."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving import ACME, OTHER, READER, WRITER, Server, handbook, serving

from theodolite import InputError
from theodolite.serving.access import Access, Grant, read_tokens
from theodolite.serving.limits import Limits

SEARCH = "/api/v1/collections/handbook/search"
BODY = json.dumps({"query": "refunds", "k": 1})
SENT = {"Authorization": f"Bearer {READER}", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with serving(handbook(folder, write=True), handbook(folder, "other")) as running:
        yield running


def status(server: Server, headers: dict[str, str], path: str = SEARCH, body: str | bytes = BODY) -> int:
    return server.raw("POST", path, body, headers)[0]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "[::1", "10.0.0.1:8417"])
def test_other_hosts_are_refused(server: Server, host: str) -> None:
    """A page whose name was rebound to this address sends its own name."""
    assert status(server, {**SENT, "Host": host}) == 403
    assert server.raw("GET", "/health", headers={"Host": host})[0] == 403


def test_own_hosts_are_served(server: Server) -> None:
    for host in ("127.0.0.1", f"LOCALHOST:{server.port}", f"[::1]:{server.port}"):
        assert status(server, {**SENT, "Host": host}) == 200


def test_two_hosts_are_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).split()[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_origins_are_refused(server: Server, headers: dict[str, str]) -> None:
    assert status(server, {**SENT, **headers}) == 403
    assert server.raw("GET", "/health", headers=headers)[0] == 403


def test_the_own_origin_is_served_without_cors_headers(server: Server) -> None:
    headers = {**SENT, "Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    code, answered, _ = server.raw("POST", SEARCH, BODY, headers)
    assert code == 200
    assert not [name for name in answered if name.lower().startswith("access-control")]
    assert server.raw("OPTIONS", SEARCH, headers={**SENT, "Access-Control-Request-Method": "POST"})[0] == 405


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_bodies_that_a_form_could_send_are_refused(server: Server, kind: str | None) -> None:
    headers = {"Authorization": SENT["Authorization"], **({} if kind is None else {"Content-Type": kind})}
    assert status(server, headers) == 415


def test_other_charsets_are_refused(server: Server) -> None:
    assert status(server, {**SENT, "Content-Type": "application/json; charset=utf-16"}) == 415
    assert status(server, {**SENT, "Content-Type": 'application/json; charset="UTF-8"'}) == 200


def test_missing_and_wrong_tokens_get_the_same_answer(server: Server) -> None:
    answers = set()
    tokens = (
        None,
        "Bearer",
        "Bearer ",
        f"Basic {READER}",
        READER,
        f"Bearer {READER}x",
        "Bearer \xff",
        "Bearer " + "x" * 9000,
    )
    for authorization in tokens:
        headers = {"Content-Type": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        for path in (SEARCH, SEARCH.replace("handbook", "missing"), "/v1/vector_stores/handbook/search", "/nothing"):
            code, answered, body = server.raw("POST", path, BODY, headers)
            answers.add((code, answered["WWW-Authenticate"], body if path[:4] != "/v1/" else b""))
    assert len({body for _, _, body in answers if body}) == 1
    assert {(code, challenge) for code, challenge, _ in answers} == {(401, "Bearer")}


def test_every_answer_has_the_security_headers(server: Server) -> None:
    for path, token in (("/health", None), ("/nothing", READER), ("/api/v1/collections", READER), ("/x", None)):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        _, answered, _ = server.raw("GET", path, headers=headers)
        assert answered["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answered["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answered["Content-Security-Policy"]
        assert "unsafe" not in answered["Content-Security-Policy"]
        assert answered["Cache-Control"] == "no-store"
        assert answered["Server"] is None


def test_a_scope_cannot_be_left(server: Server) -> None:
    wide = [{}, {"team": "zeta"}, {"$or": [{"team": "zeta"}, {"team": "acme"}]}, {"$not": {"team": "acme"}}]
    for where in wide:
        for path, body in (
            ("search", {"query": "refunds", "k": 100, "where": where}),
            ("search", {"query": "refunds", "k": 100, "where": where, "mode": "lexical"}),
            ("search", {"query": "refunds", "k": 100, "where": where, "mode": "hybrid", "superseded": "hide"}),
            ("list", {"limit": 100, "where": where}),
        ):
            code, answer = server.post(path, body, ACME)
            assert code == 200
            found = answer["hits"] if path == "search" else answer["documents"]
            assert {each["metadata"]["team"] for each in found} <= {"acme"}
    assert server.post("count", {"where": {"team": "zeta"}}, ACME) == (200, {"count": 0})
    assert server.post("search", {"like": "d/2"}, ACME)[0] == 400
    _, fields = server.post("fields", {}, ACME)
    assert [each["value"] for each in fields["fields"]["team"]["values"]] == ["acme"]
    code, answer = server.call("GET", "/v1/vector_stores/handbook/files/d%2F2", token=ACME)
    assert code == 404
    assert server.call("GET", "/v1/vector_stores/handbook", token=OTHER)[0] == 404
    assert "handbook" not in str(server.call("GET", "/v1/vector_stores", token=OTHER)[1])


def test_a_scope_that_is_not_a_partition_cannot_be_written_to(tmp_path: Path) -> None:
    access = Access({WRITER: Grant(scope={"team": "acme"}, write=True)})
    with serving(handbook(tmp_path, write=True), access=access) as server:
        for path, body in (("add", {"documents": [{"text": "x"}]}), ("delete", {"ids": ["d/2"]})):
            assert server.post(path, body, WRITER)[0] == 400
        assert next(iter(server.collections)).kb.count() == 20


def test_paths_do_not_lead_out(server: Server) -> None:
    for name in ("..%2f..", "%2e%2e", "..%5c..", "handbook%2f..%2fother", "handbook%00", "%2fetc%2fpasswd"):
        for path in (f"/api/v1/collections/{name}", f"/v1/vector_stores/{name}", f"/v1/vector_stores/{name}/files"):
            assert server.call("GET", path)[0] == 404
    for name in ("..%2F..%2Fetc%2Fpasswd", "%00", "%FF", "%ED%A0%80", "..", "a%2F..%2Fd%2F1"):
        assert server.call("GET", f"/v1/vector_stores/handbook/files/{name}")[0] in (400, 404)


def test_large_bodies_are_refused_early(server: Server, tmp_path: Path) -> None:
    limits = Limits(body=10_000)
    with serving(handbook(tmp_path), limits=limits) as small:
        assert status(small, SENT, body=b" " * 10_001) == 413
        assert status(small, SENT, body=BODY.encode() + b" " * (10_000 - len(BODY))) == 200
        # Announced, and never sent.
        with socket.create_connection(("127.0.0.1", small.port)) as connection:
            head = f"POST {SEARCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            head += f"Authorization: Bearer {READER}\r\nContent-Length: 99999999999\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(100).split()[1] == b"413"
        # Without a length.
        chunked = http.client.HTTPConnection("127.0.0.1", small.port, timeout=10)
        chunked.request("POST", SEARCH, iter([b" " * 4000] * 4), SENT, encode_chunked=True)
        assert chunked.getresponse().status == 413
        chunked.close()


def test_slow_clients_are_cut_off(tmp_path: Path) -> None:
    limits = Limits(body_seconds=0.5)
    with serving(handbook(tmp_path), limits=limits) as server:
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {READER}\r\nContent-Length: 40\r\n"
        for sent, expected in (
            (b"", b""),
            (b"GET /hea", b""),
            (head.encode(), b""),
            (f"{head}\r\n{{".encode(), b"408"),
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(sent)
                answer = connection.recv(200)
                assert answer[9:12] == expected
        # A connection that is used again has the same limit for its next request.
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):  # the head and the body may arrive apart
                answer += connection.recv(2000)
            assert answer[9:12] == b"200"
            connection.sendall(b"GET /he")
            assert connection.recv(200) == b""
        assert server.call("GET", "/health")[0] == 200


def test_headers_that_do_not_end_are_cut_off(tmp_path: Path) -> None:
    with serving(handbook(tmp_path), limits=Limits(body_seconds=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 300_000)
            assert connection.recv(100).split()[1] == b"400"
        # Blank lines before a request are allowed, but not for ever.
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.setblocking(False)
            end = time.monotonic() + 10
            closed = False
            while not closed and time.monotonic() < end:
                try:
                    connection.send(b"\r\n")
                    closed = connection.recv(1) == b""
                except BlockingIOError:
                    time.sleep(0.1)
                except ConnectionError:
                    closed = True
            assert closed


def test_an_offer_of_another_protocol_is_ignored(server: Server) -> None:
    """Java's client offers HTTP/2 in each request. Its body is read, and the connection can be used again."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    for _ in range(2):
        connection.request("POST", SEARCH, BODY, {**SENT, **offer})
        answer = connection.getresponse()
        assert (answer.status, len(json.loads(answer.read())["hits"])) == (200, 1)
    connection.request("POST", SEARCH, json.dumps({"query": "\r\nUpgrade: h2c", "k": 1}), SENT)
    assert json.loads(connection.getresponse().read())["query"] == "\r\nUpgrade: h2c"
    connection.close()


def test_too_many_requests_are_answered_with_503(tmp_path: Path) -> None:
    with serving(handbook(tmp_path), limits=Limits(requests=3)) as server:
        held = []
        for _ in range(3):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            head = f"POST {SEARCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            head += f"Authorization: Bearer {READER}\r\nContent-Length: {len(BODY)}\r\n\r\n"
            connection.sendall(head.encode())
            held.append(connection)
        deadline = time.monotonic() + 10
        while (code := status(server, SENT)) != 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert code == 503
        for connection in held:
            connection.sendall(BODY.encode())
            assert connection.recv(100).split()[1] == b"200"
            connection.close()
        assert status(server, SENT) == 200


def test_a_request_that_takes_too_long_is_answered_with_504(tmp_path: Path) -> None:
    with serving(handbook(tmp_path), limits=Limits(seconds=0.2)) as server:
        (served,) = server.collections
        release = threading.Event()

        def slow(texts: object) -> object:
            release.wait(20)
            raise ValueError("released")

        served.kb.embedder.encode_query = slow  # type: ignore[union-attr, method-assign]  # a slow model
        try:
            code, answer = server.post("search", {"query": "something new"})
            assert (code, answer["error"]["type"]) == (504, "Timeout")
        finally:
            release.set()


def test_a_client_that_goes_away_harms_nobody(server: Server) -> None:
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {READER}\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
        connection.sendall(head.encode())
        connection.close()
    assert status(server, SENT) == 200


def test_tokens_appear_in_no_log(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    server.post("search", {"query": "refunds"}, WRITER)
    server.raw("GET", f"/nothing?token={WRITER}", headers={"Authorization": f"Bearer {WRITER}"})
    said = capfd.readouterr()
    assert WRITER not in caplog.text + said.out + said.err


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '["token"]',
        '[{"token": "too short"}]',
        '[{"token": "a token with spaces in it"}]',
        '[{"token": "0123456789abcdef", "collection": ["handbook"]}]',
        '[{"token": "0123456789abcdef", "collections": "handbook"}]',
        '[{"token": "0123456789abcdef", "collections": ["handbok"]}]',
        '[{"token": "0123456789abcdef", "write": 1}]',
        '[{"token": "0123456789abcdef", "scope": {}}]',
        '[{"token": "0123456789abcdef", "scope": {"a": {"$nope": 1}}}]',
        '[{"token": "0123456789abcdef"}, {"token": "0123456789abcdef"}]',
    ],
)
def test_a_token_file_with_a_mistake_is_refused_without_showing_tokens(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        read_tokens(path, ["handbook"])
    assert "0123456789abcdef" not in str(refused.value)


def test_a_token_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text('[{"token": "0123456789abcdef", "collections": ["a"], "scope": {"t": 1}, "write": true}]')
    access = Access(read_tokens(path, ["a", "b"]))
    grant = access.grant("bearer 0123456789abcdef")
    assert grant == Grant(frozenset({"a"}), {"t": 1}, True)
    assert access.grant("Bearer 0123456789abcdeg") is None
    assert "0123456789abcdef" not in repr(vars(access))
