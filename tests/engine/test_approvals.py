"""This version cannot ask a person, so it says so: to whoever builds the agent where it can, else to the model."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, CallDeferred
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset, FunctionToolset

from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.guard import NEEDS_APPROVAL, NEEDS_OTHERS
from sojourn.errors import AgentUnsupported
from tests.engine.core import Core, Script, said


def delete_everything() -> str:
    raise AssertionError("this must not run")


def test_a_tool_that_is_declared_to_need_approval_is_refused_by_name() -> None:
    agent = Agent(Script())
    agent.tool_plain(requires_approval=True)(delete_everything)
    with pytest.raises(AgentUnsupported, match=r"'delete_everything'.*remove requires_approval"):
        PydanticAIEngine(agent)


def test_such_a_tool_is_found_inside_toolsets() -> None:
    toolset: FunctionToolset[Any] = FunctionToolset()
    toolset.add_function(delete_everything, requires_approval=True)
    with pytest.raises(AgentUnsupported, match="'delete_everything'"):
        PydanticAIEngine(Agent(Script(), toolsets=[toolset.prefixed("x")]))


async def test_such_a_tool_that_was_added_later_is_refused_when_the_engine_opens() -> None:
    agent = Agent(Script())
    engine = PydanticAIEngine(agent)
    agent.tool_plain(requires_approval=True)(delete_everything)
    with pytest.raises(AgentUnsupported, match="'delete_everything'"):
        await engine.open()


@pytest.mark.parametrize("output", [[str, DeferredToolRequests], str | DeferredToolRequests])
def test_deferred_requests_as_an_output_are_refused(output: Any) -> None:
    with pytest.raises(AgentUnsupported, match="remove it from output_type"):
        PydanticAIEngine(Agent(Script(), output_type=output))


async def test_a_call_that_turns_out_to_need_approval_is_answered_and_not_run() -> None:
    toolset: FunctionToolset[Any] = FunctionToolset([delete_everything])
    agent = Agent(Script([("delete_everything", {})], "I cannot."), toolsets=[toolset.approval_required()])
    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "I cannot."
    assert core.messages()[1].text == NEEDS_APPROVAL
    assert core.messages()[1].outcome == "denied"


async def test_a_tool_that_asks_for_approval_itself_is_answered_beside_one_that_runs() -> None:
    agent = Agent(Script([("risky", {}), ("free", {})], "One of two."))

    @agent.tool_plain
    def risky() -> str:
        raise ApprovalRequired

    @agent.tool_plain
    def free() -> str:
        return "ran"

    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "One of two."
    results = {message.tool_name: message.text for message in core.messages() if message.role == "tool"}
    assert results == {"risky": NEEDS_APPROVAL, "free": "ran"}


async def test_a_call_that_is_done_elsewhere_is_answered_as_failed() -> None:
    external: ExternalToolset[Any] = ExternalToolset([ToolDefinition(name="elsewhere")])
    agent = Agent(Script([("elsewhere", {}), ("later", {})], "No."), toolsets=[external])

    @agent.tool_plain
    def later() -> str:
        raise CallDeferred

    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "No."
    results = [message for message in core.messages() if message.role == "tool"]
    assert [message.outcome for message in results] == ["failed", "failed"]
    assert all(NEEDS_OTHERS in message.text for message in results)


async def test_an_agent_that_decides_by_itself_is_left_to_it() -> None:
    def approve(_: Any, requests: DeferredToolRequests) -> DeferredToolResults:
        return DeferredToolResults(approvals={call.tool_call_id: True for call in requests.approvals})

    toolset: FunctionToolset[Any] = FunctionToolset()

    @toolset.tool_plain
    def act() -> str:
        return "ran"

    agent = Agent(
        Script([("act", {})], "Done."),
        toolsets=[toolset.approval_required()],
        capabilities=[HandleDeferredToolCalls(approve)],
    )
    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "Done."
    assert core.messages()[1].text == "ran"
