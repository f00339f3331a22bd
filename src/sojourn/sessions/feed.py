"""What clients see of a session: its log as it grows, and the answer's text while it is written.

Persist, then publish: a durable event is published by whoever has just stored it. A subscriber that cannot keep up, or
that came late, reads from storage what it missed; it never slows the turn.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sojourn.abc import Entry, SessionStore
from sojourn.clock import Clock, Timer
from sojourn.errors import InvalidInput
from sojourn.records import EntryKind, Event, EventKind

#: Text is passed on at most this often, seconds.
COALESCE = 0.02

#: A subscriber that is this many events behind falls back to reading them from storage.
MAX_BACKLOG = 256

#: How many events are read from storage at once.
READ_AHEAD = 100


_EVENT_ID = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18}\.[0-9]{1,18})?")


#: Raises SessionNotFound where a session is not the one it was.
Check: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a client is: behind the durable event `seq`, and in the text of `attempt` up to `offset`."""

    seq: int = 0
    attempt: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, event_id: int | str | None) -> Position:
        """From an event's id; raises InvalidInput."""
        if event_id is None:
            return cls()
        if not _EVENT_ID.fullmatch(str(event_id)):
            raise InvalidInput("event id", event_id, "an id that an event had: SEQ or SEQ.ATTEMPT.OFFSET")
        return cls(*map(int, str(event_id).split(".")))


class _Text:
    """The text of the step that is being written; void once something durable follows, or the model is asked again."""

    __slots__ = ("attempt", "length", "pieces", "start", "tries", "turn", "why")

    def __init__(self, turn: int, attempt: int) -> None:
        self.turn, self.attempt = turn, attempt
        self.pieces: list[str] = []
        #: Offsets of the text: of its end, and of its beginning behind all that is void.
        self.length = self.start = 0
        #: How often the model was asked again, and why the last time.
        self.tries, self.why = 0, ""

    def since(self, offset: int) -> str:
        """What was written from `offset` on."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0][max(0, offset - self.start) :] if self.pieces else ""

    def again(self, why: str) -> _Text:
        """The text that is written next instead; offsets go on, so that a place in void text is known as one."""
        text = _Text(self.turn, self.attempt)
        text.start = text.length = self.length
        text.tries, text.why = self.tries + 1, why
        return text


@dataclass(frozen=True, slots=True)
class _Flush:
    """Put before a durable event: the text up to there, so that nobody misses its end."""

    seq: int
    text: _Text


class Feed:
    """One session's events, for as long as somebody subscribes or a turn runs."""

    def __init__(
        self, clock: Clock, read: Callable[[int], Awaitable[Sequence[Entry]]], on_idle: Callable[[Feed], None]
    ) -> None:
        self._clock = clock
        self._read = read
        self._on_idle = on_idle
        self._subscriptions: set[Subscription] = set()
        self._text: _Text | None = None
        self._seq = 0
        self._flushed = float("-inf")
        self._timer: Timer | None = None
        self._running = False

    @property
    def idle(self) -> bool:
        """Whether nobody needs it."""
        return not self._subscriptions and not self._running

    @property
    def remote(self) -> bool:
        """Whether somebody watches what this process does not itself publish."""
        return bool(self._subscriptions) and not self._running

    @property
    def ending(self) -> bool:
        """Whether somebody still reads up to an end."""
        return any(subscription.ended for subscription in self._subscriptions)

    def run(self, *, running: bool) -> None:
        """The session's turns run in this process, so that everything is published here; or no longer."""
        self._running = running
        if self.idle:
            self._on_idle(self)

    def begin(self, turn: int, attempt: int, seq: int) -> None:
        """An attempt begins behind the durable event `seq`: from here its text counts."""
        self._seq, self._text = seq, _Text(turn, attempt)

    def write(self, piece: str) -> None:
        """A piece of text was written."""
        text = self._text
        if text is None:
            return
        text.pieces.append(piece)
        text.length += len(piece)
        if self._subscriptions and self._timer is None:
            wait = self._flushed + COALESCE - self._clock.monotonic()
            if wait > 0:
                self._timer = self._clock.call_later(wait, self._wake)
            else:
                self._wake()

    def retry(self, why: str) -> None:
        """The model is asked again: the text so far is void."""
        if self._text is not None:
            self._text = self._text.again(why)
            for subscription in self._subscriptions:
                subscription.wake()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Entries were stored."""
        text = self._text
        for subscription in self._subscriptions:
            if text is not None and (text.length or text.tries):
                subscription.push(_Flush(self._seq, text))
            for entry in entries:
                subscription.push(entry)
        if entries:
            self._seq = entries[-1].seq
            if text is not None:
                self._text = _Text(text.turn, text.attempt)

    def halt(self) -> None:
        """The attempt is over; text that nothing durable followed is void."""
        self._text = None

    def refresh(self) -> None:
        """Something may have been stored elsewhere: let everybody look."""
        for subscription in self._subscriptions:
            subscription.catch_up()

    def end(self, kind: EventKind | None) -> None:
        """No more events, for good: the session is deleted, or the runtime closes."""
        for subscription in list(self._subscriptions):
            subscription.finish(kind)

    def subscribe(
        self, position: Position, backlog: Sequence[Entry] | None = None, check: Check | None = None
    ) -> Subscription:
        """Events behind a position; `backlog` is what follows it where the caller knows, else storage is asked.

        `check` is awaited after each look into storage, and raises where that shows another session by now.
        """
        subscription = Subscription(self, position, backlog, check)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more for this one."""
        self._subscriptions.discard(subscription)
        if self.idle:
            self._on_idle(self)

    async def read(self, after: int) -> Sequence[Entry]:
        """What is stored behind `after`."""
        return await self._read(after)

    def text_behind(self, position: Position) -> _Text | None:
        """The text that is being written, if it comes right behind the position's durable event."""
        return self._text if self._text is not None and self._seq == position.seq else None

    def _wake(self) -> None:
        self._timer = None
        self._flushed = self._clock.monotonic()
        for subscription in self._subscriptions:
            subscription.wake()


