"""MCP servers of the agent, over real child processes and sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastmcp.client.transports import StdioTransport
from mcp.server.mcpserver import MCPServer
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.function import AgentInfo

from sojourn.engine import servers
from sojourn.engine.agent import PydanticAIEngine
from tests.engine.core import Core, Line, Script, said

SERVER = Path(__file__).with_name("mcp_server.py")


@pytest.fixture(autouse=True)
def nothing_was_reported() -> None:
    servers._missing.clear()


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


def stdio(pids: Path) -> MCPToolset[object]:
    return MCPToolset(StdioTransport(sys.executable, [str(SERVER), str(pids)]))


def started(pids: Path) -> list[int]:
    return [int(line) for line in pids.read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_stdio_server_serves_many_runs_with_one_process_and_ends_at_close(pids: Path) -> None:
    lines: list[Line] = [[("shout", {"text": "hi"})], "first", [("empty", {})], "second"]
    engine = PydanticAIEngine(Agent(Script(*lines), toolsets=[stdio(pids)]))
    async with asyncio.timeout(60):
        await engine.open()
        core = Core(engine)
        assert said(await core.send("a")) == "first"
        assert said(await core.send("b")) == "second"
        assert [message.text for message in core.messages() if message.role == "tool"] == ["HI", "[]"]
        [pid] = started(pids)
        assert alive(pid)
        await engine.close()
    assert not alive(pid)


async def test_a_stdio_server_that_died_fails_its_call_and_is_started_again_for_the_next_run(pids: Path) -> None:
    lines: list[Line] = [[("die", {})], "It died.", [("shout", {"text": "back"})], "It is back."]
    engine = PydanticAIEngine(Agent(Script(*lines), toolsets=[stdio(pids)]))
    async with asyncio.timeout(60):
        await engine.open()
        core = Core(engine)
        assert said(await core.send("a")) == "It died."
        assert said(await core.send("b")) == "It is back."
        await engine.close()
    outcomes = [message.outcome for message in core.messages() if message.role == "tool"]
    assert outcomes[0] in ("failed", "retried")
    assert outcomes[1] == "success"
    assert len(started(pids)) == 2
    assert not any(map(alive, started(pids)))


@pytest.mark.parametrize("there", ["stdio", "http"])
async def test_a_server_that_is_not_there_costs_its_tools_and_is_reported_once(
    there: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="sojourn")
    gone: MCPToolset[object] = (
        MCPToolset(StdioTransport("/no/such/program", []))
        if there == "stdio"
        else MCPToolset("http://127.0.0.1:9/mcp?key=secret")
    )
    offered: list[list[str]] = []

    class Looking(Script):
        async def _play(self, messages: object, info: AgentInfo) -> object:  # type: ignore[override]
            offered.append([tool.name for tool in info.function_tools])
            async for piece in super()._play(messages, info):  # type: ignore[arg-type]
                yield piece

    agent = Agent(Looking("one", "two"), toolsets=[gone])

    @agent.tool_plain
    def own() -> str:
        return "x"

    engine = PydanticAIEngine(agent)
    async with asyncio.timeout(60):
        await engine.open()
        core = Core(engine)
        assert said(await core.send("a")) == "one"
        assert said(await core.send("b")) == "two"
        await engine.close()
    assert offered == [["own"], ["own"]]
    reports = [record for record in caplog.records if record.name == "sojourn.engine.servers"]
    assert len(reports) == 1
    assert "secret" not in reports[0].getMessage()


async def test_closing_twice_or_unopened_is_harmless(pids: Path) -> None:
    engine = PydanticAIEngine(Agent(Script(), toolsets=[stdio(pids)]))
    await engine.close()
    await engine.open()
    await engine.close()
    await engine.close()


class HttpServer:
    """A real MCP server over HTTP that can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server: MCPServer[None] = MCPServer("small")

        @server.tool()
        def shout(text: str) -> str:
            return text.upper()

        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(server.streamable_http_app(), log_level="error", ws="none", timeout_graceful_shutdown=1)
        running = uvicorn.Server(config)
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        try:
            yield
        finally:
            running.should_exit = True
            await serving
            listener.close()


async def test_a_server_over_http_survives_its_restart_and_may_come_late() -> None:
    http, port = HttpServer(), HttpServer()
    async with http.running():
        port.port = http.port
    lines: list[Line] = ["Not there.", [("shout", {"text": "a"})], "One.", [("shout", {"text": "b"})], "Two."]
    agent = Agent(Script(*lines), toolsets=[MCPToolset(f"http://127.0.0.1:{port.port}/mcp")])
    engine = PydanticAIEngine(agent)
    core = Core(engine)
    async with asyncio.timeout(60):
        await engine.open()
        assert said(await core.send("x")) == "Not there."
        async with http.running():
            assert said(await core.send("x")) == "One."
        async with http.running():
            assert said(await core.send("x")) == "Two."
        await engine.close()
    assert [message.text for message in core.messages() if message.role == "tool"] == ["A", "B"]


async def test_a_server_over_http_stays_connected_over_its_restart_and_may_be_let_go_by_another_task() -> None:
    http = HttpServer()
    lines: list[Line] = [[("shout", {"text": "a"})], "One.", [("shout", {"text": "b"})], "Two."]
    async with asyncio.timeout(60):
        async with http.running():
            toolset: MCPToolset[object] = MCPToolset(f"http://127.0.0.1:{http.port}/mcp")
            engine = PydanticAIEngine(Agent(Script(*lines), toolsets=[toolset]))
            await asyncio.create_task(engine.open())
            core = Core(engine)
            assert said(await core.send("x")) == "One."
            connected = [toolset.is_running]
        async with http.running():
            assert said(await core.send("x")) == "Two."
            await asyncio.create_task(engine.close())
            connected.append(toolset.is_running)
    assert connected == [True, False]
    assert [message.text for message in core.messages() if message.role == "tool"] == ["A", "B"]
