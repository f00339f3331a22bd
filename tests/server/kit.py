"""What the server's tests share: a real server on a free port, and clients that read its streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from sojourn import Sojourn
from sojourn.abc import Engine
from sojourn.server.app import make_app
from sojourn.server.running import Server, listen, make_server
from sojourn.server.service import Options
from sojourn.testing import Script, ScriptedEngine

#: Nothing in a test takes longer, seconds.
SOON = 10


@dataclass
class Served:
    """A server that answers, and a client for it."""

    runtime: Sojourn
    client: httpx.AsyncClient
    server: Server
    task: asyncio.Task[None]
    url: str

    async def stop(self) -> None:
        """End it as a signal does."""
        self.server.stop()
        await self.task


@asynccontextmanager
async def served(
    script: Script | Engine | None = None,
    *,
    options: Options | None = None,
    headers: dict[str, str] | None = None,
    runtime: Sojourn | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """A server on a free port, with a scripted agent."""
    engine = script if isinstance(script, Engine) else ScriptedEngine(script)
    runtime = runtime or Sojourn(engine, **{"storage": "memory:", **settings})
    await runtime.open()
    app = make_app(runtime, options=options)
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = make_server(app, runtime)
    started = asyncio.Event()
    task = asyncio.create_task(server.run_until_told([listening], started.set))
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(SOON):
            await started.wait()
        async with httpx.AsyncClient(base_url=url, timeout=SOON, headers=headers, trust_env=False) as client:
            yield Served(runtime, client, server, task, url)
    finally:
        server.stop()
        async with asyncio.timeout(SOON):
            await task
        listening.close()


@dataclass
class Block:
    """One event as it came over the wire."""

    name: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


async def blocks(response: httpx.Response) -> AsyncIterator[Block]:
    """Events of a stream; comments are passed over."""
    async for text in raw_blocks(response):
        if not text.startswith(":"):
            yield parsed(text)


async def raw_blocks(response: httpx.Response) -> AsyncIterator[str]:
    rest = ""
    async for piece in response.aiter_text():
        *whole, rest = (rest + piece).split("\n\n")
        for text in whole:
            yield text


def parsed(text: str) -> Block:
    found = Block()
    for line in text.split("\n"):
        name, separator, value = line.partition(": ")
        assert separator, f"a line without colon and space: {line!r}"
        if name == "event":
            found.name = value
        elif name == "data":
            found.data = json.loads(value)
        elif name == "id":
            found.id = value
        else:
            raise AssertionError(line)
    return found


async def say(served: Served, content: Any, session: str = "s", **more: Any) -> list[Block]:
    """The whole stream of a turn."""
    body = {"content": content, "sessionId": session, **more.pop("body", {})}
    async with served.client.stream("POST", "/api/message-stream", json=body, **more) as response:
        assert response.status_code == 200, await response.aread()
        async with asyncio.timeout(SOON):
            return [block async for block in blocks(response)]


async def until(response: httpx.Response, stop: Callable[[Block], bool]) -> list[Block]:
    """Events up to the first that is as wanted."""
    found = []
    async with asyncio.timeout(SOON):
        async for block in blocks(response):
            found.append(block)
            if stop(block):
                break
    return found


def names(found: Sequence[Block]) -> list[str]:
    """What happened, pieces of text left out."""
    return [block.name for block in found if block.name != "llm:chunk"]


async def becomes(served: Served, status: str, session: str = "s") -> dict[str, Any]:
    """The session, once its status is as wanted."""
    async with asyncio.timeout(SOON):
        while True:
            found = (await served.client.get(f"/api/sessions/{session}")).json()
            if found.get("session", {}).get("status") == status:
                return dict(found["session"])
            await asyncio.sleep(0.005)
