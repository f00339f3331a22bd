"""One client's way through a session's events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from sojourn.abc import Entry
from sojourn.records import EntryKind, Event, EventKind
from sojourn.sessions.position import Flush, Position, Text

#: A subscriber that is this many events behind, or so many characters, falls back to reading them from storage.
MAX_BACKLOG, MAX_BACKLOG_SIZE = 256, 256 * 1024

#: How many events are read from storage at once: none behind the one with which they have so many characters.
READ_AHEAD, READ_SIZE = 100, 64 * 1024

#: Raises SessionNotFound where a session is not the one it was.
Check: TypeAlias = Callable[[], Awaitable[None]]


class Source(Protocol):
    """Where the events come from."""

    async def read(self, after: int) -> Sequence[Entry]:
        """What is stored behind `after`."""

    def text_behind(self, position: Position) -> Text | None:
        """The text that is being written, if it comes right behind the position's durable event."""

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more for this one."""


class Subscription:
    """One client's way through a feed: entries and pieces of text, in order, none twice.

    Yields (entry, None) for what is durable and (None, event) for the rest.
    """

    def __init__(
        self,
        feed: Source,
        position: Position,
        backlog: Sequence[Entry] | None,
        check: Check | None = None,
        key: int | None = None,
    ) -> None:
        self._feed, self._check = feed, check
        #: Which session it follows: another may have its id later.
        self.key = key
        self._position = position
        #: How many tries of the step behind the position were told of.
        self._tries = 0
        self._queue: deque[Entry | Flush] = deque(backlog or ())
        #: How many characters are queued.
        self._size = sum(item.size for item in self._queue)
        self._behind = backlog is None
        self._doubt = position.attempt > 0
        self._ended = False
        self._last: EventKind | None = None
        self._wake: asyncio.Future[None] | None = None

    # -- called by the feed, never waiting

    def push(self, items: Sequence[Entry | Flush], size: int) -> None:
        """More of them, so large together; too many mean reading from storage later."""
        if not self._behind:
            self._queue.extend(items)
            self._size += size
            if len(self._queue) > MAX_BACKLOG or (self._size > MAX_BACKLOG_SIZE and len(self._queue) > len(items)):
                self._queue.clear()
                self._size = 0
                self._behind = True

    def catch_up(self) -> None:
        """Look into storage."""
        self._behind = True
        self.wake()

    def finish(self, kind: EventKind | None = None) -> None:
        """End behind what is queued, with one more event of this kind if any."""
        self._ended, self._last = True, kind
        self.wake()

    def finish_stored(self) -> None:
        """End behind everything that is stored."""
        self._behind = True
        self.finish()

    @property
    def ended(self) -> bool:
        """Whether nothing is published to it any more."""
        return self._ended

    def wake(self) -> None:
        """There may be something to do."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        """The client is gone."""
        self._feed.unsubscribe(self)

    # -- called by the client

    async def events(self) -> AsyncIterator[tuple[Entry | None, Event | None]]:
        """All there is and will be, until the feed ends."""
        while True:
            async for found in self._backlog():
                yield found
            if self._doubt and self._partial_is_void():
                yield None, self._dropped()
            text = self._feed.text_behind(self._position)
            if text is not None and (news := self._news(text, text.told)):
                for event in news:
                    yield None, event
            elif self._queue or self._behind:
                continue
            elif self._ended:
                break
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
        if self._last is not None:
            yield None, Event(kind=self._last, id=str(self._position.seq), seq=self._position.seq)

    async def _backlog(self) -> AsyncIterator[tuple[Entry | None, Event | None]]:
        """What is queued, or stored where that is behind."""
        while self._queue or self._behind:
            if self._behind:
                async for entry in self._from_storage():
                    for found in self._pass(entry):
                        yield found
            else:
                item = self._queue.popleft()
                self._size -= item.size
                if isinstance(item, Entry) and item.seq > self._position.seq + 1:
                    # what is between was stored by somebody who did not say so here; so is this one
                    self._behind = True
                    continue
                for found in self._take(item):
                    yield found

    async def _from_storage(self) -> AsyncIterator[Entry]:
        # from now on what is published queues up again; what is both there and in storage is passed over
        self._behind = False
        while True:
            entries = deque(await self._feed.read(self._position.seq))
            if self._check is not None:
                await self._check()
            last = len(entries) < READ_AHEAD and sum(entry.size for entry in entries) < READ_SIZE
            while entries:
                yield entries.popleft()  # what was passed on is held no longer
            if last:
                return

    def _take(self, item: Entry | Flush) -> list[tuple[Entry | None, Event | None]]:
        if not isinstance(item, Flush):
            return self._pass(item)
        news = self._news(item.text, item.text.length) if item.seq == self._position.seq else []
        return [(None, event) for event in news]

    def _pass(self, entry: Entry) -> list[tuple[Entry | None, Event | None]]:
        """An entry, unless it was passed on before; text that it does not complete is void."""
        if entry.seq <= self._position.seq:
            return []
        void = self._position.offset > 0 and entry.kind is not EntryKind.MESSAGE
        found: list[tuple[Entry | None, Event | None]] = [(None, self._dropped())] if void else []
        self._position, self._doubt, self._tries = Position(entry.seq), False, 0
        return [*found, (entry, None)]

    def _partial_is_void(self) -> bool:
        self._doubt = False
        text = self._feed.text_behind(self._position)
        return self._position.offset > 0 and (text is None or text.attempt != self._position.attempt)

    def _news(self, text: Text, end: int) -> list[Event]:
        """What of the step that is being written was not shown yet, up to an offset."""
        news: list[Event] = []
        if self._position.offset > 0:
            if self._position.attempt == text.attempt:
                self._tries = text.tries  # who has seen text of this try needs no word of it
            else:
                news.append(self._dropped())
        if text.tries > self._tries:
            self._tries = text.tries
            news.append(self._retried(text))
        if piece := self._piece(text, end):
            news.append(piece)
        return news

    def _retried(self, text: Text) -> Event:
        place = self._position.seq
        return Event(kind=EventKind.MODEL_RETRY, id=str(place), seq=place, turn=text.turn, text=text.why)

    def _dropped(self) -> Event:
        self._position = Position(self._position.seq)
        return Event(kind=EventKind.TEXT_DROPPED, id=str(self._position.seq), seq=self._position.seq)

    def _piece(self, text: Text, end: int) -> Event | None:
        start = self._position.offset if self._position.attempt == text.attempt else 0
        if start >= end:
            return None
        self._position = Position(self._position.seq, text.attempt, end)
        return text.piece(self._position.seq, start, end)
