"""A process that plays every conversation through Sojourn, many at once, under a small bound; made to be killed.

python player.py '{"conversations": …, "database": …, "port": …, "tools": [command…], …}'

With an "agent_file" the agent is the one that this file describes. With "approve": {"manual": true} every call waits
for a person, and is allowed.

Prints a line of JSON for each reply that was acknowledged, and for each look at how many sessions are live.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.toolsets import AbstractToolset

from sojourn import Reply, Sojourn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.replay.stage import turns


def report(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Player:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        lines = Path(plan["conversations"]).read_text(encoding="utf-8").splitlines()
        self.recorded = {found["id"]: found["messages"] for found in map(json.loads, lines)}
        self.allowed = 0
        self.places = asyncio.Semaphore(plan["at_once"])

    def runtime(self) -> Sojourn:
        if self.plan["agent_file"]:
            return Sojourn.from_file(self.plan["agent_file"])
        provider = OpenAIProvider(base_url=f"http://127.0.0.1:{self.plan['port']}/v1", api_key="none")
        command, *arguments = self.plan["tools"]
        toolset: AbstractToolset[Any] = MCPToolset(StdioTransport(command, arguments))
        agent = Agent(
            OpenAIChatModel("replay", provider=provider, settings={"max_retries": 0}),
            instructions="You are a replayed agent.",
            toolsets=[toolset.approval_required() if self.plan["approve"]["manual"] else toolset],
        )
        return Sojourn(
            agent,
            storage=f"sqlite:///{self.plan['database']}",
            max_sessions=self.plan["max_sessions"],
            session_ttl=timedelta(milliseconds=self.plan["ttl_ms"]),
            admission_wait=timedelta(seconds=300),
        )

    async def play(self) -> None:
        async with self.runtime() as runtime:
            watching = asyncio.create_task(self.watch(runtime))
            try:
                await asyncio.gather(*(self.converse(runtime, number) for number in self.recorded))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            statistics = await runtime.statistics()
            unloaded = sum(statistics.unloaded.values())
            report(done=True, restored=statistics.restored, unloaded=unloaded, allowed=self.allowed)

    async def converse(self, runtime: Sojourn, number: int) -> None:
        async with self.places:
            for turn, text in enumerate(turns(self.recorded[number]), 1):
                mark = f"[[conv {number}]] " if turn == 1 else ""
                session, key = f"conv-{number}", f"turn-{turn}"
                while (reply := await runtime.send(session, mark + text, key=key)).finish_reason == "waiting":
                    await self.settle(runtime, reply)
                report(conversation=number, turn=turn, text=reply.text)

    async def settle(self, runtime: Sojourn, reply: Reply) -> None:
        """Have everything decided that a turn waits for."""
        for approval in reply.approvals:
            await runtime.approve(approval.session, approval.id)
            self.allowed += 1

    async def watch(self, runtime: Sojourn) -> None:
        while True:
            statistics = await runtime.statistics()
            report(live=statistics.live)
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(Player(json.loads(sys.argv[1])).play())
