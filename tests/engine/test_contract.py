"""What we rely on in pydantic-ai: each case fails when a release changes it, and says what would break here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_ai import Agent, CallToolsNode, ModelRequestNode, ModelRetry, RunContext, UsageLimits
from pydantic_ai.capabilities import AbstractCapability, ReinjectSystemPrompt
from pydantic_ai.exceptions import ModelHTTPError, ToolFailed, UnexpectedModelBehavior, UserError
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import (
    FunctionToolResultEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    OutputToolResultEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    repair_messages,
)
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, WrapperToolset
from pydantic_graph import End

from tests.engine.core import Script, last_parts, plain, returns


def asked(text: str = "Hi") -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(content=text)])


def called(*ids: str) -> ModelResponse:
    return ModelResponse(parts=[ToolCallPart("act", {}, call_id) for call_id in ids])


def answered(*ids: str) -> ModelRequest:
    return ModelRequest(parts=[ToolReturnPart("act", call_id, call_id) for call_id in ids])


def agent_of(*lines: Any, **options: Any) -> tuple[Agent[object, Any], Script, list[str]]:
    """An agent with a tool `act`, its model, and a list that says when the tool ran."""
    model, ran = Script(*lines), list[str]()
    agent: Agent[object, Any] = Agent(model, **options)

    @agent.tool_plain
    def act() -> str:
        ran.append("act")
        return "done"

    return agent, model, ran


async def run_streamed(agent: Agent[object, Any], history: list[ModelMessage], **options: Any) -> Any:
    """Drive a run as we do."""
    async with agent.iter(message_history=history, **options) as run:
        node: Any = run.next_node
        while not isinstance(node, End):
            if isinstance(node, ModelRequestNode | CallToolsNode):
                async with node.stream(run.ctx) as events:
                    async for _ in events:
                        pass
            node = await run.next(node)
        return run


async def test_the_graph_stands_still_between_the_response_and_its_tools() -> None:
    agent, _, ran = agent_of([("act", {})], "ok")
    async with agent.iter(message_history=[asked()]) as run:
        node: Any = await run.next(run.next_node)  # type: ignore[arg-type]
        async with node.stream(run.ctx) as events:
            async for _ in events:
                pass
        node = await run.next(node)
        assert isinstance(node, CallToolsNode)
        for _ in range(20):
            await asyncio.sleep(0)
        assert ran == []
        await run.next(node)
        assert ran == ["act"]


async def test_the_response_in_the_next_node_is_the_one_in_the_history_and_can_be_changed() -> None:
    agent, model, _ = agent_of([("act", {}, "old")], "ok")
    async with agent.iter(message_history=[asked()]) as run:
        node: Any = run.next_node
        while not isinstance(node, End):
            node = await run.next(node)
            if isinstance(node, CallToolsNode) and node.model_response.tool_calls:
                response = node.model_response
                assert run.ctx.state.message_history[-1] is response
                response.parts = [replace(response.tool_calls[0], tool_call_id="new")]
    assert [part.tool_call_id for part in returns(model.sent[1])] == ["new"]


async def test_a_run_without_a_prompt_answers_the_request_at_the_end() -> None:
    agent, model, _ = agent_of("ok")
    await run_streamed(agent, [asked("a"), ModelResponse(parts=[TextPart("b")]), asked("c")])
    assert [content for *_, content in plain(model.sent[0])] == ["a", "b", "c"]


async def test_requests_that_follow_each_other_are_merged_with_results_first() -> None:
    agent, model, _ = agent_of("ok")
    await run_streamed(agent, [asked("a"), called("c1"), asked("b"), answered("c1")])
    assert [part.part_kind for part in last_parts(model.sent[0])] == ["tool-return", "user-prompt"]
    assert len(model.sent[0]) == 3


async def test_a_history_is_not_changed_by_the_run_that_was_given_it() -> None:
    agent, _, _ = agent_of([("act", {})], "ok", instructions="Be brief.")
    history: list[ModelMessage] = [asked("a"), ModelResponse(parts=[TextPart("b")]), asked("c")]
    before = ModelMessagesTypeAdapter.dump_json(history)
    await run_streamed(agent, history)
    assert ModelMessagesTypeAdapter.dump_json(history) == before


async def test_a_response_that_uses_a_call_id_twice_is_refused() -> None:
    agent, _, ran = agent_of([("act", {}, "same"), ("act", {}, "same")], "ok")
    with pytest.raises(UnexpectedModelBehavior, match="unique"):
        await run_streamed(agent, [asked()])
    assert ran == []


def test_a_call_id_that_later_responses_repeat_is_left_alone_while_every_call_has_its_result() -> None:
    history: list[ModelMessage] = [asked(), called("x"), answered("x"), called("x"), answered("x"), asked("b")]
    assert plain(repair_messages(history)) == plain(history)


async def test_a_history_that_ends_in_calls_is_run_again_without_a_word() -> None:
    agent, _, ran = agent_of("ok")
    await run_streamed(agent, [asked(), called("c1")])
    assert ran == ["act"]


async def test_a_prompt_cannot_be_said_to_open_calls() -> None:
    agent, _, _ = agent_of("ok")
    with pytest.raises(UserError, match="unprocessed tool calls"):
        await agent.run("b", message_history=[asked(), called("c1")])


async def test_the_first_piece_of_text_comes_with_the_start_of_its_part() -> None:
    agent, _, _ = agent_of("one two")
    async with agent.iter(message_history=[asked()]) as run:
        node: Any = await run.next(run.next_node)  # type: ignore[arg-type]
        async with node.stream(run.ctx) as events:
            parts = [event.part async for event in events if isinstance(event, PartStartEvent)]
    assert [part.content for part in parts if isinstance(part, TextPart)] == ["one "]


async def test_each_result_has_an_event_as_it_lands_and_the_request_has_them_in_order() -> None:
    agent, model, _ = agent_of([("slow", {}, "s"), ("fast", {}, "f")], "ok")
    landed = asyncio.Event()

    @agent.tool_plain
    async def slow() -> str:
        await landed.wait()
        return "slow"

    @agent.tool_plain
    def fast() -> str:
        return "fast"

    order: list[str] = []
    async with asyncio.timeout(10), agent.iter(message_history=[asked()]) as run:
        node: Any = run.next_node
        while not isinstance(node, End):
            if isinstance(node, CallToolsNode):
                async with node.stream(run.ctx) as events:
                    async for event in events:
                        if isinstance(event, FunctionToolResultEvent):
                            order.append(event.part.tool_call_id)
                            landed.set()
            node = await run.next(node)
    assert order == ["f", "s"]
    assert [part.tool_call_id for part in returns(model.sent[1])] == ["s", "f"]


async def test_an_output_tools_result_may_change_after_its_event() -> None:
    agent, model, _ = agent_of(
        [("retry", {}), ("final_result", {"response": 7})], [("final_result", {"response": 8})], output_type=int
    )

    @agent.tool_plain
    def retry() -> str:
        raise ModelRetry("again")

    contents: list[Any] = []
    async with agent.iter(message_history=[asked()]) as run:
        node: Any = run.next_node
        while not isinstance(node, End):
            if isinstance(node, CallToolsNode):
                async with node.stream(run.ctx) as events:
                    contents += [
                        event.part.content async for event in events if isinstance(event, OutputToolResultEvent)
                    ]
            node = await run.next(node)
    assert contents[0] != returns(model.sent[1])[1].content


async def test_a_tool_that_raises_ends_the_run_unless_a_hook_says_otherwise() -> None:
    class Hook(AbstractCapability[Any]):
        async def on_tool_execute_error(self, ctx: Any, **given: Any) -> Any:
            raise ToolFailed(str(given["error"]))

    agent, model, _ = agent_of([("broken", {})], [("broken", {})], "ok")

    @agent.tool_plain
    def broken() -> str:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        await run_streamed(agent, [asked()])
    await run_streamed(agent, [asked()], capabilities=[Hook()])
    assert [part.outcome for part in returns(model.sent[-1])] == ["failed"]


async def test_a_deferred_call_without_a_handler_ends_the_run() -> None:
    agent: Agent[object, Any] = Agent(Script([("act", {})]), toolsets=[FunctionToolset([_act]).approval_required()])
    with pytest.raises(UserError, match="DeferredToolRequests"):
        await run_streamed(agent, [asked()])


def _act() -> str:
    raise AssertionError


_act.__name__ = "act"


async def test_every_handler_is_asked_for_what_is_still_open() -> None:
    seen: list[int] = []

    class Hook(AbstractCapability[Any]):
        async def handle_deferred_tool_calls(self, ctx: Any, *, requests: DeferredToolRequests) -> Any:
            seen.append(len(requests.approvals))
            return requests.build_results(approve_all=True) if len(seen) == 2 else None

    toolset: FunctionToolset[object] = FunctionToolset()

    @toolset.tool_plain
    def act() -> str:
        return "ran"

    model = Script([("act", {})], "ok")
    agent: Agent[object, Any] = Agent(model, toolsets=[toolset.approval_required()], capabilities=[Hook()])
    await run_streamed(agent, [asked()], capabilities=[Hook()])
    assert seen == [1, 1]
    assert [part.content for part in returns(model.sent[1])] == ["ran"]


def test_the_default_limit_is_fifty_requests() -> None:
    assert UsageLimits().request_limit == 50


def test_an_agent_tells_its_budgets_of_retries_and_its_system_prompts() -> None:
    agent: Agent[object, str] = Agent(system_prompt="a")
    agent.system_prompt(lambda: "b")
    assert (agent._max_tool_retries, agent._max_output_retries) == (1, 1)
    assert (agent._system_prompts, len(agent._system_prompt_functions)) == (("a",), 1)


def test_an_empty_list_is_told_as_no_text_at_all() -> None:
    assert ToolReturnPart("act", [], "c").model_response_str() == ""


def test_defaults_and_nones_may_not_be_left_out_at_large() -> None:
    messages: list[ModelMessage] = [asked(), called("c"), ModelRequest(parts=[ToolReturnPart("act", None, "c")])]
    for options in ({"exclude_defaults": True}, {"exclude_none": True}):
        with pytest.raises(ValidationError):
            ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(messages, **options))  # type: ignore[arg-type]


def test_unknown_fields_are_ignored_and_unknown_kinds_of_parts_are_refused() -> None:
    part = '{"part_kind":"text","content":"x","new":1}'
    message = '[{"kind":"response","new":1,"parts":[%s]}]'
    assert ModelMessagesTypeAdapter.validate_json(message % part)
    with pytest.raises(ValidationError):
        ModelMessagesTypeAdapter.validate_json(message % '{"part_kind":"new"}')


async def test_instructions_are_written_into_each_request_and_made_anew_for_each_run() -> None:
    agent, model, _ = agent_of("one", "two", instructions="new")
    await run_streamed(agent, [replace(asked("a"), instructions="old"), ModelResponse(parts=[]), asked("b")])
    sent = model.sent[0][-1]
    assert isinstance(sent, ModelRequest)
    assert sent.instructions == "new"


async def test_a_system_prompt_is_not_added_to_a_history_but_by_a_capability() -> None:
    agent, model, _ = agent_of("one", "two", system_prompt="Be kind.")
    await run_streamed(agent, [asked()])
    await run_streamed(agent, [asked()], capabilities=[ReinjectSystemPrompt()])
    prompts = [any(isinstance(part, SystemPromptPart) for part in sent[0].parts) for sent in model.sent]
    assert prompts == [False, True]


async def test_an_interrupted_answer_is_sent_as_it_stands() -> None:
    agent, model, _ = agent_of("ok")
    cut = ModelResponse(parts=[TextPart("Once")], state="interrupted")
    await run_streamed(agent, [asked("a"), cut, asked("b")])
    assert [content for *_, content in plain(model.sent[0])] == ["a", "Once", "b"]


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    agent, _, _ = agent_of([("hang", {})])
    started = asyncio.Event()

    @agent.tool_plain
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_streamed(agent, [asked()]))
    async with asyncio.timeout(10):
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_of_the_model_comes_through() -> None:
    agent, _, _ = agent_of(ModelHTTPError(500, "m"))
    with pytest.raises(ModelHTTPError):
        await run_streamed(agent, [asked()])


async def test_a_server_that_is_not_there_fails_a_run() -> None:
    agent: Agent[object, Any] = Agent(Script("ok"), toolsets=[MCPToolset("http://127.0.0.1:9/mcp")])
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="connect"):
            await run_streamed(agent, [asked()])


async def test_a_capability_may_wrap_the_toolsets_of_a_run_down_to_the_leaves() -> None:
    wrapped: list[str] = []

    class Noting(WrapperToolset[Any]):
        async def get_tools(self, ctx: RunContext[Any]) -> Any:
            wrapped.append(type(self.wrapped).__name__)
            return await super().get_tools(ctx)

    class Hook(AbstractCapability[Any]):
        def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
            return toolset.visit_and_replace(Noting)

    extra: FunctionToolset[object] = FunctionToolset()
    agent: Agent[object, Any] = Agent(Script("ok"), toolsets=[extra.prefixed("x")])
    await run_streamed(agent, [asked()], capabilities=[Hook()])
    assert "FunctionToolset" in wrapped


async def test_an_answer_without_calls_ends_the_run_in_the_step_after_it() -> None:
    agent, _, _ = agent_of("ok")
    async with agent.iter(message_history=[asked()]) as run:
        node: Any = await run.next(run.next_node)  # type: ignore[arg-type]
        node = await run.next(node)
        assert isinstance(node, CallToolsNode)
        assert isinstance(await run.next(node), End)


def test_the_engine_imports_neither_mcp_nor_a_provider() -> None:
    code = (
        "import sys, sojourn.engine.agent, sojourn.engine.demo; "
        "print([name for name in ('mcp', 'fastmcp', 'openai', 'anthropic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
