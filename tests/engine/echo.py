"""An agent for tests that need a real one: it repeats what is said, thinks and calls its tools where told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, DeltaToolCalls, FunctionModel


async def _answers(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
    """Calls the tool that is named, thinks where told to, and repeats what was said."""
    last = messages[-1]
    assert isinstance(last, ModelRequest)
    part = last.parts[-1]
    if isinstance(part, ToolReturnPart):
        yield f"it says: {part.content}"
        return
    assert isinstance(part, UserPromptPart)
    said = part.content if isinstance(part.content, str) else str(part.content[0])
    if said.startswith("call "):
        calls: DeltaToolCalls = {1: DeltaToolCall(name=said.split()[1], json_args='{"to": "ann"}')}
        yield "let me see"
        yield calls
        return
    if said.startswith("think"):
        yield {0: DeltaThinkingPart(content="hm, hm")}
    yield "you said: "
    yield said


def echo_agent() -> Agent[None, str]:
    """Has a tool, and one that asks first."""
    agent = Agent(FunctionModel(stream_function=_answers, model_name="echo"), name="echo")

    @agent.tool_plain
    def look(to: str) -> str:
        """Look something up."""
        return f"{to} is 7"

    @agent.tool_plain(requires_approval=True)
    def send_mail(to: str) -> str:
        """Send a mail."""
        return f"sent to {to}"

    return agent
