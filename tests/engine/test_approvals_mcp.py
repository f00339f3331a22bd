"""Approvals of MCP servers' tools: a toolset of the user's own, and the permissions of an agent.yml."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

from sojourn import Sojourn
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.configured import is_allowed
from sojourn.engine.questions import REFUSED
from sojourn.records import EffectStatus, EventKind, Role, TurnStatus
from sojourn.sessions.runtime import Runtime
from tests.contract.backends import BACKENDS
from tests.engine.core import Script
from tests.engine.wire import Wire, calls, serving, text
from tests.unit.sessions.kit import World

SERVER = Path(__file__).with_name("mcp_server.py")


async def patiently(awaitable: Awaitable[Any]) -> Any:
    """Its result, however long a child process takes to start on a busy machine."""
    async with asyncio.timeout(60):
        return await awaitable


async def completed(runtime: Runtime) -> None:
    """Until the first turn is, in the same patience."""
    async with asyncio.timeout(60):
        async for event in runtime.watch("s", after=0):
            if event.kind is EventKind.TURN_ENDED:
                assert event.status is TurnStatus.COMPLETED
                return


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(BACKENDS["sqlite"](tmp_path))
    yield world
    await world.close()
    await world.backend.close()


async def test_a_toolset_with_a_rule_asks_and_runs_the_call_in_another_process(world: World) -> None:
    def engine() -> PydanticAIEngine:
        toolset: MCPToolset[Any] = MCPToolset(StdioTransport(sys.executable, [str(SERVER)]))
        gated = toolset.prefixed("small").approval_required(lambda _, tool, __: tool.name == "small_shout")
        return PydanticAIEngine(Agent(model, toolsets=[gated]))

    model = Script([("small_shout", {"text": "a"}), ("small_empty", {}), ("small_shout", {"text": "b"})], "done")
    first = await world.runtime(engine())
    one, two = (await patiently(first.send("s", "x"))).approvals
    assert (one.index, one.tool, one.arguments) == (0, "small_shout", '{"text": "a"}')
    await first.approve("s", one.id, arguments={"text": "changed"})
    await first.close()
    second = await world.runtime(engine())
    await second.deny("s", two.id)
    await completed(second)
    told = {message.text for message in await second.history("s") if message.role is Role.TOOL}
    assert told == {
        "[]",
        REFUSED,
        'A person allowed this call with changed arguments: {"text":"changed"}\n\nCHANGED',
    }


def talk(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if messages[-1]["role"] == "tool":
        return text("done")
    return calls(("mcp--small--shout", '{"text": "hi"}'), ("mcp--small--empty", "{}"))


def agent_file(folder: Path, wire: Wire, **permissions: Any) -> Path:
    agent = {
        "systemPrompt": "You shout.",
        "permissions": permissions,
        "llm": {"provider": "openai-compatible", "model": "m", "apiKey": "none", "baseURL": wire.url},
        "mcpServers": {"small": {"type": "stdio", "command": sys.executable, "args": [str(SERVER)]}},
        "storage": {"database": {"type": "sqlite", "path": "chat.db"}},
    }
    file = folder / "agent.yml"
    file.write_text(json.dumps(agent), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["mcp--empty", "mcp--small--empty"])
async def test_in_manual_mode_all_but_the_always_allowed_wait_and_that_is_known_before_anything_runs(
    tmp_path: Path, name: str
) -> None:
    async with serving(talk) as wire:
        file = agent_file(tmp_path, wire, mode="manual", toolPolicies={"alwaysAllow": [name]})
        async with Sojourn.from_file(file) as runtime:
            [one] = (await patiently(runtime.send("s", "x"))).approvals
            assert one.tool == "mcp--small--shout"
            found = {effect.tool: effect.status for effect in await runtime.effects("s")}
            assert found == {
                "mcp--small--shout": EffectStatus.INTENDED,
                "mcp--small--empty": EffectStatus.FINISHED,
            }
        async with Sojourn.from_file(file) as runtime:
            await runtime.approve("s", one.id)
            await completed(runtime)
            told = [message.text for message in await runtime.history("s") if message.role is Role.TOOL]
            assert told == ["[]", "HI"]
        sent = [message["content"] for message in wire.sent[-1] if message["role"] == "tool"]
        assert sent == ["HI", "[]"]


async def test_in_auto_approve_mode_nobody_is_asked(tmp_path: Path) -> None:
    async with serving(talk) as wire, Sojourn.from_file(agent_file(tmp_path, wire, mode="auto-approve")) as runtime:
        assert (await patiently(runtime.send("s", "x"))).text.strip() == "done"
        assert await runtime.approvals("s", pending=False) == []


async def test_without_a_mode_every_call_waits_and_its_timeout_and_memory_are_those_of_the_file(tmp_path: Path) -> None:
    async with serving(talk) as wire:
        file = agent_file(tmp_path, wire, timeout=120_000, allowedToolsStorage="memory")
        async with Sojourn.from_file(file) as runtime:
            one, two = (await patiently(runtime.send("s", "x"))).approvals
            assert one.expires is not None
            assert (one.expires - one.asked).total_seconds() == 120
            await runtime.approve("s", one.id, remember="session")
            await runtime.approve("s", two.id)
            await completed(runtime)
            assert len(await runtime.remembered("s")) == 1
        async with Sojourn.from_file(file) as runtime:
            assert len((await patiently(runtime.send("s", "again"))).approvals) == 2


@pytest.mark.parametrize(
    ("tool", "allowed"),
    [
        ("mcp--fs--read", True),
        ("mcp--other--read", True),
        ("mcp--fs--write", True),
        ("mcp--other--write", False),
        ("mcp--fs--unread", False),
        ("read", False),
    ],
)
def test_a_name_allows_a_tool_of_any_server_or_of_the_one_it_names(tool: str, *, allowed: bool) -> None:
    assert is_allowed(tool, frozenset({"mcp--read", "mcp--fs--write"})) is allowed
