"""The contract of SessionStore: accept, by which everything begins."""

from __future__ import annotations

import pytest

from sojourn.abc import MAX_TAIL, Acceptance, Claim, SessionStore, TurnEnd
from sojourn.errors import IdempotencyConflict, OwnershipLost, SessionBusy, SessionNotFound
from sojourn.records import EffectStatus, EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    COMPLETED,
    HANDED_OVER,
    HELD,
    NOW,
    Owner,
    call,
    claim_of,
    holds,
    numbers,
    opens,
    queues,
    said,
    seen,
    statuses,
    takes,
    talks,
    texts,
)


async def test_the_first_input_makes_the_session_and_opens_its_turn(backend: Backend) -> None:
    store = await backend.node()
    got = await store.accept(said("hello", title="Title", key="k"), Claim())
    assert (got.outcome, got.created, got.orphaned) == (Acceptance.OPENED, True, False)
    row, turn = got.session, got.turn
    assert (row.title, row.status, row.current, row.turns, row.version) == ("Title", SessionStatus.RUNNING, 1, 1, 1)
    assert (row.messages, row.queued, row.fence) == (1, 0, 1)
    assert (turn.turn, turn.status, turn.attempts, turn.key) == (1, TurnStatus.RUNNING, 1, "k")
    assert (turn.accepted, turn.started, turn.ended, turn.opened_seq) == (NOW, NOW, None, 1)
    (opening,) = got.tail
    assert (opening.seq, opening.kind, opening.turn) == (1, EntryKind.TURN_OPENED, 1)
    assert (opening.body, opening.text, opening.created) == ('{"said":"hello"}', "hello", NOW)
    assert await store.load(ANN, "s") == (row, [opening])
    assert await store.turns(ANN, "s") == [turn]
    assert await store.inbox(ANN, "s") == []


async def test_the_owner_is_the_node_that_accepted(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(2)]
    owners = [await opens(store, id=f"s{number}") for number, store in enumerate(stores)]
    assert len({owner.session.owner for owner in owners} | {None}) == 3


async def test_opening_raises_the_fence(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "one")
    owner = await opens(store, "two")
    assert owner.fence == row.fence + 1


async def test_without_a_claim_the_input_is_in_line_and_nobody_owns_it(backend: Backend) -> None:
    store = await backend.node()
    got = await queues(store, "hello", key="k")
    assert (got.created, got.orphaned, got.tail) == (True, True, ())
    assert (got.session.status, got.session.owner, got.session.queued) == (SessionStatus.QUEUED, None, 1)
    assert (got.turn.status, got.turn.attempts, got.turn.started) == (TurnStatus.QUEUED, 0, None)
    (waiting,) = await store.inbox(ANN, "s")
    assert (waiting.turn, waiting.body, waiting.text, waiting.held) == (1, '{"said":"hello"}', "hello", False)
    assert await store.entries(ANN, "s") == []
    assert got.session == await store.get(ANN, "s")


