"""Calls that need a person: which end the run, what is asked, and how the answers are carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ApprovalRequired, CallDeferred, ModelRetry, RunContext, ToolReturn
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.messages import BinaryContent, ModelRequest, ToolReturnPart
from pydantic_ai.output import ToolOutput
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset, FunctionToolset

from sojourn.abc import ApprovalRow, Ask, FeedbackGiven, ModelResponded, RunPaused, Step, ToolFinished
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.guard import NEEDS_OTHERS
from sojourn.engine.questions import ASKED_AGAIN, EXPIRED, REFUSED
from sojourn.engine.steps import UNDECIDED
from sojourn.errors import AgentUnsupported, ModelFailed
from sojourn.records import ApprovalStatus, Effect, EffectStatus
from sojourn.testing import FakeClock
from tests.engine.core import Core, Script, finish, of, plain, returns, said, shape

YES, NO, LATE = ApprovalStatus.APPROVED, ApprovalStatus.DENIED, ApprovalStatus.EXPIRED


class Desk:
    """Tools that note what they do; `pay` needs approval."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.tools: FunctionToolset[Any] = FunctionToolset([self.look])
        self.tools.add_function(self.pay, requires_approval=True)

    def look(self, at: str = "it") -> str:
        self.done.append(("look", at))
        return f"saw {at}"

    def pay(self, sum: int) -> str:
        self.done.append(("pay", sum))
        return f"paid {sum}"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def agent_of(desk: Desk, *lines: Any, **settings: Any) -> Agent[Any, Any]:
    return Agent(Script(*lines), toolsets=[desk.tools], **settings)


def asked(steps: Sequence[Step]) -> Sequence[Ask]:
    last = steps[-1]
    assert isinstance(last, RunPaused)
    return last.asks


def ruled(
    ask: Ask, status: ApprovalStatus = YES, *, reason: str | None = None, changed: Any = None, seq: int = 2
) -> ApprovalRow:
    return ApprovalRow(
        f"a{ask.index}", "local", "s", 1, seq, ask.index, ask.tool, ask.arguments, ask.digest, status, 1,
        reason=reason, changed=None if changed is None else json.dumps(changed),
    )  # fmt: skip


def intended(index: int) -> Effect:
    """A call that waits for a person."""
    return Effect(seq=2, index=index, tool="pay", status=EffectStatus.INTENDED)


def elsewhere(core: Core, agent: Agent[Any, Any] | None = None) -> Core:
    """The session in another process, which has the log and nothing else."""
    return Core(PydanticAIEngine(agent) if agent else core.engine, core.log)


def sent(core: Core) -> list[Any]:
    """What the model was sent last."""
    return plain(script(core).sent[-1])


def script(core: Core) -> Script:
    assert isinstance(core.engine, PydanticAIEngine)
    model = core.engine._agent.model
    assert isinstance(model, Script)
    return model


def is_intact(core: Core) -> bool:
    """Whether the model was sent what the log holds, and another process would read the same."""
    before = core.history.messages()[:-1]
    return sent(core) == plain(before) and core.stored().messages() == core.history.messages()


MIXED = [("pay", {"sum": 1}), ("look", {"at": "a"}), ("pay", {"sum": 2}), ("look", {"at": "b"})]


async def test_free_calls_run_and_then_the_run_ends_with_the_questions_in_the_order_of_the_calls(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, MIXED)))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "ToolFinished", "RunPaused"]
    [response] = of(steps, ModelResponded)
    assert [call.gated for call in response.calls] == [True, False, True, False]
    assert {step.index for step in of(steps, ToolFinished)} == {1, 3}
    assert [(ask.index, ask.tool, ask.arguments) for ask in asked(steps)] == [
        (0, "pay", '{"sum": 1}'), (2, "pay", '{"sum": 2}'),
    ]  # fmt: skip
    assert [ask.digest for ask in asked(steps)] == [response.calls[0].digest, response.calls[2].digest]
    assert sorted(desk.done) == [("look", "a"), ("look", "b")]
    assert core.history.unanswered == [0, 2]
    assert core.stored().messages() == core.history.messages()


