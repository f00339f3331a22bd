"""What a page of sessions costs in SQLite: the same, however many sessions are stored beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest

from sojourn.abc import Wanted
from sojourn.records import Direction, SessionOrder, SessionStatus
from sojourn.stores.common import encode_cursor
from sojourn.stores.sqlite import pages, schema
from sojourn.stores.sqlite.schema import connect, migrate, migrations
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, NOW, listed, talks
from tests.contract.test_sqlite_costs import Steps

IDLE, QUEUED, RUNNING, WAITING, HELD = SessionStatus
AT_REST = frozenset({WAITING, HELD})

#: Every set of statuses but the empty one.
STATUSES = [frozenset(some) for size in range(1, 6) for some in combinations(SessionStatus, size)]

SORTS = [*product(SessionOrder, Direction)]

#: Lists of few among many, and of many.
SOME = [
    *(Wanted(status=status) for status in STATUSES),
    Wanted(parent="parent"),
    Wanted(parent="parent", status=frozenset({IDLE}), active_since=NOW),
    Wanted(active_since=NOW + 200, active_before=NOW + 300),
    Wanted(active_before=NOW + 100),
    Wanted(status=AT_REST, active_since=NOW + 200),
    Wanted(query="walrus"),
    Wanted(query="walrus", status=AT_REST),
]


def sorts(wanted: Wanted) -> bool:
    """Whether SQLite sorts what it finds, as the contract says; anything else is read in its order."""
    limited = wanted.active_since is not None or wanted.active_before is not None
    apart = wanted.order is not SessionOrder.ACTIVITY and (limited or IDLE not in wanted.status)
    return wanted.query is not None or wanted.parent is not None or apart


def wishes() -> Iterator[Wanted]:
    """Every kind of list."""
    for (order, direction), status, query, parent, since, before in product(
        SORTS, STATUSES, (None, "word"), (None, "p"), (None, 1), (None, 9)
    ):
        yield Wanted(
            query=query, status=status, parent=parent, active_since=since, active_before=before, order=order,
            direction=direction,
        )  # fmt: skip


def test_every_list_finds_its_sessions_by_an_index_and_sorts_only_what_is_said(tmp_path: Path) -> None:
    path = str(tmp_path / "chat.db")
    connection = connect(path)
    migrate(connection, path)
    seen = set()
    for wanted, after in product(wishes(), (False, True)):
        place = ("s",) if wanted.order is SessionOrder.ID else (5, 5)
        asked = pages.statement(ANN, wanted, place if after else None, 20)
        assert asked is not None
        sql, bindings = asked
        if sql in seen:
            continue
        seen.add(sql)
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
        scans = [step for step in plan if step.startswith("SCAN") and not step.endswith("INDEX sessions_runnable")]
        if wanted.query is not None:  # the full-text index, by the words of the query, and what it found
            scans = [step for step in scans if not step.startswith(("SCAN f VIRTUAL TABLE INDEX", "SCAN found"))]
        assert scans == [], (wanted, plan)
        assert any("TEMP B-TREE" in step for step in plan) == sorts(wanted), (wanted, plan)
    connection.close()
    assert len(seen) > 1_000


async def filled(path: Path, size: int) -> SqliteStore:
    """So many sessions, among them a hundred forks of one, and a hundred in each state that is not idle."""
    store = SqliteStore(str(path), synchronous="OFF", readers=1)
    await store.open()
    parent = await talks(store, "a walrus", id="parent")
    assert store._writing is not None
    store._writing.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :size) "
        "INSERT INTO sessions (user, id, created, active, parent, status) "
        "SELECT :user, printf('s%06d', i), :now + i * 7919 % :size, :now + i, iif(i % :each = 5, :parent, NULL), "
        "CASE i % :each WHEN 1 THEN 'queued' WHEN 2 THEN 'running' WHEN 3 THEN 'waiting' WHEN 4 THEN 'held' "
        "ELSE 'idle' END FROM n",
        {"size": size, "each": size // 100, "user": ANN, "now": NOW, "parent": parent.key},
    ).fetchall()
    return store


async def page_steps(store: SqliteStore, size: int) -> dict[Wanted, int]:
    """What SQLite does for the first page of each list, and for one from the middle of all sessions."""
    middle = await store.get(ANN, f"s{size // 2:06d}")
    await store.page(ANN, Wanted(query="walrus"))  # the searcher has a connection of its own
    connections = store._reading
    assert len(connections) == 2
    found = {}
    for order, direction in SORTS:
        for some in SOME:
            wanted = replace(some, order=order, direction=direction)
            steps = [Steps(connection) for connection in connections]
            await store.page(ANN, wanted)
            await store.page(ANN, wanted, after=encode_cursor(middle, wanted))
            found[wanted] = sum(one.count for one in steps)
    return found


async def test_a_page_costs_the_same_among_a_thousand_sessions_and_a_hundred_thousand(tmp_path: Path) -> None:
    counts = []
    for size in (1_000, 100_000):
        store = await filled(tmp_path / f"{size}.db", size)
        counts.append(await page_steps(store, size))
        await store.close()
    few, many = counts
    assert [(wanted, few[wanted], many[wanted]) for wanted in few if many[wanted] > few[wanted] * 1.5 + 100] == []
    # a walk through all would be seen
    assert max(many.values()) < 50_000


@pytest.mark.parametrize("format", range(1, len(migrations())))
async def test_sessions_of_an_earlier_format_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: int
) -> None:
    path, scripts = str(tmp_path / "chat.db"), migrations()
    with monkeypatch.context() as patched, closing(connect(path)) as connection:
        patched.setattr(schema, "migrations", lambda: scripts[:format])
        schema.migrate(connection, path)
        connection.execute(
            "INSERT INTO sessions (user, id, created, active, parent, status) VALUES ('ann', 'a', 1, 5, NULL, 'idle'), "
            "('ann', 'b', 2, 4, 1, 'waiting'), ('ann', 'c', 3, 3, 1, 'held'), ('ann', NULL, 4, 9, 1, 'gone'), "
            "('bob', 'd', 1, 1, NULL, 'waiting')"
        ).fetchall()
    store = SqliteStore(path, synchronous="OFF")
    await store.open()
    assert await listed(store) == await listed(store, order=SessionOrder.ID, direction=Direction.ASCENDING) == [*"abc"]
    assert await listed(store, order=SessionOrder.CREATED) == [*"cba"]
    assert await listed(store, parent="a") == await listed(store, status=AT_REST) == [*"bc"]
    await store.delete(ANN, "b")
    await store.create(ANN, "e", title=None, now=NOW)
    assert await listed(store, order=SessionOrder.CREATED) == [*"eca"]
    assert await listed(store, status=AT_REST, order=SessionOrder.CREATED) == await listed(store, parent="a") == ["c"]
    await store.close()
