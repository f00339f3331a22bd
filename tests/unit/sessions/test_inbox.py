"""What is said while a turn runs: into it, after it, instead of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest

from sojourn.abc import Asking, InputRow, Run, RunFinished, Step
from sojourn.errors import InboxFull, TurnCancelled, TurnFailed
from sojourn.records import EventKind, InputKind, QueuedInput, SessionStatus, TurnStatus
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, ScriptedEngine, ScriptedHistory, answer, call_tool, say


class Desk:
    """An agent that consults a tool before it answers; both wait to be let go on."""

    def __init__(self) -> None:
        self.in_tool, self.in_answer = asyncio.Event(), asyncio.Event()
        self.tool_may, self.answer_may = asyncio.Event(), asyncio.Event()
        self.breaks = False

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        begin = max(place for place, (role, _) in enumerate(history.told) if role == "user")
        if "wait" not in "".join(text for role, text in history.told if role == "user"):
            async for step in answer(f"heard {history.told[-1][1]}"):
                yield step
            return
        if not any(role == "tool" for role, _ in history.told):
            yield Asking()
            yield say("let me see", calls=["look"])
            self.in_tool.set()
            await self.tool_may.wait()
            yield call_tool(0, "look", "seen")
        yield Asking()
        said = [text for role, text in history.told[begin:] if role == "user"]
        self.in_answer.set()
        await self.answer_may.wait()
        if self.breaks:
            raise RuntimeError("no more")
        text = f"heard {' and '.join(said)}"
        yield say(text, final=True)
        yield RunFinished(text, None, "stop")


@pytest.fixture
def desk() -> Desk:
    return Desk()


Make = Callable[..., Runtime]


@pytest.fixture
def make(tmp_path: object, desk: Desk) -> Make:
    def make(**settings: object) -> Runtime:
        store = SqliteStore(f"{tmp_path}/desk.db", synchronous="OFF")
        return Runtime(store, ScriptedEngine(desk), Settings(**settings), clock=FakeClock())  # type: ignore[arg-type]

    return make


async def said(runtime: Runtime) -> list[str]:
    return [f"{message.role}: {message.text}" for message in await runtime.history("s")]


async def lined_up(runtime: Runtime) -> Sequence[QueuedInput]:
    """The line as soon as there is one; nothing tells when an input has joined it."""
    while not (line := await runtime.inbox("s")):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.001)
    return line


async def turn_ends(runtime: Runtime, count: int) -> None:
    async for event in runtime.watch("s", after=0):
        if event.kind is EventKind.TURN_ENDED:
            count -= 1
        if not count:
            return


async def test_a_steer_is_told_before_the_model_is_asked_next(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        steered = await runtime.steer("s", "only blue ones")
        assert (steered.kind, steered.turn) == (InputKind.STEER, 1)
        assert [(one.kind, one.content) for one in await runtime.inbox("s")] == [(InputKind.STEER, "only blue ones")]
        desk.tool_may.set()
        desk.answer_may.set()
        reply = await sending
        assert (reply.turn, reply.text) == (1, "heard only blue ones")
        assert await said(runtime) == [
            "user: wait", "assistant: let me see", "tool: seen", "user: only blue ones",
            "assistant: heard only blue ones",
        ]  # fmt: skip
        assert await runtime.inbox("s") == []
        assert (await runtime.get("s")).message_count == 5


async def test_several_steers_are_told_as_one(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        await runtime.steer("s", "a")
        await runtime.steer("s", "b")
        desk.tool_may.set()
        desk.answer_may.set()
        await sending
        assert "user: Additional user input received:\n\n- a\n\n- b" in await said(runtime)


async def test_a_steer_while_the_last_answer_is_written_makes_the_turn_go_on(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        desk.tool_may.set()
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_answer.wait()
        await runtime.steer("s", "and green")
        desk.answer_may.set()
        reply = await sending
        assert reply.text == "heard and green"
        assert (await said(runtime))[-3:] == ["assistant: heard wait", "user: and green", "assistant: heard and green"]
        assert [turn.status for turn in await runtime.turns("s")] == [TurnStatus.COMPLETED]


async def test_to_a_session_at_rest_a_steer_and_a_follow_up_are_messages(make: Make) -> None:
    async with make() as runtime:
        first = await runtime.steer("s", "hello")
        await turn_ends(runtime, 1)
        second = await runtime.follow_up("s", "again")
        await turn_ends(runtime, 2)
        assert (first.kind, second.kind) == (InputKind.MESSAGE, InputKind.MESSAGE)
        assert await said(runtime) == ["user: hello", "assistant: heard hello", "user: again", "assistant: heard again"]


async def test_follow_ups_that_wait_become_one_turn_behind_what_is_in_line(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        first = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        second = asyncio.create_task(runtime.send("s", "message"))
        await lined_up(runtime)
        one = await runtime.follow_up("s", "x")
        two = await runtime.follow_up("s", "y")
        assert (one.turn, two.turn) == (3, 3)
        desk.tool_may.set()
        desk.answer_may.set()
        await asyncio.gather(first, second)
        await turn_ends(runtime, 3)
        assert [m for m in await said(runtime) if m.startswith("user")] == [
            "user: wait", "user: message", "user: Additional user input received:\n\n- x\n\n- y",
        ]  # fmt: skip


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_what_was_said_into_a_turn_that_came_to_no_good_end_is_held_until_somebody_decides(
    make: Make, desk: Desk, how: str
) -> None:
    async with make() as runtime:
        desk.breaks = True
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        await runtime.steer("s", "steer")
        await runtime.follow_up("s", "later")
        if how == "cancelled":
            await runtime.cancel("s")
        desk.tool_may.set()
        desk.answer_may.set()
        with pytest.raises(TurnCancelled if how == "cancelled" else TurnFailed):
            await sending
        held = [(one.kind, one.held) for one in await runtime.inbox("s")]
        told = "user: steer" in await said(runtime)
        assert held == [*([] if told else [(InputKind.STEER, True)]), (InputKind.FOLLOW_UP, True)]
        assert (await runtime.get("s")).status is SessionStatus.HELD
        desk.breaks = False
        assert len(await runtime.resume("s")) == len(held)
        await turn_ends(runtime, 1 + len(held))
        assert await runtime.inbox("s") == []
        assert "user: later" in await said(runtime)


async def test_held_input_does_not_run_with_an_unrelated_message_and_can_be_discarded(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        await runtime.steer("s", "steer")
        await runtime.cancel("s")
        with pytest.raises(TurnCancelled):
            await sending
        desk.tool_may.set()
        desk.answer_may.set()
        await runtime.send("s", "unrelated")
        assert [one.held for one in await runtime.inbox("s")] == [True]
        assert "user: steer" not in await said(runtime)
        await runtime.discard("s")
        assert await runtime.inbox("s") == []
        assert (await runtime.get("s")).status is SessionStatus.IDLE


async def test_an_input_in_line_can_be_removed_and_its_sender_hears_of_it(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        first = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        second = asyncio.create_task(runtime.send("s", "never mind"))
        line = await lined_up(runtime)
        steered = await runtime.steer("s", "nor this")
        assert await runtime.remove("s", line[0].position)
        assert await runtime.remove("s", steered.position)
        assert not await runtime.remove("s", steered.position)
        with pytest.raises(TurnCancelled, match="removed"):
            await second
        desk.tool_may.set()
        desk.answer_may.set()
        assert (await first).text == "heard wait"


async def test_a_message_may_steer_or_interrupt_where_the_session_is_busy(make: Make, desk: Desk) -> None:
    async with make() as runtime:
        first = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        steering = asyncio.create_task(runtime.send("s", "this too", busy="steer"))
        await lined_up(runtime)
        desk.tool_may.set()
        desk.answer_may.set()
        assert await steering == await first
        desk.tool_may.clear()
        desk.answer_may.clear()
        third = asyncio.create_task(runtime.send("s", "wait more"))
        desk.in_answer.clear()
        await desk.in_answer.wait()
        fourth = asyncio.create_task(runtime.send("s", "stop", busy="interrupt"))
        with pytest.raises(TurnCancelled):
            await third
        desk.answer_may.set()
        assert (await fourth).turn == 3


async def test_a_full_inbox_takes_no_more(make: Make, desk: Desk) -> None:
    async with make(max_inbox=2) as runtime:
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        await runtime.steer("s", "1")
        await runtime.follow_up("s", "2")
        with pytest.raises(InboxFull):
            await runtime.steer("s", "3")
        desk.tool_may.set()
        desk.answer_may.set()
        await sending


async def test_what_was_said_into_a_turn_survives_its_process(make: Make, desk: Desk) -> None:
    async with make(close_wait=timedelta(0)) as runtime:
        sending = asyncio.create_task(runtime.send("s", "wait"))
        await desk.in_tool.wait()
        await runtime.steer("s", "blue")
        await runtime.follow_up("s", "later")
    await asyncio.gather(sending, return_exceptions=True)
    desk.tool_may.set()
    desk.answer_may.set()
    async with make() as runtime:
        await turn_ends(runtime, 2)
        users = [m for m in await said(runtime) if m.startswith("user")]
        assert users == ["user: wait", "user: blue", "user: later"]


@pytest.mark.parametrize("last", [False, True], ids=["before a request", "before the end"])
async def test_what_is_removed_while_it_is_about_to_be_told_is_not_told(
    make: Make, desk: Desk, monkeypatch: pytest.MonkeyPatch, *, last: bool
) -> None:
    async with make() as runtime:
        read, removed = runtime.core.store.inbox, asyncio.Event()

        async def remove_behind(user: str, id: str) -> Sequence[InputRow]:
            line = await read(user, id)
            if not removed.is_set():
                removed.set()
                assert await runtime.core.store.remove(user, id, line[0].position, 0) == 1
            return line

        sending = asyncio.create_task(runtime.send("s", "wait"))
        if last:
            desk.tool_may.set()
            await desk.in_answer.wait()
        await desk.in_tool.wait()
        await runtime.steer("s", "never mind")
        monkeypatch.setattr(runtime.core.store, "inbox", remove_behind)
        desk.tool_may.set()
        desk.answer_may.set()
        assert (await sending).text == "heard wait"
        assert removed.is_set()
        assert await said(runtime) == ["user: wait", "assistant: let me see", "tool: seen", "assistant: heard wait"]
        row = await runtime.core.store.get("local", "s")
        assert (row.status, row.queued, row.held, row.steers) == (SessionStatus.IDLE, 0, 0, 0)
