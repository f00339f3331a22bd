"""P1: never more live sessions than the bound; who waits comes in by turn."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import Run, Step
from sojourn.errors import SessionLimitExceeded, SessionNotFound
from sojourn.records import UnloadReason
from sojourn.sessions.live import Live
from sojourn.sessions.residency import Place, Residency
from sojourn.testing import ScriptedHistory, answer, settle
from tests.unit.sessions.kit import SOON, Stage, World, soon, told


def watch_bound(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were live after every change of who has a place."""
    seen: list[int] = []

    class Watched(dict[tuple[str, str], Place[Live]]):
        def __setitem__(self, name: tuple[str, str], place: Place[Live]) -> None:
            super().__setitem__(name, place)
            seen.append(len(self))

    def started(self: Residency[Live], *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)  # type: ignore[arg-type]
        self._places = Watched()

    init = Residency.__init__
    monkeypatch.setattr(Residency, "__init__", started)
    return seen


async def test_ten_thousand_callers_never_make_more_sessions_live_than_the_bound(
    memory: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_bound(monkeypatch)
    at_once: Counter[str] = Counter()
    most = 0

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        nonlocal most
        at_once["running"] += 1
        most = max(most, at_once["running"])
        await asyncio.sleep(0)
        try:
            async for step in answer("yes"):
                yield step
        finally:
            at_once["running"] -= 1

    runtime = await memory.runtime(script, max_sessions=50)
    async with asyncio.timeout(60):
        replies = await asyncio.gather(*(runtime.send(f"s{n % 2000}", f"say {n}") for n in range(10_000)))
    assert len(replies) == 10_000
    assert max(seen) == 50
    assert most <= 50
    found = await runtime.statistics()
    assert (found.stored, found.live, found.busy, found.waiting) == (2000, 50, 0, 0)
    # as many came as left or are still there
    assert sum(found.unloaded.values()) + found.live == len(seen)


async def test_the_bound_holds_on_disk_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch_bound(monkeypatch)
    runtime = await world.runtime(max_sessions=5)
    async with asyncio.timeout(30):
        await asyncio.gather(*(runtime.send(f"s{n % 60}", f"say {n}") for n in range(300)))
    assert max(seen) == 5
    for n in range(60):
        said = [text for role, text in await told(runtime, f"s{n}") if role == "user"]
        assert said == [f"say {m}" for m in range(n, 300, 60)]


async def test_the_longest_at_rest_leaves_for_room(world: World) -> None:
    runtime = await world.runtime(max_sessions=3)
    for name in ("a", "b", "c", "a", "d"):
        await runtime.send(name, "hi")
    assert {found[1] for found in runtime.core.residency.residents()} == {"c", "a", "d"}
    assert (await runtime.statistics()).unloaded == {UnloadReason.ROOM: 1}


async def test_a_busy_session_never_leaves_for_room(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=2)
    first = asyncio.create_task(runtime.send("busy", "wait"))
    await stage.began("wait")
    for name in ("b", "c", "d"):
        await soon(runtime.send(name, "hi"))
        assert runtime.core.residency.is_live(("local", "busy"))
    stage.let("wait")
    assert (await soon(first)).text == "you said: wait"


async def test_callers_who_wait_for_a_place_get_it_first_come_first_served(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=1)
    running = [asyncio.create_task(runtime.send("s0", "wait 0"))]
    await stage.began("wait 0")
    for n in range(1, 6):
        running.append(asyncio.create_task(runtime.send(f"s{n}", f"wait {n}")))
        await settle()
    assert (await runtime.statistics()).waiting == 5
    for n in range(6):
        await stage.began(f"wait {n}")
        stage.let(f"wait {n}")
    await soon(asyncio.gather(*running))
    assert stage.played == [f"wait {n}" for n in range(6)]


async def test_a_caller_who_gets_no_place_in_time_hears_it_and_leaves_nothing_behind(
    world: World, stage: Stage
) -> None:
    runtime = await world.runtime(stage, max_sessions=1, wait=10)
    first = asyncio.create_task(runtime.send("busy", "wait"))
    await stage.began("wait")
    late = asyncio.create_task(runtime.send("late", "hello"))
    await world.clock.advance(9.9)
    assert not late.done()
    await world.clock.advance(0.2)
    with pytest.raises(SessionLimitExceeded) as refused:
        await soon(late)
    assert refused.value.code == "session_max_sessions_exceeded"
    assert refused.value.max_sessions == 1
    assert refused.value.retry_after > 0
    assert "all 1 live sessions were busy for 10 s" in str(refused.value)
    assert (await runtime.statistics()).waiting == 0
    with pytest.raises(SessionNotFound):
        await runtime.get("late")
    stage.let("wait")
    await soon(first)
    assert (await soon(runtime.send("late", "hello again"))).text == "you said: hello again"


async def test_cancelling_a_waiting_caller_frees_its_claim(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage, max_sessions=1)
    first = asyncio.create_task(runtime.send("busy", "wait"))
    await stage.began("wait")
    gone = asyncio.create_task(runtime.send("gone", "never"))
    stays = asyncio.create_task(runtime.send("stays", "hello"))
    await settle()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert (await runtime.statistics()).waiting == 1
    stage.let("wait")
    await soon(asyncio.gather(first, stays))
    assert "never" not in stage.played
    assert (await runtime.statistics()).stored == 2


async def test_a_caller_cancelled_in_the_very_moment_it_is_let_in_keeps_no_place(memory: World, stage: Stage) -> None:
    runtime = await memory.runtime(stage, max_sessions=1)
    residency = runtime.core.residency
    held = await residency.acquire(("local", "a"))
    waiting = asyncio.create_task(residency.acquire(("local", "b")))
    await settle()
    residency.release(held)  # lets it in, but it has not woken yet
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await settle()
    assert residency.at_rest == residency.live <= 1
    assert (await soon(runtime.send("c", "hello"))).text == "you said: hello"


async def test_callers_of_one_session_stand_in_line_together(memory: World, stage: Stage) -> None:
    runtime = await memory.runtime(stage, max_sessions=1)
    first = asyncio.create_task(runtime.send("busy", "wait"))
    await stage.began("wait")
    same = [asyncio.create_task(runtime.send("same", f"m{n}")) for n in range(5)]
    other = asyncio.create_task(runtime.send("other", "o"))
    await settle()
    assert (await runtime.statistics()).waiting == 6
    stage.let("wait")
    await soon(asyncio.gather(first, other, *same))
    assert stage.played == ["wait", "m0", "m1", "m2", "m3", "m4", "o"]


async def test_a_load_that_fails_frees_the_place_and_is_tried_again(memory: World) -> None:
    runtime = await memory.runtime(max_sessions=1)
    residency = runtime.core.residency
    fails = [True]
    load = residency._load

    async def broken(name: tuple[str, str]) -> object:
        if fails.pop() if fails else False:
            raise OSError("no")
        return await load(name)

    residency._load = broken  # type: ignore[assignment]
    with pytest.raises(OSError, match="no"):
        await runtime.send("a", "hi")
    assert residency.live == 0
    async with asyncio.timeout(SOON):
        await runtime.send("a", "hi")
