"""The command `serve`."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from theodolite import plugins
from theodolite.cli import output
from theodolite.cli.opening import open_served
from theodolite.cli.options import EmbedderName, Json, OnDrift, TrustIndex, parse_location
from theodolite.cli.running_server import announced, private_file
from theodolite.errors import ConfigError, InputError

if TYPE_CHECKING:  # starlette is imported when the command runs
    from theodolite.serving.access import Access
    from theodolite.serving.app import Extension
    from theodolite.serving.collections import Collections, Served
    from theodolite.serving.limits import Limits

PORT = 8417

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_TRIES = 50  # ports to look at for a free one


def serve(
    locations: Annotated[
        list[str],
        typer.Argument(metavar="KB...", parser=parse_location, help="Collections: folders or URLs, or name=folder."),
    ],
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")] = PORT,
    write: Annotated[
        bool, typer.Option("--write", help="Also add, update and delete documents, with a token.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Tokens, and what each may do; see docs/serving.md."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="A further name that requests may be for; repeatable."),
    ] = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    rerank: Annotated[
        str | None, typer.Option("--rerank", metavar="NAME", help="A reranker that searches may ask for.")
    ] = None,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Serve collections over HTTP.

    Read-only unless --write is given. Only this machine can connect, unless --host names another address; then a
    token file is needed. Ctrl-C stops it.

    \b
    Examples:
      theodolite serve kb
      theodolite serve handbook=kb other --port 9000
      theodolite serve kb --write
      theodolite serve kb --host 0.0.0.0 --token-file tokens.json --allowed-host kb.example.com
    """
    if host not in _LOOPBACK and token_file is None:
        raise ConfigError(f"--host {host} lets other machines connect: pass --token-file, or leave --host out")
    with plugins.optional("serve"):
        from theodolite.serving.access import new_token
        from theodolite.serving.app import make_app
        from theodolite.serving.collections import Collections, closing_on_error
        from theodolite.serving.limits import Limits
        from theodolite.serving.server import make_server, without_warnings_of_requests
    with ExitStack() as stack:
        listener = stack.enter_context(listening(host, port))
        port = listener.getsockname()[1]
        served: list[Served] = []
        with closing_on_error(served):
            for location in locations:
                one = open_served(location, embedder, on_drift, rerank, write=write, trust_index=trust_index)
                served.append(one)
            collections = Collections(served)
        stack.callback(collections.close)
        local, writer = new_token(), new_token() if write and token_file is None else None
        access = _access(collections, token_file, local, writer)
        token_path = None if writer is None else stack.enter_context(private_file(f"write-token-{port}", writer))
        limits, hosts = Limits(), _hosts(host, allowed_host or ())
        extensions = _extensions(collections, limits, hosts)
        app = make_app(collections, access, hosts=hosts, limits=limits, extensions=extensions)
        folders = {each.name: each.kb.location for each in collections if each.kb.location is not None}
        stack.enter_context(announced(folders, _to_connect(host), port, local))
        _say_what_is_served(collections, host, port, writer, token_path, as_json=json_)
        stack.enter_context(without_warnings_of_requests())
        make_server(app, limits).run(sockets=[listener])


def _access(collections: "Collections", token_file: Path | None, local: str, writer: str | None) -> "Access":
    """Return the tokens: those of the file, the command line's own, and one that may write if there is no file."""
    from theodolite.serving.access import Access, Grant, read_tokens

    names = [each.name for each in collections]
    tokens = {} if token_file is None else read_tokens(token_file, names)
    if token_file is not None and os.name == "posix" and token_file.stat().st_mode & 0o077:
        output.note(f"Warning: other users can read {token_file}. Run: chmod 600 {token_file}", style="yellow")
    tokens[local] = Grant()
    if writer is not None:
        tokens[writer] = Grant(write=True)
    return Access(tokens, anonymous=Grant(anonymous=True) if token_file is None else None)


def _hosts(host: str, allowed: Sequence[str]) -> list[str]:
    """Return the names that requests may be for."""
    own = [] if host in _ANYWHERE else [f"[{host}]" if ":" in host else host]
    loopback = ["127.0.0.1", "localhost", "[::1]"] if host in (*_LOOPBACK, *_ANYWHERE) else []
    return [*own, *loopback, *allowed]


def _extensions(collections: "Collections", limits: "Limits", hosts: Sequence[str]) -> "list[Extension]":
    """Return what the server offers beside its own API: the explorer, and MCP if its extra is installed."""
    from theodolite.serving.explorer.routes import explorer
    from theodolite.serving.mcp import endpoint

    pages = explorer(collections, limits)
    return [pages, endpoint.extension(collections, limits, hosts)] if endpoint.is_installed() else [pages]


def _to_connect(host: str) -> str:
    """Return the address at which this machine reaches the server."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _say_what_is_served(
    collections: "Collections", host: str, port: int, writer: str | None, token_path: Path | None, *, as_json: bool
) -> None:
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{port}"
    if as_json:
        names = [each.name for each in collections]
        token = None if token_path is None else str(token_path)
        output.say_json({"url": url, "collections": names, "token_file": token})
        sys.stdout.flush()
        return
    for each in collections:
        count = each.kb.count()
        output.note(f"{url}/api/v1/collections/{each.name}  {count:,} {'document' if count == 1 else 'documents'}")
    if writer is not None:
        # Not into a log: a file, or a terminal.
        shown = f" {writer}" if output.errors.is_terminal else ""
        output.note(f"Writing needs the token{shown} in {token_path}")
    output.note("Ctrl-C stops the server.")


@contextmanager
def listening(host: str, port: int) -> Iterator[socket]:
    """Listen on an address. Raises ConfigError if that is not possible."""
    from theodolite.serving.server import listening_socket

    try:
        listener = listening_socket(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise InputError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from error
        why = f"is taken{_holder(port)}" if error.errno == errno.EADDRINUSE else "needs more rights"
        free = _free_port(host, port)
        advice = f"Pass --port {free}, which is free" if free else "Pass another --port"
        raise ConfigError(f"port {port} of {host} {why}. {advice}", port=port, free=free) from error
    try:
        yield listener
    finally:
        listener.close()


def _free_port(host: str, port: int) -> int | None:
    from theodolite.serving.server import listening_socket

    first = max(port, 1023) + 1
    for candidate in range(first, min(first + _TRIES, 65536)):
        try:
            listening_socket(host, candidate).close()
        except OSError:
            continue
        return candidate
    return None


def _holder(port: int) -> str:
    """Say which process of this user listens on a port, where the system tells; else nothing."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # it listens
                sockets.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        try:
            if os.readlink(link) in sockets:
                process = link.parts[2]
                return f" by process {process} ({Path('/proc', process, 'comm').read_text().strip()})"
        except OSError:  # another user's, or it has ended
            continue
    return ""
