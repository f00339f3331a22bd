"""What a model is sent once the context was cleared: over a real socket, after restarts, forks, exports and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart

from sojourn import Sojourn
from sojourn.engine import codec
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.errors import SessionBusy
from sojourn.records import Effect, EffectStatus, EntryKind
from tests.engine.core import Core, Script, plain
from tests.engine.wire import Wire, calls, serving, text

SYSTEM = "You are a baker."


def talk(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls the tool where it is asked to, and else says what it was told last."""
    last = messages[-1]
    if last["role"] == "user" and last["content"] == "weigh it":
        return calls(("weigh", "{}"))
    return text(f"re: {last['content']}")


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(talk) as wire:
        yield wire


def baker(wire: Wire, folder: Path) -> Sojourn:
    agent = Agent(wire.model(), instructions=SYSTEM)

    @agent.tool_plain
    def weigh() -> str:
        """Weighs it."""
        return "two pounds"

    return Sojourn(agent, storage=f"sqlite:///{folder}/chat.db")


def sent(wire: Wire) -> list[str]:
    """What the last request held, behind the system prompt."""
    first, *rest = wire.sent[-1]
    assert (first["role"], first["content"]) == ("system", SYSTEM)
    return [str(message.get("content")).strip() for message in rest]


async def said(runtime: Sojourn, id: str = "s") -> list[str]:
    return [message.text for message in await runtime.history(id)]


async def test_the_model_is_sent_only_what_comes_after_and_everything_is_still_shown(
    tmp_path: Path, wire: Wire
) -> None:
    async with baker(wire, tmp_path) as runtime:
        await runtime.send("s", "My name is Ann.")
        await runtime.send("s", "weigh it")
        before = await runtime.history("s")
        assert await runtime.clear_context("s") is True
        assert await runtime.history("s") == before
        assert (await runtime.get("s")).message_count == len(before)
        await runtime.send("s", "Who am I?")
        assert sent(wire) == ["Who am I?"]
        await runtime.send("s", "weigh it")
        assert sent(wire) == ["Who am I?", "re: Who am I?", "weigh it", "None", "two pounds"]
        assert (await runtime.history("s"))[: len(before)] == before
        [found] = (await runtime.sessions(query="ann")).sessions
        assert found.message_count == len(before) + 6


async def test_it_stays_so_unloaded_restarted_and_told_by_another_process(tmp_path: Path, wire: Wire) -> None:
    async with baker(wire, tmp_path) as runtime, baker(wire, tmp_path) as other:
        await runtime.send("s", "one")
        await other.clear_context("s")
        await runtime.send("s", "two")
        assert sent(wire) == ["two"]
        await other.send("s", "three")
        assert sent(wire) == ["two", "re: two", "three"]
        await runtime.unload("s")
        await runtime.send("s", "four")
        assert sent(wire)[::2] == ["two", "three", "four"]
    async with baker(wire, tmp_path) as runtime:
        await runtime.clear_context("s")
        assert not (await runtime.statistics()).live
    async with baker(wire, tmp_path) as runtime:
        await runtime.send("s", "five")
        assert sent(wire) == ["five"]
        assert (await said(runtime))[::2] == ["one", "two", "three", "four", "five"]


async def copied(runtime: Sojourn, how: str) -> str:
    if how == "fork":
        return (await runtime.fork("s")).id
    return (await runtime.load([line async for line in runtime.export("s")], id="copy")).id


@pytest.mark.parametrize("how", ["fork", "load"])
@pytest.mark.parametrize("more", [False, True], ids=["at once", "after a turn"])
async def test_a_copy_of_a_session_that_was_cleared_is_clear(
    tmp_path: Path, wire: Wire, how: str, *, more: bool
) -> None:
    async with baker(wire, tmp_path) as runtime:
        await runtime.send("s", "weigh it")
        first = (await runtime.history("s"))[-1].seq
        await runtime.clear_context("s")
        if more:
            await runtime.send("s", "two")
        copy = await copied(runtime, how)
        assert await said(runtime, copy) == await said(runtime)
        await runtime.send(copy, "now")
        assert sent(wire) == (["two", "re: two", "now"] if more else ["now"])
        earlier = await runtime.fork("s", at=first)
        await runtime.send(earlier.id, "then")
        assert sent(wire)[0] == "weigh it"


