"""The facade that users hold: opens and closes everything, and speaks for the one local user."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sojourn.abc import Engine, SessionStore, ToolSeen
from sojourn.clock import Clock, SystemClock
from sojourn.errors import InvalidInput, RuntimeClosed, SessionNotFound, TurnCancelled
from sojourn.records import LOCAL_USER, BusyPolicy, OnInterrupt, Statistics, TurnStatus, UnloadReason
from sojourn.sessions.checks import interval, printable, whole_number
from sojourn.sessions.chores import Chores
from sojourn.sessions.desk import Desk
from sojourn.sessions.feed import Feeds
from sojourn.sessions.live import Core, Live
from sojourn.sessions.mailbox import CUT_WAIT
from sojourn.sessions.residency import Name, Residency
from sojourn.sessions.scope import Scope
from sojourn.sessions.turn_write import Stop

logger = logging.getLogger("sojourn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a runtime behaves; raises InvalidInput for values that cannot be."""

    #: Live sessions at one moment.
    max_sessions: int = 100
    #: Idle time in memory.
    session_ttl: timedelta = timedelta(hours=1)
    #: How long a caller waits for a place in memory.
    admission_wait: timedelta = timedelta(seconds=10)
    #: What becomes of a turn whose process died.
    on_interrupt: OnInterrupt = OnInterrupt.RESUME
    #: How long running turns may go on when the runtime closes, before they are handed over.
    close_wait: timedelta = timedelta(seconds=5)
    #: What a message for a busy session does where its sender does not say.
    busy: BusyPolicy = BusyPolicy.QUEUE
    #: How many inputs may be in line or held in one session before steers and follow-ups are refused.
    max_inbox: int = 100
    #: How long people have to decide whether a tool may run; None: for ever.
    approval_timeout: timedelta | None = None
    #: Whether what they allow for later is forgotten with this process.
    forget_allowed: bool = False
    #: Whether it runs what is waiting in storage; not for one that only looks and puts in order.
    takes_up_work: bool = True

    def __post_init__(self) -> None:
        whole_number("max_sessions", self.max_sessions, 1)
        whole_number("max_inbox", self.max_inbox, 1)
        interval("session_ttl", self.session_ttl, positive=True)
        interval("admission_wait", self.admission_wait, positive=False)
        interval("close_wait", self.close_wait, positive=False)
        if self.approval_timeout is not None:
            interval("approval_timeout", self.approval_timeout, positive=True)


#: How long those who follow turns that have ended may take to read the end from storage, seconds.
LAST_READS = 1.0

#: The longest user name, characters.
MAX_USER = 256


