"""A session's state: what the agent's tools keep of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sojourn.abc import Run, RunFinished, Step
from sojourn.errors import InvalidInput, SessionBusy, SessionNotFound, TurnFailed
from sojourn.records import EventKind
from sojourn.sessions.current import current_session
from sojourn.sessions.runtime import Runtime
from sojourn.sessions.state import MAX_STATE
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, ScriptedEngine, ScriptedHistory, call_tool, say

Make = Callable[[], Runtime]


async def shop(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Puts what it is told into the cart; "ask" is only an answer, "odd" no JSON, "huge" too large."""
    said = history.told[-1][1]
    yield say("one moment", calls=["put"])
    state = current_session().state
    if said == "busy":
        with pytest.raises(SessionBusy):
            await RUNTIME[-1].set_state("s", {})
    if said == "odd":
        state["cart"] = {said}
    elif said == "huge":
        state["cart"] = ["x" * MAX_STATE]
    elif said != "ask":
        state.setdefault("cart", []).append(said)
    yield call_tool(0, "put", f"{len(state.get('cart', []))} things")
    text = f"{state.get('cart', [])}"
    yield say(text, final=True)
    yield RunFinished(text, None, "stop")


RUNTIME: list[Runtime] = []


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: object) -> Make:
    database = MemoryDatabase()

    def make() -> Runtime:
        store: Any = MemoryStore(database)
        if request.param == "sqlite":
            store = SqliteStore(f"{tmp_path}/shop.db", synchronous="OFF")
        RUNTIME.append(Runtime(store, ScriptedEngine(shop), clock=FakeClock()))
        return RUNTIME[-1]

    return make


async def test_tools_read_and_change_it_over_turns_unloading_and_restarts(make: Make) -> None:
    async with make() as runtime:
        assert (await runtime.send("s", "bread")).text == "['bread']"
        assert (await runtime.send("s", "milk")).text == "['bread', 'milk']"
        await runtime.unload("s")
        assert (await runtime.send("s", "ask")).text == "['bread', 'milk']"
        assert (await runtime.send("other", "ask")).text == "[]"
    async with make() as runtime:
        assert await runtime.state("s") == {"cart": ["bread", "milk"]}
        assert (await runtime.send("s", "ask")).text == "['bread', 'milk']"


async def test_it_is_stored_with_the_tools_result_and_only_when_it_changed(make: Make) -> None:
    async with make() as runtime:
        seen = [event.kind async for event in runtime.stream("s", "bread")]
        place = seen.index(EventKind.TOOL_RESULT)
        assert seen[place + 1] is EventKind.STATE_CHANGED
        assert EventKind.STATE_CHANGED not in [event.kind async for event in runtime.stream("s", "ask")]


async def test_a_fork_has_the_state_of_its_point_and_a_reset_forgets_it(make: Make) -> None:
    async with make() as runtime:
        await runtime.send("s", "bread")
        first = (await runtime.history("s"))[-1].seq
        await runtime.send("s", "milk")
        await runtime.fork("s", at=first, new_id="fork")
        assert await runtime.state("fork") == {"cart": ["bread"]}
        assert (await runtime.send("fork", "eggs")).text == "['bread', 'eggs']"
        await runtime.reset("s")
        assert await runtime.state("s") == {}
        assert (await runtime.send("s", "ask")).text == "[]"


async def test_an_export_brings_it_along(make: Make) -> None:
    async with make() as runtime:
        await runtime.send("s", "bread")
        lines = [line async for line in runtime.export("s")]
        await runtime.load(lines, id="copy")
        assert (await runtime.send("copy", "ask")).text == "['bread']"


@pytest.mark.parametrize("what", ["odd", "huge"])
async def test_what_cannot_be_stored_fails_the_turn_and_leaves_the_state(make: Make, what: str) -> None:
    async with make() as runtime:
        await runtime.send("s", "bread")
        with pytest.raises(TurnFailed, match="state: found"):
            await runtime.send("s", what)
        assert await runtime.state("s") == {"cart": ["bread"]}
        assert (await runtime.send("s", "ask")).text == "['bread']"


async def test_it_can_be_set_from_outside_while_no_turn_runs(make: Make) -> None:
    async with make() as runtime:
        with pytest.raises(SessionNotFound):
            await runtime.set_state("s", {})
        await runtime.send("s", "busy")
        await runtime.set_state("s", {"cart": ["wine"]})
        assert (await runtime.send("s", "ask")).text == "['wine']"
        wrongs: list[Any] = [[], None, {"a": float("nan")}, {1: 2}, {"a": object()}]
        for wrong in wrongs:
            with pytest.raises(InvalidInput, match="state: found"):
                await runtime.set_state("s", wrong)


async def test_what_another_process_made_of_it_is_what_tools_see(make: Make) -> None:
    async with make() as one, make() as other:
        await one.send("s", "bread")
        await other.delete("s")
        await other.create("s")
        await other.set_state("s", {"cart": ["wine"]})
        assert (await one.send("s", "ask")).text == "['wine']"
