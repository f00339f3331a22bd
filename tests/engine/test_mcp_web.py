"""The MCP servers of an agent.yml that are reached over HTTP, both kinds."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from pydantic_ai.exceptions import ToolFailed

from sojourn.config.schema import HTTPServer, SSEServer
from sojourn.engine.mcp import MCPServers
from sojourn.engine.mcp_link import NOT_SENT, REFUSED, Pace
from sojourn.errors import MCPServerUnavailable
from tests.engine.mcp_core import QUICK, Used, Web, until, using

# A server of the `mcp` library that is cut off in the middle leaves streams of its own open.
CUT_OFF = "Unclosed <MemoryObject"
pytestmark = pytest.mark.filterwarnings(f"ignore:{CUT_OFF}:ResourceWarning")


@pytest.fixture(autouse=True, scope="module")
def servers_are_collected() -> Iterator[None]:
    """Collect what servers left before another test is blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", CUT_OFF, ResourceWarning)
        gc.collect()


@pytest.fixture(params=["http", "sse"])
def web(request: pytest.FixtureRequest) -> Web:
    return Web(request.param)


async def test_tools_are_called_over_http_with_the_configured_headers(web: Web, tmp_path: Path) -> None:
    async with web.running(), using({"web": web.server()}, tmp_path) as used:
        assert await used.names() == ["mcp--web--echo", "mcp--web--wait", "mcp--web--grow"]
        assert await used.call("mcp--web--echo", words="hi") == "hi"
        assert await asyncio.gather(*(used.call("mcp--web--echo", words=str(i)) for i in range(20))) == [
            str(i) for i in range(20)
        ]
    assert {headers["authorization"] for headers in web.headers} == {"Bearer open-sesame"}


async def _opened(web: Web, base: Path) -> Used:
    servers = MCPServers({"web": web.server()}, base=base, pace=QUICK)
    await servers.open()
    return Used(servers)


async def test_a_server_that_was_started_anew_is_noticed_and_works_again(web: Web, tmp_path: Path) -> None:
    async with web.running():
        used = await _opened(web, tmp_path)
        assert await used.call("mcp--web--echo", words="a") == "a"
        link = used.servers._links["web"]
    async with web.running():
        await until(lambda: link.version > 2 and link.up)
        assert await used.call("mcp--web--echo", words="b") == "b"
        await used.servers.close()
    assert web.calls == ["a", "b"]


async def test_a_call_to_a_server_that_was_started_anew_a_moment_ago_is_carried_out_once_or_refused(
    tmp_path: Path,
) -> None:
    web = Web("http")
    async with web.running():
        used = await _opened(web, tmp_path)
        run = await used.run()
    async with web.running():
        try:
            assert await used.call("mcp--web--echo", run, words="b") == "b"
            carried_out = ["b"]
        except ToolFailed as failure:
            carried_out = [] if REFUSED in failure.message else ["?"]
        assert web.calls == carried_out
        await used.servers.close()


async def test_a_server_that_comes_late_is_found(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sojourn.mcp")
    async with using({"web": web.server()}, tmp_path) as used:
        assert await used.names() == []
        async with web.running():
            await until(lambda: used.servers._links["web"].up)
            assert await used.call("mcp--web--echo", words="late") == "late"
            await used.servers.close()
    assert [message.split(",")[0] for message in caplog.messages] == [
        "MCP server web is missing",
        "MCP server web is back",
    ]


async def test_a_changed_list_of_tools_is_seen(web: Web, tmp_path: Path) -> None:
    async with web.running(), using({"web": web.server()}, tmp_path) as used:
        link = used.servers._links["web"]
        await used.call("mcp--web--grow", name="extra")
        await until(lambda: link.version == 2)
        assert "mcp--web--extra" in await used.names()


async def test_a_call_to_a_server_that_has_ended_is_not_sent(web: Web, tmp_path: Path) -> None:
    async with web.running():
        used = await _opened(web, tmp_path)
        run = await used.run()
    if web.kind == "sse":
        # A connection that ends while a call is about to use it leaves open whether it got through.
        await until(lambda: not used.servers._links["web"].up)
    try:
        with pytest.raises(ToolFailed, match=NOT_SENT):
            await used.call("mcp--web--echo", run, words="nobody")
    finally:
        await used.servers.close()


async def test_calls_that_run_when_the_server_ends_fail_with_an_unknown_outcome(web: Web, tmp_path: Path) -> None:
    async with web.running():
        used = await _opened(web, tmp_path)
        call = asyncio.create_task(used.call("mcp--web--wait", name="never"))
        await until(lambda: web.calls == ["never"])
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ToolFailed, match="the outcome is unknown"):
                await call
    finally:
        await used.servers.close()
    assert web.calls == ["never"]


