"""The session that a chat is in: everything that happens in it is shown, in order, whoever makes it happen."""

from __future__ import annotations

import asyncio
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
from sojourn.records import Event, EventKind, SessionStatus
from sojourn.sessions.scope import Scope

#: A session in which a turn of another process runs is looked at this often, seconds: not every end leaves an event.
_LOOK = 1.0

HELD = "a turn was interrupted and is held back: /resume lets it go on, /discard drops it"

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
        self._news = asyncio.Event()

    @property
    def sending(self) -> bool:
        """Whether something was typed that did not become a turn yet."""
        return bool(self._typed)

    async def watch(self, after: int) -> None:
        """Show what comes behind this log number; nothing where there is no session yet."""
        with suppress(SessionNotFound):
            await self._scope.get(self.id)
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
        await self._shown(turn)

    async def busy(self) -> bool:
        """Whether a turn of it runs or waits in line."""
        try:
            return (await self._scope.get(self.id)).status in BUSY
        except SessionNotFound:
            return False

    async def follow(self) -> None:
        """Return when what runs in it has been shown to its end."""
        while self._following():
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
        except SojournError as error:
            self._screen.fault(str(error))
        finally:
            self._news.set()

    def _take(self, event: Event) -> None:
        own = False
        if event.kind is EventKind.TURN_OPENED and event.text in self._typed:
            self._typed.remove(event.text)
            self._turn, own = event.turn, True
        elif event.kind is EventKind.TURN_ENDED and event.turn is not None:
            self._ended.add(event.turn)
            self._turn = None if self._turn == event.turn else self._turn
        self._screen.show(event, own=own)
        self._news.set()

    def _following(self) -> bool:
        return self._watcher is not None and not self._watcher.done()

    async def _hear(self) -> None:
        """Wait for an event since the last `clear`, or until it is time to look."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _LOOK)

    async def _shown(self, turn: int) -> None:
        """Wait until the turn's end was shown; one that was cancelled before it began has none."""
        while self._following():
            self._news.clear()
            if turn in self._ended:
                return
            with suppress(SessionNotFound, InvalidInput):
                found = await self._scope.turn(self.id, turn)
                if found.status.final and found.started is None:
                    self._typed.clear()
                    self._screen.note("cancelled before it began")
                    return
            await self._hear()
