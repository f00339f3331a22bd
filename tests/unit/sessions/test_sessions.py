"""Sessions as their owner sees them: create, list, find, rename, fork."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta, timezone
from typing import Any

import pytest

from sojourn.abc import Run, Step
from sojourn.errors import ForkPointInvalid, InvalidInput, InvalidSessionId, SessionExists, SessionNotFound
from sojourn.records import Direction, Message, Role, SessionOrder, SessionStatus
from sojourn.testing import ScriptedHistory, answer, call_tool, say
from tests.unit.sessions.kit import Stage, World, said, soon, told


async def test_a_created_session_is_there_empty(world: World) -> None:
    runtime = await world.runtime()
    made = await runtime.create("s", title="  A title ")
    assert await runtime.get("s") == made
    assert (made.id, made.user, made.title, made.message_count) == ("s", "local", "A title", 0)
    assert (made.status, made.parent, dict(made.usage)) == (SessionStatus.IDLE, None, {})
    assert made.created == made.last_activity == world.clock.now()
    with pytest.raises(SessionExists) as refused:
        await runtime.create("s")
    assert refused.value.code == "session_exists"
    assert str(uuid.UUID(given := (await runtime.create()).id)) == given
    assert runtime.core.residency.live == 0, "creating needs no place"


async def test_twenty_that_create_the_same_session_make_one(world: World) -> None:
    runtime = await world.runtime()
    ends = await asyncio.gather(*(runtime.create("s") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(end, SessionExists) for end in ends) == 19


async def test_sessions_come_in_pages_newest_activity_first(world: World) -> None:
    runtime = await world.runtime()
    for n in range(25):
        await world.clock.advance(1)
        await runtime.create(f"s{n:02}")
    await world.clock.advance(1)
    await runtime.send("s03", "hello")
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await runtime.sessions(limit=10, after=cursor)
        found += [session.id for session in page.sessions]
        pages, cursor = pages + 1, page.next
        if cursor is None:
            break
        await runtime.delete(page.sessions[-1].id)  # a cursor outlives its session
    assert pages == 3
    assert found == ["s03", *(f"s{n:02}" for n in range(24, -1, -1) if n != 3)]


async def test_sessions_are_listed_by_what_they_do_and_in_any_order(world: World, stage: Stage) -> None:
    async def listed(**wanted: Any) -> str:
        return "".join(session.id for session in (await runtime.sessions(**wanted)).sessions)

    runtime = await world.runtime(stage)
    for name in "bca":
        await world.clock.advance(1)
        await runtime.create(name)
    turn = asyncio.create_task(runtime.send("c", "wait"))
    await stage.began("wait")
    assert await listed(status="running") == await listed(status=[SessionStatus.RUNNING, "held"]) == "c"
    assert sorted(await listed(status={"idle", "waiting"})) == ["a", "b"]
    assert await listed(order="id") == "abc"
    assert await listed(order=SessionOrder.ID, direction=Direction.DESCENDING) == "cba"
    assert await listed(order="created") == "acb"
    assert await listed(order="created", direction="asc") == "bca"
    stage.let("wait")
    await soon(turn)
    assert await listed(direction="asc") in {"bca", "bac"}


async def test_sessions_are_listed_by_their_parent_and_by_their_last_activity(world: World) -> None:
    async def listed(**wanted: Any) -> list[str]:
        return [session.id for session in (await runtime.sessions(**wanted)).sessions]

    runtime = await world.runtime()
    await runtime.send("s", "hello")
    for name in ("one", "two"):
        await world.clock.advance(1)
        await runtime.fork("s", new_id=name)
    assert await listed(parent="s") == ["two", "one"]
    assert await listed(parent="one") == await listed(parent="none") == []
    one = (await runtime.get("one")).last_activity
    assert await listed(active_since=one) == ["two", "one"]
    assert await listed(active_before=one) == ["s"]
    assert await listed(active_since=one + timedelta(microseconds=1)) == ["two"]
    assert await listed(active_before=one + timedelta(microseconds=1)) == ["one", "s"]
    elsewhere = timezone(timedelta(hours=5))
    assert await listed(active_since=one.astimezone(elsewhere), active_before=world.clock.now()) == ["one"]


async def test_what_is_wrong_with_a_list_is_said_with_what_is_allowed(world: World) -> None:
    runtime = await world.runtime()
    with pytest.raises(InvalidInput) as refused:
        await runtime.sessions(status="busy")
    assert str(refused.value) == (
        "status: found 'busy', expected 'idle' or 'queued' or 'running' or 'waiting' or 'held'"
    )
    for number in range(2):
        await runtime.create(f"s{number}")
    page = await runtime.sessions(limit=1)
    with pytest.raises(InvalidInput, match=r"expected the `next` of a page in this order, created desc"):
        await runtime.sessions(order="created", after=page.next)
    with pytest.raises(InvalidSessionId):
        await runtime.sessions(parent="a b")


async def test_sessions_are_found_by_title_and_by_what_was_said(world: World) -> None:
    runtime = await world.runtime()
    await runtime.create("a", title="Grüße aus Köln")
    await runtime.send("b", "The quick brown fox")
    await runtime.send("c", "a slow fox")
    found = {
        query: {session.id for session in (await runtime.sessions(query=query)).sessions}
        for query in ("fox", "quick fox", "gruss", "grüße", "köl", "KOLN", "wolf", "", "said", '"fox" OR', "fox*")
    }
    assert found == {
        "fox": {"b", "c"},
        "quick fox": {"b"},
        "gruss": {"a"},
        "grüße": {"a"},
        "köl": {"a"},
        "KOLN": {"a"},
        "wolf": set(),
        "": {"a", "b", "c"},
        "said": {"b", "c"},
        '"fox" OR': set(),
        "fox*": {"b", "c"},
    }


async def test_a_session_is_named_by_its_first_message_until_somebody_renames_it(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "\n My favourite   colour is teal.")
    await runtime.send("s", "And yours?")
    assert (await runtime.get("s")).title == "My favourite colour is teal."
    assert (await runtime.rename("s", " Colours ")).title == "Colours"
    await runtime.send("s", "more")
    assert (await runtime.get("s")).title == "Colours"
    with pytest.raises(SessionNotFound):
        await runtime.rename("none", "x")


async def test_renaming_does_not_disturb_a_running_turn(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    await runtime.rename("s", "Name")
    stage.let("wait")
    assert (await soon(turn)).text == "you said: wait"
    assert (await runtime.get("s")).title == "Name"


async def test_history_is_read_in_pieces_from_the_end(world: World) -> None:
    runtime = await world.runtime()
    for n in range(5):
        await runtime.send("s", f"m{n}")
    whole = list(await runtime.history("s"))
    pieces: list[Message] = []
    before = None
    while piece := list(await runtime.history("s", before=before, limit=3)):
        pieces = piece + pieces
        before = piece[0].seq
    assert pieces == whole
    assert len(whole) == 10


async def with_tool(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    if said(history) == "tool":
        yield say("", calls=["look"])
        yield call_tool(0, "look", "seen")
    async for step in answer(f"{len(history.told)} lines"):
        yield step


async def test_a_fork_has_the_history_up_to_a_finished_turn_and_a_life_of_its_own(world: World) -> None:
    runtime = await world.runtime(with_tool)
    for text in ("one", "tool", "three"):
        await runtime.send("s", text, key=text)
    parent = await told(runtime, "s")
    child = await runtime.fork("s", new_id="child")
    assert (child.parent, child.title, child.message_count) == ("s", "Fork: one", len(parent))
    assert dict(child.usage) == {}
    assert await told(runtime, "child") == parent
    assert (await runtime.send("child", "four")).text == f"{len(parent) + 1} lines"
    assert (await runtime.send("child", "one", key="one")).text == f"{len(parent) + 3} lines", "keys are not copied"
    assert await told(runtime, "s") == parent


async def test_a_fork_may_begin_at_any_finished_turns_last_message(world: World) -> None:
    runtime = await world.runtime(with_tool)
    for text in ("one", "tool", "three"):
        await runtime.send("s", text)
    history = list(await runtime.history("s"))
    last = {message.turn: message.seq for message in history}
    for turn, seq in last.items():
        child = await runtime.fork("s", at=seq)
        assert await told(runtime, child.id) == [
            (str(message.role), message.text) for message in history if message.turn <= turn
        ]
    inside = [message.seq for message in history if message.seq not in last.values()]
    for at in (*inside, 0, -1, 10_000):
        with pytest.raises(ForkPointInvalid) as refused:
            await runtime.fork("s", at=at, new_id="never")
        assert refused.value.code == "fork_point_invalid"
    with pytest.raises(SessionNotFound):
        await runtime.get("never")


async def test_a_fork_of_a_busy_session_leaves_the_unfinished_turn_out(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "done")
    turn = asyncio.create_task(runtime.send("s", "wait"))
    await stage.began("wait")
    await runtime.fork("s", new_id="child")
    assert await told(runtime, "child") == [("user", "done"), ("assistant", "you said: done")]
    assert (await runtime.get("child")).status is SessionStatus.IDLE
    stage.let("wait")
    await soon(turn)


@pytest.mark.parametrize("title", ["x" * 200, "👨‍👩‍👧 family", "non\u00a0breaking"])
async def test_any_session_can_be_forked_whatever_its_title(world: World, title: str) -> None:
    runtime = await world.runtime()
    await runtime.send("s", title)
    await runtime.rename("s", title)
    child = await runtime.fork("s")
    assert child.title is not None
    assert child.title.startswith("Fork: ")
    assert len(child.title) <= 200
    again = await runtime.fork(child.id)
    assert again.title == child.title


async def test_a_first_message_with_control_characters_makes_a_clean_title(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "ring \x07 the \x1b[31mbell\x9b")
    title = (await runtime.get("s")).title
    assert title is not None
    assert title.isprintable()
    await runtime.fork("s")


async def test_forks_that_cannot_be_leave_nothing(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hi")
    with pytest.raises(SessionNotFound):
        await runtime.fork("none", new_id="x")
    with pytest.raises(SessionExists):
        await runtime.fork("s", new_id="s")
    with pytest.raises(InvalidInput):
        await runtime.fork("s", new_id="no/slash")
    assert (await runtime.statistics()).stored == 1


async def test_content_of_parts_comes_back_as_it_was_said(world: World) -> None:
    runtime = await world.runtime()
    parts = [
        {"type": "text", "text": "look at"},
        {"type": "image", "image": "aGk=", "mimeType": "image/png"},
        {"type": "text", "text": "this"},
        {"type": "file", "data": "aGk=", "mimeType": "text/plain", "filename": "ü.txt"},
    ]
    await runtime.send("s", parts)
    message = (await runtime.history("s"))[0]
    assert (message.role, message.text, list(message.parts)) == (Role.USER, "look at\nthis", parts)
