"""A thousand people at once, each in a session of their own, with a server that has room for 200."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from benchmarks.harness import Figures, descriptors, percentile, rss_bytes
from benchmarks.model import answer_to
from benchmarks.serving import Served, model, write_agent
from sojourn.records import LOCAL_USER, EntryKind
from sojourn.stores.sqlite.store import SqliteStore

#: How long the model thinks, milliseconds, and in how many pieces it answers.
DELAY, PIECES = 200, 4


def client_of(url: str) -> httpx.AsyncClient:
    """A client that reads no certificates, which takes longer than all it does here."""
    return httpx.AsyncClient(base_url=url, timeout=300, trust_env=False, verify=False)


@dataclass
class Crowd:
    """What happened to everybody."""

    url: str
    messages: int
    times: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, list[str]] = field(default_factory=dict)

    async def person(self, number: int) -> None:
        """Say everything, one after the other; every other person follows the stream."""
        # one each: a pool looks at all of its connections for every request
        async with client_of(self.url) as client:
            await self._say(client, number)

    async def _say(self, client: httpx.AsyncClient, number: int) -> None:
        chance, session = Random(number), f"person-{number}"
        for message in range(self.messages):
            text = f"{session} message {message}"
            body, key = {"content": text, "sessionId": session}, {"idempotency-key": f"k-{message}"}
            began = time.perf_counter()
            while True:
                asked = time.perf_counter()
                path = "/api/message-stream" if number % 2 else "/api/message-sync"
                try:
                    answer = await client.post(path, json=body, headers=key)
                except httpx.TransportError as error:
                    self.wrong[type(error).__name__] += 1
                    continue
                if answer.status_code != 503:
                    break
                self._refuse(answer)
                await asyncio.sleep(float(answer.headers.get("retry-after", 1)) * (0.5 + chance.random()))
            self.times.append(time.perf_counter() - asked)
            self.waits.append(time.perf_counter() - began)
            self._check(answer, session, text)

    def _refuse(self, answer: httpx.Response) -> None:
        self.refused += 1
        if answer.json()["code"] != "session_max_sessions_exceeded" or not answer.headers.get("retry-after"):
            self.wrong[f"503 {answer.json()['code']}"] += 1

    def _check(self, answer: httpx.Response, session: str, text: str) -> None:
        wanted = "".join(answer_to(text, PIECES))
        if answer.status_code != 200:
            self.wrong[f"{answer.status_code} {answer.text[:200]}"] += 1
        elif answer.headers["content-type"].startswith("text/event-stream"):
            right = "event: run:complete" in answer.text and wanted in answer.text
            self.wrong["stream"] += not right
        else:
            self.wrong["answer"] += answer.json()["response"] != wanted
        self.acknowledged.setdefault(session, []).append(text)


class Watch:
    """What a process occupies, looked at ten times a second."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.memory: list[int] = []
        self.files: list[int] = []

    async def look(self) -> None:
        while True:
            with suppress(OSError):
                self.memory.append(rss_bytes(self._process))
                self.files.append(descriptors(self._process))
            await asyncio.sleep(0.1)


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    """Let them all come, then look at what is stored."""
    async with model(delay_ms=DELAY, pieces=PIECES) as port:
        agent = write_agent(
            directory, port, sessions={"maxSessions": params["places"]}, sojourn={"admissionWait": params["wait_ms"]}
        )
        served = await Served.start(agent)
        try:
            crowd = Crowd(served.url, params["messages"])
            figures = await _come(crowd, served, params["people"])
        finally:
            figures_code = await served.stop()
    return {
        **figures,
        **await _stored(directory / "served.db", crowd, params["people"]),
        "exit_code": figures_code,
        "log_bytes": (directory / "served.log").stat().st_size,
    }


async def _come(crowd: Crowd, served: Served, people: int) -> Figures:
    watch = Watch(served.process.pid)
    async with client_of(crowd.url) as client:
        await client.post("/api/message-sync", json={"content": "warm", "sessionId": "warm"})
        before, files = rss_bytes(served.process.pid), descriptors(served.process.pid)
        looking = asyncio.create_task(watch.look())
        began = time.perf_counter()
        await asyncio.gather(*(crowd.person(number) for number in range(people)))
        took = time.perf_counter() - began
        live = (await client.get("/api/statistics")).json()["live"]
        looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    wrong = +crowd.wrong
    if wrong:
        print(wrong.most_common(5))
    third = len(watch.memory) // 3
    return {
        "turns_per_s": len(crowd.times) / took,
        "p50_ms": percentile(crowd.times, 50) * 1000,
        "p99_ms": percentile(crowd.times, 99) * 1000,
        "waited_p50_ms": percentile(crowd.waits, 50) * 1000,
        "waited_p99_ms": percentile(crowd.waits, 99) * 1000,
        "refused": crowd.refused,
        "wrong": wrong.total(),
        "live": live,
        "before_mb": before / 2**20,
        "early_mb": max(watch.memory[: max(1, third)]) / 2**20,
        "peak_mb": max(watch.memory) / 2**20,
        "files_before": files,
        "files_peak": max(watch.files),
    }


async def _stored(path: Path, crowd: Crowd, people: int) -> Figures:
    """How many messages and answers are missing, and how many are there twice or were never sent."""
    store = SqliteStore(str(path))
    await store.open()
    lost = surplus = 0
    try:
        for number in range(people):
            name = f"person-{number}"
            entries = await store.entries(LOCAL_USER, name)
            said = [entry.text for entry in entries if entry.kind is EntryKind.TURN_OPENED]
            answered = [entry.text for entry in entries if entry.kind is EntryKind.MESSAGE]
            wanted = crowd.acknowledged[name]
            for found, expected in ((said, wanted), (answered, ["".join(answer_to(one, PIECES)) for one in wanted])):
                lost += (Counter(expected) - Counter(found)).total()
                surplus += (Counter(found) - Counter(expected)).total()
    finally:
        await store.close()
    return {"lost": lost, "surplus": surplus}
