"""The order of writes, failures of the agent, and what a turn has used."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from sojourn.abc import Append, Run, Step
from sojourn.errors import TurnFailed
from sojourn.records import EffectStatus, EventKind, Role, SessionStatus, TurnStatus, Usage
from sojourn.testing import ScriptedHistory, answer, call_tool, feedback, say
from tests.unit.sessions.kit import World, all_of, around, said, soon, told


class Diary:
    """Notes what is stored, run and seen, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def listen(self, store: Any) -> None:
        async def accepted(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
            found = await call()
            self.lines.append("input stored")
            return found

        async def appended(call: Callable[[], Awaitable[Any]], write: Append) -> Any:
            found = await call()
            kinds = "+".join(str(entry.kind) for entry in write.entries)
            self.lines.append(f"{kinds} stored" + (f", {len(write.started)} started" if write.started else ""))
            return found

        around(store, "accept", accepted)
        around(store, "append", appended)


async def test_everything_is_durable_before_what_follows_from_it(world: World) -> None:
    diary = Diary()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        diary.lines.append("model asked")
        yield say("looking", calls=["look", "see"])
        diary.lines.append("tools run")
        yield call_tool(1, "see", "green")
        diary.lines.append("next tool")
        yield call_tool(0, "look", "red")
        yield feedback("say it in one word")
        diary.lines.append("model asked again")
        async for step in answer("brown"):
            yield step

    runtime = await world.runtime(script)
    diary.listen(runtime.core.store)
    async for event in runtime.stream("s", "colour?"):
        if event.kind is not EventKind.TEXT:
            diary.lines.append(f"{event.kind} seen")
    order = {line: place for place, line in enumerate(diary.lines)}
    stored = [line for line in diary.lines if "seen" not in line]
    assert stored == [
        "input stored",
        "model asked",
        "message stored, 2 started",
        "tools run",
        "tool_result stored",
        "next tool",
        "tool_result stored",
        "feedback stored",
        "model asked again",
        "message+turn_ended stored",
    ]
    assert order["input stored"] < order["turn_opened seen"]
    assert diary.lines.index("message stored, 2 started") < diary.lines.index("message seen")
    assert order["message+turn_ended stored"] < order["turn_ended seen"]
    found = [(effect.tool, effect.status) for effect in await runtime.effects("s")]
    assert found == [("look", EffectStatus.FINISHED), ("see", EffectStatus.FINISHED)]


async def test_nothing_final_reaches_a_client_before_it_is_durable(world: World) -> None:
    runtime = await world.runtime()
    asked, go = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def slow(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        asked.set()
        await go.wait()
        return await call()

    around(runtime.core.store, "append", slow)

    async def follow() -> None:
        async for event in runtime.stream("s", "hi"):
            seen.append(str(event.kind))  # noqa: PERF401 - seen while it goes on

    reply = asyncio.create_task(runtime.send("s", "hi", key="k"))
    await soon(asked.wait())
    follower = asyncio.create_task(follow())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not reply.done()
    assert "message" not in seen
    go.set()
    await soon(asyncio.gather(reply, follower))
    assert seen[-1] == "turn_ended"


async def test_a_failure_of_the_agent_ends_the_turn_and_not_the_session(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "break":
            yield say("", calls=["good", "bad"])
            yield call_tool(0, "good", "done")
            raise ConnectionError("the model\n is   gone")
        async for step in answer(f"{len(history.told)} lines"):
            yield step

    runtime = await world.runtime(script)
    with pytest.raises(TurnFailed) as failed:
        await soon(runtime.send("s", "break"))
    assert failed.value.reason == "ConnectionError: the model is gone"
    assert isinstance(failed.value.__cause__, ConnectionError)
    assert str(failed.value) == "turn 1 of session 's' failed: ConnectionError: the model is gone"
    turn = await runtime.turn("s", 1)
    assert (turn.status, turn.reason) == (TurnStatus.FAILED, failed.value.reason)
    assert await told(runtime, "s") == [
        ("user", "break"),
        ("assistant", ""),
        ("tool", "done"),
        ("tool", "the outcome of bad is unknown"),
    ]
    assert [effect.status for effect in await runtime.effects("s")] == [EffectStatus.FINISHED, EffectStatus.UNKNOWN]
    assert (await runtime.get("s")).status is SessionStatus.IDLE
    assert (await soon(runtime.send("s", "go on"))).text == "5 lines"


async def test_input_in_line_runs_after_a_failure(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if said(history) == "break":
            raise ValueError
        async for step in answer("fine"):
            yield step

    runtime = await world.runtime(script)
    ends = await soon(
        asyncio.gather(*(runtime.send("s", text) for text in ("break", "a", "break", "b")), return_exceptions=True)
    )
    assert [type(end).__name__ for end in ends] == ["TurnFailed", "Reply", "TurnFailed", "Reply"]
    assert ends[0].reason == "ValueError"


async def test_an_agent_that_stops_without_an_answer_has_failed(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("so far")

    runtime = await world.runtime(script)
    with pytest.raises(TurnFailed, match="stopped without an answer"):
        await soon(runtime.send("s", "hi"))


async def test_usage_counts_every_request_by_model_also_those_that_only_call_tools(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        first = say("", calls=["look"], usage=Usage(requests=1, input_tokens=7, output_tokens=3, cost=Decimal("0.1")))
        yield first
        yield call_tool(0, "look", "seen")
        second = say("ok", usage=Usage(requests=1, input_tokens=100, cache_read_tokens=50))
        second.model = "other"
        yield second
        yield say("done", final=True, usage=Usage(requests=1, input_tokens=9, output_tokens=1, cost=Decimal("0.2")))
        from sojourn.abc import RunFinished

        yield RunFinished("done", None, "stop")

    runtime = await world.runtime(script)
    reply = await runtime.send("s", "hi")
    of_turn = {
        "scripted": Usage(requests=2, input_tokens=16, output_tokens=4, cost=Decimal("0.3")),
        "other": Usage(requests=1, input_tokens=100, cache_read_tokens=50),
    }
    assert reply.usage == of_turn
    assert (await runtime.turn("s", 1)).usage == of_turn
    assert (await runtime.get("s")).usage == of_turn
    await runtime.send("s", "again")
    assert (await runtime.get("s")).usage["scripted"] == Usage(
        requests=4, input_tokens=32, output_tokens=8, cost=Decimal("0.6")
    )


async def test_a_cancelled_or_failed_turn_has_used_what_it_used(world: World) -> None:
    asked = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("", calls=["look"])
        if said(history) == "break":
            raise ValueError
        asked.set()
        await asyncio.Event().wait()

    runtime = await world.runtime(script)
    await asyncio.gather(runtime.send("s", "break"), return_exceptions=True)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await soon(asked.wait())
    await soon(runtime.cancel("s"))
    await asyncio.gather(turn, return_exceptions=True)
    used = Usage(requests=1, input_tokens=10, output_tokens=5)
    assert [dict(turn.usage) for turn in await runtime.turns("s")] == [{"scripted": used}] * 2
    assert (await runtime.get("s")).usage == {"scripted": used + used}


async def test_an_output_that_is_more_than_text_comes_back_also_from_storage(world: World) -> None:
    from sojourn.abc import RunFinished

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say('{"colour":"teal"}', final=True)
        yield RunFinished({"colour": "teal"}, '{"colour":"teal"}', "tool_call")

    runtime = await world.runtime(script)
    for _ in range(2):
        reply = await runtime.send("s", "hi", key="k")
        assert reply.output == {"colour": "teal"}
        assert reply.finish_reason == "tool_call"
    events = await all_of(runtime.stream("s", "hi", key="k"))
    assert events[-1].reply is not None
    assert events[-1].reply.output == {"colour": "teal"}


async def test_message_count_is_what_history_shows(world: World) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("", calls=["look"])
        yield call_tool(0, "look", "seen")
        yield feedback("hm")
        async for step in answer("done"):
            yield step

    runtime = await world.runtime(script)
    await runtime.send("s", "hi")
    history = await runtime.history("s")
    assert (await runtime.get("s")).message_count == len(history)
    assert [message.role for message in history][:3] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    assert history[1].tool_calls[0].name == "look"
