"""The agent's tools as people see them, outside any run."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, ToolsetTool

from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.demo import demo_agent


class Broken(FunctionToolset[Any]):
    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        raise RuntimeError("only in a run")


async def test_tools_are_listed_with_their_schemas() -> None:
    tools = await PydanticAIEngine(demo_agent()).tools()
    assert [tool.name for tool in tools] == ["roll_dice", "clock", "add"]
    assert (tools[0].description, tools[0].server) == ("Roll one die.", None)
    assert tools[2].parameters["required"] == ["a", "b"]


async def test_a_toolset_that_cannot_be_listed_hides_no_other() -> None:
    def here() -> str:
        """Here."""
        return ""

    toolsets: list[AbstractToolset[Any]] = [Broken(), FunctionToolset([here])]
    agent = Agent(TestModel(), toolsets=toolsets)
    assert [tool.name for tool in await PydanticAIEngine(agent).tools()] == ["here"]


async def test_an_agent_without_a_model_of_its_own_lists_none() -> None:
    assert await PydanticAIEngine(Agent()).tools() == []
