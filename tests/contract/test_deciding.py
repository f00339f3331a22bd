"""The contract of SessionStore: cancel, resume, discard; by anybody's hand."""

from __future__ import annotations

import pytest

from sojourn.abc import TurnEnd
from sojourn.errors import OwnershipLost, SessionNotFound, TurnNotFound
from sojourn.records import EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    COMPLETED,
    HANDED_OVER,
    NOW,
    call,
    holds,
    listed,
    numbers,
    opens,
    queues,
    seen,
    statuses,
    takes,
    talks,
)


async def test_a_running_turn_is_only_marked(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    for node in (store, other):
        got = await node.request_cancel(ANN, "s", None, clear=False, now=NOW)
        assert (list(got.turns), got.running, got.session.owner) == ([], 1, owner.session.owner)
    turn = await store.turn(ANN, "s", 1)
    assert (turn.status, turn.cancel_requested, turn.ended) == (TurnStatus.RUNNING, True, None)
    assert (await owner.write("one more step")).cancel_requested
    await owner.write(end=TurnEnd(TurnStatus.CANCELLED))


async def test_a_cancel_that_comes_too_late_leaves_the_answer(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.request_cancel(ANN, "s", 1, clear=False, now=NOW)
    await owner.write("answer", end=COMPLETED)
    assert await statuses(store) == ["completed"]


async def test_the_owner_hears_of_cancels_of_its_running_turns(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await opens(store, id="t")
    await opens(other, id="u")
    assert await store.cancels() == []
    for name in ("s", "u"):
        await other.request_cancel(ANN, name, None, clear=False, now=NOW)
    assert [tuple(found) for found in await store.cancels()] == [(owner.session.key, 1)]
    await owner.write(end=TurnEnd(TurnStatus.CANCELLED))
    assert list(await store.cancels()) == []


async def test_the_next_turn_is_not_cancelled_with_the_one_before(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    await owner.write(end=TurnEnd(TurnStatus.CANCELLED))
    assert (await owner.write("a")).cancel_requested is False
    assert list(await store.cancels()) == []


async def test_a_turn_in_line_is_cancelled_at_once(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    for text in ("two", "three"):
        await queues(store, text)
    got = await store.request_cancel(ANN, "s", 2, clear=False, now=NOW + 5)
    assert (list(got.turns), got.running) == ([2], None)
    assert got.session == await store.get(ANN, "s")
    turn = await store.turn(ANN, "s", 2)
    assert (turn.status, turn.ended, turn.opened_seq, turn.ended_seq) == (TurnStatus.CANCELLED, NOW + 5, None, None)
    assert turn.reason
    assert [item.turn for item in await store.inbox(ANN, "s")] == [3]
    row = await store.get(ANN, "s")
    assert (row.queued, row.version, row.active, row.status) == (1, 1, NOW + 5, SessionStatus.RUNNING)
    await owner.write("the running turn is undisturbed")


async def test_the_only_turn_in_line_leaves_an_idle_session(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "one")
    got = await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert list(got.turns) == [1]
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE
    assert await store.runnable() == []
    assert (await opens(store, "two")).turn == 2


async def test_a_cancelled_input_is_not_found(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, "hello")
    await queues(store, "walrus")
    assert await listed(store, query="walrus") == []
    await store.request_cancel(ANN, "s", 2, clear=False, now=NOW)
    assert await listed(store, query="walrus") == []


@pytest.mark.parametrize("how", ["held", "handed over", "resumed", "dead"])
async def test_a_current_turn_that_nobody_runs_is_cancelled_at_once(backend: Backend, how: str) -> None:
    store, other = await backend.node(), await backend.node()
    if how in {"held", "resumed"}:
        owner = await holds(store)
        if how == "resumed":
            await store.resume(ANN, "s", NOW)
    else:
        owner = await opens(store)
        if how == "handed over":
            await owner.write(end=HANDED_OVER)
        else:
            await backend.kill(store)
    got = await other.request_cancel(ANN, "s", None, clear=False, now=NOW + 5)
    assert (list(got.turns), got.running) == ([1], None)
    assert got.session == await other.get(ANN, "s")
    turn = await other.turn(ANN, "s", 1)
    assert (turn.status, turn.ended, turn.ended_seq) == (TurnStatus.CANCELLED, NOW + 5, 2)
    log = await other.entries(ANN, "s")
    assert numbers(log) == [1, 2]
    assert (log[1].kind, log[1].turn, log[1].text) == (EntryKind.TURN_ENDED, 1, turn.reason)
    row = await other.get(ANN, "s")
    assert (row.status, row.current, row.owner, row.version) == (SessionStatus.IDLE, None, None, 2)
    assert row.fence > owner.fence
    if how != "dead":
        with pytest.raises(OwnershipLost):
            await owner.write("late", fence=row.fence, version=row.version)


@pytest.mark.parametrize("how", ["superseded", "cancelled", "discarded"])
async def test_a_turn_that_nobody_runs_keeps_what_it_used(backend: Backend, how: str) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("half", end=TurnEnd(TurnStatus.HELD, "crashed", '{"m":{"requests":1}}'))
    if how == "superseded":
        await queues(store, "two")
    elif how == "cancelled":
        await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    else:
        await store.discard(ANN, "s", None, NOW)
    turn = await store.turn(ANN, "s", 1)
    assert (turn.status, turn.usage) == (TurnStatus.CANCELLED, '{"m":{"requests":1}}')
    (ended,) = await store.entries(ANN, "s", kinds=frozenset({EntryKind.TURN_ENDED}))
    assert '"usage":{"m":{"requests":1}}' in ended.body


async def test_the_line_goes_on_behind_a_cancelled_turn_that_nobody_ran(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await owner.write(end=HANDED_OVER)
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert [item.id for item in await store.runnable()] == ["s"]
    after, got = await takes(store)
    assert (after.turn, got.continued, after.version) == (2, False, 3)


async def test_without_a_number_the_current_turn_is_meant_and_then_the_line(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "one")
    await queues(store, "two")
    got = await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert list(got.turns) == [1]
    owner, _ = await takes(store)
    await queues(store, "three")
    got = await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert (list(got.turns), got.running) == ([], owner.turn)


async def test_nothing_to_cancel_cancels_nothing(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    before = await seen(store)
    for turn, clear in ((None, False), (None, True), (1, False), (1, True)):
        got = await store.request_cancel(ANN, "s", turn, clear=clear, now=NOW + 5)
        assert (list(got.turns), got.running) == ([], None)
    assert await seen(store) == before


async def test_a_turn_that_never_was_is_not_found(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    await queues(store, "two")
    before = await seen(store)
    for turn in (0, -1, 3):
        for clear in (True, False):
            with pytest.raises(TurnNotFound):
                await store.request_cancel(ANN, "s", turn, clear=clear, now=NOW)
        with pytest.raises(TurnNotFound):
            await store.discard(ANN, "s", turn, NOW)
        with pytest.raises(TurnNotFound):
            await store.turn(ANN, "s", turn)
    assert await seen(store) == before


async def test_clear_cancels_the_line_too(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    for text in ("two", "three"):
        await queues(store, text)
    got = await store.request_cancel(ANN, "s", None, clear=True, now=NOW)
    assert (list(got.turns), got.running) == ([2, 3], 1)
    assert await store.inbox(ANN, "s") == []
    assert (await store.get(ANN, "s")).queued == 0
    answer = await owner.write(end=TurnEnd(TurnStatus.CANCELLED))
    assert answer.next is None


async def test_clear_cancels_what_is_held_too(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "one", "two", "three")
    got = await store.request_cancel(ANN, "s", 2, clear=True, now=NOW)
    assert sorted(got.turns) == [1, 2, 3]
    assert await statuses(store) == ["cancelled"] * 3
    row = await store.get(ANN, "s")
    assert (row.status, row.current, row.held) == (SessionStatus.IDLE, None, 0)


async def test_clear_with_a_turn_leaves_another_running_one(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    for text in ("two", "three"):
        await queues(store, text)
    got = await store.request_cancel(ANN, "s", 3, clear=True, now=NOW)
    assert (sorted(got.turns), got.running) == ([2, 3], None)
    assert (await owner.write("goes on")).cancel_requested is False


# --------------------------------------------------------------------------------------------------- resume and discard


async def test_resume_puts_held_turns_back_in_their_order(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await holds(store, "one", "two", "three")
    assert list(await other.resume(ANN, "s", NOW)) == [1, 2, 3]
    assert await statuses(store) == ["queued"] * 3
    row = await store.get(ANN, "s")
    assert (row.status, row.current, row.queued, row.held) == (SessionStatus.QUEUED, 1, 2, 0)
    owner, _ = await takes(other)
    order = [owner.turn]
    while (await owner.write(end=COMPLETED)).next is not None:
        order.append(owner.turn)
    assert order == [1, 2, 3]


async def test_resume_of_nothing_changes_nothing(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    await queues(store, "two")
    before = await seen(store)
    assert list(await store.resume(ANN, "s", NOW)) == []
    assert await seen(store) == before


async def test_a_held_line_is_resumed_behind_what_runs(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "one", "two")
    owner = await opens(store, "three")
    assert list(await store.resume(ANN, "s", NOW)) == [2]
    row = await store.get(ANN, "s")
    assert (row.status, row.queued, row.held) == (SessionStatus.RUNNING, 1, 0)
    answer = await owner.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.turn.turn == 2


async def test_discard_cancels_what_is_held_and_nothing_else(backend: Backend) -> None:
    store = await backend.node()
    held = await holds(store, "one", "two")
    owner = await opens(store, "three")
    await queues(store, "four")
    assert list(await store.discard(ANN, "s", None, NOW + 5)) == [2]
    assert await statuses(store) == ["cancelled", "cancelled", "running", "queued"]
    turn = await store.turn(ANN, "s", 2)
    assert (turn.ended, turn.ended_seq) == (NOW + 5, None)
    assert turn.reason
    assert owner.fence > held.fence
    await owner.write("is undisturbed")


async def test_discard_ends_the_held_turn_in_the_history(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner)])
    await queues(store, "two")
    await owner.write(end=TurnEnd(TurnStatus.HELD))
    assert list(await store.discard(ANN, "s", None, NOW)) == [1, 2]
    log = await store.entries(ANN, "s")
    assert [(e.kind, e.turn) for e in log[2:]] == [(EntryKind.TURN_ENDED, 1)]
    row = await store.get(ANN, "s")
    assert (row.status, row.current, row.held, row.version) == (SessionStatus.IDLE, None, 0, 3)
    assert row.fence > owner.fence
    assert (await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)).version == 3


async def test_discard_of_one_turn_leaves_the_others_held(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "one", "two", "three")
    assert list(await store.discard(ANN, "s", 2, NOW)) == [2]
    assert await statuses(store) == ["held", "cancelled", "held"]
    assert [item.turn for item in await store.inbox(ANN, "s")] == [3]
    assert list(await store.discard(ANN, "s", 2, NOW)) == []
    assert list(await store.resume(ANN, "s", NOW)) == [1, 3]


async def test_discard_of_a_turn_that_is_not_held_changes_nothing(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await opens(store, "two")
    await queues(store, "three")
    before = await seen(store)
    for turn in (None, 1, 2, 3):
        assert list(await store.discard(ANN, "s", turn, NOW)) == []
    assert await seen(store) == before


async def test_a_missing_session_has_nothing_to_decide(backend: Backend) -> None:
    store = await backend.node()
    with pytest.raises(SessionNotFound):
        await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    with pytest.raises(SessionNotFound):
        await store.resume(ANN, "s", NOW)
    with pytest.raises(SessionNotFound):
        await store.discard(ANN, "s", None, NOW)
