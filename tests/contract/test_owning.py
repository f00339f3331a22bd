"""The contract of SessionStore: acquire, and which work waits for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sojourn.abc import MAX_TAIL, Claim, StaleClaim, TurnEnd
from sojourn.errors import OwnershipLost, SessionNotFound
from sojourn.records import SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    NOW,
    call,
    claim_of,
    holds,
    numbers,
    opens,
    queues,
    seen,
    statuses,
    takes,
    talks,
)


async def test_the_first_in_line_is_opened(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    for text in ("one", "two"):
        await queues(store, text)
    got = await other.acquire(ANN, "s", await claim_of(other), NOW + 5)
    assert got is not None
    assert (got.continued, got.interrupted, got.open_calls) == (False, False, [])
    assert (got.turn.turn, got.turn.status, got.turn.attempts) == (1, TurnStatus.RUNNING, 1)
    assert (got.turn.started, got.turn.opened_seq) == (NOW + 5, 1)
    assert [(e.seq, e.text, e.created) for e in got.tail] == [(1, "one", NOW + 5)]
    row = got.session
    assert (row.status, row.current, row.queued, row.version, row.messages) == (SessionStatus.RUNNING, 1, 1, 1, 1)
    assert (row.active, row.fence) == (NOW + 5, 1)
    assert row == await store.get(ANN, "s")
    assert got.turn == await store.turn(ANN, "s", 1)
    assert [item.text for item in await store.inbox(ANN, "s")] == ["two"]


async def test_nothing_runnable_gives_nothing(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await store.create(ANN, "empty", title=None, now=NOW)
    await talks(store, "hello", id="rests")
    await holds(store, "hello", "later", id="held")
    for name in ("empty", "rests", "held"):
        before = await seen(store, name)
        for node in (store, other):
            assert await node.acquire(ANN, name, await claim_of(node, name), NOW) is None
            assert await node.acquire(ANN, name, Claim(), NOW) is None
        assert await seen(store, name) == before


async def test_a_missing_session_cannot_be_acquired(backend: Backend) -> None:
    with pytest.raises(SessionNotFound):
        await (await backend.node()).acquire(ANN, "s", Claim(), NOW)


async def test_what_a_live_node_owns_cannot_be_acquired(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await queues(store, "later")
    before = await seen(store)
    for node in (store, other):
        assert await node.acquire(ANN, "s", await claim_of(node), NOW) is None
    assert await seen(store) == before
    await owner.write("answer")


async def test_the_turn_of_a_dead_node_goes_on_elsewhere(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    dead = await opens(store, key="k")
    await dead.write("calls", started=[call(dead)])
    await queues(store, "later")
    await backend.kill(store)
    owner, got = await takes(other, now=NOW + 5)
    assert (got.continued, got.interrupted, got.turn.turn, got.turn.attempts) == (True, True, 1, 1)
    assert (got.turn.status, got.turn.key, got.turn.started) == (TurnStatus.RUNNING, "k", NOW)
    assert [(e.seq, e.index) for e in got.open_calls] == [(2, 0)]
    assert (got.session.fence, got.session.active, got.session.queued) == (dead.fence + 1, NOW + 5, 1)
    assert (got.session.version, got.tail) == (2, [])
    assert got.session == await other.get(ANN, "s")
    answer = await owner.write("answer", attempts=2, end=COMPLETED)
    assert answer.next is not None
    assert (await other.turn(ANN, "s", 1)).attempts == 2


async def test_a_node_that_comes_back_is_another_node(backend: Backend) -> None:
    store = await backend.node()
    dead = await opens(store)
    await backend.kill(store)
    again = await backend.node()
    owner, got = await takes(again)
    assert got.interrupted
    assert owner.session.owner != dead.session.owner


async def test_closing_leaves_the_work_to_others_as_dying_does(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await opens(store)
    await store.close()
    _, got = await takes(other)
    assert got.interrupted


async def test_the_last_owners_late_writes_are_refused(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    old = await opens(store)
    await backend.kill(store)
    new, _ = await takes(other)
    late = replace(old, store=other)
    with pytest.raises(OwnershipLost):
        await late.write("late")
    await new.write("answer")


async def test_a_turn_that_was_handed_over_goes_on_uninterrupted(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    old = await opens(store)
    await old.write("half", end=HANDED_OVER)
    for_late = replace(old)
    row = await store.get(ANN, "s")
    assert (row.status, row.owner, row.current) == (SessionStatus.QUEUED, None, 1)
    _, got = await takes(other)
    assert (got.continued, got.interrupted, got.turn.turn, got.turn.attempts) == (True, False, 1, 1)
    with pytest.raises(OwnershipLost):
        await for_late.write("late")


async def test_a_turn_that_was_handed_over_comes_before_the_line(backend: Backend) -> None:
    store = await backend.node()
    old = await opens(store)
    await queues(store, "later")
    await old.write(end=HANDED_OVER)
    owner, _ = await takes(store)
    assert owner.turn == 1


async def test_a_resumed_turn_goes_on_uninterrupted(backend: Backend) -> None:
    store = await backend.node()
    await holds(store)
    await store.resume(ANN, "s", NOW)
    _, got = await takes(store)
    assert (got.continued, got.interrupted) == (True, False)


async def test_the_tail_is_what_the_claim_lacks(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "one", "two")
    await queues(store, "three")
    got = await store.acquire(ANN, "s", Claim(row.key, 4), NOW)
    assert got is not None
    assert numbers(got.tail) == [5, 6, 7]


async def test_the_tail_of_a_continued_turn_is_what_the_claim_lacks(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("a", "b", end=HANDED_OVER)
    got = await store.acquire(ANN, "s", Claim(owner.session.key, 1), NOW)
    assert got is not None
    assert [e.text for e in got.tail] == ["a", "b"]


@pytest.mark.parametrize("wrong", ["too far behind", "ahead", "of another session"])
@pytest.mark.parametrize("continued", [True, False])
async def test_a_stale_claim_changes_nothing(backend: Backend, wrong: str, *, continued: bool) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(*["more"] * MAX_TAIL, end=HANDED_OVER if continued else COMPLETED)
    if not continued:
        await queues(store, "next")
    claims = {
        "too far behind": Claim(owner.session.key, 0),
        "ahead": Claim(owner.session.key, owner.version + 1),
        "of another session": Claim(owner.session.key + 1, owner.version),
    }
    before = await seen(store)
    with pytest.raises(StaleClaim):
        await store.acquire(ANN, "s", claims[wrong], NOW)
    assert await seen(store) == before


async def test_only_one_of_many_acquires(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(3)]
    await queues(stores[0], "hello")
    claim = await claim_of(stores[0])
    got = [await store.acquire(ANN, "s", claim, NOW) for store in stores]
    assert sum(acquired is not None for acquired in got) == 1


# ------------------------------------------------------------------------------------------------------------- runnable


async def test_runnable_names_work_that_no_live_node_owns(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await opens(store, id="dead", now=NOW + 3)
    await backend.kill(store)
    await opens(other, id="owned")
    await queues(other, "later", "owned")
    await queues(other, "waits", "line", user=BOB, now=NOW + 1)
    owner = await opens(other, id="handed", now=NOW + 2)
    await owner.write(end=HANDED_OVER, now=NOW + 2)
    await talks(other, "done", id="rests")
    await holds(other, "held", "later", id="held")
    found = [(item.user, item.id) for item in await other.runnable()]
    assert found == [(BOB, "line"), (ANN, "handed"), (ANN, "dead")]
    assert [item.id for item in await other.runnable(limit=2)] == ["line", "handed"]


async def test_what_was_acquired_reset_or_deleted_is_not_runnable(backend: Backend) -> None:
    store = await backend.node()
    for name in ("a", "b", "c"):
        await queues(store, "waits", name)
    await takes(store, "a")
    await store.reset(ANN, "b", NOW)
    await store.delete(ANN, "c")
    assert await store.runnable() == []


async def test_resumed_work_is_runnable(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "one", "two")
    assert await store.runnable() == []
    await store.resume(ANN, "s", NOW)
    assert [item.id for item in await store.runnable()] == ["s"]
    assert await statuses(store) == ["queued", "queued"]


async def test_a_failed_turn_of_a_dead_node_lets_the_line_go_on(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await opens(store)
    await queues(store, "later")
    await backend.kill(store)
    owner, _ = await takes(other)
    answer = await owner.write(end=TurnEnd(TurnStatus.FAILED, "third attempt"))
    assert answer.next is not None
    assert await statuses(other) == ["failed", "running"]
