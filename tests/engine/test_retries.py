"""Requests to the model that fail and are made again: over a socket, through the whole runtime, on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError, UserError

from sojourn import Sojourn
from sojourn.abc import ModelResponded, ModelRetried, TextDelta
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.retrying import LONGEST_WAIT, RequestFailed, Retries
from sojourn.errors import InvalidInput, ModelFailed, ModelRequestLimit, PromptFailed, SojournError, TurnFailed
from sojourn.records import Event, EventKind, Role, TurnStatus, Usage
from sojourn.sessions.runtime import Runtime
from sojourn.testing import FakeClock
from tests.contract.backends import BACKENDS
from tests.engine.core import Core, Script, of, plain, said, shape
from tests.engine.wire import KEY, Cut, Fault, Status, Wire, calls, serving, text
from tests.unit.sessions.kit import World

SOON = 20

FAULTS = {
    "429 that asks to wait": Status(429, {"retry-after": "7"}),
    "500": Status(500),
    "503 whose message quotes the key": Status(503, message=f"key {KEY} is overloaded"),
    "cut before the first byte": Cut(0),
    "cut inside": Cut(1),
}


def talk(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two rounds of calls, then an answer."""
    rounds = sum(message["role"] == "assistant" for message in messages)
    if rounds == 0:
        return calls(("act", '{"x": 1}'), ("act", '{"x": 2}'))
    return calls(("act", '{"x": 3}')) if rounds == 1 else text("All three are done")


