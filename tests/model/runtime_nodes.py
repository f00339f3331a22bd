"""Several runtimes on one database in one event loop: each can be killed, and all are driven step by step."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sojourn.abc import Ask, Asking, History, Run, RunFinished, RunPaused, SessionStore, Step, TextDelta
from sojourn.records import ApprovalStatus, Effect
from sojourn.sessions.current import current_session
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.sessions.scope import Scope
from sojourn.sessions.state import encoded
from sojourn.stores.memory import MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, ScriptedEngine, ScriptedHistory, call_tool, feedback, say, settle
from tests.model.runtime_people import arguments_of

Operation = Callable[..., Awaitable[Any]]
Store = MemoryStore | SqliteStore

#: Every operation of a store but opening, closing and the look for changes.
OPERATIONS = sorted({*SessionStore.__abstractmethods__, "remove"} - {"open", "close", "foreign_changes"})

#: Whose session "e" is; every other one is the local user's.
OTHER = "bob"


def user_of(sid: str) -> str:
    """Whose session this is."""
    return OTHER if sid == "e" else "local"


class Killed(BaseException):
    """The process is dead: nothing that it does happens."""


def bury(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler: a killed process has no last words, and others have theirs."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


class Traffic:
    """Counts store operations, so that one knows when nothing more happens by itself."""

    def __init__(self) -> None:
        self.under_way = 0
        self.begun = 0
        self._quiet = asyncio.Event()

    async def count(self, operation: Awaitable[Any]) -> Any:
        self.under_way += 1
        self.begun += 1
        self._quiet.clear()
        try:
            return await operation
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._quiet.set()

    async def quiet(self) -> None:
        """Return when all has happened that happens without time going on."""
        while True:
            begun = self.begun
            await settle(20)
            if self.under_way:
                await self._quiet.wait()
            elif self.begun == begun:
                return


class SteppedClock(FakeClock):
    """A fake clock that also waits for storage before time goes on."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    async def advance(self, seconds: float) -> None:
        end = self._elapsed + seconds
        await self._traffic.quiet()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            if timer._callback is None:
                continue
            self._elapsed = max(self._elapsed, due)
            timer.run()
            if not self._timers or self._timers[0][0] > due:
                await self._traffic.quiet()
        self._elapsed = end
        await self._traffic.quiet()


# ------------------------------------------------------------------------------------------------------------ the stage


@dataclass(eq=False)
class Act:
    """A turn inside an engine, waiting for orders."""

    node: str
    session: str
    turn: int
    attempt: int
    history: ScriptedHistory
    #: Calls that run, by place in the last response, and whether somebody said no.
    open: list[tuple[int, str, bool]]
    #: The state that its tools found.
    state: str
    orders: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)
    #: Calls to ask people about when the others are done.
    asks: list[Ask] = field(default_factory=list)


