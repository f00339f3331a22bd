"""The agent that an agent.yml describes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset

from sojourn.config.configuration import Configuration
from sojourn.config.schema import Permissions
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.models import build_model
from sojourn.engine.prompts import system_prompt


class ConfiguredEngine(PydanticAIEngine):
    """Runs a configured agent; raises InvalidInput for a missing key, AgentUnsupported for a missing extra."""

    def __init__(self, configuration: Configuration) -> None:
        described, base = configuration.agent, configuration.path.parent
        servers = {name: server for name, server in described.mcp_servers.items() if server.enabled}
        self._servers = None
        toolsets: list[AbstractToolset[Any]] = []
        if servers:
            from sojourn.engine.mcp import MCPServers  # noqa: PLC0415 - a second of imports

            self._servers = MCPServers(servers, base=base)
            toolsets = [permitted(toolset, described.permissions) for toolset in self._servers.toolsets]
        agent: Agent[None, str] = Agent(
            build_model(described.llm),
            name=configuration.name,
            instructions=system_prompt(described.system_prompt, base=base),
            toolsets=toolsets,
        )
        options = EngineOptions(
            max_requests=described.llm.max_iterations,
            model_retries=described.sojourn.model_retries,
            max_input_tokens=described.llm.max_input_tokens,
        )
        super().__init__(agent, options=options)

    async def open(self) -> None:
        if self._servers is not None:
            await self._servers.open()
        try:
            await super().open()
        except BaseException:
            if self._servers is not None:
                await self._servers.close()
            raise

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self._servers is not None:
                await self._servers.close()


def permitted(toolset: AbstractToolset[Any], permissions: Permissions) -> AbstractToolset[Any]:
    """The toolset whose tools need a person's approval as the permissions say."""
    if permissions.mode == "auto-approve":
        return toolset
    allowed = frozenset(permissions.tool_policies.always_allow)

    # In the definition and not when a call is run: what waits for a person is known before anything runs.
    def mark(_ctx: RunContext[Any], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return [tool if is_allowed(tool.name, allowed) else replace(tool, kind="unapproved") for tool in tools]

    return toolset.prepared(mark)


def is_allowed(tool: str, allowed: frozenset[str]) -> bool:
    """Whether the list names the tool: as the model sees it, or an MCP server's without the server's name."""
    return tool in allowed or any(
        name.startswith("mcp--") and tool.startswith("mcp--") and tool.endswith(name.removeprefix("mcp"))
        for name in allowed
    )
