"""A crowd that watches one session is told in turns, all of it and in order, and looks into storage together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sojourn.abc import Entry
from sojourn.clock import SystemClock
from sojourn.records import EntryKind, EventKind
from sojourn.sessions import feed as feeds
from sojourn.sessions.feed import Feed
from sojourn.sessions.position import Position
from sojourn.sessions.recent import Recent
from sojourn.sessions.subscription import Subscription
from sojourn.sessions.together import Together

CROWD = 50
SOON = 10


class Stored:
    """A session's log, and how often it was looked at."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.looks = 0

    async def read(self, after: int) -> Sequence[Entry]:
        self.looks += 1
        await asyncio.sleep(0)
        return [entry for entry in self.log if entry.seq > after]

    def append(self, feed: Feed) -> None:
        self.log.append(Entry(len(self.log) + 1, EntryKind.MESSAGE, 1, "{}", f"text {len(self.log)}"))
        feed.publish(self.log[-1:])


class Watcher:
    """What one of the crowd has seen."""

    def __init__(self, feed: Feed) -> None:
        self.subscription: Subscription = feed.subscribe(Position())
        self.seen: list[int] = []
        self.text = ""
        self.offsets: list[str] = []

    async def follow(self) -> None:
        async for entry, event in self.subscription.events():
            if entry is not None:
                self.seen.append(entry.seq)
            elif event is not None and event.kind is EventKind.TEXT:
                self.text += event.text
                self.offsets.append(event.id)


def crowd(stored: Stored) -> tuple[Feed, list[Watcher]]:
    feed = Feed(SystemClock(), stored.read, lambda _: None)
    return feed, [Watcher(feed) for _ in range(CROWD)]


async def turns(count: int) -> None:
    """So many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_crowd_is_told_a_few_at_a_time_so_that_other_work_has_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "PAUSE", 0.05)
    stored = Stored()
    feed, watchers = crowd(stored)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await turns(10)
    stored.append(feed)
    await turns(10)
    assert sum(bool(watcher.seen) for watcher in watchers) == feeds.TOLD_AT_ONCE
    stored.append(feed)
    feed.end(None)
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    assert all(watcher.seen == [1, 2] for watcher in watchers)


async def test_all_of_a_crowd_are_told_text_in_the_same_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "COALESCE", 0.001)
    stored = Stored()
    feed, watchers = crowd(stored)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await turns(10)
    feed.run(running=True)
    feed.begin(1, 1, 0)
    for number in range(200):
        feed.write(f"{number} ")
        await asyncio.sleep(0.0002)
    stored.append(feed)
    feed.end(None)
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    assert {watcher.text for watcher in watchers} == {"".join(f"{number} " for number in range(200))}
    assert all(watcher.seen == [1] for watcher in watchers)
    assert len({tuple(watcher.offsets[:5]) for watcher in watchers}) == 1
    assert len(watchers[0].offsets) > 5


async def test_one_who_comes_while_a_crowd_is_told_misses_no_text() -> None:
    stored = Stored()
    feed, watchers = crowd(stored)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await turns(10)
    feed.run(running=True)
    feed.begin(1, 1, 0)
    feed.write("one ")
    await turns(2)
    late = Watcher(feed)
    feed.write("two")
    tasks.append(asyncio.create_task(late.follow()))
    async with asyncio.timeout(SOON):
        while not all(watcher.text == "one two" for watcher in [late, *watchers]):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    feed.end(None)
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)


async def test_one_who_leaves_before_being_told_is_forgotten() -> None:
    stored = Stored()
    feed, watchers = crowd(stored)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await turns(10)
    stored.append(feed)
    for watcher in watchers:
        watcher.subscription.close()
    feed.end(None)
    assert feed.idle
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_crowd_that_looks_into_storage_at_one_moment_looks_once() -> None:
    stored = Stored()
    feed, watchers = crowd(stored)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await turns(10)
    assert stored.looks == 1
    stored.log.append(Entry(1, EntryKind.MESSAGE, 1, "{}", "written elsewhere"))
    feed.refresh()
    await turns(10)
    assert stored.looks == 2
    feed.end(None)
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    assert all(watcher.seen == [1] for watcher in watchers)


async def test_who_asks_while_a_look_is_under_way_gets_a_look_of_its_own() -> None:
    together, begun, go, looks = Together(), asyncio.Event(), asyncio.Event(), 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        begun.set()
        await go.wait()
        return looks

    first = asyncio.create_task(together("k", look))
    await asyncio.wait_for(begun.wait(), SOON)
    second = asyncio.create_task(together("k", look))
    await turns(5)
    assert looks == 2
    go.set()
    await asyncio.wait_for(asyncio.gather(first, second), SOON)


async def test_a_look_that_fails_fails_for_all_and_leaving_harms_nobody() -> None:
    together = Together()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    asking = [asyncio.create_task(together("k", fail)) for _ in range(3)]
    await turns(1)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [asyncio.CancelledError, ValueError, ValueError]


def test_what_was_made_is_kept_up_to_a_size() -> None:
    recent: Recent[str] = Recent(10)
    recent.put("a", "first", 4)
    recent.put("b", "second", 4)
    recent.put("b", "again", 5)
    assert (recent.get("a"), recent.get("b"), recent.size) == ("first", "again", 9)
    recent.put("c", "third", 4)
    assert (recent.get("a"), recent.get("b"), recent.get("c"), recent.size) == (None, "again", "third", 9)
    recent.put("d", "too large", 11)
    assert (recent.get("d"), recent.size) == (None, 0)
