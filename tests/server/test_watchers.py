"""Many who watch one session: each is told all of it, and what is told is made once."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from sojourn import Sojourn
from sojourn.abc import Entry, Run, Step
from sojourn.records import Event, EventKind, Role
from sojourn.records import Message as Said
from sojourn.server.connections import Connection as Taking
from sojourn.server.connections import Stalls
from sojourn.server.events import Translator
from sojourn.server.service import Options
from sojourn.server.sse import AHEAD, EventStream, Sent
from sojourn.server.streams import session_stream
from sojourn.server.translations import Translations
from sojourn.sessions.subscription import READ_SIZE
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer
from tests.server.kit import SOON, Block, Served, served, until
from tests.server.scripts import tool_turn

WATCHERS, TURNS = 40, 5

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every event that was translated, as often as it was."""
    found: list[Event] = []
    translate = Translator.translate

    def noting(self: Translator, event: Event, call_id: str = "") -> list[Sent]:
        found.append(event)
        return translate(self, event, call_id)

    monkeypatch.setattr(Translator, "translate", noting)
    return found


async def watch(server: Served, turns: int, connected: asyncio.Barrier | None = None, last: str = "0") -> list[Block]:
    """The session's events to the end of so many turns."""

    def over(block: Block) -> bool:
        return block.name == "run:complete" and block.data["turn"] == turns

    async with server.client.stream("GET", "/api/sessions/s/events", headers={"Last-Event-ID": last}) as response:
        if connected is not None:
            await connected.wait()
        return await until(response, over)


def durable(found: list[Block]) -> list[tuple[str, dict[str, Any], str | None]]:
    """What was told, however its text was cut into pieces."""
    return [(block.name, block.data, block.id) for block in found if block.name != "llm:chunk"]


async def test_many_watchers_are_told_the_same_which_is_made_once(translated: list[Event]) -> None:
    connected = asyncio.Barrier(WATCHERS + 1)
    async with served(tool_turn) as server, asyncio.timeout(SOON):
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        watching = [asyncio.create_task(watch(server, TURNS, connected)) for _ in range(WATCHERS)]
        await connected.wait()
        for _ in range(TURNS):
            await server.runtime.send("s", "find it")
        found = await asyncio.gather(*watching)
        made = len(translated)
        late = await watch(server, TURNS)
    assert all(durable(one) == durable(late) for one in found)
    texts = {"".join(block.data["content"] for block in one if block.name == "llm:chunk") for one in found}
    assert texts == {"found it" * TURNS}
    ids = len({event.id for event in translated})
    assert made <= 3 * ids, "an event is translated for all of them, not for each"


async def test_one_who_comes_amid_a_turn_is_told_the_rest_like_the_others() -> None:
    async with served(tool_turn) as server, asyncio.timeout(SOON):
        await server.runtime.send("s", "find it")
        await server.runtime.send("s", "find it")
        whole = await watch(server, 2)
        for block in whole:
            if block.id is not None and block is not whole[-1]:
                rest = await watch(server, 2, last=block.id)
                assert durable(rest) == durable(whole[whole.index(block) + 1 :])


class Line:
    """A connection that takes what it is sent only when it may."""

    def __init__(self) -> None:
        self.may, self.left, self.many = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.bodies: list[bytes] = []
        #: Whether something is waiting to be taken.
        self.wanted = False

    async def send(self, message: Message) -> None:
        if message.get("body"):
            self.wanted = True
            await self.may.wait()
            self.bodies.append(message["body"])
            if len(self.bodies) == 3:
                self.many.set()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def streamed(line: Line, events: AsyncGenerator[Sent], heartbeat: float = 60) -> None:
    stream = EventStream(events, heartbeat=heartbeat, headers={})
    async with asyncio.timeout(SOON):
        await stream({"type": "http"}, line.receive, line.send)


