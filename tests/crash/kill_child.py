"""A process that is there to be killed: many callers, few places, tools that leave their mark outside.

Run as `python -m tests.crash.kill_child DATABASE EFFECTS NAME SEED MODE`. Writes to its output only what the runtime
has acknowledged: `accepted SESSION TEXT`, `replied SESSION TEXT REPLY`, and `ready`, `recovered`, `idle`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

from sojourn import Sojourn
from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.errors import SessionLimitExceeded, TurnFailed
from sojourn.records import LOCAL_USER, BusyPolicy, SessionStatus
from sojourn.sessions import following
from sojourn.sessions.desk import check_said
from sojourn.testing import ScriptedEngine, ScriptedHistory, call_tool, say

SESSIONS = 30
SENDERS = 12
PLACES = 6


def tell(*words: str) -> None:
    """One line to whoever watches, whole or not at all."""
    os.write(1, ("\t".join(words) + "\n").encode())


class Agent:
    """Plans its steps by what was said, so that every attempt at a turn would do the same."""

    def __init__(self, effects: Path) -> None:
        self._effects = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        begin = max(place for place, (role, _) in enumerate(history.told) if role == "user")
        text = history.told[begin][1]
        plan, pace = Random(text), Random()
        done = sum(role == "assistant" for role, _ in history.told[begin:])
        for step, calls in enumerate(plan.choice(((), (1,), (3,), (2, 1)))):
            if step < done:
                continue
            yield TextDelta("well ")
            tools = [f"{text}|{step}|{index}" for index in range(calls)]
            yield say(f"{run.session.id} step {step} of {text}", calls=tools)
            for index, tool in enumerate(tools):
                await asyncio.sleep(pace.random() * 0.004)
                os.write(self._effects, f"{tool}\n".encode())
                await asyncio.sleep(pace.random() * 0.004)
                yield call_tool(index, tool, f"{run.session.id} result of {tool}")
        await asyncio.sleep(pace.random() * 0.004)
        yield say(f"{run.session.id} answers {text}", final=True)
        yield RunFinished(None, None, "stop")


class Child:
    """The process's callers."""

    def __init__(self, runtime: Sojourn, name: str, seed: int) -> None:
        self._runtime, self._name, self._seed = runtime, name, seed

    async def work(self) -> None:
        tell("ready")
        orphans = {found.id for found in await self._runtime.core.store.runnable(SESSIONS)}
        senders = [self._send(number) for number in range(SENDERS)]
        await asyncio.gather(self._watch(orphans), *senders)

    async def _watch(self, orphans: set[str]) -> None:
        """Say so when all that a dead process left is in good hands."""
        while orphans & {found.id for found in await self._runtime.core.store.runnable(SESSIONS)}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        tell("recovered")

    async def _send(self, number: int) -> None:
        random = Random(self._seed * 1000 + number)
        count = 0
        while True:
            count += 1
            session = f"s{random.randrange(SESSIONS):02}"
            text = f"{session} {self._name}-{number} {count:04}"
            said = check_said(text, text, BusyPolicy.QUEUE, create=True)
            try:
                ticket = await self._runtime.desk.accept((LOCAL_USER, session), said)
            except SessionLimitExceeded:
                continue
            tell("accepted", session, text)
            if random.random() < 0.8:
                try:
                    reply = await following.outcome(self._runtime.core, (LOCAL_USER, session), ticket)
                except TurnFailed:
                    continue
                tell("replied", session, text, reply.text)

    async def rest(self) -> None:
        """Take no input; return when every session is idle."""
        tell("ready")
        while True:
            page = await self._runtime.sessions(limit=1000)
            if all(session.status is SessionStatus.IDLE for session in page.sessions):
                break
            await asyncio.sleep(0.01)
        tell("idle")


async def main() -> None:
    database, effects, name, seed, mode = sys.argv[1:]
    runtime = Sojourn(
        ScriptedEngine(Agent(Path(effects))),
        storage=f"sqlite:///{database}",
        max_sessions=PLACES,
        session_ttl=timedelta(milliseconds=50),
    )
    async with runtime:
        child = Child(runtime, name, int(seed))
        await (child.work() if mode == "work" else child.rest())


if __name__ == "__main__":
    asyncio.run(main())
