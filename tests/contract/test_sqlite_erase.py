"""P8 in SQLite: what was deleted or reset is in none of the files, once it was purged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sojourn.errors import StorageError
from sojourn.records import EntryKind
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, COMPLETED, HELD, NOW, Owner, call, entry, listed, opens, purge, queues, talks

#: Words that occur nowhere but in the session that goes.
SECRETS = [
    "ZebrafishTitle", "OctopusRenamed", "WalrusQuestion", "PelicanAnswer", "LemurToolArgument", "GeckoToolResult",
    "HeronQueued", "TapirQueued", "secret-session-id", "IbisIdempotencyKey", "NewtReason", "YakUsage", "QuollTool",
    "StoatSteer",
]  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "chat.db"))
    await store.open()
    yield store
    await store.close()


def found(folder: Path, words: list[str]) -> set[str]:
    """Which of the words, in any spelling that an index may keep, are in the files' bytes."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()).lower()
    return {word for word in words if word.lower().encode() in content}


async def confess(store: SqliteStore, id: str = "secret-session-id", *, size: int = 1) -> Owner:
    """A session with a secret in every place."""
    owner = await opens(store, "WalrusQuestion", id, key="IbisIdempotencyKey", title="ZebrafishTitle")
    await store.rename(ANN, id, "OctopusRenamed", NOW)
    await queues(store, "HeronQueued", id)
    for _ in range(size):
        await owner.write("PelicanAnswer LemurToolArgument " * 20, started=[call(owner, tool="QuollTool")])
        await owner.write(entry("GeckoToolResult " * 100, EntryKind.TOOL_RESULT), usage='{"YakUsage":{}}')
    await queues(store, "TapirQueued", id)
    return owner


async def everything_else(store: SqliteStore, id: str = "other") -> Owner:
    await talks(store, "KeptQuestion", "KeptToo", id=id)
    return await opens(store, "KeptRunning", id)


async def test_the_search_for_traces_finds_what_was_not_deleted(store: SqliteStore, tmp_path: Path) -> None:
    await confess(store)
    there = found(tmp_path, SECRETS)
    assert there >= set(SECRETS) - {"NewtReason", "StoatSteer"}
    await store.delete(ANN, "secret-session-id")
    assert found(tmp_path, SECRETS)


@pytest.mark.parametrize("size", [1, 60])
@pytest.mark.parametrize("at", ["running", "completed", "held"])
async def test_a_deleted_session_leaves_no_trace(store: SqliteStore, tmp_path: Path, size: int, at: str) -> None:
    before = await everything_else(store)
    owner = await confess(store, size=size)
    if at == "completed":
        await owner.write(entry("NewtReason"), end=COMPLETED)
    elif at == "held":
        await owner.write("StoatSteer", end=HELD)
    await store.delete(ANN, "secret-session-id")
    await purge(store)
    assert found(tmp_path, SECRETS) == set()
    await before.write("KeptAfter", end=COMPLETED)
    assert await listed(store, query="kept") == ["other"]


async def test_a_reset_session_leaves_no_trace_of_what_was_said(store: SqliteStore, tmp_path: Path) -> None:
    await confess(store, size=20)
    await store.reset(ANN, "secret-session-id", NOW)
    await talks(store, "KeptQuestion", id="secret-session-id")
    await purge(store)
    assert found(tmp_path, SECRETS) == {"OctopusRenamed", "secret-session-id", "YakUsage"}
    assert await listed(store, query="kept") == ["secret-session-id"]


async def test_old_titles_leave_no_trace(store: SqliteStore, tmp_path: Path) -> None:
    await store.create(ANN, "s", title="ZebrafishTitle", now=NOW)
    await store.rename(ANN, "s", "KeptTitle", NOW)
    await purge(store)
    assert found(tmp_path, SECRETS) == set()


