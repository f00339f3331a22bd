"""P2: an idle session leaves memory on time, a busy one never; reading neither keeps nor makes it live."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sojourn.abc import Run, Step
from sojourn.errors import SessionBusy
from sojourn.records import UnloadReason
from sojourn.sessions import residency
from sojourn.sessions.eviction import is_expired
from sojourn.sessions.live import Live
from sojourn.sessions.runtime import Runtime
from sojourn.testing import ScriptedHistory, answer, call_tool, say, settle
from tests.unit.sessions.kit import Stage, World, soon, until

TTL = 8.0
#: One second or 5 %, whichever is longer.
GRACE = 1.0


def is_live(runtime: Runtime, id: str = "s") -> bool:
    return runtime.core.residency.is_live(("local", id))


async def test_an_idle_session_leaves_on_time_without_anybody_calling(world: World) -> None:
    runtime = await world.runtime(ttl=TTL)
    await runtime.send("s", "hi")
    await world.clock.advance(TTL - 0.01)
    assert is_live(runtime)
    await world.clock.advance(GRACE)
    assert not is_live(runtime)
    assert (await runtime.statistics()).unloaded == {UnloadReason.IDLE: 1}


async def test_a_busy_session_stays_however_long_its_turn_takes(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, ttl=TTL)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    await world.clock.advance(TTL * 5)
    assert is_live(runtime)
    stage.let("wait")
    assert (await soon(turn)).text == "you said: wait"
    await until(lambda: runtime.core.residency.at_rest == 1)
    await world.clock.advance(TTL - 0.01)
    assert is_live(runtime), "its time counts from the end of the turn"
    await world.clock.advance(GRACE)
    assert not is_live(runtime)


async def test_input_in_line_keeps_a_session_live(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, ttl=TTL)
    turns = [asyncio.create_task(runtime.send("s", f"wait {n}")) for n in range(2)]
    await stage.began("wait 0")
    await world.clock.advance(TTL * 2)
    stage.let("wait 0")
    await stage.began("wait 1")
    await world.clock.advance(TTL * 2)
    assert is_live(runtime)
    stage.let("wait 1")
    await soon(asyncio.gather(*turns))


ACTIVITIES: dict[str, Callable[[Runtime], Awaitable[object]]] = {
    "send": lambda runtime: runtime.send("s", "again"),
    "rename": lambda runtime: runtime.rename("s", "A name"),
    "cancel": lambda runtime: runtime.cancel("s"),
}

READS: dict[str, Callable[[Runtime], Awaitable[object]]] = {
    "get": lambda runtime: runtime.get("s"),
    "history": lambda runtime: runtime.history("s"),
    "sessions": lambda runtime: runtime.sessions(query="hi"),
    "turns": lambda runtime: runtime.turns("s"),
    "turn": lambda runtime: runtime.turn("s", 1),
    "inbox": lambda runtime: runtime.inbox("s"),
    "effects": lambda runtime: runtime.effects("s"),
    "statistics": lambda runtime: runtime.statistics(),
    "watch": lambda runtime: anext(aiter(runtime.watch("s", after=0))),
    "export": lambda runtime: anext(aiter(runtime.export("s"))),
    "fork": lambda runtime: runtime.fork("s"),
}


@pytest.mark.parametrize("activity", ACTIVITIES)
async def test_activity_begins_its_time_anew(world: World, activity: str) -> None:
    runtime = await world.runtime(ttl=TTL)
    await runtime.send("s", "hi")
    await until(lambda: runtime.core.residency.at_rest)
    await world.clock.advance(TTL - 1)
    await ACTIVITIES[activity](runtime)
    await until(lambda: runtime.core.residency.at_rest)
    await world.clock.advance(TTL - 1)
    assert is_live(runtime)
    await world.clock.advance(1 + GRACE)
    assert not is_live(runtime)


@pytest.mark.parametrize("read", READS)
async def test_reading_does_not_keep_a_session_live(world: World, read: str) -> None:
    runtime = await world.runtime(ttl=TTL)
    await runtime.send("s", "hi")
    await until(lambda: runtime.core.residency.at_rest)
    await world.clock.advance(TTL - 1)
    await soon(READS[read](runtime))
    await world.clock.advance(1 + GRACE)
    assert not is_live(runtime)


@pytest.mark.parametrize("read", READS)
async def test_reading_does_not_make_a_session_live(world: World, read: str) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    await until(lambda: runtime.core.residency.at_rest)
    assert await runtime.unload("s")
    await soon(READS[read](runtime))
    assert runtime.core.residency.live == 0
    assert runtime.core.residency.restored == 0


async def test_each_step_is_activity(memory: World) -> None:
    doors = [asyncio.Event() for _ in range(3)]

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for door in doors:
            yield say("", calls=["look"])
            await door.wait()
            yield call_tool(0, "look", "seen")
        async for step in answer("done"):
            yield step

    runtime = await memory.runtime(script)
    turn = asyncio.create_task(runtime.send("s", "hi"))
    active = []
    for door in doors:
        await settle()
        active.append((await runtime.get("s")).last_activity)
        await memory.clock.advance(60)
        door.set()
    await soon(turn)
    active.append((await runtime.get("s")).last_activity)
    assert [(later - active[0]).total_seconds() for later in active] == [0, 60, 120, 180]


async def test_the_sweep_looks_only_at_what_is_due(memory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    plain = is_expired

    def counted(rested: float, now: float, ttl: float) -> bool:
        looks.append(now)
        return plain(rested, now, ttl)

    monkeypatch.setattr(residency, "is_expired", counted)
    runtime = await memory.runtime(ttl=TTL, max_sessions=1000)
    for n in range(500):
        await runtime.send(f"s{n}", "hi")
    await memory.clock.advance(TTL / 2)
    await runtime.send("late", "hi")
    assert not looks
    await memory.clock.advance(TTL / 2)
    assert runtime.core.residency.live == 1
    assert len(looks) == 501, "the 500 that leave, and the one that is not due yet"


async def test_a_tiny_time_to_live_costs_no_busy_loop(memory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[float] = []
    plain = residency.Residency._sweep_out

    def counted(self: residency.Residency[Live]) -> None:
        sweeps.append(memory.clock.monotonic())
        plain(self)

    monkeypatch.setattr(residency.Residency, "_sweep_out", counted)
    stage = Stage()
    runtime = await memory.runtime(stage, ttl=0.001)
    turn = asyncio.create_task(runtime.send("busy", "wait"))
    await runtime.send("s", "hi")
    await memory.clock.advance(0.3)
    assert not is_live(runtime)
    assert is_live(runtime, "busy")
    assert len(sweeps) <= 0.3 / 0.05 + 1
    stage.let("wait")
    await soon(turn)


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


async def test_what_leaves_memory_is_really_gone(world: World) -> None:
    runtime = await world.runtime(ttl=TTL)
    lives, histories = alive(Live), alive(ScriptedHistory)
    watched: list[weakref.ref[Live]] = []
    for n in range(20):
        async for _ in runtime.stream(f"s{n}", "hi"):
            pass
        await runtime.rename(f"s{n}", "Name")
        await runtime.cancel(f"s{n}")
    await until(lambda: runtime.core.residency.at_rest == 20)
    watched += [weakref.ref(live) for live in runtime.core.residency.residents().values()]
    assert alive(Live) == lives + 20
    await world.clock.advance(TTL + GRACE)
    await until(lambda: runtime.core.residency.live == 0)
    assert (alive(Live), alive(ScriptedHistory)) == (lives, histories)
    assert not [ref for ref in watched if ref() is not None]
    assert not runtime.core.feeds._feeds
    assert not runtime.core.outcomes.open()
    assert not runtime.core.waits


async def test_every_unload_has_a_reason(world: World) -> None:
    runtime = await world.runtime(ttl=TTL, max_sessions=2)
    for name in ("a", "b", "c"):  # a leaves for room
        await runtime.send(name, "hi")
    await until(lambda: runtime.core.residency.at_rest == 2)
    assert await runtime.unload("b")
    assert not await runtime.unload("b")
    assert await runtime.delete("c")
    await runtime.send("d", "hi")
    await runtime.send("e", "hi")
    await runtime.reset("e")
    await until(lambda: runtime.core.residency.at_rest == 1)
    await world.clock.advance(TTL + GRACE)
    await runtime.send("f", "hi")
    await until(lambda: runtime.core.residency.at_rest == 1)
    found = await runtime.statistics()
    reason = UnloadReason
    assert found.unloaded == {reason.ROOM: 1, reason.REQUESTED: 1, reason.GONE: 2, reason.IDLE: 1}
    await runtime.close()
    assert runtime.core.residency.unloaded[reason.CLOSED] == 1


async def test_a_busy_session_cannot_be_unloaded_by_request(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    with pytest.raises(SessionBusy) as refused:
        await runtime.unload("s")
    assert refused.value.code == "session_busy"
    stage.let("wait")
    await soon(turn)
    await until(lambda: runtime.core.residency.at_rest)
    assert await runtime.unload("s")
