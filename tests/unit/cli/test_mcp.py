"""`theodolite mcp` over stdio, and `/mcp` of `theodolite serve`: real processes, and the SDK's own client."""

import json
import signal
import subprocess
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from tests.mcp_client import answer, over_http, over_stdio, refusal
from tests.unit.shell import Shell

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    made.environment["XDG_RUNTIME_DIR"] = str(runtime)
    made.fill()
    return made


async def check_tools(client: Any) -> None:
    """The same over both transports."""
    assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "read", "fields", "collections"}
    found = await answer(client, "search", query="how long do refunds take?", k=1)
    assert found["passages"][0]["id"].endswith("refunds.md")
    assert (await answer(client, "read", id=found["passages"][0]["id"]))["passages"][0]["text"].endswith("days.")
    assert "k must be a whole number" in await refusal(client, "search", query="x", k=1_000_000)
    assert "did you mean 'lang'?" in await refusal(client, "search", query="x", filter={"langu": "de"})
    assert "read-only" in await refusal(client, "delete", ids=["de"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_searches_over_stdio(shell: Shell, mode: str) -> None:
    async with over_stdio(shell, "kb", mode=mode) as client:
        await check_tools(client)


async def test_an_agent_searches_over_http(shell: Shell) -> None:
    process = shell.start("serve", "kb", "--port", "0", "--json")
    try:
        assert process.stdout is not None
        async with over_http(json.loads(process.stdout.readline())["url"], None) as client:
            await check_tools(client)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


async def test_scope_and_writes(shell: Shell) -> None:
    async with over_stdio(shell, "kb", "--scope", '{"lang": "de"}', "--write") as client:
        assert [one["id"] for one in (await answer(client, "search", query="refunds"))["passages"]] == ["de"]
        assert "There is no passage" in await refusal(client, "read", id="docs/refunds.md")
        assert await refusal(client, "delete", ids=["de"])  # a scope that is not one partition is read-only
    async with over_stdio(shell, "kb", "--write") as client:
        await answer(client, "add", documents=[{"id": "new", "text": "Gifts cannot be returned."}])
    assert "new" in shell.run("search", "kb", "gifts")[0]


def test_stdout_belongs_to_the_protocol(shell: Shell) -> None:
    """An embedder that prints does not disturb it, and garbage does not end it."""
    with (shell.plugin / "words.py").open("a") as plugin:
        plugin.write("\nimport os\nprint('loaded')\nos.write(1, b'from a library\\n')\n")
    process = shell.start("mcp", "kb", stdin=subprocess.PIPE)
    out, err = process.communicate(f"garbage\n[]\n{json.dumps(HELLO)}\n", timeout=120)
    assert [json.loads(line)["id"] for line in out.splitlines() if json.loads(line).get("id")] == [1]
    assert "loaded" in err
    assert "from a library" in err
    assert process.returncode == 0


def test_ctrl_c_ends_it(shell: Shell) -> None:
    process = shell.start("mcp", "kb", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(HELLO) + "\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.communicate()


def test_without_the_embedder_words_are_searched(shell: Shell) -> None:
    rmtree(shell.plugin)
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    call |= {"params": {"name": "search", "arguments": {"query": "refunds", "k": 1}}}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    process = shell.start("mcp", "kb", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(json.dumps(each) + "\n" for each in (HELLO, ready, call)))
    process.stdin.flush()
    answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    _, err = process.communicate(timeout=60)
    found = answers[1]["result"]["structuredContent"]
    assert found["passages"][0]["text"].endswith("Refunds take five working days.")
    assert "only lexical search works" in found["notes"][0]
    assert "without dense search" in err


def test_what_cannot_be_served_is_said(shell: Shell) -> None:
    _, err = shell.run("mcp", "nowhere", code=3)
    assert "nowhere" in err
    _, err = shell.run("mcp", "kb", "--scope", "{", code=2)
    assert "--scope" in err
    (shell.folder / "kb" / "store.sqlite").write_bytes(b"damaged")
    _, err = shell.run("mcp", "kb", code=3)
    assert err
