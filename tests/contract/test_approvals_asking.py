"""The contract of SessionStore: a turn that asks waits, and goes on with the answers."""

from __future__ import annotations

import json

import pytest

from sojourn.abc import ApprovalRow, NewApproval, TurnEnd
from sojourn.errors import ApprovalNotFound, OwnershipLost
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind, Remember, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    NOW,
    WAITING,
    answers,
    asks,
    call,
    claim_of,
    entry,
    no,
    opens,
    seen,
    statuses,
    takes,
    waits,
    yes,
)


async def test_calls_are_entered_with_their_own_status(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    asked = call(owner, 1)
    asked.status = EffectStatus.INTENDED
    await owner.write("calls", started=[call(owner, 0), asked])
    assert [(e.index, e.status) for e in await store.effects(ANN, "s")] == [(0, "started"), (1, "intended")]


async def test_a_turn_that_asks_waits_and_its_session_is_released(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    answer = await asks(owner, "rm", now=NOW + 5, expires=NOW + 99, arguments='{"path":"x"}')
    asked = ApprovalRow(
        id="ann.s.2.0", user=ANN, session="s", turn=1, seq=2, index=0, tool="rm", arguments='{"path":"x"}',
        digest='digest of {"path":"x"}', status=ApprovalStatus.PENDING, asked=NOW + 5, expires=NOW + 99,
    )  # fmt: skip
    assert (list(answer.asked), list(answer.tail), answer.next, answer.version) == ([asked], [], None, 3)
    assert await statuses(store) == ["waiting"]
    row = await other.get(ANN, "s")
    assert (row.status, row.current, row.owner) == (SessionStatus.WAITING, 1, None)
    assert (row.fence, row.version, row.active) == (owner.fence, 3, NOW + 5)
    assert await other.approvals(ANN, "s") == await store.approvals(ANN) == [asked]


async def test_who_waits_is_not_runnable_and_cannot_be_acquired(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await waits(store, "rm")
    await backend.kill(store)
    before = await seen(other)
    assert list(await other.runnable()) == []
    assert await other.acquire(ANN, "s", await claim_of(other), NOW) is None
    assert await seen(other) == before


async def test_who_has_asked_cannot_write_any_more(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await asks(owner, "rm")
    before = await seen(store)
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    assert await seen(store) == before


async def test_a_started_call_that_is_asked_about_becomes_intended(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner, index) for index in range(3)])
    asked = NewApproval("a", 2, 1, "tool", "{}", "digest")
    await owner.write(entry(kind=EntryKind.APPROVAL_ASKED), asked=[asked], end=WAITING)
    assert [e.status.value for e in await store.effects(ANN, "s")] == ["started", "intended", "started"]


async def test_questions_and_the_response_may_come_in_one_write(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    asked = NewApproval("a", 2, 0, "tool", "{}", "digest")
    told = entry(kind=EntryKind.APPROVAL_ASKED)
    answer = await owner.write("calls", told, started=[call(owner)], asked=[asked], end=WAITING)
    assert [a.id for a in answer.asked] == ["a"]
    assert [e.status.value for e in await store.effects(ANN, "s")] == ["intended"]


async def test_what_the_turn_used_until_it_asked_is_kept(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await asks(owner, "rm", end=TurnEnd(TurnStatus.WAITING, usage='{"m":{}}'), usage='{"n":{}}', attempts=2)
    turn = await store.turn(ANN, "s", 1)
    assert (turn.usage, turn.attempts, turn.ended, turn.ended_seq) == ('{"m":{}}', 2, None, None)
    assert (await store.get(ANN, "s")).usage == '{"n":{}}'


async def test_a_refused_write_asks_nothing(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner)])
    owner.version -= 1
    before = await seen(store)
    with pytest.raises(OwnershipLost):
        await owner.write("late", asked=[NewApproval("a", 2, 0, "tool", "{}", "digest")], end=WAITING)
    assert await seen(store) == before
    assert await store.approvals(ANN) == []


# ------------------------------------------------------------------------------------------------ what is remembered


async def allows(backend: Backend, tool: str) -> None:
    """A session in which a tool is allowed from now on."""
    store = await backend.node()
    asked = await waits(store, tool)
    await store.decide(ANN, "s", asked[0].id, yes(remember=Remember.SESSION, remembered="r"))
    await (await takes(store))[0].write(end=COMPLETED)


async def test_what_is_remembered_answers_at_once_and_the_rest_waits(backend: Backend) -> None:
    await allows(backend, "ls")
    store = await backend.node()
    owner = await opens(store)
    answer = await asks(owner, "rm", "ls", "mv", "ls", now=NOW + 20)
    assert [a.status.value for a in answer.asked] == ["pending", "approved", "pending", "approved"]
    assert [(a.by, a.decided) for a in answer.asked[:2]] == [(None, None), ("remembered", NOW + 20)]
    assert answer.next is None
    entries = await store.entries(ANN, "s", after=owner.version - 2)
    assert list(answer.tail) == list(entries)
    assert [(e.kind, e.turn, e.text, e.created) for e in entries] == [("approval_decided", 2, "", NOW + 20)] * 2
    assert [json.loads(e.body)["index"] for e in entries] == [1, 3]
    assert answer.version == entries[-1].seq == (await store.get(ANN, "s")).version
    assert await statuses(store) == ["completed", "waiting"]
    assert [e.status.value for e in (await store.effects(ANN, "s"))[1:]] == ["intended"] * 4


async def test_a_turn_whose_questions_are_all_answered_at_once_goes_on(backend: Backend) -> None:
    await allows(backend, "ls")
    store = await backend.node()
    owner = await opens(store)
    fence, before = owner.fence, owner.version
    answer = await asks(owner, "ls", "ls", end=TurnEnd(TurnStatus.WAITING, usage='{"m":{}}'))
    got = answer.next
    assert got is not None
    row = await store.get(ANN, "s")
    assert got.session == row
    assert (row.status, row.owner, row.fence, row.current) == (SessionStatus.RUNNING, owner.session.owner, fence, 2)
    assert (got.turn.status, got.turn.usage, got.turn) == (
        TurnStatus.RUNNING,
        '{"m":{}}',
        await store.turn(ANN, "s", 2),
    )
    assert (got.continued, got.interrupted) == (True, False)
    assert list(got.tail) == list(await store.entries(ANN, "s", after=before + 3))
    assert [e.kind for e in got.tail] == [EntryKind.APPROVAL_DECIDED] * 2
    assert list(got.decided) == list(answer.asked) == list((await store.approvals(ANN, "s", pending=False))[1:])
    assert [e.index for e in got.open_calls] == [0, 0, 1]
    await owner.write("done", end=COMPLETED)


# ------------------------------------------------------------------------------------------------------- taken up again


async def test_the_answers_go_with_the_turn_in_the_order_of_the_calls(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "a", "b", "c", expires=NOW + 50)
    await store.decide(ANN, "s", asked[2].id, no(NOW + 10, reason="why"))
    await store.decide(ANN, "s", asked[0].id, yes(NOW + 20, changed='{"x":1}'))
    await store.expire(NOW + 50)
    _, got = await takes(other)
    assert [(a.index, a.status.value) for a in got.decided] == [(0, "approved"), (1, "expired"), (2, "denied")]
    assert list(got.decided) == list(await store.approvals(ANN, "s", pending=False))
    assert [e.index for e in got.open_calls] == [0, 1, 2]
    assert (got.continued, got.interrupted, got.turn.attempts) == (True, False, 1)


async def test_an_answer_is_told_until_its_call_has_a_result(backend: Backend) -> None:
    store, other, third = [await backend.node() for _ in range(3)]
    asked = await waits(store, "a", "b")
    for question in asked:
        await store.decide(ANN, "s", question.id, yes())
    await backend.kill(store)
    owner, _ = await takes(other)
    done = Effect(seq=2, index=0, tool="a", status=EffectStatus.FINISHED)
    await owner.write(entry("result", EntryKind.TOOL_RESULT), finished=[done])
    await backend.kill(other)
    _, got = await takes(third)
    assert got.interrupted
    assert [a.index for a in got.decided] == [e.index for e in got.open_calls] == [1]


async def test_a_call_that_is_carried_out_is_told_no_more(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "a")
    await store.decide(ANN, "s", asked[0].id, yes())
    owner, _ = await takes(store)
    await owner.write(finished=[Effect(seq=2, index=0, tool="a", status=EffectStatus.STARTED)])
    await backend.kill(store)
    _, got = await takes(other)
    assert list(got.decided) == []
    assert [e.status for e in got.open_calls] == [EffectStatus.STARTED]


async def test_answers_of_an_earlier_turn_are_not_told_to_the_next(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "a")
    await store.decide(ANN, "s", asked[0].id, yes())
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert await answers(store) == ["approved"]
    owner = await opens(store, "two")
    await owner.write(end=HANDED_OVER)
    _, got = await takes(store)
    assert list(got.decided) == []
    assert [e.status for e in got.open_calls] == [EffectStatus.INTENDED]


async def test_a_turn_may_ask_again_and_again(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    for number in range(3):
        asked = (await asks(owner, "a")).asked
        await store.decide(ANN, "s", asked[0].id, yes())
        owner, got = await takes(store)
        assert [a.id for a in got.decided] == [asked[0].id]
        done = Effect(seq=asked[0].seq, index=0, tool="a", status=EffectStatus.FINISHED)
        await owner.write(entry("result", EntryKind.TOOL_RESULT), finished=[done])
        assert await answers(store) == ["approved"] * (number + 1)
    await owner.write("done", end=COMPLETED)
    assert await answers(store) == ["approved"] * 3


@pytest.mark.parametrize("ended", ["killed", "closed"])
async def test_a_question_outlives_who_asked(backend: Backend, ended: str) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm")
    await (backend.kill(store) if ended == "killed" else store.close())
    assert await other.approvals(ANN) == asked
    decided = await other.decide(ANN, "s", asked[0].id, yes())
    assert [r.id for r in decided.runnable] == ["s"]
    _, got = await takes(other)
    assert (got.continued, got.interrupted, [a.status.value for a in got.decided]) == (True, False, ["approved"])


async def test_a_question_is_found_by_its_id_alone(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    first, second = await waits(store, "rm", "mv")
    (elsewhere,) = await waits(store, "rm", id="t")
    for question in (first, second, elsewhere):
        assert await other.approval(ANN, question.id) == question
    await store.decide(ANN, "s", first.id, yes())
    assert (await other.approval(ANN, first.id)).status is ApprovalStatus.APPROVED
    for user, wanted in ((BOB, first.id), (ANN, ""), (ANN, first.id + "x"), (ANN, "s")):
        with pytest.raises(ApprovalNotFound):
            await store.approval(user, wanted)
    await store.reset(ANN, "s", NOW + 20)
    await store.delete(ANN, "t")
    for question in (first, second, elsewhere):
        with pytest.raises(ApprovalNotFound):
            await store.approval(ANN, question.id)
