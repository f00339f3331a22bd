"""A turn that stops for people, and goes on when they have decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from sojourn.abc import Run, RunFinished, RunPaused, Step
from sojourn.errors import ApprovalDecided, ApprovalNotFound, InvalidInput, TurnCancelled
from sojourn.records import ApprovalStatus, EffectStatus, EventKind, Remember, SessionStatus, TurnStatus
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, ScriptedEngine, ScriptedHistory, call_tool, pause, say, settle


class Bank:
    """An agent that looks unasked, and asks before it pays."""

    def __init__(self) -> None:
        self.looked = 0
        self.paid: list[str] = []

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        since = history.told[max(place for place, (role, _) in enumerate(history.told) if role == "user") :]
        if not any(role == "assistant" for role, _ in since):
            yield say("a moment", calls=["look", "pay", "pay"], gated=["pay"])
            self.looked += 1
            yield call_tool(0, "look", "42")
            yield pause((1, "pay"), (2, "pay"))
            return
        for row in run.decided:
            if row.status is ApprovalStatus.APPROVED:
                self.paid.append(row.changed or row.arguments)
                yield call_tool(row.index, "pay", "paid")
            else:
                yield call_tool(row.index, "pay", f"refused: {row.reason}")
        yield say("done", final=True)
        yield RunFinished("done", None, "stop")


Make = Callable[..., Runtime]


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def make(tmp_path: object, bank: Bank) -> Make:
    def make(clock: FakeClock | None = None, **settings: object) -> Runtime:
        store = SqliteStore(f"{tmp_path}/bank.db", synchronous="OFF")
        return Runtime(store, ScriptedEngine(bank), Settings(**settings), clock=clock or FakeClock())  # type: ignore[arg-type]

    return make


async def until_idle(runtime: Runtime, id: str = "s") -> None:
    async for event in runtime.watch(id, after=0):
        if event.kind is EventKind.TURN_ENDED:
            return


async def test_a_reply_brings_the_questions_and_the_last_decision_lets_the_turn_go_on(make: Make, bank: Bank) -> None:
    async with make() as runtime:
        reply = await runtime.send("s", "pay my bills")
        assert (reply.finish_reason, reply.text) == ("waiting", "a moment")
        assert [(one.index, one.tool, one.status) for one in reply.approvals] == [
            (1, "pay", ApprovalStatus.PENDING), (2, "pay", ApprovalStatus.PENDING),
        ]  # fmt: skip
        assert (await runtime.get("s")).status is SessionStatus.WAITING
        assert (await runtime.statistics()).at_rest == 1
        first, second = reply.approvals
        assert (await runtime.approve("s", first.id, arguments={"sum": 7})).status is ApprovalStatus.APPROVED
        assert (await runtime.get("s")).status is SessionStatus.WAITING
        assert (await runtime.deny("s", second.id, reason="too much")).status is ApprovalStatus.DENIED
        await until_idle(runtime)
        assert (bank.looked, bank.paid) == (1, ['{"sum":7}'])
        told = [message.text for message in await runtime.history("s")]
        assert told == ["pay my bills", "a moment", "42", "paid", "refused: too much", "done"]
        assert [effect.status for effect in await runtime.effects("s")] == [EffectStatus.FINISHED] * 3
        assert (await runtime.turn("s", 1)).attempts == 1


async def test_a_stream_ends_with_waiting_and_a_watch_sees_questions_and_decisions(make: Make) -> None:
    async with make() as runtime:
        seen = [event async for event in runtime.stream("s", "pay")]
        assert [event.kind for event in seen][-3:] == [
            EventKind.APPROVAL_ASKED, EventKind.APPROVAL_ASKED, EventKind.TURN_WAITING,
        ]  # fmt: skip
        assert seen[-1].status is TurnStatus.WAITING
        assert seen[-1].reply is not None
        asked = seen[-1].reply.approvals
        for one in asked:
            await runtime.approve("s", one.id, by="ann")
        decided = []
        async for event in runtime.watch("s", after=0):
            if event.kind is EventKind.APPROVAL_DECIDED and event.approval is not None:
                decided.append((event.approval.id, event.approval.decided_by, event.approval.session))
            if event.kind is EventKind.TURN_ENDED:
                break
        assert decided == [(one.id, "ann", "s") for one in asked]


async def test_the_same_decision_again_is_the_same_and_another_is_refused(make: Make) -> None:
    async with make() as runtime:
        first, second = (await runtime.send("s", "pay")).approvals
        await runtime.approve("s", first.id)
        assert (await runtime.approve("s", first.id)).status is ApprovalStatus.APPROVED
        with pytest.raises(ApprovalDecided, match="approved"):
            await runtime.deny("s", first.id)
        with pytest.raises(ApprovalNotFound):
            await runtime.approve("s", "nonsense")
        with pytest.raises(InvalidInput):
            await runtime.approve("s", second.id, arguments="[1]")
        with pytest.raises(InvalidInput, match="session_exact"):
            await runtime.approve("s", second.id, remember="always")


async def test_an_approval_outlives_the_process_that_asked(make: Make, bank: Bank) -> None:
    async with make() as runtime:
        asked = (await runtime.send("s", "pay", key="k")).approvals
    async with make() as runtime:
        again = await runtime.send("s", "pay", key="k")
        assert [one.id for one in again.approvals] == [one.id for one in asked]
        assert (await runtime.approvals()) == (await runtime.approvals("s"))
        for one in asked:
            await runtime.approve("s", one.id)
        await until_idle(runtime)
        assert (await runtime.send("s", "pay", key="k")).text == "done"
    assert (bank.looked, len(bank.paid)) == (1, 2)


async def test_a_later_message_supersedes_the_questions(make: Make, bank: Bank) -> None:
    async with make() as runtime:
        first, _ = (await runtime.send("s", "pay")).approvals
        reply = await runtime.send("s", "rather not")
        assert reply.turn == 2
        assert (await runtime.turn("s", 1)).status is TurnStatus.CANCELLED
        told = [message.text for message in await runtime.history("s")]
        assert told[:6] == ["pay", "a moment", "42", "rather not", "pay was not decided", "pay was not decided"]
        with pytest.raises(ApprovalDecided, match="superseded"):
            await runtime.approve("s", first.id)
        assert bank.paid == []


async def test_a_waiting_turn_can_be_cancelled(make: Make) -> None:
    async with make() as runtime:
        asked = (await runtime.send("s", "pay", key="k")).approvals
        assert await runtime.cancel("s")
        with pytest.raises(TurnCancelled):
            await runtime.send("s", "pay", key="k")
        assert await runtime.approvals() == []
        found = await runtime.approvals("s", pending=False)
        assert [one.status for one in found] == [ApprovalStatus.CANCELLED] * len(asked)


async def test_a_remembered_yes_answers_calls_that_wait_and_calls_to_come(make: Make, bank: Bank) -> None:
    async with make() as runtime:
        first, _ = (await runtime.send("s", "pay")).approvals
        await runtime.approve("s", first.id, remember=Remember.SESSION)
        await until_idle(runtime)
        assert (await runtime.send("s", "pay more")).text == "done"
        assert len(bank.paid) == 4
        assert (await runtime.send("other", "pay")).finish_reason == "waiting"
        (kept,) = await runtime.remembered("s")
        assert (kept.tool, kept.arguments, kept.session) == ("pay", None, "s")
        assert await runtime.forget(kept.id)
        assert (await runtime.send("s", "pay again")).finish_reason == "waiting"


async def test_what_is_remembered_for_the_user_holds_in_every_session_and_survives_a_restart(make: Make) -> None:
    async with make() as runtime:
        waiting = (await runtime.send("other", "pay")).approvals
        first, _ = (await runtime.send("s", "pay")).approvals
        await runtime.approve("s", first.id, remember="user_exact")
        await until_idle(runtime, "other")
        assert len(waiting) == 2
    async with make() as runtime:
        assert (await runtime.send("third", "pay")).text == "done"
        assert (await runtime.for_user("bob").send("s", "pay")).finish_reason == "waiting"


async def test_a_question_that_nobody_answers_expires_and_counts_as_a_no(make: Make, bank: Bank) -> None:
    clock = FakeClock()
    async with make(clock, approval_timeout=timedelta(minutes=5)) as runtime:
        first, _ = (await runtime.send("s", "pay")).approvals
        assert first.expires is not None
        assert first.expires - first.asked == timedelta(minutes=5)
        idle = asyncio.create_task(until_idle(runtime))
        while not idle.done():
            await clock.advance(60)
            await asyncio.sleep(0.01)
        assert bank.paid == []
        with pytest.raises(ApprovalDecided, match="expired"):
            await runtime.approve("s", first.id)


async def test_five_deciders_at_once_are_one(make: Make, bank: Bank) -> None:
    async with make() as runtime:
        first, second = (await runtime.send("s", "pay")).approvals
        answers = await asyncio.gather(
            *(runtime.approve("s", first.id) for _ in range(3)),
            *(runtime.deny("s", first.id) for _ in range(2)),
            return_exceptions=True,
        )
        won = {answer.status for answer in answers if not isinstance(answer, BaseException)}
        assert len(won) == 1
        await runtime.deny("s", second.id)
        await until_idle(runtime)
        assert len(bank.paid) == (won == {ApprovalStatus.APPROVED})


async def test_a_handed_over_or_unloaded_session_still_waits(make: Make) -> None:
    async with make() as runtime:
        await runtime.send("s", "pay")
        await settle()
        assert await runtime.unload("s")
        assert len(await runtime.approvals("s")) == 2


async def test_nobody_is_asked_for_a_turn_that_another_process_has_asked_to_cancel(
    tmp_path: object, make: Make, bank: Bank
) -> None:
    store = SqliteStore(f"{tmp_path}/bank.db", synchronous="OFF")
    await store.open()

    async def cancelled(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        async for step in Bank.__call__(bank, run, history):
            if isinstance(step, RunPaused):
                await store.request_cancel("local", "s", 1, clear=False, now=1)
            yield step

    async with make() as runtime:
        runtime._engine.script = cancelled  # type: ignore[attr-defined]
        with pytest.raises(TurnCancelled):
            await runtime.send("s", "pay")
        assert await runtime.approvals() == []
        assert [effect.status for effect in await runtime.effects("s")] == [EffectStatus.FINISHED] * 3
    await store.close()
