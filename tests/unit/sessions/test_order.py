"""P4: one turn of a session at a time, in the order of acceptance."""

import asyncio
import random

import pytest

from sojourn.abc import Run
from sojourn.errors import SessionBusy, SessionNotFound
from sojourn.records import Role, SessionStatus, TurnStatus
from sojourn.testing import ScriptedEngine, settle
from tests.unit.sessions.kit import Stage, World, in_line, soon, told, until


async def test_input_runs_one_by_one_in_the_order_of_acceptance(world: World) -> None:
    # the scripted engine itself fails when two turns of a session run at once
    runtime = await world.runtime(max_sessions=3)
    async with asyncio.timeout(30):
        await asyncio.gather(*(runtime.send(f"s{n % 8}", f"m{n}") for n in range(160)))
    for n in range(8):
        turns = await runtime.turns(f"s{n}")
        assert [turn.status for turn in turns] == [TurnStatus.COMPLETED] * 20
        expected = [("user", f"m{m}") for m in range(n, 160, 8)]
        assert [line for line in await told(runtime, f"s{n}") if line[0] == "user"] == expected


async def test_callers_that_give_up_at_any_moment_leave_order_and_history_whole(world: World) -> None:
    chance = random.Random(7)
    runtime = await world.runtime(max_sessions=2)
    callers = []
    for n in range(120):
        callers.append(asyncio.create_task(runtime.send(f"s{n % 6}", f"m{n:03}")))
        await settle(chance.randrange(4))
        if chance.random() < 0.4:
            chance.choice(callers).cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(*callers, return_exceptions=True)
    for n in range(6):
        await until(lambda: runtime.core.residency.at_rest == runtime.core.residency.live)
        await runtime.chores.recover()
        await soon(runtime.send(f"s{n}", "last"))
        lines = await told(runtime, f"s{n}")
        users = [text for role, text in lines if role == "user"]
        opened = [message.turn for message in await runtime.history(f"s{n}") if message.role is Role.USER]
        assert opened == list(range(1, len(users) + 1)), "turns are numbered in the order of acceptance"
        assert users[-1] == "last"
        assert [text for role, text in lines if role == "assistant"] == [f"you said: {text}" for text in users]
        answered = [f"m{m:03}" for m in range(n, 120, 6) if not callers[m].cancelled()]
        assert set(answered) <= set(users)


async def test_two_turns_at_once_would_be_seen(memory: World, stage: Stage) -> None:
    engine = ScriptedEngine(stage)
    runtime = await memory.runtime(engine)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    with pytest.raises(AssertionError, match="two turns"):
        await anext(engine.run(Run(await runtime.get("s"), 2, 1, engine.history())))
    stage.let("wait")
    await soon(turn)


async def test_a_message_may_be_refused_instead_of_queued(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    first = asyncio.create_task(runtime.send("s", "wait", busy="reject"))
    await stage.began("wait")
    with pytest.raises(SessionBusy) as refused:
        await soon(runtime.send("s", "no", busy="reject"))
    assert refused.value.code == "session_busy"
    assert await runtime.inbox("s") == []
    stage.let("wait")
    await soon(first)
    assert (await soon(runtime.send("s", "yes", busy="reject"))).text == "you said: yes"
    assert stage.played == ["wait", "yes"]


async def test_what_is_in_line_is_shown(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    parts = [{"type": "text", "text": "look"}, {"type": "image", "image": "aGk=", "mimeType": "image/png"}]
    turns = [asyncio.create_task(runtime.send("s", content)) for content in ("wait", "b", parts)]
    await stage.began("wait")
    await in_line(runtime, 2)
    found = await runtime.inbox("s")
    assert [(entry.turn, entry.content, entry.held) for entry in found] == [(2, "b", False), (3, parts, False)]
    assert (await runtime.get("s")).status is SessionStatus.RUNNING
    stage.let("wait")
    await soon(asyncio.gather(*turns))
    assert (await runtime.get("s")).status is SessionStatus.IDLE


async def test_a_message_may_be_for_a_session_that_exists_only(world: World) -> None:
    runtime = await world.runtime()
    with pytest.raises(SessionNotFound) as unknown:
        await runtime.send("s", "hi", create=False)
    assert unknown.value.code == "session_not_found"
    assert (await runtime.statistics()).stored == 0
    await runtime.create("s")
    assert (await runtime.send("s", "hi", create=False)).text == "you said: hi"
    await runtime.delete("s")
    with pytest.raises(SessionNotFound):
        await runtime.send("s", "hi", create=False)
