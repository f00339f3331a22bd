"""The contract of SessionStore: append, the owner's write, and how turns end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sojourn.abc import Append, SessionStore, TurnEnd
from sojourn.errors import OwnershipLost
from sojourn.records import Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    HELD,
    NOW,
    Owner,
    call,
    entry,
    numbers,
    opens,
    queues,
    seen,
    statuses,
    takes,
    talks,
    texts,
)


async def test_entries_are_numbered_in_order_and_stored_as_they_are(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    kinds = [EntryKind.MESSAGE, EntryKind.TOOL_RESULT, EntryKind.FEEDBACK, EntryKind.TURN_RESUMED]
    written = [entry(f"text of {kind}", kind, turn=1) for kind in kinds]
    answer = await owner.write(*written, now=NOW + 5)
    assert answer.version == 5
    assert (answer.cancel_requested, answer.next) == (False, None)
    found = (await store.entries(ANN, "s"))[1:]
    assert found == [replace(e, seq=seq, created=NOW + 5) for seq, e in enumerate(written, 2)]


async def test_the_log_is_gapless_however_it_was_written(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await owner.write("a", "b", "c")
    await owner.write()
    await owner.write(end=COMPLETED)
    await owner.write("d")
    await backend.kill(store)
    owner, _ = await takes(other)
    await owner.write(entry("", EntryKind.TURN_RESUMED), "e", end=TurnEnd(TurnStatus.FAILED))
    row = await other.get(ANN, "s")
    assert numbers(await other.entries(ANN, "s")) == list(range(1, row.version + 1))
    assert row.version == 10


async def test_messages_are_counted_and_nothing_else(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    kinds = (EntryKind.MESSAGE, EntryKind.TOOL_RESULT, EntryKind.FEEDBACK, EntryKind.TURN_RESUMED)
    await owner.write(*(entry("", kind) for kind in kinds), end=COMPLETED)
    assert (await store.get(ANN, "s")).messages == 3


async def test_a_write_counts_as_activity(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("a", now=NOW + 7)
    assert (await store.get(ANN, "s")).active == NOW + 7


async def test_the_sessions_usage_is_set_where_given(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(usage='{"m":{"requests":1}}')
    await owner.write("a")
    assert (await store.get(ANN, "s")).usage == '{"m":{"requests":1}}'


async def test_the_turns_usage_is_set_where_given(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(turn_usage='{"m":{"requests":1}}')
    await owner.write("a")
    assert (await store.turn(ANN, "s", 1)).usage == '{"m":{"requests":1}}'
    await owner.write(end=TurnEnd(TurnStatus.COMPLETED, usage='{"m":{"requests":2}}'))
    assert (await store.turn(ANN, "s", 1)).usage == '{"m":{"requests":2}}'


async def test_attempts_are_set_where_given(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(attempts=2)
    await owner.write("a")
    assert (await store.turn(ANN, "s", 1)).attempts == 2
    await owner.write(end=TurnEnd(TurnStatus.FAILED), attempts=3)
    assert (await store.turn(ANN, "s", 1)).attempts == 3


async def test_calls_are_started_and_finished_in_the_ledger(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner, index, tool=f"tool {index}") for index in range(3)])
    landed = [
        Effect(seq=2, index=2, tool="tool 2", status=EffectStatus.FINISHED),
        Effect(seq=2, index=0, tool="tool 0", status=EffectStatus.UNKNOWN),
    ]
    await owner.write(entry("", EntryKind.TOOL_RESULT), finished=landed)
    found = [(e.seq, e.index, e.tool, e.status) for e in await store.effects(ANN, "s")]
    assert found == [(2, 0, "tool 0", "unknown"), (2, 1, "tool 1", "started"), (2, 2, "tool 2", "finished")]


# ---------------------------------------------------------------------------------------------------- who may not write


WRONG: dict[str, Callable[[Append], Append]] = {
    "fence behind": lambda write: replace(write, fence=write.fence - 1),
    "fence ahead": lambda write: replace(write, fence=write.fence + 1),
    "version behind": lambda write: replace(write, version=write.version - 1),
    "version ahead": lambda write: replace(write, version=write.version + 1),
    "turn of before": lambda write: replace(write, turn=write.turn - 1),
    "turn in line": lambda write: replace(write, turn=write.turn + 1),
    "turn that never was": lambda write: replace(write, turn=99),
    "session that never was": lambda write: replace(write, session=replace(write.session, key=write.session.key + 9)),
}


def full_write(owner: Owner, end: TurnEnd | None) -> Append:
    """A write that would leave a trace everywhere."""
    done = Effect(seq=6, index=0, tool="tool", status=EffectStatus.FINISHED)
    return owner.draft("late", end=end, started=[call(owner, 7)], finished=[done], usage="{}", attempts=9, now=NOW + 9)


async def busy(backend: Backend) -> tuple[SessionStore, Owner]:
    """Turn 1 is done, turn 2 runs with an open call, turn 3 waits in line."""
    store = await backend.node()
    await talks(store, "one")
    owner = await opens(store, "two")
    await owner.write("a", "b")
    await owner.write("calls", started=[call(owner)], usage='{"m":{}}')
    await queues(store, "three")
    return store, owner


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("end", [None, COMPLETED, HELD], ids=["step", "end", "hold"])
async def test_a_write_that_knows_something_wrong_writes_nothing(
    backend: Backend, wrong: Callable[[Append], Append], end: TurnEnd | None
) -> None:
    store, owner = await busy(backend)
    before = await seen(store)
    with pytest.raises(OwnershipLost):
        await store.append(wrong(full_write(owner, end)))
    assert await seen(store) == before
    await owner.write("goes on")


async def test_another_node_cannot_write_what_the_owner_may(backend: Backend) -> None:
    store, owner = await busy(backend)
    other = await backend.node()
    before = await seen(store)
    with pytest.raises(OwnershipLost):
        await other.append(full_write(owner, COMPLETED))
    assert await seen(store) == before
    await owner.write("goes on")


@pytest.mark.parametrize(
    "end", [COMPLETED, TurnEnd(TurnStatus.FAILED), TurnEnd(TurnStatus.CANCELLED), HELD, HANDED_OVER],
    ids=lambda end: end.status.value,
)  # fmt: skip
async def test_who_has_ended_the_turn_cannot_write_any_more(backend: Backend, end: TurnEnd) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("answer", end=end)
    row = await store.get(ANN, "s")
    before = await seen(store)
    for fence in (owner.fence, row.fence):
        with pytest.raises(OwnershipLost):
            await owner.write("late", fence=fence, version=row.version)
    assert await seen(store) == before


async def test_the_same_write_twice_is_refused_the_second_time(backend: Backend) -> None:
    store, owner = await busy(backend)
    write = owner.draft("once")
    await store.append(write)
    with pytest.raises(OwnershipLost):
        await store.append(write)
    assert (await texts(store)).count("once") == 1


# ---------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize("status", [TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED])
async def test_a_final_end_closes_the_turn_and_releases_the_session(backend: Backend, status: TurnStatus) -> None:
    store = await backend.node()
    owner = await opens(store)
    answer = await owner.write("answer", end=TurnEnd(status, "why", '{"m":{}}'), now=NOW + 5)
    assert (answer.version, answer.next) == (3, None)
    turn = await store.turn(ANN, "s", 1)
    assert (turn.status, turn.reason, turn.usage) == (status, "why", '{"m":{}}')
    assert (turn.started, turn.ended, turn.opened_seq, turn.ended_seq) == (NOW, NOW + 5, 1, 3)
    row = await store.get(ANN, "s")
    assert (row.status, row.owner, row.current, row.fence) == (SessionStatus.IDLE, None, None, owner.fence)
    assert (row.queued, row.held) == (0, 0)
    assert await store.runnable() == []


@pytest.mark.parametrize("status", [TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED])
async def test_the_next_in_line_is_opened_in_the_same_commit(backend: Backend, status: TurnStatus) -> None:
    store = await backend.node()
    first = await opens(store)
    await queues(store, "two", key="k")
    await queues(store, "three")
    fence = first.fence
    answer = await first.write("answer", end=TurnEnd(status), now=NOW + 5)
    got = answer.next
    assert answer.version == 3
    assert got is not None
    assert (got.turn.turn, got.turn.status, got.turn.attempts, got.turn.key) == (2, TurnStatus.RUNNING, 1, "k")
    assert (got.continued, got.interrupted) == (False, False)
    assert [(e.seq, e.kind, e.text, e.created) for e in got.tail] == [(4, EntryKind.TURN_OPENED, "two", NOW + 5)]
    assert (got.session.current, got.session.queued, got.session.version) == (2, 1, 4)
    assert (got.session.status, got.session.fence > fence) == (SessionStatus.RUNNING, True)
    assert got.session == await store.get(ANN, "s")
    assert got.turn == await store.turn(ANN, "s", 2)
    assert await statuses(store) == [status.value, "running", "queued"]
    with pytest.raises(OwnershipLost):
        await first.write("late", fence=fence)


async def test_the_line_is_worked_off_in_the_order_of_acceptance(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store, "one")
    for number, node in enumerate((other, store, other), 2):
        await queues(node, f"turn {number}")
    opening = await texts(store)
    while owner.turn < 4:
        await owner.write(end=COMPLETED)
    last = await owner.write(end=COMPLETED)
    assert last.next is None
    opened = await store.entries(ANN, "s", kinds=frozenset({EntryKind.TURN_OPENED}))
    assert [e.text for e in opened] == [*opening, "turn 2", "turn 3", "turn 4"]
    assert [e.turn for e in opened] == [1, 2, 3, 4]


async def test_open_calls_go_with_the_next_turn(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await owner.write("calls", started=[call(owner)])
    answer = await owner.write(end=TurnEnd(TurnStatus.CANCELLED))
    assert answer.next is not None
    assert [(e.seq, e.index) for e in answer.next.open_calls] == [(2, 0)]


async def test_a_turn_that_is_handed_over_stays_the_current_one(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    answer = await owner.write("half", end=HANDED_OVER)
    assert answer.next is None
    turn = await store.turn(ANN, "s", 1)
    assert (turn.status, turn.attempts, turn.ended, turn.ended_seq) == (TurnStatus.QUEUED, 1, None, None)
    row = await store.get(ANN, "s")
    assert (row.status, row.owner, row.current, row.queued) == (SessionStatus.QUEUED, None, 1, 1)
    assert [item.text for item in await store.inbox(ANN, "s")] == ["two"]


async def test_a_hold_holds_the_line_too(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await queues(store, "three")
    answer = await owner.write("half", end=TurnEnd(TurnStatus.HELD, "crashed"))
    assert answer.next is None
    assert await statuses(store) == ["held", "held", "held"]
    row = await store.get(ANN, "s")
    assert (row.status, row.owner, row.current, row.queued, row.held) == (SessionStatus.HELD, None, 1, 0, 2)
    assert [(item.text, item.held) for item in await store.inbox(ANN, "s")] == [("two", True), ("three", True)]
    turn = await store.turn(ANN, "s", 1)
    assert (turn.reason, turn.ended, turn.ended_seq) == ("crashed", None, None)
    assert await store.runnable() == []


async def test_what_is_said_after_a_hold_is_not_held(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await owner.write(end=HELD)
    new = await opens(store, "three")
    await queues(store, "four")
    assert await statuses(store) == ["cancelled", "held", "running", "queued"]
    answer = await new.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.turn.turn == 4


async def test_a_write_tells_that_a_cancel_was_asked_for(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    assert (await owner.write("a")).cancel_requested is False
    await other.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert (await owner.write("b")).cancel_requested is True


async def test_a_write_touches_its_own_session_only(backend: Backend) -> None:
    store = await backend.node()
    others = [("t", ANN), ("s", BOB)]
    for name, user in others:
        await opens(store, "hello", name, user=user)
        await queues(store, "later", name, user=user)
    before = [await seen(store, name, user) for name, user in others]
    owner = await opens(store)
    await queues(store, "two")
    await owner.write("calls", started=[call(owner)])
    await owner.write(end=HELD)
    assert [await seen(store, name, user) for name, user in others] == before
