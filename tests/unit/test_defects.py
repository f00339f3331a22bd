"""What is wrong with sessions elsewhere (reference/dexto.md, section 2) does not happen here: one test a row.

Each is the shortest form of the defect; `sessions/` tests the promises behind them at length.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sojourn.abc import Run, Step, TextDelta
from sojourn.errors import SessionNotFound, TurnCancelled
from sojourn.records import EventKind, TurnStatus
from sojourn.sessions import residency
from sojourn.sessions.live import Live
from sojourn.testing import ScriptedHistory, answer, call_tool, pause, say, settle
from tests.contract.backends import BACKENDS
from tests.unit.sessions.kit import Stage, World, all_of, around, becomes, kinds, soon, told, until


@pytest.fixture(params=sorted(BACKENDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    backend = BACKENDS[request.param](tmp_path)
    world = World(backend)
    yield world
    await world.close()
    await backend.close()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_d01_stored_sessions_never_count_against_the_bound(world: World) -> None:
    for start in range(2):
        runtime = await world.runtime(max_sessions=3)
        for n in range(10):
            await runtime.create(f"{start}-{n}")
        await runtime.send(f"{start}-new", "hello")
        await runtime.fork(f"{start}-new")
        await runtime.close()
    runtime = await world.runtime(max_sessions=3)
    assert (await runtime.statistics()).stored == 24
    assert (await soon(runtime.send("one-more", "x"))).turn == 1


async def test_d02_the_bound_holds_under_concurrent_first_messages(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=3)
    calls = [asyncio.create_task(runtime.send(f"s{n}", f"wait {n}")) for n in range(20)]
    await until(lambda: len(stage.played) == 3)
    await settle(50)
    found = await runtime.statistics()
    assert (found.live, found.waiting, len(stage.played)) == (3, 17, 3)
    stage.let(*(f"wait {n}" for n in range(20)))
    await soon(asyncio.gather(*calls))


async def test_d03_a_busy_session_is_never_unloaded_and_its_stream_ends(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, ttl=1)
    await runtime.send("s", "hi")
    stream = asyncio.create_task(all_of(runtime.stream("s", "wait")))
    await stage.began("wait")
    await world.clock.advance(10)
    await runtime.create("another")
    stage.let("wait")
    events = await soon(stream)
    assert kinds(events) == ["turn_opened", "message", "turn_ended"]
    assert (await runtime.turn("s", 2)).usage
    assert (await soon(runtime.send("s", "next", busy="reject"))).text == "you said: next"


async def test_d04_a_session_that_is_wanted_twice_is_restored_once(world: World) -> None:
    first = await world.runtime()
    await first.send("s", "hi")
    await first.close()
    runtime = await world.runtime()
    loads = []

    async def slow(call: Callable[[], Awaitable[Any]], *name: Any) -> Any:
        loads.append(name)
        await settle(5)
        return await call()

    around(runtime.core.store, "load", slow)
    calls = [runtime.send("s", "a"), runtime.history("s"), runtime.send("s", "b"), runtime.get("s")]
    await soon(asyncio.gather(*calls))
    assert len(loads) == 1
    assert len(await runtime.turns("s")) == 3


async def test_d05_a_message_right_behind_a_cancel_gets_its_own_events(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    first = asyncio.create_task(all_of(runtime.stream("s", "wait")))
    await stage.began("wait")
    cancelled, second = await soon(asyncio.gather(runtime.cancel("s"), all_of(runtime.stream("s", "hello"))))
    assert cancelled is True
    assert (await soon(first))[-1].status is TurnStatus.CANCELLED
    assert kinds(second) == ["turn_opened", "message", "turn_ended"]
    assert second[-1].reply is not None
    assert second[-1].reply.text == "you said: hello"


async def test_d06_delete_cuts_what_runs_and_nothing_comes_back(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    call = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    await soon(runtime.delete("s"))
    with pytest.raises(SessionNotFound):
        await soon(call)
    stage.let("wait")
    await settle()
    await runtime.create("s")
    assert await runtime.history("s") == []
    assert len((await runtime.sessions()).sessions) == 1


async def test_d07_an_unloaded_sessions_memory_is_free_and_search_loads_nothing(world: World) -> None:
    runtime = await world.runtime(ttl=1)
    gc.collect()
    before = sum(isinstance(found, Live | ScriptedHistory) for found in gc.get_objects())
    for n in range(5):
        await runtime.send(f"s{n}", "pomegranate")
    await until(lambda: runtime.core.residency.at_rest == 5)
    await world.clock.advance(2.1)
    assert len((await runtime.sessions(query="pomegranate")).sessions) == 5
    gc.collect()
    assert sum(isinstance(found, Live | ScriptedHistory) for found in gc.get_objects()) == before


async def write_steps(world: World, before: int) -> tuple[list[str], int]:
    """The store operations of one streamed turn behind `before` others, and the entries that it wrote."""
    words = 50

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for _ in range(words):
            yield TextDelta("word ")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    for n in range(before):
        await runtime.send("s", f"m{n}")
    operations: list[str] = []
    written = 0

    def note(name: str) -> None:
        async def noted(call: Callable[[], Awaitable[Any]], *arguments: Any) -> Any:
            nonlocal written
            operations.append(name)
            if name == "append":
                written += len(arguments[0].entries)
            return await call()

        around(runtime.core.store, name, noted)

    for name in ("accept", "append", "load", "reset", "insert"):
        note(name)
    await runtime.send("s", "last")
    return operations, written


async def test_d08_a_turn_only_appends_and_never_writes_a_history_anew(world: World) -> None:
    assert await write_steps(world, before=60) == (["accept", "append"], 2)


async def test_d09_a_piece_of_text_costs_no_write(world: World) -> None:
    assert await write_steps(world, before=1) == (["accept", "append"], 2)


async def test_d10_no_write_is_lost_reordered_or_resurrected(world: World) -> None:
    runtime = await world.runtime()

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        await settle(7)
        return await call()

    around(runtime.core.store, "append", slow)
    calls = [asyncio.create_task(runtime.send("s", f"m{n}")) for n in range(6)]
    await soon(asyncio.gather(*calls))
    assert await told(runtime, "s") == [
        line for n in range(6) for line in (("user", f"m{n}"), ("assistant", f"you said: m{n}"))
    ]
    late = asyncio.create_task(runtime.send("s", "late"))
    await soon(runtime.reset("s"))
    await asyncio.gather(late, return_exceptions=True)
    await runtime.send("s", "end")
    assert not [text for _, text in await told(runtime, "s") if text.startswith("m")]


async def test_d11_histories_of_more_than_ten_thousand_messages_are_whole(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        async for step in answer(f"{len(history.told)} lines"):
            yield step

    runtime = await world.runtime(script)
    async with asyncio.timeout(60):
        # by loading, because one append each would cost a minute of disk
        await runtime.load([line async for line in _long_export()], id="s")
        await until(lambda: runtime.core.residency.at_rest == runtime.core.residency.live)
        await runtime.unload("s")
        assert (await runtime.send("s", "more")).text == "10053 lines"
        assert len(await runtime.history("s")) == 10_054
        assert (await runtime.history("s", limit=1000))[-1].text == "10053 lines"


async def _long_export() -> AsyncIterator[str]:
    from tests.contract.backends import Memory

    world = World(Memory(Path()))

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for n in range(10_050):
            yield say(f"step {n}")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    await runtime.send("s", "go")
    async for line in runtime.export("s"):
        yield line
    await world.close()


async def test_d12_two_processes_see_and_keep_each_others_messages(world: World) -> None:
    a, b = await world.runtime(), await world.runtime()
    for runtime, text in ((a, "A1"), (b, "B1"), (b, "B2"), (a, "A2"), (b, "B3")):
        await soon(runtime.send("s", text))
    for runtime in (a, b):
        assert [text for role, text in await told(runtime, "s") if role == "user"] == ["A1", "B1", "B2", "A2", "B3"]


async def test_d23_what_a_call_costs_does_not_grow_with_sessions_live_or_stored(world: World) -> None:
    runtime = await world.runtime(max_sessions=200)
    for n in range(100):
        await runtime.send(f"s{n}", "hi")
    operations: list[str] = []

    def note(name: str) -> None:
        async def noted(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
            operations.append(name)
            return await call()

        around(runtime.core.store, name, noted)

    for name in ("create", "get", "page", "count", "load", "entries", "turns", "accept", "append"):
        note(name)
    await runtime.create("new")
    await runtime.send("new", "hi")
    page = await runtime.sessions(limit=20)
    assert (len(page.sessions), page.next is not None) == (20, True)
    assert operations == ["create", "load", "accept", "append", "page"]


async def test_d24_a_tiny_time_to_live_costs_no_busy_loop_and_any_length_works(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = 0
    plain = residency.Residency._sweep_out

    def counted(self: residency.Residency[Live]) -> None:
        nonlocal sweeps
        sweeps += 1
        plain(self)

    monkeypatch.setattr(residency.Residency, "_sweep_out", counted)
    for ttl in (0.001, 1.2345, 10.0**8):
        runtime = await world.runtime(Stage(), ttl=ttl)
        await soon(runtime.send("s", "hi"))
        await world.clock.advance(0.3)
        await runtime.close()
    assert sweeps <= 7


async def test_d25_a_fork_of_a_busy_session_is_whole_and_its_own(world: World) -> None:
    talking = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if history.told[-1][1] == "talk":
            yield TextDelta("half an ans")
            talking.set()
            await asyncio.Event().wait()
        async for step in answer("whole"):
            yield step

    runtime = await world.runtime(script)
    await runtime.send("parent", "hi")
    call = asyncio.create_task(runtime.send("parent", "talk"))
    await soon(talking.wait())
    child = await runtime.fork("parent")
    assert await told(runtime, child.id) == [("user", "hi"), ("assistant", "whole")]
    await runtime.cancel("parent")
    with pytest.raises(TurnCancelled):
        await soon(call)
    await runtime.delete("parent")
    assert (await runtime.get(child.id)).parent is None
    assert (await soon(runtime.send(child.id, "hi"))).turn == 2
    events = [event async for event in runtime.stream(child.id, "x") if event.kind is not EventKind.TEXT]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    await becomes(runtime, TurnStatus.COMPLETED, turn=3, id=child.id)


async def cashier(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Asks before it pays; anything else it just answers."""
    since = history.told[max(place for place, (role, _) in enumerate(history.told) if role == "user") :]
    if since[0][1].startswith("pay") and len(since) == 1:
        yield say("may I?", calls=["pay"], gated=["pay"])
        yield pause((0, "pay"))
        return
    for row in run.decided:
        yield call_tool(row.index, "pay", str(row.status))
    async for step in answer("done"):
        yield step


