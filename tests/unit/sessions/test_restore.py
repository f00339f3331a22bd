"""P6: a session that comes back equals the one that left, and is restored once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sojourn.abc import Run, Step
from sojourn.testing import ScriptedHistory, answer, call_tool, feedback, say
from tests.unit.sessions.kit import Stage, World, around, soon, told, until


async def test_a_thousand_callers_restore_a_session_once(world: World, stage: Stage) -> None:
    first = await world.runtime()
    await first.send("s", "before")
    await first.close()
    runtime = await world.runtime(stage, max_sessions=2)
    loads: Counter[str] = Counter()

    async def counted(call: Callable[[], Awaitable[Any]], user: str, id: str) -> Any:
        loads[id] += 1
        return await call()

    around(runtime.core.store, "load", counted)
    callers = [asyncio.create_task(runtime.send("s", f"wait {n}")) for n in range(1000)]
    await stage.began("wait 0")
    stage.let(*(f"wait {n}" for n in range(1000)))
    async with asyncio.timeout(30):
        replies = await asyncio.gather(*callers)
    assert loads == {"s": 1}
    assert [reply.text for reply in replies] == [f"you said: wait {n}" for n in range(1000)]
    assert (await runtime.statistics()).restored == 1
    assert len(await runtime.turns("s")) == 1001


async def test_a_session_that_comes_back_equals_the_one_that_left(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if history.told[-1][1] == "tools":
            yield say("let me look", calls=["look", "look"])
            yield call_tool(1, "look", "second")
            yield call_tool(0, "look", "first")
            yield feedback("try again")
        if history.told[-1][1] == "fail":
            yield say("oh", calls=["break"])
            raise ValueError("broken")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    residency = runtime.core.residency
    for text in ("hello", "tools", "fail", "ünïcode 🙂\n\ttext"):
        await asyncio.gather(runtime.send("s", text), return_exceptions=True)
    await until(lambda: residency.at_rest)
    left = residency.peek(("local", "s"))
    assert left is not None
    assert isinstance(left.history, ScriptedHistory)
    kept = list(left.history.told)
    await runtime.unload("s")
    place = await residency.acquire(("local", "s"))
    back = place.resident
    assert back is not None
    assert back is not left
    assert isinstance(back.history, ScriptedHistory)
    assert back.history.told == kept
    assert (back.key, back.version) == (left.key, left.version)
    residency.release(place)


async def test_a_caller_who_leaves_during_the_restore_does_not_break_it_for_others(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "before")
    await until(lambda: runtime.core.residency.at_rest)
    await runtime.unload("s")
    loading, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        loading.set()
        await go.wait()
        return await call()

    around(runtime.core.store, "load", slow)
    callers = [asyncio.create_task(runtime.send("s", f"m{n}")) for n in range(3)]
    await soon(loading.wait())
    callers[0].cancel()
    await asyncio.gather(callers[0], return_exceptions=True)
    go.set()
    replies = await soon(asyncio.gather(*callers[1:]))
    assert [reply.text for reply in replies] == ["you said: m1", "you said: m2"]
    assert [text for role, text in await told(runtime, "s") if role == "user"] == ["before", "m1", "m2"]


async def test_a_restore_that_everybody_left_ends_at_rest(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=1)
    await runtime.send("s", "before")
    await until(lambda: runtime.core.residency.at_rest)
    await runtime.unload("s")
    loading, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        loading.set()
        await go.wait()
        return await call()

    around(runtime.core.store, "load", slow)
    caller = asyncio.create_task(runtime.send("s", "never"))
    await soon(loading.wait())
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    go.set()
    await until(lambda: runtime.core.residency.at_rest == 1)
    assert (await soon(runtime.send("other", "hello"))).text == "you said: hello"
    assert "never" not in stage.played
