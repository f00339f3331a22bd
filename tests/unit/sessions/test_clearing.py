"""Clearing a session's context: live and cold, amid watchers, over restarts; what is stored stays as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sojourn.abc import Run, RunFinished, Step
from sojourn.errors import ExportInvalid, SessionBusy, SessionNotFound
from sojourn.records import EffectStatus, EventKind, OnInterrupt, TurnStatus
from sojourn.sessions.runtime import Runtime
from sojourn.testing import ScriptedHistory, pause, say
from tests.unit.sessions.kit import Stage, World, all_of, becomes, kinds, some_of, soon, told, until


async def counting(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Answers with how much it was told; "ask" calls a tool for which a person is asked."""
    if history.told[-1][1] == "ask":
        yield say("may I?", calls=["look"], gated=["look"])
        yield pause((0, "look"))
        return
    text = f"{len(history.told)} told"
    yield say(text, final=True)
    yield RunFinished(text, None, "stop")


def knows(runtime: Runtime, id: str = "s") -> list[tuple[str, str]]:
    """What the live copy tells the model."""
    live = runtime.core.residency.peek(("local", id))
    assert live is not None
    assert isinstance(live.history, ScriptedHistory)
    return live.history.told


async def test_a_live_session_and_a_restored_one_know_the_same(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    assert (await runtime.send("s", "two")).text == "3 told"
    before = await told(runtime, "s")
    assert await runtime.session("s").clear_context() is True
    assert await runtime.clear_context("s") is False
    assert await told(runtime, "s") == before
    assert (await runtime.send("s", "three")).text == "1 told"
    live = knows(runtime)
    assert live == [("user", "three"), ("assistant", "1 told")]
    await runtime.unload("s")
    assert (await runtime.send("s", "four")).text == "3 told"
    assert knows(runtime)[:2] == live
    assert [text for role, text in await told(runtime, "s") if role == "user"] == ["one", "two", "three", "four"]


async def test_a_cold_session_is_cleared_without_becoming_live(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    await runtime.unload("s")
    await runtime.clear_context("s")
    assert not runtime.core.residency.live
    assert (await runtime.send("s", "two")).text == "1 told"


async def test_what_another_process_cleared_is_clear_here(world: World) -> None:
    a, b = await world.runtime(counting), await world.runtime(counting)
    await a.send("s", "one")
    await b.clear_context("s")
    assert (await a.send("s", "two")).text == "1 told"
    assert (await b.send("s", "three")).text == "3 told"


async def test_it_is_there_after_a_crash(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    await runtime.clear_context("s")
    await world.kill(runtime)
    assert (await (await world.runtime(counting)).send("s", "two")).text == "1 told"


async def test_watchers_are_told_here_and_elsewhere_live_and_later(world: World) -> None:
    a, b = await world.runtime(counting), await world.runtime(counting)
    await a.send("s", "one")

    def ends(event: Any) -> bool:
        return event.kind is EventKind.TURN_ENDED

    here, there = (asyncio.create_task(some_of(one.watch("s"), ends)) for one in (a, b))
    await until(lambda: all(one.core.feeds(("local", "s"))._subscriptions for one in (a, b)))
    await a.clear_context("s")
    await a.send("s", "two")
    b.core.feeds.look(("local", "s"))
    events, elsewhere = await soon(here), await soon(there)
    assert kinds(events) == kinds(elsewhere) == ["context_cleared", "turn_opened", "message", "turn_ended"]
    for cleared in (events[0], elsewhere[0]):
        assert (cleared.id, cleared.seq, cleared.turn, cleared.text, cleared.message) == ("4", 4, None, "", None)
    assert kinds(await some_of(a.watch("s", after=3), ends)) == kinds(events)
    assert kinds(await some_of(a.watch("s", after=4), ends)) == kinds(events)[1:]
    assert "context_cleared" not in kinds(await all_of(a.stream("s", "three")))


async def test_it_is_activity_and_keeps_a_live_session_live(world: World) -> None:
    runtime = await world.runtime(counting, ttl=100)
    await runtime.send("s", "one")
    for _ in range(3):
        await world.clock.advance(90)
        await runtime.clear_context("s")
    assert runtime.core.residency.is_live(("local", "s"))
    session = await runtime.get("s")
    assert session.last_activity.timestamp() * 1000 == world.clock.now_ms()
    assert session.message_count == 2
    await world.clock.advance(110)
    assert not runtime.core.residency.live


async def test_not_amid_a_turn_and_nothing_is_changed_by_trying(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage)
    with pytest.raises(SessionNotFound):
        await runtime.clear_context("s")
    await runtime.send("s", "hello")
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    with pytest.raises(SessionBusy):
        await runtime.clear_context("s")
    stage.let("wait")
    await soon(turn)
    assert len(knows(runtime)) == 4
    assert await runtime.clear_context("s") is True


async def test_a_turn_that_is_held_needs_what_it_was_told_and_its_successors_do_not(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage, on_interrupt=OnInterrupt.HOLD)
    await runtime.submit("s", "wait")
    await stage.began("wait")
    await runtime.follow_up("s", "behind it")
    await world.kill(runtime)
    runtime = await world.runtime(on_interrupt=OnInterrupt.HOLD)
    await runtime.chores.recover()
    await becomes(runtime, TurnStatus.HELD)
    await until(lambda: not runtime.core.residency.residents() or not runtime._owners())
    with pytest.raises(SessionBusy):
        await runtime.clear_context("s")
    await runtime.discard("s", turn=1)
    assert await runtime.clear_context("s") is True
    [turn] = await runtime.resume("s")
    await becomes(runtime, TurnStatus.COMPLETED, turn)
    assert knows(runtime) == [("user", "behind it"), ("assistant", "you said: behind it")]


async def test_the_state_stays(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    await runtime.set_state("s", {"cart": ["bread"]})
    await runtime.clear_context("s")
    assert await runtime.state("s") == {"cart": ["bread"]}
    await runtime.set_state("s", {"cart": ["milk"]})
    await runtime.unload("s")
    assert (await runtime.send("s", "two")).text == "1 told"
    assert await runtime.state("s") == {"cart": ["milk"]}


# -- copies


async def exported(runtime: Runtime, id: str = "s") -> list[str]:
    return [line async for line in runtime.export(id)]


async def test_an_export_round_trips_with_it(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    await runtime.clear_context("s")
    await runtime.send("s", "two")
    await runtime.set_state("s", {"a": 1})
    await runtime.clear_context("s")
    await runtime.set_state("s", {"a": 2})
    lines = await exported(runtime)
    last = [json.loads(line)["entry"]["kind"] for line in lines[-3:]]
    assert last == ["turn_ended", "state_changed", "context_cleared"]
    await runtime.load(lines, id="copy")
    assert await exported(runtime, "copy") == [lines[0].replace('"s"', '"copy"', 1), *lines[1:]]
    assert (await runtime.history("copy"), await runtime.turns("copy")) == (
        await runtime.history("s"),
        await runtime.turns("s"),
    )
    assert (await runtime.send("copy", "three")).text == "1 told"


async def test_a_call_that_was_never_decided_is_closed_and_not_told(world: World) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "ask")
    with pytest.raises(SessionBusy):
        await runtime.clear_context("s")
    assert await runtime.cancel("s") is True
    assert await runtime.clear_context("s") is True
    assert [effect.status for effect in await runtime.effects("s")] == [EffectStatus.INTENDED]
    lines = await exported(runtime)
    logged = [json.loads(line)["entry"]["kind"] for line in lines if line.startswith('{"entry"')]
    assert logged[-3:] == ["tool_result", "turn_ended", "context_cleared"]
    await runtime.load(lines, id="copy")
    await runtime.fork("s", new_id="fork")
    for name in ("s", "copy", "fork"):
        assert (await runtime.send(name, "two")).text == "1 told"
        await runtime.unload(name)
        assert (await runtime.send(name, "three")).text == "3 told"
        assert ("tool", "look was not decided") in await told(runtime, name)


@pytest.mark.parametrize("place", [1, 2])
async def test_no_import_has_it_amid_a_turn(world: World, place: int) -> None:
    runtime = await world.runtime(counting)
    await runtime.send("s", "one")
    await runtime.clear_context("s")
    head, *lines = await exported(runtime)
    entries = [json.loads(line) for line in lines if line.startswith('{"entry"')]
    others = [line for line in lines if not line.startswith('{"entry"')]
    entries.insert(place, entries.pop())
    for seq, line in enumerate(entries, 1):
        line["entry"]["seq"] = seq
    moved = [json.loads(line) for line in others]
    for line in moved:
        line["turn"]["ended_seq"] = 4
    with pytest.raises(ExportInvalid, match="between two turns"):
        await runtime.load([head, *(json.dumps(line) for line in (*moved, *entries))], id="copy")
