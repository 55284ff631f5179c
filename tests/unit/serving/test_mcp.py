"""`/mcp` of the server, with the SDK's own client over real sockets."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from tests.adapters.hostile import ARGUMENTS, FILTERS, two_tenants
from tests.ids import stable
from tests.mcp_client import answer, over_http, refusal
from tests.serving import ACME, DOCUMENTS, OTHER, READER, WRITER, Server, handbook, serving

from theodolite.serving.access import Access, Grant
from theodolite.serving.collections import Served
from theodolite.serving.limits import Limits
from theodolite.serving.mcp.endpoint import extension

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

LIMITS = Limits(body=1_000_000)
HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
LISTING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})


def mcp(collections: Any) -> Any:
    return extension(collections, LIMITS, HOSTS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    served = handbook(folder, write=True), handbook(folder, "other")
    with serving(*served, limits=LIMITS, extend=mcp) as running:
        yield running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_finds_and_reads(server: Server, mode: str) -> None:
    async with over_http(server.url, OTHER, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "read", "fields", "collections"}
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools.values())
        found = await answer(client, "search", query="refunds take 7 working days", k=2)
        assert found["passages"][0]["id"] == "d/7"
        read = await answer(client, "read", id="d/7")
        assert read["passages"][0]["text"] == DOCUMENTS[7].text
        assert (await answer(client, "fields"))["fields"]["team"]["count"] == 20
        listed = (await answer(client, "collections"))["collections"]
        assert [(one["name"], one["documents"]) for one in listed] == [("other", 20)]


async def test_errors_are_those_of_tools(server: Server) -> None:
    async with over_http(server.url, ACME) as client:
        assert "k must be a whole number from 1 to 20" in await refusal(client, "search", query="x", k=1_000_000)
        assert "did you mean 'number'?" in await refusal(client, "search", query="x", filter={"numbr": 1})
        assert "NotFound: there is no collection 'other'" in await refusal(
            client, "search", query="x", collection="other"
        )
        assert "Forbidden: this token may not write" in await refusal(client, "delete", ids=["d/1"])
        with pytest.raises(MCPError, match=r"there is no tool 'serch'\. Did you mean 'search'\?"):
            await client.call_tool("serch", {})


async def test_a_token_that_may_write_writes(server: Server) -> None:
    async with over_http(server.url, WRITER) as client:
        assert {"add", "delete"} <= {tool.name for tool in (await client.list_tools()).tools}
        document = {"id": "mcp", "text": "Vouchers never expire."}
        assert (await answer(client, "add", collection="handbook", documents=[document]))["ids"] == ["mcp"]
        assert (await answer(client, "delete", collection="handbook", ids=["mcp"])) == {"deleted": 1}
        assert "read-only" in await refusal(client, "add", collection="other", documents=[document])


async def test_a_failing_collection_names_no_folders(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = handbook(tmp_path_factory.mktemp("broken"), "broken")
    server.collections.add(broken)
    broken.kb.close()
    async with over_http(server.url, READER) as client:
        tools = (await client.list_tools()).tools  # of the others
        assert len(tools) == 4
        said = await refusal(client, "search", query="x", collection="broken")
        assert said == "EngineError: the collection cannot be read or written; the log says why"
        listed = (await answer(client, "collections"))["collections"]
        assert next(one for one in listed if one["name"] == "broken")["problem"]


def test_the_checks_of_the_server_come_first(server: Server) -> None:
    sound = {**HEADERS, "Authorization": f"Bearer {READER}"}
    port = server.port
    for headers, status in [
        (sound, 200),
        (HEADERS, 401),
        ({**HEADERS, "Authorization": "Bearer wrong-token-000001"}, 401),
        ({**sound, "Host": "evil.example"}, 403),
        ({**sound, "Host": f"localhost:{port}"}, 200),
        ({**sound, "Host": "localhost"}, 200),
        ({**sound, "Origin": "https://evil.example"}, 403),
        ({**sound, "Origin": f"http://127.0.0.1:{port}"}, 200),
        ({**sound, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**sound, "Content-Type": "text/plain"}, 415),
    ]:
        got, _, body = server.raw("POST", "/mcp", LISTING, headers)
        assert got == status, (headers, body)
    assert server.raw("GET", "/mcp", None, sound)[0] == 405
    assert server.raw("DELETE", "/mcp", None, sound)[0] == 405
    # The length alone is enough: a refused body may not be read to its end.
    assert server.raw("POST", "/mcp", b"", {**sound, "Content-Length": "1000001"})[0] == 413


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "null", b"\xff", '"x"', LISTING.replace("tools/list", "tools/\\ud800"), "[" * 100_000),
        *(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
            for params in (None, {}, {"name": 7}, {"name": "search", "arguments": []})
        ),
    ],
    ids=stable,
)
@pytest.mark.parametrize("version", [None, "2025-06-18", "2026-07-28", "1999-01-01", "x"])
def test_a_bad_message_is_an_error_of_the_client(server: Server, body: Any, version: str | None) -> None:
    headers = {**HEADERS, "Authorization": f"Bearer {READER}"}
    if version is not None:
        headers["MCP-Protocol-Version"] = version
    status, _, said = server.raw("POST", "/mcp", body, headers)
    assert 400 <= status < 500 or (status == 200 and "error" in json.loads(said)), said


def test_a_message_with_half_a_character_is_answered(server: Server) -> None:
    """JSON can say what UTF-8 cannot; an error that quotes it must still be sent."""
    for arguments in ({"query": "\ud800"}, {"query": "x", "\ud800": 1}, {"query": "x", "collection": "\ud800"}):
        params = {"name": "search", "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {**HEADERS, "Authorization": f"Bearer {OTHER}", "MCP-Protocol-Version": "2025-06-18"}
        status, _, said = server.raw("POST", "/mcp", body, headers)
        assert status < 500, said
        assert (
            "is_error" in str(json.loads(said)) or "error" in json.loads(said) or json.loads(said)["result"]["isError"]
        )


def test_the_sdk_is_imported_by_the_first_request() -> None:
    """It takes a second or more, which every start of a server would pay."""
    code = "import sys, theodolite.serving.mcp.endpoint as e; assert e.is_installed() and 'mcp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_an_sdk_that_cannot_be_imported_is_an_error_of_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "theodolite.serving.mcp.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server.stdio", None)
    with serving(handbook(tmp_path), limits=LIMITS, extend=mcp) as running:
        for _ in range(2):
            status, _, said = running.raw("POST", "/mcp", LISTING, {**HEADERS, "Authorization": f"Bearer {READER}"})
            assert status == 500
            assert json.loads(said)["error"]["message"] == "the server failed; its log says why"
        assert running.post("search", {"query": "refunds", "k": 1})[0] == 200  # the rest is served


async def test_no_hostile_call_leads_out_of_the_scope() -> None:
    """The hostile calls of search tools, as far as JSON can say them; the others are tried on the tools themselves."""
    with two_tenants() as kb:
        access = Access({ACME: Grant(scope={"tenant": "acme"}), READER: Grant()})
        with serving(Served("kb", kb), access=access, limits=LIMITS, extend=mcp) as running:
            calls = 0
            async with over_http(running.url, ACME) as client:
                for sent in [*({"filter": one, "k": 20} for one in FILTERS), *ARGUMENTS]:
                    arguments = {"query": "the secret of bolt", **sent}
                    try:
                        if len(json.dumps(arguments, allow_nan=False).encode()) > LIMITS.body // 2:
                            continue
                        json.dumps(arguments, ensure_ascii=False).encode()
                    except ValueError:  # not JSON, or not UTF-8
                        continue
                    result = await client.call_tool("search", arguments)
                    said = str(result.content)
                    assert "secret of bolt, number" not in said
                    assert "bolt-" not in said
                    calls += 1
                assert len((await answer(client, "search", query="secret", k=20))["passages"]) == 5
            assert calls > 150
            async with over_http(running.url, READER) as client:  # the check could fail
                assert "bolt-" in str(
                    (await client.call_tool("search", {"query": "the secret of bolt", "k": 20})).content
                )