class _State(StrEnum):
    NEW = "not open yet"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Runtime(Scope):
    """Runs one agent for many sessions. Use it as an async context manager; it can be opened once.

    As a scope it speaks for the user "local"; `for_user` gives the others.
    """

    def __init__(
        self, store: SessionStore, engine: Engine, settings: Settings | None = None, *, clock: Clock | None = None
    ) -> None:
        super().__init__(self, LOCAL_USER)
        self.settings = settings or Settings()
        self._state = _State.NEW
        #: Set where closing has waited for turns as long as it will.
        self._waited = asyncio.Event()
        self._core: Core | None = None
        self._store, self._engine, self._clock = store, engine, clock or SystemClock()
        self._waking: set[asyncio.Task[None]] = set()

    @property
    def core(self) -> Core:
        """What its parts share; raises RuntimeClosed before it is opened."""
        if self._core is None:
            raise RuntimeClosed(self._state.value)
        return self._core

    # -- life

    async def __aenter__(self) -> Self:
        return await self.open()

    async def open(self) -> Self:
        """Open the storage and take up what a crash left; for those who cannot use `async with`, beside `close`."""
        if self._state is not _State.NEW:
            raise RuntimeClosed(self._state.value)
        settings = self.settings
        residency: Residency[Live] = Residency(
            self._load,
            clock=self._clock,
            max_sessions=settings.max_sessions,
            session_ttl=settings.session_ttl.total_seconds(),
            admission_wait=settings.admission_wait.total_seconds(),
        )
        feeds = Feeds(self._clock, self._store)
        self._core = core = Core(self._store, self._engine, self._clock, settings.on_interrupt, residency, feeds)
        core.works = settings.takes_up_work
        core.max_inbox = settings.max_inbox
        core.fleeting = settings.forget_allowed
        if settings.approval_timeout is not None:
            core.approval_timeout = round(settings.approval_timeout / timedelta(milliseconds=1))
        self.desk = Desk(core)
        self.chores = Chores(core, self.desk)
        await self._store.open()
        try:
            await self._engine.open()
        except BaseException:
            await self._store.close()
            raise
        self._state, self._loop = _State.OPEN, asyncio.get_running_loop()
        self.chores.start(recovering=settings.takes_up_work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more, give running turns `close_wait`, hand the rest over, let everything go. Twice is harmless."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        try:
            await self.chores.stop()
            await self._finish_turns()
            await asyncio.sleep(0)  # now those who follow these turns know that they have ended
            await self.core.feeds.read_out(LAST_READS)
            self.core.feeds.end_all()
            self.core.outcomes.settle_all(RuntimeClosed())
        finally:
            self._state = _State.CLOSED
            try:
                await self._engine.close()
            finally:
                await self._store.close()

    def hurry(self) -> None:
        """Let a close that is under way, or one to come, wait for no turn: what runs is cut and handed over at once."""
        self._waited.set()

    async def _finish_turns(self) -> None:
        self.core.residency.close()
        owners = self._owners()
        if owners:
            await self._wait_for(owners, self.settings.close_wait.total_seconds())
        while owners := self._owners():  # whoever was in a gate may still become one
            for live in self.core.residency.residents().values():
                if live.mailbox is not None:
                    live.mailbox.stop(Stop.CLOSING)
            _, stuck = await asyncio.wait(owners, timeout=CUT_WAIT)
            for task in stuck:  # what it runs is taken up by whoever opens the storage next
                logger.error("%s would not stop; it is left behind", task.get_name())
            if stuck:
                return

    def _owners(self) -> list[asyncio.Task[None]]:
        boxes = [live.mailbox for live in self.core.residency.residents().values()]
        return [box.task for box in boxes if box is not None and box.task is not None and not box.task.done()]

    async def _wait_for(self, tasks: list[asyncio.Task[None]], seconds: float) -> None:
        if not seconds:
            return
        over = asyncio.create_task(self._waited.wait(), name="sojourn-close-wait")
        timer = self._clock.call_later(seconds, self._waited.set)
        running = set(tasks)
        while running and not over.done():
            await asyncio.wait([*running, over], return_when=asyncio.FIRST_COMPLETED)
            running = {task for task in running if not task.done()}
        timer.cancel()
        over.cancel()

    def check_open(self) -> None:
        """Raises RuntimeClosed unless calls can be made, InvalidInput in another event loop than it was opened in."""
        if self._state is not _State.OPEN:
            raise RuntimeClosed(self._state.value)
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidInput("event loop", "another one", "the loop in which the runtime was opened")

    # -- what users hold besides sessions

    def for_user(self, user: str) -> Scope:
        """The same calls for another user's sessions."""
        return Scope(self, printable("user", user, MAX_USER))

    async def statistics(self) -> Statistics:
        """How many sessions are where, of all users."""
        self.check_open()
        residency = self.core.residency
        stored = await self._store.count()
        return Statistics(
            live=residency.live,
            busy=residency.live - residency.at_rest,
            at_rest=residency.at_rest,
            waiting=residency.waiting,
            stored=stored,
            restored=residency.restored,
            unloaded=MappingProxyType(dict(residency.unloaded)),
            max_sessions=residency.max_sessions,
            session_ttl=residency.session_ttl,
        )

    def agent_model(self) -> Mapping[str, Any]:
        """The model of sessions that have not chosen another one, without its key."""
        self.check_open()
        return self._engine.model({})

    async def tools(self) -> Sequence[ToolSeen]:
        """The tools that the agent has now; those of an MCP server only while it can be reached."""
        self.check_open()
        return await self._engine.tools()

    # -- for the scopes

    async def _load(self, name: Name) -> Live:
        return await self.desk.load(name)

    async def cut(self, name: Name, key: int, last: int) -> None:
        """The turns of session `key` up to `last` are gone: stop what runs of them, return when it has stopped."""
        self.core.outcomes.settle_session(key, last, SessionNotFound(name[1]))
        live = self.core.residency.peek(name)
        if live is not None and live.mailbox is not None:
            await live.mailbox.cut(key, last)
        else:
            self.core.residency.forget(name, UnloadReason.GONE)

    async def cancel_turn(self, name: Name, turn: int | None, *, clear: bool) -> bool:
        """See Scope.cancel."""
        core = self.core
        answer = await core.store.request_cancel(*name, turn, clear=clear, now=core.clock.now_ms())
        core.residency.touch(name)
        for number in answer.turns:
            core.outcomes.settle(answer.session.key, number, TurnCancelled(name[1], number, Stop.CANCEL.value))
        core.feeds.look(name)
        if answer.running is None:
            return bool(answer.turns)
        ended = core.outcomes.expect(answer.session, answer.running)
        live = core.residency.peek(name)
        if live is not None and live.mailbox is not None:
            live.mailbox.stop(Stop.CANCEL, answer.running)
        # else it ended by itself before it could be cancelled
        return isinstance(await ended, TurnCancelled) or bool(answer.turns)

    async def removed(self, name: Name, turn: int) -> None:
        """An input was taken out of the line: whoever waits for its turn hears of it."""
        core = self.core
        row, found = await core.store.get(*name), await core.store.turn(*name, turn)
        if found.status is TurnStatus.CANCELLED:
            core.outcomes.settle(row.key, turn, TurnCancelled(name[1], turn, found.reason or ""))
        core.residency.touch(name)

    def wake_soon(self, name: Name) -> None:
        """Let a session's waiting work run when there is a place for it; not here, where no work is taken up."""
        if not self.settings.takes_up_work:
            return
        task = asyncio.create_task(self.chores.take_up(name), name=f"sojourn-wake-{name[1]}")
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)
