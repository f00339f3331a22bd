"""Who follows a session is told all of it, whoever stored what and whenever the follower came or went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.records import Event, EventKind
from sojourn.sessions.runtime import Runtime
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, call_tool, pause, say, settle
from tests.unit.sessions.kit import Stage, World, all_of, around, kinds, said, some_of, soon, text_of, until

NAME = ("local", "s")


async def asking(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Asks before it pays, and answers everything else."""
    if said(history) == "pay" and history.told[-1][0] == "user":
        yield say("", calls=["pay"], gated=["pay"])
        yield pause((0, "pay"))
        return
    if run.decided:
        yield call_tool(0, "pay", "as was decided")
    async for step in answer("fine"):
        yield step


async def watched(runtime: Runtime, stop: Callable[[Event], bool], **more: Any) -> asyncio.Task[list[Event]]:
    """A watcher that has read what is stored and waits for more."""
    task = asyncio.create_task(some_of(runtime.watch("s", **more), stop))
    await until(lambda: any(one._wake is not None for one in runtime.core.feeds(NAME)._subscriptions))
    return task


def places(events: list[Event]) -> list[int]:
    """The numbers of what is durable."""
    return [event.seq for event in events if "." not in event.id]


def ended(turn: int) -> Callable[[Event], bool]:
    return lambda event: event.turn == turn and event.kind is EventKind.TURN_ENDED


async def test_what_another_process_stored_a_moment_before_a_turn_here_is_told_first(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    await a.create("s")
    watching = await watched(a, ended(2))
    await b.send("s", "there")
    await a.send("s", "here")
    events = await soon(watching)
    assert places(events) == [1, 2, 3, 4, 5, 6]
    assert kinds(events) == ["turn_opened", "message", "turn_ended"] * 2


async def test_the_end_of_a_turn_that_is_superseded_out_of_memory_is_told(world: World) -> None:
    runtime = await world.runtime(asking)
    await runtime.send("s", "pay")
    await until(lambda: runtime.core.residency.at_rest)
    await runtime.unload("s")
    watching = await watched(runtime, ended(2), after=0)
    await runtime.submit("s", "never mind")
    events = await soon(watching)
    assert places(events) == list(range(1, events[-1].seq + 1))
    assert [event.turn for event in events if event.kind is EventKind.TURN_ENDED] == [1, 2]


async def test_who_begins_a_turn_and_listens_later_misses_nothing(world: World) -> None:
    looked, go = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("let me look", calls=["look"])
        yield call_tool(0, "look", "three")
        looked.set()
        await go.wait()
        yield say("and again", calls=["look"])
        yield call_tool(0, "look", "four")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    _, events = await runtime.begin("s", "go")
    await soon(looked.wait())
    seen: list[Event] = []

    async def read() -> None:
        async for event in events:
            seen.append(event)  # noqa: PERF401 - each as it comes

    reading = asyncio.create_task(read())
    await until(lambda: len(seen) == 3)
    go.set()
    await soon(reading)
    assert places(seen) == list(range(1, 8))


@pytest.mark.parametrize("place", ["live", "unloaded"])
async def test_a_watch_tells_nothing_of_a_session_that_was_begun_anew_here(world: World, place: str) -> None:
    a, b = await world.runtime(), await world.runtime()
    for n in range(2):
        await a.send("s", f"old {n}")
    watching = asyncio.create_task(all_of(a.watch("s")))
    await until(lambda: a.core.feeds(NAME)._subscriptions)
    await settle()
    if place == "unloaded":
        await until(lambda: a.core.residency.at_rest)
        await a.unload("s")
    await b.delete("s")
    for n in range(4):
        await a.send("s", f"new {n}")
    assert kinds(await soon(watching)) == ["session_deleted"]


async def test_a_session_that_is_deleted_while_it_is_spoken_to_is_followed_live_when_it_is_there_again(
    world: World,
) -> None:
    go_on = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "again":
            yield TextDelta("half")
            await go_on.wait()
            yield say("half and half", final=True)
            yield RunFinished("half and half", None, "stop")
            return
        async for step in answer("fine"):
            yield step

    engine = ScriptedEngine(script)
    runtime = await world.runtime(engine)
    await runtime.send("s", "first")
    await until(lambda: runtime.core.residency.at_rest)
    waiting, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        waiting.set()
        await go.wait()
        return await call()

    around(runtime.core.store, "accept", slow)
    sending = asyncio.create_task(runtime.send("s", "again"))
    await soon(waiting.wait())
    deleting = asyncio.create_task(runtime.delete("s"))
    async with asyncio.timeout(5):
        while (await runtime.statistics()).stored:
            await settle(1)
    go.set()
    await soon(deleting)
    await until(lambda: len(engine.runs) == 2)
    seen = await some_of(runtime.watch("s", after=0), lambda event: event.kind is EventKind.TEXT)
    assert (kinds(seen), text_of(seen)) == (["turn_opened"], "half")
    watching = await watched(runtime, ended(1))
    go_on.set()
    assert kinds(await soon(watching)) == ["message", "turn_ended"]
    await soon(sending)


async def test_who_comes_to_watch_while_the_runtime_closes_is_not_left_waiting(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hello")
    looked, go, closing, close = (asyncio.Event() for _ in range(4))

    async def late(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        found = await call()
        looked.set()
        await go.wait()
        return found

    around(runtime.core.store, "get", late)
    watching = asyncio.create_task(all_of(runtime.watch("s", after=0)))
    await soon(looked.wait())

    async def slow() -> None:
        closing.set()
        await close.wait()

    runtime.core.engine.close = slow  # type: ignore[method-assign]
    ending = asyncio.create_task(runtime.close())
    await soon(closing.wait())
    go.set()
    assert kinds(await soon(watching)) == ["turn_opened", "message", "turn_ended"]
    close.set()
    await soon(ending)


async def test_who_leaves_a_turns_stream_leaves_nothing_that_lasts_as_long_as_the_turn(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage)
    for _ in range(10):
        _, events = await runtime.begin("s", "wait", key="k")
        assert (await soon(anext(events))).kind is EventKind.TURN_OPENED
        await events.aclose()
    assert runtime.core.outcomes.open() == []
    stage.let("wait")
    await until(lambda: not runtime.core.feeds._feeds)


async def test_a_place_that_never_was_shows_the_whole_turn(world: World) -> None:
    runtime = await world.runtime()
    for text in ("one", "two"):
        await runtime.send("s", text)
    await runtime.delete("s")
    _, events = await runtime.begin("s", "three", key="k", after="6")
    assert kinds(await all_of(events)) == ["turn_opened", "message", "turn_ended"]


async def test_who_comes_back_to_a_wait_is_not_asked_twice(world: World) -> None:
    runtime = await world.runtime(asking)
    _, events = await runtime.begin("s", "pay", key="k")
    whole = await all_of(events)
    assert kinds(whole)[-2:] == ["approval_asked", "turn_waiting"]
    assert places(whole) == sorted(places(whole))
    assert whole[-1].id == whole[-2].id
    (question,) = await runtime.approvals("s")
    watching = await watched(runtime, ended(1), after=whole[-1].id)
    await runtime.deny("s", question.id)
    assert kinds(await soon(watching))[0] == "approval_decided"
