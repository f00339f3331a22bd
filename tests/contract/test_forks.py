"""The contract of SessionStore: forks."""

from __future__ import annotations

import pytest

from sojourn.abc import TurnEnd
from sojourn.errors import ForkPointInvalid, SessionExists, SessionNotFound, TurnNotFound
from sojourn.records import Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    HANDED_OVER,
    HELD,
    NOW,
    Owner,
    call,
    entry,
    listed,
    numbers,
    opens,
    purge,
    queues,
    seen,
    talks,
    texts,
)


async def test_a_fork_has_the_log_and_nothing_else_of_its_parent(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="Title", now=NOW)
    owner = await opens(store, "one", key="k")
    await owner.write("answer", usage='{"m":{}}', end=COMPLETED)
    parent = await store.get(ANN, "s")
    row = await store.fork(ANN, "s", "child", at=None, title="Copy", now=NOW + 5)
    assert (row.id, row.title, row.created, row.active, row.parent) == ("child", "Copy", NOW + 5, NOW + 5, "s")
    assert (row.version, row.first, row.messages, row.turns) == (3, 1, 2, 1)
    assert (row.status, row.owner, row.current, row.queued, row.usage) == (SessionStatus.IDLE, None, None, 0, "{}")
    assert row == await store.get(ANN, "child")
    assert await store.entries(ANN, "child") == await store.entries(ANN, "s")
    assert (await store.turns(ANN, "child"), await store.inbox(ANN, "child")) == ([], [])
    with pytest.raises(TurnNotFound):
        await store.turn(ANN, "child", 1)
    assert await store.get(ANN, "s") == parent


