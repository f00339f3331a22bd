"""The contract of SessionStore: clear_context, and what copies make of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sojourn.abc import MESSAGE_KINDS, Acceptance, SessionStore, TurnEnd
from sojourn.errors import ForkPointInvalid, SessionBusy, SessionExists, SessionNotFound
from sojourn.records import EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    NOW,
    call,
    claim_of,
    follows,
    holds,
    is_sound,
    line,
    opens,
    queues,
    said,
    statuses,
    takes,
    talks,
    waits,
    yes,
)

CLEARED = EntryKind.CONTEXT_CLEARED


async def kinds(store: SessionStore, id: str = "s") -> list[EntryKind]:
    """The log without what belongs to a turn."""
    return [e.kind for e in await store.entries(ANN, id) if e.turn == 0]


async def test_an_entry_is_logged_and_nothing_is_taken_away(backend: Backend) -> None:
    store = await backend.node()
    before = await talks(store, "one", "two")
    log = list(await store.entries(ANN, "s"))
    assert await store.clear_context(ANN, "s", NOW + 5) is True
    *rest, last = await store.entries(ANN, "s")
    assert rest == log
    assert (last.kind, last.seq, last.turn, last.body, last.text) == (CLEARED, before.version + 1, 0, "{}", "")
    assert last.created == NOW + 5
    assert await store.get(ANN, "s") == replace(before, version=before.version + 1, active=NOW + 5)
    assert await store.entries(ANN, "s", kinds=MESSAGE_KINDS) == [e for e in log if e.kind in MESSAGE_KINDS]
    await is_sound(store)


async def test_clearing_twice_logs_one_entry_and_is_activity(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.clear_context(ANN, "s", NOW)
    before = await store.get(ANN, "s")
    assert await store.clear_context(ANN, "s", NOW + 9) is False
    assert await store.clear_context(ANN, "s", NOW + 3) is False
    assert await store.get(ANN, "s") == replace(before, active=NOW + 9)
    assert await kinds(store) == [CLEARED]
    await talks(store, "two")
    assert await store.clear_context(ANN, "s", NOW) is True
    assert await kinds(store) == [CLEARED, CLEARED]


async def test_where_nothing_was_said_there_is_nothing_to_clear(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title=None, now=NOW)
    assert await store.clear_context(ANN, "s", NOW + 1) is False
    await store.change_state(ANN, "s", '{"a":1}', NOW)
    assert await store.clear_context(ANN, "s", NOW + 2) is False
    await talks(store, "one")
    await store.reset(ANN, "s", NOW)
    assert await store.clear_context(ANN, "s", NOW + 3) is False
    assert (await store.get(ANN, "s")).active == NOW + 3
    assert await kinds(store) == [EntryKind.SESSION_RESET]


async def test_a_missing_session_and_anothers_raise(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "mine")
    for user, name in ((ANN, "none"), (BOB, "s")):
        with pytest.raises(SessionNotFound):
            await store.clear_context(user, name, NOW)
    assert await kinds(store) == []


async def refused(store: SessionStore) -> None:
    """The session cannot be cleared now, and is left as it was."""
    before = await store.load(ANN, "s")
    with pytest.raises(SessionBusy):
        await store.clear_context(ANN, "s", NOW + 5)
    assert await store.load(ANN, "s") == before


async def test_not_while_a_turn_runs_whoever_runs_it(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await refused(store)
    await refused(other)
    await backend.kill(store)
    await refused(other)  # it is taken up again, and needs what it was told
    owner, _ = await takes(other)
    await owner.write("answer", end=COMPLETED)
    assert await other.clear_context(ANN, "s", NOW) is True


async def test_not_while_anything_is_in_line(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "first")
    await refused(store)
    owner, _ = await takes(store)
    await owner.write(end=HANDED_OVER)
    await refused(store)
    owner, _ = await takes(store)
    await owner.write("answer", end=COMPLETED)
    assert await store.clear_context(ANN, "s", NOW) is True


async def test_not_while_a_turn_waits_for_people_or_is_to_carry_out_what_they_decided(backend: Backend) -> None:
    store = await backend.node()
    (asked,) = await waits(store, "tool")
    await refused(store)
    await store.decide(ANN, "s", asked.id, yes())
    await refused(store)
    owner, _ = await takes(store)
    await owner.write("answer", end=COMPLETED)
    assert await store.clear_context(ANN, "s", NOW) is True


async def test_not_while_a_turn_is_held_in_its_middle(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "interrupted", "behind it")
    await refused(store)
    await store.discard(ANN, "s", 1, NOW)
    assert (await store.get(ANN, "s")).status is SessionStatus.HELD
    assert await store.clear_context(ANN, "s", NOW) is True
    assert await line(store) == [("behind it", "(message)", 2)]
    assert await statuses(store) == ["cancelled", "held"]
    await store.resume(ANN, "s", NOW)
    assert (await takes(store))[1].tail[-1].text == "behind it"
    await is_sound(store)


async def test_what_was_said_into_a_turn_that_failed_stays_held(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await follows(store, "and then?")
    await owner.write(end=TurnEnd(TurnStatus.FAILED, "why"))
    assert await store.clear_context(ANN, "s", NOW) is True
    assert await line(store) == [("and then?", "(follow_up)", 2)]
    await is_sound(store)


async def test_who_holds_a_copy_hears_of_it_with_the_next_turn(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "one")
    claim = await claim_of(store)
    await other.clear_context(ANN, "s", NOW)
    got = await store.accept(said("two"), claim)
    assert got.outcome is Acceptance.OPENED
    assert [e.kind for e in got.tail] == [CLEARED, EntryKind.TURN_OPENED]


async def test_calls_without_a_result_are_still_the_next_owners_to_close(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner)])
    await owner.write(end=TurnEnd(TurnStatus.FAILED, "why"))
    await store.clear_context(ANN, "s", NOW)
    got = await store.accept(said("two"), await claim_of(store))
    assert [(e.seq, e.index) for e in got.open_calls] == [(2, 0)]


async def test_of_many_who_clear_at_once_one_does(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(3)]
    await talks(stores[0], "one")
    cleared = await asyncio.gather(*(store.clear_context(ANN, "s", NOW) for store in stores))
    assert sorted(cleared) == [False, False, True]
    assert await kinds(stores[0]) == [CLEARED]


# --------------------------------------------------------------------------------------------------------------- copies


async def test_a_fork_is_clear_where_its_parent_is(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.clear_context(ANN, "s", NOW)
    await store.change_state(ANN, "s", '{"a":1}', NOW)
    row = await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (row.version, row.messages, row.turns) == (4, 2, 1)
    assert [e.kind for e in await store.entries(ANN, "child")][-1] is CLEARED
    assert await store.clear_context(ANN, "child", NOW) is False
    await opens(store, "runs on")
    assert (await store.fork(ANN, "s", "other", at=None, title=None, now=NOW)).version == 4
    await talks(store, "goes on", id="child")
    assert await store.clear_context(ANN, "child", NOW) is True


@pytest.mark.parametrize(("at", "version"), [(2, 3), (3, 3), (4, 4), (6, 7), (7, 7)])
async def test_a_fork_before_it_is_not_clear_and_one_at_it_is(backend: Backend, at: int, version: int) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.clear_context(ANN, "s", NOW)
    await talks(store, "two")
    row = await store.fork(ANN, "s", "child", at=at, title=None, now=NOW)
    assert row.version == version
    assert await kinds(store, "child") == ([CLEARED] if version >= 4 else [])


async def test_a_fork_in_the_middle_of_a_turn_behind_it_is_refused(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.clear_context(ANN, "s", NOW)
    await talks(store, "two")
    with pytest.raises(ForkPointInvalid):
        await store.fork(ANN, "s", "child", at=5, title=None, now=NOW)


async def test_an_inserted_session_is_clear_too(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.clear_context(ANN, "s", NOW)
    loaded = await store.load(ANN, "s")
    assert loaded is not None
    row = await store.insert(replace(loaded[0], id="copy"), loaded[1], await store.turns(ANN, "s"))
    assert await store.load(ANN, "copy") == (row, loaded[1])
    assert await store.clear_context(ANN, "copy", NOW) is False
    with pytest.raises(SessionExists):
        await store.insert(replace(loaded[0], id="copy"), loaded[1], [])
