"""Cancel: in every state of a turn, with what comes after it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import Run, Step, TextDelta
from sojourn.errors import SessionNotFound, TurnCancelled, TurnNotFound
from sojourn.records import EffectStatus, Role, TurnStatus
from sojourn.testing import ScriptedHistory, answer, call_tool, say
from tests.unit.sessions.kit import Stage, World, all_of, in_line, kinds, said, soon, told


class Talker:
    """Writes two words, then waits."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "talk":
            yield TextDelta("Once upon ")
            yield TextDelta("a time")
            self.writing.set()
            await asyncio.Event().wait()
        async for step in answer(f"heard {len(history.told)}"):
            yield step


async def test_a_running_turn_is_cancelled_and_what_it_wrote_is_kept(world: World) -> None:
    talker = Talker()
    runtime = await world.runtime(talker)
    turn = asyncio.create_task(runtime.send("s", "talk"))
    await soon(talker.writing.wait())
    assert await soon(runtime.cancel("s")) is True
    with pytest.raises(TurnCancelled) as ended:
        await soon(turn)
    assert ended.value.code == "turn_cancelled"
    assert await told(runtime, "s") == [("user", "talk"), ("assistant", "Once upon a time")]
    assert (await runtime.turn("s", 1)).status is TurnStatus.CANCELLED
    assert (await soon(runtime.send("s", "more"))).text == "heard 3"


async def test_cancelling_twice_or_too_late_cancels_nothing(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    twice = await soon(asyncio.gather(runtime.cancel("s", turn=1), runtime.cancel("s", turn=1)))
    assert True in twice
    await asyncio.gather(turn, return_exceptions=True)
    assert await runtime.cancel("s", turn=1) is False
    assert await runtime.cancel("s") is False
    await soon(runtime.send("s", "hi"))
    assert await runtime.cancel("s", turn=2) is False
    assert (await runtime.turn("s", 2)).status is TurnStatus.COMPLETED


async def test_what_never_was_cannot_be_cancelled(world: World) -> None:
    runtime = await world.runtime()
    with pytest.raises(SessionNotFound):
        await runtime.cancel("s")
    await runtime.send("s", "hi")
    with pytest.raises(TurnNotFound) as unknown:
        await runtime.cancel("s", turn=7)
    assert unknown.value.code == "turn_not_found"


async def test_a_turn_in_line_is_cancelled_without_touching_the_others(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turns = [asyncio.create_task(runtime.send("s", text)) for text in ("wait", "b", "c")]
    await stage.began("wait")
    await soon(in_line(runtime, 2))
    assert await soon(runtime.cancel("s", turn=2)) is True
    with pytest.raises(TurnCancelled):
        await soon(turns[1])
    stage.let("wait")
    await soon(asyncio.gather(turns[0], turns[2]))
    assert stage.played == ["wait", "c"]
    assert [text for role, text in await told(runtime, "s") if role == "user"] == ["wait", "c"]


async def test_cancel_leaves_what_is_in_line_and_clear_takes_it_too(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turns = [asyncio.create_task(runtime.send("s", text)) for text in ("wait 1", "wait 2", "c", "d")]
    await stage.began("wait 1")
    await soon(in_line(runtime, 3))
    assert await soon(runtime.cancel("s")) is True
    await stage.began("wait 2")
    assert await soon(runtime.cancel("s", clear=True)) is True
    ends = await soon(asyncio.gather(*turns, return_exceptions=True))
    assert [type(end) for end in ends] == [TurnCancelled] * 4
    assert await runtime.inbox("s") == []
    assert stage.played == ["wait 1", "wait 2"]


async def test_a_message_right_behind_a_cancel_gets_its_own_answer(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    first = asyncio.create_task(all_of(runtime.stream("s", "wait")))
    await stage.began("wait")
    cancel = asyncio.create_task(runtime.cancel("s"))
    second = asyncio.create_task(all_of(runtime.stream("s", "hello")))
    assert await soon(cancel) is True
    first_events, second_events = await soon(asyncio.gather(first, second))
    assert first_events[-1].status is TurnStatus.CANCELLED
    assert kinds(second_events) == ["turn_opened", "message", "turn_ended"]
    assert {event.turn for event in second_events} == {2}
    assert second_events[-1].reply is not None
    assert second_events[-1].reply.text == "you said: hello"


async def test_a_call_that_was_running_when_the_turn_was_cancelled_gets_a_result(world: World) -> None:
    calling = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "call":
            yield say("", calls=["quick", "slow"])
            yield call_tool(0, "quick", "done")
            calling.set()
            await asyncio.Event().wait()
        async for step in answer(str(history.told)):
            yield step

    runtime = await world.runtime(script)
    turn = asyncio.create_task(runtime.send("s", "call"))
    await soon(calling.wait())
    assert await soon(runtime.cancel("s"))
    await asyncio.gather(turn, return_exceptions=True)
    found = [(effect.tool, effect.status) for effect in await runtime.effects("s")]
    assert found == [("quick", EffectStatus.FINISHED), ("slow", EffectStatus.UNKNOWN)]
    reply = await soon(runtime.send("s", "what happened?"))
    assert "('tool', 'done'), ('tool', 'the outcome of slow is unknown')" in reply.text


async def test_an_engine_that_breaks_while_it_is_cancelled_is_cancelled_all_the_same(memory: World) -> None:
    started = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        try:
            started.set()
            await asyncio.Event().wait()
            yield say("never")
        except asyncio.CancelledError:
            raise ConnectionError("lost in cleaning up") from None

    runtime = await memory.runtime(script)
    turn = asyncio.create_task(runtime.send("s", "hi"))
    await soon(started.wait())
    assert await soon(runtime.cancel("s")) is True
    with pytest.raises(TurnCancelled):
        await soon(turn)


async def test_an_engine_that_swallows_the_cancel_is_cancelled_all_the_same(memory: World) -> None:
    started = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return
        yield say("never")

    runtime = await memory.runtime(script)
    turn = asyncio.create_task(runtime.send("s", "hi"))
    await soon(started.wait())
    assert await soon(runtime.cancel("s")) is True
    with pytest.raises(TurnCancelled):
        await soon(turn)


async def test_an_engine_that_breaks_in_cleaning_up_takes_no_answer_back(memory: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        try:
            async for step in answer("yes"):
                yield step
        finally:
            raise ConnectionError("lost in cleaning up")

    runtime = await memory.runtime(script)
    assert (await soon(runtime.send("s", "hi"))).text == "yes"
    assert [message.role for message in await runtime.history("s")] == [Role.USER, Role.ASSISTANT]


async def test_cancelling_the_caller_does_not_cancel_the_turn(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    caller = asyncio.create_task(runtime.send("s", "wait", key="k"))
    await stage.began("wait")
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    stage.let("wait")
    assert (await soon(runtime.send("s", "wait", key="k"))).text == "you said: wait"
    assert stage.played == ["wait"]
    assert not stage.cut
