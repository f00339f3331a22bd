"""The session that a chat is in: everything that happens in it is shown, in order, whoever makes it happen."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing, suppress

from sojourn.cli.chat_screen import Screen
from sojourn.errors import (
    InvalidInput,
    SessionExists,
    SessionNotFound,
    SojournError,
    TurnCancelled,
    TurnFailed,
    TurnHeld,
)
from sojourn.records import Approval, Event, EventKind, QueuedInput, SessionStatus, TurnStatus
from sojourn.sessions.scope import Scope

#: A session in which a turn of another process runs is looked at this often, seconds: not every end leaves an event.
_LOOK = 1.0

HELD = "input is held back, as its turn was interrupted: /resume lets it go on, /discard drops it, /inbox shows it"

#: Behind these events other input may be in line than before.
_MOVES = frozenset({EventKind.TURN_OPENED, EventKind.STEERED, EventKind.TURN_ENDED, EventKind.SESSION_RESET})

#: Something of the session runs, or waits for its turn.
BUSY = frozenset({SessionStatus.QUEUED, SessionStatus.RUNNING})


class Conversation:
    """One session, seen and spoken to through its id."""

    def __init__(self, scope: Scope, screen: Screen, id: str) -> None:
        self.id = id
        self._scope, self._screen = scope, screen
        self._watcher: asyncio.Task[None] | None = None
        #: What was typed here and is not in the history yet.
        self._typed: list[str] = []
        #: The turn that came of it and runs.
        self._turn: int | None = None
        self._ended: set[int] = set()
        #: Whether the context was seen to be cleared.
        self._cleared = False
        self._news = asyncio.Event()
        #: What was seen of questions: those asked, and those that need no answer any more.
        self._asked: set[str] = set()
        self._decided: set[str] = set()
        #: The questions that were decided here.
        self._own: set[str] = set()
        #: Set when a question came up.
        self.asking = asyncio.Event()
        #: The questions that the person wants to come back to.
        self.deferred: set[str] = set()
        #: What is in line and was not told yet.
        self.pending: Sequence[QueuedInput] = ()

    @property
    def sending(self) -> bool:
        """Whether something was typed that did not become a turn yet."""
        return bool(self._typed)

    async def watch(self, after: int, told: Collection[int] = ()) -> None:
        """Show what comes behind this log number, but of turns whose end was told; nothing where is no session yet."""
        self._ended.update(told)
        with suppress(SessionNotFound):
            # what came up before that number is not seen again
            self._asked.update(one.id for one in await self._scope.approvals(self.id))
            self._watcher = asyncio.create_task(self._follow(after), name="sojourn-chat-watch")

    async def leave(self) -> None:
        """Show no more of it; what runs in it goes on."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def say(self, text: str) -> None:
        """Say something and return when the turn that it began has been shown to its end. Raises SojournError."""
        if self._watcher is None or self._watcher.done():
            with suppress(SessionExists):
                await self._scope.create(self.id)
            await self.watch(await self._newest())
        self._typed.append(text)
        try:
            turn = (await self._scope.send(self.id, text)).turn
        except (TurnFailed, TurnCancelled) as ended:
            turn = ended.turn
        except TurnHeld:
            self._screen.note(HELD)
            return
        except SojournError:
            self._typed.clear()
            raise
        await self.shown(turn)

    async def steer(self, text: str) -> None:
        """Say something into the turn that runs. Raises SojournError."""
        await self._accepted()
        await self._scope.steer(self.id, text)
        await self.look_at_inbox()

    async def follow_up(self, text: str) -> None:
        """Say something behind everything that is in line. Raises SojournError."""
        await self._accepted()
        await self._scope.follow_up(self.id, text)
        await self.look_at_inbox()

    async def clear(self) -> bool:
        """Clear the context, and return when that was shown; False if it was clear. Raises SojournError."""
        self._cleared = False
        cleared = await self._scope.clear_context(self.id)
        while cleared and not self._cleared and self.following:
            self._news.clear()
            await self._hear()
        return cleared

    async def look_at_inbox(self) -> None:
        """Show what is in line as it is."""
        with suppress(SessionNotFound):
            inbox = await self._scope.inbox(self.id)
            self.pending = [one for one in inbox if not one.held and one.content not in self._typed]
            self._screen.pending(self.pending)

    async def _accepted(self) -> None:
        """Wait until what was typed before is in the history or in line."""
        while self._typed and self.following:
            self._news.clear()
            if any(one.content == self._typed[-1] for one in await self._scope.inbox(self.id)):
                return
            await self._hear()

    # -- questions

    async def questions(self) -> Sequence[Approval]:
        """What waits for a person now, oldest first."""
        self.asking.clear()
        if not self.following:
            return ()
        try:
            return await self._scope.approvals(self.id)
        except SessionNotFound:
            return ()

    async def settled(self, question: Approval) -> None:
        """Return when the question needs no answer any more, whoever decided it."""
        while question.id not in self._decided and self.following:
            self._news.clear()
            await self._hear()
            if question.turn in self._ended:
                return

    def decides(self, question: Approval) -> None:
        """It is decided here, which is told in other words than what others decide."""
        self._own.add(question.id)

    async def busy(self) -> bool:
        """Whether a turn of it runs or waits in line."""
        return await self.status() in BUSY

    async def status(self) -> SessionStatus | None:
        """What it is doing; None where there is no session."""
        try:
            return (await self._scope.get(self.id)).status
        except SessionNotFound:
            return None

    async def follow(self) -> None:
        """Return when what runs in it has been shown to its end."""
        while self.following:
            self._news.clear()
            if not await self.busy():
                return
            await self._hear()

    async def cancel(self) -> bool:
        """Cancel what was typed here, or else what runs; False if there was nothing to cancel."""
        turn = self._turn
        if turn is None and self._typed:
            waiting = [one.turn for one in await self._scope.inbox(self.id) if one.content == self._typed[-1]]
            turn = waiting[-1] if waiting else None
        return await self._scope.cancel(self.id, turn=turn)

    # -- what is seen

    async def _newest(self) -> int:
        """The number of the last message."""
        messages = await self._scope.history(self.id, limit=1)
        return messages[-1].seq if messages else 0

    async def _follow(self, after: int) -> None:
        try:
            async with aclosing(self._scope.watch(self.id, after=after)) as events:
                async for event in events:
                    self._take(event)
                    if event.kind in _MOVES and self.pending:
                        await self.look_at_inbox()
        except SojournError as error:
            self._screen.fault(str(error))
        finally:
            self._news.set()

    def _take(self, event: Event) -> None:
        own = False
        if event.turn in self._ended:
            return
        if event.kind is EventKind.TURN_OPENED and event.text in self._typed:
            self._typed.remove(event.text)
            self._turn, own = event.turn, True
        elif event.kind is EventKind.TURN_ENDED and event.turn is not None:
            self._ended.add(event.turn)
            self._turn = None if self._turn == event.turn else self._turn
        elif event.kind is EventKind.CONTEXT_CLEARED:
            self._cleared = True
        elif event.approval is not None:
            own = event.approval.id in self._own
            self._take_question(event.kind, event.approval.id)
        self._screen.show(event, own=own)
        self._news.set()

    def _take_question(self, kind: EventKind, id: str) -> None:
        if kind is EventKind.APPROVAL_ASKED:
            self._asked.add(id)
            self.asking.set()
        else:
            self._decided.add(id)

    @property
    def following(self) -> bool:
        """Whether what happens in it is shown."""
        return self._watcher is not None and not self._watcher.done()

    async def _hear(self) -> None:
        """Wait for an event since the last `clear`, or until it is time to look."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _LOOK)

    async def shown(self, turn: int) -> None:
        """Return when the turn's end was shown, or that it stopped for people; one cancelled in line has none."""
        while self.following:
            self._news.clear()
            if turn in self._ended:
                return
            with suppress(SessionNotFound, InvalidInput):
                found = await self._scope.turn(self.id, turn)
                if found.status.final and found.started is None:
                    self._typed.clear()
                    self._screen.note("cancelled before it began")
                    return
                if found.status is TurnStatus.WAITING and await self._all_asked():
                    return
                if found.status is TurnStatus.HELD:
                    return
            await self._hear()

    async def _all_asked(self) -> bool:
        """Whether everything was seen that came before the questions."""
        return {one.id for one in await self._scope.approvals(self.id)} <= self._asked
