"""Tools that may be run again: a crash inside one costs nothing, and inside any other the model is told so."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, RunContext
from pydantic_ai.messages import ModelMessage
from pydantic_ai.tools import ToolDefinition

from sojourn import Sojourn
from sojourn.config.schema import ToolTraits
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.configured import is_idempotent
from sojourn.engine.guard import is_repeatable
from sojourn.engine.steps import UNKNOWN
from sojourn.records import EffectStatus, EntryKind, OnInterrupt, Role, TurnStatus
from sojourn.sessions.runtime import Runtime
from tests.contract.backends import BACKENDS
from tests.engine.core import Script, new_history, plain
from tests.engine.test_approvals_mcp import SERVER, patiently, talk
from tests.engine.wire import serving
from tests.unit.sessions.kit import World, becomes, soon

IDEMPOTENT = {"idempotent": True}


class Shop:
    """An agent of one process; what its tools do is written down for all processes, and they can be held up."""

    def __init__(self, done: list[str], *calls: tuple[str, dict[str, Any]], held: bool = False, **changes: Any) -> None:
        self.done, self.calls = done, list(calls)
        self.began, self.let = asyncio.Semaphore(0), asyncio.Event()
        if not held:
            self.let.set()
        self.model = Script(*[self.say] * 9)
        self.agent = Agent(self.model)
        put = {"metadata": IDEMPOTENT, **changes}
        self.agent.tool_plain(**put)(self.put)
        self.agent.tool_plain(self.pay)
        self.agent.tool_plain(requires_approval=True)(self.sign)
        self.agent.tool_plain(metadata=IDEMPOTENT, requires_approval=True)(self.grant)
        self.agent.tool(metadata=IDEMPOTENT)(self.order)

    def say(self, messages: list[ModelMessage]) -> Any:
        return self.calls if self.calls and messages[-1].parts[-1].part_kind == "user-prompt" else "done"

    async def _do(self, what: str) -> str:
        self.done.append(what)
        self.began.release()
        await self.let.wait()
        return f"did {what}"

    async def put(self, value: int) -> str:
        return await self._do(f"put {value}")

    async def pay(self) -> str:
        return await self._do("pay")

    async def sign(self) -> str:
        return await self._do("sign")

    async def grant(self, role: str) -> str:
        return await self._do(f"grant {role}")

    async def order(self, ctx: RunContext[object]) -> str:
        if ctx.tool_call_approved:
            return await self._do("order")
        await self._do("think of an order")
        raise ApprovalRequired

    async def begun(self, count: int) -> None:
        for _ in range(count):
            await soon(self.began.acquire())

    def engine(self) -> PydanticAIEngine:
        return PydanticAIEngine(self.agent)


@pytest.fixture
def done() -> list[str]:
    """What tools did, in any process."""
    return []


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(BACKENDS[request.param](tmp_path))
    yield world
    await world.close()
    await world.backend.close()


async def cut_off(world: World, shop: Shop, running: int, *, kindly: bool = False) -> None:
    """Begin a turn and end its process when so many tools run."""
    runtime = await world.runtime(shop.engine())
    task = asyncio.create_task(runtime.send("s", "go", key="k"))
    await shop.begun(running)
    await end(world, runtime, kindly=kindly)
    await asyncio.gather(task, return_exceptions=True)


async def end(world: World, runtime: Runtime, *, kindly: bool = False) -> None:
    await (runtime.close() if kindly else world.kill(runtime))


async def results(runtime: Runtime) -> dict[str, str]:
    """What the model was told, by tool."""
    return {one.tool_name or "": one.text for one in await runtime.history("s") if one.role is Role.TOOL}


async def is_intact(runtime: Runtime, shop: Shop) -> bool:
    """Whether the model was sent what storage holds."""
    history = new_history(shop.engine())
    history.extend(await runtime.core.store.entries("local", "s"))
    return plain(shop.model.sent[-1]) == plain(history.messages()[:-1])


@pytest.mark.parametrize("kindly", [False, True])
async def test_only_the_marked_one_of_two_that_were_cut_off_is_run_again(
    world: World, done: list[str], *, kindly: bool
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("pay", {}), ("put", {"value": 1}), ("put", {"value": 2})]
    await cut_off(world, Shop(done, *calls, held=True), 3, kindly=kindly)
    assert sorted(done) == ["pay", "put 1", "put 2"]
    shop = Shop(done, *calls)
    runtime = await world.runtime(shop.engine())
    assert (await soon(runtime.send("s", "go", key="k"))).text == "done"
    assert sorted(done) == ["pay", "put 1", "put 1", "put 2", "put 2"]
    told = [(one.tool_name, one.text) for one in await runtime.history("s") if one.role is Role.TOOL]
    assert sorted(told, key=str) == [("pay", UNKNOWN), ("put", "did put 1"), ("put", "did put 2")]
    statuses = {(effect.index, effect.status) for effect in await runtime.effects("s")}
    assert statuses == {(0, EffectStatus.UNKNOWN), (1, EffectStatus.FINISHED), (2, EffectStatus.FINISHED)}
    assert await is_intact(runtime, shop)


async def test_a_result_that_is_stored_is_not_fetched_again(world: World, done: list[str]) -> None:
    shop = Shop(done, ("put", {"value": 1}), ("pay", {}))
    runtime = await world.runtime(shop.engine())
    assert (await soon(runtime.send("s", "go"))).text == "done"
    await world.kill(runtime)
    second = Shop(done, ("put", {"value": 2}), ("put", {"value": 3}), held=True)
    runtime = await world.runtime(second.engine())
    task = asyncio.create_task(runtime.send("s", "again", key="k"))
    await second.begun(2)
    await end(world, runtime)
    await asyncio.gather(task, return_exceptions=True)
    runtime = await world.runtime(Shop(done).engine())
    await becomes(runtime, TurnStatus.COMPLETED, turn=2)
    assert sorted(done) == ["pay", "put 1", "put 2", "put 2", "put 3", "put 3"]


async def test_what_a_person_allowed_is_run_again_with_what_the_person_changed(world: World, done: list[str]) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("grant", {"role": "admin"}), ("sign", {})]
    held = Shop(done, *calls, held=True)
    runtime = await world.runtime(held.engine())
    one, two = (await soon(runtime.send("s", "go", key="k"))).approvals
    await runtime.approve("s", one.id, arguments={"role": "guest"})
    await runtime.approve("s", two.id)
    await held.begun(2)
    await end(world, runtime)
    shop = Shop(done, *calls)
    runtime = await world.runtime(shop.engine())
    assert (await soon(runtime.send("s", "go", key="k"))).text == "done"
    assert sorted(done) == ["grant guest", "grant guest", "sign"]
    told = await results(runtime)
    assert told["sign"] == UNKNOWN
    assert told["grant"].endswith("did grant guest")
    assert '{"role":"guest"}' in told["grant"]
    assert await is_intact(runtime, shop)


async def test_a_tool_that_asks_when_nobody_has_allowed_it_asks_again(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("order", {}), held=True), 1)
    shop = Shop(done, ("order", {}))
    runtime = await world.runtime(shop.engine())
    [one] = (await soon(runtime.send("s", "go", key="k"))).approvals
    assert done == ["think of an order"] * 2
    await runtime.approve("s", one.id)
    await becomes(runtime, TurnStatus.COMPLETED)
    assert done == ["think of an order"] * 2 + ["order"]
    assert await is_intact(runtime, shop)


async def test_a_tool_that_needs_a_person_by_now_is_asked_about(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("put", {"value": 1}), held=True), 1)
    runtime = await world.runtime(Shop(done, requires_approval=True).engine())
    [one] = (await soon(runtime.send("s", "go", key="k"))).approvals
    assert (one.tool, done) == ("put", ["put 1"])
    await runtime.approve("s", one.id)
    await becomes(runtime, TurnStatus.COMPLETED)
    assert done == ["put 1"] * 2


async def test_a_tool_that_has_lost_its_mark_is_not_run_again(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("put", {"value": 1}), held=True), 1)
    shop = Shop(done, metadata=None)
    runtime = await world.runtime(shop.engine())
    assert (await soon(runtime.send("s", "go", key="k"))).text == "done"
    assert done == ["put 1"]
    assert UNKNOWN in (await results(runtime))["put"]


async def test_one_that_was_cut_off_before_a_person_was_asked_is_run_when_the_person_has_decided(
    world: World, done: list[str]
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("sign", {}), ("put", {"value": 1}), ("pay", {})]
    await cut_off(world, Shop(done, *calls, held=True), 2)
    shop = Shop(done, *calls)
    runtime = await world.runtime(shop.engine())
    [one] = (await soon(runtime.send("s", "go", key="k"))).approvals
    assert one.tool == "sign"
    assert sorted(done) == ["pay", "put 1"]
    await runtime.approve("s", one.id)
    await becomes(runtime, TurnStatus.COMPLETED)
    assert sorted(done) == ["pay", "put 1", "put 1", "sign"]
    assert await results(runtime) == {"sign": "did sign", "put": "did put 1", "pay": UNKNOWN}
    assert await is_intact(runtime, shop)


async def test_a_turn_that_is_held_runs_it_when_it_is_resumed_and_not_before(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("put", {"value": 1}), held=True), 1)
    runtime = await world.runtime(Shop(done).engine(), on_interrupt=OnInterrupt.HOLD)
    await becomes(runtime, TurnStatus.HELD)
    assert done == ["put 1"]
    await runtime.resume("s")
    await becomes(runtime, TurnStatus.COMPLETED)
    assert done == ["put 1"] * 2


async def test_a_new_message_does_not_run_again_what_belongs_to_another_turn(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("put", {"value": 1}), held=True), 1)
    runtime = await world.runtime(Shop(done).engine(), on_interrupt=OnInterrupt.HOLD)
    await becomes(runtime, TurnStatus.HELD)
    await runtime.discard("s")
    assert (await soon(runtime.send("s", "something else"))).turn == 2
    assert done == ["put 1"]
    assert await results(runtime) == {"put": UNKNOWN}


async def test_a_tool_that_ends_its_process_again_and_again_fails_the_turn(world: World, done: list[str]) -> None:
    for _ in range(3):
        shop = Shop(done, ("put", {"value": 1}), held=True)
        await cut_off(world, shop, 1)
    runtime = await world.runtime(Shop(done).engine())
    await becomes(runtime, TurnStatus.FAILED)
    assert done == ["put 1"] * 3
    assert await results(runtime) == {"put": UNKNOWN}


async def test_a_cancel_of_the_second_run_says_that_the_outcome_is_unknown(world: World, done: list[str]) -> None:
    await cut_off(world, Shop(done, ("put", {"value": 1}), held=True), 1)
    shop = Shop(done, held=True)
    runtime = await world.runtime(shop.engine())
    await shop.begun(1)
    await soon(runtime.cancel("s"))
    await becomes(runtime, TurnStatus.CANCELLED)
    assert await results(runtime) == {"put": UNKNOWN}


# -- which are marked


@pytest.mark.parametrize(
    ("metadata", "kind", "marked"),
    [
        ({"idempotent": True}, "function", True),
        ({"idempotent": True}, "unapproved", True),
        ({"idempotent": True}, "external", False),
        ({"idempotent": "yes"}, "function", False),
        ({"annotations": {"idempotentHint": True}}, "function", False),
        ({"meta": {"idempotent": True}}, "function", False),
        (None, "function", False),
    ],
)
def test_a_tool_is_marked_by_its_own_metadata_and_not_by_what_a_server_says(
    metadata: dict[str, Any] | None, kind: Any, *, marked: bool
) -> None:
    assert is_repeatable(ToolDefinition(name="t", metadata=metadata, kind=kind)) is marked


@pytest.mark.parametrize(
    ("tool", "marked"),
    [("mcp--a--get", True), ("mcp--b--get", False), ("mcp--b--put", True), ("mcp--a--put", False), ("put", False)],
)
def test_a_whole_name_counts_more_than_one_of_any_server(tool: str, *, marked: bool) -> None:
    yes, no = ToolTraits(idempotent=True), ToolTraits(idempotent=False)
    traits = {"mcp--get": yes, "mcp--b--get": no, "mcp--b--put": yes, "mcp--a--put": no}
    assert is_idempotent(tool, traits) is marked


async def test_the_tools_of_an_agent_file_are_marked_by_their_names(tmp_path: Path) -> None:
    async with serving(talk) as wire:
        agent = {
            "systemPrompt": "You shout.",
            "permissions": {"mode": "auto-approve"},
            "llm": {"provider": "openai-compatible", "model": "m", "baseURL": wire.url},
            "mcpServers": {"small": {"type": "stdio", "command": sys.executable, "args": [str(SERVER)]}},
            "sojourn": {"tools": {"mcp--empty": IDEMPOTENT, "mcp--small--shout": {"idempotent": False}}},
        }
        file = tmp_path / "agent.yml"
        file.write_text(json.dumps(agent), encoding="utf-8")
        async with Sojourn.from_file(file, storage="memory:") as runtime:
            await patiently(runtime.send("s", "x"))
            kinds = frozenset({EntryKind.MESSAGE})
            asked, last = await runtime.core.store.entries("local", "s", kinds=kinds)
            assert json.loads(asked.body)["repeatable"] == [1]
            assert "repeatable" not in json.loads(last.body)
