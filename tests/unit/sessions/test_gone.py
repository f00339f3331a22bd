"""P8: delete and reset, also while the session is busy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sojourn.abc import Run, Step, TextDelta
from sojourn.errors import SessionNotFound
from sojourn.records import SessionStatus
from sojourn.sessions.runtime import Runtime
from sojourn.testing import ScriptedHistory, answer, settle
from tests.unit.sessions.kit import Stage, World, all_of, around, in_line, said, soon, told, until


async def test_deleting_a_busy_session_cuts_its_turn_and_tells_everybody_at_once(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    calls = [asyncio.create_task(runtime.send("s", text)) for text in ("wait", "b", "c")]
    stream = asyncio.create_task(all_of(runtime.stream("s", "d")))
    await stage.began("wait")
    await in_line(runtime, 3)
    assert await soon(runtime.delete("s")) is True
    ends = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert [type(end) for end in ends] == [SessionNotFound] * 3
    assert str((await soon(stream))[-1].kind) == "session_deleted"
    assert stage.cut == ["wait"]
    with pytest.raises(SessionNotFound):
        await runtime.history("s")
    assert runtime.core.residency.live == 0
    assert (await runtime.statistics()).stored == 0
    assert stage.played == ["wait"]


async def test_the_id_of_a_deleted_session_can_be_used_again_at_once(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    lost = asyncio.create_task(runtime.send("s", "wait secretword"))
    await stage.began("wait secretword")
    deleted = asyncio.create_task(runtime.delete("s"))
    again = asyncio.create_task(runtime.send("s", "hello"))
    assert await soon(deleted)
    await asyncio.gather(lost, again, return_exceptions=True)
    await soon(runtime.send("s", "after"))
    lines = await told(runtime, "s")
    assert not [text for _, text in lines if "secretword" in text]
    assert lines[-2:] == [("user", "after"), ("assistant", "you said: after")]


async def test_nothing_of_a_deleted_session_is_found_or_inherited(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "pomegranate", key="k")
    await runtime.rename("s", "Quince")
    assert (await runtime.sessions(query="pomegranate")).sessions
    assert await runtime.delete("s")
    assert not await runtime.delete("s")
    for query in ("pomegranate", "quince", None):
        assert (await runtime.sessions(query=query)).sessions == []
    await runtime.create("s")
    for read in (runtime.history, runtime.turns, runtime.inbox, runtime.effects):
        assert await read("s") == []
    found = await runtime.get("s")
    assert (found.title, found.message_count, dict(found.usage)) == (None, 0, {})
    assert (await runtime.sessions(query="pomegranate")).sessions == []


async def test_resetting_a_busy_session_cuts_its_turn_and_keeps_the_session(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "before")
    calls = [asyncio.create_task(runtime.send("s", text)) for text in ("wait", "b")]
    await stage.began("wait")
    await in_line(runtime, 1)
    found = await soon(runtime.reset("s"))
    assert (found.message_count, found.status, found.title) == (0, SessionStatus.IDLE, "before")
    ends = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert [type(end) for end in ends] == [SessionNotFound] * 2
    assert await told(runtime, "s") == []
    await soon(runtime.send("s", "after"))
    assert await told(runtime, "s") == [("user", "after"), ("assistant", "you said: after")]
    assert stage.played == ["before", "wait", "after"]


async def test_the_model_sees_nothing_from_before_a_reset(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        async for step in answer(f"I know {len(history.told)} lines"):
            yield step

    runtime = await world.runtime(script)
    for _ in range(3):
        await runtime.send("s", "hi")
    await runtime.reset("s")
    assert (await runtime.send("s", "hi")).text == "I know 1 lines"
    await until(lambda: runtime.core.residency.at_rest)
    await runtime.unload("s")
    assert (await runtime.send("s", "hi")).text == "I know 3 lines"


@pytest.mark.parametrize("end", ["delete", "reset"])
@pytest.mark.parametrize("operation", ["append", "accept", "load"])
async def test_a_session_that_goes_while_it_is_written_or_loaded_comes_back_whole(
    world: World, stage: Stage, end: str, operation: str
) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "before")
    await until(lambda: runtime.core.residency.at_rest)
    await runtime.unload("s")
    waiting, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        waiting.set()
        await go.wait()
        return await call()

    around(runtime.core.store, operation, slow)
    caller = asyncio.create_task(runtime.send("s", "meanwhile"))
    await soon(waiting.wait())
    ending = asyncio.create_task(getattr(runtime, end)("s"))
    if operation == "load":
        await soon(ending)
    elif end == "delete":
        await soon(gone(runtime))
    else:
        await settle(200)
    go.set()
    await soon(asyncio.gather(caller, ending, return_exceptions=True))
    await soon(runtime.send("s", "after"))
    lines = await told(runtime, "s")
    assert ("user", "before") not in lines
    assert lines[-2:] == [("user", "after"), ("assistant", "you said: after")]
    await until(lambda: runtime.core.residency.at_rest == runtime.core.residency.live == 1)


async def gone(runtime: Runtime) -> None:
    while (await runtime.statistics()).stored:
        await settle(1)


async def test_deleting_the_very_first_message_while_it_is_being_stored_cuts_its_turn(
    world: World, stage: Stage
) -> None:
    runtime = await world.runtime(stage)
    both = asyncio.create_task(runtime.send("s", "wait"))
    await asyncio.sleep(0)
    while not await runtime.delete("s"):
        await settle(1)
    with pytest.raises(SessionNotFound):
        await soon(both)
    await until(lambda: runtime.core.residency.live == 0)
    assert stage.cut == stage.played


async def test_children_of_a_deleted_session_live_on_without_a_parent(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    child = await runtime.fork("s", new_id="child")
    assert child.parent == "s"
    await runtime.delete("s")
    assert (await runtime.get("child")).parent is None
    assert await told(runtime, "child") == [("user", "hi"), ("assistant", "you said: hi")]


async def test_text_that_a_deleted_turn_still_writes_reaches_nobody(world: World) -> None:
    writing, go = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "first":
            yield TextDelta("secret ")
            writing.set()
            try:
                await go.wait()
            except asyncio.CancelledError:
                yield TextDelta("late")
        async for step in answer("plain"):
            yield step

    runtime = await world.runtime(script)
    lost = asyncio.create_task(runtime.send("s", "first"))
    await soon(writing.wait())
    await soon(runtime.delete("s"))
    await asyncio.gather(lost, return_exceptions=True)
    await soon(runtime.send("s", "second"))
    assert await told(runtime, "s") == [("user", "second"), ("assistant", "plain")]