@pytest.mark.parametrize("restarted", [False, True])
async def test_answers_are_carried_out_and_the_model_is_sent_the_results_in_the_order_of_the_calls(
    desk: Desk, *, restarted: bool
) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, MIXED, "done")))
    one, two = asked(await core.send("x"))
    if restarted:
        core = elsewhere(core)
    steps = await core.go(decided=[ruled(one), ruled(two, NO, reason="too much")])
    assert shape(steps) == ["ToolFinished", "ToolFinished", "ModelResponded", "RunFinished"]
    assert sorted(step.index for step in of(steps, ToolFinished)) == [0, 2]
    assert sorted(desk.done) == [("look", "a"), ("look", "b"), ("pay", 1)]
    told = returns(script(core).sent[-1])
    assert [(part.content, part.outcome) for part in told] == [
        ("paid 1", "success"),
        ("saw a", "success"),
        (f"{REFUSED[:-1]}: too much", "denied"),
        ("saw b", "success"),
    ]
    assert is_intact(core)
    shown = [(message.tool_name, message.outcome) for message in core.messages() if message.role == "tool"]
    assert sorted(map(str, shown)) == sorted(
        map(str, [("look", "success"), ("look", "success"), ("pay", "success"), ("pay", "denied")])
    )


@pytest.mark.parametrize(("status", "sentence"), [(NO, REFUSED), (LATE, EXPIRED)])
async def test_what_was_refused_or_never_decided_is_not_run_and_the_model_is_told(
    desk: Desk, status: ApprovalStatus, sentence: str
) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], "well")))
    [ask] = asked(await core.send("x"))
    assert said(await core.go(decided=[ruled(ask, status)])) == "well"
    assert desk.done == []
    assert [(part.content, part.outcome) for part in returns(script(core).sent[-1])] == [(sentence, "denied")]
    assert is_intact(core)


async def test_changed_arguments_are_used_and_the_model_is_told_beside_the_result(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1}), ("pay", {"sum": 2})], "done")))
    one, two = asked(await core.send("x"))
    await core.go(decided=[ruled(one, changed={"sum": 7}), ruled(two, changed={"sum": 2})])
    assert sorted(desk.done) == [("pay", 2), ("pay", 7)]
    first, second = returns(script(core).sent[-1])
    assert first.content == 'A person allowed this call with changed arguments: {"sum": 7}\n\npaid 7'
    assert second.content == "paid 2", "what was not really changed is not told"
    response = core.history.messages()[1]
    assert [getattr(part, "args", None) for part in response.parts] == ['{"sum": 1}', '{"sum": 2}']
    assert is_intact(core)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, "A person allowed this call with changed arguments: {}"),
        ({"a": [1]}, 'A person allowed this call with changed arguments: {}\n\n{"a":[1]}'),
    ],
)
async def test_results_of_any_shape_carry_the_note(result: Any, told: str) -> None:
    agent = Agent(Script([("act", {"x": 1})], "done"))

    @agent.tool_plain(requires_approval=True)
    def act(x: int = 0) -> Any:
        return result

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    await core.go(decided=[ruled(ask, changed={})])
    assert [part.content for part in returns(script(core).sent[-1])] == [told]
    assert is_intact(core)


async def test_a_file_stays_a_file_beside_the_note() -> None:
    agent = Agent(Script([("draw", {"x": 1})], "done"))

    @agent.tool_plain(requires_approval=True)
    def draw(x: int = 0) -> BinaryContent:
        return BinaryContent(b"png", media_type="image/png")

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    await core.go(decided=[ruled(ask, changed={})])
    [part] = returns(script(core).sent[-1])
    assert isinstance(part.content, list)
    assert part.content[0] == "A person allowed this call with changed arguments: {}"
    assert [file.data for file in part.files if isinstance(file, BinaryContent)] == [b"png"]
    assert is_intact(core)


async def test_changed_arguments_that_do_not_fit_are_told_like_the_models_own(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], "done")))
    [ask] = asked(await core.send("x"))
    steps = await core.go(decided=[ruled(ask, changed={"total": 1})])
    assert said(steps) == "done"
    [part] = returns(script(core).sent[-1])
    assert part.outcome == "retried"
    assert "total" in str(part.content)
    assert "Field required" in str(part.content)
    assert desk.done == []
    assert is_intact(core)