async def test_a_fork_goes_on_by_itself(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    owner = await opens(store, "two", "child", key="k")
    assert (owner.turn, owner.version) == (2, 4)
    assert await texts(store) == ["one", "re: one", ""]
    await talks(store, "three")
    assert await texts(store, "child") == ["one", "re: one", "", "two"]


async def test_a_parents_key_is_new_in_the_fork(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "one", key="k")
    await owner.write(end=COMPLETED)
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (await opens(store, "other", "child", key="k")).turn == 2


async def test_a_fork_is_found_by_what_was_said_before_it(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus", "zebra")
    await store.fork(ANN, "s", "child", at=3, title="Straße", now=NOW + 1)
    assert [await listed(store, query=word) for word in ("walrus", "zebra")] == [["child", "s"], ["s"]]
    assert await listed(store, query="strasse") == ["child"]
    await store.delete(ANN, "s")
    await purge(store)
    assert await listed(store, query="walrus") == ["child"]


@pytest.mark.parametrize(
    ("at", "version"),
    [(4, 4), (3, 4), (7, 7), (6, 7), (None, 7)],
    ids=["last entry", "last message", "second turn's last entry", "second turn's last message", "last turn"],
)
async def test_a_fork_is_cut_at_the_end_of_a_turn(backend: Backend, at: int | None, version: int) -> None:
    store = await backend.node()
    owner = await opens(store, "one")
    await owner.write("uses a tool", entry("result", EntryKind.TOOL_RESULT), end=COMPLETED)
    await talks(store, "two")
    row = await store.fork(ANN, "s", "child", at=at, title=None, now=NOW)
    assert row.version == version
    assert numbers(await store.entries(ANN, "child")) == list(range(1, version + 1))
    assert (row.turns, row.messages) == ((1, 3) if version == 4 else (2, 5))


@pytest.mark.parametrize("at", [1, 2, 5, 8, 9, 10, 99, 0, -1])
async def test_a_fork_inside_a_turn_or_outside_the_log_is_refused(backend: Backend, at: int) -> None:
    store = await backend.node()
    owner = await opens(store, "one")
    await owner.write("uses a tool", entry("result", EntryKind.TOOL_RESULT), end=COMPLETED)
    await talks(store, "two")
    unfinished = await opens(store, "three")
    await unfinished.write("not yet")
    with pytest.raises(ForkPointInvalid):
        await store.fork(ANN, "s", "child", at=at, title=None, now=NOW)
    assert await listed(store) == ["s"]
    assert await store.count() == 1


@pytest.mark.parametrize("left", [None, HANDED_OVER, HELD], ids=["running", "handed over", "held"])
async def test_an_unfinished_turn_is_not_copied(backend: Backend, left: TurnEnd | None) -> None:
    store = await backend.node()
    await talks(store, "one")
    owner = await opens(store, "two")
    await queues(store, "three")
    await owner.write("not yet", end=left)
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert await texts(store, "child") == ["one", "re: one", ""]
    assert (await opens(store, "four", "child")).turn == 2


@pytest.mark.parametrize("status", [TurnStatus.FAILED, TurnStatus.CANCELLED])
async def test_a_turn_that_ended_badly_is_finished_too(backend: Backend, status: TurnStatus) -> None:
    store = await backend.node()
    owner = await opens(store, "one")
    await owner.write(end=TurnEnd(status, "why"))
    row = await store.fork(ANN, "s", "child", at=2, title=None, now=NOW)
    assert row.version == 2


async def test_calls_without_a_result_are_open_in_the_fork_too(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "one")
    await owner.write("calls", started=[call(owner, 0), call(owner, 1), call(owner, 2)])
    done = Effect(seq=2, index=1, tool="tool", status=EffectStatus.FINISHED)
    await owner.write(finished=[done], end=TurnEnd(TurnStatus.CANCELLED))
    later = await opens(store, "two")
    await later.write("calls", started=[call(later, 0)], end=COMPLETED)
    await store.fork(ANN, "s", "child", at=3, title=None, now=NOW)
    opened = await opens(store, "go on", "child")
    found = await store.effects(ANN, "child")
    assert [(e.seq, e.index, e.status) for e in found] == [(2, 0, "started"), (2, 2, "started")]
    assert opened.turn == 2


async def test_results_that_came_only_in_a_later_turn_are_there_before_the_end(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    owner = await opens(store, "two")
    await owner.write("calls", started=[call(owner, index) for index in range(3)])
    first = Effect(seq=5, index=2, tool="tool", status=EffectStatus.FINISHED)
    await owner.write(
        entry("first", EntryKind.TOOL_RESULT), finished=[first], end=TurnEnd(TurnStatus.CANCELLED, "stopped")
    )
    await store.clear_context(ANN, "s", NOW)
    later = await opens(store, "three")
    open_fork = await store.fork(ANN, "s", "open", at=6, title=None, now=NOW)
    done = [Effect(seq=5, index=index, tool="tool", status=EffectStatus.UNKNOWN) for index in (0, 1)]
    await later.write(entry("late", EntryKind.TOOL_RESULT), entry("too", EntryKind.TOOL_RESULT), finished=done)
    await later.write("answer", entry("its own", EntryKind.TOOL_RESULT), end=COMPLETED)
    assert (open_fork.version, len(await store.effects(ANN, "open"))) == (7, 2)
    for at, version, last in ((7, 9, []), (8, 10, [EntryKind.CONTEXT_CLEARED])):
        row = await store.fork(ANN, "s", f"at{at}", at=at, title=None, now=NOW)
        log = await store.entries(ANN, f"at{at}")
        assert (row.version, row.messages, row.turns) == (version, 7, 2)
        assert [(e.text, e.turn) for e in log[4:8]] == [("calls", 2), ("first", 2), ("late", 2), ("too", 2)]
        assert [e.kind for e in log[8:]] == [EntryKind.TURN_ENDED, *last]
        assert numbers(log) == list(range(1, version + 1))
        assert await store.effects(ANN, f"at{at}") == []
    assert (await store.fork(ANN, "s", "whole", at=None, title=None, now=NOW)).version == later.version


async def test_a_fork_of_an_empty_session_is_empty(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title=None, now=NOW)
    row = await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (row.version, row.first, row.messages, row.turns) == (0, 1, 0, 0)
    assert (await opens(store, "one", "child")).version == 1


async def test_a_fork_after_a_reset_begins_where_the_parent_does(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.reset(ANN, "s", NOW)
    empty = await store.fork(ANN, "s", "empty", at=None, title=None, now=NOW)
    assert (empty.version, await texts(store, "empty")) == (3, [])
    await talks(store, "two")
    row = await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (row.first, row.version) == (4, 7)
    assert await store.entries(ANN, "child") == await store.entries(ANN, "s")
    with pytest.raises(ForkPointInvalid):
        await store.fork(ANN, "s", "other", at=3, title=None, now=NOW)
    assert (await opens(store, "go on", "empty")).version == 4


async def test_a_forks_fork_has_its_own_parent(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    row = await store.fork(ANN, "child", "grandchild", at=None, title=None, now=NOW)
    assert row.parent == "child"
    assert await store.entries(ANN, "grandchild") == await store.entries(ANN, "s")


async def test_a_fork_outlives_its_parent(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    before = await store.entries(ANN, "child")
    await store.delete(ANN, "s")
    assert (await store.get(ANN, "child")).parent is None
    await talks(store, "another", id="s")
    await purge(store)
    assert (await store.get(ANN, "child")).parent is None
    assert await store.entries(ANN, "child") == before


async def test_a_fork_needs_a_parent_and_a_free_id(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await talks(store, "two", id="taken")
    before = await seen(store, "taken")
    with pytest.raises(SessionNotFound):
        await store.fork(ANN, "missing", "taken", at=None, title=None, now=NOW)
    for at in (None, 99):
        with pytest.raises(SessionExists):
            await store.fork(ANN, "s", "taken", at=at, title=None, now=NOW)
        with pytest.raises(SessionExists):
            await store.fork(ANN, "s", "s", at=at, title=None, now=NOW)
    await purge(store)
    assert await seen(store, "taken") == before
    assert await store.count() == 2


async def test_a_fork_may_have_an_id_that_another_user_has(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await talks(store, "his", id="child", user=BOB)
    row = await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (row.user, await texts(store, "child", BOB)) == (ANN, ["his", "re: his", ""])


async def test_a_long_log_is_copied_whole(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "long")
    for number in range(5):
        await owner.write(*(f"message {number}.{piece}" for piece in range(99)))
    await owner.write(end=COMPLETED)
    row = await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    assert (row.version, row.messages) == (497, 496)
    assert await store.entries(ANN, "child") == await store.entries(ANN, "s")
    await purge(store)
    assert len(await store.entries(ANN, "child")) == 497


async def test_an_owner_in_the_fork_cannot_write_into_the_parent(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    before = await seen(store)
    owner: Owner = await opens(store, "two", "child")
    await owner.write("answer", end=COMPLETED)
    await store.delete(ANN, "child")
    await purge(store)
    assert await seen(store) == before
