"""The agent's tools."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from sojourn.server import wire
from sojourn.server.routes.common import may_fail
from sojourn.server.service import Serving

router = APIRouter(prefix="/api", tags=["tools"])


@router.get("/tools", response_model=wire.ToolList, response_model_exclude_unset=True, responses=may_fail())
async def list_tools(service: Serving) -> wire.ToolList:
    """The tools that the agent has now; an MCP server's are there while the server is."""
    found = []
    for tool in await service.runtime.tools():
        more: dict[str, Any] = {"server_name": tool.server} if tool.server else {}
        found.append(
            wire.ToolInfo(
                id=tool.name, name=tool.name, description=tool.description or "",
                source="mcp" if tool.server else "local", input_schema=dict(tool.parameters), **more,
            )
        )  # fmt: skip
    found.sort(key=lambda one: (one.source, one.name))
    local = sum(one.source == "local" for one in found)
    return wire.ToolList(tools=found, total_count=len(found), local_count=local, mcp_count=len(found) - local)
