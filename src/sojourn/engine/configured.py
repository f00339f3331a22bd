"""The agent that an agent.yml describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset

from sojourn.config.configuration import Configuration
from sojourn.config.schema import Permissions, ToolTraits
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.choices import Choice, Models, input_limit
from sojourn.engine.guard import IDEMPOTENT
from sojourn.engine.models import build_model
from sojourn.engine.prompts import Prompt, own_pieces


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
            traits = described.sojourn.tools
            toolsets = [permitted(marked(one, traits), described.permissions) for one in self._servers.toolsets]
        self._prompt = Prompt(described.system_prompt, base=base)
        self._models = Models(described)
        model = build_model(described.llm)
        agent: Agent[None, str] = Agent(model, name=configuration.name, toolsets=toolsets)
        options = EngineOptions(
            max_requests=described.llm.max_iterations,
            model_retries=described.sojourn.model_retries,
            max_input_tokens=input_limit(described.llm, model),
        )
        super().__init__(agent, options=options)

    async def open(self) -> None:
        await self._models.open()
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
            await self._models.close()
        finally:
            if self._servers is not None:
                await self._servers.close()

    def check_model(self, llm: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._models.check(llm)

    def model(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._models.told(settings.get("llm"))

    @asynccontextmanager
    async def choose(self, settings: Mapping[str, Any]) -> AsyncGenerator[Choice]:
        instructions = self._prompt.of(own_pieces(settings))
        if (llm := settings.get("llm")) is None:
            yield replace(self.choice, instructions=instructions)
            return
        async with self._models.use(llm) as used:
            yield Choice(used.llm.max_iterations, used.limit, used.model, instructions)


def permitted(toolset: AbstractToolset[Any], permissions: Permissions) -> AbstractToolset[Any]:
    """The toolset whose tools need a person's approval as the permissions say."""
    if permissions.mode == "auto-approve":
        return toolset
    allowed = frozenset(permissions.tool_policies.always_allow)

    # In the definition and not when a call is run: what waits for a person is known before anything runs.
    def mark(_ctx: RunContext[Any], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return [tool if is_allowed(tool.name, allowed) else replace(tool, kind="unapproved") for tool in tools]

    return toolset.prepared(mark)


def marked(toolset: AbstractToolset[Any], traits: Mapping[str, ToolTraits]) -> AbstractToolset[Any]:
    """The toolset whose tools are marked as idempotent that the agent.yml calls so."""
    if not any(one.idempotent for one in traits.values()):
        return toolset

    def mark(_ctx: RunContext[Any], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return [
            replace(tool, metadata={**(tool.metadata or {}), IDEMPOTENT: True})
            if is_idempotent(tool.name, traits)
            else tool
            for tool in tools
        ]

    return toolset.prepared(mark)


def is_idempotent(tool: str, traits: Mapping[str, ToolTraits]) -> bool:
    """Whether the tool is called idempotent; its whole name counts more than one without the server's."""
    if tool in traits:
        return traits[tool].idempotent
    return is_allowed(tool, frozenset(name for name, one in traits.items() if one.idempotent))


def is_allowed(tool: str, allowed: frozenset[str]) -> bool:
    """Whether the list names the tool: as the model sees it, or an MCP server's without the server's name."""
    return tool in allowed or any(
        name.startswith("mcp--") and tool.startswith("mcp--") and tool.endswith(name.removeprefix("mcp"))
        for name in allowed
    )
