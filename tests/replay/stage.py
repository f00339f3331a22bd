"""Runs a replay: the judge, the tools, the player; kills the player where that is wanted; checks what is left."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sojourn.records import EntryKind
from sojourn.stores.sqlite.store import SqliteStore

HERE = Path(__file__).parent

MAX_SESSIONS = 10


@dataclass
class Replay:
    """One set of conversations, and what was seen while it was played."""

    conversations: Path
    folder: Path
    model: list[str]
    tools: list[str]
    tool_log: Path
    replies: dict[tuple[int, int], str] = field(default_factory=dict)
    most_live: int = 0
    kills: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.folder / "replay.db"

    def recorded(self) -> dict[int, list[dict[str, Any]]]:
        lines = self.conversations.read_text(encoding="utf-8").splitlines()
        return {found["id"]: found["messages"] for found in map(json.loads, lines)}

    async def perform(self, *, kills: int = 0, at_once: int = 32, ttl_ms: int = 200, seconds: float = 300) -> None:
        """Play everything, killing the player that many times on the way."""
        async with asyncio.timeout(seconds), self._judge() as port:
            plan = {
                "conversations": str(self.conversations), "database": str(self.database), "port": port,
                "tools": self.tools, "at_once": at_once, "ttl_ms": ttl_ms, "max_sessions": MAX_SESSIONS,
            }  # fmt: skip
            for remaining in range(kills, -1, -1):
                await self._play(plan, kill=remaining > 0)
            async with httpx.AsyncClient() as client:
                self.stats = (await client.get(f"http://127.0.0.1:{port}/stats")).json()

    @asynccontextmanager
    async def _judge(self) -> AsyncIterator[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        command = [part.replace("{port}", str(port)) for part in self.model]
        process = await asyncio.create_subprocess_exec(sys.executable, *command)
        try:
            async with httpx.AsyncClient() as client:
                while True:
                    try:
                        await client.get(f"http://127.0.0.1:{port}/stats")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            yield port
        finally:
            process.terminate()
            await process.wait()

    async def _play(self, plan: dict[str, Any], *, kill: bool) -> None:
        player = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "player.py"), json.dumps(plan), stdout=asyncio.subprocess.PIPE
        )
        assert player.stdout is not None
        # early enough that there is something left for the next one; what it said before it died still arrives
        left, killed = random.randint(1, max(1, len(self.recorded()) // 2)), False
        try:
            async for line in player.stdout:
                left -= self._take(json.loads(line))
                if kill and not killed and left <= 0:
                    player.send_signal(signal.SIGKILL)
                    killed = True
                    self.kills += 1
            await player.wait()
        finally:
            if player.returncode is None:
                player.kill()
                await player.wait()
        assert player.returncode == (-signal.SIGKILL if killed else 0)

    def _take(self, line: dict[str, Any]) -> bool:
        """Remember a line; whether it was a reply that is new."""
        if "live" in line:
            self.most_live = max(self.most_live, line["live"])
        elif "done" in line:
            self.last = line
        else:
            place = (line["conversation"], line["turn"])
            new = place not in self.replies
            assert self.replies.setdefault(place, line["text"]) == line["text"], f"another reply at {place}"
            return new
        return False

    # -- what must be true afterwards

    async def check(self) -> None:
        """Every conversation whole in storage, none mixed up, no tool run more often than recorded."""
        assert self.stats["mismatches"] == 0, self.stats["last_mismatches"]
        assert 0 < self.most_live <= MAX_SESSIONS
        store = SqliteStore(str(self.database))
        await store.open()
        try:
            for number, messages in self.recorded().items():
                await self._check_one(store, number, messages)
        finally:
            await store.close()
        self._check_tools()

    async def _check_one(self, store: SqliteStore, number: int, messages: list[dict[str, Any]]) -> None:
        entries = await store.entries("local", f"conv-{number}")
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        said = [entry.text for entry in entries if entry.kind is EntryKind.TURN_OPENED]
        answered = [entry.text for entry in entries if entry.kind is EntryKind.MESSAGE]
        played = messages[:-1] if messages[-1]["role"] == "user" else messages
        users = [message["content"] for message in played if message["role"] == "user"]
        assert said == [f"[[conv {number}]] {users[0]}", *users[1:]]
        assert answered == [message["content"] for message in played if message["role"] == "assistant"]
        turns = await store.turns("local", f"conv-{number}")
        assert [turn.status for turn in turns] == ["completed"] * len(users)
        results = sum(entry.kind is EntryKind.TOOL_RESULT for entry in entries)
        assert results == sum(message["role"] == "tool" for message in played)

    def _check_tools(self) -> None:
        ran: Counter[str] = Counter()
        if self.tool_log.exists():
            for line in self.tool_log.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                name, arguments = (found["tool"], found["arguments"]) if isinstance(found, dict) else found
                ran[_place(name, arguments)] += 1
        recorded: Counter[str] = Counter()
        for messages in self.recorded().values():
            for message in messages:
                for call in message.get("tool_calls") or []:
                    recorded[_place(call["name"], call["arguments"])] += 1
        too_often = {place: (count, recorded[place]) for place, count in ran.items() if count > recorded[place]}
        assert not too_often


def _place(name: str, arguments: Any) -> str:
    found = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    return json.dumps([name, found], sort_keys=True)