class Feeds:
    """The feeds that somebody needs, by session."""

    def __init__(self, clock: Clock, store: SessionStore) -> None:
        self._clock, self._store = clock, store
        self._feeds: dict[tuple[str, str], Feed] = {}

    def __call__(self, name: tuple[str, str]) -> Feed:
        """The session's feed."""
        found = self._feeds.get(name)
        if found is None:

            async def read(after: int) -> Sequence[Entry]:
                return await self._store.entries(*name, after=after, limit=READ_AHEAD)

            found = self._feeds[name] = Feed(self._clock, read, lambda feed: self._discard(name, feed))
        return found

    def end(self, name: tuple[str, str], kind: EventKind | None) -> None:
        """The session is gone; one with the same id begins anew."""
        feed = self._feeds.pop(name, None)
        if feed is not None:
            feed.end(kind)

    async def read_out(self, seconds: float) -> None:
        """Until those who follow what has ended have read its end, for as long as that at most."""
        limit = time.monotonic() + seconds
        # once, at the very end
        while any(feed.ending for feed in self._feeds.values()) and time.monotonic() < limit:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def end_all(self) -> None:
        """Nothing is published any more."""
        for name in list(self._feeds):
            self.end(name, None)

    def look(self, name: tuple[str, str]) -> None:
        """Let those who watch this session look into storage."""
        if (feed := self._feeds.get(name)) is not None:
            feed.refresh()

    def refresh(self) -> bool:
        """Let those look into storage who watch what runs elsewhere; False if there are none."""
        remote = [feed for feed in self._feeds.values() if feed.remote]
        for feed in remote:
            feed.refresh()
        return bool(remote)

    def _discard(self, name: tuple[str, str], feed: Feed) -> None:
        if self._feeds.get(name) is feed:
            del self._feeds[name]


class Subscription:
    """One client's way through a feed: entries and pieces of text, in order, none twice.

    Yields (entry, None) for what is durable and (None, event) for the rest.
    """

    def __init__(
        self, feed: Feed, position: Position, backlog: Sequence[Entry] | None, check: Check | None = None
    ) -> None:
        self._feed, self._check = feed, check
        self._position = position
        #: How many tries of the step behind the position were told of.
        self._tries = 0
        self._queue: deque[Entry | _Flush] = deque(backlog or ())
        self._behind = backlog is None
        self._doubt = position.attempt > 0
        self._ended = False
        self._last: EventKind | None = None
        self._wake: asyncio.Future[None] | None = None

    # -- called by the feed, never waiting

    def push(self, item: Entry | _Flush) -> None:
        """One more; too many mean reading from storage later."""
        if not self._behind:
            self._queue.append(item)
            if len(self._queue) > MAX_BACKLOG:
                self._queue.clear()
                self._behind = True
        self.wake()

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
            if text is not None and (news := self._news(text)):
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
                for found in self._take(self._queue.popleft()):
                    yield found

    async def _from_storage(self) -> AsyncIterator[Entry]:
        # from now on what is published queues up again; what is both there and in storage is passed over
        self._behind = False
        while True:
            entries = await self._feed.read(self._position.seq)
            if self._check is not None:
                await self._check()
            for entry in entries:
                yield entry
            if len(entries) < READ_AHEAD:
                return

    def _take(self, item: Entry | _Flush) -> list[tuple[Entry | None, Event | None]]:
        if not isinstance(item, _Flush):
            return self._pass(item)
        news = self._news(item.text) if item.seq == self._position.seq else []
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

    def _news(self, text: _Text) -> list[Event]:
        """What of the step that is being written was not shown yet."""
        news: list[Event] = []
        offset = self._position.offset if self._position.attempt == text.attempt else 0
        if offset > text.start:
            self._tries = text.tries  # who has seen text of this try needs no word of it
        elif offset > 0:
            news.append(self._dropped())
        if text.tries > self._tries:
            self._tries = text.tries
            news.append(self._retried(text))
        if piece := self._piece(text):
            news.append(piece)
        return news

    def _retried(self, text: _Text) -> Event:
        place = self._position.seq
        return Event(kind=EventKind.MODEL_RETRY, id=str(place), seq=place, turn=text.turn, text=text.why)

    def _dropped(self) -> Event:
        self._position = Position(self._position.seq)
        return Event(kind=EventKind.TEXT_DROPPED, id=str(self._position.seq), seq=self._position.seq)

    def _piece(self, text: _Text) -> Event | None:
        offset = max(text.start, self._position.offset if self._position.attempt == text.attempt else 0)
        piece = text.since(offset)
        if not piece:
            return None
        self._position = Position(self._position.seq, text.attempt, offset + len(piece))
        place = f"{self._position.seq}.{text.attempt}.{self._position.offset}"
        return Event(kind=EventKind.TEXT, id=place, seq=self._position.seq, turn=text.turn, text=piece)
