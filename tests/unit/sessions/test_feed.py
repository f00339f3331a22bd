"""Streams and watches: what they show, where they go on, how they end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.errors import InvalidInput, RuntimeClosed, SessionNotFound
from sojourn.records import Event, EventKind, OnInterrupt, TurnStatus
from sojourn.sessions import feed, subscription
from sojourn.testing import ScriptedHistory, answer, call_tool, say, settle
from tests.unit.sessions.kit import Stage, World, all_of, becomes, in_line, kinds, some_of, soon, text_of, until

STORY = "Once upon a time there was a queue"


class Teller:
    """Tells a story word by word, one for each `more`."""

    def __init__(self, words: int = 8) -> None:
        self.pieces = [word + " " for word in STORY.split(" ")][:words]
        self.doors = asyncio.Semaphore(0)
        self.told = 0
        self.starts = 0

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        self.starts += 1
        for piece in self.pieces:
            await self.doors.acquire()
            yield TextDelta(piece)
            self.told += 1
        await self.doors.acquire()
        text = "".join(self.pieces)
        yield say(text, final=True)
        yield RunFinished(text, None, "stop")

    async def tell(self, words: int) -> None:
        before = self.told
        for _ in range(words):
            self.doors.release()
        await until(lambda: self.told == min(before + words, len(self.pieces)))
        await settle()


async def test_a_stream_shows_the_turn_from_its_opening_to_its_end(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        await settle(2)  # a model takes longer than it takes to listen
        async for step in answer("you said: hello there"):
            yield step

    runtime = await world.runtime(script)
    events = await all_of(runtime.stream("s", "hello there"))
    assert kinds(events) == ["turn_opened", "message", "turn_ended"]
    assert text_of(events) == "you said: hello there"
    opened, message, ended = (event for event in events if event.kind is not EventKind.TEXT)
    assert opened.message is not None
    assert message.message is not None
    assert (opened.message.text, message.message.text) == ("hello there", "you said: hello there")
    assert ended.status is TurnStatus.COMPLETED
    assert ended.reply is not None
    assert (ended.reply.text, ended.reply.turn) == ("you said: hello there", 1)
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    assert len({event.id for event in events}) == len(events)


async def test_a_watch_begins_with_what_comes_next_and_replays_from_a_number(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "one")
    last = 3
    everything = await some_of(runtime.watch("s", after=0), lambda event: event.seq == last)
    assert kinds(everything) == ["turn_opened", "message", "turn_ended"]
    assert everything[-1].reply is not None
    rest = await some_of(runtime.watch("s", after=everything[0].id), lambda event: event.seq == last)
    assert rest == everything[1:]
    live = asyncio.create_task(some_of(runtime.watch("s"), lambda event: event.status is not None))
    await until(lambda: runtime.core.feeds._feeds)
    await settle()
    await runtime.send("s", "two")
    assert {event.turn for event in await soon(live)} == {2}


async def test_a_place_that_the_session_never_had_is_one_of_a_session_that_had_its_id_before(world: World) -> None:
    runtime = await world.runtime()
    for text in ("one", "two"):
        await runtime.send("s", text)
    place = (await some_of(runtime.watch("s", after=0), lambda event: event.seq == 6))[-1].id
    await runtime.delete("s")
    await runtime.send("s", "three")
    seen = await some_of(runtime.watch("s", after=place), lambda event: event.status is not None)
    assert kinds(seen) == ["turn_opened", "message", "turn_ended"]
    assert seen[0].text == "three"


async def test_a_client_that_comes_back_at_any_place_sees_everything_once(world: World) -> None:
    teller = Teller()
    runtime = await world.runtime(teller)
    whole = asyncio.create_task(all_of(runtime.stream("s", "tell me")))
    await until(lambda: teller.starts)
    parts: list[Event] = []
    for _ in range(8):
        await teller.tell(1)
        await world.clock.advance(0.05)
        place = parts[-1].id if parts else 0
        parts += await some_of(runtime.watch("s", after=place), lambda event: event.kind is EventKind.TEXT)
    await teller.tell(1)
    parts += await some_of(runtime.watch("s", after=parts[-1].id), lambda event: event.status is not None)
    assert text_of(parts) == text_of(await soon(whole)) == "".join(teller.pieces)
    assert kinds(parts) == ["turn_opened", "message", "turn_ended"]
    assert [event.id for event in parts if event.kind is EventKind.TEXT][:2] == ["1.1.5", "1.1.10"]


async def test_text_of_a_dead_attempt_is_dropped(world: World) -> None:
    first_teller, second_teller = Teller(), Teller()
    first = await world.runtime(first_teller)
    stream = asyncio.create_task(all_of(first.stream("s", "tell me", key="k")))
    await until(lambda: first_teller.starts)
    watching = asyncio.create_task(some_of(first.watch("s", after=0), lambda event: event.text.endswith("upon ")))
    await first_teller.tell(2)
    await world.clock.advance(0.05)
    seen = await soon(watching)
    await world.kill(first)
    await asyncio.gather(stream, return_exceptions=True)
    second = await world.runtime(second_teller)
    await until(lambda: second_teller.starts)
    _, same = await second.begin("s", "tell me", key="k", after=seen[-1].id)
    after = [
        asyncio.create_task(some_of(events, lambda event: event.status is not None))
        for events in (second.watch("s", after=seen[-1].id), same)
    ]
    readers = second.core.feeds(("local", "s"))._subscriptions
    await until(lambda: [one._wake is not None and not one._wake.done() for one in readers] == [True] * len(after))
    await second_teller.tell(9)
    for events in await soon(asyncio.gather(*after)):
        assert kinds(events) == ["text_dropped", "turn_resumed", "message", "turn_ended"]
        assert text_of(events) == "".join(second_teller.pieces)


async def test_a_place_in_text_that_is_long_over_is_dropped_or_completed(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    events = await some_of(runtime.watch("s", after="1.1.4"), lambda event: event.status is not None)
    assert kinds(events) == ["message", "turn_ended"], "the message completes the text"
    assert (await soon(anext(runtime.watch("s", after="3.1.4")))).kind is EventKind.TEXT_DROPPED


async def test_a_slow_reader_falls_back_to_storage_and_never_slows_the_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "MAX_BACKLOG", 4)
    monkeypatch.setattr(feed, "READ_AHEAD", 3)
    monkeypatch.setattr(subscription, "READ_AHEAD", 3)

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for n in range(20):
            yield say(f"step {n}", calls=["look"])
            yield call_tool(0, "look", f"result {n}")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    stream = runtime.stream("s", "go")
    assert (await soon(anext(stream))).kind is EventKind.TURN_OPENED
    await becomes(runtime, TurnStatus.COMPLETED)  # though nobody reads
    rest = await all_of(stream)
    assert kinds(rest) == ["message", "tool_result"] * 20 + ["message", "turn_ended"]
    assert [event.seq for event in rest if event.kind is not EventKind.TEXT] == list(range(2, 44))


async def test_many_clients_follow_one_turn(world: World) -> None:
    runtime = await world.runtime()
    await runtime.create("s")
    watchers = [
        asyncio.create_task(some_of(runtime.watch("s", after=0), lambda event: event.status is not None))
        for _ in range(200)
    ]
    await settle()
    stream = await all_of(runtime.stream("s", "hello to all of you"))
    for events in await soon(asyncio.gather(*watchers)):
        assert kinds(events) == kinds(stream)


async def test_pieces_that_come_quickly_are_put_together(memory: World) -> None:
    teller = Teller()
    runtime = await memory.runtime(teller)
    stream = asyncio.create_task(all_of(runtime.stream("s", "tell me")))
    await until(lambda: teller.starts)
    await teller.tell(1)
    for _ in range(2):
        await teller.tell(3)
        await memory.clock.advance(feed.COALESCE)
    await teller.tell(2)
    events = await soon(stream)
    pieces = [event.text for event in events if event.kind is EventKind.TEXT]
    assert pieces == ["Once ", "upon a time ", "there was a ", "queue "]


async def test_leaving_a_stream_early_does_not_stop_the_turn(world: World) -> None:
    teller = Teller()
    runtime = await world.runtime(teller)
    stream = runtime.stream("s", "tell me")
    assert (await soon(anext(stream))).kind is EventKind.TURN_OPENED
    await stream.aclose()
    await teller.tell(9)
    await becomes(runtime, TurnStatus.COMPLETED)
    await until(lambda: not runtime.core.feeds._feeds)


async def test_a_watch_ends_when_the_session_is_deleted_or_the_runtime_closes(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("a", "hi")
    await runtime.send("b", "hi")
    watches = [runtime.watch(name, after=0) for name in ("a", "b")]
    # a thread reads what is stored: what comes later must not come before that
    seen = [[await soon(anext(watch)) for _ in range(3)] for watch in watches]
    rest = [asyncio.create_task(all_of(watch)) for watch in watches]
    await settle()
    await runtime.delete("a")
    assert kinds([*seen[0], *await soon(rest[0])]) == ["turn_opened", "message", "turn_ended", "session_deleted"]
    await settle()
    await runtime.close()
    assert kinds([*seen[1], *await soon(rest[1])])[-1] == "turn_ended"


async def test_a_watch_goes_on_over_a_reset(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    watching = asyncio.create_task(
        some_of(runtime.watch("s"), lambda event: event.turn == 2 and event.status is not None)
    )
    await until(lambda: runtime.core.feeds._feeds)
    await settle()
    await runtime.reset("s")
    await runtime.send("s", "again")
    assert kinds(await soon(watching)) == ["session_reset", "turn_opened", "message", "turn_ended"]


@pytest.mark.parametrize("how", ["failed", "cancelled running", "cancelled in line", "deleted", "held"])
async def test_a_stream_always_ends_with_a_terminal_event(world: World, how: str) -> None:
    stage = Stage()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        async for step in stage(run, history):
            if how == "failed":
                raise ValueError("no good")
            yield step

    runtime = await world.runtime(script)
    other = await world.runtime(stage, on_interrupt=OnInterrupt.HOLD)
    streams = [asyncio.create_task(all_of(runtime.stream("s", text))) for text in ("wait", "b")]
    await stage.began("wait")
    await in_line(runtime, 1)
    status: TurnStatus | None = TurnStatus.CANCELLED
    if how == "failed":
        stage.let("wait")
        status = TurnStatus.FAILED
    elif how == "cancelled running":
        await runtime.cancel("s", clear=True)
    elif how == "cancelled in line":
        await runtime.cancel("s", turn=2)
        await runtime.cancel("s")
    elif how == "deleted":
        await runtime.delete("s")
        status = None
    else:
        dying, streams = streams, [asyncio.create_task(all_of(other.stream("s", "c")))]
        await in_line(other, 2)
        await world.kill(runtime)
        await asyncio.gather(*dying, return_exceptions=True)
        await other.chores.recover()
        await becomes(other, TurnStatus.HELD)
        await other.chores.pulse()
        status = TurnStatus.HELD
    for events in await soon(asyncio.gather(*streams)):
        assert events[-1].status is status
        assert str(events[-1].kind) == ("turn_ended" if status else "session_deleted")


async def test_a_stream_is_told_that_the_runtime_closes(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    streams = [asyncio.create_task(all_of(runtime.stream("s", text))) for text in ("wait", "b")]
    await stage.began("wait")
    await in_line(runtime, 1)
    await runtime.close()
    for end in await soon(asyncio.gather(*streams, return_exceptions=True)):
        assert isinstance(end, RuntimeClosed)


@pytest.mark.parametrize("end", ["is cancelled", "fails"])
async def test_a_stream_of_a_turn_in_line_shows_nothing_of_the_turn_before_it(world: World, end: str) -> None:
    talking, fail = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if run.turn == 1:
            yield TextDelta("half an ans")
            talking.set()
            await fail.wait()
            raise ValueError
        async for step in answer("whole"):
            yield step

    runtime = await world.runtime(script)
    first = asyncio.create_task(all_of(runtime.stream("s", "one")))
    await soon(talking.wait())
    second = asyncio.create_task(all_of(runtime.stream("s", "two")))
    await in_line(runtime, 1)
    await settle()
    await world.clock.advance(0.1)
    if end == "fails":
        fail.set()
    else:
        await runtime.cancel("s")
    assert text_of(await soon(first)) == "half an ans"
    events = await soon(second)
    assert {event.turn for event in events} == {2}
    assert kinds(events) == ["turn_opened", "message", "turn_ended"]


@pytest.mark.parametrize("after", ["", "x", "1.2", "1.2.3.4", "-1", "1.x.2", "9" * 30, "\u0661", -1, 1.5, "1 ", None])
async def test_a_place_that_no_event_had_is_refused(memory: World, after: object) -> None:
    runtime = await memory.runtime()
    if after is not None:
        await runtime.create("s")
        with pytest.raises(InvalidInput, match="event id"):
            await soon(anext(runtime.watch("s", after=after)))  # type: ignore[arg-type]
        return
    with pytest.raises(SessionNotFound):
        await soon(anext(runtime.watch("s", after=after)))
