"""Plays conversations over HTTP: a server's process that is killed now and then, and clients that lose connections."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from benchmarks.serving import Served
from tests.replay.stage import Replay, turns
from tests.server.dropping import AGAIN, Ask, Reader

#: A turn's stream is cut so often at most, each time after so many bytes at most.
CUTS, LONGEST = 2, 2000

LOOK = 0.02


@dataclass
class OverHttp(Replay):
    """Every other turn is streamed, the others are waited for; the same key is sent until there is an answer."""

    seed: int = 7
    cuts: int = 0
    allowed: int = 0
    _port: int = 0
    _until: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def perform(self, *, kills: int = 0, at_once: int = 32, ttl_ms: int = 200, seconds: float = 300) -> None:
        """Play everything, killing the server that many times on the way."""
        async with asyncio.timeout(seconds), self.judge() as port:
            agent = self.write_agent(port, ttl_ms)
            server = await Served.start(agent)
            self._port = server.port
            try:
                places = asyncio.Semaphore(at_once)
                recorded = self.recorded()
                talks = asyncio.gather(*(self._converse(number, found, places) for number, found in recorded.items()))
                looking = asyncio.create_task(self._look())
                for left in range(kills, 0, -1):
                    # long enough that no turn sees three servers die, which would fail it
                    pause = random.randint(max(1, len(recorded) // 4), max(1, len(recorded) // 2))
                    await self._after_replies(pause, talks)
                    assert not talks.done(), f"{left} kills too late"
                    await server.kill()
                    self.kills += 1
                    server = await Served.start(agent, self._port)
                await talks
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
            finally:
                assert await server.stop() == 0
            await self.ask_judge(port)

    async def _after_replies(self, count: int, talks: asyncio.Future[Any]) -> None:
        self._until, self._enough = len(self.replies) + count, asyncio.Event()
        enough = asyncio.create_task(self._enough.wait())
        await asyncio.wait([enough, talks], return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()

    async def _converse(self, number: int, messages: list[dict[str, Any]], places: asyncio.Semaphore) -> None:
        chance = Random(self.seed + number)
        async with places, self._client() as client:
            for turn, text in enumerate(turns(messages), 1):
                body = {
                    "content": (f"[[conv {number}]] " if turn == 1 else "") + text, "sessionId": f"conv-{number}",
                }  # fmt: skip
                headers = {"idempotency-key": f"turn-{turn}"}
                if (number + turn) % 2 and not self.manual:
                    answer = await self._streamed(Ask("POST", "/api/message-stream", body, headers), chance)
                else:
                    answer = await self._waited_for(client, body, headers)
                self.take({"conversation": number, "turn": turn, "text": answer})
                if len(self.replies) >= self._until:
                    self._enough.set()

    async def _streamed(self, ask: Ask, chance: Random) -> str:
        reader = Reader(self._port, chance, chance.randint(0, CUTS), LONGEST)
        found = await reader.read(ask, lambda reading: any(one.name == "run:complete" for one in reading.events))
        self.cuts += found.cuts
        assert found.events[-1].data["status"] == "completed", found.events[-1].data
        return found.texts[-1]

    async def _waited_for(self, client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> str:
        while True:
            try:
                answer = await client.post("/api/message-sync", json=body, headers=headers)
                if answer.status_code == 200:
                    found = answer.json()
                    if found["finishReason"] != "waiting":
                        return str(found["response"])
                    for asked in found["approvals"]:
                        await self._allow(client, asked["approvalId"])
                    continue
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            await asyncio.sleep(AGAIN)

    async def _allow(self, client: httpx.AsyncClient, approval: str) -> None:
        answer = await client.post(f"/api/approvals/{approval}", json={"status": "approved"})
        assert answer.status_code in {200, 503}, answer.text
        self.allowed += answer.status_code == 200

    async def _look(self) -> None:
        async with self._client() as client:
            while True:
                with suppress(httpx.TransportError):
                    answer = await client.get("/api/statistics")
                    if answer.status_code == 200:
                        self.take({"live": answer.json()["live"]})
                await asyncio.sleep(LOOK)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=300, trust_env=False, verify=False)
