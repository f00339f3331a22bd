"""The contract of SessionStore: questions are decided, by a person or by time, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from sojourn.abc import Accepted, Decided, approval_decided_body
from sojourn.errors import ApprovalDecided, ApprovalNotFound, RuntimeClosed, SessionNotFound
from sojourn.records import ApprovalStatus, EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
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


async def together(asked: Iterable[Awaitable[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)


@pytest.mark.parametrize(
    "verdict",
    [yes(NOW + 5), yes(NOW + 5, changed='{"path":"y"}', reason="careful"), no(NOW + 5, reason="never"), no(NOW + 5)],
    ids=["yes", "yes, but", "no, because", "no"],
)
async def test_the_first_verdict_decides(backend: Backend, verdict: Any) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm")
    before = await store.get(ANN, "s")
    got = await other.decide(ANN, "s", asked[0].id, verdict)
    row = replace(
        asked[0], status=verdict.status, decided=NOW + 5, by="mia", reason=verdict.reason, changed=verdict.changed
    )
    assert (list(got.approvals), got.again) == ([row], False)
    assert [(r.user, r.id) for r in got.runnable] == [(ANN, "s")]
    assert list(await store.approvals(ANN, "s", pending=False)) == [row]
    assert list(await store.approvals(ANN, "s")) == []
    entry = (await store.entries(ANN, "s"))[-1]
    assert (entry.seq, entry.kind, entry.turn) == (before.version + 1, EntryKind.APPROVAL_DECIDED, 1)
    assert (entry.body, entry.text, entry.created) == (approval_decided_body(row), "", NOW + 5)
    expected = replace(before, version=before.version + 1, active=NOW + 5, status=SessionStatus.QUEUED)
    assert await store.get(ANN, "s") == expected
    turn = await store.turn(ANN, "s", 1)
    assert (turn.status, turn.ended, turn.reason) == (TurnStatus.QUEUED, None, None)


async def test_the_last_verdict_puts_the_turn_in_line_before_everything_else(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    asked = (await asks(owner, "a", "b", "c")).asked
    for question in (asked[1], asked[2]):
        got = await other.decide(ANN, "s", question.id, yes())
        assert (len(got.approvals), list(got.runnable)) == (1, [])
        assert await statuses(store) == ["waiting", "queued"]
        assert (await store.get(ANN, "s")).status is SessionStatus.WAITING
        assert list(await store.runnable()) == []
    got = await other.decide(ANN, "s", asked[0].id, no())
    assert [r.id for r in got.runnable] == [r.id for r in await other.runnable()] == ["s"]
    assert await statuses(store) == ["queued", "queued"]
    row = await store.get(ANN, "s")
    assert (row.status, row.current, row.queued) == (SessionStatus.QUEUED, 1, 1)
    assert (await takes(other))[0].turn == 1


async def test_a_decision_that_comes_late_is_no_later_activity(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    await store.rename(ANN, "s", "x", NOW + 50)
    await store.decide(ANN, "s", asked[0].id, yes(NOW + 10))
    assert (await store.get(ANN, "s")).active == NOW + 50


@pytest.mark.parametrize("first", [yes(), yes(changed='{"x":1}'), no(reason="why")], ids=["yes", "changed", "no"])
async def test_the_same_verdict_again_changes_nothing(backend: Backend, first: Any) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm")
    decided = await store.decide(ANN, "s", asked[0].id, first)
    before = await seen(store)
    same = replace(first, now=NOW + 99, by="eve", reason="other words")
    got = await other.decide(ANN, "s", asked[0].id, same)
    assert (got.again, list(got.approvals), list(got.runnable)) == (True, list(decided.approvals), [])
    assert await seen(store) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [(yes(), no()), (no(), yes()), (yes(), yes(changed="{}")), (yes(changed="{}"), yes())],
    ids=["yes, no", "no, yes", "changed later", "changed before"],
)
async def test_another_verdict_is_refused(backend: Backend, first: Any, second: Any) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm")
    await store.decide(ANN, "s", asked[0].id, first)
    before = await seen(store)
    with pytest.raises(ApprovalDecided) as refused:
        await other.decide(ANN, "s", asked[0].id, second)
    found = refused.value
    assert (found.approval, found.state, found.by) == (asked[0].id, first.status.value, "mia")
    assert await seen(store) == before


async def test_a_verdict_stands_while_its_turn_goes_on(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    await store.decide(ANN, "s", asked[0].id, yes())
    owner, _ = await takes(store)
    assert (await store.decide(ANN, "s", asked[0].id, yes())).again
    await owner.write("the owner is undisturbed")


async def test_questions_are_found_in_their_own_session_only(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    await talks(store, "hello", id="t")
    await talks(store, "hello", user=BOB)
    before = await seen(store)
    for user, session, approval in ((ANN, "t", asked[0].id), (BOB, "s", asked[0].id), (ANN, "s", "nobody")):
        with pytest.raises(ApprovalNotFound):
            await store.decide(user, session, approval, yes())
    for user, session in ((ANN, "nowhere"), (BOB, "t")):
        with pytest.raises(SessionNotFound):
            await store.decide(user, session, asked[0].id, yes())
    assert await seen(store) == before
    await backend.close()
    with pytest.raises(RuntimeClosed):
        await store.decide(ANN, "s", asked[0].id, yes())


async def test_a_decision_touches_its_own_session_only(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    await waits(store, "rm", id="t")
    await waits(store, "rm", user=BOB)
    before = await seen(store, "t"), await seen(store, "s", BOB)
    await store.decide(ANN, "s", asked[0].id, yes())
    assert (await seen(store, "t"), await seen(store, "s", BOB)) == before


async def test_questions_are_listed_oldest_first(backend: Backend) -> None:
    store = await backend.node()
    for session, now in (("b", NOW + 5), ("a", NOW), ("c", NOW + 5)):
        await waits(store, "x", "y", id=session, now=now)
    await waits(store, "z", user=BOB)
    found = [(a.session, a.tool) for a in await store.approvals(ANN)]
    assert found == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("c", "y")]
    assert [(a.session, a.tool) for a in await store.approvals(ANN, limit=3)] == found[:3]
    assert [a.tool for a in await store.approvals(ANN, "b", limit=1)] == ["x"]
    assert [a.user for a in await store.approvals(BOB)] == [BOB]
    await store.decide(ANN, "b", "ann.b.2.0", no())
    assert [(a.session, a.tool) for a in await store.approvals(ANN)] == [*found[:2], *found[3:]]
    assert [(a.session, a.tool) for a in await store.approvals(ANN, pending=False)] == found
    assert [a.status.value for a in await store.approvals(ANN, "b", pending=False)] == ["denied", "pending"]
    assert len({a.id for a in await store.approvals(ANN)}) == 5


async def test_questions_of_a_missing_session_cannot_be_listed(backend: Backend) -> None:
    store = await backend.node()
    await waits(store, "x")
    for user, session in ((ANN, "nowhere"), (BOB, "s")):
        with pytest.raises(SessionNotFound):
            await store.approvals(user, session)
    assert list(await store.approvals(BOB)) == []


async def test_rows_that_were_handed_out_are_copies(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm")
    listed = await store.approvals(ANN)
    for row in (*asked, *listed):
        row.status = ApprovalStatus.DENIED
    decided = await store.decide(ANN, "s", asked[0].id, yes())
    decided.approvals[0].status = ApprovalStatus.DENIED
    _, got = await takes(store)
    got.decided[0].status = ApprovalStatus.DENIED
    assert await answers(store) == ["approved"]


async def test_other_nodes_learn_that_something_was_decided(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "a")
    before = store.foreign_changes()
    await other.decide(ANN, "s", asked[0].id, yes())
    assert store.foreign_changes() != before


# ------------------------------------------------------------------------------------------------------------ expiry


@pytest.mark.parametrize("late", [0, 1])
async def test_a_verdict_that_comes_too_late_finds_it_expired(backend: Backend, late: int) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", expires=NOW + 20)
    before = await store.get(ANN, "s")
    got = await store.decide(ANN, "s", asked[0].id, yes(NOW + 20 + late, reason="late", changed="{}"))
    row = replace(asked[0], status=ApprovalStatus.EXPIRED, decided=NOW + 20 + late)
    assert (list(got.approvals), got.again) == ([row], False)
    assert [r.id for r in got.runnable] == ["s"]
    assert list(await store.approvals(ANN, "s", pending=False)) == [row]
    assert (await store.entries(ANN, "s"))[-1].body == approval_decided_body(row)
    assert (await store.get(ANN, "s")).version == before.version + 1
    with pytest.raises(ApprovalDecided) as refused:
        await store.decide(ANN, "s", asked[0].id, yes(NOW + 30))
    assert (refused.value.state, refused.value.by) == ("expired", None)


async def test_a_verdict_just_in_time_counts(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", expires=NOW + 20)
    await store.decide(ANN, "s", asked[0].id, yes(NOW + 19))
    assert list(await store.expire(NOW + 20)) == []
    assert await answers(store) == ["approved"]


async def test_questions_expire_when_their_time_has_run_out(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await waits(store, "never")
    asked = await waits(store, "rm", id="t", expires=NOW + 20)
    before = await seen(other), await seen(other, "t")
    assert list(await other.expire(NOW + 19)) == []
    assert (await seen(other), await seen(other, "t")) == before
    session = await store.get(ANN, "t")
    assert [(r.user, r.id) for r in await other.expire(NOW + 20)] == [(ANN, "t")]
    row = replace(asked[0], status=ApprovalStatus.EXPIRED, decided=NOW + 20)
    assert list(await store.approvals(ANN, "t", pending=False)) == [row]
    entry = (await store.entries(ANN, "t"))[-1]
    assert (entry.kind, entry.body, entry.turn) == (EntryKind.APPROVAL_DECIDED, approval_decided_body(row), 1)
    expected = replace(session, version=session.version + 1, active=NOW + 20, status=SessionStatus.QUEUED)
    assert await store.get(ANN, "t") == expected
    assert await seen(other) == before[0]
    assert list(await other.expire(NOW + 20)) == []
    _, got = await takes(other, "t")
    assert list(got.decided) == [row]


async def test_a_turn_waits_on_for_what_has_not_expired(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await asks(owner, "rm", "mv", expires=NOW + 20)
    other = await waits(store, "rm", id="t", expires=NOW + 20)
    await store.decide(ANN, "t", other[0].id, yes())
    assert list(await store.expire(NOW + 20, limit=1)) == []
    assert await answers(store) == ["expired", "pending"]
    assert await statuses(store) == ["waiting"]
    assert [r.id for r in await store.expire(NOW + 20)] == ["s"]
    assert await answers(store) == ["expired", "expired"]
    assert await answers(store, "t") == ["approved"]


async def test_what_is_overdue_the_longest_expires_first(backend: Backend) -> None:
    store = await backend.node()
    for session, after in (("a", 30), ("b", 10), ("c", 20)):
        await waits(store, "rm", id=session, expires=NOW + after)
    await waits(store, "rm", user=BOB, expires=NOW + 15)
    for expected in ([(ANN, "b")], [(BOB, "s")], [(ANN, "c")], [(ANN, "a")], []):
        assert [(r.user, r.id) for r in await store.expire(NOW + 40, limit=1)] == expected


# ------------------------------------------------------------------------------------------------- at the same time


async def test_one_of_five_decides_and_the_others_hear_how(backend: Backend) -> None:
    nodes = [await backend.node() for _ in range(2)]
    for number in range(10):
        name = f"s{number}"
        asked = await waits(nodes[0], "rm", id=name)
        verdicts = [(yes if (n + number) % 2 else no)(by=f"person {n}") for n in range(5)]
        got = await together(nodes[n % 2].decide(ANN, name, asked[0].id, verdict) for n, verdict in enumerate(verdicts))
        first = [answer for answer in got if isinstance(answer, Decided) and not answer.again]
        assert len(first) == 1
        won = first[0].approvals[0]
        for verdict, answer in zip(verdicts, got, strict=True):
            if verdict.status is won.status:
                assert list(answer.approvals) == [won]
            else:
                assert isinstance(answer, ApprovalDecided)
                assert (answer.state, answer.by) == (won.status.value, won.by)
        kinds = [e.kind for e in await nodes[0].entries(ANN, name)]
        assert kinds.count(EntryKind.APPROVAL_DECIDED) == 1


async def test_one_of_those_who_decide_at_the_same_time_is_the_last(backend: Backend) -> None:
    nodes = [await backend.node() for _ in range(2)]
    asked = await waits(nodes[0], *(f"tool {n}" for n in range(10)))
    got = await together(nodes[n % 2].decide(ANN, "s", a.id, yes(by=f"{n}")) for n, a in enumerate(asked))
    assert Counter(len(answer.runnable) for answer in got) == {0: 9, 1: 1}
    entries = await nodes[0].entries(ANN, "s", after=12)
    assert [e.seq for e in entries] == list(range(13, 23))
    assert [a.by for a in await nodes[0].approvals(ANN, "s", pending=False)] == [str(n) for n in range(10)]


async def test_one_of_a_verdict_and_a_later_message_is_first(backend: Backend) -> None:
    nodes = [await backend.node() for _ in range(2)]
    for number in range(10):
        name = f"s{number}"
        asked = await waits(nodes[0], "rm", id=name)
        moves: list[Awaitable[Any]] = [
            nodes[number % 2].decide(ANN, name, asked[0].id, yes()),
            nodes[1 - number % 2].accept(said("later", name), await claim_of(nodes[0], name)),
        ]
        verdict, came = await together(moves[:: 1 if number % 4 < 2 else -1])
        if isinstance(verdict, Accepted):
            verdict, came = came, verdict
        if isinstance(verdict, Decided):
            assert await statuses(nodes[0], name) == ["queued", "queued"]
            assert came.outcome == "queued"
        else:
            assert isinstance(verdict, ApprovalDecided)
            assert verdict.state == "superseded"
            assert await statuses(nodes[0], name) == ["cancelled", "running"]
        assert list(await nodes[0].approvals(ANN, name)) == []


async def test_one_of_a_verdict_a_cancel_and_the_clock_is_first(backend: Backend) -> None:
    nodes = [await backend.node() for _ in range(3)]
    for number in range(9):
        name = f"s{number}"
        asked = await waits(nodes[0], "rm", id=name, expires=NOW + 20)
        moves: list[Awaitable[Any]] = [
            nodes[0].decide(ANN, name, asked[0].id, yes()),
            nodes[1].request_cancel(ANN, name, None, clear=False, now=NOW + 10),
            nodes[2].expire(NOW + 20),
        ]
        await together(moves[number % 3 :] + moves[: number % 3])
        kinds = [e.kind for e in await nodes[0].entries(ANN, name)]
        assert kinds.count(EntryKind.APPROVAL_DECIDED) == (await answers(nodes[0], name) != ["cancelled"])
        assert await statuses(nodes[0], name) == ["cancelled"]  # also what was answered is not taken up yet
        assert kinds[-1] is EntryKind.TURN_ENDED
