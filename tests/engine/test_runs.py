"""A turn, step by step."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, TextOutput, ToolReturn
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.messages import (
    BinaryContent,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.models import CompletedStreamedResponse
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.usage import RequestUsage

from sojourn.abc import FeedbackGiven, ModelResponded, Step, TextDelta, ToolFinished
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.steps import UNKNOWN
from sojourn.errors import ModelFailed
from sojourn.records import EntryKind, Session
from tests.engine.core import (
    Core,
    Script,
    finish,
    last_parts,
    of,
    plain,
    returns,
    said,
    session,
    shape,
    streamed,
)


async def test_text_arrives_in_pieces_and_then_whole() -> None:
    core = Core(PydanticAIEngine(Agent(Script("Hello there, you."))))
    steps = await core.send("Hi")
    assert len(of(steps, TextDelta)) > 1
    assert streamed(steps) == said(steps) == "Hello there, you."
    assert shape(steps) == ["ModelResponded", "RunFinished"]


async def test_an_accepted_answer_is_final_and_its_text_is_the_output() -> None:
    core = Core(PydanticAIEngine(Agent(Script("Done."))))
    steps = await core.send("Hi")
    assert of(steps, ModelResponded)[0].final
    assert finish(steps).output == "Done."
    assert finish(steps).output_json is None
    assert finish(steps).finish_reason == "stop"


async def test_no_tool_starts_before_its_response_was_taken_and_the_next_step_was_asked_for() -> None:
    started: list[str] = []
    agent = Agent(Script([("act", {"x": 1})], "Did it."))

    @agent.tool_plain
    def act(x: int) -> str:
        started.append("act")
        return "ok"

    core = Core(PydanticAIEngine(agent))
    core.open("Do it")
    run = core.engine.run(core.run())
    while not isinstance(step := await anext(run), ModelResponded):
        pass
    # However long the store takes, nothing runs meanwhile.
    for _ in range(20):
        await asyncio.sleep(0)
    assert started == []
    core.store(step)
    assert isinstance(await anext(run), ToolFinished)
    assert started == ["act"]
    await run.aclose()


async def test_results_come_in_the_order_in_which_they_land_and_are_told_in_the_order_of_the_calls() -> None:
    model = Script([("slow", {}), ("fast", {})], "Both.")
    agent = Agent(model)
    landed = asyncio.Event()

    @agent.tool_plain
    async def slow() -> str:
        await landed.wait()
        return "slow"

    @agent.tool_plain
    def fast() -> str:
        return "fast"

    core = Core(PydanticAIEngine(agent))
    core.open("Go")
    order: list[int] = []
    async with asyncio.timeout(10):
        async for step in core.engine.run(core.run()):
            core.store(step)
            if isinstance(step, ToolFinished):
                order.append(step.index)
                landed.set()
    assert order == [1, 0]
    assert [part.content for part in returns(model.sent[1])] == ["slow", "fast"]
    assert [part.content for part in returns(core.stored().messages()[:-1])] == ["slow", "fast"]


async def test_calls_carry_their_place_their_tool_and_a_digest_that_ignores_spelling() -> None:
    agent = Agent(Script([("act", '{"a":1,"b":2}'), ("act", '{"b": 2, "a": 1}'), ("act", '{"a":2,"b":2}')], "ok"))

    @agent.tool_plain
    def act(a: int, b: int) -> int:
        return a + b

    calls = of(await Core(PydanticAIEngine(agent)).send("x"), ModelResponded)[0].calls
    assert [(call.index, call.tool) for call in calls] == [(0, "act"), (1, "act"), (2, "act")]
    assert calls[0].digest == calls[1].digest != calls[2].digest


async def test_a_call_id_that_is_used_again_in_a_later_response_is_made_unique() -> None:
    model = Script(
        [("act", {"x": 1}, "call_0")], [("act", {"x": 2}, "call_0")], "ok", [("act", {"x": 3}, "call_0")], "ok"
    )
    agent = Agent(model)

    @agent.tool_plain
    def act(x: int) -> int:
        return x * 10

    core = Core(PydanticAIEngine(agent))
    await core.send("a")
    await core.send("b")
    calls = {call.id: call for message in core.messages() for call in message.tool_calls}
    results = {message.tool_call_id: message.text for message in core.messages() if message.tool_call_id}
    assert len(calls) == 3
    assert {key: str(json.loads(call.arguments)["x"] * 10) for key, call in calls.items()} == results
    assert [part.content for part in returns(model.sent[-1])] == [30]


async def test_a_call_id_that_is_used_twice_in_one_response_reaches_two_calls() -> None:
    model = Script([("act", {"x": 1}, "same"), ("act", {"x": 2}, "same")], "ok")
    agent = Agent(model)

    @agent.tool_plain
    def act(x: int) -> int:
        return x * 10

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("a")
    assert sorted(step.index for step in of(steps, ToolFinished)) == [0, 1]
    assert [(part.tool_call_id, part.content) for part in returns(model.sent[1])] == [("same", 10), ("same-2", 20)]
    assert plain(core.stored().messages()) == plain(core.history.messages())


async def test_a_refused_answer_is_stored_as_not_final_and_the_reason_is_told() -> None:
    model = Script("bad", "good", "later")
    agent = Agent(model)

    @agent.output_validator
    def check(output: str) -> str:
        if output.strip() == "bad":
            raise ModelRetry("say something good")
        return output

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("Hi")
    assert shape(steps) == ["ModelResponded", "FeedbackGiven", "ModelResponded", "RunFinished"]
    assert [step.final for step in of(steps, ModelResponded)] == [False, True]
    assert "say something good" in str(last_parts(model.sent[1]))
    await Core(core.engine, core.log).send("And now?")
    assert plain(model.sent[2])[:3] == plain(model.sent[1])


async def test_an_answer_is_not_lost_when_judging_it_raises() -> None:
    agent = Agent(Script("fine"))

    @agent.output_validator
    def check(output: str) -> str:
        raise RuntimeError("the validator broke")

    core = Core(PydanticAIEngine(agent))
    with pytest.raises(RuntimeError, match="the validator broke"):
        await core.send("Hi")
    assert [entry.kind for entry in core.log] == [EntryKind.TURN_OPENED, EntryKind.MESSAGE]


async def test_a_turn_that_stopped_between_a_refused_answer_and_the_reason_finds_the_reason_again() -> None:
    agent = Agent(Script("bad", "good"), instructions="Be good.")

    @agent.output_validator
    def check(output: str) -> str:
        if output.strip() == "bad":
            raise ModelRetry("say something good")
        return output

    core = Core(PydanticAIEngine(agent))
    core.open("Hi")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    again = Core(core.engine, core.log)
    steps = await again.go()
    assert shape(steps) == ["FeedbackGiven", "ModelResponded", "RunFinished"]
    assert said(steps) == "good"


async def test_a_stored_answer_that_is_accepted_after_all_comes_as_the_output() -> None:
    core = Core(PydanticAIEngine(Agent(Script("Done."), instructions="Be good.")))
    core.open("Hi")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    steps = await Core(core.engine, core.log).go()
    assert shape(steps) == ["RunFinished"]
    assert finish(steps).output_json == '"Done."'


class Answer(BaseModel):
    number: int


async def test_structured_output_is_a_call_with_a_result_and_an_object() -> None:
    core = Core(PydanticAIEngine(Agent(Script([("final_result", {"number": 7})]), output_type=Answer)))
    steps = await core.send("Seven?")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "RunFinished"]
    assert not of(steps, ModelResponded)[0].final
    assert finish(steps).output == Answer(number=7)
    assert finish(steps).output_json == '{"number":7}'
    assert core.history.unanswered == []


async def test_an_output_call_that_loses_to_a_retry_of_a_tool_is_told_so() -> None:
    model = Script([("act", {}), ("final_result", {"number": 7})], [("final_result", {"number": 8})])
    agent = Agent(model, output_type=Answer)

    @agent.tool_plain
    def act() -> str:
        raise ModelRetry("once more")

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("Seven?")
    assert finish(steps).output == Answer(number=8)
    told = [part.content for part in returns(model.sent[1])]
    stored = [message.text for message in core.messages() if message.role == "tool"]
    assert told[1] == stored[1]
    assert "Final result processed" not in stored[1]


async def test_deps_are_made_for_each_run_from_the_session() -> None:
    agent = Agent(Script([("who", {})], "ok"), deps_type=str)

    @agent.tool
    def who(ctx: RunContext[str]) -> str:
        return ctx.deps

    async def make(session: Session) -> str:
        return f"deps of {session.id}"

    core = Core(PydanticAIEngine(agent, deps=make), id="abc")
    await core.send("x")
    assert core.messages()[1].text == "deps of abc"


async def test_a_tool_that_raises_is_told_to_the_model_and_the_turn_goes_on() -> None:
    agent = Agent(Script([("act", {})], "Sorry."))

    @agent.tool_plain
    def act() -> str:
        raise ZeroDivisionError("no")

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert said(steps) == "Sorry."
    result = core.messages()[1]
    assert result.outcome == "failed"
    assert "ZeroDivisionError: no" in result.text
    assert "Traceback" not in result.text


async def test_a_validator_of_arguments_that_breaks_is_told_to_the_model() -> None:
    agent = Agent(Script([("act", {"x": 1})], "Sorry."))

    def check(ctx: RunContext[object], x: int) -> None:
        raise KeyError("gone")

    @agent.tool_plain(args_validator=check)
    def act(x: int) -> str:
        raise AssertionError

    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "Sorry."
    assert core.messages()[1].outcome == "failed"


async def test_a_result_that_is_no_json_is_the_tools_failure() -> None:
    agent = Agent(Script([("act", {})], "Sorry."))

    @agent.tool_plain
    def act() -> Any:
        return object()

    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "Sorry."
    assert core.messages()[1].outcome == "failed"


async def test_model_retry_asks_again_and_a_wrong_call_may_be_corrected_more_than_once() -> None:
    bad = [("act", {"x": "no number"})]
    agent = Agent(Script(bad, [("unknown_tool", {})], bad, [("act", {"x": 1})], [("act", {"x": 2})], "ok"))

    @agent.tool_plain
    def act(x: int) -> str:
        if x == 1:
            raise ModelRetry("not one")
        return "fine"

    core = Core(PydanticAIEngine(agent))
    assert said(await core.send("x")) == "ok"
    outcomes = [message.outcome for message in core.messages() if message.tool_call_id]
    assert outcomes == ["retried", "retried", "retried", "retried", "success"]


async def test_the_agents_own_budget_of_retries_is_kept() -> None:
    agent = Agent(Script(*[[("act", {"x": "bad"})]] * 4), retries=0)

    @agent.tool_plain
    def act(x: int) -> str:
        return "fine"

    with pytest.raises(UnexpectedModelBehavior, match="retries"):
        await Core(PydanticAIEngine(agent)).send("x")


async def test_more_than_fifty_requests_fit_in_a_turn_and_in_a_session() -> None:
    agent = Agent(Script(*[[("act", {})]] * 55, "ok"))

    @agent.tool_plain
    def act() -> str:
        return "on"

    assert said(await Core(PydanticAIEngine(agent)).send("x")) == "ok"


async def test_content_beside_a_result_is_told_and_stored() -> None:
    model = Script([("look", {})], "I see.")
    agent = Agent(model)

    @agent.tool_plain
    def look() -> ToolReturn:
        return ToolReturn(return_value="a picture", content=["Look:", BinaryContent(b"png", media_type="image/png")])

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "FeedbackGiven", "ModelResponded", "RunFinished"]
    assert plain(core.stored().messages()[:-1]) == plain(model.sent[1])


async def test_content_that_a_tool_enqueues_is_stored_once() -> None:
    model = Script([("act", {})], "ok")
    agent = Agent(model)

    @agent.tool
    def act(ctx: RunContext[object]) -> str:
        ctx.enqueue("by the way")
        return "done"

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert len(of(steps, FeedbackGiven)) == 1
    assert "by the way" in str(last_parts(model.sent[1]))
    assert plain(core.stored().messages()[:-1]) == plain(model.sent[1])


async def test_a_system_prompt_is_sent_in_every_turn_and_stored_in_none() -> None:
    model = Script("one", "two")
    core = Core(PydanticAIEngine(Agent(model, system_prompt="Be kind.", instructions="Be brief.")))
    await core.send("a")
    await core.send("b")
    for sent in model.sent:
        first, last = sent[0], sent[-1]
        assert isinstance(first, ModelRequest)
        assert isinstance(last, ModelRequest)
        assert [part.content for part in first.parts if isinstance(part, SystemPromptPart)] == ["Be kind."]
        assert last.instructions == "Be brief."
    assert not any("Be " in entry.body for entry in core.log)


async def test_a_model_that_fails_fails_the_turn_and_the_next_turn_goes_on() -> None:
    model = Script(ModelHTTPError(503, "script"), "Back.")
    core = Core(PydanticAIEngine(Agent(model), options=EngineOptions(model_retries=0)))
    with pytest.raises(ModelFailed, match="overloaded"):
        await core.send("a")
    assert said(await core.send("b")) == "Back."
    assert [part.content for part in last_parts(model.sent[1]) if isinstance(part, UserPromptPart)] == ["a", "b"]


async def test_each_request_has_its_usage_and_where_the_price_is_known_its_cost() -> None:
    def respond(*_: Any) -> ModelResponse:
        usage = RequestUsage(input_tokens=1000, output_tokens=100, cache_read_tokens=500)
        return ModelResponse(parts=[TextPart("x")], usage=usage, model_name="gpt-4o", provider_name="openai")

    class Priced(WrapperModel):
        @asynccontextmanager
        async def request_stream(self, messages: Any, settings: Any, parameters: Any, run_context: Any = None) -> Any:
            yield CompletedStreamedResponse(respond(), model_request_parameters=parameters, replay_events=True)

    steps = await Core(PydanticAIEngine(Agent(Priced(FunctionModel(respond))))).send("x")
    step = of(steps, ModelResponded)[0]
    assert step.model == "gpt-4o"
    assert (step.usage.requests, step.usage.input_tokens, step.usage.output_tokens) == (1, 1000, 100)
    assert step.usage.cache_read_tokens == 500
    assert step.usage.cost is not None
    assert step.usage.cost > 0


async def test_a_cost_that_nobody_knows_is_none() -> None:
    steps = await Core(PydanticAIEngine(Agent(Script("x")))).send("x")
    assert of(steps, ModelResponded)[0].usage.cost is None
    assert of(steps, ModelResponded)[0].usage.output_tokens > 0


def stops_at(place: int) -> Any:
    """Stop at the n-th step that is stored."""
    count = iter(range(1, 1000))
    return lambda step: not isinstance(step, TextDelta) and next(count) == place


@pytest.mark.parametrize("place", [1, 2, 3])
async def test_a_turn_that_stopped_between_a_response_and_its_results_goes_on_with_unknown_outcomes(place: int) -> None:
    ran: list[int] = []
    model = Script([("act", {"x": 0}), ("act", {"x": 1})], "Let me check.")
    agent = Agent(model)

    @agent.tool_plain
    def act(x: int) -> int:
        ran.append(x)
        return x

    core = Core(PydanticAIEngine(agent))
    core.open("Go")
    stored = len(of(await core.go(stop=stops_at(place)), ToolFinished))
    before = len(ran)

    again = Core(core.engine, core.log)
    again.close_calls()
    steps = await again.go()
    assert said(steps) == "Let me check."
    assert len(ran) == before  # nothing was run a second time
    told = [part.content for part in returns(model.sent[-1])]
    assert told.count(UNKNOWN) == 2 - stored
    assert "unknown" in UNKNOWN
    assert plain(again.stored().messages()) == plain(again.history.messages())


async def test_results_made_up_in_a_later_turn_come_before_what_the_user_said_in_it() -> None:
    model = Script([("act", {})], "Hello again.")
    agent = Agent(model)

    @agent.tool_plain
    def act() -> str:
        return "done"

    core = Core(PydanticAIEngine(agent))
    core.open("Go")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    core.put(EntryKind.TURN_ENDED)
    core.open("Are you there?")
    core.close_calls()
    assert '"response":2' in core.log[-1].body
    assert said(await core.go()) == "Hello again."
    assert [part.part_kind for part in last_parts(model.sent[-1])] == ["tool-return", "user-prompt"]


async def test_a_history_with_open_calls_is_refused_rather_than_run_again() -> None:
    agent = Agent(Script([("act", {})]))

    @agent.tool_plain
    def act() -> str:
        return "done"

    core = Core(PydanticAIEngine(agent))
    core.open("Go")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    with pytest.raises(ValueError, match="have no result"):
        await core.go()


async def test_an_empty_history_is_refused() -> None:
    core = Core(PydanticAIEngine(Agent(Script("x"))))
    with pytest.raises(ValueError, match="empty"):
        await core.go()


async def test_the_conversation_has_the_sessions_id() -> None:
    model = Script("x")
    core = Core(PydanticAIEngine(Agent(model)), id="my-session")
    await core.send("x")
    assert model.sent[0][-1].conversation_id == "my-session"


def test_an_agent_without_a_name_gets_one_and_no_banner_is_shown() -> None:
    agent = Agent(Script())
    PydanticAIEngine(agent)
    assert agent.name == "sojourn"
    assert os.environ["PYDANTIC_AI_NO_BANNER"]


@dataclass
class Point:
    x: int


async def test_an_output_that_is_no_text_comes_with_its_json() -> None:
    def to_point(text: str) -> Point:
        return Point(len(text))

    core = Core(PydanticAIEngine(Agent(Script("abc"), output_type=TextOutput(to_point))))
    steps: list[Step] = await core.send("x")
    assert finish(steps).output == Point(3)
    assert finish(steps).output_json == '{"x":3}'
    assert session().id == "s"


async def test_a_hook_that_refuses_a_response_with_calls_leaves_no_call_open() -> None:
    refused: list[ModelResponse] = []

    class Hook(AbstractCapability[Any]):
        async def after_model_request(self, ctx: Any, **given: Any) -> ModelResponse:
            response: ModelResponse = given["response"]
            if response.tool_calls and not refused:
                refused.append(response)
                raise ModelRetry("do not call that")
            return response

    model = Script([("act", {})], "Fine, I will not.")
    agent = Agent(model, capabilities=[Hook()])

    @agent.tool_plain
    def act() -> str:
        raise AssertionError

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "FeedbackGiven", "ModelResponded", "RunFinished"]
    assert core.history.unanswered == []
    assert core.messages()[1].outcome == "interrupted"
    assert "do not call that" in str(model.sent[1])


async def test_a_hook_that_refuses_an_answer_is_told_to_the_model() -> None:
    asked: list[str] = []

    class Hook(AbstractCapability[Any]):
        async def after_model_request(self, ctx: Any, **given: Any) -> ModelResponse:
            response: ModelResponse = given["response"]
            if not asked:
                asked.append("once")
                raise ModelRetry("shorter")
            return response

    core = Core(PydanticAIEngine(Agent(Script("A long answer.", "Short."), capabilities=[Hook()])))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "FeedbackGiven", "ModelResponded", "RunFinished"]
    assert [step.final for step in of(steps, ModelResponded)] == [False, True]


async def test_a_hook_that_asks_again_before_any_response_gives_no_response() -> None:
    asked: list[str] = []

    class Hook(AbstractCapability[Any]):
        async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> ModelResponse:
            if not asked:
                asked.append("once")
                raise ModelRetry("not like this")
            response: ModelResponse = await handler(request_context)
            return response

    core = Core(PydanticAIEngine(Agent(Script("Like this."), capabilities=[Hook()])))
    steps = await core.send("x")
    assert shape(steps) == ["FeedbackGiven", "ModelResponded", "RunFinished"]


async def test_arguments_that_are_no_json_are_corrected() -> None:
    agent = Agent(Script([("act", '{"x": ')], [("act", '{"x": 1}')], "ok"))

    @agent.tool_plain
    def act(x: int) -> int:
        return x

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert said(steps) == "ok"
    assert [message.outcome for message in core.messages() if message.role == "tool"] == ["retried", "success"]


async def test_a_conversation_that_a_tool_prolongs_goes_on_in_the_same_turn() -> None:
    model = Script([("act", {})], "First answer.", "Second answer.")
    agent = Agent(model)

    @agent.tool
    def act(ctx: RunContext[object]) -> str:
        ctx.enqueue("One more thing.", priority="when_idle")
        return "done"

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert said(steps) == "Second answer."
    assert [step.final for step in of(steps, ModelResponded)] == [False, False, True]
    assert len(of(steps, FeedbackGiven)) == 1
    assert plain(core.stored().messages()[:-1]) == plain(model.sent[2])
