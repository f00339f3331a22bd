"""The contract of SessionStore: what becomes of questions otherwise than by a decision."""

from __future__ import annotations

import pytest

from sojourn.abc import Acceptance, Claim
from sojourn.errors import ApprovalDecided, ApprovalNotFound, SessionBusy
from sojourn.records import ApprovalStatus, EffectStatus, Remember, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    NOW,
    answers,
    asks,
    claim_of,
    no,
    opens,
    queues,
    said,
    seen,
    statuses,
    takes,
    talks,
    waits,
    yes,
)


async def test_a_later_message_ends_the_wait(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await waits(store, "rm", "mv")
    fence = (await store.get(ANN, "s")).fence
    got = await other.accept(said("something else", now=NOW + 7), await claim_of(other))
    assert (got.outcome, got.turn.turn) == (Acceptance.OPENED, 2)
    assert await statuses(store) == ["cancelled", "running"]
    ended = await store.turn(ANN, "s", 1)
    assert ended.reason == "superseded by a later message"
    assert ended.ended == NOW + 7
    closed = await store.approvals(ANN, "s", pending=False)
    assert [(a.status, a.decided, a.by) for a in closed] == [(ApprovalStatus.SUPERSEDED, NOW + 7, None)] * 2
    assert await store.approvals(ANN) == []
    assert [e.kind.value for e in got.tail] == ["turn_ended", "turn_opened"]
    assert [(e.index, e.status) for e in got.open_calls] == [(0, "intended"), (1, "intended")]
    assert got.session.fence > fence


@pytest.mark.parametrize("claimed", [True, False])
async def test_what_was_said_before_it_asked_stays_in_line_before_the_later_message(
    backend: Backend, *, claimed: bool
) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "before")
    await asks(owner, "rm")
    assert (await store.get(ANN, "s")).status is SessionStatus.WAITING
    got = await store.accept(said("after"), await claim_of(store) if claimed else None)
    assert (got.outcome, got.orphaned, got.session.queued) == (Acceptance.QUEUED, True, 2)
    assert await statuses(store) == ["cancelled", "queued", "queued"]
    assert await answers(store) == ["superseded"]
    assert [r.id for r in await store.runnable()] == ["s"]
    owner, taken = await takes(store)
    assert (owner.turn, taken.continued, list(taken.decided)) == (2, False, [])
    assert [e.status for e in taken.open_calls] == [EffectStatus.INTENDED]


async def test_a_wait_alone_is_not_busy_but_a_line_is(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "before")
    await asks(owner, "rm")
    before = await seen(store)
    with pytest.raises(SessionBusy):
        await store.accept(said("after", reject=True), None)
    assert await seen(store) == before
    await waits(store, "rm", id="t")
    got = await store.accept(said("after", "t", reject=True), await claim_of(store, "t"))
    assert got.outcome is Acceptance.OPENED


