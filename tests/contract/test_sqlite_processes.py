"""Several real processes on one SQLite file: nobody disturbs the others, and who is dead is known at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, COMPLETED, NOW, claim_of, numbers, opens, takes, texts

ROOT = Path(__file__).parents[2]


class Child:
    """Another process; see sqlite_child.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def answer(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().strip()

    def ask(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())

    async def tell(self, command: str) -> str:
        self.ask(command)
        return await self.answer()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.wait_for(self.process.wait(), 30)


Start = Callable[[], Awaitable[Child]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    children: list[Child] = []

    async def start() -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.sqlite_child", str(tmp_path / "chat.db"),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        children.append(Child(process))
        return children[-1]

    yield start
    for child in children:
        await child.end()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """This process's node; not open yet."""
    store = SqliteStore(str(tmp_path / "chat.db"))
    yield store
    await store.close()


def locks(folder: Path) -> int:
    return len(list(folder.glob("*")))


async def several(start: Start, count: int) -> list[Child]:
    children = [await start() for _ in range(count)]
    assert [await child.answer() for child in children] == ["here"] * count
    return children


async def together(children: list[Child], commands: list[str]) -> list[str]:
    for child, command in zip(children, commands, strict=True):
        child.ask(command)
    return [await child.answer() for child in children]


async def test_processes_may_open_a_new_file_at_the_same_time_and_write_side_by_side(
    start: Start, store: SqliteStore
) -> None:
    children = await several(start, 4)
    assert await together(children, ["open"] * 4) == ["done"] * 4
    assert await together(children, [f"own s{n}" for n in range(4)]) == ["done"] * 4
    assert await together(children, [f"write 100 child{n}" for n in range(4)]) == ["done"] * 4
    await store.open()
    for child in range(4):
        found = await store.entries(ANN, f"s{child}")
        assert numbers(found) == list(range(1, 102))
        assert [e.text for e in found[1:]] == [f"child{child} {number}" for number in range(100)]
    owners = {(await store.get(ANN, f"s{child}")).owner for child in range(4)}
    assert len(owners) == 4
    assert await store.runnable() == []


async def test_processes_that_come_and_go_on_new_files_do_not_hinder_each_other(start: Start) -> None:
    children = await several(start, 3)
    assert await together(children, ["churn 25"] * 3) == ["done"] * 3


async def test_the_session_of_a_killed_process_can_be_taken_at_once(start: Start, store: SqliteStore) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    assert await child.tell("own s") == "done"
    assert await child.tell("write 3 before") == "done"
    await store.open()
    assert await store.acquire(ANN, "s", await claim_of(store), NOW) is None
    child.signal(signal.SIGKILL)
    await child.end()
    assert [item.id for item in await store.runnable()] == ["s"]
    owner, got = await takes(store)
    assert (got.interrupted, got.continued) == (True, True)
    await owner.write("after", end=COMPLETED)
    assert (await texts(store))[:-1] == ["hello", "before 0", "before 1", "before 2", "after"]


async def test_the_session_of_a_stopped_process_cannot_be_taken(start: Start, store: SqliteStore) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    await child.tell("own s")
    await store.open()
    child.signal(signal.SIGSTOP)
    assert await store.acquire(ANN, "s", await claim_of(store), NOW) is None
    assert await store.runnable() == []
    await store.rename(ANN, "s", "others go on", NOW)
    child.signal(signal.SIGCONT)
    assert await child.tell("write 1 awake") == "done"


async def test_the_fence_refuses_who_was_frozen_and_taken_for_dead(
    start: Start, store: SqliteStore, tmp_path: Path
) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    await child.tell("own s")
    await store.open()
    child.signal(signal.SIGSTOP)
    session = await store.get(ANN, "s")
    # its lock goes with its file, as on a file system that forgets locks
    (tmp_path / "chat.db-nodes" / f"{session.owner}.lock").unlink()
    owner, _ = await takes(store)
    await owner.write("the new owner's")
    child.signal(signal.SIGCONT)
    assert await child.tell("write 1 late") == "OwnershipLost"
    assert await texts(store) == ["hello", "the new owner's"]
    await owner.write("goes on")


async def test_two_that_look_for_the_dead_at_the_same_time_agree(start: Start, store: SqliteStore) -> None:
    children = await several(start, 3)
    await together(children, ["open"] * 3)
    await children[0].tell("own s")
    children[0].signal(signal.SIGKILL)
    await children[0].end()
    await store.open()
    for child in children[1:]:
        child.ask("close")
    assert [await child.answer() for child in children[1:]] == ["done", "done"]
    assert [item.id for item in await store.runnable()] == ["s"]
    await takes(store)


async def test_a_killed_writer_leaves_nothing_half_written(start: Start, store: SqliteStore) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    await child.tell("own s")
    await store.open()
    child.ask("write 100000 word")
    async with asyncio.timeout(30):
        while (await store.get(ANN, "s")).version < 50:
            pass
    child.signal(signal.SIGKILL)
    await child.end()
    row, log = await store.load(ANN, "s") or (None, [])
    assert row is not None
    assert numbers(log) == list(range(1, row.version + 1))
    assert [e.text for e in log[1:]] == [f"word {number}" for number in range(len(log) - 1)]
    assert row.messages == len(log)
    await takes(store)


async def test_closing_leaves_no_lock_files_and_killing_leaves_none_for_long(
    start: Start, store: SqliteStore, tmp_path: Path
) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    await child.tell("own s")
    child.signal(signal.SIGKILL)
    await child.end()
    await store.open()
    await takes(store)
    folder = tmp_path / "chat.db-nodes"
    assert locks(folder) == 1
    await store.close()
    assert locks(folder) == 0


async def test_an_owner_of_this_process_goes_on_while_others_come_and_go(start: Start, store: SqliteStore) -> None:
    await store.open()
    owner = await opens(store)
    children = await several(start, 2)
    await together(children, ["open"] * 2)
    await owner.write("one")
    await children[0].tell("close")
    children[1].signal(signal.SIGKILL)
    await children[1].end()
    await owner.write("two", end=COMPLETED)
    assert (await texts(store))[:3] == ["hello", "one", "two"]


async def test_a_forked_child_does_not_keep_its_dead_parents_sessions(start: Start, store: SqliteStore) -> None:
    (child,) = await several(start, 1)
    await child.tell("open")
    await child.tell("own s")
    forked = int(await child.tell("fork"))
    try:
        await store.open()
        assert await store.acquire(ANN, "s", await claim_of(store), NOW) is None
        child.signal(signal.SIGKILL)
        await child.end()
        await takes(store)
    finally:
        os.kill(forked, signal.SIGKILL)