async def test_the_models_own_bad_arguments_are_told_at_once_and_nobody_is_asked(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": "much"})], [("pay", {"sum": 1})])))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "ModelResponded", "RunPaused"]
    assert [ask.arguments for ask in asked(steps)] == ['{"sum": 1}']


async def test_a_tool_that_asks_when_it_is_run_was_not_known_to_need_a_person() -> None:
    agent = Agent(Script([("risky", {}), ("free", {})], "done"))
    ran: list[str] = []

    @agent.tool
    def risky(ctx: RunContext[Any]) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        ran.append("risky")
        return "took it"

    @agent.tool_plain
    def free() -> str:
        ran.append("free")
        return "ran"

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert [call.gated for call in of(steps, ModelResponded)[0].calls] == [False, False]
    assert ran == ["free"]
    [ask] = asked(steps)
    assert (ask.index, ask.tool, ask.arguments) == (0, "risky", "{}")
    again = await elsewhere(core).go(decided=[ruled(ask)])
    assert said(again) == "done"
    assert ran == ["free", "risky"]


async def test_a_toolset_that_asks_by_a_rule_of_its_own_asks_for_what_the_rule_says(desk: Desk) -> None:
    free: FunctionToolset[Any] = FunctionToolset([desk.pay])
    gated = free.approval_required(lambda _, __, args: args["sum"] > 10)
    agent = Agent(Script([("pay", {"sum": 5}), ("pay", {"sum": 50})], "done"), toolsets=[gated])
    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    [ask] = asked(steps)
    assert ask.index == 1
    assert desk.done == [("pay", 5)]
    await core.go(decided=[ruled(ask)])
    assert desk.done == [("pay", 5), ("pay", 50)]
    assert is_intact(core)


async def test_a_tool_that_asks_again_whatever_was_decided_is_answered_and_not_asked_about_for_ever() -> None:
    agent = Agent(Script([("stubborn", {})], "done"))

    @agent.tool_plain
    def stubborn() -> str:
        raise ApprovalRequired

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    assert said(await core.go(decided=[ruled(ask)])) == "done"
    assert [part.content for part in returns(script(core).sent[-1])] == [ASKED_AGAIN]


async def test_a_new_call_of_the_same_tool_is_asked_about_anew(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], [("pay", {"sum": 2})], "done")))
    [ask] = asked(await core.send("x"))
    steps = await core.go(decided=[ruled(ask)])
    assert shape(steps) == ["ToolFinished", "ModelResponded", "RunPaused"]
    [other] = asked(steps)
    assert other.arguments == '{"sum": 2}'
    assert said(await elsewhere(core).go(decided=[ruled(other, seq=4)])) == "done"
    assert sorted(desk.done) == [("pay", 1), ("pay", 2)]


@pytest.mark.parametrize("output", [[str, DeferredToolRequests], str | DeferredToolRequests])
async def test_an_agent_may_declare_deferred_requests_as_an_output_and_need_not(desk: Desk, output: Any) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], "done", output_type=output)))
    [ask] = asked(await core.send("x"))
    assert finish(await core.go(decided=[ruled(ask)])).output == "done"


async def test_validators_of_the_output_are_kept_and_see_no_question(desk: Desk) -> None:
    agent = agent_of(desk, [("pay", {"sum": 1})], "done")
    seen: list[Any] = []

    @agent.output_validator
    def check(output: str) -> str:
        seen.append(output)
        return output.upper()

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    assert finish(await core.go(decided=[ruled(ask)])).output == "DONE"
    assert seen == ["done"]
    plain_run = await agent_of(desk, "hello").run("x")
    assert plain_run.output == "hello", "the agent itself is as it was"


class Bill(BaseModel):
    total: int


async def test_an_output_tool_that_succeeds_beside_a_gated_call_ends_the_turn_and_nobody_is_asked(desk: Desk) -> None:
    lines = [[("pay", {"sum": 1}), ("final_result", {"total": 3})]]
    core = Core(PydanticAIEngine(agent_of(desk, *lines, output_type=ToolOutput(Bill))))
    steps = await core.send("x")
    assert finish(steps).output == Bill(total=3)
    assert sorted(step.index for step in of(steps, ToolFinished)) == [0, 1]
    assert desk.done == []


async def test_an_output_tool_that_is_refused_beside_a_gated_call_is_told_and_the_person_is_asked(desk: Desk) -> None:
    lines = [
        [("pay", {"sum": 1}), ("final_result", {"total": "x"})],
        [("final_result", {"total": 4})],
    ]
    core = Core(PydanticAIEngine(agent_of(desk, *lines, output_type=ToolOutput(Bill))))
    steps = await core.send("x")
    assert [step.index for step in of(steps, ToolFinished)] == [1]
    [ask] = asked(steps)
    core = elsewhere(core)
    assert finish(await core.go(decided=[ruled(ask)])).output == Bill(total=4)
    assert desk.done == [("pay", 1)]
    assert core.stored().messages() == core.history.messages()