class House:
    """Runtimes on one file, with a tool that remembers how often it ran."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self.wire, self.path, self.clock = wire, folder / "chat.db", FakeClock()
        self.ran: list[int] = []

    def engine(self, **options: Any) -> PydanticAIEngine:
        agent = Agent(self.wire.model(), instructions="Be brief.")

        @agent.tool_plain
        async def act(x: int) -> str:
            self.ran.append(x)
            return f"did {x}"

        return PydanticAIEngine(agent, options=EngineOptions(**options), clock=self.clock)

    def runtime(self, **options: Any) -> Sojourn:
        return Sojourn(self.engine(**options), storage=f"sqlite:///{self.path}", close_wait=timedelta())

    async def passing_time(self, task: asyncio.Task[Any]) -> Any:
        """The task's result, while every wait of the engine's is over at once."""
        async with asyncio.timeout(SOON):
            while not task.done():
                await self.clock.advance(70)
                await asyncio.wait([task], timeout=0.005)
        return task.result()

    async def play(self, runtime: Sojourn, session: str = "s") -> list[Event]:
        async def listen() -> list[Event]:
            return [event async for event in runtime.stream(session, "Do it")]

        found: list[Event] = await self.passing_time(asyncio.create_task(listen()))
        return found


def told(events: list[Event]) -> list[str]:
    """The kinds in order; text only as often as it begins."""
    kinds = [str(event.kind) for event in events]
    return [kind for place, kind in enumerate(kinds) if kind != "text" or kinds[place - 1] != "text"]


ROUND = ["message", "tool_result"]
WHOLE = ["turn_opened", "message", "tool_result", "tool_result", "message", "tool_result"]


async def check_done(house: House, runtime: Runtime, session: str = "s") -> None:
    """Everything is there once, whatever went wrong meanwhile."""
    assert sorted(house.ran) == [1, 2, 3]
    history = await runtime.history(session)
    assert [message.role for message in history] == [
        *[Role.USER, Role.ASSISTANT, Role.TOOL, Role.TOOL, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    ]
    assert history[-1].text == "All three are done "
    assert [message.text for message in history if message.role is Role.TOOL] == ["did 1", "did 2", "did 3"]
    entries = await runtime.core.store.entries("local", session)
    assert not any(KEY in entry.body + entry.text for entry in entries)
    last = house.wire.sent[-1]
    assert [message["role"] for message in last] == [
        *["system", "user", "assistant", "tool", "tool", "assistant", "tool"]
    ]
    asked = [call["id"] for message in last for call in message.get("tool_calls") or []]
    assert asked == [message["tool_call_id"] for message in last if message["role"] == "tool"]


@pytest.mark.parametrize("request_number", [0, 1, 2])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_at_any_request_of_a_turn_is_passed_over(
    tmp_path: Path, fault: Fault, request_number: int
) -> None:
    faults: list[Fault | None] = [None] * request_number
    faults.append(fault)
    async with serving(talk, *faults) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            events = await house.play(runtime)
            await check_done(house, runtime)
            shown = told(events)
            retried = [event for event in events if event.kind is EventKind.MODEL_RETRY]
            partial = isinstance(fault, Cut) and fault.after > 0 and request_number == 2
            before = 1 if request_number == 0 else 4 if request_number == 1 else 6
            expected = [*WHOLE[:before], *(["text", "text_dropped"] if partial else []), "model_retry"]
            assert shown[: len(expected)] == expected
            assert [kind for kind in shown[len(expected) :] if kind != "text"] == [
                *WHOLE[before:], "message", "turn_ended",
            ]  # fmt: skip
            assert [event.turn for event in retried] == [1]
            assert KEY not in retried[0].text
            assert "asking again in" in retried[0].text
            assert events[-1].status is TurnStatus.COMPLETED
            assert len(wire.requests) == 4
            assert wire.sent[request_number] == wire.sent[request_number + 1]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.none() | st.sampled_from([*FAULTS.values()]), max_size=11))
def test_whatever_fails_in_whatever_order_the_log_is_as_if_nothing_had(faults: list[Fault | None]) -> None:
    async def play() -> tuple[list[str], list[int]]:
        async with serving(talk, *faults) as wire:
            house = House(wire, Path())
            core = Core(house.engine())
            core.open("Do it")
            try:
                await house.passing_time(asyncio.create_task(core.go()))
            except ModelFailed:
                assert len(core.history.unanswered) == 0
            return [entry.kind for entry in core.log], house.ran

    straight = [*WHOLE, "message", "turn_ended"]
    kinds, ran = asyncio.run(play())
    answered, in_a_row = 0, 0
    for fault in [*faults, None, None, None]:
        in_a_row = 0 if fault is None else in_a_row + 1
        answered += fault is None
        if in_a_row == 4 or answered == 3:
            break
    if answered == 3:
        assert (kinds, sorted(ran)) == (straight, [1, 2, 3])
    else:
        assert kinds == straight[: (1, 4, 6)[answered]]
        assert sorted(ran) == [1, 2, 3][: (0, 2, 3)[answered]]


async def test_many_faults_of_one_turn_are_counted_for_each_request_alone(tmp_path: Path) -> None:
    faults: list[Fault | None]
    faults = [Status(500), Cut(1), Status(429), None, Cut(0), Cut(1), Status(502), None, Status(503), Cut(2), Cut(3)]
    async with serving(talk, *faults) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            events = await house.play(runtime)
            await check_done(house, runtime)
            assert sum(event.kind is EventKind.MODEL_RETRY for event in events) == 9


async def test_after_the_last_retry_the_turn_fails_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with serving(talk, None, *[Status(503)] * 3) as wire:
        house = House(wire, tmp_path)
        async with house.runtime(model_retries=2) as runtime:
            events = await house.play(runtime)
            assert events[-1].status is TurnStatus.FAILED
            assert events[-1].text == (
                "the model's provider is overloaded (HTTP 503), 3 times in a row; send the message again later"
            )
            assert house.ran == [1, 2]
            events = await house.play(runtime)
            assert events[-1].status is TurnStatus.COMPLETED
            assert sorted(house.ran) == [1, 2, 3]


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_a_refusal_is_not_repeated_and_told_without_the_key(tmp_path: Path, status: int) -> None:
    message = f"Incorrect API key provided: {KEY}. You can find your key at https://x.test."
    async with serving(talk, Status(status, message=message)) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            events = await house.play(runtime)
            assert events[-1].status is TurnStatus.FAILED
            assert len(wire.requests) == 1
            reason = (await runtime.turn("s", 1)).reason
            assert reason == events[-1].text
            assert f"HTTP {status}" in reason
            assert ("llm." in reason) == (status != 400)
            entries = await runtime.core.store.entries("local", "s")
            assert not any(KEY in entry.body + entry.text for entry in entries)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]  # noqa: ASYNC240 - nothing else runs


async def test_a_wait_of_more_than_a_minute_fails_the_turn_and_says_how_long(tmp_path: Path) -> None:
    async with serving(talk, Status(429, {"retry-after": "600"})) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            with pytest.raises(TurnFailed, match="asks to wait 600 s") as failed:
                await runtime.send("s", "Do it")
            assert isinstance(failed.value.__cause__, ModelFailed)


async def wait_for_retry(runtime: Runtime) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(SOON):
        stream = runtime.stream("s", "Do it")
        async for event in stream:
            found.append(event)
            if event.kind is EventKind.MODEL_RETRY:
                break
        await stream.aclose()
    return found


async def test_a_cancel_in_the_wait_ends_the_turn_at_once(tmp_path: Path) -> None:
    async with serving(lambda _: text("Once upon a time"), Cut(3)) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            assert told(await wait_for_retry(runtime))[-3:] == ["text", "text_dropped", "model_retry"]
            async with asyncio.timeout(SOON):
                assert await runtime.cancel("s")
            assert [message.text for message in await runtime.history("s")] == ["Do it"]
            assert (await runtime.turn("s", 1)).status is TurnStatus.CANCELLED
            assert len(wire.requests) == 1
            assert not house.clock._timers or all(timer._callback is None for *_, timer in house.clock._timers)


async def test_a_turn_that_was_left_in_the_wait_is_gone_on_with_by_the_next_runtime(tmp_path: Path) -> None:
    async with serving(talk, None, None, Status(500)) as wire:
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            await wait_for_retry(runtime)
        async with house.runtime() as runtime:
            events = [event async for event in completed(runtime)]
            assert events[-1].status is TurnStatus.COMPLETED
            await check_done(house, runtime)
            assert len(wire.requests) == 4


async def test_a_turn_whose_process_died_in_the_wait_is_gone_on_with(tmp_path: Path) -> None:
    async with serving(talk, None, Status(500)) as wire:
        house, world = House(wire, tmp_path), World(BACKENDS["sqlite"](tmp_path))
        first = await world.runtime(house.engine())
        await wait_for_retry(first)
        await world.kill(first)
        second = await world.runtime(house.engine())
        events = [event async for event in completed(second)]
        assert [str(event.kind) for event in events if event.kind is not EventKind.TEXT] == [
            *["turn_opened", "message", "tool_result", "tool_result", "turn_resumed"],
            *["message", "tool_result", "message", "turn_ended"],
        ]
        await check_done(house, second)
        await world.close()
        await world.backend.close()


async def completed(runtime: Runtime) -> AsyncIterator[Event]:
    async with asyncio.timeout(SOON):
        async for event in runtime.watch("s", after=0):
            yield event
            if event.kind is EventKind.TURN_ENDED:
                return


async def test_what_a_cut_answer_has_used_is_counted_where_the_provider_said_it(tmp_path: Path) -> None:
    async with serving(lambda _: text("Once upon a time"), Cut(2)) as wire:
        wire.usage_first = True
        house = House(wire, tmp_path)
        async with house.runtime() as runtime:
            await house.play(runtime)
            (usage,) = (await runtime.turn("s", 1)).usage.values()
            assert (usage.requests, usage.input_tokens, usage.output_tokens) == (2, 40, 10)
            assert (await runtime.get("s")).usage == (await runtime.turn("s", 1)).usage


async def test_a_failure_that_is_no_answer_over_http_is_retried_too() -> None:
    failing = Script(ModelHTTPError(503, "script"), ConnectionResetError(), "Back.")
    clock = FakeClock()
    core = Core(PydanticAIEngine(Agent(failing), clock=clock))
    core.open("a")
    going = asyncio.create_task(core.go())
    while not going.done():
        await clock.advance(40)
    steps = going.result()
    assert shape(steps) == ["ModelRetried", "ModelRetried", "ModelResponded", "RunFinished"]
    assert [step.attempt for step in of(steps, ModelRetried)] == [2, 3]
    assert plain(failing.sent[0]) == plain(failing.sent[1]) == plain(failing.sent[2])


async def test_a_refused_answer_is_asked_for_again_with_the_same_feedback() -> None:
    model = Script("bad", ModelHTTPError(500, "script"), "good")
    agent = Agent(model)

    @agent.output_validator
    def check(answer: str) -> str:
        if answer == "bad":
            raise ModelRetry("Say good.")
        return answer

    clock = FakeClock()
    core = Core(PydanticAIEngine(agent, clock=clock))
    core.open("a")
    going = asyncio.create_task(core.go())
    while not going.done():
        await clock.advance(40)
    assert said(going.result()) == "good"
    assert shape(going.result()) == [
        *["ModelResponded", "FeedbackGiven", "ModelRetried", "ModelResponded", "RunFinished"]
    ]
    assert [len(messages) for messages in model.sent] == [1, 3, 3]


async def test_what_is_no_failure_of_the_provider_is_not_repeated_and_not_dressed_up() -> None:
    late = PromptFailed("files", "the share did not answer")
    late.__cause__ = TimeoutError()
    for error in (UserError("the agent is wrong"), ValueError("x"), late):
        core = Core(PydanticAIEngine(Agent(Script(error, "never"))))
        with pytest.raises(type(error)) as raised:
            await core.send("a")
        assert raised.value is error


async def test_a_tool_that_loses_its_own_connection_is_no_failing_model() -> None:
    agent = Agent(Script([("act", {})], "ok"))
    ran: list[str] = []

    @agent.tool_plain
    def act() -> str:
        ran.append("act")
        raise ConnectionResetError("the tool's own")

    steps = await Core(PydanticAIEngine(agent)).send("a")
    assert shape(steps) == ["ModelResponded", "ToolFinished", "ModelResponded", "RunFinished"]
    assert ran == ["act"]


async def test_the_limit_of_requests_holds_over_attempts_and_leaves_no_call_unanswered() -> None:
    agent = Agent(Script(*[[("act", {"x": x})] for x in range(9)], "never"))

    @agent.tool_plain
    def act(x: int) -> int:
        return x

    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_requests=3)))
    core.open("a")
    await core.go(stop=lambda step: isinstance(step, ModelResponded))
    core.close_calls()
    with pytest.raises(ModelRequestLimit, match=r"3 requests .* llm\.maxIterations"):
        await core.go()
    assert core.history.unanswered == []
    assert len(core.history.messages()) == 7
    with pytest.raises(ModelRequestLimit):
        await core.send("b")  # has its own three
    assert len(core.history.messages()) == 13


async def test_as_many_requests_as_the_limit_are_enough_for_a_turn_that_is_done_then() -> None:
    agent = Agent(Script([("act", {})], "done"))

    @agent.tool_plain
    def act() -> int:
        return 1

    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_requests=2)))
    assert said(await core.send("a")) == "done"


async def test_closing_the_run_in_the_wait_leaves_nothing_behind() -> None:
    clock = FakeClock()
    core = Core(PydanticAIEngine(Agent(Script("Half of", ConnectionResetError(), "never")), clock=clock))
    await core.send("a")
    core.open("b")
    tasks = asyncio.all_tasks()
    steps = await core.go(stop=lambda step: isinstance(step, ModelRetried))
    assert isinstance(steps[-1], ModelRetried)
    assert asyncio.all_tasks() == tasks
    assert of(steps, TextDelta) == []


def failed(error: Exception) -> RequestFailed:
    return RequestFailed(error, "m", Usage(requests=1))


def test_waits_grow_to_half_a_minute_and_are_never_shorter_than_asked() -> None:
    for chance, waits in ((0.0, [1, 2, 4, 8, 16, 30, 30]), (1.0, [0.5, 1, 2, 4, 8, 15, 15])):
        retries = Retries(10, chance=lambda chance=chance: chance)  # type: ignore[misc]
        found = [retries.after(failed(ConnectionResetError())).wait for _ in waits]
        assert found == waits
        assert max(found) <= LONGEST_WAIT
        retries.answered()
        asked = retries.after(failed(ModelHTTPError(429, "m", headers={"retry-after": "42"})))
        assert (asked.attempt, asked.wait) == (2, 42)


def test_no_sentence_of_a_failure_is_empty_long_or_secret() -> None:
    bodies: list[Any] = [
        None,
        "",
        f"key {KEY}",
        {"error": {"message": KEY}},
        {"message": "x" * 9999},
        [KEY],
        {"a": KEY},
    ]
    for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 501, 503, 529):
        for body in bodies:
            retries = Retries(0)
            with pytest.raises(ModelFailed) as raised:
                retries.after(failed(ModelHTTPError(status, "m", body)))
            sentence = str(raised.value)
            assert KEY not in sentence
            assert str(status) in sentence
            assert len(sentence) < 500
            assert isinstance(raised.value, SojournError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("max_requests", 0), ("max_requests", True), ("model_retries", -1), ("model_retries", None)],
        *[("max_input_tokens", 0), ("max_input_tokens", "9"), ("max_input_tokens", 1.5)],
    ],
)
def test_options_that_cannot_be_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        EngineOptions(**{name: value})
