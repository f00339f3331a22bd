"""The MCP servers of an agent.yml: their connections, shared by all runs, and their tools.

Importing this takes its time, so it is done only for a configuration that has servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mcp_types as types
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from sojourn.config.schema import AnyServer, SSEServer, StdioServer
from sojourn.engine.mcp_child import Watch, child
from sojourn.engine.mcp_http import credentials, http, sse, without_credentials
from sojourn.engine.mcp_link import NOT_SENT, Link, Opener, Pace
from sojourn.engine.mcp_names import server_prefixes, tool_names
from sojourn.engine.mcp_results import failure_of, value_of
from sojourn.engine.mcp_sending import Redactor, keep_quiet
from sojourn.errors import MCPServerUnavailable

#: Seconds for all servers together to say goodbye, and for what is left to be ended.
CLOSE_TIMEOUT = 10.0
#: One a second.
_CANCELS = 5
#: How pydantic-ai tells our tools from others.
TOOLSET = "mcp"

#: The servers check arguments against their schemas.
_ARGUMENTS = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))

#: What a run may call: the link and the tool's own name, by the name that the model sees.
Targets = dict[str, tuple[Link, str]]


class MCPServers:
    """The servers that are enabled; `toolsets` may be given to an agent at once, and have tools while this is open.

    Servers that are lost are looked for in the background. Everything happens in the event loop that opened this.
    """

    def __init__(self, servers: Mapping[str, AnyServer], *, base: Path, pace: Pace | None = None) -> None:
        self._servers = {name: server for name, server in servers.items() if server.enabled}
        self._base, self._pace = base, pace or Pace()
        self._watch = Watch()
        self._links: dict[str, Link] = {}
        self._toolset = ServersToolset(server_prefixes(servers))
        self.toolsets: Sequence[AbstractToolset[Any]] = [self._toolset]

    async def open(self) -> None:
        """Connect to all servers at once; raises MCPServerUnavailable for a strict one, and then leaves nothing open.

        Lenient servers are waited for a short time, so that the first run has their tools.
        """
        keep_quiet()
        if any(isinstance(server, StdioServer) for server in self._servers.values()):
            self._watch.open()
        try:
            self._links = {name: self._link(name, server) for name, server in self._servers.items()}
            self._toolset.links = self._links
            await self._wait_for({link.start(): name for name, link in self._links.items()})
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect from all servers and end the processes; harmless when it was done, or never opened."""
        links, self._links, self._toolset.links = self._links, {}, {}
        tasks = [task for link in links.values() if (task := link.close()) is not None]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        finally:
            await _end(tasks)
            self._watch.close()

    async def _wait_for(self, verdicts: dict[asyncio.Future[None], str]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.grace
        while verdicts:
            strict = any(self._is_strict(name) for name in verdicts.values())
            left = None if strict else max(0.0, deadline - loop.time())
            done, _ = await asyncio.wait(verdicts, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return
            for name in [verdicts.pop(verdict) for verdict in done]:
                if self._is_strict(name) and not self._links[name].up:
                    raise MCPServerUnavailable(name, _tried(self._servers[name]), self._links[name].failure)

    def _is_strict(self, name: str) -> bool:
        return self._servers[name].connection_mode == "strict"

    def _link(self, name: str, server: AnyServer) -> Link:
        redact = Redactor(_secrets(server))
        opener = self._opener(name, server, redact)
        return Link(name, opener, timeout=server.timeout / 1000, pace=self._pace, redact=redact)

    def _opener(self, name: str, server: AnyServer, redact: Redactor) -> Opener:
        if isinstance(server, StdioServer):
            start = partial(child, server, base=self._base, watch=self._watch, name=name, redact=redact)
            return lambda lost, _: start(lost=lost)
        timeout = server.timeout / 1000
        if isinstance(server, SSEServer):
            return lambda lost, _: sse(server, timeout=timeout, lost=lost)
        return lambda lost, suspect: http(server, timeout=timeout, lost=lost, suspect=suspect)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are done: one cancel may be lost in what they are just closing."""
    for _ in range(_CANCELS):
        left = [task for task in tasks if not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1.0)


def _tried(server: AnyServer) -> str:
    """What was tried, without what may be secret: a command's arguments are left out."""
    return f"command {server.command!r}" if isinstance(server, StdioServer) else without_credentials(server.url)


def _secrets(server: AnyServer) -> list[str]:
    if isinstance(server, StdioServer):
        return list(server.env.values())
    values = list(server.headers.values())
    # `Bearer KEY` and the key alone.
    return [*values, *(value.rpartition(" ")[2] for value in values), *credentials(server.url)]


class ServersToolset(AbstractToolset[Any]):
    """The tools of all servers; every run gets those that are there when it begins."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.links: Mapping[str, Link] = {}
        self._prefixes = prefixes
        self._view = RunToolset({}, {})
        self._seen: object = ()
        #: The named tools of each server, and of which version of its list.
        self._named: dict[str, tuple[Link, int, dict[str, ToolDefinition], Targets]] = {}

    @property
    def id(self) -> str:
        return TOOLSET

    async def for_run(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        for link in self.links.values():
            await link.settled()
        return self._now()

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        return await self._now().get_tools(ctx)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        return await self._now().call_tool(name, tool_args, ctx, tool)

    def _now(self) -> RunToolset:
        """What there is now; the same object as long as nothing changed."""
        seen = [(link, link.version) for link in self.links.values()]
        if seen != self._seen:
            definitions: dict[str, ToolDefinition] = {}
            targets: Targets = {}
            for link in self.links.values():
                _, _, own, own_targets = self._tools_of(link)
                definitions |= own
                targets |= own_targets
            self._seen, self._view = seen, RunToolset(definitions, targets)
        return self._view

    def _tools_of(self, link: Link) -> tuple[Link, int, dict[str, ToolDefinition], Targets]:
        kept = self._named.get(link.name)
        if kept is None or kept[:2] != (link, link.version):
            tools = {tool.name: tool for tool in reversed(link.tools)}  # of a name that is there twice, the first
            names = tool_names(self._prefixes[link.name], (tool.name for tool in link.tools))
            definitions = {shown: _definition(shown, link.name, tools[own]) for shown, own in names.items()}
            targets = {shown: (link, own) for shown, own in names.items()}
            kept = self._named[link.name] = (link, link.version, definitions, targets)
        return kept


class RunToolset(AbstractToolset[Any]):
    """The tools as they were at one moment; shared by all runs that began before they changed."""

    def __init__(self, definitions: Mapping[str, ToolDefinition], targets: Targets) -> None:
        self._definitions, self._targets = definitions, targets
        #: By the number of retries that a run allows.
        self._tools: dict[int, dict[str, ToolsetTool[Any]]] = {}

    @property
    def id(self) -> str:
        return TOOLSET

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        tools = self._tools.get(ctx.max_retries)
        if tools is None:
            tools = self._tools[ctx.max_retries] = {
                name: ToolsetTool(
                    toolset=self, tool_def=definition, max_retries=ctx.max_retries, args_validator=_ARGUMENTS
                )
                for name, definition in self._definitions.items()
            }
        return tools

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        if name not in self._targets:
            raise ToolFailed(f"the tool is no longer there; {NOT_SENT}")
        link, own = self._targets[name]
        result = await link.call(own, tool_args)
        if result.is_error:
            raise ToolFailed(failure_of(result))
        return value_of(result)


def _definition(name: str, server: str, tool: types.Tool) -> ToolDefinition:
    return ToolDefinition(
        name=name,
        description=tool.description,
        parameters_json_schema={"properties": {}} | tool.input_schema,
        metadata={
            "server": server,
            "tool": tool.name,
            "annotations": tool.annotations.model_dump(by_alias=True) if tool.annotations else None,
            "meta": tool.meta,
        },
        return_schema=tool.output_schema or None,
        toolset_id=TOOLSET,
    )