@pytest.mark.parametrize("strategy", ["early", "graceful", "exhaustive"])
async def test_every_strategy_of_ending_asks_and_goes_on(desk: Desk, strategy: Any) -> None:
    lines = [MIXED, [("final_result", {"total": 4})]]
    core = Core(PydanticAIEngine(agent_of(desk, *lines, output_type=ToolOutput(Bill), end_strategy=strategy)))
    asks = asked(await core.send("x"))
    assert finish(await core.go(decided=[ruled(ask) for ask in asks])).output == Bill(total=4)
    assert sorted(map(str, desk.done)) == sorted(map(str, [("look", "a"), ("look", "b"), ("pay", 1), ("pay", 2)]))


async def test_more_than_a_result_is_stored_and_sent_behind_the_results() -> None:
    agent = Agent(Script([("act", {}), ("free", {})], "done"))

    @agent.tool_plain(requires_approval=True)
    def act() -> ToolReturn:
        return ToolReturn("acted", content="see the picture")

    @agent.tool_plain
    def free() -> ToolReturn:
        return ToolReturn("ran", content="free picture")

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "FeedbackGiven", "RunPaused"]
    core = elsewhere(core)
    steps = await core.go(decided=[ruled(ask) for ask in asked(steps)])
    assert len(of(steps, FeedbackGiven)) == 1
    last = script(core).sent[-1][-1]
    assert isinstance(last, ModelRequest)
    contents = [getattr(part, "content", None) for part in last.parts]
    assert contents == ["acted", "ran", "free picture", "see the picture"]
    assert is_intact(core)


async def test_what_a_free_tool_says_for_later_is_not_lost_in_the_pause() -> None:
    agent = Agent(Script([("act", {}), ("free", {})], "done"))

    @agent.tool_plain(requires_approval=True)
    def act() -> str:
        return "acted"

    @agent.tool
    def free(ctx: RunContext[Any]) -> str:
        ctx.enqueue("mind the gap")
        return "ran"

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    await elsewhere(core).go(decided=[ruled(ask)])
    assert "mind the gap" in str(script(core).sent[-1])


async def test_what_an_approved_tool_says_for_later_is_sent() -> None:
    agent = Agent(Script([("act", {})], "done"))

    @agent.tool(requires_approval=True)
    def act(ctx: RunContext[Any]) -> str:
        ctx.enqueue("mind the gap")
        return "acted"

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    await core.go(decided=[ruled(ask)])
    assert "mind the gap" in str(script(core).sent[-1])
    assert core.stored().messages() == core.history.messages()


@pytest.mark.parametrize("outcome", ["failed", "retried"])
async def test_an_approved_tool_that_fails_is_told_like_any_other(outcome: str) -> None:
    agent = Agent(Script([("act", {})], "done"))

    @agent.tool_plain(requires_approval=True)
    def act() -> str:
        if outcome == "retried":
            raise ModelRetry("not so")
        raise OSError("disk full")

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    assert said(await core.go(decided=[ruled(ask)])) == "done"
    assert core.messages()[-2].outcome == outcome
    assert is_intact(core)


async def test_a_tool_that_is_gone_when_it_was_allowed_is_told_as_unknown_and_a_refusal_needs_no_tool(
    desk: Desk,
) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1}), ("pay", {"sum": 2})])))
    one, two = asked(await core.send("x"))
    core = elsewhere(core, Agent(Script("gone")))
    assert said(await core.go(decided=[ruled(one), ruled(two, NO)])) == "gone"
    first, second = returns(script(core).sent[-1])
    assert (first.outcome, second.content) == ("retried", REFUSED)
    assert "Unknown tool" in str(first.content)


async def test_a_process_that_dies_between_two_results_leaves_the_rest_to_the_next(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1}), ("look", {}), ("pay", {"sum": 2})], "done")))
    one, two = asked(await core.send("x"))
    decided = [ruled(one, NO), ruled(two, NO)]
    await core.go(lambda step: isinstance(step, ToolFinished), decided)
    core = elsewhere(core)
    assert len(core.history.unanswered) == 1
    assert said(await core.go(decided=decided)) == "done"
    assert [part.content for part in returns(script(core).sent[-1])] == [REFUSED, "saw it", REFUSED]
    assert is_intact(core)


