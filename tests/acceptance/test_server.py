"""The server as a process of its own, over readers that lose their connections, restarts, signals and slow readers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from benchmarks.harness import descriptors, rss_bytes
from benchmarks.model import answer_to
from benchmarks.serving import Served, model, write_agent
from sojourn.records import LOCAL_USER, EntryKind
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import ScriptedEngine
from tests.server.apart import Apart
from tests.server.conforming import judge
from tests.server.dropping import Ask, Reader, Reading

SEED = int(os.environ.get("SOJOURN_SEED", "7"))

#: How the model of these tests answers.
PIECES, EVERY_MS = 40, 3

WATCH = Ask("GET", "/api/sessions/s/events")


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}: {text}\n")


def everything(turns: int) -> Callable[[Reading], bool]:
    return lambda reading: sum(one.name == "run:complete" for one in reading.events) >= turns


def told(reading: Reading) -> list[tuple[str, str, str | None]]:
    return [(one.name, repr(sorted(one.data.items())), one.id) for one in reading.events]


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield client


async def insist(url: str, text: str, key: str) -> None:
    """Say it with one key until it is acknowledged, whatever happens to the server meanwhile."""
    body = {"content": text, "sessionId": "s"}
    while True:
        try:
            async with talking(url) as client:
                answer = await client.post("/api/message", json=body, headers={"idempotency-key": key})
            if answer.status_code == 202:
                return
            assert answer.status_code == 503, answer.text
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


async def test_a_thousand_drops_and_several_restarts_change_nothing_of_what_a_reader_gets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, drops = Random(SEED), 1000
    readers: list[Reader] = []
    async with model(delay_ms=5, pieces=PIECES, every_ms=EVERY_MS) as port, asyncio.timeout(900):
        agent = write_agent(tmp_path, port, sojourn={"closeWait": 200})
        served = await Served.start(agent)
        where = served.port
        try:
            await insist(served.url, "the first", "k-0")
            said = ["the first"]
            readers = [Reader(where, chance, 10**9, 3000, Reading(place="0")) for _ in range(6)]
            steady = Reader(where, chance, 0, reading=Reading(place="0"))
            over = asyncio.Event()
            turns = 10**9

            def done(reading: Reading) -> bool:
                return over.is_set() and everything(turns)(reading)

            reads = [asyncio.create_task(one.read(WATCH, done)) for one in (*readers, steady)]
            restarts, rounds = 0, 0
            while sum(one.reading.cuts for one in readers) < drops:
                rounds += 1
                said.append(f"message {rounds}")
                await insist(served.url, said[-1], f"k-{rounds}")
                if rounds % 8 == 0:
                    await asyncio.sleep(chance.random() * 0.2)
                    if restarts % 2:
                        await served.kill()
                    else:
                        assert await served.stop() == 0
                    restarts += 1
                    served = await Served.start(agent, where)
                await quiet(served.url)
            for one in readers:
                one.cuts = 0
            said.append("the last")
            turns = len(said)
            over.set()
            await insist(served.url, said[-1], "k-last")
            found = await asyncio.gather(*reads)
            late = await Reader(where, chance, 0, reading=Reading(place="0")).read(WATCH, everything(turns))
        finally:
            await served.stop()
    cuts = sum(one.reading.cuts for one in readers)
    show(
        capsys,
        f"{cuts} drops, {restarts} restarts, {turns} turns, {sum(one.dropped for one in found)} partial texts void, "
        f"{sum(one.refused for one in found)} connections refused",
    )
    assert cuts >= drops
    assert late.texts == ["".join(answer_to(text, PIECES)) for text in said]
    for reading in found:
        assert told(reading) == told(late)
        assert reading.texts == late.texts
    await stored_once(tmp_path, said)


async def quiet(url: str) -> None:
    """Until nothing runs any more."""
    while True:
        try:
            async with talking(url) as client:
                if not (await client.get("/api/sessions/s/history?limit=1")).json()["isBusy"]:
                    return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.02)


async def stored_once(folder: Path, said: list[str], session: str = "s") -> None:
    store = SqliteStore(str(folder / "served.db"))
    await store.open()
    try:
        entries = await store.entries(LOCAL_USER, session)
    finally:
        await store.close()
    assert [one.text for one in entries if one.kind is EntryKind.TURN_OPENED] == said
    answers = [one.text for one in entries if one.kind is EntryKind.MESSAGE]
    assert answers == ["".join(answer_to(text, PIECES)) for text in said]


async def test_sigterm_amid_fifty_turns_hands_them_over_and_ends_every_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    close_wait, people = 1.0, 50
    async with model(delay_ms=1500, pieces=PIECES, every_ms=EVERY_MS * 10) as port, asyncio.timeout(300):
        agent = write_agent(tmp_path, port, sojourn={"closeWait": int(close_wait * 1000)})
        served = await Served.start(agent)
        try:
            ends = [asyncio.create_task(last_event(served.url, number)) for number in range(people)]
            await busy(served.url, people)
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            late = await refused(served.url)
            names = await asyncio.gather(*ends)
            code = await served.process.wait()
            took = time.monotonic() - began
            assert code == 0
            assert not children(served.process.pid)
            assert set(names) <= {"server:closing", "run:complete"}
            served = await Served.start(agent)
            began = time.monotonic()
            await at_rest(served.url, people)
            again = time.monotonic() - began
        finally:
            await served.stop()
    show(
        capsys,
        f"ended in {took:.1f} s (bound {close_wait + 2:.0f}), {names.count('server:closing')} of {people} handed over, "
        f"finished {again:.1f} s later by the next process; a new message meanwhile: {late}",
    )
    assert took <= close_wait + 2 + slack()
    for number in range(people):
        await stored_once(tmp_path, [f"hello {number}"], f"s-{number}")


def slack() -> float:
    """A loaded machine is not at fault of ours, seconds."""
    return 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def children(process: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if path.read_text().rpartition(")")[2].split()[1] == str(process):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


async def last_event(url: str, number: int) -> str:
    """The name of a turn's last event; the connection must not simply break off."""
    body = {"content": f"hello {number}", "sessionId": f"s-{number}"}
    name = ""
    async with talking(url) as client, client.stream("POST", "/api/message-stream", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            name = line.removeprefix("event: ") if line.startswith("event: ") else name
    return name


async def busy(url: str, people: int) -> None:
    async with talking(url) as client:
        while True:
            if (await client.get("/api/statistics")).json()["busy"] >= people:
                return
            await asyncio.sleep(0.02)


async def at_rest(url: str, people: int) -> None:
    async with talking(url) as client:
        for number in range(people):
            while True:
                turns = (await client.get(f"/api/sessions/s-{number}/turns")).json()["turns"]
                if [turn["status"] for turn in turns] == ["completed"]:
                    break
                await asyncio.sleep(0.05)


async def refused(url: str) -> str:
    """What a new message gets from a server that closes."""
    while True:
        try:
            async with talking(url) as client:
                answer = await client.post("/api/message", json={"content": "late", "sessionId": "late"})
        except httpx.TransportError:
            return "no connection"
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            return str(answer.json()["code"])
        assert answer.status_code == 202


async def test_slow_readers_and_a_hundred_watchers_neither_hold_up_a_turn_nor_fill_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns, watchers, text = 15, 100, "x" * 250
    async with model(delay_ms=0, pieces=PIECES) as port, asyncio.timeout(600):
        agent = write_agent(tmp_path, port)
        served = await Served.start(agent)
        try:
            async with talking(served.url) as client:
                await insist(served.url, "first", "k")
                await quiet(served.url)
                alone = await several(client, turns, text)
                before = rss_bytes(served.process.pid)
                slow = [asyncio.create_task(crawl(served.port)) for _ in range(5)]
                readers = [Reader(served.port, Random(n), 0, reading=Reading(place="0")) for n in range(watchers)]
                over = everything(2 * turns + 1)
                reads = [asyncio.create_task(one.read(WATCH, over)) for one in readers]
                watched = await several(client, turns, text)
                found = await asyncio.gather(*reads)
                after, files = rss_bytes(served.process.pid), descriptors(served.process.pid)
                assert not any(one.done() for one in slow)
                for one in slow:
                    one.cancel()
                await asyncio.gather(*slow, return_exceptions=True)
        finally:
            assert await served.stop() == 0
    written = turns * len(text) * PIECES
    show(
        capsys,
        f"{turns} turns of {len(text) * PIECES:,} characters: {alone:.2f} s alone, {watched:.2f} s with {watchers} "
        f"watchers and 5 readers of a byte per second; {(after - before) / 2**20:.1f} MB more after {written:,} "
        f"characters for each, {files} open files",
    )
    assert all(told(one) == told(found[0]) for one in found)
    assert after - before < 100 * 2**20


async def several(client: httpx.AsyncClient, turns: int, text: str) -> float:
    began = time.monotonic()
    for _ in range(turns):
        answer = await client.post("/api/message-sync", json={"content": text, "sessionId": "s"})
        assert answer.status_code == 200
    return time.monotonic() - began


async def crawl(port: int) -> None:
    """Follow the session from its beginning, one byte per second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    try:
        writer.write(b"GET /api/sessions/s/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: 0\r\n\r\n")
        while True:
            if not await reader.read(1):
                return
            await asyncio.sleep(1)
    finally:
        writer.transport.abort()


def test_many_requests_of_every_kind_are_answered_as_described(capsys: pytest.CaptureFixture[str]) -> None:
    with Apart(ScriptedEngine()) as server:
        found = judge(
            server.url, seed=SEED, examples=40, strange=("put", "post", "delete", "patch", "options", "trace")
        )
    show(capsys, f"{found.requests} requests, {dict(found.statuses)}")
    assert found.failures == []
    assert found.requests > 2000
