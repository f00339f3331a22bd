"""What scripted agents do in the server's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.testing import ScriptedHistory, answer, call_tool, pause, say


class Door:
    """Answers at once, but waits for `open` behind a first piece of text in turns whose message begins with "wait"."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        text = next(text for role, text in reversed(history.told) if role == "user")
        if text.startswith("wait"):
            yield TextDelta("one ")
            self.reached.set()
            await self.open.wait()
            yield TextDelta("two")
            yield say("one two", final=True)
            yield RunFinished("one two", None, "stop")
            return
        async for step in answer(f"you said: {text}"):
            yield step


async def tool_turn(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Calls a tool, then answers."""
    if history.told[-1][0] == "user":
        yield say("", calls=["search"])
        yield call_tool(0, "search", "three results")
    async for step in answer("found it"):
        yield step


async def asking(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Wants to send a mail, for which a person is asked, and answers with what came of it."""
    if history.told[-1][0] == "user":
        yield say("", calls=["send_mail"], gated=["send_mail"])
        yield pause((0, "send_mail"), arguments='{"to": "ann@example.org"}')
        return
    if history.told[-1][0] == "assistant":
        yield call_tool(0, "send_mail", "sent" if run.decided[0].status == "approved" else "not allowed")
    async for step in answer(f"done: {history.told[-1][1]}"):
        yield step


async def failing(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Breaks amid its answer."""
    yield TextDelta("I was about ")
    raise RuntimeError("the model is gone; key sk-abcdefghijklmnopqrstuvwxyz")
