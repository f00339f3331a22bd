"""What is said into a turn: in line until the owner takes it, and never lost with the turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sojourn.abc import Acceptance, TurnEnd
from sojourn.errors import InboxFull, OwnershipLost, SessionBusy
from sojourn.records import EffectStatus, EntryKind, InputKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    HELD,
    NOW,
    asks,
    claim_of,
    counts,
    entry,
    follows,
    holds,
    line,
    listed,
    numbers,
    opens,
    queues,
    said,
    seen,
    statuses,
    steers,
    takes,
    talks,
    texts,
    waits,
    yes,
)

CANCELLED, FAILED = TurnEnd(TurnStatus.CANCELLED, "no more"), TurnEnd(TurnStatus.FAILED, "broken")


async def test_a_steer_to_a_running_turn_is_in_line_for_it_and_no_turn_of_its_own(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    accepted = await steers(store, "blue", now=NOW + 5)
    assert (accepted.turn.turn, accepted.turn.status, accepted.created) == (1, TurnStatus.RUNNING, False)
    assert not accepted.orphaned
    assert await line(store) == [("blue", "steer", 1)]
    assert [item.position for item in await store.inbox(ANN, "s")] == [accepted.position]
    assert await counts(store) == (0, 0, 1)
    row = await store.get(ANN, "s")
    assert (row.turns, row.active, row.status) == (1, NOW + 5, SessionStatus.RUNNING)
    assert (accepted.session.steers, accepted.session.queued, accepted.session.active) == (1, 0, NOW + 5)


async def test_steers_are_in_line_in_their_order_with_their_bodies(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    for text in ("a", "b", "c"):
        await steers(store, text)
    found = await store.inbox(ANN, "s")
    assert [(item.text, item.body) for item in found] == [(text, f'{{"said":"{text}"}}') for text in "abc"]
    assert len({item.position for item in found}) == 3
    assert await counts(store) == (0, 0, 3)


async def test_a_steer_disturbs_no_write_of_the_owner(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    accepted = await steers(store, "blue")
    assert (accepted.session.version, accepted.session.fence) == (owner.version, owner.fence)
    assert (await owner.write("step")).steers == 1


async def test_a_steer_may_come_from_another_node(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    accepted = await other.accept(said("blue", kind=InputKind.STEER), await claim_of(other))
    assert accepted.outcome is Acceptance.QUEUED
    assert not accepted.orphaned
    assert (await owner.write("step")).steers == 1
    assert await line(store) == [("blue", "steer", 1)]


@pytest.mark.parametrize("kind", [InputKind.STEER, InputKind.FOLLOW_UP])
@pytest.mark.parametrize("before", ["nothing", "an idle session", "a held session"])
async def test_in_a_session_that_does_nothing_it_is_a_message(backend: Backend, kind: InputKind, before: str) -> None:
    store = await backend.node()
    if before == "an idle session":
        await talks(store, "before")
    if before == "a held session":
        await holds(store, "before")
    accepted = await store.accept(said("blue", kind=kind), await claim_of(store))
    assert (accepted.outcome, accepted.created) == (Acceptance.OPENED, before == "nothing")
    assert accepted.tail[-1].kind is EntryKind.TURN_OPENED
    assert (await texts(store))[-1] == "blue"
    assert await counts(store) == (0, 0, 0)
    if before == "a held session":
        assert await statuses(store) == ["cancelled", "running"]


@pytest.mark.parametrize("kind", [InputKind.STEER, InputKind.FOLLOW_UP])
async def test_a_message_without_a_place_is_in_line_as_a_message(backend: Backend, kind: InputKind) -> None:
    store = await backend.node()
    await queues(store, "blue", kind=kind)
    assert await line(store) == [("blue", "message", 1)]
    assert (await store.get(ANN, "s")).title is None
    assert await counts(store) == (1, 0, 0)


async def test_a_steer_to_a_line_without_a_turn_is_a_message_behind_it(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "first")
    await steers(store, "second")
    assert await line(store) == [("first", "message", 1), ("second", "message", 2)]


async def test_a_steer_to_a_turn_that_waits_for_a_person_withdraws_no_question(backend: Backend) -> None:
    store = await backend.node()
    question = (await waits(store, "rm"))[0]
    accepted = await steers(store, "be careful")
    assert (accepted.turn.turn, accepted.turn.status, accepted.orphaned) == (1, TurnStatus.WAITING, False)
    assert await counts(store) == (0, 0, 1)
    assert [asked.id for asked in await store.approvals(ANN, "s")] == [question.id]
    await store.decide(ANN, "s", question.id, yes())
    owner, got = await takes(store)
    assert (got.continued, got.session.steers) == (True, 1)
    assert await line(store) == [("be careful", "steer", 1)]
    assert (await owner.write("step")).steers == 1


async def test_a_steer_to_a_turn_that_was_handed_over_is_for_whoever_goes_on_with_it(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await steers(store, "before")
    assert (await owner.write(end=HANDED_OVER)).steers == 1
    accepted = await steers(store, "after")
    assert (accepted.turn.turn, accepted.orphaned) == (1, True)
    assert await counts(store) == (0, 0, 2)
    _, got = await takes(other)
    assert (got.continued, got.session.steers) == (True, 2)
    assert await line(other) == [("before", "steer", 1), ("after", "steer", 1)]


async def test_stopping_for_a_person_leaves_what_is_to_be_said(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    assert (await asks(owner, "rm")).steers == 1
    assert await line(store) == [("blue", "steer", 1)]
    assert await counts(store) == (0, 0, 1)


async def test_a_turn_whose_questions_are_decided_at_once_hears_of_what_is_to_be_said(backend: Backend) -> None:
    store = await backend.node()
    question = (await waits(store, "rm"))[0]
    await store.decide(ANN, "s", question.id, yes(remember="session", remembered="r"))
    owner, got = await takes(store)
    await owner.write("done", finished=[replace(c, status=EffectStatus.FINISHED) for c in got.open_calls])
    await steers(store, "blue")
    answer = await asks(owner, "rm")
    assert answer.next is not None
    assert (answer.steers, answer.next.session.steers) == (1, 1)
    assert await counts(store) == (0, 0, 1)


async def test_a_steer_that_is_taken_is_in_the_log_and_no_longer_in_line(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    first, second = await steers(store, "a"), await steers(store, "b")
    await steers(store, "c")
    told = entry("a and b", EntryKind.STEERED)
    answer = await owner.write(told, taken=[first.position, second.position])
    assert (answer.refused, answer.steers) == (False, 1)
    assert await line(store) == [("c", "steer", 1)]
    assert await texts(store) == ["hello", "a and b"]
    assert await counts(store) == (0, 0, 1)
    assert (await store.get(ANN, "s")).messages == 2


async def test_a_turn_does_not_complete_while_something_is_to_be_said_into_it(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    steered = await steers(store, "blue")
    before = await seen(store)
    refused = await store.append(owner.draft("answer", end=COMPLETED, usage='{"m":1}'))
    assert (refused.refused, refused.version, refused.steers, refused.next) == (True, owner.version, 1, None)
    assert await seen(store) == before
    await owner.write("answer", entry("blue", EntryKind.STEERED), taken=[steered.position])
    assert not (await owner.write("answer to blue", end=COMPLETED)).refused
    assert await texts(store) == ["hello", "answer", "blue", "answer to blue", ""]
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE


async def test_a_turn_may_complete_with_the_write_that_takes_the_last(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    steered = await steers(store, "blue")
    answer = await owner.write(entry("blue", EntryKind.STEERED), taken=[steered.position], end=COMPLETED)
    assert not answer.refused
    assert await counts(store) == (0, 0, 0)
    assert await statuses(store) == ["completed"]


async def test_a_refusal_does_not_hide_that_ownership_is_lost(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    for wrong in (owner.draft(end=COMPLETED, fence=0), owner.draft(end=COMPLETED, version=0)):
        with pytest.raises(OwnershipLost):
            await store.append(wrong)
    with pytest.raises(OwnershipLost):
        await other.append(owner.draft(end=COMPLETED))
    with pytest.raises(OwnershipLost):
        await store.append(owner.draft("told", taken=[77], fence=0))
    assert await counts(store) == (0, 0, 1)


async def test_what_was_removed_meanwhile_is_not_taken(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    first, second = await steers(store, "a"), await steers(store, "b")
    await store.remove(ANN, "s", first.position, NOW)
    before = await seen(store)
    told = entry("a and b", EntryKind.STEERED)
    answer = await store.append(owner.draft(told, taken=[first.position, second.position]))
    assert (answer.refused, answer.version, answer.steers) == (True, owner.version, 1)
    assert await seen(store) == before
    await owner.write(entry("b", EntryKind.STEERED), taken=[second.position])
    assert await counts(store) == (0, 0, 0)


async def test_only_what_is_to_be_said_into_a_turn_is_taken(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    message, later = await queues(store, "message"), await follows(store, "later")
    for place in (message.position, later.position):
        assert (await store.append(owner.draft("told", taken=[place]))).refused
    assert await line(store) == [("message", "message", 2), ("later", "follow_up", 3)]


async def test_what_is_held_is_not_taken(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    held = await steers(store, "held")
    await owner.write(end=FAILED)
    owner = await opens(store, "again")
    assert (await store.append(owner.draft("told", taken=[held.position]))).refused
    assert await line(store) == [("held", "(steer)", 1)]
    assert await counts(store) == (0, 1, 0)


@pytest.mark.parametrize("how", ["cancelled", "failed", "held"])
async def test_a_turn_that_comes_to_no_good_end_leaves_its_steers_held(backend: Backend, how: str) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    end = {"cancelled": CANCELLED, "failed": FAILED, "held": HELD}[how]
    answer = await owner.write(end=end)
    assert (answer.steers, answer.next) == (0, None)
    assert await line(store) == [("blue", "(steer)", 1)]
    assert await counts(store) == (0, 1, 0)
    assert (await store.get(ANN, "s")).status is SessionStatus.HELD
    assert await store.runnable() == []


async def test_held_steers_are_not_said_into_the_turns_that_follow(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await queues(store, "message")
    answer = await owner.write(end=FAILED)
    assert answer.next is not None
    assert (answer.next.turn.turn, answer.next.session.steers, answer.next.session.held) == (2, 0, 1)
    assert not (await owner.write("fine", end=COMPLETED)).refused
    await talks(store, "unrelated")
    assert await line(store) == [("blue", "(steer)", 1)]
    assert await counts(store) == (0, 1, 0)
    assert "blue" not in await texts(store)


@pytest.mark.parametrize("how", ["superseded", "cancelled", "discarded", "owner died"])
async def test_the_steers_of_a_turn_that_others_end_are_held(backend: Backend, how: str) -> None:
    store = await backend.node()
    owner = await opens(store)
    if how == "superseded":
        await asks(owner, "rm")
    await steers(store, "blue")
    if how == "superseded":
        await opens(store, "never mind")
    if how == "cancelled":
        await owner.write(end=HANDED_OVER)
        await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    if how == "discarded":
        await owner.write(end=HELD)
        assert await store.discard(ANN, "s", 1, NOW) == [1]
    if how == "owner died":
        await backend.kill(store)
        store = await backend.node()
        await store.request_cancel(ANN, "s", 1, clear=False, now=NOW)
    assert (await statuses(store))[0] == "cancelled"
    assert await line(store) == [("blue", "(steer)", 1)]
    assert await counts(store) == (0, 1, 0)


async def test_a_full_inbox_takes_no_more_of_any_kind(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "held")
    await owner.write(end=FAILED)
    await opens(store, "again")
    await steers(store, "a")
    await queues(store, "b")
    await follows(store, "c")
    before = await seen(store)
    for kind in InputKind:
        with pytest.raises(InboxFull) as full:
            await store.accept(said("d", kind=kind, limit=4), None)
        assert (full.value.code, "4" in str(full.value)) == ("inbox_full", True)
    assert await seen(store) == before
    await queues(store, "d", limit=5)
    assert await counts(store) == (3, 1, 1)


async def test_a_key_that_is_known_is_answered_although_the_inbox_is_full(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    await queues(store, "again", key="k")
    answer = await store.accept(said("again", key="k", limit=1), None)
    assert (answer.outcome, answer.turn.turn) == (Acceptance.ATTACHED, 2)


async def test_an_inbox_with_room_is_no_obstacle_to_a_new_session(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, limit=1)
    await steers(store, "blue", limit=1)
    assert await counts(store) == (0, 0, 1)


async def test_whoever_will_not_wait_is_refused_whatever_kind_it_is(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    with pytest.raises(SessionBusy):
        await store.accept(said("blue", kind=InputKind.STEER, reject=True), None)


async def test_what_was_accepted_before_a_kill_is_said_once_afterwards(backend: Backend) -> None:
    first, second = await backend.node(), await backend.node()
    owner = await opens(first)
    told = await steers(first, "told")
    await owner.write(entry("told", EntryKind.STEERED), taken=[told.position])
    await steers(second, "not told")
    await backend.kill(first)
    heir, got = await takes(second)
    assert (got.interrupted, got.session.steers, got.session.current) == (True, 1, 1)
    assert await line(second) == [("not told", "steer", 1)]
    left = (await second.inbox(ANN, "s"))[0]
    await heir.write(entry("not told", EntryKind.STEERED), taken=[left.position])
    assert not (await heir.write(end=COMPLETED)).refused
    assert (await texts(second))[:-1] == ["hello", "told", "not told"]
    assert await counts(second) == (0, 0, 0)


async def test_of_two_that_take_the_same_only_the_owner_does(backend: Backend) -> None:
    first, second = await backend.node(), await backend.node()
    owner = await opens(first)
    steered = await steers(first, "blue")
    late = owner.draft(entry("blue", EntryKind.STEERED), taken=[steered.position])
    await owner.write(end=HANDED_OVER)
    heir, _ = await takes(second)
    await heir.write(entry("blue", EntryKind.STEERED), taken=[steered.position])
    with pytest.raises(OwnershipLost):
        await first.append(late)
    assert await texts(first) == ["hello", "blue"]
    assert await counts(first) == (0, 0, 0)


@pytest.mark.parametrize("how", ["reset", "deleted"])
async def test_nothing_of_it_is_left_after(backend: Backend, how: str) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "held")
    await owner.write(end=FAILED)
    await opens(store, "again")
    await steers(store, "blue")
    await follows(store, "later")
    if how == "reset":
        row = await store.reset(ANN, "s", NOW)
        assert (row.queued, row.held, row.steers) == (0, 0, 0)
    else:
        assert await store.delete(ANN, "s")
        await talks(store, "new")
    assert await line(store) == []
    assert await counts(store) == (0, 0, 0)
    assert await store.resume(ANN, "s", NOW) == []
    assert await store.runnable() == []


async def test_a_fork_has_what_was_said_into_turns_but_not_what_is_in_line(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    steered = await steers(store, "azure")
    await owner.write(entry("azure", EntryKind.STEERED), taken=[steered.position])
    await owner.write(end=COMPLETED)
    await opens(store, "next")
    await steers(store, "blue")
    await follows(store, "later")
    row = await store.fork(ANN, "s", "t", at=None, title=None, now=NOW)
    assert (row.queued, row.held, row.steers, row.messages) == (0, 0, 0, 2)
    assert await texts(store, "t") == ["hello", "azure", ""]
    assert await line(store, "t") == []
    assert await counts(store, "t") == (0, 0, 0)
    assert sorted(await listed(store, query="azure")) == ["s", "t"]


async def test_what_was_said_into_a_turn_is_a_message_and_found(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    steered = await steers(store, "azure")
    assert await listed(store, query="azure") == []
    await owner.write(entry("azure", EntryKind.STEERED), taken=[steered.position])
    assert await listed(store, query="azure") == ["s"]
    assert await listed(store, BOB, query="azure") == []
    found = await store.entries(ANN, "s", kinds=frozenset({EntryKind.STEERED}))
    assert numbers(found) == [2]


async def test_steers_of_one_session_are_not_those_of_another(backend: Backend) -> None:
    store = await backend.node()
    mine, other = await opens(store), await opens(store, user=BOB)
    await steers(store, "mine")
    theirs = await steers(store, "theirs", user=BOB)
    assert await line(store, user=BOB) == [("theirs", "steer", 1)]
    await other.write(entry("theirs", EntryKind.STEERED), taken=[theirs.position])
    assert (await mine.write("step")).steers == 1
    assert await counts(store) == (0, 0, 1)
    assert await counts(store, user=BOB) == (0, 0, 0)
