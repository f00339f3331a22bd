"""Any calls, decided in any way, in processes that die at any write: nothing runs unasked, and nothing runs twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import Agent, ApprovalRequired, ModelRetry, RunContext

from sojourn.engine.agent import PydanticAIEngine
from sojourn.records import Approval, ApprovalStatus, EntryKind, Role, TurnStatus
from sojourn.sessions.runtime import Runtime
from tests.contract.backends import BACKENDS
from tests.engine.core import Script, new_history, plain
from tests.unit.sessions.kit import World, around

#: By a tool's name: one that needs nobody, one that is known to need a person, one that turns out to.
TOOLS = ("free", "gated", "risky")

CALLS = st.lists(st.tuples(st.sampled_from(TOOLS), st.sampled_from(["fine", "broken", "retried", "unfit"])), max_size=4)


@dataclass
class Play:
    """One turn of some responses with calls, and what its tools did; a call is known by its number."""

    responses: Sequence[Sequence[tuple[str, str]]]
    #: By a call's number modulo their length: allow, change or refuse.
    minds: Sequence[str]
    ran: Counter[int] = field(default_factory=Counter)
    allowed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        numbers = iter(range(100))
        lines = [
            [(tool, {"number": next(numbers), "how": how} if how != "unfit" else {"how": next(numbers)})
             for tool, how in response]
            for response in self.responses
        ]  # fmt: skip
        self.calls = {call[1].get("number", call[1]["how"]): call[0] for line in lines for call in line}
        self.model = Script(*[self._line(lines)] * 100)
        self.agent = Agent(self.model, retries=100)
        self.agent.tool_plain(name="free")(self._act)
        self.agent.tool_plain(name="gated", requires_approval=True)(self._act)
        self.agent.tool(name="risky")(self._risk)

    def _line(self, lines: Sequence[Any]) -> Callable[[Any], Any]:
        def line(messages: Any) -> Any:
            said = sum(message.kind == "response" for message in messages)
            return lines[said] if said < len(lines) else "done"

        return line

    async def _act(self, number: int, how: str) -> str:
        self.ran[number] += 1
        await asyncio.sleep(0)
        if how == "broken":
            raise OSError("broken")
        if how == "retried":
            raise ModelRetry("not so")
        return f"did {number}"

    async def _risk(self, ctx: RunContext[Any], number: int, how: str) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        return await self._act(number, how)

    async def decide(self, runtime: Runtime, approval: Approval) -> None:
        given = json.loads(approval.arguments)
        mind = self.minds[int(given.get("number", given["how"])) % len(self.minds)]
        if mind == "refuse":
            await runtime.deny("s", approval.id)
            return
        if "number" in given:
            self.allowed.add(given["number"])
        changed = {**given, "how": "changed"} if mind == "change" else None
        await runtime.approve("s", approval.id, arguments=changed)

    async def until_over(self, runtime: Runtime) -> TurnStatus:
        while not (await runtime.sessions()).sessions:  # noqa: ASYNC110 - there is no event before there is a session
            await asyncio.sleep(0)
        while (status := (await runtime.turn("s", 1)).status) not in (TurnStatus.COMPLETED, TurnStatus.FAILED):
            for approval in await runtime.approvals("s"):
                await self.decide(runtime, approval)
            await asyncio.sleep(0)
        return status

    async def perform(self, deaths: Sequence[tuple[int, bool]]) -> None:
        world = World(BACKENDS["memory"](Path()))
        try:
            async with asyncio.timeout(30):
                for point, written in deaths:
                    await self._die(world, point, written=written)
                runtime = await world.runtime(PydanticAIEngine(self.agent))
                if not (await runtime.sessions()).sessions:
                    await runtime.send("s", "go", key="k")
                assert await self.until_over(runtime) is TurnStatus.COMPLETED
                await self.check(runtime)
        finally:
            await world.close()

    async def _die(self, world: World, point: int, *, written: bool) -> None:
        """Play until the process dies at this write, or until the turn is over."""
        runtime = await world.runtime(PydanticAIEngine(self.agent))
        reached, count = asyncio.Event(), 0

        async def die(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
            nonlocal count
            count += 1
            if count <= point:
                return await call()
            if written:
                await call()
            reached.set()
            return await asyncio.Event().wait()

        around(runtime.core.store, "append", die)
        sending = asyncio.create_task(runtime.send("s", "go", key="k"))
        tasks = [asyncio.create_task(self.until_over(runtime)), asyncio.create_task(reached.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.kill(runtime)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    async def check(self, runtime: Runtime) -> None:
        assert all(count == 1 for count in self.ran.values()), "nothing ran twice"
        assert {number for number in self.ran if self.calls[number] != "free"} <= self.allowed, "nothing ran unasked"
        entries = await runtime.core.store.entries("local", "s")
        history = new_history(PydanticAIEngine(self.agent))
        history.extend(entries)
        assert plain(self.model.sent[-1]) == plain(history.messages()[:-1])
        results = [message for message in await runtime.history("s") if message.role is Role.TOOL]
        assert len(results) == len(self.calls), "every call has one result"
        assert sum(entry.kind is EntryKind.MESSAGE for entry in entries) == len(self.responses) + 1
        for one in await runtime.approvals("s", pending=False):
            assert one.status in (ApprovalStatus.APPROVED, ApprovalStatus.DENIED)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CALLS.filter(bool), max_size=3),
    st.lists(st.sampled_from(["allow", "change", "refuse"]), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=2),
)
def test_nothing_runs_unasked_or_twice_and_the_model_is_told_of_every_call_once(
    responses: list[list[tuple[str, str]]], minds: list[str], deaths: list[tuple[int, bool]]
) -> None:
    asyncio.run(Play(responses, minds).perform(deaths))