async def test_what_is_cleared_is_not_told_by_a_limit_either(wire: Wire) -> None:
    agent = Agent(wire.model(), instructions=SYSTEM)
    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=120)))
    for number in range(8):
        await core.send(f"before {number} " + "x" * 60)
    assert len(core.history.messages(120)) < 8
    core.put(EntryKind.CONTEXT_CLEARED)
    assert (core.history.turns, core.history.tokens, core.history.messages(), core.history.last) == ([], 0, [], None)
    await core.send("after")
    assert sent(wire) == ["after"]
    for number in range(8):
        await core.send(f"later {number} " + "x" * 60)
    assert len(sent(wire)) < 8
    assert sent(wire)[-1].startswith("later 7")
    assert all(content.startswith(("later", "re: later")) for content in sent(wire))


async def test_a_result_that_comes_late_is_stored_and_shown_and_the_model_hears_nothing_of_it() -> None:
    model = Script([("act", {}, "c1")], "fresh", [("act", {}, "c1")], "done")
    agent = Agent(model)

    @agent.tool_plain
    def act() -> str:
        return "done"

    core = Core(PydanticAIEngine(agent))
    core.open("before")
    await core.go(stop=lambda step: type(step).__name__ == "ModelResponded")
    call = Effect(seq=core.log[-1].seq, index=0, tool="act", status=EffectStatus.STARTED)
    core.put(EntryKind.TURN_ENDED)
    core.put(EntryKind.CONTEXT_CLEARED)
    core.open("after")
    core.store(core.engine.unknown(core.history, call))
    assert plain(core.history.messages()) == plain(core.stored().messages())
    await core.go()
    assert [content for *_, content in plain(model.sent[1])] == ["after"]
    shown = core.messages()[1]
    assert (shown.tool_name, shown.tool_call_id, shown.outcome) == ("act", "c1", "interrupted")
    # an id that is shown already is not used twice
    await core.send("once more")
    ids = [call.id for message in core.messages() for call in message.tool_calls]
    assert len(set(ids)) == len(ids) == 2


async def test_a_call_that_nobody_decided_is_closed_behind_it(tmp_path: Path, wire: Wire) -> None:
    agent = Agent(wire.model(), instructions=SYSTEM)

    @agent.tool_plain(requires_approval=True)
    def weigh() -> str:
        raise AssertionError("nobody allowed it")

    async with Sojourn(agent, storage=f"sqlite:///{tmp_path}/chat.db") as runtime:
        assert (await runtime.send("s", "weigh it")).approvals
        with pytest.raises(SessionBusy):
            await runtime.clear_context("s")
        await runtime.cancel("s")
        assert await runtime.clear_context("s") is True
        copy = (await runtime.load([line async for line in runtime.export("s")], id="copy")).id
        fork = (await runtime.fork("s")).id
        for name in ("s", copy, fork):
            await runtime.send(name, "after")
            assert sent(wire) == ["after"]
            await runtime.unload(name)
            await runtime.send(name, "and after")
            assert sent(wire) == ["after", "re: after", "and after"]
            tools = [one for one in await runtime.history(name) if one.role == "tool"]
            assert [(one.tool_name, one.outcome) for one in tools] == [("weigh", "interrupted")]


def test_a_long_history_costs_a_turn_nothing_once_it_was_cleared() -> None:
    core = Core(PydanticAIEngine(Agent(Script())))
    for number in range(500):
        core.open(f"turn {number}")
        core.put(EntryKind.MESSAGE, *codec.dump_response(ModelResponse(parts=[TextPart("so")])))
        core.put(EntryKind.TURN_ENDED)
    assert len(core.history.messages()) == 1000
    core.put(EntryKind.CONTEXT_CLEARED)
    core.open("now")
    assert len(core.history.messages()) == len(core.history.turns) == 1


def test_messages_that_were_handed_out_stay_as_they_were() -> None:
    core = Core(PydanticAIEngine(Agent(Script())))
    core.open("before")
    core.put(EntryKind.MESSAGE, *codec.dump_response(ModelResponse(parts=[ToolCallPart("act", {}, tool_call_id="c")])))
    handed = core.history.messages()
    before = plain(handed)
    core.put(EntryKind.CONTEXT_CLEARED)
    core.open("after")
    assert plain(handed) == before
    assert [content for *_, content in plain(core.history.messages())] == ["after"]