async def test_input_for_a_running_session_waits_in_line(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    for number, node in enumerate((store, other), 1):
        got = await node.accept(said(f"later {number}"), await claim_of(node))
        assert (got.outcome, got.orphaned, got.created) == (Acceptance.QUEUED, False, False)
        assert (got.session.status, got.session.queued) == (SessionStatus.RUNNING, number)
    assert await texts(store) == ["hello"]
    await owner.write("answer")
    assert [item.text for item in await store.inbox(ANN, "s")] == ["later 1", "later 2"]


async def test_input_behind_a_line_that_nobody_runs_waits_too(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "one")
    got = await store.accept(said("two"), await claim_of(store))
    assert (got.outcome, got.orphaned) == (Acceptance.QUEUED, True)
    assert await statuses(store) == ["queued", "queued"]


async def test_input_behind_a_turn_that_was_handed_over_waits_too(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(end=HANDED_OVER)
    got = await store.accept(said("two"), await claim_of(store))
    assert (got.outcome, got.orphaned) == (Acceptance.QUEUED, True)
    assert await statuses(store) == ["queued", "queued"]


async def test_input_for_a_dead_nodes_session_waits_and_is_orphaned(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await opens(store)
    await backend.kill(store)
    got = await other.accept(said("two"), await claim_of(other))
    assert (got.outcome, got.orphaned, got.session.status) == (Acceptance.QUEUED, True, SessionStatus.RUNNING)


async def test_a_missing_session_is_not_made_where_it_must_exist(backend: Backend) -> None:
    store = await backend.node()
    for claim in (None, Claim()):
        with pytest.raises(SessionNotFound):
            await store.accept(said("hello", create=False), claim)
    assert await store.count() == 0
    await store.create(ANN, "s", title=None, now=NOW)
    got = await store.accept(said("hello", create=False), await claim_of(store))
    assert (got.outcome, got.created) == (Acceptance.OPENED, False)


async def test_a_title_is_only_for_a_session_that_has_none(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title=None, now=NOW)
    assert (await queues(store, "one")).session.title is None
    assert (await queues(store, "two", title="First")).session.title == "First"
    assert (await queues(store, "three", title="Second")).session.title == "First"
    assert (await store.get(ANN, "s")).title == "First"


async def test_accepting_counts_as_activity(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title=None, now=NOW)
    assert (await queues(store, "one", now=NOW + 1)).session.active == NOW + 1
    await store.create(ANN, "t", title=None, now=NOW)
    assert (await opens(store, "one", "t", now=NOW + 2)).session.active == NOW + 2
    assert [(await store.get(ANN, name)).active for name in ("s", "t")] == [NOW + 1, NOW + 2]


# ----------------------------------------------------------------------------------------------- what the caller knows


async def test_the_tail_is_what_the_claim_lacks(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "one", "two")
    got = await store.accept(said("three"), Claim(row.key, 2))
    assert got.outcome is Acceptance.OPENED
    assert numbers(got.tail) == [3, 4, 5, 6, 7]
    assert list(got.tail) == await store.entries(ANN, "s", after=2)


async def test_a_claim_that_knows_everything_gets_only_the_opening(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "one")
    got = await store.accept(said("two"), Claim(row.key, row.version))
    assert [(e.seq, e.text) for e in got.tail] == [(4, "two")]


async def test_the_tail_of_a_reset_session_begins_with_the_reset(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "one")
    await store.reset(ANN, "s", NOW)
    got = await store.accept(said("two"), Claim(row.key, row.version))
    assert [e.kind for e in got.tail] == [EntryKind.SESSION_RESET, EntryKind.TURN_OPENED]


async def long_session(store: SessionStore, entries: int) -> int:
    """A session at rest with so many entries; its key."""
    owner = await opens(store)
    await owner.write(*["more"] * (entries - 2), end=COMPLETED)
    return owner.session.key


async def test_a_claim_may_lack_as_much_as_a_tail_holds(backend: Backend) -> None:
    store = await backend.node()
    key = await long_session(store, MAX_TAIL + 5)
    got = await store.accept(said("x"), Claim(key, 5))
    assert (got.outcome, len(got.tail)) == (Acceptance.OPENED, MAX_TAIL + 1)
    assert numbers(got.tail) == list(range(6, MAX_TAIL + 7))


@pytest.mark.parametrize("wrong", ["too far behind", "ahead", "of another session", "of no session"])
async def test_a_stale_claim_stores_nothing(backend: Backend, wrong: str) -> None:
    store = await backend.node()
    key = await long_session(store, MAX_TAIL + 5)
    version = MAX_TAIL + 5
    claim = {
        "too far behind": Claim(key, 4),
        "ahead": Claim(key, version + 1),
        "of another session": Claim(key + 1, version),
        "of no session": Claim(None, 0),
    }[wrong]
    before = await seen(store)
    got = await store.accept(said("x", key="k", title="Title", now=NOW + 9), claim)
    assert got.outcome is Acceptance.STALE
    assert (got.session.key, got.session.version) == (key, version)
    assert await seen(store) == before


async def test_a_copy_of_a_deleted_session_is_no_copy_of_its_successor(backend: Backend) -> None:
    store = await backend.node()
    old = await talks(store, "old")
    await store.delete(ANN, "s")
    new = await talks(store, "new")
    assert new.version == old.version
    assert (await store.accept(said("x"), Claim(old.key, old.version))).outcome is Acceptance.STALE
    assert await texts(store) == ["new", "re: new", ""]


async def test_a_session_that_was_deleted_is_made_anew_for_an_old_claim(backend: Backend) -> None:
    store = await backend.node()
    old = await talks(store, "old")
    await store.delete(ANN, "s")
    got = await store.accept(said("new"), Claim(old.key, old.version))
    assert (got.outcome, got.created, numbers(got.tail)) == (Acceptance.OPENED, True, [1])
    assert got.session.key != old.key


async def test_a_stale_claim_does_not_hinder_queueing(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    assert (await store.accept(said("x"), Claim(999, 0))).outcome is Acceptance.QUEUED


async def test_open_calls_of_earlier_turns_are_named(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner, 1), call(owner, 0)], end=TurnEnd(TurnStatus.CANCELLED))
    got = await store.accept(said("two"), owner.claim)
    assert [(e.seq, e.index, e.status) for e in got.open_calls] == [
        (2, 0, EffectStatus.STARTED),
        (2, 1, EffectStatus.STARTED),
    ]


# ----------------------------------------------------------------------------------------------------------------- keys


async def state(backend: Backend, name: str) -> tuple[SessionStore, Owner]:
    """A session whose first turn has the key "k" and is in the named state."""
    store = await backend.node()
    if name in {"in line", "held in line"}:
        owner = await opens(store, "before")
        await queues(store, "hello", key="k")
        if name == "held in line":
            await owner.write(end=HELD)
        return store, owner
    owner = await opens(store, "hello", key="k")
    ends = {"completed": TurnStatus.COMPLETED, "failed": TurnStatus.FAILED, "cancelled": TurnStatus.CANCELLED}
    if name in ends:
        await owner.write("answer", end=TurnEnd(ends[name], "why"))
    elif name == "handed over":
        await owner.write("answer", end=HANDED_OVER)
    return store, owner


@pytest.mark.parametrize("name", ["running", "in line", "handed over", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("claims", [True, False])
async def test_a_known_key_answers_with_its_turn_and_stores_nothing(
    backend: Backend, name: str, *, claims: bool
) -> None:
    store, _ = await state(backend, name)
    before = await seen(store)
    claim = await claim_of(store) if claims else None
    got = await store.accept(said("hello", key="k", now=NOW + 9, title="T"), claim)
    number = 2 if name == "in line" else 1
    assert (got.outcome, got.turn) == (Acceptance.ATTACHED, await store.turn(ANN, "s", number))
    assert got.session == await store.get(ANN, "s")
    assert got.orphaned is (name == "handed over")
    assert await seen(store) == before


@pytest.mark.parametrize("name", ["running", "in line", "held in line", "completed"])
async def test_a_known_key_with_other_content_is_a_conflict(backend: Backend, name: str) -> None:
    store, _ = await state(backend, name)
    before = await seen(store)
    for reject in (False, True):
        with pytest.raises(IdempotencyConflict):
            await store.accept(said("other", key="k", reject=reject), await claim_of(store))
    assert await seen(store) == before


async def test_a_known_key_comes_before_a_stale_claim_and_a_refusal(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, key="k")
    got = await store.accept(said("hello", key="k", reject=True), Claim(999, 7))
    assert got.outcome is Acceptance.ATTACHED


async def test_the_key_of_a_held_turn_puts_it_back_in_line(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "hello", key="k")
    got = await store.accept(said("hello", key="k"), await claim_of(store))
    assert (got.outcome, got.turn.status, got.orphaned) == (Acceptance.ATTACHED, TurnStatus.QUEUED, True)
    assert (got.session.status, got.session.current) == (SessionStatus.QUEUED, 1)
    assert got.session == await store.get(ANN, "s")
    owner, taken = await takes(store)
    assert (owner.turn, taken.continued, taken.interrupted) == (1, True, False)


async def test_the_key_of_a_turn_held_in_line_goes_on_behind_the_held_one(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "hello", "two", "three")
    got = await store.accept(said("two", key="key of two"), None)
    assert (got.outcome, got.turn.status, got.orphaned) == (Acceptance.ATTACHED, TurnStatus.QUEUED, False)
    assert await statuses(store) == ["held", "queued", "held"]
    row = await store.get(ANN, "s")
    assert (row.status, row.queued, row.held, row.current) == (SessionStatus.HELD, 1, 1, 1)
    assert (await store.runnable(), await store.acquire(ANN, "s", await claim_of(store), NOW)) == ([], None)
    with pytest.raises(SessionBusy):
        await store.accept(said("x", reject=True), None)
    await store.discard(ANN, "s", 1, NOW)
    owner, _ = await takes(store)
    assert owner.turn == 2


async def test_a_key_belongs_to_its_session(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, "hello", "a", key="k")
    await opens(store, "other", "b", key="k")


async def test_inputs_without_a_key_are_all_new(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, "hello")
    await queues(store, "hello")
    await queues(store, "hello")
    assert await statuses(store) == ["running", "queued", "queued"]


# ------------------------------------------------------------------------------------------------------ reject and held


@pytest.mark.parametrize("name", ["running", "in line", "handed over"])
async def test_reject_refuses_a_busy_session(backend: Backend, name: str) -> None:
    store, _ = await state(backend, name)
    before = await seen(store)
    for claim in (None, await claim_of(store)):
        with pytest.raises(SessionBusy):
            await store.accept(said("x", reject=True), claim)
    assert await seen(store) == before


async def test_reject_lets_a_session_at_rest_pass(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    got = await store.accept(said("two", reject=True), await claim_of(store))
    assert got.outcome is Acceptance.OPENED
    assert (await store.accept(said("new", "new", reject=True), Claim())).outcome is Acceptance.OPENED


@pytest.mark.parametrize("claims", [True, False])
async def test_a_later_message_supersedes_the_held_turn(backend: Backend, *, claims: bool) -> None:
    store = await backend.node()
    held = await holds(store, "hello", "two")
    claim = held.claim if claims else None
    got = await store.accept(said("three", now=NOW + 5, reject=True), claim)
    first = await store.turn(ANN, "s", 1)
    assert (first.status, first.ended, first.ended_seq) == (TurnStatus.CANCELLED, NOW + 5, 2)
    assert first.reason
    assert (await store.turn(ANN, "s", 2)).status is TurnStatus.HELD
    log = await store.entries(ANN, "s")
    assert (log[1].kind, log[1].turn, log[1].text) == (EntryKind.TURN_ENDED, 1, first.reason)
    row = got.session
    assert (row.held, row.queued, row.fence > held.fence) == (1, 0 if claims else 1, True)
    if claims:
        assert (got.outcome, row.current, numbers(got.tail)) == (Acceptance.OPENED, 3, [2, 3])
    else:
        assert (got.outcome, row.current, got.orphaned) == (Acceptance.QUEUED, None, True)
    assert row == await store.get(ANN, "s")


async def test_an_owner_that_was_superseded_cannot_write(backend: Backend) -> None:
    store = await backend.node()
    held = await holds(store)
    await queues(store, "two")
    held.version = (await store.get(ANN, "s")).version
    with pytest.raises(OwnershipLost):
        await held.write("late")


async def test_a_line_that_is_held_alone_lets_new_input_pass(backend: Backend) -> None:
    store = await backend.node()
    held = await holds(store, "one", "two")
    await store.discard(ANN, "s", 1, NOW)
    assert (await store.get(ANN, "s")).status is SessionStatus.HELD
    owner = await opens(store, "three")
    assert await statuses(store) == ["cancelled", "held", "running"]
    await owner.write(end=COMPLETED)
    row = await store.get(ANN, "s")
    assert (row.status, row.held, row.key) == (SessionStatus.HELD, 1, held.session.key)
