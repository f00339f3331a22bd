"""Runs a replay: the judge, the tools, the player; kills the player where that is wanted; checks what is left."""

from __future__ import annotations

import asyncio
import json
import os
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


def turns(messages: list[dict[str, Any]]) -> list[str]:
    """What the user says, where an answer was recorded."""
    return [message["content"] for message in messages[:-1] if message["role"] == "user"]


async def run_command(prompt: str, session: str, agent: Path) -> str:
    """What `sojourn run` answers on its standard output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sojourn", "run", "--session", session, "--agent", str(agent), "--", prompt,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return said.decode().removesuffix("\n")


@dataclass
class Replay:
    """One set of conversations, and what was seen while it was played."""

    conversations: Path
    folder: Path
    model: list[str]
    tools: list[str]
    tool_log: Path
    #: Whether the agent is described by an agent.yml.
    by_file: bool = False
    #: Whether every call waits for a person, who allows it.
    manual: bool = False
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
        async with asyncio.timeout(seconds), self.judge() as port:
            plan = self.plan(port, at_once=at_once, ttl_ms=ttl_ms)
            for remaining in range(kills, -1, -1):
                await self._play(plan, kill=remaining > 0)
            await self.ask_judge(port)

    def plan(self, port: int, *, at_once: int, ttl_ms: int) -> dict[str, Any]:
        """What the player is told."""
        return {
            "conversations": str(self.conversations), "database": str(self.database), "port": port,
            "tools": self.tools, "at_once": at_once, "ttl_ms": ttl_ms, "max_sessions": MAX_SESSIONS,
            "agent_file": str(self.write_agent(port, ttl_ms)) if self.by_file else None,
            "approve": {"manual": self.manual},
        }  # fmt: skip

    async def perform_by_command(self, conversations: int, *, seconds: float = 500) -> None:
        """Play the first few, each turn by a command of its own."""
        async with asyncio.timeout(seconds), self.judge() as port:
            agent = self.write_agent(port, ttl_ms=200)
            played = list(self.recorded().items())[:conversations]
            places = asyncio.Semaphore(os.cpu_count() or 1)

            async def play(number: int, messages: list[dict[str, Any]]) -> None:
                for turn, text in enumerate(turns(messages), 1):
                    mark = f"[[conv {number}]] " if turn == 1 else ""
                    async with places:
                        self.replies[number, turn] = await run_command(mark + text, f"conv-{number}", agent)

            await asyncio.gather(*(play(number, messages) for number, messages in played))
            await self.ask_judge(port)

    async def ask_judge(self, port: int) -> None:
        async with httpx.AsyncClient() as client:
            self.stats = (await client.get(f"http://127.0.0.1:{port}/stats")).json()

    def write_agent(self, port: int, ttl_ms: int) -> Path:
        """An agent.yml for the judge and the tools; JSON is YAML."""
        command, *arguments = self.tools
        agent = {
            "systemPrompt": "You are a replayed agent.",
            "permissions": self.permissions(),
            "llm": {
                "provider": "openai-compatible", "model": "replay", "apiKey": "none",
                "baseURL": f"http://127.0.0.1:{port}/v1",
            },
            "mcpServers": {"airline": {"type": "stdio", "command": command, "args": arguments}},
            "storage": {"database": {"type": "sqlite", "path": self.database.name}},
            "sessions": {"maxSessions": MAX_SESSIONS, "sessionTTL": ttl_ms},
            "sojourn": {"admissionWait": 300_000},
        }  # fmt: skip
        file = self.folder / "agent.yml"
        file.write_text(json.dumps(agent), encoding="utf-8")
        return file

    def permissions(self) -> dict[str, Any]:
        """The section of the agent.yml."""
        return {"mode": "manual" if self.manual else "auto-approve"}

    @asynccontextmanager
    async def judge(self) -> AsyncIterator[int]:
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
                left -= self.take(json.loads(line))
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

    def take(self, line: dict[str, Any]) -> bool:
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
        assert 0 < self.most_live <= MAX_SESSIONS
        await self.check_stored()

    async def check_stored(self, conversations: int | None = None) -> None:
        """The same, of the first few, where nobody looked at how many sessions were live."""
        assert self.stats["mismatches"] == 0, self.stats["last_mismatches"]
        store = SqliteStore(str(self.database))
        await store.open()
        try:
            for number, messages in list(self.recorded().items())[:conversations]:
                await self.check_one(store, number, messages)
        finally:
            await store.close()
        self.check_tools()

    async def check_one(self, store: SqliteStore, number: int, messages: list[dict[str, Any]]) -> None:
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

    def check_tools(self) -> None:
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
