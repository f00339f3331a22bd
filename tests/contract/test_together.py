"""The contract of SessionStore: many ask at the same time, on several nodes, and one of them is first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any

from sojourn.abc import Acceptance, Accepted, Claim
from sojourn.errors import OwnershipLost, SessionExists, SessionNotFound
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    COMPLETED,
    NOW,
    claim_of,
    numbers,
    opens,
    purge,
    queues,
    said,
    statuses,
    talks,
    texts,
)

MANY = 20


async def together(asked: Iterable[Awaitable[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)


async def test_one_of_many_creates_the_session(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(2)]
    answers = await together(stores[n % 2].create(ANN, "s", title=None, now=NOW) for n in range(MANY))
    assert Counter(type(answer) for answer in answers)[SessionExists] == MANY - 1
    assert await stores[0].count() == 1


async def test_one_of_many_first_inputs_opens_and_the_others_wait_in_line(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(2)]
    answers: list[Accepted] = await together(stores[n % 2].accept(said(f"{n}"), Claim()) for n in range(MANY))
    assert Counter(answer.outcome for answer in answers) == {Acceptance.OPENED: 1, Acceptance.QUEUED: MANY - 1}
    assert sum(answer.created for answer in answers) == 1
    assert sorted(answer.turn.turn for answer in answers) == list(range(1, MANY + 1))
    assert Counter(await statuses(stores[0])) == {"running": 1, "queued": MANY - 1}


async def test_the_same_key_at_the_same_time_is_stored_once(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(2)]
    answers: list[Accepted] = await together(stores[n % 2].accept(said("one", key="k"), Claim()) for n in range(MANY))
    assert Counter(answer.outcome for answer in answers) == {Acceptance.OPENED: 1, Acceptance.ATTACHED: MANY - 1}
    assert {answer.turn.turn for answer in answers} == {1}
    assert await texts(stores[0]) == ["one"]


async def test_one_of_many_acquires_the_session(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(4)]
    await queues(stores[0], "one")
    claim = await claim_of(stores[0])
    answers = await together(stores[n % 4].acquire(ANN, "s", claim, NOW) for n in range(MANY))
    assert sum(answer is not None for answer in answers) == 1
    assert (await stores[0].get(ANN, "s")).fence == 1


async def test_one_of_many_writes_at_the_same_version_is_stored(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    answers = await together(store.append(owner.draft(f"{n}")) for n in range(MANY))
    assert Counter(type(answer) for answer in answers)[OwnershipLost] == MANY - 1
    assert numbers(await store.entries(ANN, "s")) == [1, 2]


async def test_input_that_comes_with_the_end_of_a_turn_is_never_forgotten(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    for number in range(MANY):
        owner = await opens(store, id=f"s{number}")
        ended, came = await together([owner.write(end=COMPLETED), other.accept(said("later", f"s{number}"), None)])
        runs_on = ended.next is not None
        assert came.outcome is Acceptance.QUEUED
        assert runs_on != (f"s{number}" in [item.id for item in await other.runnable()])
        assert runs_on != came.orphaned
        await other.delete(ANN, f"s{number}")


async def test_a_delete_and_writes_at_the_same_time_leave_nothing_or_everything(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    for _ in range(MANY):
        owner = await opens(store)
        answers = await together([owner.write("one"), other.delete(ANN, "s"), store.rename(ANN, "s", "x", NOW)])
        assert answers[1] is True
        for answer in (answers[0], answers[2]):
            assert not isinstance(answer, Exception) or isinstance(answer, OwnershipLost | SessionNotFound)
        await purge(store)
        assert await store.load(ANN, "s") is None
        assert await store.count() == 0


async def test_reads_see_one_moment(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)

    async def write() -> None:
        for number in range(50):
            await owner.write(f"{number}", f"{number} again")
        await owner.write(end=COMPLETED)

    writing = asyncio.ensure_future(write())
    while not writing.done():
        row, log = await other.load(ANN, "s") or (None, [])
        assert row is not None
        assert numbers(log) == list(range(1, row.version + 1))
        assert row.messages == sum(e.kind != "turn_ended" for e in log)
        await asyncio.sleep(0)
    await writing


async def test_sessions_do_not_wait_for_each_other(backend: Backend) -> None:
    stores = [await backend.node() for _ in range(2)]
    await together(talks(stores[n % 2], "one", "two", id=f"s{n}") for n in range(MANY))
    for number in range(MANY):
        assert numbers(await stores[0].entries(ANN, f"s{number}")) == [1, 2, 3, 4, 5, 6]
