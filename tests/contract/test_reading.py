"""The contract of SessionStore: entries, load, turns, inbox, effects; and that users see nothing of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sojourn.abc import Claim, SessionStore
from sojourn.errors import SessionNotFound
from sojourn.records import EntryKind
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    NOW,
    call,
    claim_of,
    entry,
    numbers,
    opens,
    queues,
    said,
    seen,
    takes,
    talks,
    texts,
)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"after": 0}, [1, 2, 3, 4, 5, 6]),
        ({"after": 4}, [5, 6]),
        ({"after": 6}, []),
        ({"after": 99}, []),
        ({"before": 3}, [1, 2]),
        ({"before": 1}, []),
        ({"before": 99}, [1, 2, 3, 4, 5, 6]),
        ({"after": 2, "before": 5}, [3, 4]),
        ({"after": 4, "before": 5}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"limit": 99}, [1, 2, 3, 4, 5, 6]),
        ({"limit": 2, "after": 1}, [2, 3]),
        ({"limit": 2, "newest": True}, [5, 6]),
        ({"limit": 2, "newest": True, "before": 5}, [3, 4]),
        ({"limit": 9, "newest": True, "after": 4}, [5, 6]),
        ({"newest": True}, [1, 2, 3, 4, 5, 6]),
        ({"kinds": frozenset({EntryKind.MESSAGE})}, [2, 6]),
        ({"kinds": frozenset({EntryKind.TURN_OPENED, EntryKind.TURN_ENDED})}, [1, 4, 5]),
        ({"kinds": frozenset({EntryKind.MESSAGE}), "limit": 1, "newest": True}, [6]),
        ({"kinds": frozenset({EntryKind.MESSAGE}), "limit": 1, "after": 2}, [6]),
        ({"kinds": frozenset({EntryKind.SESSION_RESET})}, []),
        ({"kinds": frozenset()}, []),
    ],
    # a set's own order differs from process to process
    ids=lambda value: (
        str({name: sorted(of) if isinstance(of, frozenset) else of for name, of in value.items()})
        if isinstance(value, dict)
        else str(value)
    ),
)
async def test_entries_are_read_in_windows(backend: Backend, window: dict[str, Any], expected: list[int]) -> None:
    store = await backend.node()
    await queues(store, "one")
    await queues(store, "two")
    owner, _ = await takes(store)
    await owner.write("a", entry("b", EntryKind.TOOL_RESULT), end=COMPLETED)
    await owner.write("c")
    everything = await store.entries(ANN, "s")
    kinds = ["turn_opened", "message", "tool_result", "turn_ended", "turn_opened", "message"]
    assert [e.kind.value for e in everything] == kinds
    found = await store.entries(ANN, "s", **window)
    assert numbers(found) == expected
    assert list(found) == [e for e in everything if e.seq in expected]


async def test_load_gives_the_row_and_the_whole_log(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one", "two")
    assert await store.load(ANN, "s") == (await store.get(ANN, "s"), await store.entries(ANN, "s"))
    await store.reset(ANN, "s", NOW)
    assert await store.load(ANN, "s") == (await store.get(ANN, "s"), await store.entries(ANN, "s"))


async def test_texts_and_bodies_come_back_as_they_were(backend: Backend) -> None:
    store = await backend.node()
    odd = "a\0b ü 日本 \U0001f600 \r\n\t ' \" % \\ "
    owner = await opens(store, odd)
    await owner.write(odd, end=COMPLETED)
    await store.rename(ANN, "s", odd, NOW)
    assert (await texts(store))[:2] == [odd, odd]
    assert (await store.get(ANN, "s")).title == odd


async def test_turns_and_inbox_are_in_order(backend: Backend) -> None:
    store = await backend.node()
    await opens(store)
    for number in range(12):
        await queues(store, f"text {number}")
    turns, inbox = await store.turns(ANN, "s"), await store.inbox(ANN, "s")
    assert [turn.turn for turn in turns] == list(range(1, 14))
    assert [item.turn for item in inbox] == list(range(2, 14))
    assert [item.position for item in inbox] == sorted({item.position for item in inbox})
    assert [await store.turn(ANN, "s", turn.turn) for turn in turns] == turns


async def test_what_was_read_does_not_change(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "two")
    await owner.write("calls", started=[call(owner)])
    before = await seen(store)
    copy = repr(before)
    await owner.write("answer", end=COMPLETED)
    await store.reset(ANN, "s", NOW)
    assert repr(before) == copy


# ------------------------------------------------------------------------------------------------------------ isolation

OPERATIONS: dict[str, Callable[[SessionStore, str], Awaitable[Any]]] = {
    "get": lambda store, user: store.get(user, "s"),
    "rename": lambda store, user: store.rename(user, "s", "stolen", NOW + 9),
    "reset": lambda store, user: store.reset(user, "s", NOW + 9),
    "fork": lambda store, user: store.fork(user, "s", "f", at=None, title=None, now=NOW + 9),
    "fork at": lambda store, user: store.fork(user, "s", "f", at=3, title=None, now=NOW + 9),
    "accept": lambda store, user: store.accept(said("x", user=user, create=False, now=NOW + 9), Claim()),
    "accept key": lambda store, user: store.accept(said("two", user=user, create=False, key="k"), None),
    "acquire": lambda store, user: store.acquire(user, "s", Claim(1, 4), NOW + 9),
    "cancel": lambda store, user: store.request_cancel(user, "s", None, clear=True, now=NOW + 9),
    "cancel turn": lambda store, user: store.request_cancel(user, "s", 2, clear=False, now=NOW + 9),
    "resume": lambda store, user: store.resume(user, "s", NOW),
    "discard": lambda store, user: store.discard(user, "s", None, NOW + 9),
    "entries": lambda store, user: store.entries(user, "s"),
    "turn": lambda store, user: store.turn(user, "s", 1),
    "turns": lambda store, user: store.turns(user, "s"),
    "inbox": lambda store, user: store.inbox(user, "s"),
    "effects": lambda store, user: store.effects(user, "s"),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_another_users_session_is_not_found_as_a_missing_one_is(
    backend: Backend, operation: Callable[[SessionStore, str], Awaitable[Any]]
) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "one")
    owner = await opens(store, "two", key="k")
    await owner.write("calls", started=[call(owner)])
    await queues(store, "three")
    await backend.kill(store)
    before = await seen(other)
    with pytest.raises(SessionNotFound) as theirs:
        await operation(other, BOB)
    assert await seen(other) == before
    assert await other.count() == 1
    await other.delete(ANN, "s")
    with pytest.raises(SessionNotFound) as missing:
        await operation(other, BOB)
    assert str(theirs.value) == str(missing.value)


async def test_another_users_session_is_neither_loaded_nor_deleted(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one")
    before = await seen(store)
    assert await store.load(BOB, "s") is None
    assert await store.delete(BOB, "s") is False
    assert await seen(store) == before


async def test_the_same_id_of_two_users_is_two_sessions(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hers")
    before = await seen(store)
    assert await claim_of(store, user=BOB) == Claim()
    await talks(store, "his", user=BOB)
    await store.rename(BOB, "s", "his", NOW + 9)
    await store.reset(BOB, "s", NOW + 9)
    await queues(store, "his", user=BOB)
    await store.request_cancel(BOB, "s", None, clear=True, now=NOW)
    await store.delete(BOB, "s")
    assert await seen(store) == before


async def test_deleting_a_session_keeps_the_parent_of_another_users_fork(backend: Backend) -> None:
    store = await backend.node()
    for user in (ANN, BOB):
        await talks(store, "one", user=user)
        await store.fork(user, "s", "child", at=None, title=None, now=NOW)
    await store.delete(BOB, "s")
    assert [(await store.get(user, "child")).parent for user in (ANN, BOB)] == ["s", None]


async def test_entries_are_read_up_to_a_size(backend: Backend) -> None:
    store = await backend.node()
    await queues(store, "one")
    await queues(store, "two")
    owner, _ = await takes(store)
    await owner.write("a", entry("b", EntryKind.TOOL_RESULT), end=COMPLETED)
    everything = list(await store.entries(ANN, "s"))
    sizes = [one.size for one in everything]
    assert sizes == [len(one.body) + len(one.text) for one in everything]
    assert await store.entries(ANN, "s", size=sum(sizes) + 1) == everything
    for size in range(sum(sizes) + 1):
        found = list(await store.entries(ANN, "s", size=size))
        last = list(await store.entries(ANN, "s", size=size, newest=True))
        assert found == everything[: len(found)]
        assert last == everything[len(everything) - len(last) :]
        for read in (found, last[::-1]):
            assert read, "one at least"
            assert sum(one.size for one in read[:-1]) < max(1, size) <= max(1, sum(one.size for one in read))
    assert list(await store.entries(ANN, "s", size=0, limit=0)) == []
    assert list(await store.entries(ANN, "s", size=10**6, limit=2, newest=True)) == everything[-2:]
