"""`theodolite search` through a running server, which has the model in memory.

It imports neither numpy, typer nor rich. It knows the options that a server takes as they are. For any other, and
whenever the server does not answer, the command itself opens the collection, and says what is wrong.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.cli import hit_lines
from theodolite.cli.running_server import RunningServer, find_server

_TIMEOUT = 60.0
_CODES = {"bold": "1", "cyan": "36", "dim": "2"}
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")  # rich knows what they mean


@dataclass(slots=True)
class _Asked:
    """A search as the command line asks for it."""

    location: str
    body: dict[str, Any]
    as_json: bool


def quick_search(arguments: Sequence[str]) -> int | None:
    """Search through a running server, and print the hits.

    Args:
        arguments: those behind `search`.

    Returns:
        The exit code; None if the command must do it.
    """
    if any(name in os.environ for name in _TERMINAL):
        return None
    asked = _parse(arguments)
    if asked is None or not os.path.isdir(asked.location):
        return None
    server = find_server(asked.location)
    found = None if server is None else _ask(server, asked)
    if found is None:
        return None
    try:
        _show(found, asked.as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _parse(arguments: Sequence[str]) -> _Asked | None:
    """Return the search; None for options that a server does not take, or that are wrong."""
    given = list(arguments)
    positional: list[str] = []
    body: dict[str, Any] = {"k": 5, "highlight": True}
    as_json = False
    try:
        while given:
            name = given.pop(0)
            if name == "--":
                positional += given
                break
            if not name.startswith("-"):
                positional.append(name)
                continue
            if name in ("--json", "--explain"):
                as_json |= name == "--json"
                body["explain"] = body.get("explain", False) or name == "--explain"
                continue
            name, equals, value = name.partition("=")
            read = _OPTIONS[name]
            body[name.lstrip("-").replace("-", "_")] = read(value if equals and name != "-k" else given.pop(0))
    except (KeyError, IndexError, ValueError, RecursionError):
        return None
    if len(positional) != 2 or not all(positional):
        return None
    if not body.get("diversity"):
        body.pop("diversity", None)
    location, query = positional
    return _Asked(location, {"query": query, **body}, as_json)


def _mode(text: str) -> str:
    if text not in ("dense", "lexical", "hybrid"):
        raise ValueError(text)
    return text


_OPTIONS: dict[str, Any] = {
    "-k": int,
    "--where": json.loads,
    "--mode": _mode,
    "--as-of": str,
    "--superseded": str,
    "--min-relevance": float,
    "--diversity": float,
    "--dedupe": float,
}


def _ask(server: RunningServer, asked: _Asked) -> dict[str, Any] | None:
    """Return the server's answer; None if there is none."""
    import socket  # only where a server runs; `http.client` takes as long to import as all the rest

    host = f"[{server.host}]" if ":" in server.host else server.host
    body = json.dumps(asked.body).encode()
    head = (
        f"POST /api/v1/collections/{server.name}/search HTTP/1.1\r\nHost: {host}:{server.port}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        with socket.create_connection((server.host, server.port), timeout=_TIMEOUT) as connection:
            connection.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        status, _, rest = answer.partition(b"\r\n")
        content = rest.partition(b"\r\n\r\n")[2]
        found: dict[str, Any] | None = json.loads(content) if status.startswith(b"HTTP/1.1 200 ") else None
        return found
    except (OSError, ValueError, RecursionError):
        return None


def _show(found: dict[str, Any], as_json: bool) -> None:
    terminal = sys.stdout.isatty()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding=None if terminal else "utf-8", errors="backslashreplace")
    if as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    elif not terminal:
        sys.stdout.writelines(hit_lines.piped(found["hits"]))
    else:
        import shutil

        width = max(40, min(shutil.get_terminal_size().columns, 120)) - 6
        for line in hit_lines.at_terminal(found["hits"], width):
            print("".join(map(_styled, line)))  # noqa: T201 - the command line prints
        for text in hit_lines.closing(found):
            print(text, file=sys.stderr)  # noqa: T201


def _styled(segment: hit_lines.Segment) -> str:
    text, style = segment
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and text else text