async def test_a_session_leaves_no_trace_while_another_keeps_writing(store: SqliteStore, tmp_path: Path) -> None:
    other = await everything_else(store)
    await confess(store, size=40)
    await other.write("KeptBetween")
    await store.delete(ANN, "secret-session-id")
    more = True
    while more:
        await other.write("KeptAgain " * 50)
        more = await store.purge(20)
    await other.write("KeptLast")
    assert found(tmp_path, SECRETS) == set()


async def test_a_fork_keeps_its_copy_and_deleting_both_leaves_no_trace(store: SqliteStore, tmp_path: Path) -> None:
    owner = await confess(store)
    await owner.write(end=COMPLETED)
    await store.fork(ANN, "secret-session-id", "child", at=None, title=None, now=NOW)
    await store.delete(ANN, "secret-session-id")
    await purge(store)
    assert "WalrusQuestion" in found(tmp_path, SECRETS)
    assert "secret-session-id" not in found(tmp_path, SECRETS)
    await store.delete(ANN, "child")
    await purge(store)
    assert found(tmp_path, SECRETS) == set()


async def test_a_session_leaves_no_trace_in_the_file_that_the_last_process_closes(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "chat.db"))
    await store.open()
    await confess(store, size=5)
    await store.delete(ANN, "secret-session-id")
    await purge(store)
    await store.close()
    assert found(tmp_path, SECRETS) == set()


async def test_one_call_of_purge_is_bounded_however_much_was_deleted(store: SqliteStore) -> None:
    for number in range(30):
        await talks(store, *["word"] * 3, id=f"s{number}")
        await store.delete(ANN, f"s{number}")
    await confess(store, "big", size=200)
    await store.delete(ANN, "big")
    assert store._writing is not None
    changes: list[int] = []
    more = True
    while more:
        before = store._writing.total_changes()
        more = await store.purge(50)
        changes.append(store._writing.total_changes() - before)
        assert len(changes) < 60
    # a row of a message costs a few more in the index, and a session its own row and its place in the list
    assert max(changes) < 50 * 6


async def test_a_copy_in_the_making_is_not_purged_and_a_dead_makers_is(store: SqliteStore, tmp_path: Path) -> None:
    from sojourn.stores.sqlite import session_moves

    await talks(store, "WalrusQuestion")
    maker = SqliteStore(str(tmp_path / "chat.db"))
    await maker.open()
    assert maker._writer is not None
    node = maker._node

    def half(connection: object) -> None:
        copy = session_moves.begin_fork(connection, node, ANN, "s", "child", at=None, now=NOW)  # type: ignore[arg-type]
        session_moves.copy_piece(connection, copy, 0)  # type: ignore[arg-type]

    await maker._writer.do(half)
    await store.delete(ANN, "s")
    for purging in (store, maker):
        await purge(purging)
    assert "WalrusQuestion" in found(tmp_path, SECRETS)
    await maker.abandon()
    await purge(store)
    assert found(tmp_path, SECRETS) == set()


async def test_who_still_reads_an_old_state_only_delays_the_purge(store: SqliteStore, tmp_path: Path) -> None:
    await confess(store)
    reader = apsw.Connection(str(tmp_path / "chat.db"))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM log").fetchall()
    await store.delete(ANN, "secret-session-id")
    await purge(store)
    await talks(store, "KeptQuestion", id="other")
    assert found(tmp_path, SECRETS)
    reader.close()
    await purge(store)
    assert found(tmp_path, SECRETS) == set()


async def test_an_import_that_breaks_leaves_no_trace(store: SqliteStore, tmp_path: Path) -> None:
    row = await talks(store, "WalrusQuestion", id="kept")
    entries = await store.entries(ANN, "kept")
    with pytest.raises(StorageError):
        await store.insert(replace(row, id="secret-session-id", title="ZebrafishTitle"), [*entries, entries[0]], [])
    assert await listed(store) == ["kept"]
    await store.delete(ANN, "kept")
    await purge(store)
    assert found(tmp_path, SECRETS) == set()
    assert await store.count() == 0
