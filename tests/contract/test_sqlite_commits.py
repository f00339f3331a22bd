"""The SQLite store's group commit: who fails with whom, and in which order it writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from sojourn.abc import TurnEnd
from sojourn.errors import (
    OwnershipLost,
    RuntimeClosed,
    SessionExists,
    SessionNotFound,
    StorageError,
    StorageUnavailable,
)
from sojourn.records import TurnStatus
from sojourn.stores.sqlite import session_moves
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.stores.sqlite.writer import MAX_BATCH, Operation, Writer
from tests.contract.moves import ANN, COMPLETED, NOW, call, listed, opens, purge, talks, texts


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "chat.db"))
    await store.open()
    yield store
    await store.close()


def writer_of(store: SqliteStore) -> Writer:
    assert store._writer is not None
    return store._writer


@contextmanager
def one_batch(store: SqliteStore) -> Iterator[None]:
    """What is asked for inside is gathered in one batch."""
    go = threading.Event()
    waits: Operation[Any] = lambda _: go.wait(10)  # noqa: E731 - it is an operation
    writer_of(store).submit(waits).add_done_callback(lambda done: done.exception())
    try:
        yield
    finally:
        go.set()


def creates(id: str) -> Operation[Any]:
    return lambda connection: session_moves.create(connection, ANN, id, None, NOW)


class Commits:
    """Counts the transactions of a connection, and lets some fail."""

    def __init__(self, store: SqliteStore) -> None:
        self.count, self.failing = 0, 0
        assert store._writing is not None
        store._writing.set_commit_hook(self.hook)

    def hook(self) -> bool:
        self.count += 1
        self.failing -= 1
        return self.failing >= 0


async def settled(*futures: asyncio.Future[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 10)


async def test_what_waits_together_is_committed_together(store: SqliteStore) -> None:
    commits = Commits(store)
    with one_batch(store):
        futures = [writer_of(store).submit(creates(f"s{number}")) for number in range(20)]
    rows = await settled(*futures)
    assert [row.id for row in rows] == [f"s{number}" for number in range(20)]
    assert commits.count <= 2


async def test_a_batch_is_bounded(store: SqliteStore) -> None:
    commits = Commits(store)
    with one_batch(store):
        futures = [writer_of(store).submit(creates(f"s{number}")) for number in range(2 * MAX_BATCH + 1)]
    await settled(*futures)
    assert await store.count() == 2 * MAX_BATCH + 1
    assert commits.count in {3, 4}


async def test_a_refused_operation_fails_alone(store: SqliteStore) -> None:
    owner = await opens(store, id="owned")
    stale = owner.draft("stale", version=0)
    await store.create(ANN, "taken", title=None, now=NOW)
    commits = Commits(store)
    with one_batch(store):
        tasks = [
            asyncio.ensure_future(asked)
            for asked in (
                store.create(ANN, "a", title=None, now=NOW),
                store.create(ANN, "taken", title=None, now=NOW),
                store.append(stale),
                store.rename(ANN, "missing", "x", NOW),
                owner.write("written"),
                store.create(ANN, "b", title=None, now=NOW),
            )
        ]
        await asyncio.sleep(0)
    first, taken, lost, missing, written, last = await settled(*tasks)
    assert (first.id, last.id, written.version) == ("a", "b", 2)
    assert [type(error) for error in (taken, lost, missing)] == [SessionExists, OwnershipLost, SessionNotFound]
    assert await texts(store, "owned") == ["hello", "written"]
    assert commits.count <= 2


async def test_an_operation_that_breaks_fails_alone_and_leaves_nothing(store: SqliteStore) -> None:
    def breaks(connection: apsw.Connection) -> None:
        session_moves.create(connection, ANN, "half", None, NOW)
        raise ZeroDivisionError("a bug")

    with one_batch(store):
        operations: list[Operation[Any]] = [creates("a"), breaks, creates("b")]
        futures = [writer_of(store).submit(operation) for operation in operations]
    first, broken, last = await settled(*futures)
    assert (first.id, last.id) == ("a", "b")
    assert isinstance(broken, ZeroDivisionError)
    assert sorted(await listed(store)) == ["a", "b"]
    assert await store.count() == 2


async def test_an_error_of_sqlite_in_an_operation_fails_it_alone_as_ours(store: SqliteStore) -> None:
    with one_batch(store):
        good, bad = (
            writer_of(store).submit(creates("a")),
            writer_of(store).submit(lambda connection: connection.execute("SELECT nonsense").fetchall()),
        )
    row, error = await settled(good, bad)
    assert row.id == "a"
    assert isinstance(error, StorageError)
    assert "chat.db" in str(error)


async def test_a_commit_that_fails_is_tried_once_more_one_by_one(store: SqliteStore) -> None:
    commits = Commits(store)
    with one_batch(store):
        futures = [writer_of(store).submit(creates(f"s{number}")) for number in range(3)]
        commits.failing = 2  # the blocker's own transaction is one of them, or begins the batch
    answers = await settled(*futures)
    stored = [answer.id for answer in answers if not isinstance(answer, BaseException)]
    assert sorted(await listed(store)) == sorted(stored)
    assert len(stored) >= 2


async def test_commits_that_keep_failing_fail_everybody_unacknowledged(store: SqliteStore) -> None:
    commits = Commits(store)
    commits.failing = 1000
    with one_batch(store):
        futures = [writer_of(store).submit(creates(f"s{number}")) for number in range(3)]
    assert [isinstance(answer, StorageUnavailable) for answer in await settled(*futures)] == [True] * 3
    commits.failing = 0
    assert (await listed(store), await store.count()) == ([], 0)
    await store.create(ANN, "s0", title=None, now=NOW)


async def test_operations_are_written_in_the_order_of_their_submission(store: SqliteStore) -> None:
    owner = await opens(store)
    writes = []
    for number in range(300):
        writes.append(asyncio.ensure_future(store.append(owner.draft(f"{number}"))))
        owner.version += 1
    answers = await settled(*writes)
    assert [answer.version for answer in answers] == list(range(2, 302))
    assert await texts(store) == ["hello", *map(str, range(300))]


async def test_giving_up_does_not_undo_and_does_not_disturb_the_others(store: SqliteStore) -> None:
    with one_batch(store):
        given_up = asyncio.ensure_future(store.create(ANN, "a", title=None, now=NOW))
        kept = asyncio.ensure_future(store.create(ANN, "b", title=None, now=NOW))
        await asyncio.sleep(0)
        given_up.cancel()
    _, row = await settled(given_up, kept)
    assert row.id == "b"
    assert sorted(await listed(store)) == ["a", "b"]


async def test_what_was_asked_before_closing_is_written(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "chat.db"))
    await store.open()
    asked = [asyncio.ensure_future(store.create(ANN, f"s{n}", title=None, now=NOW)) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert len({row.id for row in await settled(*asked)}) == 50
    with pytest.raises(RuntimeClosed):
        await store.create(ANN, "late", title=None, now=NOW)


@pytest.mark.parametrize("steps", range(8))
async def test_a_fork_that_is_given_up_is_there_whole_or_not_at_all(store: SqliteStore, steps: int) -> None:
    owner = await opens(store)
    for _ in range(3):
        await owner.write(*["word"] * (session_moves.PIECE // 2))
    await owner.write(end=COMPLETED)
    before = await store.entries(ANN, "s")
    fork = asyncio.ensure_future(store.fork(ANN, "s", "child", at=None, title="title", now=NOW))
    writes = 0
    writer = writer_of(store)
    submitted = writer.submit

    def counting(operation: Operation[Any]) -> asyncio.Future[Any]:
        nonlocal writes
        writes += 1
        if writes == steps + 1:
            asyncio.get_running_loop().call_soon(fork.cancel)
        return submitted(operation)

    writer.submit = counting  # type: ignore[method-assign]
    await settled(fork)
    writer.submit = submitted  # type: ignore[method-assign]
    await store.create(ANN, "later", title=None, now=NOW)
    there = "child" in await listed(store)
    await purge(store)
    assert await store.count() == len(await listed(store)) == 2 + there
    assert await listed(store, query="title") == ["child"] * there
    if there:
        assert await store.entries(ANN, "child") == before
    else:
        await talks(store, "free", id="child")
    assert await store.entries(ANN, "s") == before


@pytest.mark.parametrize("gone", ["deleted", "reset", "another"])
async def test_a_fork_of_what_goes_before_it_is_done_is_refused(store: SqliteStore, gone: str) -> None:
    owner = await opens(store)
    await owner.write("calls", started=[call(owner)])
    await owner.write(end=TurnEnd(TurnStatus.CANCELLED, "stopped"))
    writer = writer_of(store)
    submitted = writer.submit

    async def go() -> None:
        await (store.reset(ANN, "s", NOW) if gone == "reset" else store.delete(ANN, "s"))
        if gone == "another":
            await talks(store, "anew")
        await purge(store)

    async def late(operation: Operation[Any]) -> Any:
        writer.submit = submitted  # type: ignore[method-assign]
        await go()
        return await submitted(operation)

    writes = iter([submitted, submitted])  # it is begun, and all is copied

    def counting(operation: Operation[Any]) -> Any:
        return next(writes, late)(operation)

    writer.submit = counting  # type: ignore[method-assign]
    with pytest.raises(SessionNotFound):
        await store.fork(ANN, "s", "child", at=None, title=None, now=NOW)
    await purge(store)
    assert await listed(store) == ([] if gone == "deleted" else ["s"])


async def test_another_process_that_keeps_the_lock_is_told_and_waited_for(store: SqliteStore, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "chat.db"))
    other.execute("BEGIN IMMEDIATE")
    assert store._writing is not None
    store._writing.set_busy_timeout(10)
    with pytest.raises(StorageUnavailable, match="another process"):
        await store.create(ANN, "s", title=None, now=NOW)
    assert await store.count() == 0
    store._writing.set_busy_timeout(10_000)
    waiting = asyncio.ensure_future(store.create(ANN, "s", title=None, now=NOW))
    await asyncio.sleep(0)
    other.close()
    assert (await asyncio.wait_for(waiting, 10)).id == "s"
