"""What is said after a turn: behind everything, and several of it in one turn."""

from __future__ import annotations

import json

import pytest

from sojourn.abc import Acceptance, NewInput, TurnEnd
from sojourn.records import EntryKind, InputKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    COMPLETED,
    HANDED_OVER,
    HELD,
    NOW,
    asks,
    claim_of,
    counts,
    follows,
    holds,
    line,
    opens,
    queues,
    said,
    statuses,
    steers,
    takes,
    texts,
    waits,
)

FAILED = TurnEnd(TurnStatus.FAILED, "broken")


def both(*texts: str) -> str:
    return "\n\n".join(["Additional user input received:", *(f"- {text}" for text in texts)])


async def test_a_follow_up_is_a_turn_behind_everything(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    await queues(store, "message")
    accepted = await follows(store, "later", now=NOW + 5)
    assert (accepted.turn.turn, accepted.turn.status, accepted.orphaned) == (3, TurnStatus.QUEUED, False)
    assert (accepted.turn.accepted, accepted.turn.key, accepted.turn.attempts) == (NOW + 5, None, 0)
    assert await line(store) == [("message", "message", 2), ("later", "follow_up", 3)]
    assert (await store.inbox(ANN, "s"))[-1].position == accepted.position
    assert await counts(store) == (2, 0, 0)
    row = await store.get(ANN, "s")
    assert (row.turns, row.active) == (3, NOW + 5) == (accepted.session.turns, accepted.session.active)


async def test_follow_ups_that_wait_one_behind_the_other_are_one_turn(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    first, second = await follows(store, "x"), await follows(other, "y", now=NOW + 5)
    assert (first.turn.turn, second.turn.turn) == (2, 2)
    assert second.position > first.position
    assert second.turn.accepted == NOW
    assert await counts(store) == (2, 0, 0)
    answer = await owner.write(end=COMPLETED)
    assert answer.next is not None
    assert (answer.next.turn.turn, answer.next.session.queued) == (2, 0)
    assert (answer.next.tail[-1].kind, answer.next.tail[-1].text) == (EntryKind.TURN_OPENED, both("x", "y"))
    assert (await texts(store))[-1] == both("x", "y")
    assert (await store.get(ANN, "s")).messages == 2
    assert await line(store) == []
    assert await counts(store) == (0, 0, 0)


async def test_what_lies_between_two_follow_ups_keeps_them_apart(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "x")
    await queues(store, "message")
    await follows(store, "y")
    await steers(store, "blue")
    await follows(store, "z")
    assert await line(store) == [
        ("x", "follow_up", 2), ("message", "message", 3), ("y", "follow_up", 4), ("blue", "steer", 1),
        ("z", "follow_up", 4),
    ]  # fmt: skip
    await store.remove(ANN, "s", (await store.inbox(ANN, "s"))[3].position, NOW)
    opened = []
    for _ in range(3):
        answer = await owner.write(end=COMPLETED)
        assert answer.next is not None
        opened.append(answer.next.tail[-1].text)
    assert opened == ["x", "message", both("y", "z")]
    assert await counts(store) == (0, 0, 0)


async def test_one_follow_up_alone_is_told_as_it_was_said(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "later")
    answer = await owner.write(end=COMPLETED)
    assert answer.next is not None
    assert (answer.next.tail[-1].body, answer.next.tail[-1].text) == ('{"said":"later"}', "later")


async def test_what_is_no_text_is_kept_where_several_become_one(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    image = {"type": "image", "image": "aGk=", "mimeType": "image/png"}
    body = json.dumps({"content": [{"type": "text", "text": "look"}, image]})
    await store.accept(NewInput(ANN, "s", body, "look", NOW, kind=InputKind.FOLLOW_UP), None)
    await store.accept(NewInput(ANN, "s", "{}", "closely", NOW, kind=InputKind.FOLLOW_UP), None)
    answer = await owner.write(end=COMPLETED)
    assert answer.next is not None
    content = json.loads(answer.next.tail[-1].body)["content"]
    assert content == [{"type": "text", "text": both("look", "closely")}, image]


async def test_a_follow_up_to_a_line_without_a_turn_is_behind_it(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "message")
    accepted = await store.accept(said("later", kind=InputKind.FOLLOW_UP), await claim_of(store))
    assert (accepted.outcome, accepted.orphaned) == (Acceptance.QUEUED, True)
    assert await line(store) == [("message", "message", 1), ("later", "follow_up", 2)]
    _, got = await takes(store)
    assert got.tail[-1].text == "message"


async def test_acquiring_opens_a_follow_up_with_all_its_inputs(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await follows(store, "x")
    await follows(store, "y")
    await owner.write(end=HANDED_OVER)
    heir, _ = await takes(other)
    await backend.kill(other)
    heir, _ = await takes(store)
    await store.request_cancel(ANN, "s", 1, clear=False, now=NOW)
    assert await line(store) == [("x", "follow_up", 2), ("y", "follow_up", 2)]
    answer = await heir.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.tail[-1].text == both("x", "y")


async def test_a_follow_up_supersedes_nothing(backend: Backend) -> None:
    store = await backend.node()
    question = (await waits(store, "rm"))[0]
    await follows(store, "later")
    assert [asked.id for asked in await store.approvals(ANN, "s")] == [question.id]
    assert await statuses(store) == ["waiting", "queued"]
    assert await counts(store) == (1, 0, 0)
    assert (await store.get(ANN, "s")).status is SessionStatus.WAITING


async def test_a_follow_up_to_a_held_session_with_input_in_line_waits_behind_it(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "hello", "kept")
    again = await store.accept(said("kept", key="key of kept"), None)
    assert again.outcome is Acceptance.ATTACHED
    accepted = await follows(store, "later")
    assert not accepted.orphaned
    assert await statuses(store) == ["held", "queued", "queued"]
    assert await counts(store) == (2, 0, 0)
    row = await store.get(ANN, "s")
    assert row.status is SessionStatus.HELD is accepted.session.status
    assert await store.acquire(ANN, "s", await claim_of(store), NOW) is None


@pytest.mark.parametrize("how", ["cancelled", "failed", "held"])
async def test_a_turn_that_comes_to_no_good_end_leaves_its_follow_ups_held(backend: Backend, how: str) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "x")
    await steers(store, "blue")
    await follows(store, "y")
    end = {"cancelled": TurnEnd(TurnStatus.CANCELLED), "failed": FAILED, "held": HELD}[how]
    assert (await owner.write(end=end)).next is None
    assert await line(store) == [("x", "(follow_up)", 2), ("blue", "(steer)", 1), ("y", "(follow_up)", 2)]
    assert await statuses(store) == [how, "held"]
    assert await counts(store) == (0, 3, 0)
    assert (await store.get(ANN, "s")).status is SessionStatus.HELD


async def test_messages_run_although_the_turn_before_them_failed(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "x")
    await queues(store, "message")
    answer = await owner.write(end=FAILED)
    assert answer.next is not None
    assert (answer.next.turn.turn, answer.next.session.held, answer.next.session.queued) == (3, 1, 0)
    assert await line(store) == [("x", "(follow_up)", 2)]
    assert await statuses(store) == ["failed", "held", "running"]
    assert await counts(store) == (0, 1, 0)
    await owner.write(end=COMPLETED)
    assert (await store.get(ANN, "s")).status is SessionStatus.HELD


async def test_a_follow_up_does_not_join_one_that_is_held(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "x")
    await owner.write(end=FAILED)
    await opens(store, "again")
    assert (await follows(store, "y")).turn.turn == 4
    assert await line(store) == [("x", "(follow_up)", 2), ("y", "follow_up", 4)]
    assert await counts(store) == (1, 1, 0)


async def test_a_message_supersedes_a_turn_that_waits_and_holds_what_was_to_follow_it(backend: Backend) -> None:
    store = await backend.node()
    await asks(await opens(store), "rm")
    await follows(store, "later")
    await queues(store, "never mind")
    assert await statuses(store) == ["cancelled", "held", "queued"]
    assert await counts(store) == (1, 1, 0)
    _, got = await takes(store)
    assert (got.turn.turn, got.session.held) == (3, 1)


async def test_cancelling_a_turn_that_was_handed_over_holds_what_was_to_follow_it(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "later")
    await owner.write(end=HANDED_OVER)
    cancelled = await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert (cancelled.turns, cancelled.session.held, cancelled.session.status) == ([1], 1, SessionStatus.HELD)
    assert await counts(store) == (0, 1, 0)


async def test_cancelling_a_follow_up_takes_all_its_inputs_out_of_the_line(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    await follows(store, "x")
    await follows(store, "y")
    await steers(store, "blue")
    cancelled = await store.request_cancel(ANN, "s", 2, clear=False, now=NOW)
    assert (cancelled.turns, cancelled.running, cancelled.session.queued) == ([2], None, 0)
    assert await line(store) == [("blue", "steer", 1)]
    assert await counts(store) == (0, 0, 1)


async def test_clearing_cancels_everything_and_removes_what_was_to_be_said(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "held")
    await follows(store, "held too")
    await owner.write(end=FAILED)
    await opens(store, "again")
    await queues(store, "message")
    await follows(store, "later")
    await steers(store, "blue")
    cancelled = await store.request_cancel(ANN, "s", None, clear=True, now=NOW)
    assert (cancelled.turns, cancelled.running) == ([2, 4, 5], 3)
    assert (cancelled.session.queued, cancelled.session.held, cancelled.session.steers) == (0, 0, 0)
    assert await line(store) == []
    assert await counts(store) == (0, 0, 0)


async def test_clearing_removes_what_is_held_of_turns_that_have_ended(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await owner.write(end=FAILED)
    cancelled = await store.request_cancel(ANN, "s", None, clear=True, now=NOW)
    assert (cancelled.turns, cancelled.session.status) == ([], SessionStatus.IDLE)
    assert await counts(store) == (0, 0, 0)


async def test_without_a_turn_given_a_steer_is_not_what_is_first_in_line(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await steers(store, "blue")
    await owner.write(end=FAILED)
    cancelled = await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert (cancelled.turns, cancelled.running) == ([], None)
    assert await line(store) == [("blue", "(steer)", 1)]


async def test_what_was_accepted_before_a_kill_runs_once_afterwards(backend: Backend) -> None:
    first, second = await backend.node(), await backend.node()
    await opens(first)
    await follows(first, "x")
    await follows(second, "y")
    await backend.kill(first)
    heir, got = await takes(second)
    assert (got.interrupted, got.session.queued) == (True, 2)
    answer = await heir.write(end=COMPLETED)
    assert answer.next is not None
    assert answer.next.tail[-1].text == both("x", "y")
    await backend.kill(second)
    third = await backend.node()
    heir, got = await takes(third)
    assert (got.continued, got.interrupted, got.turn.turn) == (True, True, 2)
    assert (await heir.write(end=COMPLETED)).next is None
    assert (await texts(third)).count(both("x", "y")) == 1
    assert await counts(third) == (0, 0, 0)
