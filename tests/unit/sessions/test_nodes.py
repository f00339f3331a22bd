"""Several processes on one database: any of them accepts, cancels and follows."""

import asyncio

import pytest

from sojourn.errors import SessionBusy, SessionNotFound, TurnCancelled
from sojourn.records import TurnStatus
from sojourn.sessions.runtime import Runtime
from tests.unit.sessions.kit import Stage, World, all_of, becomes, in_line, kinds, some_of, soon, told, until


async def look(*runtimes: Runtime) -> None:
    """Each notices what the others wrote."""
    for runtime in runtimes:
        await runtime.chores.pulse()


async def test_a_message_accepted_elsewhere_is_run_by_the_owner(world: World) -> None:
    a_stage, b_stage = Stage(), Stage()
    a, b = await world.runtime(a_stage), await world.runtime(b_stage)
    first = asyncio.create_task(a.send("s", "wait"))
    await a_stage.began("wait")
    second = asyncio.create_task(b.send("s", "from b"))
    await in_line(a, 1)
    a_stage.let("wait")
    await soon(first)
    await becomes(b, TurnStatus.COMPLETED, turn=2)
    await look(b)
    assert (await soon(second)).text == "you said: from b"
    assert a_stage.played == ["wait", "from b"]
    assert b_stage.played == []


async def test_nobody_is_locked_out_by_a_session_that_rests_in_another_process(world: World) -> None:
    runtimes = [await world.runtime() for _ in range(3)]
    for n in range(9):
        await soon(runtimes[n % 3].send("s", f"m{n}"))
    expected = [line for n in range(9) for line in (("user", f"m{n}"), ("assistant", f"you said: m{n}"))]
    for runtime in runtimes:
        assert await told(runtime, "s") == expected
        assert runtime.core.residency.is_live(("local", "s"))


