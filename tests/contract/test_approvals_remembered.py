"""The contract of SessionStore: a yes that holds for more than one call."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from sojourn.abc import RememberedRow, SessionStore, approval_decided_body
from sojourn.errors import SessionNotFound
from sojourn.records import ApprovalStatus, EntryKind, Remember, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    NOW,
    answers,
    asks,
    no,
    opens,
    seen,
    statuses,
    takes,
    waits,
    yes,
)

SESSION, SESSION_EXACT, USER, USER_EXACT = Remember

Call: TypeAlias = tuple[str, str, str, str, set[Remember]]

#: user, session, tool, arguments of a call, and the choices that hold for it; the yes was Ann's, in s, for rm x.
CALLS: list[Call] = [
    (ANN, "s", "rm", "x", {SESSION, SESSION_EXACT, USER, USER_EXACT}),
    (ANN, "s", "rm", "y", {SESSION, USER}),
    (ANN, "t", "rm", "x", {USER, USER_EXACT}),
    (ANN, "t", "rm", "y", {USER}),
    (ANN, "s", "mv", "x", set()),
    (ANN, "t", "mv", "x", set()),
    (BOB, "s", "rm", "x", set()),
    (BOB, "t", "rm", "x", set()),
]


async def allows(
    store: SessionStore,
    remember: Remember = SESSION,
    tool: str = "rm",
    *,
    id: str = "s",
    name: str = "r",
    now: int = NOW,
    fleeting: bool = False,
) -> None:
    """A person allows a tool with the arguments x, for more than this call."""
    asked = await waits(store, tool, id=id, now=now, arguments="x")
    verdict = yes(now, remember=remember, remembered=name, fleeting=fleeting)
    await store.decide(ANN, id, asked[0].id, verdict)
    await (await takes(store, id))[0].write(end=COMPLETED)


async def is_asked(store: SessionStore, tool: str = "rm", id: str = "s", *, user: str = ANN, with_: str = "x") -> bool:
    """Whether a person is asked about a call that is made now."""
    answer = await asks(await opens(store, id=id, user=user), tool, arguments=with_)
    if answer.next is None:
        await store.request_cancel(user, id, None, clear=True, now=NOW)
        return True
    assert [(a.status, a.by) for a in answer.asked] == [(ApprovalStatus.APPROVED, "remembered")]
    return False


@pytest.mark.parametrize("remember", Remember)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call[:4]))
async def test_a_yes_holds_for_what_it_was_given_for(backend: Backend, call: Call, remember: Remember) -> None:
    store, other = await backend.node(), await backend.node()
    await allows(store, remember)
    user, session, tool, arguments, holds = call
    assert await is_asked(other, tool, session, user=user, with_=arguments) is (remember not in holds)


@pytest.mark.parametrize("remember", Remember)
async def test_a_yes_decides_what_waits_already_and_is_like_it(backend: Backend, remember: Remember) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", arguments="x")
    for number, (user, session, tool, arguments, _) in enumerate(CALLS[2:]):
        await waits(store, tool, id=f"{session}{number}", user=user, arguments=arguments)
    await store.decide(ANN, "s", asked[0].id, yes(remember=remember, remembered="r"))
    assert await answers(store) == ["approved"]
    for number, (user, session, _, _, holds) in enumerate(CALLS[2:]):
        found = await answers(store, f"{session}{number}", user)
        assert found == ["approved" if remember in holds else "pending"]


@pytest.mark.parametrize("remember", Remember)
async def test_a_yes_decides_what_waits_in_its_own_session(backend: Backend, remember: Remember) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", "rm", "rm", "mv", arguments=["x", "x", "y", "x"])
    await store.decide(ANN, "s", asked[0].id, yes(remember=remember, remembered="r"))
    exact = remember in {SESSION_EXACT, USER_EXACT}
    assert await answers(store) == ["approved", "approved", "pending" if exact else "approved", "pending"]


async def test_what_is_decided_with_a_yes_is_told_in_order(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await waits(store, "rm", "mv", id="z", now=NOW + 3)
    asked = await waits(store, "rm", "mv", "rm", "rm")
    await waits(store, "rm", "rm", id="a")
    got = await other.decide(ANN, "s", asked[2].id, yes(remember=USER, remembered="r", reason="why", changed="{}"))
    told = [(a.session, a.index) for a in got.approvals]
    assert told == [("s", 2), ("z", 0), ("s", 0), ("s", 3), ("a", 0), ("a", 1)]
    assert {(a.status, a.decided, a.by) for a in got.approvals} == {(ApprovalStatus.APPROVED, NOW + 10, "mia")}
    assert (got.approvals[0].reason, got.approvals[0].changed) == ("why", "{}")
    assert {(a.reason, a.changed) for a in got.approvals[1:]} == {(None, None)}
    assert [r.id for r in got.runnable] == ["a"]
    for session, status in (("z", "waiting"), ("s", "waiting"), ("a", "queued")):
        decided = [a for a in got.approvals if a.session == session]
        entries = (await store.entries(ANN, session))[-len(decided) :]
        assert [e.kind for e in entries] == [EntryKind.APPROVAL_DECIDED] * len(decided)
        assert [e.body for e in entries] == [approval_decided_body(a) for a in decided]
        assert {e.created for e in entries} == {NOW + 10}
        row = await store.get(ANN, session)
        assert (row.version, row.active) == (entries[-1].seq, NOW + 10)
        assert await statuses(store, session) == [status]


async def test_all_turns_that_a_yes_lets_go_on_are_runnable(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", id="c")
    for session in ("a", "b"):
        await waits(store, "rm", id=session)
    got = await store.decide(ANN, "c", asked[0].id, yes(remember=USER, remembered="r"))
    assert [r.id for r in got.runnable] == ["c", "a", "b"]
    assert {r.id for r in await store.runnable()} == {"a", "b", "c"}
    for session in ("a", "b", "c"):
        _, taken = await takes(store, session)
        assert [(a.session, a.status) for a in taken.decided] == [(session, ApprovalStatus.APPROVED)]


@pytest.mark.parametrize("remember", Remember)
async def test_what_is_remembered_can_be_read(backend: Backend, remember: Remember) -> None:
    store, other = await backend.node(), await backend.node()
    await allows(store, remember, name="the name", now=NOW + 4)
    exact, own = remember in {SESSION_EXACT, USER_EXACT}, remember in {SESSION, SESSION_EXACT}
    row = RememberedRow(
        id="the name", user=ANN, session="s" if own else None, tool="rm", arguments="x" if exact else None,
        digest="digest of x" if exact else None, since=NOW + 4, by="mia",
    )  # fmt: skip
    assert list(await other.remembered(ANN)) == [row]
    assert list(await other.remembered(ANN, "s")) == ([row] if own else [])


async def test_a_yes_once_is_not_remembered(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", "rm")
    await store.decide(ANN, "s", asked[0].id, yes(remembered="r"))
    assert await answers(store) == ["approved", "pending"]
    assert list(await store.remembered(ANN)) == []


async def test_a_no_is_not_remembered(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", "rm")
    await store.decide(ANN, "s", asked[0].id, no(remember=USER, remembered="r"))
    assert await answers(store) == ["denied", "pending"]
    assert list(await store.remembered(ANN)) == []


async def test_a_yes_that_changes_nothing_or_comes_too_late_is_not_remembered(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", "mv", expires=NOW + 20)
    await store.decide(ANN, "s", asked[0].id, yes())
    assert (await store.decide(ANN, "s", asked[0].id, yes(remember=USER, remembered="r"))).again
    await store.decide(ANN, "s", asked[1].id, yes(NOW + 20, remember=USER, remembered="q"))
    assert list(await store.remembered(ANN)) == []


async def test_an_exact_yes_is_for_what_the_model_asked(backend: Backend) -> None:
    store = await backend.node()
    asked = await waits(store, "rm", arguments="x")
    await store.decide(ANN, "s", asked[0].id, yes(remember=SESSION_EXACT, remembered="r", changed="y"))
    await (await takes(store))[0].write(end=COMPLETED)
    assert [(r.arguments, r.digest) for r in await store.remembered(ANN)] == [("x", "digest of x")]
    assert await is_asked(store, with_="y")
    assert not await is_asked(store, with_="x")


@pytest.mark.parametrize("end", ["killed", "closed"])
async def test_a_fleeting_yes_ends_with_the_node_that_wrote_it(backend: Backend, end: str) -> None:
    store, other = await backend.node(), await backend.node()
    await allows(store, USER, fleeting=True)
    await allows(store, USER, "mv", id="t", name="q")
    waiting = await waits(other, "ls", id="u")
    assert not await is_asked(other, "rm", "v")
    assert [r.id for r in await other.remembered(ANN)] == ["r", "q"]
    await (backend.kill(store) if end == "killed" else store.close())
    third = await backend.node()
    for number, node in enumerate((other, third)):
        assert [r.id for r in await node.remembered(ANN)] == ["q"]
        assert await is_asked(node, "rm", f"w{number}")
        assert not await is_asked(node, "mv", f"x{number}")
    assert await answers(other, "u") == [waiting[0].status.value]


async def test_a_fleeting_yes_decides_what_waits_already_for_good(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    asked = await waits(store, "rm", "rm")
    await store.decide(ANN, "s", asked[0].id, yes(remember=SESSION, remembered="r", fleeting=True))
    await backend.kill(store)
    assert await answers(other) == ["approved", "approved"]
    assert await statuses(other) == [TurnStatus.QUEUED]


async def test_what_is_forgotten_is_asked_again(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await allows(store, USER)
    await allows(store, SESSION, "mv", name="q")
    before = await seen(store)
    assert await other.forget(ANN, "r") is True
    assert [r.id for r in await store.remembered(ANN)] == ["q"]
    assert await seen(store) == before
    assert await is_asked(store, "rm", "t")
    assert not await is_asked(store, "mv", "s")
    assert await other.forget(ANN, "r") is False


async def test_nobody_sees_or_forgets_what_is_anothers(backend: Backend) -> None:
    store = await backend.node()
    await allows(store, USER)
    await allows(store, SESSION, "mv", name="q")
    for name in ("r", "q", "nothing"):
        assert await store.forget(BOB, name) is False
    assert list(await store.remembered(BOB)) == []
    with pytest.raises(SessionNotFound):
        await store.remembered(BOB, "s")
    with pytest.raises(SessionNotFound):
        await store.remembered(ANN, "nowhere")
    assert [r.id for r in await store.remembered(ANN)] == ["r", "q"]


async def test_what_is_remembered_is_listed_oldest_first(backend: Backend) -> None:
    store = await backend.node()
    for name, session, now in (("c", "s", 5), ("b", "t", 7), ("a", "t", 5), ("d", "s", 5), ("e", "t", 3)):
        await allows(store, SESSION, f"tool {name}", id=session, name=name, now=NOW + now)
    assert [r.id for r in await store.remembered(ANN)] == ["e", "c", "a", "d", "b"]
    assert [r.id for r in await store.remembered(ANN, "t")] == ["e", "a", "b"]


@pytest.mark.parametrize("how", ["reset", "deleted", "forked"])
async def test_no_other_session_inherits_what_is_remembered_for_one(backend: Backend, how: str) -> None:
    store, other = await backend.node(), await backend.node()
    await allows(store, SESSION)
    await allows(store, SESSION, "mv", id="t", name="q")
    await allows(store, USER, "ls", name="p")
    heir = "s"
    if how == "reset":
        await other.reset(ANN, "s", NOW)
    elif how == "deleted":
        await other.delete(ANN, "s")
        await other.create(ANN, "s", title=None, now=NOW)
    else:
        heir = "f"
        await other.fork(ANN, "s", "f", at=None, title=None, now=NOW)
    assert [r.id for r in await store.remembered(ANN)] == (["r", "q", "p"] if how == "forked" else ["q", "p"])
    assert list(await store.remembered(ANN, heir)) == []
    assert await is_asked(store, "rm", heir)
    assert not await is_asked(store, "mv", "t")
    assert not await is_asked(store, "ls", heir)


async def test_what_is_remembered_for_the_user_outlives_its_session(backend: Backend) -> None:
    store = await backend.node()
    await allows(store, USER_EXACT)
    await store.delete(ANN, "s")
    assert [(r.id, r.session) for r in await store.remembered(ANN)] == [("r", None)]
    assert not await is_asked(store, id="t")
