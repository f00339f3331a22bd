"""Closing the generator or cancelling its task stops everything that it started, at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel

from sojourn.abc import Asking, ModelResponded, TextDelta, ToolFinished
from sojourn.engine.agent import PydanticAIEngine
from tests.engine.core import Core, Script, said


class Endless(FunctionModel):
    """A model that never stops talking, and says whether somebody still listens."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        super().__init__(stream_function=self._talk)

    async def _talk(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        try:
            yield "Once "
            await asyncio.Event().wait()
        finally:
            self.closed.set()


class Hanging:
    """A tool that never returns, and says when it started and ended."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def hang(self) -> str:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


@pytest.fixture(autouse=True)
async def no_task_is_left() -> Any:
    yield
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    runners = ("TestRunner", "_run_until", "BaseEventLoop")
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert [name for name in names if not name.startswith(runners)] == []


async def test_closing_while_text_arrives_stops_the_model() -> None:
    model = Endless()
    core = Core(PydanticAIEngine(Agent(model)))
    core.open("Hi")
    run = core.engine.run(core.run())
    async with asyncio.timeout(10):
        assert isinstance(await anext(run), Asking)
        assert isinstance(await anext(run), TextDelta)
        await run.aclose()
    assert model.closed.is_set()


async def test_cancelling_while_text_arrives_stops_the_model() -> None:
    model = Endless()
    core = Core(PydanticAIEngine(Agent(model)))
    core.open("Hi")
    listening = asyncio.Event()

    async def consume() -> None:
        async for step in core.engine.run(core.run()):
            if isinstance(step, TextDelta):
                listening.set()

    task = asyncio.create_task(consume())
    async with asyncio.timeout(10):
        await listening.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert model.closed.is_set()


async def test_cancelling_while_a_tool_runs_stops_the_tool() -> None:
    tool = Hanging()
    core = Core(PydanticAIEngine(Agent(Script([("hang", {})]), tools=[tool.hang])))
    core.open("Hi")
    task = asyncio.create_task(core.go())
    async with asyncio.timeout(10):
        await tool.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert tool.ended.is_set()
    assert core.history.unanswered == [0]


async def test_closing_after_one_of_two_results_stops_the_other_tool_and_keeps_the_result() -> None:
    tool = Hanging()
    agent = Agent(Script([("quick", {}), ("hang", {})], "I am back."), tools=[tool.hang])

    @agent.tool_plain
    async def quick() -> str:
        await tool.started.wait()
        return "done"

    core = Core(PydanticAIEngine(agent))
    core.open("Hi")
    async with asyncio.timeout(10):
        await core.go(stop=lambda step: isinstance(step, ToolFinished))
    assert tool.ended.is_set()
    assert core.history.unanswered == [1]
    core.close_calls()
    assert said(await core.send("Still there?")) == "I am back."


async def test_closing_before_the_tools_were_asked_for_runs_none() -> None:
    ran: list[str] = []
    agent = Agent(Script([("act", {})]))

    @agent.tool_plain
    def act() -> str:
        ran.append("act")
        return "x"

    core = Core(PydanticAIEngine(agent))
    core.open("Hi")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    assert ran == []


async def test_closing_a_run_that_never_started_is_harmless() -> None:
    core = Core(PydanticAIEngine(Agent(Script("x"))))
    core.open("Hi")
    await core.engine.run(core.run()).aclose()


async def test_many_runs_of_one_agent_at_once_do_not_meet() -> None:
    from pydantic_ai.models.function import DeltaToolCall

    async def echo(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        prompt = str(messages[0].parts[0].content)  # type: ignore[union-attr]
        if len(messages) == 1:
            yield {0: DeltaToolCall(name="back", json_args=f'{{"text":"{prompt}"}}', tool_call_id="same")}
        else:
            yield str(messages[-1].parts[0].content)  # type: ignore[union-attr]

    agent = Agent(FunctionModel(stream_function=echo))

    @agent.tool_plain
    async def back(text: str) -> str:
        await asyncio.sleep(0)
        return text

    engine = PydanticAIEngine(agent)
    cores = [Core(engine, id=str(number)) for number in range(50)]
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(core.send(f"I am {core.id}") for core in cores))
    assert [said(steps) for steps in answers] == [f"I am {number}" for number in range(50)]


@pytest.mark.parametrize("twice", [False, True], ids=["cancel", "cancel twice"])
async def test_a_cancel_at_any_moment_leaves_no_task_behind(*, twice: bool) -> None:
    ended = False
    moment = 0
    async with asyncio.timeout(60):
        while not ended:
            agent = Agent(Script([("act", {}), ("act", {})], "ok"))

            @agent.tool_plain
            async def act() -> str:
                await asyncio.sleep(0)
                return "x"

            core = Core(PydanticAIEngine(agent))
            core.open("Hi")
            before = asyncio.all_tasks()
            task = asyncio.create_task(core.go())
            for _ in range(moment):
                await asyncio.sleep(0)
            ended = task.done()
            task.cancel()
            if twice:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            for _ in range(5):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() - before - {task} == set(), f"cancelled after {moment} rounds"
            assert core.stored().messages() == core.history.messages()
            moment += 1
    assert moment > 20
