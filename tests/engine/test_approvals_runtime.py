"""Approvals of a pydantic-ai agent through the whole runtime: asked in one process, carried out in others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, RunContext
from pydantic_ai.messages import ModelMessage

import sojourn
from sojourn import Sojourn
from sojourn.abc import Append
from sojourn.bootstrap import reading
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.questions import EXPIRED, REFUSED
from sojourn.engine.steps import UNDECIDED, UNKNOWN
from sojourn.records import Approval, ApprovalStatus, EffectStatus, EventKind, Remember, Role, SessionStatus, TurnStatus
from sojourn.sessions.runtime import Runtime
from sojourn.testing import FakeClock
from tests.contract.backends import BACKENDS, Backend
from tests.engine.core import Script, new_history, plain
from tests.unit.sessions.kit import SOON, World, around, becomes, soon

MIXED = [("pay", {"sum": 1}), ("look", {}), ("pay", {"sum": 2})]
OVER = (TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED)


def talk(messages: list[ModelMessage]) -> Any:
    """Calls for each new message of the user's, and an answer when they have results."""
    return MIXED if messages[-1].parts[-1].part_kind == "user-prompt" else "done"


class Bank:
    """One agent for all processes, whose tools note what they do and in which session."""

    def __init__(self, *lines: Any) -> None:
        self.done: list[tuple[str, int]] = []
        self.sessions: list[str] = []
        self.model = Script(*(lines or [talk] * 50))
        self.agent = Agent(self.model, deps_type=str)
        self.agent.tool(requires_approval=True)(self.pay)
        self.agent.tool_plain(self.look)
        #: Holds `pay` up.
        self.began, self.let = asyncio.Event(), asyncio.Event()
        self.let.set()

    def look(self) -> str:
        self.done.append(("look", 0))
        return "saw it"

    async def pay(self, ctx: RunContext[str], sum: int) -> str:
        assert ctx.tool_call_approved
        self.sessions.append(f"{sojourn.current_session().id} {ctx.deps}")
        self.done.append(("pay", sum))
        self.began.set()
        await self.let.wait()
        return f"paid {sum}"

    def engine(self) -> PydanticAIEngine:
        return PydanticAIEngine(self.agent, deps=lambda session: f"deps of {session.id}")

    @property
    def paid(self) -> list[int]:
        return sorted(amount for what, amount in self.done if what == "pay")


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture(params=sorted(BACKENDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(BACKENDS[request.param](tmp_path))
    yield world
    await world.close()
    await world.backend.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[World]:
    world = World(BACKENDS["sqlite"](tmp_path))
    yield world
    await world.close()
    await world.backend.close()


async def results(runtime: Runtime, id: str = "s") -> list[tuple[str, str | None]]:
    """Text and outcome of the results, in the order in which they were stored."""
    return [(one.text, one.outcome) for one in await runtime.history(id) if one.role is Role.TOOL]


async def is_intact(runtime: Runtime, bank: Bank, id: str = "s") -> bool:
    """Whether the model was sent what storage holds."""
    store = runtime.core.store
    history = new_history(bank.engine())
    history.extend(await store.entries("local", id))
    return plain(bank.model.sent[-1]) == plain(history.messages()[:-1])


Mind = Callable[[Runtime, Approval], Awaitable[Any]]


async def first_yes_then_no(runtime: Runtime, approval: Approval) -> None:
    """Allow the payment of 1 and refuse that of 2."""
    if approval.arguments == '{"sum": 1}':
        await runtime.approve("s", approval.id)
    else:
        await runtime.deny("s", approval.id)


async def decide_until_over(runtime: Runtime, mind: Mind = first_yes_then_no, turn: int = 1) -> TurnStatus:
    """Decide whatever is asked, as soon as it is, until the turn is over."""
    async with asyncio.timeout(SOON):
        while (found := (await runtime.turn("s", turn)).status) not in OVER:
            for approval in await runtime.approvals("s"):
                await mind(runtime, approval)
            await asyncio.sleep(0)
    return found


async def test_a_turn_stops_and_goes_on_in_another_process_when_all_is_decided(world: World, bank: Bank) -> None:
    first = await world.runtime(bank.engine())
    reply = await soon(first.send("s", "pay", key="k"))
    assert (reply.finish_reason, [one.index for one in reply.approvals]) == ("waiting", [0, 2])
    assert bank.done == [("look", 0)]
    await first.close()
    second = await world.runtime(bank.engine())
    assert (await second.get("s")).status is SessionStatus.WAITING
    one, two = await second.approvals("s")
    await second.approve("s", one.id)
    await second.close()
    third = await world.runtime(bank.engine())
    await third.deny("s", two.id, reason="too much")
    await becomes(third, TurnStatus.COMPLETED)
    assert (await soon(third.send("s", "pay", key="k"))).text == "done"
    assert bank.done == [("look", 0), ("pay", 1)]
    assert bank.sessions == ["s deps of s"]
    assert sorted(await results(third), key=str) == sorted(
        [("saw it", "success"), ("paid 1", "success"), (f"{REFUSED[:-1]}: too much", "denied")], key=str
    )
    assert await is_intact(third, bank)
    assert {effect.status for effect in await third.effects("s")} == {EffectStatus.FINISHED}


@pytest.mark.parametrize("written", [False, True])
async def test_a_crash_at_any_write_costs_no_decision_and_runs_nothing_twice(tmp_path: Path, *, written: bool) -> None:
    count = 0
    while await crashed_at(count, BACKENDS["sqlite"](tmp_path), written=written):
        (tmp_path / "contract.db").rename(tmp_path / f"{count}.db")
        count += 1
    assert count >= 6, "a response, a result, the questions, what was allowed, two results, the answer"


async def crashed_at(point: int, backend: Backend, *, written: bool) -> bool:
    """Play a turn whose process dies in the middle of a write; whether there was such a write."""
    bank, world = Bank(), World(backend)
    first = await world.runtime(bank.engine())
    reached, count = asyncio.Event(), 0

    async def die(call: Callable[[], Awaitable[Any]], _: Append) -> Any:
        nonlocal count
        count += 1
        if count != point + 1:
            return await call()
        if written:
            await call()
        reached.set()
        return await asyncio.Event().wait()

    around(first.core.store, "append", die)
    tasks = [
        asyncio.create_task(first.send("s", "pay", key="k")),
        asyncio.create_task(decided_later(first)),
        asyncio.create_task(reached.wait()),
    ]
    try:
        await soon(asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED))
        tasks[1].cancel()
        await world.kill(first)
        await soon(asyncio.wait(tasks[:2]))
        second = await world.runtime(bank.engine())
        assert await decide_until_over(second) is TurnStatus.COMPLETED
        await check(second, bank, point)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.close()
        await world.backend.close()
    return reached.is_set()


async def decided_later(runtime: Runtime) -> None:
    while not (await runtime.sessions()).sessions:  # noqa: ASYNC110 - there is no event before there is a session
        await asyncio.sleep(0)
    await decide_until_over(runtime)


async def check(runtime: Runtime, bank: Bank, point: int) -> None:
    told = dict(await results(runtime))
    assert len(await results(runtime)) == 3
    assert len(bank.done) == len(set(bank.done)), f"nothing runs twice, at {point}"
    assert bank.paid in ([], [1]), f"what was refused never runs, at {point}"
    assert REFUSED in told
    assert set(told) <= {"saw it", "paid 1", REFUSED, UNKNOWN}
    assert "paid 1" not in told or bank.paid == [1]
    assert "saw it" not in told or ("look", 0) in bank.done
    asked = await runtime.approvals("s", pending=False)
    assert [one.status for one in asked] == [ApprovalStatus.APPROVED, ApprovalStatus.DENIED]
    assert await is_intact(runtime, bank), f"at {point}"


async def test_a_call_that_was_being_carried_out_in_a_crash_is_unknown_and_is_not_run_again(
    world: World, bank: Bank
) -> None:
    bank.let.clear()
    first = await world.runtime(bank.engine())
    for one in (await soon(first.send("s", "pay"))).approvals:
        await first.approve("s", one.id)
    await soon(bank.began.wait())
    await world.kill(first)
    bank.let.set()
    second = await world.runtime(bank.engine())
    await becomes(second, TurnStatus.COMPLETED)
    assert bank.paid == [1, 2]
    assert [text for text, _ in await results(second)] == ["saw it", UNKNOWN, UNKNOWN]
    assert await is_intact(second, bank)


async def test_changed_arguments_are_used_in_another_process(world: World, bank: Bank) -> None:
    first = await world.runtime(bank.engine())
    one, two = (await soon(first.send("s", "pay"))).approvals
    await first.approve("s", one.id, arguments={"sum": 5})
    await world.kill(first)
    second = await world.runtime(bank.engine())
    await second.approve("s", two.id, arguments={"total": 1})
    await becomes(second, TurnStatus.COMPLETED)
    assert bank.paid == [5]
    found = [text for text, _ in await results(second)]
    assert 'A person allowed this call with changed arguments: {"sum":5}\n\npaid 5' in found
    assert any("Field required" in text for text in found)
    assert await is_intact(second, bank)


async def test_a_message_instead_of_a_decision_closes_the_calls_and_is_answered(world: World, bank: Bank) -> None:
    runtime = await world.runtime(bank.engine())
    await soon(runtime.send("s", "pay"))
    reply = await soon(runtime.send("s", "pay later"))
    assert (reply.turn, reply.finish_reason) == (2, "waiting")
    assert [text for text, _ in await results(runtime)] == ["saw it", UNDECIDED, UNDECIDED, "saw it"]
    assert await decide_until_over(runtime, turn=2) is TurnStatus.COMPLETED
    assert bank.paid == [1]
    assert await is_intact(runtime, bank)


async def test_a_copy_of_a_turn_whose_calls_were_closed_only_later_goes_on(world: World, bank: Bank) -> None:
    runtime = await world.runtime(bank.engine())
    await runtime.send("s", "pay twice")
    end = (await runtime.history("s"))[-1].seq
    await runtime.send("s", "pay again")  # waits as well; what was asked before is closed in its turn
    lines = [line async for line in runtime.export("s")]
    copies = [await runtime.fork("s", at=end), await runtime.fork("s"), await runtime.load(lines, id="copy")]
    for copy in copies:
        shown = await results(runtime, copy.id)
        assert shown == [("saw it", "success"), (UNDECIDED, "interrupted"), (UNDECIDED, "interrupted")]
        assert copy.message_count == len(shown) + 2
        turn = (await runtime.send(copy.id, "and now?")).turn
        for approval in await runtime.approvals(copy.id):
            await runtime.deny(copy.id, approval.id)
        await becomes(runtime, TurnStatus.COMPLETED, turn, copy.id)
        assert await is_intact(runtime, bank, copy.id)


async def test_a_waiting_turn_is_cancelled_and_an_approved_tool_is_stopped(world: World, bank: Bank) -> None:
    runtime = await world.runtime(bank.engine())
    await soon(runtime.send("s", "pay"))
    assert await runtime.cancel("s")
    assert [text for text, _ in await results(runtime)][:1] == ["saw it"]
    bank.let.clear()
    for one in (await soon(runtime.send("s", "pay"))).approvals:
        await runtime.approve("s", one.id)
    await soon(bank.began.wait())
    assert await soon(runtime.cancel("s"))
    await becomes(runtime, TurnStatus.CANCELLED, turn=2)
    assert [text for text, _ in await results(runtime)][-2:] == [UNKNOWN, UNKNOWN]
    bank.let.set()
    assert (await soon(runtime.send("s", "pay"))).finish_reason == "waiting"


async def test_a_question_that_nobody_answers_is_told_as_such(tmp_path: Path, bank: Bank) -> None:
    clock = FakeClock()
    async with Sojourn(
        bank.engine(), storage=f"sqlite:///{tmp_path}/b.db", clock=clock, approval_timeout=timedelta(minutes=5)
    ) as runtime:
        await soon(runtime.send("s", "pay"))
        while (await runtime.turn("s", 1)).status is not TurnStatus.COMPLETED:
            await clock.advance(60)
            await asyncio.sleep(0.005)
        assert (await results(runtime))[1:] == [(EXPIRED, "denied")] * 2
        assert bank.paid == []


async def test_a_remembered_yes_lets_later_calls_of_the_turn_run_without_a_pause(sqlite: World) -> None:
    bank = Bank([("pay", {"sum": 1})], [("pay", {"sum": 2})], "done")
    runtime = await sqlite.runtime(bank.engine())
    [one] = (await soon(runtime.send("s", "pay"))).approvals
    await runtime.approve("s", one.id, remember=Remember.SESSION)
    await becomes(runtime, TurnStatus.COMPLETED)
    assert bank.paid == [1, 2]
    assert await is_intact(runtime, bank)


async def test_a_tool_that_asks_whatever_is_remembered_comes_to_an_end(sqlite: World) -> None:
    model = Script([("stubborn", {})], "done")
    agent = Agent(model)

    @agent.tool_plain
    def stubborn() -> str:
        raise ApprovalRequired

    runtime = await sqlite.runtime(PydanticAIEngine(agent))
    [one] = (await soon(runtime.send("s", "x"))).approvals
    await runtime.approve("s", one.id, remember=Remember.SESSION)
    await becomes(runtime, TurnStatus.COMPLETED)
    assert len(model.sent) == 2


async def test_a_tool_that_asks_when_it_is_run_goes_on_after_a_restart(sqlite: World) -> None:
    agent, ran = Agent(Script([("risky", {})], "done")), list[str]()

    @agent.tool
    def risky(ctx: RunContext[Any]) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        ran.append("risky")
        return "took it"

    first = await sqlite.runtime(PydanticAIEngine(agent))
    [one] = (await soon(first.send("s", "x"))).approvals
    await sqlite.kill(first)
    second = await sqlite.runtime(PydanticAIEngine(agent))
    await second.approve("s", one.id)
    await becomes(second, TurnStatus.COMPLETED)
    assert ran == ["risky"]
    assert await results(second) == [("took it", "success")]


async def test_two_sessions_wait_and_are_decided_each_for_itself(sqlite: World, bank: Bank) -> None:
    runtime = await sqlite.runtime(bank.engine(), max_sessions=1)
    for name in ("s", "t"):
        assert (await soon(runtime.send(name, "pay"))).finish_reason == "waiting"
    for one in await runtime.approvals("t"):
        await runtime.approve("t", one.id)
    await becomes(runtime, TurnStatus.COMPLETED, id="t")
    assert bank.sessions == ["t deps of t"] * 2
    assert (await runtime.get("s")).status is SessionStatus.WAITING
    assert await decide_until_over(runtime) is TurnStatus.COMPLETED
    assert bank.sessions[2:] == ["s deps of s"]


async def test_a_watcher_sees_questions_decisions_and_results_in_order(sqlite: World, bank: Bank) -> None:
    runtime = await sqlite.runtime(bank.engine())
    await soon(runtime.send("s", "pay"))
    await decide_until_over(runtime)
    seen = []
    async with asyncio.timeout(SOON):
        async for event in runtime.watch("s", after=0):
            seen.append(event.kind)
            if event.kind is EventKind.TURN_ENDED:
                break
    assert [str(kind) for kind in seen if kind is not EventKind.TEXT] == [
        *["turn_opened", "message", "tool_result", "approval_asked", "approval_asked"],
        *["approval_decided", "approval_decided", "tool_result", "tool_result", "message", "turn_ended"],
    ]


async def test_a_runtime_without_an_agent_decides_and_leaves_the_work_to_one_that_has_it(
    bank: Bank, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'decided.db'}"
    async with Sojourn(bank.agent, storage=storage, deps=lambda session: session.id) as runtime:
        asked = await runtime.send("s", "pay", key="k")
    async with reading(storage) as office:
        for approval in asked.approvals:
            await office.approve("s", approval.id)
        assert (await office.turn("s", 1)).status is TurnStatus.QUEUED
    async with Sojourn(bank.agent, storage=storage, deps=lambda session: session.id) as runtime:
        assert (await runtime.send("s", "pay", key="k")).text == "done"
    assert bank.paid == [1, 2]