async def test_a_copy_that_is_far_behind_is_loaded_anew(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    await a.send("s", "first")
    for n in range(100):  # three entries each: more than one write brings along
        await b.send("s", f"m{n}")
    await a.send("s", "last")
    history = a.core.residency.peek(("local", "s"))
    assert history is not None
    assert [text for role, text in history.history.told if role == "user"] == [  # type: ignore[attr-defined]
        "first",
        *(f"m{n}" for n in range(100)),
        "last",
    ]


async def test_a_turn_is_cancelled_from_another_process(world: World) -> None:
    stage = Stage()
    a, b = await world.runtime(stage), await world.runtime()
    turn = asyncio.create_task(a.send("s", "wait"))
    await stage.began("wait")
    cancelling = asyncio.create_task(b.cancel("s"))
    while not turn.done():
        await look(a)
        await asyncio.sleep(0)
    with pytest.raises(TurnCancelled):
        await turn
    await becomes(b, TurnStatus.CANCELLED)
    await look(b)
    assert await soon(cancelling) is True
    assert stage.cut == ["wait"]


async def test_a_session_is_busy_for_every_process(world: World, stage: Stage) -> None:
    a, b = await world.runtime(stage), await world.runtime(stage)
    turn = asyncio.create_task(a.send("s", "wait"))
    await stage.began("wait")
    with pytest.raises(SessionBusy):
        await soon(b.send("s", "no", busy="reject"))
    stage.let("wait")
    await soon(turn)


async def test_a_turn_is_watched_from_another_process(world: World) -> None:
    stage = Stage()
    a, b = await world.runtime(stage), await world.runtime()
    await a.create("s")
    watching = asyncio.create_task(some_of(b.watch("s", after=0), lambda event: event.status is not None))
    turn = asyncio.create_task(a.send("s", "wait"))
    await stage.began("wait")
    await look(b)
    stage.let("wait")
    reply = await soon(turn)
    await becomes(b, TurnStatus.COMPLETED)
    await look(b)
    events = await soon(watching)
    assert kinds(events) == ["turn_opened", "message", "turn_ended"]
    assert events[-1].reply is not None
    assert events[-1].reply.text == reply.text


async def test_the_same_key_sent_to_another_process_attaches(world: World) -> None:
    stage = Stage()
    a, b = await world.runtime(stage), await world.runtime(stage)
    first = asyncio.create_task(a.send("s", "wait", key="k"))
    await stage.began("wait")
    second = asyncio.create_task(b.send("s", "wait", key="k"))
    stream = asyncio.create_task(all_of(b.stream("s", "wait", key="k")))
    await until(lambda: len(b.core.outcomes.open()) == 1)
    stage.let("wait")
    reply = await soon(first)
    await becomes(b, TurnStatus.COMPLETED)
    await look(b)
    assert (await soon(second)).text == reply.text
    assert kinds(await soon(stream)) == ["turn_opened", "message", "turn_ended"]
    assert stage.played == ["wait"]


async def test_a_session_deleted_elsewhere_is_gone_here(world: World) -> None:
    stage = Stage()
    a, b = await world.runtime(stage), await world.runtime()
    await a.send("s", "hi")
    watching = asyncio.create_task(all_of(a.watch("s", after=0)))
    turn = asyncio.create_task(a.send("s", "wait"))
    await stage.began("wait")
    await until(lambda: a.core.feeds(("local", "s"))._subscriptions)
    assert await soon(b.delete("s"))
    with pytest.raises(SessionNotFound):
        await a.get("s")
    stage.let("wait")
    await until(lambda: not a.core.residency.live)
    await look(a)
    with pytest.raises(SessionNotFound):
        await soon(turn)
    assert str((await soon(watching))[-1].kind) == "session_deleted"
    await b.send("s", "anew")
    assert (await soon(a.send("s", "more"))).turn == 2
    assert [text for role, text in await told(a, "s") if role == "user"] == ["anew", "more"]


async def test_a_session_reset_elsewhere_starts_anew_here(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    await a.send("s", "before")
    await b.reset("s")
    await a.send("s", "after")
    live = a.core.residency.peek(("local", "s"))
    assert live is not None
    assert live.history.told == [("user", "after"), ("assistant", "you said: after")]  # type: ignore[attr-defined]


async def test_many_senders_in_two_processes_run_one_turn_at_a_time(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    calls = [asyncio.create_task((a, b)[n % 2].send("s", f"m{n}")) for n in range(40)]
    async with asyncio.timeout(20):
        while not all(call.done() for call in calls):
            await look(a, b)
            await a.chores.recover()
            await b.chores.recover()
            await asyncio.sleep(0)
    lines = await told(a, "s")
    users = [text for role, text in lines if role == "user"]
    assert sorted(users) == sorted(f"m{n}" for n in range(40))
    assert lines == [line for text in users for line in (("user", text), ("assistant", f"you said: {text}"))]
    assert [call.result().text for call in calls] == [f"you said: m{n}" for n in range(40)]


async def test_a_watch_tells_nothing_of_a_session_that_was_begun_anew_elsewhere(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    for n in range(3):
        await a.send("s", f"old {n}")
    watching = asyncio.create_task(all_of(a.watch("s")))
    await until(lambda: a.core.feeds(("local", "s"))._subscriptions)
    await b.delete("s")
    for n in range(5):
        await b.send("s", f"new {n}")
    await look(a)
    assert kinds(await soon(watching)) == ["session_deleted"]


async def test_a_stream_tells_nothing_of_a_session_that_was_begun_anew_elsewhere(world: World) -> None:
    stage = Stage()
    a, b = await world.runtime(stage), await world.runtime()
    turn = asyncio.create_task(a.send("s", "wait"))
    await stage.began("wait")
    stream = asyncio.create_task(all_of(b.stream("s", "behind")))
    await in_line(a, 1)
    await until(lambda: b.core.feeds(("local", "s"))._subscriptions)
    await a.delete("s")
    for n in range(3):
        await a.send("s", f"new {n}")
    await look(b)
    assert kinds(await soon(stream)) == ["session_deleted"]
    with pytest.raises(SessionNotFound):
        await soon(turn)
