"""What is held: put back in line, cancelled, or taken away one by one."""

from __future__ import annotations

import pytest

from sojourn.abc import Acceptance, TurnEnd
from sojourn.errors import SessionNotFound, TurnNotFound
from sojourn.records import EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HELD,
    NOW,
    Owner,
    counts,
    entry,
    follows,
    holds,
    line,
    opens,
    queues,
    said,
    seen,
    statuses,
    steers,
    takes,
    texts,
)

FAILED = TurnEnd(TurnStatus.FAILED, "broken")


async def fails(owner: Owner, *said_into: str) -> None:
    """The turn fails while this was to be said into it."""
    for text in said_into:
        await steers(owner.store, text)
    await owner.write(end=FAILED)


# -- resume


async def test_a_held_turn_goes_on_with_what_was_to_be_said_into_it(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await follows(store, "later")
    await owner.write(end=HELD)
    assert await counts(store) == (0, 2, 0)
    assert await store.resume(ANN, "s", NOW) == [1, 2]
    assert await line(store) == [("blue", "steer", 1), ("later", "follow_up", 2)]
    assert await counts(store) == (1, 0, 1)
    heir, got = await takes(store)
    assert (got.turn.turn, got.continued, got.session.steers) == (1, True, 1)
    place = (await store.inbox(ANN, "s"))[0].position
    await heir.write(entry("blue", EntryKind.STEERED), taken=[place])
    answer = await heir.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.tail[-1].text == "later"


async def test_what_was_to_be_said_into_turns_that_ended_becomes_one_turn(backend: Backend) -> None:
    store = await backend.node()
    await fails(await opens(store, "one"), "a", "b")
    await fails(await opens(store, "two"), "c")
    assert await store.resume(ANN, "s", NOW + 5) == [3]
    assert await line(store) == [("a", "follow_up", 3), ("b", "follow_up", 3), ("c", "follow_up", 3)]
    assert await counts(store) == (3, 0, 0)
    turn = await store.turn(ANN, "s", 3)
    assert (turn.status, turn.accepted, turn.key, turn.attempts) == (TurnStatus.QUEUED, NOW + 5, None, 0)
    row = await store.get(ANN, "s")
    assert (row.status, row.turns, row.active) == (SessionStatus.QUEUED, 3, NOW + 5)
    assert [(found.user, found.id) for found in await store.runnable()] == [(ANN, "s")]
    _, got = await takes(store)
    assert got.tail[-1].text == "Additional user input received:\n\n- a\n\n- b\n\n- c"
    assert await store.resume(ANN, "s", NOW) == []


async def test_what_is_resumed_keeps_its_places(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "one")
    first = await steers(store, "a")
    await owner.write(end=FAILED)
    running = await opens(store, "two")
    second = await queues(store, "message")
    assert await store.resume(ANN, "s", NOW) == [4]
    assert [item.position for item in await store.inbox(ANN, "s")] == [first.position, second.position]
    assert await line(store) == [("a", "follow_up", 4), ("message", "message", 3)]
    assert (await store.get(ANN, "s")).status is SessionStatus.RUNNING
    assert await counts(store) == (2, 0, 0)
    answer = await running.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.turn.turn == 4


async def test_held_follow_ups_are_resumed_before_what_is_made_of_steers(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await follows(store, "later")
    await owner.write(end=FAILED)
    assert await store.resume(ANN, "s", NOW) == [2, 3]
    assert await line(store) == [("blue", "follow_up", 3), ("later", "follow_up", 2)]
    assert await counts(store) == (2, 0, 0)


async def test_a_held_turn_keeps_its_own_and_what_was_for_others_becomes_a_turn(backend: Backend) -> None:
    store = await backend.node()
    await fails(await opens(store, "one"), "a")
    owner = await opens(store, "two")
    await steers(store, "b")
    await owner.write(end=HELD)
    assert await counts(store) == (0, 2, 0)
    assert await store.resume(ANN, "s", NOW) == [2, 3]
    assert await line(store) == [("a", "follow_up", 3), ("b", "steer", 2)]
    assert await counts(store) == (1, 0, 1)


async def test_the_key_of_a_held_turn_brings_back_what_was_to_be_said_into_it(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "hello", key="k")
    await steers(store, "blue")
    await follows(store, "later")
    await owner.write(end=HELD)
    again = await store.accept(said("hello", key="k"), None)
    assert (again.outcome, again.orphaned, again.session.steers) == (Acceptance.ATTACHED, True, 1)
    assert await line(store) == [("blue", "steer", 1), ("later", "(follow_up)", 2)]
    assert await counts(store) == (0, 1, 1)


async def test_the_key_of_another_held_turn_brings_back_only_that(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "message", key="k")
    await steers(store, "blue")
    await owner.write(end=HELD)
    again = await store.accept(said("message", key="k"), None)
    assert (again.outcome, again.orphaned) == (Acceptance.ATTACHED, False)
    assert await line(store) == [("message", "message", 2), ("blue", "(steer)", 1)]
    assert await counts(store) == (1, 1, 0)


# -- discard


async def test_discarding_everything_removes_what_was_to_be_said(backend: Backend) -> None:
    store = await backend.node()
    await fails(await opens(store, "one"), "a")
    owner = await opens(store, "two")
    await steers(store, "b")
    await follows(store, "later")
    await owner.write(end=HELD)
    assert await store.discard(ANN, "s", None, NOW) == [2, 3]
    assert await line(store) == []
    assert await statuses(store) == ["failed", "cancelled", "cancelled"]
    assert await counts(store) == (0, 0, 0)
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE


async def test_discarding_one_turn_leaves_what_is_held_of_others(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await follows(store, "later")
    await owner.write(end=FAILED)
    assert await store.discard(ANN, "s", 2, NOW) == [2]
    assert await line(store) == [("blue", "(steer)", 1)]
    assert await counts(store) == (0, 1, 0)
    assert await store.discard(ANN, "s", 1, NOW) == []
    assert await counts(store) == (0, 1, 0)
    assert await store.discard(ANN, "s", None, NOW) == []
    assert await counts(store) == (0, 0, 0)


async def test_discarding_leaves_what_is_in_line(backend: Backend) -> None:
    store = await backend.node()
    await fails(await opens(store), "held")
    await opens(store, "again")
    await steers(store, "blue")
    await follows(store, "later")
    assert await store.discard(ANN, "s", None, NOW) == []
    assert await line(store) == [("blue", "steer", 2), ("later", "follow_up", 3)]
    assert await counts(store) == (1, 0, 1)
    with pytest.raises(TurnNotFound):
        await store.discard(ANN, "s", 9, NOW)


# -- remove


async def test_a_message_in_line_is_removed_with_its_turn(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    message = await queues(store, "message", key="k")
    assert await store.remove(ANN, "s", message.position, NOW + 5) == 2
    turn = await store.turn(ANN, "s", 2)
    assert (turn.status, turn.reason, turn.ended) == (TurnStatus.CANCELLED, "removed from the line", NOW + 5)
    assert (turn.ended_seq, turn.started, turn.attempts) == (None, None, 0)
    assert (await store.get(ANN, "s")).active == NOW + 5
    assert await counts(store) == (0, 0, 0)
    assert await store.remove(ANN, "s", message.position, NOW) is None
    again = await store.accept(said("message", key="k"), None)
    assert (again.outcome, again.turn.status) == (Acceptance.ATTACHED, TurnStatus.CANCELLED)


async def test_a_steer_is_removed_and_its_turn_goes_on(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    steered = await steers(store, "blue")
    assert await other.remove(ANN, "s", steered.position, NOW) == 1
    assert await line(store) == []
    assert await counts(store) == (0, 0, 0)
    assert not (await owner.write("answer", end=COMPLETED)).refused
    assert await statuses(store) == ["completed"]


async def test_a_follow_up_loses_one_input_after_the_other(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    x, y = await follows(store, "x"), await follows(store, "y")
    assert await store.remove(ANN, "s", x.position, NOW) == 2
    assert await statuses(store) == ["running", "queued"]
    assert await line(store) == [("y", "follow_up", 2)]
    assert await counts(store) == (1, 0, 0)
    assert await store.remove(ANN, "s", y.position, NOW) == 2
    assert await statuses(store) == ["running", "cancelled"]
    assert await counts(store) == (0, 0, 0)
    assert (await owner.write(end=COMPLETED)).next is None
    assert "y" not in await texts(store)


async def test_what_is_left_of_a_follow_up_is_told_alone(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    x = await follows(store, "x")
    await follows(store, "y")
    await store.remove(ANN, "s", x.position, NOW)
    answer = await owner.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.tail[-1].text == "y"


async def test_what_is_held_can_be_removed_too(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await follows(store, "later")
    await owner.write(end=FAILED)
    blue, later = await store.inbox(ANN, "s")
    assert await store.remove(ANN, "s", blue.position, NOW) == 1
    assert await counts(store) == (0, 1, 0)
    assert await store.remove(ANN, "s", later.position, NOW) == 2
    assert await statuses(store) == ["failed", "cancelled"]
    assert await counts(store) == (0, 0, 0)
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE


async def test_removing_the_last_in_line_of_a_session_without_a_turn_leaves_it_idle(backend: Backend) -> None:
    store = await backend.node()
    message = await queues(store, "message")
    assert await store.remove(ANN, "s", message.position, NOW) == 1
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE
    assert await store.runnable() == []
    assert await counts(store) == (0, 0, 0)


async def test_a_turn_that_was_opened_is_not_in_line_any_more(backend: Backend) -> None:
    store = await backend.node()
    message = await queues(store, "message")
    owner, _ = await takes(store)
    assert await store.remove(ANN, "s", message.position, NOW) is None
    assert await statuses(store) == ["running"]
    assert not (await owner.write(end=COMPLETED)).refused


async def test_what_was_taken_cannot_be_removed(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    steered = await steers(store, "blue")
    await owner.write(entry("blue", EntryKind.STEERED), taken=[steered.position])
    assert await store.remove(ANN, "s", steered.position, NOW) is None
    assert await counts(store) == (0, 0, 0)


async def test_nobody_removes_from_the_line_of_others(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    steered = await steers(store, "blue")
    before = await seen(store)
    for user, name in ((BOB, "s"), (ANN, "t")):
        with pytest.raises(SessionNotFound):
            await store.remove(user, name, steered.position, NOW)
    await opens(store, user=BOB)
    assert await store.remove(BOB, "s", steered.position, NOW) is None
    assert await seen(store) == before


async def test_what_was_removed_does_not_come_back(backend: Backend) -> None:
    store = await backend.node()
    owner = await holds(store, "hello", "one", "two")
    inputs = await store.inbox(ANN, "s")
    assert [await store.remove(ANN, "s", item.position, NOW) for item in inputs] == [2, 3]
    assert await store.resume(ANN, "s", NOW) == [1]
    _, got = await takes(store)
    assert (got.turn.turn, got.session.queued) == (owner.turn, 0)
    assert await counts(store) == (0, 0, 0)


# -- places


async def test_a_place_is_never_given_twice(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    places = []
    for text in "abc":
        places += [(await steers(store, text)).position, (await follows(store, text)).position]
        for item in await store.inbox(ANN, "s"):
            await store.remove(ANN, "s", item.position, NOW)
    assert places == sorted(set(places))
    assert not (await owner.write(end=COMPLETED)).refused
