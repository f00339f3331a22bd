"""Readers that lose their connection at any byte end where the others do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from sojourn.abc import Run, RunFinished, Step, TextDelta
from sojourn.testing import ScriptedHistory, ask_again, call_tool, say
from tests.server.dropping import Ask, Reader, Reading
from tests.server.kit import Block, Served, served

SEED = int(os.environ.get("SOJOURN_SEED", "7"))

#: Nothing here takes longer, seconds.
LONG = 60

WORDS = [f"word-{number}é " for number in range(60)]


async def chatty(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Two responses in small pieces, with a tool between them; in every third turn a request is made again."""
    if history.told[-1][0] == "user":
        yield TextDelta("let me look")
        yield say("let me look", calls=["search"])
        yield call_tool(0, "search", "three results")
    elif run.turn % 3 == 0:
        yield TextDelta("what will be ")
        yield ask_again()
    for word in WORDS:
        yield TextDelta(word)
        await asyncio.sleep(0.001)  # so that the text is written while somebody reads
    yield say("".join(WORDS), final=True)
    yield RunFinished("".join(WORDS), None, "stop")


def last_turn(number: int) -> Any:
    return lambda reading: any(one.name == "run:complete" and one.data["turn"] >= number for one in reading.events)


def told(reading: Reading) -> list[tuple[str, dict[str, Any], str | None]]:
    return [(one.name, one.data, one.id) for one in reading.events]


def port_of(server: Served) -> int:
    return int(server.url.rpartition(":")[2])


async def test_a_turn_read_over_fifty_cut_connections_is_the_turn() -> None:
    chance = Random(SEED)
    cuts = 0
    async with served(chatty) as server, asyncio.timeout(LONG):
        while cuts < 50:
            name = f"s-{cuts}"
            ask = Ask("POST", "/api/message-stream", {"content": "go", "sessionId": name}, {"idempotency-key": "k"})
            reading = await Reader(port_of(server), chance, 10).read(ask, last_turn(1))
            whole = await Reader(port_of(server), chance, 0).read(ask, last_turn(1))
            assert told(reading) == told(whole)
            assert reading.texts == whole.texts == ["let me look", "".join(WORDS)]
            assert reading.cuts
            cuts += reading.cuts
            turns = (await server.client.get(f"/api/sessions/{name}/turns")).json()["turns"]
            assert len(turns) == 1


async def test_a_session_followed_over_fifty_cut_connections_is_the_session() -> None:
    chance, turns = Random(SEED + 1), 6
    watch = Ask("GET", "/api/sessions/s/events")
    async with served(chatty) as server, asyncio.timeout(LONG):
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        readers = [Reader(port_of(server), chance, cuts, reading=Reading(place="0")) for cuts in (0, 25, 25)]
        reads = [asyncio.create_task(reader.read(watch, last_turn(turns))) for reader in readers]
        for _ in range(turns):
            answer = await server.client.post("/api/message-sync", json={"content": "go", "sessionId": "s"})
            assert answer.status_code == 200
        steady, *others = await asyncio.gather(*reads)
        late = await Reader(port_of(server), chance, 0, reading=Reading(place="0")).read(watch, last_turn(turns))
    assert sum(other.cuts for other in others) >= 40
    for other in (*others, late):
        assert told(other) == told(steady)
        assert other.texts == steady.texts == ["let me look", "".join(WORDS)] * turns


def test_blocks_without_a_place_are_forgotten_where_the_connection_is() -> None:
    reading = Reading()
    reading.take(Block("llm:chunk", {"content": "twice"}))
    reading.lose()
    reading.take(Block("llm:chunk", {"content": "twice"}, "1"))
    assert (reading.text, reading.place) == ("twice", "1")


async def test_small_answers_are_sent_at_once() -> None:
    async with served() as server:
        await server.client.get("/health")
        connections = [one.transport.get_extra_info("socket") for one in server.server.server_state.connections]
        assert connections
        assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in connections)
