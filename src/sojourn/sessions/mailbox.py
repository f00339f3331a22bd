"""One owner task per session that has work: input is handed to it, and it runs turn after turn until none is left.

There are no locks: a session's copy changes only in its owner task; everybody else hands things in and waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sojourn.abc import Acceptance, Accepted, Acquired, NewInput, StaleClaim
from sojourn.errors import OwnershipLost, SessionNotFound, SojournError, StorageError
from sojourn.records import UnloadReason
from sojourn.sessions.feed import Feed
from sojourn.sessions.live import Core, Live, Outcome, Ticket
from sojourn.sessions.residency import Place
from sojourn.sessions.state import EMPTY
from sojourn.sessions.turn_run import TurnRun
from sojourn.sessions.turn_write import Stop

logger = logging.getLogger("sojourn.mailbox")

#: How long to wait before an end that storage refused is written again, seconds.
RETRY_INTERVAL = 1.0


#: How long to wait for what is cut to stop, seconds; an agent that will not stop keeps its place until it does.
CUT_WAIT = 5.0

_INTERNAL = "internal error; the log says more"

#: What a caller is told of its input.
Told: TypeAlias = Ticket | Outcome


class Mailbox:
    """Runs one live session's turns. It takes over its maker's pin on the place, until it has no more work."""

    def __init__(self, core: Core, place: Place[Live], reload: Callable[[Live], Awaitable[None]]) -> None:
        live = place.resident
        if live is None:
            raise AssertionError("a mailbox needs a loaded session")
        self._core, self._place, self._live, self._reload = core, place, live, reload
        self._feed: Feed = core.feeds(live.name)
        self._run: TurnRun | None = None
        self._stop: Stop | None = None
        #: What of which session is gone, as (key, last turn).
        self._gone: tuple[int, int] | None = None
        #: The first caller waits for its turn's outcome, and is told nothing before.
        self._promised = False
        self.opening: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, new: NewInput | None, *, whole: bool = False) -> asyncio.Future[Told]:
        """Begin with an input, or with what is in line already; gives what to tell the caller, who is in the gate.

        That is a ticket as soon as the input is durable, or why it is not; with `whole`, an input whose turn is opened
        at once is answered with the turn's outcome instead. Giving up the future stops nothing.
        """
        told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self.opening = asyncio.get_running_loop().create_future()
        self._live.mailbox = self
        self._feed.run(running=True)
        self.task = asyncio.create_task(self._own(new, told, whole=whole), name=f"sojourn-owner-{self._live.name[1]}")
        return told

    @property
    def turn(self) -> int | None:
        """The turn that runs right now."""
        return self._run.turn if self._run else None

    def stop(self, reason: Stop, turn: int | None = None) -> bool:
        """Stop the turn that runs (only if it is `turn`, where given); False if there is none."""
        if turn is None:
            self._stop = reason
        if self._run is None or turn not in {None, self._run.turn}:
            return False
        self._run.stop(reason)
        return True

    async def cut(self, key: int, last: int) -> None:
        """The turns of session `key` up to `last` are gone: stop what runs of them, return when it has stopped.

        What was accepted after they went goes on.
        """
        self._gone = (key, last)
        if self.opening is not None:
            await asyncio.shield(self.opening)
        run = self._run
        if run is not None and self.task is not None and self._is_gone(run):
            self._core.residency.forget(self._live.name, UnloadReason.GONE)
            run.stop(Stop.GONE)
            await asyncio.wait([self.task], timeout=CUT_WAIT)

    def _is_gone(self, run: TurnRun) -> bool:
        return self._gone is not None and run.key == self._gone[0] and run.turn <= self._gone[1]

    # -- the owner task

    async def _own(self, new: NewInput | None, told: asyncio.Future[Told], *, whole: bool) -> None:
        try:
            work = await self._begin(new, told, whole=whole)
            while work is not None:
                work = await self._work(work)
        except OwnershipLost:
            self._core.residency.forget(self._live.name, UnloadReason.LOST)
        except Exception:
            logger.exception("the owner of session %s failed", self._live.name[1])
            self._core.residency.forget(self._live.name, UnloadReason.LOST)
        finally:
            self._opened()
            if not told.done() and not self._promised:
                told.set_result(SojournError(_INTERNAL))
            self._live.mailbox = None
            if self._live.unreadable is not None:
                self._core.residency.forget(self._live.name, UnloadReason.LOST)
            self._feed.run(running=False)
            self._core.residency.release(self._place)

    async def _begin(
        self, new: NewInput | None, told: asyncio.Future[Told], *, whole: bool
    ) -> Accepted | Acquired | None:
        """Make the input durable and open its turn, or take what is in line."""
        try:
            if new is not None:
                accepted = await self._accept(new)
                if whole and accepted.outcome is Acceptance.OPENED:
                    self._promised = True
                    self._core.outcomes.expect(accepted.session, accepted.turn.turn, told)
                elif not told.done():
                    told.set_result(self._core.outcomes.ticket(accepted))
                if accepted.outcome is Acceptance.OPENED:
                    self._opened()
                    return accepted
                if not accepted.orphaned or self._core.residency.closed:
                    return None
            acquired = await self._acquire()
            if not told.done():
                told.cancel()  # there was no input to answer
        except (SojournError, StaleClaim) as error:
            if not told.done():
                told.set_result(error)
            return None
        self._opened()
        return acquired

    async def _accept(self, new: NewInput) -> Accepted:
        while True:
            accepted = await self._core.store.accept(new, self._live.claim)
            if accepted.outcome is not Acceptance.STALE:
                break
            await self._reload(self._live)
        if accepted.outcome is Acceptance.OPENED:
            self._take(accepted)
        return accepted

    async def _acquire(self) -> Acquired | None:
        while True:
            try:
                acquired = await self._core.store.acquire(*self._live.name, self._live.claim, self._core.clock.now_ms())
            except StaleClaim:
                await self._reload(self._live)
                continue
            if acquired is not None:
                self._take(acquired)
            return acquired

    def _take(self, got: Accepted | Acquired) -> None:
        if self._live.key not in {None, got.session.key}:
            # deleted by another process and created anew by this input: nothing of the old one may be told
            self._live.history, self._live.state = self._core.engine.history(), EMPTY
        self._live.take(got)
        feed = self._core.feeds(self._live.name)
        if feed is not self._feed:
            # deleted in this process and begun anew by this input: who follows it is not where the old one's were
            feed.run(running=True)
            self._feed.run(running=False)
            self._feed = feed
        feed.turn_to(got.session.key)
        feed.publish(got.tail)

    def _opened(self) -> None:
        if self.opening is not None and not self.opening.done():
            self.opening.set_result(None)
            self._live.gate.leave()

    async def _work(self, work: Accepted | Acquired) -> Acquired | None:
        """Run one turn, tell those who wait for it, and give the next."""
        self._run = run = TurnRun(self._core, self._live, work, self._feed)
        if self._is_gone(run):
            run.stop(Stop.GONE)
        elif self._stop is not None:
            run.stop(self._stop)
        key, turn = work.session.key, work.turn.turn
        try:
            outcome = await run.run()
        except StorageError as error:
            self._core.outcomes.settle(key, turn, error)
            return await self._end_later(run, work)
        except OwnershipLost:
            raise  # somebody else ends the turn, and will be heard of
        except Exception:
            self._core.outcomes.settle(key, turn, SojournError(_INTERNAL))
            await run.give_up("internal error")  # or it would stay running for as long as this process lives
            raise
        finally:
            self._run = None
        if outcome is not None:
            self._core.outcomes.settle(key, turn, outcome)
        if run.stop_reason is Stop.GONE and run.ended is None:
            self._core.residency.forget(self._live.name, UnloadReason.GONE)
            self._core.outcomes.settle(key, turn, SessionNotFound(work.session.id))
            return None
        following = run.ended.next if run.ended else None
        if following is not None:
            self._take(following)
        return following

    async def _end_later(self, run: TurnRun, work: Accepted | Acquired) -> Acquired | None:
        """Storage refuses: stay busy and try to end the turn until it can be written, or nobody may write it."""
        while self._stop is None and run.stop_reason is not Stop.GONE:
            await self._core.clock.sleep(RETRY_INTERVAL)
            try:
                await run.give_up("the database could not be written")
            except StorageError:
                continue
            following = run.ended.next if run.ended else None
            if following is not None:
                self._take(following)
            return following
        logger.error("turn %d of session %s is left unfinished", work.turn.turn, work.session.id)
        return None
