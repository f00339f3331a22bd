"""What the tests of MCP servers share: real servers, and runs that use their tools without a model."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from pydantic_ai import RunContext
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.usage import RunUsage

from sojourn.config.schema import AnyServer, HTTPServer, SSEServer, StdioServer
from sojourn.engine.mcp import MCPServers
from sojourn.engine.mcp_link import Pace

ROUGH = Path(__file__).with_name("mcp_rough.py")

#: Long enough for a busy machine; no test waits for it to pass.
PATIENCE = 30_000
#: So that what is lost is soon found again.
QUICK = Pace(first=0.02, longest=0.2, grace=20.0)


class Rough:
    """A child process that can misbehave, and the notes it makes."""

    def __init__(self, folder: Path, *modes: str, name: str = "notes") -> None:
        self.path = folder / name
        self.modes = modes

    def server(
        self, *, timeout: int = PATIENCE, strict: bool = False, env: dict[str, str] | None = None
    ) -> StdioServer:
        return StdioServer.model_validate(
            {
                "type": "stdio",
                "command": sys.executable,
                "args": ["-I", "-S", str(ROUGH), str(self.path), *self.modes],
                "env": env or {},
                "timeout": timeout,
                "connectionMode": "strict" if strict else "lenient",
            }
        )

    @property
    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    @property
    def pids(self) -> list[int]:
        return [note["pid"] for note in self.notes if "pid" in note]

    def count(self, **what: Any) -> int:
        return sum(what.items() <= note.items() for note in self.notes)


class Web:
    """A server over HTTP that can be stopped and started again on its port."""

    def __init__(self, kind: Literal["http", "sse"] = "http") -> None:
        self.kind = kind
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.cancelled: list[str] = []
        self.headers: list[dict[str, str]] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{'mcp' if self.kind == 'http' else 'sse'}"

    def server(self, *, timeout: int = PATIENCE, strict: bool = False, query: str = "") -> HTTPServer | SSEServer:
        made = {
            "type": self.kind,
            "url": self.url + query,
            "headers": {"Authorization": "Bearer open-sesame"},
            "timeout": timeout,
            "connectionMode": "strict" if strict else "lenient",
        }
        return (HTTPServer if self.kind == "http" else SSEServer).model_validate(made)

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    def _tools(self) -> MCPServer[None]:
        server: MCPServer[None] = MCPServer("web")

        @server.tool()
        async def echo(words: str) -> str:
            self.calls.append(words)
            return words

        @server.tool()
        async def wait(name: str) -> str:
            self.calls.append(name)
            try:
                await self.gate(name).wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            return f"waited for {name}"

        @server.tool()
        async def grow(name: str, context: Context[Any, Any]) -> str:
            server.add_tool(lambda: name, name=name)
            await context.session.send_tool_list_changed()
            return "grown"

        return server

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = self._tools()
        inner = server.streamable_http_app() if self.kind == "http" else server.sse_app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.headers.append({key.decode(): value.decode() for key, value in scope["headers"]})
            await inner(scope, receive, send)

        listener = socket.create_server(("127.0.0.1", self.port))
        config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=0)
        running = uvicorn.Server(config)
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        try:
            yield
        finally:
            running.should_exit = True
            await serving
            listener.close()


class Used:
    """Servers that are open, as runs use them."""

    def __init__(self, servers: MCPServers) -> None:
        self.servers = servers
        self.context: RunContext[None] = RunContext(deps=None, model=TestModel(), usage=RunUsage())

    async def run(self) -> AbstractToolset[Any]:
        """The tools of a run that begins now."""
        return await self.servers.toolsets[0].for_run(self.context)

    async def names(self) -> list[str]:
        return list(await (await self.run()).get_tools(self.context))

    async def call(self, name: str, within: AbstractToolset[Any] | None = None, /, **arguments: Any) -> Any:
        run = within or await self.run()
        tools = await run.get_tools(self.context)
        return await run.call_tool(name, arguments, self.context, tools[name])


@asynccontextmanager
async def using(servers: Mapping[str, AnyServer], base: Path, pace: Pace = QUICK) -> AsyncIterator[Used]:
    opened = MCPServers(servers, base=base, pace=pace)
    async with asyncio.timeout(60):
        await opened.open()
        try:
            yield Used(opened)
        finally:
            await opened.close()


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Look until it is so; for what happens in other processes and nobody tells."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()
