"""Storage that fails: the caller hears it, nothing acknowledged is lost, the session recovers, others go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sojourn.abc import Append, Entry, Run, SessionStore, Step
from sojourn.errors import OwnershipLost, SojournError, StorageFull, TurnFailed
from sojourn.records import EntryKind, SessionStatus, TurnStatus
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, call_tool, say
from tests.unit.sessions.kit import Stage, World, all_of, around, becomes, lose_lease, said, soon, told, until


class Disk:
    """Refuses a session's appends from the k-th on, until there is room again."""

    def __init__(self, store: SessionStore, id: str, first: int) -> None:
        self.full, self._left, self._id = False, first, id
        around(store, "append", self._append)

    async def _append(self, call: Callable[[], Awaitable[Any]], write: Append) -> Any:
        if write.session.id == self._id:
            self._left -= 1
            self.full = self.full or self._left == 0
            if self.full:
                raise StorageFull("test.db")
        return await call()

    def make_room(self) -> None:
        self.full = False


async def with_tools(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    if said(history) == "work":
        yield say("looking", calls=["look", "see"])
        yield call_tool(0, "look", "red")
        yield call_tool(1, "see", "green")
    async for step in answer(f"{len(history.told)} lines"):
        yield step


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_a_full_disk_fails_the_turn_and_the_session_recovers(world: World, nth: int) -> None:
    runtime = await world.runtime(with_tools)
    await runtime.send("s", "before")
    disk = Disk(runtime.core.store, "s", nth)
    with pytest.raises(StorageFull) as failed:
        await soon(runtime.send("s", "work"))
    assert failed.value.code == "storage_full"
    stored = await told(runtime, "s")
    assert ("user", "work") in stored, "the input was acknowledged"
    assert (await soon(runtime.send("other", "hi"))).text == "1 lines"
    await world.clock.advance(3)
    assert (await runtime.get("s")).status is SessionStatus.RUNNING
    disk.make_room()
    await world.clock.advance(1.1)
    await becomes(runtime, TurnStatus.FAILED, turn=2)
    lines = await told(runtime, "s")
    assert lines[: len(stored)] == stored
    asked = 2 if ("assistant", "looking") in lines else 0
    assert sum(role == "tool" for role, _ in lines) == asked, "every stored call has one result, others have none"
    reply = await soon(runtime.send("s", "again"))
    assert reply.text == f"{len(lines) + 1} lines"
    assert all(turn.status.final for turn in await runtime.turns("s"))


async def test_input_in_line_behind_a_turn_that_storage_broke_runs_when_it_works_again(world: World) -> None:
    runtime = await world.runtime(with_tools)
    disk = Disk(runtime.core.store, "s", 1)
    with pytest.raises(StorageFull):
        await soon(runtime.send("s", "work"))
    behind = asyncio.create_task(runtime.send("s", "behind"))
    await world.clock.advance(2)
    assert not behind.done()
    disk.make_room()
    for _ in range(5):
        await world.clock.advance(1)
    assert (await soon(behind)).text == "2 lines"


async def test_input_that_cannot_be_stored_leaves_nothing_behind(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)

    async def refuse(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        raise StorageFull("test.db")

    store = runtime.core.store
    accept = store.accept
    around(store, "accept", refuse)
    for call in (runtime.send("s", "lost"), all_of(runtime.stream("s", "lost"))):
        with pytest.raises(StorageFull):
            await soon(call)
    store.accept = accept  # type: ignore[method-assign]
    assert (await runtime.statistics()).stored == 0
    assert (await soon(runtime.send("s", "hello"))).text == "you said: hello"
    assert stage.played == ["hello"]


async def test_a_session_can_be_deleted_while_its_turn_cannot_be_stored(world: World) -> None:
    runtime = await world.runtime(with_tools)
    Disk(runtime.core.store, "s", 1)
    with pytest.raises(StorageFull):
        await soon(runtime.send("s", "work"))
    deleting = asyncio.create_task(runtime.delete("s"))
    await until(lambda: runtime.core.residency._places[("local", "s")].void)
    await world.clock.advance(1.1)
    assert await soon(deleting)
    assert runtime.core.residency.live == 0


async def test_closing_does_not_wait_for_a_full_disk(world: World) -> None:
    runtime = await world.runtime(with_tools)
    Disk(runtime.core.store, "s", 1)
    with pytest.raises(StorageFull):
        await soon(runtime.send("s", "work"))
    closing = asyncio.create_task(runtime.close())
    await world.clock.advance(1.1)
    await until(closing.done)
    await closing
    second = await world.runtime(with_tools)
    await becomes(second, TurnStatus.COMPLETED)
    assert (await second.turn("s", 1)).attempts == 2


async def test_a_storage_error_in_a_tool_is_the_tools_and_not_the_sessions(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("", calls=["other"])
        raise StorageFull("elsewhere.db") if said(history) == "disk" else OwnershipLost("elsewhere")

    runtime = await world.runtime(script)
    for text, reason in (("disk", "no space left"), ("lost", "written by somebody else")):
        with pytest.raises(TurnFailed, match=reason):
            await soon(runtime.send("s", text))
    assert [turn.status for turn in await runtime.turns("s")] == [TurnStatus.FAILED] * 2
    assert [text for role, text in await told(runtime, "s") if role == "tool"] == [
        "the outcome of other is unknown"
    ] * 2


async def test_another_process_that_takes_over_gets_the_session_and_the_caller_its_outcome(world: World) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        asked.set()
        await go.wait()
        async for step in answer("from the first"):
            yield step

    async def quick(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        async for step in answer("from the second"):
            yield step

    first = await world.runtime(slow)
    caller = asyncio.create_task(first.send("s", "hi"))
    await soon(asked.wait())
    lost: list[bool] = []

    async def frozen(call: Callable[[], Awaitable[Any]], write: Append) -> Any:
        lost.append(True)
        raise OwnershipLost(write.session.id)

    around(first.core.store, "append", frozen)
    go.set()
    await until(lambda: lost and not first.core.residency.live)
    assert not caller.done()
    # only now does its lease run out, and somebody else goes on
    second = await world.runtime(quick)
    lose_lease(first.core.store)
    await second.chores.recover()
    await becomes(second, TurnStatus.COMPLETED)
    await first.chores.pulse()
    assert (await soon(caller)).text == "from the second"


async def test_a_caller_of_a_session_that_somebody_else_deleted_hears_of_it(world: World, stage: Stage) -> None:
    first, second = await world.runtime(stage), await world.runtime(stage)
    caller = asyncio.create_task(first.send("s", "wait"))
    await stage.began("wait")
    await second.delete("s")
    await world.clock.advance(0.5)  # the deletion is seen while the turn still runs
    stage.let("wait")
    await until(lambda: not first.core.residency.live)
    for _ in range(10):
        await world.clock.advance(0.2)
    with pytest.raises(SojournError) as ended:
        await soon(caller)
    assert ended.value.code == "session_not_found"


class Picky(ScriptedEngine):
    """Cannot read what somebody else wrote."""

    def history(self) -> ScriptedHistory:
        class PickyHistory(ScriptedHistory):
            def extend(self, entries: Any) -> None:
                found: list[Entry] = list(entries)
                if any(entry.kind is EntryKind.MESSAGE and "foreign" in entry.text for entry in found):
                    raise ValueError("no such format: foreign")
                super().extend(found)

        return PickyHistory()


async def test_what_another_process_wrote_and_this_one_cannot_read_fails_the_turn_and_blocks_nobody(
    world: World,
) -> None:
    picky, other = await world.runtime(Picky()), await world.runtime()
    await picky.send("s", "hi")
    await other.send("s", "foreign")
    calls = [asyncio.create_task(picky.send("s", f"m{n}")) for n in range(2)]
    for end in await soon(asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(end, SojournError)
        assert "no such format: foreign" in str(end)
    await until(lambda: picky.core.residency.live == 0)
    assert (await picky.get("s")).status is SessionStatus.IDLE
    assert (await soon(other.send("s", "back"))).text == "you said: back"


async def test_an_answer_that_the_agent_cannot_read_again_blocks_nothing(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("fine", calls=["look"])
        yield call_tool(0, "look", "seen")
        async for step in answer("foreign words" if said(history) == "odd" else "plain words"):
            yield step

    runtime = await world.runtime(Picky(script))
    calls = [asyncio.create_task(runtime.send("s", text)) for text in ("plain", "odd", "behind")]
    ends = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert [type(end).__name__ for end in ends] == ["Reply", "Reply", "TurnFailed"]
    assert (await runtime.get("s")).status is SessionStatus.IDLE
    with pytest.raises(SojournError, match="no such format"):
        await soon(runtime.send("s", "again"))
    await soon(runtime.reset("s"))
    assert (await soon(runtime.send("s", "anew"))).text == "plain words"


async def test_a_history_that_cannot_be_read_is_a_storage_error_and_stops_nobody_else(world: World) -> None:
    first = await world.runtime()
    await first.send("s", "foreign")
    await first.close()
    runtime = await world.runtime(Picky())
    for _ in range(2):
        with pytest.raises(SojournError) as failed:
            await soon(runtime.send("s", "hi"))
        assert failed.value.code == "storage_corrupt"
        assert "foreign" in str(failed.value)
    assert (await soon(runtime.send("other", "hi"))).text == "you said: hi"
    assert await told(runtime, "s") == [("user", "foreign"), ("assistant", "you said: foreign")]