async def test_a_call_that_takes_too_long_is_cancelled_and_the_connection_stays(web: Web, tmp_path: Path) -> None:
    async with web.running(), using({"web": web.server(timeout=1500)}, tmp_path) as used:
        link = used.servers._links["web"]
        with pytest.raises(ToolFailed, match=r"no answer within 1\.5 s; the outcome is unknown"):
            await used.call("mcp--web--wait", name="slow")
        await until(lambda: web.cancelled == ["slow"])
        assert await used.call("mcp--web--echo", words="still") == "still"
        assert link.version == 1


async def test_a_cancelled_call_is_cancelled_at_the_server_and_harms_nobody_else(web: Web, tmp_path: Path) -> None:
    async with web.running(), using({"web": web.server()}, tmp_path) as used:
        mine, other = (asyncio.create_task(used.call("mcp--web--wait", name=name)) for name in ("mine", "other"))
        await until(lambda: {*web.calls} == {"mine", "other"})
        mine.cancel()
        await until(lambda: web.cancelled == ["mine"])
        web.gate("other").set()
        assert await other == "waited for other"


async def test_more_calls_wait_at_once_than_a_pool_of_connections_has(tmp_path: Path) -> None:
    web = Web("http")
    async with web.running(), using({"web": web.server()}, tmp_path) as used:
        run = await used.run()
        slow = [asyncio.create_task(used.call("mcp--web--wait", run, name="gate")) for _ in range(120)]
        await until(lambda: len(web.calls) == 120)
        assert await used.call("mcp--web--echo", run, words="quick") == "quick"
        web.gate("gate").set()
        assert len(await asyncio.gather(*slow)) == 120


async def test_nothing_secret_is_logged_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    web = Web("sse")
    query = "?key=secret-key"
    async with web.running(), using({"web": web.server(query=query)}, tmp_path) as used:
        await used.call("mcp--web--echo", words="x")
    async with using({"web": web.server(query=query)}, tmp_path) as used:
        assert await used.names() == []
    with pytest.raises(MCPServerUnavailable) as caught:
        await MCPServers({"web": web.server(query=query, strict=True)}, base=tmp_path).open()
    ours = [record for record in caplog.records if not record.name.startswith(("sse_starlette", "mcp.server"))]
    for text in (str(caught.value), *(record.getMessage() for record in ours), *capfd.readouterr()):
        assert "secret-key" not in text
        assert "open-sesame" not in text
    assert f"http://127.0.0.1:{web.port}/sse cannot be used" in str(caught.value)


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server that gives one answer to everything, or none."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def strict(kind: Literal["http", "sse"], port: int, timeout: int = 30_000) -> HTTPServer | SSEServer:
    made = {"type": kind, "url": f"http://127.0.0.1:{port}/", "timeout": timeout, "connectionMode": "strict"}
    return (HTTPServer if kind == "http" else SSEServer).model_validate(made)


@pytest.mark.parametrize("kind", ["http", "sse"])
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "HTTP status 401"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/html\r\n\r\nhi", ""),
        (None, "no answer within 0.3 s"),
    ],
)
async def test_a_strict_server_that_answers_wrongly_or_not_at_all_fails_the_opening(
    kind: Literal["http", "sse"], answer: bytes | None, why: str, tmp_path: Path
) -> None:
    async with answering(answer) as port:
        server = strict(kind, port, 300 if answer is None else 30_000)
        async with asyncio.timeout(20):
            with pytest.raises(MCPServerUnavailable, match=rf"http://127.0.0.1:{port}/ cannot be used: .*{why}"):
                await MCPServers({"web": server}, base=tmp_path).open()


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_strict_server_that_nobody_runs_fails_the_opening(kind: Literal["http", "sse"], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MCPServerUnavailable, match=r"cannot be used: .*connect"):
        await MCPServers({"web": strict(kind, port)}, base=tmp_path, pace=Pace()).open()
