"""What the SQLite store's operations cost: statements find their rows by an index and look through no table."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from sojourn.abc import Hits
from sojourn.errors import RuntimeClosed
from sojourn.stores.sqlite import searching
from sojourn.stores.sqlite.rows import SQL
from sojourn.stores.sqlite.schema import connect, migrate
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, NOW, Owner, opens, talks

#: Statements that go through something whole, and why this is no cost per stored session.
ALLOWED = {
    "runnable": "SCAN sessions USING INDEX sessions_runnable",  # holds only what is queued or running
    "my_cancels": "SCAN t USING INDEX turns_cancel",  # holds only running turns with a cancel request
    "next_purge": "SCAN p",  # the list of what is to be purged, read as far as needed
    # the full-text index, by the words of the query
    "found_messages": "SCAN f VIRTUAL TABLE INDEX",
    "found_sessions": "SCAN f VIRTUAL TABLE INDEX",
    "found_texts": "SCAN wanted VIRTUAL TABLE INDEX",  # the numbers that are asked for
}

#: What a search goes through of what it found.
FOUND = re.compile(r"SCAN (found|\(subquery-[0-9]+\))")

#: Searches that sort what they found.
SORTING = {"found_sessions"}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = str(tmp_path / "chat.db")
    connection = connect(path)
    migrate(connection, path)
    yield connection
    connection.close()


def plan(connection: apsw.Connection, sql: str) -> list[str]:
    for values in range(sql.count("?") + 2):  # a number like ?2 may stand for more than it is counted
        with suppress(apsw.BindingsError):
            found = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * values).fetchall()
            return [str(row[3]) for row in found]
    raise AssertionError(sql)


@pytest.mark.parametrize("name", sorted(SQL))
def test_a_statement_finds_its_rows_by_an_index(connection: apsw.Connection, name: str) -> None:
    steps = [step for step in plan(connection, SQL[name]) if step.startswith("SCAN") and "CONSTANT ROW" not in step]
    allowed = ALLOWED.get(name)
    steps = [step for step in steps if not FOUND.fullmatch(step) and not (allowed and step.startswith(allowed))]
    assert steps == []


@pytest.mark.parametrize("name", sorted(SQL))
def test_a_statement_sorts_only_what_a_search_found(connection: apsw.Connection, name: str) -> None:
    sorting = [step for step in plan(connection, SQL[name]) if "TEMP B-TREE" in step]
    assert name in SORTING or sorting == []


def test_every_exception_is_still_needed() -> None:
    assert set(ALLOWED) <= set(SQL)


def test_no_statement_hides_in_the_code() -> None:
    package = Path(connect.__code__.co_filename).parent
    hidden = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM) [a-z(]", re.MULTILINE)
    found = {path.name: len(hidden.findall(path.read_text())) for path in package.glob("*.py")}
    # the windows of `entries` are put together in store.py; schema.py asks whether the file is ours
    assert {name: count for name, count in found.items() if count} == {"store.py": 1, "schema.py": 1}


class Steps:
    """Counts what a connection's statements do inside SQLite."""

    def __init__(self, connection: apsw.Connection | None) -> None:
        assert connection is not None
        self.count = 0
        connection.set_progress_handler(self.step, 10)

    def step(self) -> bool:
        self.count += 10
        return False


async def turn_steps(store: SqliteStore, owner: Owner) -> int:
    steps = Steps(store._writing)
    for _ in range(20):
        await owner.write("answer")
    await store.rename(ANN, "s", "title", NOW)
    await store.purge()
    return steps.count


async def test_a_write_costs_the_same_whatever_is_stored_beside_it(tmp_path: Path) -> None:
    counts = []
    for size in (1, 300):
        store = SqliteStore(str(tmp_path / f"{size}.db"), synchronous="OFF")
        await store.open()
        for number in range(size):
            await talks(store, "hello", id=f"other{number}")
        owner = await opens(store)
        await owner.write(*["history"] * size)
        counts.append(await turn_steps(store, owner))
        await store.close()
    assert counts[1] < counts[0] * 1.5


async def test_a_search_in_one_session_looks_at_what_was_said_while_it_was_spoken_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(300):
            await talks(store, "walrus", id=f"before{number}")
        await talks(store, "walrus")
        alone = await search_steps(store, id="s")
        for number in range(300):
            await talks(store, "walrus", id=f"behind{number}")
        assert await search_steps(store, id="s") < alone * 1.5
        assert await search_steps(store, limit=1) > alone * 10


class Door:
    """What every search waits at, once it has begun."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.begun, self.over = threading.Event(), threading.Event()
        self.came = 0
        patch.setattr(searching, "messages", self._wait)

    def _wait(self, *_: Any, **__: Any) -> Hits:
        self.came += 1
        self.begun.set()
        assert self.over.wait(10)
        return Hits([], 0, exact=True, next=None)


async def test_a_search_that_takes_long_holds_up_no_other_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(monkeypatch)
    async with opened(tmp_path) as store, asyncio.timeout(10):
        await talks(store, "walrus")
        searches = [asyncio.ensure_future(store.search(ANN, "walrus")) for _ in range(5)]
        while not door.begun.is_set():
            await store.get(ANN, "s")
        assert (await store.get(ANN, "s")).id == "s"
        assert len(await store.entries(ANN, "s")) == 3
        door.over.set()
        assert [hits.total for hits in await asyncio.gather(*searches)] == [0] * 5


async def test_searches_that_wait_for_another_do_not_hold_up_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(monkeypatch)
    async with opened(tmp_path) as store, asyncio.timeout(10):
        await talks(store, "walrus")
        searches = [asyncio.ensure_future(store.search(ANN, "walrus")) for _ in range(5)]
        while not door.begun.is_set():
            await store.get(ANN, "s")
        closing = asyncio.ensure_future(store.close())
        while store._searchers is not None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        door.over.set()
        found = await asyncio.gather(*searches, return_exceptions=True)
        await closing
    assert [type(one) for one in found] == [Hits, *[RuntimeClosed] * 4]
    assert door.came == 1


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(folder / "chat.db"), synchronous="OFF", readers=1)
    await store.open()
    yield store
    await store.close()


async def search_steps(store: SqliteStore, **how: Any) -> int:
    await store.search(ANN, "walrus zebra")  # the searcher is there
    steps = Steps(store._reading[-1])
    await store.search(ANN, "walrus", **how)
    return steps.count