async def test_a_process_that_dies_when_all_results_are_stored_goes_on_with_the_model(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], "done")))
    [ask] = asked(await core.send("x"))
    await core.go(lambda step: isinstance(step, ToolFinished), [ruled(ask)])
    core = elsewhere(core)
    assert said(await core.go(decided=[ruled(ask)])) == "done"
    assert desk.done == [("pay", 1)]
    assert is_intact(core)


async def test_calls_without_a_verdict_are_never_run(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, MIXED)))
    one, _ = asked(await core.send("x"))
    with pytest.raises(ValueError, match=r"calls \[2\]"):
        await core.go(decided=[ruled(one)])
    with pytest.raises(ValueError, match=r"calls \[0, 2\]"):
        await core.go()
    assert ("pay", 1) not in desk.done


async def test_a_question_that_was_never_asked_is_made_from_the_history(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, MIXED)))
    steps = await core.send("x")
    effects = [intended(index) for index in (2, 0)]
    assert core.engine.asks(core.stored(), effects) == asked(steps)


async def test_arguments_that_are_no_json_are_asked_about_as_a_string() -> None:
    agent = Agent(Script([("pay", '{"sum": ')], "x"))
    core = Core(PydanticAIEngine(agent))
    core.open("x")
    await core.go(lambda step: isinstance(step, ModelResponded))
    [ask] = core.engine.asks(core.history, [intended(0)])
    assert json.loads(ask.arguments) == '{"sum": '


async def test_a_call_that_nobody_decided_about_is_closed_with_words_for_that(desk: Desk) -> None:
    core = Core(PydanticAIEngine(agent_of(desk, [("pay", {"sum": 1})], "something else")))
    await core.send("x")
    core.open("rather not")
    core.store(core.engine.unknown(core.history, intended(0)))
    assert said(await core.go()) == "something else"
    last = core.messages()[1]
    assert (last.text, last.outcome) == (UNDECIDED, "interrupted")
    assert desk.done == []
    assert is_intact(core)


async def test_a_view_of_a_long_history_never_cuts_a_turn_that_waits(desk: Desk) -> None:
    agent = agent_of(desk, "a " * 400, MIXED, "done")
    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=200)))
    await core.send("x " * 300)
    asks = asked(await core.send("pay"))
    core = Core(core.engine, core.log)
    assert said(await core.go(decided=[ruled(ask, seq=5) for ask in asks])) == "done"
    last = script(core).sent[-1]
    assert [message.kind for message in last] == ["request", "response", "request"]
    assert len(returns(last)) == 4


async def test_a_failing_request_after_the_answers_does_not_carry_them_out_twice(desk: Desk) -> None:
    agent = agent_of(desk, [("pay", {"sum": 1})], ConnectionError("gone"), "done")
    core = Core(PydanticAIEngine(agent, options=EngineOptions(model_retries=0)))
    [ask] = asked(await core.send("x"))
    with pytest.raises(ModelFailed):
        await core.go(decided=[ruled(ask)])
    assert said(await core.go(decided=[ruled(ask)])) == "done"
    assert desk.done == [("pay", 1)]


async def test_a_request_that_is_made_again_after_the_answers_is_sent_the_same(desk: Desk) -> None:
    agent, clock = agent_of(desk, MIXED, ConnectionResetError(), "done"), FakeClock()
    core = Core(PydanticAIEngine(agent, clock=clock))
    asks = asked(await core.send("x"))
    going = asyncio.create_task(core.go(decided=[ruled(asks[0]), ruled(asks[1], changed={"sum": 3})]))
    while not going.done():
        await clock.advance(40)
    assert shape(going.result()) == ["ToolFinished", "ToolFinished", "ModelRetried", "ModelResponded", "RunFinished"]
    assert plain(script(core).sent[-2]) == plain(script(core).sent[-1])
    assert sorted(desk.done[2:]) == [("pay", 1), ("pay", 3)]
    assert is_intact(core)


async def test_closing_the_run_stops_an_approved_tool_and_leaves_no_task() -> None:
    agent = Agent(Script([("hang", {})], "x"))
    began, stopped = asyncio.Event(), asyncio.Event()

    @agent.tool_plain(requires_approval=True)
    async def hang() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    task = asyncio.create_task(core.go(decided=[ruled(ask)]))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()
    assert core.history.unanswered == [0]
    assert "hang" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_deps_are_those_of_the_run_that_carries_out(desk: Desk) -> None:
    agent = Agent(Script([("act", {})], "done"), deps_type=str)

    @agent.tool(requires_approval=True)
    def act(ctx: RunContext[str]) -> str:
        return ctx.deps

    made: list[str] = []

    def deps(_: Any) -> str:
        made.append(f"deps {len(made)}")
        return made[-1]

    core = Core(PydanticAIEngine(agent, deps=deps))
    [ask] = asked(await core.send("x"))
    await core.go(decided=[ruled(ask)])
    assert [part.content for part in returns(script(core).sent[-1])] == ["deps 1"]


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


