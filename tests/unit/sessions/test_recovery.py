"""What a crash leaves, and who goes on with it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import Run, Step, TextDelta
from sojourn.errors import RuntimeClosed, TurnHeld
from sojourn.records import EffectStatus, OnInterrupt, SessionStatus, TurnStatus
from sojourn.testing import ScriptedHistory, answer, call_tool, say
from tests.unit.sessions.kit import Stage, World, becomes, in_line, said, soon, told, until


class Worker:
    """Calls two tools, and dies with its process in the second."""

    def __init__(self) -> None:
        self.stuck = asyncio.Event()
        self.attempts: list[tuple[int, list[tuple[str, str]]]] = []

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        self.attempts.append((run.attempt, list(history.told)))
        if said(history) == "work" and run.attempt == 1:
            yield say("on it", calls=["first", "second"])
            yield call_tool(0, "first", "done")
            yield TextDelta("lost ")
            self.stuck.set()
            await asyncio.Event().wait()
        async for step in answer(f"attempt {run.attempt}"):
            yield step


async def crash(world: World, worker: Worker) -> None:
    """A process dies in the middle of a turn, with one more input in line."""
    first = await world.runtime(worker)
    calls = [asyncio.create_task(first.send("s", text)) for text in ("work", "next")]
    await soon(worker.stuck.wait())
    await in_line(first, 1)
    await world.kill(first)
    await asyncio.gather(*calls, return_exceptions=True)


async def test_an_interrupted_turn_is_resumed_when_the_next_process_opens(world: World) -> None:
    worker = Worker()
    await crash(world, worker)
    second = await world.runtime(worker)
    await becomes(second, TurnStatus.COMPLETED, turn=2)
    assert worker.attempts[1] == (
        2,
        [
            ("user", "work"),
            ("assistant", "on it"),
            ("tool", "done"),
            ("tool", "the outcome of second is unknown"),
        ],
    ), "stored steps are not repeated, the input is there once, the model is told what nobody knows"
    turn = await second.turn("s", 1)
    assert (turn.status, turn.attempts) == (TurnStatus.COMPLETED, 2)
    assert [role for role, _ in await told(second, "s")] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    statuses = [effect.status for effect in await second.effects("s")]
    assert statuses[:2] == [EffectStatus.FINISHED, EffectStatus.UNKNOWN]


async def test_work_of_a_dead_process_is_taken_over_by_one_that_runs_already(world: World) -> None:
    worker, other = Worker(), Stage()
    second = await world.runtime(other)
    await crash(world, worker)
    for _ in range(3):
        await world.clock.advance(1)
        await until(lambda: True)
    await becomes(second, TurnStatus.COMPLETED)
    await becomes(second, TurnStatus.COMPLETED, turn=2)
    assert other.played == ["work", "next"]


async def test_an_interrupted_turn_may_be_held_with_all_that_is_in_line(world: World) -> None:
    worker = Worker()
    await crash(world, worker)
    second = await world.runtime(worker, on_interrupt=OnInterrupt.HOLD)
    await becomes(second, TurnStatus.HELD)
    assert [turn.status for turn in await second.turns("s")] == [TurnStatus.HELD] * 2
    assert [(entry.turn, entry.held) for entry in await second.inbox("s")] == [(2, True)]
    assert (await second.get("s")).status is SessionStatus.HELD
    await until(lambda: second.core.residency.at_rest == second.core.residency.live)
    assert await second.resume("s") == [1, 2]
    await becomes(second, TurnStatus.COMPLETED, turn=2)
    assert await second.resume("s") == []
    assert [attempt for attempt, _ in worker.attempts] == [1, 2, 1]


async def test_held_turns_can_be_discarded_one_or_all(world: World) -> None:
    worker = Worker()
    await crash(world, worker)
    second = await world.runtime(worker, on_interrupt=OnInterrupt.HOLD)
    await becomes(second, TurnStatus.HELD)
    assert await second.discard("s", turn=2) == [2]
    assert await second.discard("s") == [1]
    assert await second.discard("s") == []
    assert [turn.status for turn in await second.turns("s")] == [TurnStatus.CANCELLED] * 2
    assert (await second.get("s")).status is SessionStatus.IDLE
    stage = Stage()
    second._engine.script = stage  # type: ignore[attr-defined]
    assert (await soon(second.send("s", "go on"))).text == "you said: go on"
    results = [text for role, text in await told(second, "s") if role == "tool"]
    assert results == ["done", "the outcome of second is unknown"]


async def test_a_new_message_supersedes_the_held_turn_and_leaves_held_input_held(world: World) -> None:
    worker = Worker()
    await crash(world, worker)
    second = await world.runtime(Stage(), on_interrupt=OnInterrupt.HOLD)
    await becomes(second, TurnStatus.HELD)
    assert (await soon(second.send("s", "something else"))).text == "you said: something else"
    statuses = [turn.status for turn in await second.turns("s")]
    assert statuses == [TurnStatus.CANCELLED, TurnStatus.HELD, TurnStatus.COMPLETED]
    assert "superseded" in ((await second.turn("s", 1)).reason or "")
    assert [entry.content for entry in await second.inbox("s")] == ["next"], "never run with an unrelated message"


async def test_a_turn_that_kills_its_process_three_times_is_given_up(world: World) -> None:
    for attempt in range(1, 4):
        stage = Stage()
        runtime = await world.runtime(stage)
        lost = [asyncio.create_task(runtime.send("s", "wait"))] if attempt == 1 else []
        await stage.began("wait")
        await world.kill(runtime)
        await asyncio.gather(*lost, return_exceptions=True)
    stage = Stage()
    last = await world.runtime(stage)
    await becomes(last, TurnStatus.FAILED)
    turn = await last.turn("s", 1)
    assert (turn.attempts, turn.reason) == (3, "its process died 3 times while it ran")
    assert stage.played == []
    assert (await soon(last.send("s", "hello"))).text == "you said: hello"


async def test_closing_hands_running_work_over_and_that_is_no_attempt(world: World) -> None:
    for start in range(4):
        stage = Stage()
        runtime = await world.runtime(stage)
        calls = [asyncio.create_task(runtime.send("s", "wait"))] if start == 0 else []
        await stage.began("wait")
        await runtime.close()
        for call in calls:
            with pytest.raises(RuntimeClosed):
                await soon(call)
    stage = Stage()
    last = await world.runtime(stage)
    stage.let("wait")
    await becomes(last, TurnStatus.COMPLETED)
    assert (await last.turn("s", 1)).attempts == 1
    assert await told(last, "s") == [("user", "wait"), ("assistant", "you said: wait")]


async def test_closing_gives_running_turns_a_moment(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, close_wait=5)
    call = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    closing = asyncio.create_task(runtime.close())
    await world.clock.advance(4)
    assert not closing.done()
    stage.let("wait")
    assert (await soon(call)).text == "you said: wait"
    await soon(closing)


async def test_recovery_needs_a_place_like_everyone(world: World) -> None:
    stages = [Stage(), Stage()]
    first = await world.runtime(stages[0])
    lost = [asyncio.create_task(first.send(f"s{n}", f"wait {n}")) for n in range(5)]
    for n in range(5):
        await stages[0].began(f"wait {n}")
    await world.kill(first)
    await asyncio.gather(*lost, return_exceptions=True)
    second = await world.runtime(stages[1], max_sessions=2)
    await until(lambda: len(stages[1].played) == 2)
    assert second.core.residency.live == 2
    stages[1].let(*(f"wait {n}" for n in range(5)))
    for n in range(5):
        await becomes(second, TurnStatus.COMPLETED, id=f"s{n}")


async def test_a_held_turn_is_what_its_callers_hear(world: World) -> None:
    first_stage, second_stage = Stage(), Stage()
    first = await world.runtime(first_stage)
    second = await world.runtime(second_stage, on_interrupt=OnInterrupt.HOLD)
    lost = asyncio.create_task(first.send("s", "wait", key="k"))
    await first_stage.began("wait")
    other = asyncio.create_task(second.send("s", "wait", key="k"))
    behind = asyncio.create_task(second.send("s", "behind"))
    await in_line(second, 1)
    await world.kill(first)
    await asyncio.gather(lost, return_exceptions=True)
    await second.chores.recover()
    await becomes(second, TurnStatus.HELD)
    await second.chores.pulse()
    for caller in (other, behind):
        with pytest.raises(TurnHeld) as held:
            await soon(caller)
        assert held.value.code == "turn_held"


async def test_a_failure_to_take_up_one_session_does_not_stop_the_others(world: World) -> None:
    stage = Stage()
    first = await world.runtime(stage)
    lost = [asyncio.create_task(first.send(name, f"wait {name}")) for name in ("bad", "good")]
    for name in ("bad", "good"):
        await stage.began(f"wait {name}")
    await world.kill(first)
    await asyncio.gather(*lost, return_exceptions=True)

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if run.session.id == "bad":
            raise RuntimeError("cannot")
        async for step in answer(said(history)):
            yield step

    second = await world.runtime(script)
    await becomes(second, TurnStatus.COMPLETED, id="good")
    await becomes(second, TurnStatus.FAILED, id="bad")
