"""Whoever loses the connection anywhere around a retry ends with exactly the text, as it puts pieces together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import product

import pytest

from sojourn import Sojourn
from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.server.sse import Sent
from sojourn.server.streams import session_stream, turn_stream
from sojourn.server.translations import Translations
from sojourn.sessions import feed
from sojourn.testing import ScriptedEngine, ScriptedHistory, ask_again, say, settle

SOON = 20

#: What is written, None where the model is asked again. Every void text is as long as some part of a later one.
STORIES: dict[str, list[str | None]] = {
    "once": ["abc", None, "xyz", "uvw"],
    "same length": ["abc", "def", None, "uvwxyz"],
    "twice": ["ab", None, "cd", None, "ef", "gh"],
    "at once": [None, "abc", "def"],
    "the same again": ["abc", None, "abc", "abc"],
    "never": ["abc", "def"],
}


class Writer:
    """Writes a story, a piece for each time it is let."""

    def __init__(self, story: list[str | None]) -> None:
        self.story, self.let = story, asyncio.Semaphore(0)
        self.done = 0
        after = len(story) - story[::-1].index(None) if None in story else 0
        self.text = "".join(piece or "" for piece in story[after:])

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for piece in self.story:
            await self.let.acquire()
            yield ask_again() if piece is None else TextDelta(piece)
            self.done += 1
        await self.let.acquire()
        self.done += 1
        yield say(self.text, final=True)
        yield RunFinished(self.text, None, "stop")

    async def go_on(self, steps: int) -> None:
        wanted = min(self.done + steps, len(self.story) + 1)
        for _ in range(wanted - self.done):
            self.let.release()
        while self.done < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await settle()


@dataclass
class Reading:
    """What a client has put together."""

    text: str = ""
    place: str = "0"
    over: bool = False
    whole: list[str] = field(default_factory=list)
    _pending: list[Sent] = field(default_factory=list)

    def take(self, sent: Sent) -> None:
        self._pending.append(sent)
        if sent.id is None:
            return
        self.place = sent.id
        for one in self._pending:
            if one.name == "llm:chunk":
                self.text += one.data["content"]
            elif one.name in {"llm:chunk-dropped", "llm:retrying"}:
                self.text = ""
            elif one.name == "llm:response":
                assert self.text == one.data["content"]
                self.whole.append(self.text)
            self.over |= one.name == "run:complete"
        self._pending = []

    def lose(self) -> None:
        self._pending = []


async def read(stream: AsyncGenerator[Sent], reading: Reading) -> None:
    """Until it ends or is cancelled, which is a lost connection."""
    async with aclosing(stream):
        async for sent in stream:
            reading.take(sent)
            if reading.over:
                return


async def connected(runtime: Sojourn, kind: str, place: str) -> AsyncGenerator[Sent]:
    scope = runtime.for_user("local")
    if kind == "session":
        return session_stream(scope, "s", scope.watch("s", after=place), Translations("s"), after=place)
    turn, events = await scope.begin("s", "tell", key="k", after=place)
    return turn_stream(scope, "s", turn.turn, events, after=place)


@pytest.mark.parametrize("kind", ["session", "turn"])
@pytest.mark.parametrize("story", STORIES)
async def test_a_reader_that_drops_anywhere_around_a_retry_ends_with_the_text(
    story: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "COALESCE", 0.0)  # so that each piece is told before the next is written
    steps = len(STORIES[story]) + 1
    async with asyncio.timeout(SOON):
        for seen, missed, then in product(range(steps + 1), range(steps + 1), range(2)):
            if seen + missed <= steps:
                await dropped(STORIES[story], kind, seen, missed, then)


async def dropped(story: list[str | None], kind: str, seen: int, missed: int, then: int) -> None:
    """A reader that sees so many steps, misses so many, sees some again, drops once more, and reads to the end."""
    writer, reading = Writer(story), Reading()
    async with Sojourn(ScriptedEngine(writer), storage="memory:") as runtime:
        await runtime.submit("s", "tell", key="k")
        await settle()
        for before, while_there in ((0, seen), (missed, then), (0, len(story) + 1)):
            await writer.go_on(before)
            if reading.over:
                break
            task = asyncio.create_task(read(await connected(runtime, kind, reading.place), reading))
            await settle()
            for _ in range(while_there):
                await writer.go_on(1)
            if while_there > len(story):
                await task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            reading.lose()
    assert reading.whole[-1:] == [writer.text], (seen, missed, then)
    assert reading.over