async def test_events_that_are_there_at_once_are_sent_at_once() -> None:
    async def five() -> AsyncGenerator[Sent]:
        for number in range(5):
            yield Sent("tick", {"number": number}, str(number))

    line = Line()
    line.may.set()
    await streamed(line, five())
    assert b"".join(line.bodies).count(b"event: tick\n") == 5
    assert len(line.bodies) == 1


async def test_a_reader_that_does_not_read_holds_up_its_source_and_nothing_else() -> None:
    taken, waits = 0, asyncio.Event()

    async def endless() -> AsyncGenerator[Sent]:
        nonlocal taken
        while True:
            taken += 1
            if taken * 1000 > 2 * AHEAD:
                waits.set()
            yield Sent("tick", {"text": "x" * 1000})

    line = Line()
    task = asyncio.create_task(streamed(line, endless()))
    for _ in range(50):
        await asyncio.sleep(0)
    assert taken * 1000 <= 2 * AHEAD + 2000, "what is sent, and as much that is ready"
    line.may.set()
    await asyncio.wait_for(waits.wait(), SOON)
    line.left.set()
    await task


async def test_a_source_that_breaks_ends_its_stream_with_what_it_was() -> None:
    async def broken() -> AsyncGenerator[Sent]:
        yield Sent("tick", {})
        raise ValueError("gone")

    line = Line()
    line.may.set()
    with pytest.raises(ValueError, match="gone"):
        await streamed(line, broken())
    assert line.bodies == [b"event: tick\ndata: {}\n\n"]


async def test_a_busy_stream_has_no_heartbeat() -> None:
    go = asyncio.Event()

    async def one() -> AsyncGenerator[Sent]:
        await go.wait()
        yield Sent("tick", {})

    line = Line()
    line.may.set()
    task = asyncio.create_task(streamed(line, one(), heartbeat=0.01))
    await asyncio.wait_for(line.many.wait(), SOON)
    go.set()
    await task
    assert set(line.bodies[:-1]) == {b": keepalive\n\n"}
    assert line.bodies[-1].startswith(b"event: tick")


LARGE, READERS = 200_000, 20


