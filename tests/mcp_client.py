"""The MCP SDK's own client, for tests: over HTTP, and over the pipes of a process."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from tests.unit.shell import Shell


@asynccontextmanager
async def over_http(url: str, token: str | None, mode: Any = "auto") -> AsyncIterator[Client]:
    """Connect to `/mcp` of a server.

    Args:
        mode: the client's: "auto" for the newest protocol, "legacy" for those with a handshake.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        create_mcp_http_client(headers) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(shell: Shell, *arguments: str, mode: Any = "auto") -> AsyncIterator[Client]:
    """Start `theodolite mcp` as hosts do, and connect to it."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "theodolite", "mcp", *arguments],
        env=shell.environment,
        cwd=shell.folder,
    )
    with open(os.devnull, "w") as nowhere:
        async with Client(stdio_client(command, errlog=nowhere), mode=mode) as client:
            yield client


async def answer(client: Client, name: str, **arguments: Any) -> Any:
    """Call a tool; return its answer. The text that a model reads says the same as the data."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    (content,) = result.content
    assert content.type == "text"
    assert json.loads(content.text) == result.structured_content
    return result.structured_content


async def refusal(client: Client, name: str, **arguments: Any) -> str:
    """Call a tool that must refuse; return what it says."""
    result = await client.call_tool(name, arguments)
    assert result.is_error
    (content,) = result.content
    assert content.type == "text"
    return content.text
