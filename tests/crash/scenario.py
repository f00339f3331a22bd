"""Everything that a turn can do, once: the scenario whose every store operation is a place to die at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

from sojourn.abc import Asking, Run, RunFinished, SessionStore, Step, TextDelta
from sojourn.clock import Clock
from sojourn.records import LOCAL_USER, ApprovalStatus, BusyPolicy, EventKind
from sojourn.sessions import following
from sojourn.sessions.desk import check_said
from sojourn.sessions.live import Ticket
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.testing import ScriptedEngine, ScriptedHistory, call_tool, feedback, pause, say

TOOLS = ("look", "book", "pay")

#: What a person is asked about; the first is always allowed, the second never.
GATED = ("erase", "burn")

#: What is said into the turn that asks, first while it waits and then while it answers, and after it.
STEERS = ("into ask: blue", "into ask: green")
FOLLOW_UP = "ask: later"

#: A tool call: session, the input that led to it, its place in the response.
Call = tuple[str, str, int]


@dataclass
class World:
    """What outlives a process: what tools did, and what callers were told."""

    effects: list[Call] = field(default_factory=list)
    #: Acknowledged inputs and replies, in order: (session, text), (session, text, reply).
    accepted: list[tuple[str, str]] = field(default_factory=list)
    replied: list[tuple[str, str, str]] = field(default_factory=list)
    #: Acknowledged steers and follow-ups, and decisions by tool.
    put: list[str] = field(default_factory=list)
    decided: dict[str, ApprovalStatus] = field(default_factory=dict)
    #: Other calls that were made, and those that returned.
    asked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


class Agent:
    """Answers in two responses: the first calls three tools, whose results come one by one."""

    def __init__(self, world: World, *, patient: bool) -> None:
        self.world = world
        #: Whether a turn that was told to wait does so, until it is stopped.
        self._patient = patient
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()

    def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        return self._ask(run, history) if run.session.id == "ask" else self._answer(run, history)

    async def _answer(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        begin = max(place for place, (role, _) in enumerate(history.told) if role == "user")
        text, since = history.told[begin][1], history.told[begin + 1 :]
        if not any(role == "assistant" for role, _ in since):
            async for step in self._consult(run.session.id, text):
                yield step
        if not any(role == "feedback" for role, _ in since):
            yield feedback(f"check the answer to {text}")
        yield TextDelta("so ")
        if self._patient and "wait" in text:
            self.waits.set()
            await asyncio.Event().wait()
        yield say(f"answer to {text}", final=True)
        yield RunFinished(None, None, "stop")

    async def _ask(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        """Asks before it calls tools, and answers to all that was said."""
        spoken = [(place, text) for place, (role, text) in enumerate(history.told) if role == "user"]
        begin, text = [(place, text) for place, text in spoken if text not in STEERS and "\n" not in text][-1]
        roles = [role for role, _ in history.told[begin:]]
        if text == "ask: it" and "assistant" not in roles:
            yield say(f"tools for {text}", calls=GATED, gated=GATED)
            yield pause((0, GATED[0]), (1, GATED[1]))
            return
        for answer in run.decided:
            if answer.status is ApprovalStatus.APPROVED:
                self.world.effects.append((run.session.id, text, answer.index))
                yield call_tool(answer.index, answer.tool, f"{answer.tool} did its work for {text}")
            else:
                yield call_tool(answer.index, answer.tool, f"{answer.tool} was denied")
        yield Asking()
        yield TextDelta("so ")
        if self._patient and text == "ask: it" and not self.goes_on.is_set():
            self.waits.set()
            await self.goes_on.wait()
        said = [text for place, text in spoken if place >= begin]
        yield say(f"answer to {' and '.join(said)}", final=True)
        yield RunFinished(None, None, "stop")

    async def _consult(self, session: str, text: str) -> AsyncIterator[Step]:
        yield TextDelta("well ")
        yield say(f"tools for {text}", calls=TOOLS)
        for index in (1, 0, 2):
            self.world.effects.append((session, text, index))
            yield call_tool(index, TOOLS[index], f"{TOOLS[index]} did its work for {text}")


def runtime_of(store: SessionStore, agent: Agent, clock: Clock) -> Runtime:
    settings = Settings(max_sessions=3, session_ttl=timedelta(seconds=5), close_wait=timedelta(0))
    return Runtime(store, ScriptedEngine(agent), settings, clock=clock)


class Scenario:
    """One life of a process: callers that note what they were told."""

    def __init__(self, runtime: Runtime, agent: Agent, world: World) -> None:
        self._runtime, self._agent, self._world = runtime, agent, world

    async def play(self) -> None:
        async with self._runtime:
            await self._talk()
            await self._cancel()
            await self._reset()
            await self._delete()
            await self._fork()
            await self._people()
            await self._accept("handed", "handed: wait")
            await self._agent.waits.wait()
        self._world.done.append("close")

    async def _accept(self, session: str, text: str) -> Ticket:
        said = check_said(text, text, BusyPolicy.QUEUE, create=True)
        ticket = await self._runtime.desk.accept((LOCAL_USER, session), said)
        self._world.accepted.append((session, text))
        return ticket

    async def _reply(self, session: str, text: str, ticket: Ticket) -> None:
        reply = await following.outcome(self._runtime.core, (LOCAL_USER, session), ticket)
        self._world.replied.append((session, text, reply.text))

    async def _talk(self) -> None:
        """Two inputs at once, and the first again."""
        texts = ("talk: one", "talk: two", "talk: one")
        tickets = [await self._accept("talk", text) for text in texts]
        self._world.accepted.pop()
        for text, ticket in zip(texts, tickets, strict=True):
            await self._reply("talk", text, ticket)

    async def _cancel(self) -> None:
        await self._accept("cancel", "cancel: wait")
        ticket = await self._accept("cancel", "cancel: next")
        await self._agent.waits.wait()
        self._world.asked.append("cancel")
        assert await self._runtime.cancel("cancel", turn=1)
        self._world.done.append("cancel")
        await self._reply("cancel", "cancel: next", ticket)
        self._agent.waits.clear()

    async def _reset(self) -> None:
        await self._accept("reset", "reset: wait")
        await self._accept("reset", "reset: lost")
        await self._agent.waits.wait()
        self._world.asked.append("reset")
        await self._runtime.reset("reset")
        self._world.done.append("reset")
        self._agent.waits.clear()
        await self._reply("reset", "reset: after", await self._accept("reset", "reset: after"))

    async def _delete(self) -> None:
        await self._accept("delete", "delete: wait")
        await self._agent.waits.wait()
        self._world.asked.append("delete")
        assert await self._runtime.delete("delete")
        self._world.done.append("delete")
        self._agent.waits.clear()
        await self._reply("delete", "delete: after", await self._accept("delete", "delete: after"))

    async def _fork(self) -> None:
        self._world.asked.append("fork")
        await self._runtime.fork("talk", new_id="fork")
        self._world.done.append("fork")
        await self._reply("fork", "fork: more", await self._accept("fork", "fork: more"))

    async def _people(self) -> None:
        """A turn that asks, is decided, and is spoken into before and after that; and what follows it."""
        ticket = await self._accept("ask", "ask: it")
        reply = await following.outcome(self._runtime.core, (LOCAL_USER, "ask"), ticket)
        await self._runtime.steer("ask", STEERS[0])
        self._world.put.append(STEERS[0])
        await self._runtime.follow_up("ask", FOLLOW_UP)
        self._world.put.append(FOLLOW_UP)
        await decide(self._runtime, self._world, [(a.tool, a.id) for a in reply.approvals])
        await self._agent.waits.wait()
        await self._runtime.steer("ask", STEERS[1])
        self._world.put.append(STEERS[1])
        self._agent.waits.clear()
        self._agent.goes_on.set()
        left = 2
        async for event in self._runtime.watch("ask", after=0):
            left -= event.kind is EventKind.TURN_ENDED
            if not left:
                break


async def decide(runtime: Runtime, world: World, asked: list[tuple[str, str]]) -> None:
    """Answer questions, each a tool and an id, as everybody here always does."""
    for tool, approval in asked:
        if tool == GATED[0]:
            world.decided[tool] = (await runtime.approve("ask", approval)).status
        else:
            world.decided[tool] = (await runtime.deny("ask", approval)).status
