"""Server-sent events: a response that says it is alive, ends when its reader leaves, and never hurries its source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KEEPALIVE = b": keepalive\n\n"

#: How much is made ready for a reader that has not taken it yet, bytes; the event that exceeds it is still made.
AHEAD = 64 * 1024

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Sent:
    """One event on the wire; without an `id` the reader's place stays where it was."""

    name: str
    data: Mapping[str, Any]
    id: str | None = None

    @cached_property
    def encoded(self) -> bytes:
        """Its lines, with the blank one that ends it; made once, for all to whom it is sent."""
        place = f"id: {self.id}\n" if self.id is not None else ""
        return f"{place}event: {self.name}\ndata: {_encode(self.data)}\n\n".encode("utf-8", "replace")


class EventStream(Response):
    """Sends events as they come. Its reader's leaving closes the source, and the source's end ends it."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[Sent], *, heartbeat: float, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._events, self._heartbeat = events, heartbeat
        #: What is ready to be sent, and how many bytes that are.
        self._ready: list[bytes] = []
        self._size = 0
        #: Set by whoever has news for the other side: of something ready, of an end, of room.
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        making = asyncio.create_task(self._make(), name="sojourn-stream")
        leaving = asyncio.create_task(_left(receive), name="sojourn-stream-reader")
        for task in (making, leaving):
            task.add_done_callback(lambda _: self._news.set())
        try:
            await self._send(send, making, leaving)
        finally:
            for task in (making, leaving):
                task.cancel()
            await asyncio.gather(making, leaving, return_exceptions=True)
        if not making.cancelled() and (error := making.exception()) is not None:
            raise error

    async def _make(self) -> None:
        """Make ready all that there is, without a pause, so that several events are sent at once."""
        async with aclosing(self._events) as events:
            async for event in events:
                self._ready.append(event.encoded)
                self._size += len(self._ready[-1])
                self._news.set()
                if self._size >= AHEAD:
                    self._room.clear()
                    await self._room.wait()

    async def _send(self, send: Send, making: asyncio.Task[None], leaving: asyncio.Task[None]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # so that a reader knows at once that it is connected
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        heart = _Heart(self._heartbeat, self._news)
        try:
            while not leaving.done() and (self._ready or not making.done()):
                await self._news.wait()
                self._news.clear()
                if body := self._taken() or (KEEPALIVE if heart.due else b""):
                    heart.beat()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            heart.stop()
        if not leaving.done() and making.exception() is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _taken(self) -> bytes:
        """All that is ready; there is room then."""
        body = b"".join(self._ready)
        self._ready.clear()
        self._size = 0
        self._room.set()
        return body


class _Heart:
    """Says when a stream has been silent for so long, by one timer, however much is sent."""

    def __init__(self, every: float, news: asyncio.Event) -> None:
        self._loop, self._every, self._news = asyncio.get_running_loop(), every, news
        self._last = self._loop.time()
        self._timer = self._loop.call_at(self._last + every, self._look)
        self.due = False

    def beat(self) -> None:
        """Something is sent."""
        self._last, self.due = self._loop.time(), False

    def stop(self) -> None:
        """No more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._last + self._every <= now:
            self.due = True
            self._news.set()
        next_one = now if self.due else self._last
        self._timer = self._loop.call_at(next_one + self._every, self._look)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
