"""What is said without waiting for the answer: durable at once, run when there is a place."""

from __future__ import annotations

import asyncio

import pytest

from sojourn.errors import IdempotencyConflict, InvalidInput, SessionBusy
from sojourn.records import TurnStatus
from tests.unit.sessions.kit import Stage, World, all_of, becomes, kinds, soon, told


async def test_what_is_submitted_is_in_line_at_once_and_runs_by_itself(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage)
    turn = await soon(runtime.submit("s", "wait a", key="k"))
    assert (turn.turn, turn.status, turn.key) == (1, TurnStatus.QUEUED, "k")
    await stage.began("wait a")
    stage.let("wait a")
    await becomes(runtime, TurnStatus.COMPLETED)
    assert await told(runtime, "s") == [("user", "wait a"), ("assistant", "you said: wait a")]


async def test_it_needs_no_place_to_be_accepted(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage, max_sessions=1)
    await runtime.submit("a", "wait a")
    await stage.began("wait a")
    assert (await soon(runtime.submit("b", "hi"))).status is TurnStatus.QUEUED
    stage.let("wait a")
    await becomes(runtime, TurnStatus.COMPLETED, id="b")


async def test_the_same_key_is_the_same_turn_and_other_content_a_conflict(world: World) -> None:
    runtime = await world.runtime()
    turn = await runtime.submit("s", "hi", key="k")
    assert (await runtime.submit("s", "hi", key="k")).turn == turn.turn
    with pytest.raises(IdempotencyConflict):
        await runtime.submit("s", "ho", key="k")
    await becomes(runtime, TurnStatus.COMPLETED)
    assert len(await runtime.turns("s")) == 1


async def test_a_busy_session_can_be_refused_or_interrupted(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage)
    await runtime.submit("s", "wait a")
    await stage.began("wait a")
    with pytest.raises(SessionBusy):
        await runtime.submit("s", "hi", busy="reject")
    second = await soon(runtime.submit("s", "hi", busy="interrupt"))
    await becomes(runtime, TurnStatus.COMPLETED, second.turn)
    assert (await runtime.turn("s", 1)).status is TurnStatus.CANCELLED


async def test_a_turn_that_is_begun_is_known_before_its_events_come(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage)
    turn, events = await soon(runtime.begin("s", "wait a", key="k"))
    behind, later = await soon(runtime.begin("s", "hi"))
    assert (turn.turn, behind.turn, behind.status) == (1, 2, TurnStatus.QUEUED)
    stage.let("wait a")
    assert kinds(await all_of(events)) == ["turn_opened", "message", "turn_ended"]
    assert kinds(await all_of(later)) == ["turn_opened", "message", "turn_ended"]


async def test_the_events_of_a_known_turn_may_begin_behind_one_of_them(world: World) -> None:
    runtime = await world.runtime()
    _, events = await runtime.begin("s", "hi", key="k")
    first = [event for event in await all_of(events) if event.kind == "message"]
    _, again = await runtime.begin("s", "hi", key="k", after=first[0].id)
    assert kinds(await all_of(again)) == ["turn_ended"]
    _, whole = await runtime.begin("s", "hi", key="k", after=10_000)  # of a session that is gone
    assert kinds(await all_of(whole)) == ["turn_opened", "message", "turn_ended"]
    with pytest.raises(InvalidInput, match="event id"):
        await runtime.begin("s", "hi", after="yesterday")


async def test_who_follows_a_turn_that_ends_while_the_runtime_closes_gets_its_end(world: World) -> None:
    stage = Stage()
    runtime = await world.runtime(stage, close_wait=5)
    _, events = await runtime.begin("s", "wait a")
    following = asyncio.create_task(all_of(events))
    await stage.began("wait a")
    closing = asyncio.create_task(runtime.close())
    await asyncio.sleep(0)
    stage.let("wait a")
    assert kinds(await soon(following)) == ["turn_opened", "message", "turn_ended"]
    await soon(closing)
