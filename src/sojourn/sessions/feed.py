"""What clients see of a session: its log as it grows, and the answer's text while it is written.

Persist, then publish: a durable event is published by whoever has just stored it. A subscriber that cannot keep up, or
that came late, reads from storage what it missed; it never slows the turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from sojourn.abc import Entry, SessionStore
from sojourn.clock import Clock, Timer
from sojourn.records import Event, EventKind
from sojourn.sessions.position import Flush, Position, Text
from sojourn.sessions.recent import Recent
from sojourn.sessions.subscription import READ_AHEAD, READ_SIZE, Check, Subscription
from sojourn.sessions.together import Together

#: Text is passed on at most this often, seconds.
COALESCE = 0.02

#: So many watchers are told at once, and the next ones after so many seconds, so that a crowd of them delays no turn:
#: its own work has its turns in between, and whoever is told later is told more at once.
TOLD_AT_ONCE = 8
PAUSE = 0.002

#: How large the events are together that are kept for other watchers, characters.
MAX_SHOWN = 256 * 1024


class Feed:
    """One session's events, for as long as somebody subscribes or a turn runs."""

    def __init__(
        self,
        clock: Clock,
        read: Callable[[int], Awaitable[Sequence[Entry]]],
        on_idle: Callable[[Feed], None],
        *,
        over: bool = False,
    ) -> None:
        self._clock = clock
        #: Whether nothing is published any more: whoever comes now reads what is stored, and ends.
        self._over = over
        self._read = read
        self._on_idle = on_idle
        self._subscriptions: dict[Subscription, None] = {}
        #: Those that have not been told of what is new, the first to be told first.
        self._untold: dict[Subscription, None] = {}
        self._pacing: Timer | None = None
        #: Whether more text waits for all of them to be told of what came before.
        self._due = False
        #: Whoever looks into storage at one moment looks together.
        self.together = Together()
        #: Events that watchers were just told of.
        self._shown: Recent[tuple[Entry, Event]] = Recent(MAX_SHOWN)
        self._text: Text | None = None
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

    def turn_to(self, key: int) -> None:
        """What is published from here on is of this session: who follows another one, which had its id, has to look."""
        for subscription in self._subscriptions:
            if subscription.key not in {None, key}:
                subscription.catch_up()

    def begin(self, turn: int, attempt: int, seq: int) -> None:
        """An attempt begins behind the durable event `seq`: from here its text counts."""
        self._seq, self._text = seq, Text(turn, attempt)

    def write(self, piece: str) -> None:
        """A piece of text was written."""
        text = self._text
        if text is None:
            return
        text.write(piece)
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
            self._tell()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Entries were stored."""
        text = self._text
        if self._subscriptions:
            items: list[Entry | Flush] = list(entries)
            if text is not None and (text.length or text.tries):
                items.insert(0, Flush(self._seq, text))
            size = sum(item.size for item in items)
            for subscription in self._subscriptions:
                subscription.push(items, size)
            self._tell()
        if entries:
            self._seq = entries[-1].seq
            if text is not None:
                self._text = Text(text.turn, text.attempt)

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
        self,
        position: Position,
        backlog: Sequence[Entry] | None = None,
        check: Check | None = None,
        key: int | None = None,
    ) -> Subscription:
        """Events of session `key` behind a position; `backlog` is what follows it where the caller knows.

        Else storage is asked. `check` is awaited after each look into storage, and raises where that shows another
        session by now.
        """
        if backlog and self._seq > backlog[-1].seq:
            backlog = None  # more was published since the caller knew
        if self._text is not None and self._pacing is None:
            self._text.told = self._text.length
        subscription = Subscription(self, position, backlog, check, key)
        self._subscriptions[subscription] = None
        if self._over:
            subscription.finish()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more for this one."""
        self._subscriptions.pop(subscription, None)
        self._untold.pop(subscription, None)
        if self.idle:
            self._on_idle(self)

    async def read(self, after: int) -> Sequence[Entry]:
        """What is stored behind `after`."""
        return await self.together(after, lambda: self._read(after))

    def text_behind(self, position: Position) -> Text | None:
        """The text that is being written, if it comes right behind the position's durable event."""
        return self._text if self._text is not None and self._seq == position.seq else None

    def known(self, entry: Entry) -> Event | None:
        """The event that an entry was made for another watcher, not long ago."""
        found = self._shown.get(id(entry))
        return found[1] if found is not None and found[0] is entry else None

    def know(self, entry: Entry, event: Event) -> Event:
        """Keep an entry's event for other watchers."""
        if len(self._subscriptions) > 1:
            self._shown.put(id(entry), (entry, event), entry.size)
        return event

    def _wake(self) -> None:
        self._timer = None
        if self._pacing is not None:
            self._due = True  # one after the other, so that all of them are told the same
            return
        self._flushed = self._clock.monotonic()
        if self._text is not None:
            self._text.told = self._text.length
        self._tell()

    def _tell(self) -> None:
        """Wake everybody, some now and the others behind them."""
        for subscription in self._subscriptions:
            self._untold.setdefault(subscription)
        if self._pacing is None:
            self._tell_some()

    def _tell_some(self) -> None:
        self._pacing = None
        if self._due and not self._untold:
            self._due = False
            self._wake()
            return
        some = list(islice(self._untold, TOLD_AT_ONCE))
        for subscription in some:
            del self._untold[subscription]
            subscription.wake()
        if self._due or (some and len(self._subscriptions) > TOLD_AT_ONCE):
            # the event loop's own time, whatever the clock says: it is for the loop's other work
            self._pacing = asyncio.get_running_loop().call_later(PAUSE, self._tell_some)


class Feeds:
    """The feeds that somebody needs, by session."""

    def __init__(self, clock: Clock, store: SessionStore) -> None:
        self._clock, self._store = clock, store
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._over = False

    def __call__(self, name: tuple[str, str]) -> Feed:
        """The session's feed."""
        found = self._feeds.get(name)
        if found is None:

            async def read(after: int) -> Sequence[Entry]:
                return await self._store.entries(*name, after=after, limit=READ_AHEAD, size=READ_SIZE)

            found = self._feeds[name] = Feed(self._clock, read, lambda feed: self._discard(name, feed), over=self._over)
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
        """Nothing is published any more, also to those who come later."""
        self._over = True
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