class Stage:
    """Where every engine's turns wait to be told what to do next."""

    def __init__(self) -> None:
        self.acts: dict[str, Act] = {}
        #: What began since somebody looked, in order.
        self.begun: list[Act] = []
        self.faults: list[str] = []

    def order(self, session: str, order: str, what: Any = None) -> Act:
        act = self.acts[session]
        act.orders.put_nowait((order, what))
        return act

    async def play(self, node: str, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        decided = [(row.index, row.tool, row.status is ApprovalStatus.APPROVED) for row in run.decided]
        state = encoded(current_session().state)
        act = Act(node, run.session.id, run.turn, run.attempt, history, decided, state)
        if act.session in self.acts:
            self.faults.append(f"turns {self.acts[act.session].turn} and {act.turn} of {act.session} run at once")
        self.acts[act.session] = act
        self.begun.append(act)
        try:
            if not act.open:
                yield Asking()
            while True:
                order, what = await act.orders.get()
                if order in {"answer", "fail"}:
                    self.leave(act)
                for step in _steps(act, order, what):
                    yield step
                if act.asks and not act.open:
                    self.leave(act)
                    yield RunPaused(act.asks)
                elif not act.open and order in {"respond", "result", "feedback"}:
                    yield Asking()
        finally:
            self.leave(act)

    def leave(self, act: Act) -> None:
        if self.acts.get(act.session) is act:
            del self.acts[act.session]


def _steps(act: Act, order: str, what: Any) -> list[Step]:
    if order == "write":
        return [TextDelta(what)]
    if order == "respond":
        text, tools, gated = what
        act.open = [(index, tool, True) for index, tool in enumerate(tools) if tool not in gated]
        act.asks = [_ask(index, tool) for index, tool in enumerate(tools) if tool in gated]
        return [say(text, calls=tools, gated=gated)]
    if order == "state":
        current_session().state["n"] = what
        return []
    if order == "result":
        place, text = what
        index, tool, _ = act.open.pop(place)
        return [call_tool(index, tool, text)]
    if order == "feedback":
        return [feedback(what)]
    if order == "answer":
        return [say(what, final=True), RunFinished(what, None, "stop")]
    raise RuntimeError(what)


def _ask(index: int, tool: str) -> Ask:
    return Ask(index, tool, arguments_of(index), digest=arguments_of(index))


class StagedEngine(ScriptedEngine):
    """An engine whose turns are on the stage."""

    def asks(self, history: History, calls: Sequence[Effect]) -> Sequence[Ask]:
        return [_ask(call.index, call.tool) for call in calls]


# ------------------------------------------------------------------------------------------------------------ the nodes

_NODE: ContextVar[Node | None] = ContextVar("node", default=None)


def make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory: what a node's code starts belongs to the node."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
    node = _NODE.get()
    if node is not None:
        node.tasks.add(task)
        task.add_done_callback(node.tasks.discard)
    return task


@dataclass
class Fuse:
    """Where a process dies: right before an operation, or behind it when nobody has heard of it yet."""

    operation: str
    after: bool
    #: Which one of these operations, from now on.
    number: int = 1

    def burns(self, operation: str) -> bool:
        self.number -= operation == self.operation
        return operation == self.operation and self.number == 0


class Node:
    """One runtime, as one process would have it."""

    def __init__(
        self, name: str, store: Store, *, stage: Stage, clock: FakeClock, traffic: Traffic, settings: Settings
    ) -> None:
        self.name, self.store, self._stage, self._traffic = name, store, stage, traffic
        self.tasks: set[asyncio.Task[Any]] = set()
        self.dead = False
        for operation in OPERATIONS:
            setattr(store, operation, partial(self._operate, operation, getattr(store, operation)))
        self.fuse: Fuse | None = None
        engine = StagedEngine(lambda run, history: stage.play(name, run, history))
        self.runtime = Runtime(store, engine, settings, clock=clock)

    async def _operate(self, name: str, operation: Operation, *args: Any, **options: Any) -> Any:
        if self.dead:
            raise Killed
        residency = self.runtime.core.residency
        if residency.live > residency.max_sessions:
            self._stage.faults.append(f"{residency.live} sessions are live in {self.name}")
        fuse = self.fuse if self.fuse is not None and self.fuse.burns(name) else None
        if fuse and not fuse.after:
            self.dead = True
            raise Killed
        found = await self._traffic.count(operation(*args, **options))
        if fuse:
            self.dead = True
            raise Killed
        return found

    def scope(self, sid: str) -> Scope:
        """What the session's user holds."""
        return self.runtime.for_user(user_of(sid))

    async def do(self, work: Awaitable[Any]) -> Any:
        """Run this as the node's own code."""
        token = _NODE.set(self)
        try:
            return await work
        finally:
            _NODE.reset(token)

    def start(self, work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        token = _NODE.set(self)
        try:
            return loop.create_task(work)
        finally:
            _NODE.reset(token)

    async def kill(self) -> None:
        """The process dies: nothing it was about to do happens."""
        self.dead = True
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.store.abandon()

    @property
    def full(self) -> bool:
        """Whether nobody can be let in."""
        residency = self.runtime.core.residency
        return residency.live - residency.at_rest >= residency.max_sessions

    def is_live(self, session: str) -> bool:
        return self.runtime.core.residency.is_live((user_of(session), session))
