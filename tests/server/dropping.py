"""A reader of event streams that cuts its connection after random numbers of bytes and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from tests.server.kit import Block, parsed

#: How soon a reader that finds nobody comes back, seconds.
AGAIN = 0.05


class Ask(NamedTuple):
    """What a reader asks for each time."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class Cut(Exception):
    """The connection is gone, by our own doing or not."""


@dataclass
class Reading:
    """What a reader knows. Events without a place count only once the next with one has come."""

    events: list[Block] = field(default_factory=list)
    #: The text of each answer, put together from its pieces.
    texts: list[str] = field(default_factory=list)
    text: str = ""
    place: str | None = None
    cuts: int = 0
    refused: int = 0
    dropped: int = 0
    _pending: list[Block] = field(default_factory=list)

    def take(self, block: Block) -> None:
        self._pending.append(block)
        if block.id is None:
            return
        self.place = block.id
        for one in self._pending:
            self._settle(one)
        self._pending = []

    def lose(self) -> None:
        """The connection is gone; what has no place will come again."""
        self._pending = []

    def _settle(self, block: Block) -> None:
        if block.name == "llm:chunk":
            self.text += block.data["content"]
        elif block.name in {"llm:chunk-dropped", "llm:retrying"}:
            self.text, self.dropped = "", self.dropped + 1
        elif block.name == "llm:response":
            self.texts.append(self.text)
            assert self.text == block.data["content"]
            self.text = ""
        if block.name not in {"llm:chunk", "llm:chunk-dropped", "llm:retrying"}:
            self.events.append(Block(block.name, {**block.data, "name": block.name}, block.id))


@dataclass
class Reader:
    """Reads until `over` says so, cutting connections as long as `cuts` allows."""

    port: int
    chance: Random
    cuts: int
    longest: int = 1500
    reading: Reading = field(default_factory=Reading)

    async def read(self, ask: Ask, over: Callable[[Reading], bool]) -> Reading:
        while not over(self.reading):
            with suppress(Cut, ConnectionError, asyncio.IncompleteReadError):
                await self._once(ask, over)
            self.reading.lose()
        return self.reading

    async def _once(self, ask: Ask, over: Callable[[Reading], bool]) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            self.reading.refused += 1
            await asyncio.sleep(AGAIN)
            raise Cut from error
        try:
            writer.write(self._request(ask))
            allowed = self.chance.randint(1, self.longest) if self.reading.cuts < self.cuts else None
            async for block in _blocks(_counted(reader, allowed)):
                self.reading.take(block)
                if over(self.reading):
                    return
        except Cut:
            self.reading.cuts += 1
            raise
        finally:
            writer.transport.abort()

    def _request(self, ask: Ask) -> bytes:
        body = b"" if ask.body is None else json.dumps(ask.body).encode()
        headers = {"host": f"127.0.0.1:{self.port}", **ask.headers}
        if ask.body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        if self.reading.place is not None:
            headers["last-event-id"] = self.reading.place
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{ask.method} {ask.path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _counted(reader: asyncio.StreamReader, allowed: int | None) -> AsyncIterator[bytes]:
    """What comes, cut after so many bytes."""
    while True:
        piece = await reader.read(4096 if allowed is None else min(4096, allowed))
        if not piece:
            raise ConnectionResetError
        yield piece
        if allowed is not None:
            allowed -= len(piece)
            if not allowed:
                raise Cut


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[Block]:
    """The events of a chunked answer with status 200; whole ones alone."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += await anext(pieces)
    head, raw = raw.split(b"\r\n\r\n", 1)
    if b" 503 " in head.split(b"\r\n", 1)[0]:
        await asyncio.sleep(AGAIN)
        raise ConnectionResetError
    assert b" 200 " in head.split(b"\r\n", 1)[0], head + raw
    text = b""
    while True:
        *chunks, raw, ended = _dechunked(raw)
        *whole, text = (text + b"".join(chunks)).split(b"\n\n")
        for one in whole:
            if not one.startswith(b":"):
                yield parsed(one.decode())
        if ended:
            return
        raw += await anext(pieces)


def _dechunked(raw: bytes) -> tuple[Any, ...]:
    """The whole chunks, what is left, and whether that was the last."""
    found: list[bytes] = []
    while b"\r\n" in raw:
        size, rest = raw.split(b"\r\n", 1)
        count = int(size, 16)
        if len(rest) < count + 2:
            break
        found.append(rest[:count])
        raw = rest[count + 2 :]
        if not count:
            return (*found, raw, True)
    return (*found, raw, False)
