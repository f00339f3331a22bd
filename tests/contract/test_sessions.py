"""The contract of SessionStore: create, get, count, rename, reset, delete, purge, insert."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sojourn.abc import Claim
from sojourn.errors import OwnershipLost, SessionChanged, SessionExists, SessionNotFound, TurnNotFound
from sojourn.records import EffectStatus, EntryKind, SessionStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    NOW,
    call,
    claim_of,
    holds,
    listed,
    numbers,
    opens,
    purge,
    queues,
    said,
    seen,
    statuses,
    takes,
    talks,
    texts,
)


async def test_a_new_session_is_empty_and_idle(backend: Backend) -> None:
    store = await backend.node()
    row = await store.create(ANN, "s", title="Title", now=NOW)
    assert (row.user, row.id, row.title, row.created, row.active) == (ANN, "s", "Title", NOW, NOW)
    assert (row.messages, row.parent, row.status, row.usage) == (0, None, SessionStatus.IDLE, "{}")
    assert (row.owner, row.version, row.first, row.turns, row.current) == (None, 0, 1, 0, None)
    assert (row.queued, row.held) == (0, 0)
    assert await store.get(ANN, "s") == row
    assert await store.entries(ANN, "s") == []


async def test_an_id_exists_once_for_each_user(backend: Backend) -> None:
    store = await backend.node()
    mine = await store.create(ANN, "s", title="mine", now=NOW)
    his = await store.create(BOB, "s", title="his", now=NOW)
    with pytest.raises(SessionExists):
        await store.create(ANN, "s", title="other", now=NOW)
    assert (await store.get(ANN, "s"), await store.get(BOB, "s")) == (mine, his)
    assert mine.key != his.key


async def test_a_missing_session_is_not_found(backend: Backend) -> None:
    store = await backend.node()
    with pytest.raises(SessionNotFound):
        await store.get(ANN, "s")
    assert await store.load(ANN, "s") is None


async def test_a_row_that_was_handed_out_does_not_change(backend: Backend) -> None:
    store = await backend.node()
    row = await store.create(ANN, "s", title="old", now=NOW)
    (shown,), _ = await store.page(ANN)
    await store.rename(ANN, "s", "new", NOW)
    assert (row.title, shown.title) == ("old", "old")


async def test_count_counts_the_sessions_of_all_users(backend: Backend) -> None:
    store = await backend.node()
    assert await store.count() == 0
    await store.create(ANN, "a", title=None, now=NOW)
    await talks(store, "hello", id="b", user=BOB)
    await store.fork(BOB, "b", "c", at=None, title=None, now=NOW)
    assert await store.count() == 3
    with pytest.raises(SessionExists):
        await store.create(ANN, "a", title=None, now=NOW)
    await store.delete(BOB, "b")
    await store.delete(BOB, "b")
    assert await store.count() == 2
    await purge(store)
    assert await store.count() == 2


async def test_rename_sets_the_title_and_counts_as_activity(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello")
    row = await store.rename(ANN, "s", "New", NOW + 5)
    assert (row.title, row.active) == ("New", NOW + 5)
    assert await store.get(ANN, "s") == row


async def test_rename_disturbs_no_running_turn(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.rename(ANN, "s", "New", NOW)
    await owner.write("answer", end=COMPLETED)
    assert (await store.get(ANN, "s")).title == "New"


async def test_activity_never_goes_backwards(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello", now=NOW + 100)
    for row in (await store.rename(ANN, "s", "New", NOW), await store.reset(ANN, "s", NOW)):
        assert row.active == NOW + 100
    owner = await opens(store, now=NOW)
    assert owner.session.active == NOW + 100
    await owner.write("answer", end=COMPLETED, now=NOW)
    assert (await store.get(ANN, "s")).active == NOW + 100


async def test_a_session_is_renamed_only_if_it_is_as_it_was_seen(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    seen = await store.get(ANN, "s")
    row = await other.rename(ANN, "s", "New", NOW + 5, unless_changed=seen)
    assert (row.title, row.active) == ("New", NOW + 5)
    with pytest.raises(SessionChanged):
        await store.rename(ANN, "s", "Newer", NOW + 6, unless_changed=seen)
    assert await store.get(ANN, "s") == row
    assert await listed(store, query="New") == ["s"]
    await store.delete(ANN, "s")
    await store.create(ANN, "s", title="New", now=NOW)
    with pytest.raises(SessionChanged):
        await store.rename(ANN, "s", "Newer", NOW + 6, unless_changed=row)
    with pytest.raises(SessionNotFound):
        await store.rename(ANN, "none", "Newer", NOW + 6, unless_changed=row)


async def test_of_several_who_saw_the_same_one_renames(backend: Backend) -> None:
    nodes = [await backend.node() for _ in range(3)]
    seen = await nodes[0].create(ANN, "s", title=None, now=NOW)
    renames = [node.rename(ANN, "s", f"title {n}", NOW, unless_changed=seen) for n, node in enumerate(nodes)]
    answers = await asyncio.gather(*renames, return_exceptions=True)
    (won,) = [answer for answer in answers if not isinstance(answer, SessionChanged)]
    assert await nodes[0].get(ANN, "s") == won


async def test_renaming_a_missing_session_raises(backend: Backend) -> None:
    with pytest.raises(SessionNotFound):
        await (await backend.node()).rename(ANN, "s", "New", NOW)


# ---------------------------------------------------------------------------------------------------------------- reset


async def test_reset_forgets_the_conversation_and_keeps_the_session(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="Title", now=NOW)
    owner = await opens(store, key="k")
    await owner.write("answer", started=[call(owner)], usage='{"m":{}}')
    await queues(store, "later", key="l")
    before = await store.get(ANN, "s")
    row = await store.reset(ANN, "s", NOW + 5)
    assert (row.key, row.id, row.title, row.created, row.usage) == (before.key, "s", "Title", NOW, '{"m":{}}')
    assert (row.messages, row.queued, row.held, row.current, row.owner) == (0, 0, 0, None, None)
    assert (row.status, row.active) == (SessionStatus.IDLE, NOW + 5)
    assert row.fence > before.fence
    assert await store.get(ANN, "s") == row
    assert (await store.turns(ANN, "s"), await store.inbox(ANN, "s"), await store.effects(ANN, "s")) == ([], [], [])
    with pytest.raises(TurnNotFound):
        await store.turn(ANN, "s", 1)


async def test_after_reset_the_log_goes_on_behind_its_last_number(backend: Backend) -> None:
    store = await backend.node()
    before = await talks(store, "one", "two")
    row = await store.reset(ANN, "s", NOW)
    (only,) = await store.entries(ANN, "s")
    assert (only.kind, only.seq, only.turn) == (EntryKind.SESSION_RESET, before.version + 1, 0)
    assert (row.first, row.version) == (before.version + 1, before.version + 1)
    await purge(store)
    owner = await opens(store, "three")
    assert numbers(await store.entries(ANN, "s")) == [before.version + 1, before.version + 2]
    assert owner.turn == before.turns + 1


async def test_reset_cuts_off_the_owner(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.reset(ANN, "s", NOW)
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    owner.version, owner.fence = (await store.get(ANN, "s")).version, (await store.get(ANN, "s")).fence
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    assert len(await store.entries(ANN, "s")) == 1


async def test_after_reset_a_key_is_new_again(backend: Backend) -> None:
    store = await backend.node()
    first = await opens(store, "one", key="k")
    await first.write(end=COMPLETED)
    await store.reset(ANN, "s", NOW)
    assert (await opens(store, "other", key="k")).turn == 2
    await purge(store)
    assert (await store.turn(ANN, "s", 2)).key == "k"


async def test_reset_keeps_the_parent(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    await store.reset(ANN, "s", NOW)
    assert (await store.get(ANN, "child")).parent == "s"
    assert (await store.reset(ANN, "child", NOW)).parent == "s"


async def test_resetting_twice_before_the_purge_leaves_one_entry(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.reset(ANN, "s", NOW)
    await talks(store, "two")
    row = await store.reset(ANN, "s", NOW)
    assert numbers(await store.entries(ANN, "s")) == [row.version]
    await purge(store)
    assert numbers(await store.entries(ANN, "s")) == [row.version]


async def test_resetting_a_missing_session_raises(backend: Backend) -> None:
    with pytest.raises(SessionNotFound):
        await (await backend.node()).reset(ANN, "s", NOW)


# --------------------------------------------------------------------------------------------------------------- delete


async def test_delete_makes_the_session_unreachable_at_once(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    assert await store.delete(ANN, "s") is True
    assert await store.delete(ANN, "s") is False
    for node in (store, other):
        assert await node.load(ANN, "s") is None
        assert await listed(node) == []
        with pytest.raises(SessionNotFound):
            await node.entries(ANN, "s")


async def test_delete_cuts_off_the_owner(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.delete(ANN, "s")
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    await purge(store)
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    assert await store.runnable() == []


async def test_a_deleted_sessions_owner_cannot_write_into_its_successor(backend: Backend) -> None:
    store = await backend.node()
    old = await opens(store, "old")
    await store.delete(ANN, "s")
    new = await opens(store, "new")
    assert new.session.key != old.session.key
    with pytest.raises(OwnershipLost):
        await old.write("late")
    await purge(store)
    assert await texts(store) == ["new"]


async def test_the_id_of_a_deleted_session_begins_anew(backend: Backend) -> None:
    store = await backend.node()
    await holds(store, "old", "older", key="k")
    await store.delete(ANN, "s")
    row = await store.create(ANN, "s", title=None, now=NOW)
    assert (row.version, row.turns, row.messages, row.held) == (0, 0, 0, 0)
    await purge(store)
    owner = await opens(store, "new", key="k")
    assert (owner.turn, owner.version) == (1, 1)
    assert await statuses(store) == ["running"]


async def test_purge_leaves_everything_else_as_it_is(backend: Backend) -> None:
    store = await backend.node()
    for name in ("a", "b", "gone"):
        owner = await opens(store, f"word {name}", name, key="k")
        await owner.write("answer", started=[call(owner)])
        await queues(store, "later", name)
    await store.reset(ANN, "b", NOW)
    await talks(store, "again", id="b")
    before = [await seen(store, name) for name in ("a", "b")]
    await store.delete(ANN, "gone")
    await purge(store)
    assert [await seen(store, name) for name in ("a", "b")] == before
    assert await listed(store, query="word") == ["a"]
    assert await store.purge() is False


async def test_a_small_purge_comes_to_the_same_end(backend: Backend) -> None:
    store = await backend.node()
    for name in ("a", "b"):
        await talks(store, "one", "two", "three", id=name)
    await store.delete(ANN, "a")
    await store.reset(ANN, "b", NOW)
    for _ in range(100):
        if not await store.purge(limit=1):
            break
    else:
        pytest.fail("the purge never ends")
    assert [e.kind for e in await store.entries(ANN, "b")] == [EntryKind.SESSION_RESET]


# --------------------------------------------------------------------------------------------------------------- insert


async def test_an_exported_session_comes_back_as_it_was(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="Title", now=NOW)
    owner = await opens(store, "one", key="k", now=NOW + 1)
    await owner.write("answer", end=COMPLETED, usage='{"m":{}}', now=NOW + 2)
    loaded = await store.load(ANN, "s")
    turns = await store.turns(ANN, "s")
    assert loaded is not None
    row = await store.insert(replace(loaded[0], id="copy"), loaded[1], turns)
    assert row == replace(loaded[0], id="copy", key=row.key, owner=None, fence=row.fence, parent=None)
    assert await store.load(ANN, "copy") == (row, loaded[1])
    assert await store.turns(ANN, "copy") == turns
    assert row.key != loaded[0].key


async def test_an_inserted_session_is_found_counted_and_goes_on(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus")
    loaded = await store.load(ANN, "s")
    turns = await store.turns(ANN, "s")
    assert loaded is not None
    await store.insert(replace(loaded[0], user=BOB, title="Zebra"), loaded[1], turns)
    assert await listed(store, BOB, query="walrus") == ["s"]
    assert await listed(store, BOB, query="zebra") == ["s"]
    assert await store.count() == 2
    owner = await opens(store, "two", user=BOB)
    assert (owner.turn, owner.version) == (2, 4)


async def test_insert_refuses_an_id_that_is_taken(backend: Backend) -> None:
    store = await backend.node()
    row = await talks(store, "hello")
    before = await seen(store)
    with pytest.raises(SessionExists):
        await store.insert(row, [], [])
    await purge(store)
    assert await seen(store) == before
    assert await store.count() == 1


async def test_an_inserted_session_is_at_rest(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    loaded = await store.load(ANN, "s")
    assert loaded is not None
    await store.insert(replace(loaded[0], id="copy", current=None), loaded[1], [])
    row = await store.get(ANN, "copy")
    assert (row.status, row.owner, row.current, row.queued, row.held) == (SessionStatus.IDLE, None, None, 0, 0)
    assert await store.runnable() == []
    assert await store.acquire(ANN, "copy", await claim_of(store, "copy"), NOW) is None
    await owner.write(end=COMPLETED)


async def test_a_turn_keeps_that_its_cancel_was_asked_for(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.request_cancel(ANN, "s", None, clear=False, now=NOW)
    await owner.write(end=COMPLETED)
    loaded, turns = await store.load(ANN, "s"), await store.turns(ANN, "s")
    assert loaded is not None
    await store.insert(replace(loaded[0], id="copy"), loaded[1], turns)
    assert await store.turns(ANN, "copy") == turns


async def test_a_taken_over_session_can_be_deleted_and_said_to_again(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await opens(store, "one")
    await backend.kill(store)
    owner, _ = await takes(other)
    await other.delete(ANN, "s")
    with pytest.raises(OwnershipLost):
        await owner.write("late")
    accepted = await other.accept(said("two"), Claim(owner.session.key, owner.version))
    assert accepted.created
    assert [e.text for e in accepted.tail] == ["two"]


async def test_effects_of_a_call_are_read_back_in_order(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write("calls", started=[call(owner, 1, tool="b"), call(owner, 0, tool="a")])
    found = await store.effects(ANN, "s")
    assert [(e.seq, e.index, e.tool, e.status) for e in found] == [
        (2, 0, "a", EffectStatus.STARTED),
        (2, 1, "b", EffectStatus.STARTED),
    ]
