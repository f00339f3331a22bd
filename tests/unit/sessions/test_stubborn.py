"""Engines that do not do as they are told: nothing gets stuck on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import History, Run, Step, ToolFinished
from sojourn.errors import TurnFailed
from sojourn.records import Effect, SessionStatus
from sojourn.sessions import mailbox, runtime
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, say
from tests.unit.sessions.kit import World, soon


class Speechless(ScriptedEngine):
    def unknown(self, history: History, call: Effect) -> ToolFinished:
        raise RuntimeError("no words")


async def test_an_engine_that_cannot_say_unknown_still_lets_its_turn_end(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if run.turn == 1:
            yield say("let me look", calls=["look"])
            raise RuntimeError("broke")
        async for step in answer("fine"):
            yield step

    opened = await world.runtime(Speechless(script))
    with pytest.raises(TurnFailed, match="broke"):
        await soon(opened.send("s", "hi"))
    assert (await opened.get("s")).status is SessionStatus.IDLE
    assert (await soon(opened.send("s", "again"))).text == "fine"


async def test_an_engine_that_ignores_being_stopped_holds_up_neither_delete_nor_close(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        began.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        async for step in answer("too late"):
            yield step

    monkeypatch.setattr(mailbox, "CUT_WAIT", 0.01)
    monkeypatch.setattr(runtime, "CUT_WAIT", 0.01)
    opened = await world.runtime(ScriptedEngine(script))
    caller = asyncio.create_task(opened.send("s", "hi"))
    await began.wait()
    assert await soon(opened.delete("s"))
    await asyncio.gather(caller, return_exceptions=True)
    began.clear()
    other = asyncio.create_task(opened.send("t", "hi"))
    await began.wait()
    closing = asyncio.create_task(opened.close())
    await world.clock.advance(10)
    await soon(closing)
    go.set()
    await asyncio.gather(other, return_exceptions=True)
