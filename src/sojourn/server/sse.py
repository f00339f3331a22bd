"""Server-sent events: a response that says it is alive, ends when its reader leaves, and never hurries its source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KEEPALIVE = b": keepalive\n\n"

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Sent:
    """One event on the wire; without an `id` the reader's place stays where it was."""

    name: str
    data: Mapping[str, Any]
    id: str | None = None

    def encode(self) -> bytes:
        """Its lines, with the blank one that ends it."""
        place = f"id: {self.id}\n" if self.id is not None else ""
        return f"{place}event: {self.name}\ndata: {_encode(self.data)}\n\n".encode("utf-8", "replace")


class EventStream(Response):
    """Sends events as they come. Its reader's leaving closes the source, and the source's end ends it."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[Sent], *, heartbeat: float, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._events, self._heartbeat = events, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send), name="sojourn-stream")
        leaving = asyncio.create_task(_left(receive), name="sojourn-stream-reader")
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # so that a reader knows at once that it is connected
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        coming: asyncio.Task[Sent | None] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(anext(self._events, None))
                await asyncio.wait([coming], timeout=self._heartbeat)
                if not coming.done():
                    await send({"type": "http.response.body", "body": KEEPALIVE, "more_body": True})
                    continue
                event, coming = coming.result(), None
                if event is None:
                    break
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if coming is not None:
                coming.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await coming
            await self._events.aclose()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