async def test_a_call_that_is_done_elsewhere_is_answered_beside_one_that_waits(desk: Desk) -> None:
    agent = agent_of(desk, [("pay", {"sum": 1}), ("later", {})], "done")

    @agent.tool_plain
    def later() -> str:
        raise CallDeferred

    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert [step.index for step in of(steps, ToolFinished)] == [1]
    assert said(await core.go(decided=[ruled(ask) for ask in asked(steps)])) == "done"
    assert is_intact(core)


async def test_an_allowed_call_that_turns_out_to_be_done_elsewhere_is_answered_as_failed() -> None:
    agent = Agent(Script([("act", {})], "done"))

    @agent.tool_plain(requires_approval=True)
    def act() -> str:
        raise CallDeferred

    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    assert said(await core.go(decided=[ruled(ask)])) == "done"
    assert NEEDS_OTHERS in str(returns(script(core).sent[-1])[0].content)


def all_allowed(_: Any, requests: DeferredToolRequests) -> DeferredToolResults:
    return DeferredToolResults(approvals={call.tool_call_id: True for call in requests.approvals})


async def test_an_agent_that_decides_by_itself_is_left_to_it_and_its_calls_count_as_started(desk: Desk) -> None:
    agent = agent_of(desk, [("pay", {"sum": 1})], "Done.", capabilities=[HandleDeferredToolCalls(all_allowed)])
    core = Core(PydanticAIEngine(agent))
    steps = await core.send("x")
    assert said(steps) == "Done."
    assert core.messages()[1].text == "paid 1"
    assert [call.gated for call in of(steps, ModelResponded)[0].calls] == [False]


async def test_an_agent_that_decides_about_some_leaves_the_others_to_people(desk: Desk) -> None:
    def small(_: Any, requests: DeferredToolRequests) -> DeferredToolResults:
        few = [call for call in requests.approvals if call.args_as_dict()["sum"] < 2]
        return DeferredToolResults(approvals={call.tool_call_id: True for call in few})

    agent = agent_of(desk, MIXED, "Done.", capabilities=[HandleDeferredToolCalls(small)])
    core = Core(PydanticAIEngine(agent))
    [ask] = asked(await core.send("x"))
    assert (ask.index, ("pay", 1) in desk.done, ("pay", 2) in desk.done) == (2, True, False)
    assert said(await core.go(decided=[ruled(ask)])) == "Done."
    assert is_intact(core)


async def test_an_agent_that_allows_what_is_done_elsewhere_is_refused() -> None:
    agent = Agent(Script([("act", {})]), capabilities=[HandleDeferredToolCalls(all_allowed)])

    @agent.tool_plain(requires_approval=True)
    def act() -> str:
        raise CallDeferred

    core = Core(PydanticAIEngine(agent))
    with pytest.raises(AgentUnsupported, match="done elsewhere"):
        await core.send("x")


async def test_sessions_of_one_agent_wait_and_go_on_without_meeting(desk: Desk) -> None:
    async def play(number: int) -> tuple[str, list[str]]:
        core = Core(PydanticAIEngine(agent), id=f"s{number}")
        [ask] = asked(await core.send(f"pay {number}"))
        await asyncio.sleep(0)
        steps = await core.go(decided=[ruled(ask, YES if number % 2 else NO)])
        return said(steps), [str(message.text) for message in core.messages() if message.role == "tool"]

    def line(messages: Any) -> Any:
        parts = [part for message in messages for part in message.parts]
        number = int(next(part.content for part in parts if part.part_kind == "user-prompt").split()[1])
        if any(isinstance(part, ToolReturnPart) for part in parts):
            return f"done {number}"
        return [("pay", {"sum": number})]

    agent = agent_of(desk, *[line] * 40)
    found = await asyncio.gather(*(play(number) for number in range(20)))
    assert [text for text, _ in found] == [f"done {number}" for number in range(20)]
    assert [told for _, told in found] == [[f"paid {number}"] if number % 2 else [REFUSED] for number in range(20)]
    assert sorted(desk.done) == [("pay", number) for number in range(1, 20, 2)]
