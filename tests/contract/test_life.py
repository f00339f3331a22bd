"""The contract of SessionStore: opening, closing, several nodes, and what a closed store answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sojourn.abc import Claim, SessionStore, Wanted
from sojourn.errors import RuntimeClosed
from tests.contract.backends import Backend
from tests.contract.moves import ANN, NOW, opens, said, talks, texts

OPERATIONS: dict[str, Callable[[SessionStore], Awaitable[Any]]] = {
    "create": lambda store: store.create(ANN, "new", title=None, now=NOW),
    "get": lambda store: store.get(ANN, "s"),
    "page": lambda store: store.page(ANN),
    "search": lambda store: store.page(ANN, Wanted(query="hello")),
    "count": lambda store: store.count(),
    "rename": lambda store: store.rename(ANN, "s", "title", NOW),
    "reset": lambda store: store.reset(ANN, "s", NOW),
    "delete": lambda store: store.delete(ANN, "s"),
    "purge": lambda store: store.purge(),
    "fork": lambda store: store.fork(ANN, "s", "f", at=None, title=None, now=NOW),
    "accept": lambda store: store.accept(said("x"), Claim()),
    "acquire": lambda store: store.acquire(ANN, "s", Claim(), NOW),
    "request_cancel": lambda store: store.request_cancel(ANN, "s", None, clear=False, now=NOW),
    "resume": lambda store: store.resume(ANN, "s", NOW),
    "discard": lambda store: store.discard(ANN, "s", None, NOW),
    "approval": lambda store: store.approval(ANN, "a"),
    "runnable": lambda store: store.runnable(),
    "cancels": lambda store: store.cancels(),
    "entries": lambda store: store.entries(ANN, "s"),
    "load": lambda store: store.load(ANN, "s"),
    "turn": lambda store: store.turn(ANN, "s", 1),
    "turns": lambda store: store.turns(ANN, "s"),
    "inbox": lambda store: store.inbox(ANN, "s"),
    "effects": lambda store: store.effects(ANN, "s"),
}


async def test_every_node_gets_a_number_of_its_own(backend: Backend) -> None:
    stores = [backend.make() for _ in range(3)]
    numbers = [await store.open() for store in stores]
    for store in stores:
        await store.close()
    again = backend.make()
    numbers.append(await again.open())
    await again.close()
    assert len(set(numbers)) == 4


async def test_what_was_acknowledged_is_there_after_the_node_closed(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    before = await store.load(ANN, "s")
    await store.close()
    assert await other.load(ANN, "s") == before


async def test_what_was_acknowledged_is_there_after_the_node_was_killed(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    before = await store.load(ANN, "s")
    await backend.kill(store)
    assert await other.load(ANN, "s") == before


async def test_closing_twice_is_harmless(backend: Backend) -> None:
    store = await backend.node()
    await store.close()
    await store.close()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_a_closed_store_refuses_every_operation(
    backend: Backend, operation: Callable[[SessionStore], Awaitable[Any]]
) -> None:
    store = await backend.node()
    await talks(store, "hello")
    await store.close()
    with pytest.raises(RuntimeClosed):
        await operation(store)


async def test_a_closed_store_refuses_a_write_of_an_owner(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await store.close()
    with pytest.raises(RuntimeClosed):
        await owner.write("late")


async def test_a_store_that_was_never_opened_refuses_as_a_closed_one(backend: Backend) -> None:
    with pytest.raises(RuntimeClosed):
        await backend.make().get(ANN, "s")


async def test_foreign_changes_moves_when_another_node_writes(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    before = store.foreign_changes()
    assert store.foreign_changes() == before
    await other.rename(ANN, "s", "title", NOW)
    after = store.foreign_changes()
    assert after != before
    assert store.foreign_changes() == after


async def test_reads_do_not_move_foreign_changes(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    await talks(store, "hello")
    before = store.foreign_changes()
    await other.page(ANN, Wanted(query="hello"))
    await other.load(ANN, "s")
    assert store.foreign_changes() == before


async def test_every_node_sees_at_once_what_another_one_wrote(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    await owner.write("answer")
    assert await texts(other) == ["hello", "answer"]
