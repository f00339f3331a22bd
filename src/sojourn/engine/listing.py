"""An agent's tools as people see them, outside any run."""

from __future__ import annotations

import logging
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RunUsage

from sojourn.abc import ToolSeen
from sojourn.engine.servers import is_mcp

_log = logging.getLogger(__name__)


async def tools_of(agent: Agent[Any, Any]) -> list[ToolSeen]:
    """Those of all toolsets; one that cannot be listed without a run, or has no server now, has none."""
    if not isinstance(agent.model, Model):
        return []
    context = RunContext[Any](deps=None, model=agent.model, usage=RunUsage(), agent=agent)
    found: dict[str, ToolSeen] = {}
    for toolset in agent.toolsets:
        try:
            tools = await toolset.get_tools(context)
        except Exception as error:  # noqa: BLE001 - a toolset of a user's own may need what only a run has
            _log.info("the tools of %s cannot be listed: %s", toolset.label, type(error).__name__)
            continue
        for name, tool in tools.items():
            server = tool.toolset.id if is_mcp(tool.toolset) else None
            found[name] = _seen(tool.tool_def, server)
    return list(found.values())


def _seen(tool: ToolDefinition, server: str | None) -> ToolSeen:
    if tool.name.startswith("mcp--"):
        server = tool.name.split("--")[1]
    return ToolSeen(tool.name, tool.description, tool.parameters_json_schema, server)
