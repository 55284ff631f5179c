"""The command `mcp`."""

import asyncio
import json
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from theodolite import plugins
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import open_served
from theodolite.cli.options import EmbedderName, Json, OnDrift, TrustIndex, parse_location, parse_object
from theodolite.cli.output import note
from theodolite.filters import parse

if TYPE_CHECKING:  # starlette is imported when the command runs
    from theodolite.serving.collections import Served


def mcp(
    locations: Annotated[
        list[str],
        typer.Argument(metavar="KB...", parser=parse_location, help="Collections: folders or URLs, or name=folder."),
    ],
    write: Annotated[bool, typer.Option("--write", help="Also let agents add and delete documents.")] = False,
    scope: Annotated[
        str | None,
        typer.Option("--scope", metavar="JSON", help='A filter that limits every call: \'{"tenant": "acme"}\'.'),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=200, help="Length of an answer, in tokens, about.")
    ] = 8000,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Offer collections to an agent, over MCP on stdin and stdout.

    Hosts such as Claude, Cursor and VS Code start this command. The agent can search and read; with --write it can also
    add and delete documents.

    \b
    Examples:
      theodolite mcp kb
      theodolite mcp handbook=kb other
      theodolite mcp kb --scope '{"tenant": "acme"}'
    """
    where = None if scope is None else parse_object(scope, "--scope", json.loads)
    parse(where)
    with plugins.optional("mcp"):
        from theodolite.serving.mcp.server import serve_stdio, stdout_for_protocol
    from theodolite.serving.access import Grant
    from theodolite.serving.collections import Collections, closing_on_error, scoped
    from theodolite.serving.limits import Limits
    from theodolite.serving.server import without_warnings_of_requests

    grant = Grant(scope=where, write=write)
    with ExitStack() as stack:
        with stdout_for_protocol():
            served: list[Served] = []
            with closing_on_error(served):
                for location in locations:
                    served.append(open_served(location, embedder, on_drift, None, write=write, trust_index=trust_index))
                    if where is not None and not scoped(served[-1].kb, grant).count():
                        note(f"Warning: {served[-1].name} has no document within --scope", style="yellow")
                collections = Collections(served)
        stack.callback(collections.close)
        # A thread waits for stdin, and nothing else would end it. What is not acknowledged is not stored.
        signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))
        stack.enter_context(without_warnings_of_requests())
        asyncio.run(serve_stdio(collections, grant, Limits(), max_tokens=max_tokens))
