"""The facade: what a handle is, how a runtime opens and closes, and that its chores go on whatever happens."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sojourn import Sojourn
from sojourn.bootstrap import reading
from sojourn.errors import AgentUnsupported, StorageFull, StorageUnavailable
from sojourn.records import SessionStatus, TurnStatus
from sojourn.sessions.handle import SessionHandle
from sojourn.sessions.runtime import Runtime
from sojourn.sessions.scope import Scope
from sojourn.testing import ScriptedEngine, settle
from tests.unit.sessions.kit import Stage, World, all_of, around, becomes, soon, until


def test_a_handle_takes_what_the_scope_takes_without_the_id() -> None:
    for name, call in inspect.getmembers(SessionHandle, inspect.isfunction):
        if name.startswith("_"):
            continue
        of_handle = [str(p) for p in inspect.signature(call).parameters.values()]
        of_scope = [str(p) for p in inspect.signature(getattr(Scope, name)).parameters.values() if p.name != "id"]
        assert of_handle == of_scope, name


async def test_a_handle_does_what_the_scope_does(world: World) -> None:
    runtime = await world.runtime()
    session = runtime.session("s")
    assert (await session.create(title="First")).id == "s"
    assert (await session.send("hello")).text == "you said: hello"
    assert (await all_of(session.stream("more")))[-1].turn == 2
    assert await session.history(limit=1) == list(await runtime.history("s"))[-1:]
    assert await session.get() == await runtime.get("s")
    assert await session.turns() == [await session.turn(1), await session.turn(2)]
    assert (await session.rename("Second")).title == "Second"
    assert (await session.fork(new_id="child")).parent == "s"
    assert [line async for line in session.export()] == [line async for line in runtime.export("s")]
    assert (await soon(anext(session.watch(after=0)))).seq == 1
    for empty in (session.inbox(), session.effects(), session.resume(), session.discard()):
        assert await empty == []
    assert await session.cancel() is False
    await until(lambda: runtime.core.residency.at_rest)
    assert await session.unload() is True
    assert (await session.reset()).message_count == 0
    assert await session.delete() is True


async def test_an_engine_that_cannot_open_leaves_nothing_open(world: World) -> None:
    class Broken(ScriptedEngine):
        async def open(self) -> None:
            raise AgentUnsupported("no such model")

    closed: list[bool] = []
    store = world.backend.make()

    async def noted(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        closed.append(True)
        return await call()

    around(store, "close", noted)
    runtime = Runtime(store, Broken(), clock=world.clock)
    with pytest.raises(AgentUnsupported):
        await runtime.__aenter__()
    assert closed == [True]
    await runtime.close()


async def test_closing_twice_and_from_two_sides_is_harmless(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    await soon(asyncio.gather(runtime.close(), runtime.close()))
    await runtime.close()


async def test_closing_leaves_no_task_behind(world: World, stage: Stage) -> None:
    before = asyncio.all_tasks()
    runtime = await world.runtime(stage, max_sessions=1)
    calls = [asyncio.create_task(runtime.send(f"s{n}", "wait")) for n in range(3)]
    await stage.began("wait")
    await runtime.close()
    await asyncio.gather(*calls, return_exceptions=True)
    await settle()
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("error", [StorageUnavailable("chat.db", "gone"), RuntimeError("a bug")])
async def test_a_chore_that_fails_is_tried_again(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    first, second = await world.runtime(stage), await world.runtime(stage)
    failures = 2

    async def failing(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise error
        return await call()

    around(second.core.store, "runnable", failing)
    lost = asyncio.create_task(first.send("s", "wait"))
    await stage.began("wait")
    with caplog.at_level(logging.CRITICAL):
        await world.kill(first)
        await asyncio.gather(lost, return_exceptions=True)
        stage.let("wait")
        for _ in range(4):
            await world.clock.advance(1)
            await until(lambda: True)
    await becomes(second, TurnStatus.COMPLETED)


async def test_a_purge_that_fails_is_tried_again(world: World) -> None:
    runtime = await world.runtime()
    purged: list[int] = []

    async def failing(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        purged.append(1)
        if len(purged) == 1:
            raise StorageFull("chat.db")
        return await call()

    around(runtime.core.store, "purge", failing)
    await runtime.send("s", "hi")
    await runtime.delete("s")
    await until(lambda: purged)
    await settle()
    await world.clock.advance(1.1)
    await until(lambda: len(purged) > 1)


async def test_statistics_say_where_sessions_are(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=2, ttl=60)
    await runtime.create("stored")
    await runtime.send("rests", "hi")
    calls = [asyncio.create_task(runtime.send("busy", "wait"))]
    await stage.began("wait")
    found = await runtime.statistics()
    assert (found.live, found.busy, found.at_rest, found.waiting, found.stored) == (2, 1, 1, 0, 3)
    assert (found.max_sessions, found.session_ttl, found.restored) == (2, 60, 0)
    assert await runtime.for_user("ann").sessions() is not None
    stage.let("wait")
    await soon(asyncio.gather(*calls))


async def test_a_runtime_without_an_agent_takes_no_message_that_it_would_have_to_answer(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/read.db"
    async with Sojourn(ScriptedEngine(), storage=storage) as runtime:
        await runtime.send("s", "hi")
    async with reading(storage) as runtime:
        with pytest.raises(AgentUnsupported):
            await runtime.send("s", "again")
        assert len(await runtime.turns("s")) == 1
        assert (await runtime.get("s")).status is SessionStatus.IDLE