async def test_d13_what_was_allowed_in_a_session_does_not_outlive_it(world: World) -> None:
    runtime = await world.runtime(cashier)
    for forget in (runtime.reset, runtime.delete):
        (asked,) = (await soon(runtime.send("s", "pay"))).approvals
        await runtime.approve("s", asked.id, remember="session")
        await becomes(runtime, TurnStatus.COMPLETED, turn=asked.turn, id="s")
        assert (await soon(runtime.send("s", "pay"))).finish_reason == "stop"
        await forget("s")
        assert (await soon(runtime.send("s", "pay"))).finish_reason == "waiting"
        await forget("s")
    assert await runtime.remembered() == []


async def test_d14_no_session_id_is_special(world: World) -> None:
    runtime = await world.runtime(cashier)
    (asked,) = (await soon(runtime.send("global", "pay"))).approvals
    await runtime.approve("global", asked.id, remember="session")
    await becomes(runtime, TurnStatus.COMPLETED, turn=1, id="global")
    assert (await soon(runtime.send("other", "pay"))).finish_reason == "waiting"


async def test_d15_what_a_crash_cut_goes_on_and_questions_are_there_after_a_restart(world: World) -> None:
    runtime = await world.runtime(cashier)
    (asked,) = (await soon(runtime.send("s", "pay"))).approvals
    await world.kill(runtime)
    runtime = await world.runtime(cashier)
    assert [one.id for one in await runtime.approvals()] == [asked.id]
    await runtime.approve("s", asked.id)
    await becomes(runtime, TurnStatus.COMPLETED, turn=1, id="s")
    assert await told(runtime, "s") == [
        ("user", "pay"), ("assistant", "may I?"), ("tool", "approved"), ("assistant", "done"),
    ]  # fmt: skip


async def test_d16_input_after_an_interruption_is_listed_and_never_runs_with_an_unrelated_message(
    world: World, stage: Stage
) -> None:
    runtime = await world.runtime(stage)
    call = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    await runtime.follow_up("s", "and then this")
    await runtime.cancel("s")
    with pytest.raises(TurnCancelled):
        await soon(call)
    await world.kill(runtime)
    runtime = await world.runtime(stage)
    assert [(one.content, one.held) for one in await runtime.inbox("s")] == [("and then this", True)]
    await soon(runtime.send("s", "unrelated"))
    assert "and then this" not in [text for _, text in await told(runtime, "s")]
    assert await runtime.resume("s")
    await becomes(runtime, TurnStatus.COMPLETED, turn=2, id="s")
    assert "and then this" in [text for _, text in await told(runtime, "s")]


async def test_d17_after_a_cancel_what_is_in_line_runs(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    call = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    behind = asyncio.create_task(runtime.send("s", "next"))
    await settle(50)
    assert await runtime.cancel("s")
    with pytest.raises(TurnCancelled):
        await soon(call)
    assert (await soon(behind)).turn == 2
