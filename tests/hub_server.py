"""The Hugging Face hub on the loopback interface: repositories are folders `owner/name` of one folder."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import pytest

COMMIT = "c0ffee" * 6 + "cafe"
_LARGE = 1 << 20  # bytes, from which on a file is kept in LFS


class HubServer:
    """A running server.

    Attributes:
        url: for HF_ENDPOINT.
        requests: method and path of each request.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.requests: list[str] = []
        self._digests: dict[Path, dict[str, Any]] = {}

    def entry(self, repository: Path, name: str) -> dict[str, Any]:
        """Return what the hub says about a file."""
        path = repository / name
        if path not in self._digests:
            content = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            found: dict[str, Any] = {"size": len(content), "blob": blob}
            if len(content) >= _LARGE:
                found["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            self._digests[path] = found
        return self._digests[path]


@contextmanager
def serve(root: Path) -> Iterator[HubServer]:
    """Serve the repositories in a folder until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append(f"{self.command} {self.path}")
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            match parts:
                case ["api", "models", owner, name, *rest]:
                    self._api(root / owner / name, f"{owner}/{name}", rest)
                case [owner, name, "resolve", revision, *file]:
                    self._file(root / owner / name, "/".join(file), revision)
                case _:
                    self._fail(404, "EntryNotFound")

        do_HEAD = do_GET

        def _api(self, repository: Path, name: str, rest: list[str]) -> None:
            if not repository.is_dir():
                return self._fail(404, "RepoNotFound")
            if rest and rest[1] not in ("main", "v1", COMMIT):
                return self._fail(404, "RevisionNotFound")
            names = sorted(path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file())
            files = {each: server.entry(repository, each) for each in names}
            if rest and rest[0] == "tree":
                tree = [
                    {"type": "file", "oid": one["blob"], "size": one["size"], "path": each}
                    | ({"lfs": {"oid": one["lfs"]["sha256"], **one["lfs"]}} if "lfs" in one else {})
                    for each, one in files.items()
                ]
                return self._json(tree)
            siblings = [
                {"rfilename": each, "size": one["size"], "blobId": one["blob"]}
                | ({"lfs": one["lfs"]} if "lfs" in one else {})
                for each, one in files.items()
            ]
            return self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []})

        def _file(self, repository: Path, name: str, revision: str) -> None:
            if not (repository / name).is_file():
                self._fail(404, "EntryNotFound" if repository.is_dir() else "RepoNotFound")
                return
            found = server.entry(repository, name)
            etag = found["lfs"]["sha256"] if "lfs" in found else found["blob"]
            first, size = 0, found["size"]
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes="):
                first = int(asked.removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if first else 200)
            for key, value in {
                "ETag": f'"{etag}"',
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(size),
                "X-Repo-Commit": COMMIT,
                "Content-Length": str(size - first),
                "Accept-Ranges": "bytes",
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write((repository / name).read_bytes()[first:])

        def _json(self, content: Any) -> None:
            self._send(200, json.dumps(content).encode())

        def _fail(self, status: int, code: str) -> None:
            self._send(status, b'{"error": "not found"}', {"X-Error-Code": code, "X-Error-Message": "not found"})

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {
                **(headers or {}),
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = HubServer(root, f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def connect(monkeypatch: "pytest.MonkeyPatch", url: str, cache: Path) -> None:
    """Do what the variables HF_ENDPOINT and HF_HUB_CACHE do in a new process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # The client waits up to 23 seconds between its attempts; a server on this machine answers at once or never.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
