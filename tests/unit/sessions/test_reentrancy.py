"""Tools that send: to their own session, in a circle, and to others when there is no place."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sojourn import current_session
from sojourn.abc import Run, Step
from sojourn.errors import SessionLimitExceeded, SessionReentrant, TurnFailed
from sojourn.sessions.runtime import Runtime
from sojourn.testing import ScriptedHistory, answer, call_tool, say
from tests.unit.sessions.kit import World, all_of, said, soon, told


class Toolbox:
    """Turns that say "call NAME" run that tool: a coroutine of the test's."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.tools: dict[str, Callable[[], Awaitable[str]]] = {}

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        text = said(history)
        if text.startswith("call "):
            tool = text.removeprefix("call ")
            yield say("", calls=[tool])
            yield call_tool(0, tool, await self.tools[tool]())
            text = history.told[-1][1]
        async for step in answer(text):
            yield step

    def send(self, id: str, text: str) -> Callable[[], Awaitable[str]]:
        """A tool that sends to a session and gives its reply."""

        async def tool() -> str:
            assert self.runtime is not None
            return (await self.runtime.send(id, text)).text

        return tool


@pytest.fixture
def toolbox() -> Toolbox:
    return Toolbox()


async def test_a_tool_that_sends_to_its_own_session_is_refused(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    toolbox.tools["self"] = toolbox.send("s", "hello")
    with pytest.raises(TurnFailed) as failed:
        await soon(runtime.send("s", "call self"))
    assert isinstance(failed.value.__cause__, SessionReentrant)
    assert failed.value.__cause__.code == "session_reentrant"
    assert len(await runtime.turns("s")) == 1
    assert (await soon(runtime.send("s", "fine"))).text == "fine"


async def test_a_tool_may_stream_from_another_session_but_not_its_own(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)

    async def tool() -> str:
        with pytest.raises(SessionReentrant):
            await all_of(runtime.stream("s", "hello"))
        events = await all_of(runtime.stream("other", "hello"))
        assert events[-1].reply is not None
        return events[-1].reply.text + "!"

    toolbox.tools["stream"] = tool
    assert (await soon(runtime.send("s", "call stream"))).text == "hello!"


async def test_a_tool_that_sends_to_another_session_gets_its_reply(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    toolbox.tools["other"] = toolbox.send("b", "hello")
    assert (await soon(runtime.send("a", "call other"))).text == "hello"
    assert await told(runtime, "b") == [("user", "hello"), ("assistant", "hello")]
    assert not runtime.core.waits


async def test_a_circle_of_sessions_is_refused(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    toolbox.tools |= {"b": toolbox.send("b", "call c"), "c": toolbox.send("c", "call a")}
    toolbox.tools["a"] = toolbox.send("a", "hello")
    with pytest.raises(TurnFailed) as failed:
        await soon(runtime.send("a", "call b"))
    assert "the send could never be answered" in failed.value.reason
    assert [len(await runtime.turns(name)) for name in "abc"] == [1, 1, 1]
    assert not runtime.core.waits


async def test_two_sessions_that_send_to_each_other_at_once_do_not_wait_for_ever(
    world: World, toolbox: Toolbox
) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    both = asyncio.Barrier(2)

    def meet_and_send(id: str) -> Callable[[], Awaitable[str]]:
        send = toolbox.send(id, "hello")

        async def tool() -> str:
            await both.wait()
            return await send()

        return tool

    toolbox.tools |= {"to a": meet_and_send("a"), "to b": meet_and_send("b")}
    calls = [runtime.send("a", "call to b"), runtime.send("b", "call to a")]
    ends = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert sorted(type(end).__name__ for end in ends) == ["Reply", "TurnFailed"]
    assert not runtime.core.waits


async def test_a_tool_that_sends_elsewhere_when_no_place_is_free_fails_at_once(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox, max_sessions=1)
    toolbox.tools["other"] = toolbox.send("b", "hello")
    with pytest.raises(TurnFailed) as failed:
        await soon(runtime.send("a", "call other"))
    assert isinstance(failed.value.__cause__, SessionLimitExceeded)
    assert (await runtime.statistics()).stored == 1
    assert (await soon(runtime.send("b", "hello"))).text == "hello"


async def test_a_tool_that_sends_elsewhere_takes_the_place_of_one_at_rest(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox, max_sessions=2)
    toolbox.tools["other"] = toolbox.send("b", "hello")
    await runtime.send("c", "hi")
    assert (await soon(runtime.send("a", "call other"))).text == "hello"


async def test_a_tool_knows_its_session_and_code_outside_knows_none(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    door = asyncio.Barrier(5)

    async def tool() -> str:
        await door.wait()
        inside = await asyncio.create_task(_current_id())
        assert inside == current_session().id
        return f"{current_session().user}/{inside}"

    toolbox.tools["who"] = tool
    replies = await soon(asyncio.gather(*(runtime.for_user("ann").send(f"s{n}", "call who") for n in range(5))))
    assert [reply.text for reply in replies] == [f"ann/s{n}" for n in range(5)]
    with pytest.raises(LookupError, match="outside a turn"):
        current_session()


async def test_a_turn_started_from_a_tool_belongs_to_its_own_session(world: World, toolbox: Toolbox) -> None:
    toolbox.runtime = runtime = await world.runtime(toolbox)
    toolbox.tools["other"] = toolbox.send("b", "call who")

    async def who() -> str:
        return current_session().id

    toolbox.tools["who"] = who
    assert (await soon(runtime.send("a", "call other"))).text == "b"


async def _current_id() -> str:
    return current_session().id