async def large(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Answers at length."""
    async for step in answer("é" * LARGE):
        yield step


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_for_one_that_does_not_read_little_is_read_however_much_there_is(kind: str, tmp_path: Path) -> None:
    storage = "memory:" if kind == "memory" else f"sqlite:///{tmp_path / 'sojourn.db'}"
    async with Sojourn(ScriptedEngine(large), storage=storage) as runtime, asyncio.timeout(SOON):
        for number in range(15):
            await runtime.send("s", f"message {number}")
        scope, read = runtime.for_user("local"), list[int]()
        entries = runtime.core.store.entries

        async def counting(*arguments: Any, **options: Any) -> Sequence[Entry]:
            found = await entries(*arguments, **options)
            read.append(sum(entry.size for entry in found))
            return found

        runtime.core.store.entries = counting  # type: ignore[method-assign]
        lines = [Line() for _ in range(READERS)]
        streams = [session_stream(scope, "s", scope.watch("s", after=0), Translations("s"), after="0") for _ in lines]
        tasks = [asyncio.create_task(streamed(line, stream)) for line, stream in zip(lines, streams, strict=True)]
        lines[0].may.set()
        while not all(line.wanted for line in lines) or b'"turn":15' not in lines[0].bodies[-1]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        whole = sum(entry.size for entry in await entries("local", "s"))
        held = sum(read) - whole
        for line in lines:
            line.may.set()
            line.left.set()
        await asyncio.gather(*tasks)
    once = READ_SIZE + LARGE + 1000
    assert max(read) <= once
    # what is sent, what is ready behind it, and what was read behind that
    assert held <= READERS * 3 * once < READERS * whole / 3


async def test_a_connection_that_takes_nothing_is_cut_and_its_reader_may_come_back() -> None:
    options = Options(stall=0.3)
    async with served(large, options=options, close_wait=timedelta(0)) as server, asyncio.timeout(3 * SOON):
        for number in range(40):
            await server.runtime.send("s", f"message {number}")
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=1024)
        writer.write(b"GET /api/sessions/s/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: 0\r\n\r\n")
        await writer.drain()
        while not server.server.server_state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        while server.server.server_state.tasks:  # noqa: ASYNC110 - it ends though nobody reads and nobody closes
            await asyncio.sleep(0.005)
        assert not server.server.server_state.connections
        writer.transport.abort()
        whole = await watch(server, 40)
    assert whole[-1].name == "run:complete"


class Connection:
    """What a server knows of one."""

    def __init__(self, waiting: int, *, paused: bool = True) -> None:
        self.waiting, self.write_paused, self.taken = waiting, paused, 0

    @property
    def flow(self) -> Connection:
        return self

    @property
    def transport(self) -> Connection:
        return self

    def get_write_buffer_size(self) -> int:
        return self.waiting


def test_a_slow_connection_is_no_stalled_one() -> None:
    stalls = Stalls(60)
    slow, stalled, fine = Connection(10**6), Connection(10**6), Connection(100, paused=False)
    for second in range(60):
        assert stalls.look([slow, stalled, fine], second) == []
        slow.waiting -= 1
    assert stalls.look([slow, stalled, fine], 60) == [stalled]
    stalled.write_paused = False
    assert stalls.look([slow, stalled, fine], 61) == []
    stalled.write_paused = True
    assert stalls.look([slow, stalled, fine], 100) == []
    assert stalls.look([stalled, fine], 160) == [stalled]


def test_a_connection_that_takes_all_that_waits_as_fast_as_it_is_written_is_no_stalled_one() -> None:
    stalls, steady = Stalls(60), Connection(20_000)
    assert stalls.look([steady], 0) == []
    for second in range(1, 300):
        steady.waiting, steady.taken = 90_000, second  # taken and written anew, and never so little as at first
        assert stalls.look([steady], second) == []
    assert stalls.look([steady], 400) == [steady]


async def test_a_connection_says_how_often_it_took_what_waited() -> None:
    async with served(large) as server, asyncio.timeout(SOON):
        for number in range(40):
            await server.runtime.send("s", f"message {number}")
        async with server.client.stream("GET", "/api/sessions/s/history") as response:
            (connection,) = server.server.server_state.connections
            await response.aread()
        assert isinstance(connection, Taking)
        assert connection.taken > 0


def text_event(seq: int, offset: int) -> Event:
    return Event(kind=EventKind.TEXT, id=f"{seq}.1.{offset}", seq=seq, turn=1, text="word ")


def test_what_is_kept_for_others_does_not_grow_with_the_answer_or_for_nobody() -> None:
    pieces = 5000
    alone, shared = Translations("s"), Translations("s")
    with alone.read(), shared.read(), shared.read():
        for translations in (alone, shared):
            translator = translations.begin()
            tracemalloc.start()
            for number in range(pieces):
                _, translator = translations.translate(translator, text_event(1, 5 * number + 5), "")
            used = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert used < (1_000_000 if translations is alone else 2_500_000)
            message = Said(seq=2, turn=1, role=Role.ASSISTANT, text="word " * pieces + "and more", created=NOW)
            event = Event(kind=EventKind.MESSAGE, id="2", seq=2, turn=1, text=message.text, message=message)
            _, translator = translations.translate(translator, event, "")
            sent, _ = translations.translate(translator, Event(kind=EventKind.STATE_CHANGED, id="3", seq=3, turn=1), "")
            assert sent[0].data["content"] == "and more"


async def test_a_session_that_is_gone_before_its_stream_begins_is_a_deleted_one() -> None:
    async with Sojourn(ScriptedEngine(), storage="memory:") as runtime:
        scope = runtime.for_user("local")
        stream = session_stream(scope, "s", scope.watch("s"), Translations("s"), after=None)
        assert [(sent.name, sent.data) async for sent in stream] == [("session:deleted", {"sessionId": "s"})]
