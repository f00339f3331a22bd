"""What a runtime does unasked: take up the work of dead processes, purge what was deleted, notice what others wrote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sojourn.errors import SessionNotFound, SojournError, StorageCorrupt, StorageError, TurnNotFound
from sojourn.records import TurnStatus
from sojourn.sessions.desk import Desk
from sojourn.sessions.following import stored_reply, waiting_reply
from sojourn.sessions.live import Core
from sojourn.sessions.mailbox import Mailbox
from sojourn.sessions.residency import Name
from sojourn.sessions.turn_write import Stop

logger = logging.getLogger("sojourn.chores")

#: Rows that are purged in one go: taking a text out of a search index without a trace may take a millisecond.
PURGED_AT_ONCE = 10

#: How often to look for work whose process is dead, seconds.
RECOVERY_INTERVAL = 1.0

#: How often to look whether another process wrote, seconds.
PULSE_INTERVAL = 0.1

#: How often to look for questions whose time has run out, seconds.
EXPIRY_INTERVAL = 1.0

#: How many sessions are taken up at once; the rest are seen at the next look.
RECOVERY_BATCH = 20


class Chores:
    """Background tasks: named, owned by the runtime, one failing look never ends them silently."""

    def __init__(self, core: Core, desk: Desk) -> None:
        self._core, self._desk = core, desk
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovering: set[Name] = set()
        self._unreadable: set[Name] = set()
        self._purge_wanted = asyncio.Event()
        self._changes = -1
        self._begun = 0
        #: Turns run elsewhere that were looked at since the last change.
        self._looked: set[tuple[int, int]] = set()

    def start(self, *, recovering: bool = True) -> None:
        """Begin; what a crash left is looked for at once, if `recovering`."""
        self._purge_wanted.set()
        if recovering:
            self._spawn(self._forever(self.recover, RECOVERY_INTERVAL), "sojourn-recovery")
            self._spawn(self._forever(self.expire, EXPIRY_INTERVAL), "sojourn-expiry")
        self._spawn(self._forever(self.pulse, PULSE_INTERVAL), "sojourn-pulse")
        self._spawn(self._purge_forever(), "sojourn-purge")

    async def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def purge_soon(self) -> None:
        """Something was deleted."""
        self._purge_wanted.set()

    # -- what they do

    async def recover(self) -> None:
        """Take up runnable work that nobody alive owns; each needs a place like everyone."""
        for found in await self._core.store.runnable(RECOVERY_BATCH):
            name = (found.user, found.id)
            if name not in self._recovering and name not in self._unreadable:
                self._recovering.add(name)
                self._spawn(self.take_up(name), f"sojourn-recover-{name[1]}")

    async def expire(self) -> None:
        """Turns whose people did not decide in time go on without."""
        for found in await self._core.store.expire(self._core.clock.now_ms()):
            name = (found.user, found.id)
            self._core.feeds.look(name)
            self._spawn(self.take_up(name), f"sojourn-expired-{name[1]}")

    async def pulse(self) -> None:
        """Where another process may have written: cancel what it asked to cancel, show what it stored."""
        changes, begun = self._core.store.foreign_changes(), self._core.outcomes.begun
        changed = changes != self._changes
        if changed or begun != self._begun:
            self._looked.clear()
        self._changes, self._begun = changes, begun
        live = self._core.residency.residents().values()
        busy = {live.key: live.mailbox for live in live if live.mailbox is not None}
        if changed:
            self._core.feeds.refresh()
            for key, turn in await self._core.store.cancels() if busy else ():
                if (mailbox := busy.get(key)) is not None:
                    mailbox.stop(Stop.CANCEL, turn)
        await self._look_for_ends(busy, changed=changed)

    async def _look_for_ends(self, busy: Mapping[int | None, Mailbox], *, changed: bool) -> None:
        # also without a change: one that was busy here at the last look, or that nobody waited for then
        in_line: dict[Name, list[tuple[int, int]]] = {}
        for name, key, turn in self._core.outcomes.open():
            if (mailbox := busy.get(key)) is not None:
                if changed and turn != mailbox.turn:
                    in_line.setdefault(name, []).append((key, turn))
            elif (key, turn) not in self._looked:
                self._looked.add((key, turn))
                await self._look_for_end(name, key, turn)
        for name, turns in in_line.items():
            await self._look_at_line(name, turns)

    async def _look_at_line(self, name: Name, turns: Sequence[tuple[int, int]]) -> None:
        """Behind a turn that runs here, input may be cancelled elsewhere: its callers must not wait for that turn."""
        try:
            waiting = {item.turn for item in await self._core.store.inbox(*name) if not item.held}
        except SessionNotFound:
            waiting = set()
        for key, turn in turns:
            if turn not in waiting:
                await self._look_for_end(name, key, turn)

    async def _look_for_end(self, name: Name, key: int, turn: int) -> None:
        try:
            session = await self._core.store.get(*name)
            found = await self._core.store.turn(*name, turn)
            if session.key != key:
                raise SessionNotFound(name[1])
            if found.status.final or found.status is TurnStatus.HELD:
                self._core.outcomes.settle(key, turn, await stored_reply(self._core, name, found))
            elif found.status is TurnStatus.WAITING:
                self._core.outcomes.settle(key, turn, await waiting_reply(self._core, name, found))
        except StorageError:
            raise
        except TurnNotFound:
            self._core.outcomes.settle(key, turn, SessionNotFound(name[1]))  # as a reset in this process says it
        except SojournError as error:
            self._core.outcomes.settle(key, turn, error)

    async def take_up(self, name: Name) -> None:
        """Let a session's waiting work run, however long it takes to get a place."""
        try:
            await self._desk.wake(name)
        except SojournError as error:
            if isinstance(error, StorageCorrupt):
                self._unreadable.add(name)  # trying again and again would not make it readable
            logger.warning("session %s could not be taken up: %s", name[1], error)
        finally:
            self._recovering.discard(name)

    async def _purge_forever(self) -> None:
        while True:
            await self._purge_wanted.wait()
            self._purge_wanted.clear()
            try:
                # in pieces, with everybody else's writes between them
                while await self._core.store.purge(PURGED_AT_ONCE):
                    pass
            except StorageError as error:
                logger.warning("the purge will be tried again: %s", error.code)
                await self._core.clock.sleep(RECOVERY_INTERVAL)
                self._purge_wanted.set()

    # -- how they live

    async def _forever(self, look: Callable[[], Awaitable[None]], interval: float) -> None:
        while True:
            try:
                await look()
            except StorageError as error:
                logger.warning("storage could not be read: %s", error.code)
            except Exception:
                logger.exception("%s failed; it goes on", look.__name__)
            await self._core.clock.sleep(interval)

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(work)
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