async def test_a_turn_that_was_answered_and_not_taken_up_yet_is_busy(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    await store.decide(ANN, "s", asked[0].id, yes())
    with pytest.raises(SessionBusy):
        await store.accept(said("after", reject=True), None)
    await queues(store, "after")
    assert (await takes(store))[0].turn == 1


async def test_the_key_of_a_waiting_turn_attaches_and_changes_nothing(backend: Backend) -> None:
    store = await backend.node()
    await asks(await opens(store, "one", key="k"), "rm")
    before = await seen(store)
    got = await store.accept(said("one", key="k"), await claim_of(store))
    assert (got.outcome, got.turn.status, got.orphaned) == (Acceptance.ATTACHED, TurnStatus.WAITING, False)
    assert await seen(store) == before


async def test_a_stale_copy_ends_no_wait(backend: Backend) -> None:
    store = await backend.node()
    await waits(store, "rm")
    before = await seen(store)
    got = await store.accept(said("after"), Claim())
    assert got.outcome is Acceptance.STALE
    assert await seen(store) == before


@pytest.mark.parametrize("turn", [None, 1])
async def test_a_waiting_turn_is_cancelled_at_once(backend: Backend, turn: int | None) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm", "mv")
    await other.decide(ANN, "s", asked[1].id, no())
    got = await other.request_cancel(ANN, "s", turn, clear=False, now=NOW + 20)
    assert (list(got.turns), got.running, got.session) == ([1], None, await store.get(ANN, "s"))
    assert (got.session.status, got.session.current) == (SessionStatus.IDLE, None)
    closed = await store.approvals(ANN, "s", pending=False)
    assert [(a.status.value, a.decided) for a in closed] == [("cancelled", NOW + 20), ("denied", NOW + 10)]
    kinds = [e.kind.value for e in await store.entries(ANN, "s", after=4)]
    assert kinds == ["approval_decided", "turn_ended"]
    with pytest.raises(ApprovalDecided) as refused:
        await store.decide(ANN, "s", asked[0].id, yes())
    assert (refused.value.state, refused.value.by) == ("cancelled", None)


async def test_cancelling_what_is_in_line_leaves_the_wait(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await asks(owner, "rm")
    got = await store.request_cancel(ANN, "s", 2, clear=False, now=NOW)
    assert list(got.turns) == [2]
    assert await statuses(store) == ["waiting", "cancelled"]
    assert await answers(store) == ["pending"]
    assert (await store.get(ANN, "s")).status is SessionStatus.WAITING


async def test_a_cancelled_wait_lets_the_line_go_on(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await asks(owner, "rm")
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    assert [r.id for r in await store.runnable()] == ["s"]
    assert (await takes(store))[0].turn == 2


async def test_resume_and_discard_leave_the_wait(backend: Backend) -> None:
    store = await backend.node()
    await waits(store, "rm")
    before = await seen(store)
    assert list(await store.resume(ANN, "s", NOW)) == []
    assert list(await store.discard(ANN, "s", None, NOW)) == []
    assert await seen(store) == before


# --------------------------------------------------------------------------------------------- fork, reset, delete


async def test_a_fork_has_the_open_calls_and_no_questions(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", "ls")
    await store.decide(ANN, "s", asked[1].id, yes(remember=Remember.SESSION, remembered="r"))
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    await store.fork(ANN, "s", "f", at=None, title=None, now=NOW)
    assert [(e.tool, e.status) for e in await store.effects(ANN, "f")] == [("rm", "intended"), ("ls", "intended")]
    assert await store.approvals(ANN, "f", pending=False) == []
    assert await store.remembered(ANN, "f") == []
    got = await store.accept(said("on", "f"), await claim_of(store, "f"))
    assert [e.status for e in got.open_calls] == [EffectStatus.INTENDED] * 2
    with pytest.raises(ApprovalNotFound):
        await store.decide(ANN, "f", asked[0].id, yes())


async def test_a_fork_leaves_out_what_is_asked_behind_the_cut(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await waits(store, "rm")
    await store.fork(ANN, "s", "f", at=None, title=None, now=NOW)
    assert await store.effects(ANN, "f") == []
    assert await store.approvals(ANN, "f", pending=False) == []
    assert (await store.get(ANN, "f")).status is SessionStatus.IDLE
    assert await answers(store) == ["pending"]


@pytest.mark.parametrize("how", ["reset", "delete"])
async def test_reset_and_delete_take_the_questions_along(backend: Backend, how: str) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm", expires=NOW + 20)
    await waits(store, "rm", id="t")
    if how == "reset":
        await other.reset(ANN, "s", NOW)
    else:
        await other.delete(ANN, "s")
        await other.create(ANN, "s", title=None, now=NOW)
    assert await store.approvals(ANN, "s", pending=False) == []
    assert [a.session for a in await store.approvals(ANN, pending=False)] == ["t"]
    with pytest.raises(ApprovalNotFound):
        await store.decide(ANN, "s", asked[0].id, yes())
    assert list(await store.expire(NOW + 20)) == []
    assert (await store.get(ANN, "s")).status is SessionStatus.IDLE
    assert await answers(store, "t") == ["pending"]
    await waits(store, "rm")
    assert await answers(store) == ["pending"]
