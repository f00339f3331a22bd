"""Idempotency keys: the same key with the same content never runs twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import Run, Step
from sojourn.errors import IdempotencyConflict, TurnCancelled, TurnFailed
from sojourn.records import OnInterrupt, TurnStatus
from sojourn.testing import ScriptedHistory, say
from tests.unit.sessions.kit import Stage, World, all_of, becomes, in_line, soon


async def test_a_hundred_callers_with_one_key_run_it_once(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    callers = [asyncio.create_task(runtime.send("s", "wait", key="k")) for _ in range(100)]
    await stage.began("wait")
    stage.let("wait")
    replies = await soon(asyncio.gather(*callers))
    assert {(reply.turn, reply.text) for reply in replies} == {(1, "you said: wait")}
    assert stage.played == ["wait"]
    assert len(await runtime.turns("s")) == 1


async def test_a_key_of_a_queued_turn_attaches_to_it(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    first = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    both = [asyncio.create_task(runtime.send("s", "b", key="k")) for _ in range(2)]
    await in_line(runtime, 1)
    stage.let("wait")
    replies = await soon(asyncio.gather(first, *both))
    assert [reply.turn for reply in replies] == [1, 2, 2]
    assert stage.played == ["wait", "b"]


async def test_a_key_of_a_completed_turn_gives_its_reply_also_after_a_restart(world: World, stage: Stage) -> None:
    first = await world.runtime(stage)
    reply = await first.send("s", "hello", key="k")
    await first.send("s", "more")
    assert await first.send("s", "hello", key="k") == reply
    await first.close()
    second = await world.runtime(stage)
    again = await second.send("s", "hello", key="k")
    assert (again.text, again.turn, again.output, again.finish_reason) == (reply.text, 1, reply.output, "stop")
    assert dict(again.usage) == dict(reply.usage)
    assert stage.played == ["hello", "more"]


async def test_a_key_of_a_failed_turn_tells_of_the_failure(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if history.told:
            raise ValueError("no good")
        yield say("never")

    runtime = await world.runtime(script)
    reasons = set()
    for _ in range(2):
        with pytest.raises(TurnFailed) as failed:
            await soon(runtime.send("s", "hi", key="k"))
        reasons.add((failed.value.turn, failed.value.reason))
    assert reasons == {(1, "ValueError: no good")}


async def test_a_key_of_a_cancelled_turn_tells_that_it_was_cancelled(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turn = asyncio.create_task(runtime.send("s", "wait", key="k"))
    await stage.began("wait")
    await runtime.cancel("s")
    for call in (turn, runtime.send("s", "wait", key="k")):
        with pytest.raises(TurnCancelled):
            await soon(call)
    assert stage.played == ["wait"]


async def test_a_key_of_a_held_turn_continues_it(world: World, stage: Stage) -> None:
    first = await world.runtime(stage)
    lost = asyncio.create_task(first.send("s", "wait", key="k"))
    await stage.began("wait")
    await world.kill(first)
    await asyncio.gather(lost, return_exceptions=True)
    second = await world.runtime(stage, on_interrupt=OnInterrupt.HOLD)
    await becomes(second, TurnStatus.HELD)
    stage.let("wait")
    assert (await soon(second.send("s", "wait", key="k"))).text == "you said: wait"
    turn = await second.turn("s", 1)
    assert (turn.status, turn.attempts) == (TurnStatus.COMPLETED, 2)


@pytest.mark.parametrize("content", ["other", "hello ", [{"type": "text", "text": "hello"}]])
async def test_a_key_with_other_content_is_a_conflict(world: World, stage: Stage, content: object) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "hello", key="k")
    with pytest.raises(IdempotencyConflict) as refused:
        await runtime.send("s", content, key="k")  # type: ignore[arg-type]
    assert refused.value.code == "idempotency_conflict"
    assert len(await runtime.turns("s")) == 1
    assert (await runtime.send("t", content, key="k")).turn == 1, "a key is unique in its session only"  # type: ignore[arg-type]


async def test_a_stream_with_a_known_key_replays_the_turn(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hello", key="k")
    await runtime.send("s", "more")
    events = await all_of(runtime.stream("s", "hello", key="k"))
    assert [str(event.kind) for event in events] == ["turn_opened", "message", "turn_ended"]
    assert {event.turn for event in events} == {1}
    assert events[-1].reply is not None
    assert events[-1].reply.text == "you said: hello"


async def test_a_key_is_free_again_after_reset_and_delete(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "one", key="k")
    await runtime.reset("s")
    await runtime.send("s", "two", key="k")
    await runtime.delete("s")
    await runtime.send("s", "three", key="k")
    assert stage.played == ["one", "two", "three"]
