"""The SQLite store and files: those that are not ours, those that are broken, those that cannot be written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from sojourn.errors import (
    RuntimeClosed,
    StorageCorrupt,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageReadOnly,
    StorageTooNew,
    StorageUnavailable,
)
from sojourn.stores.sqlite.schema import APPLICATION_ID, migrations
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, NOW, Owner, opens, takes, talks, texts


@asynccontextmanager
async def opened(path: Path, **how: Any) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), **how)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def write_ahead_log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


async def refused(path: Path, error: type[StorageError]) -> str:
    """What opening the file says, after it was found to name the path, to leave nothing open and to be repeatable."""
    store = SqliteStore(str(path))
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(error) as refusal:
            await store.open()
        said.append(str(refusal.value))
        with pytest.raises(RuntimeClosed):
            await store.get(ANN, "s")
        await store.close()
    assert str(path) in said[0]
    assert said[0] == said[1]
    return said[0]


async def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.executescript("CREATE TABLE sessions (a); INSERT INTO sessions VALUES (1); PRAGMA user_version = 1;")
    before = path.read_bytes()
    assert "another program" in await refused(path, StorageForeign)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["theirs.db"]


async def test_another_programs_write_ahead_log_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = WAL');"
        "c.execute('CREATE TABLE t (a)'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=30)  # noqa: ASYNC221
    before = path.read_bytes(), write_ahead_log(path).read_bytes()
    await refused(path, StorageForeign)
    assert (path.read_bytes(), write_ahead_log(path).read_bytes()) == before


@pytest.mark.parametrize(
    "content", [b"garbage" * 1000, b"a note\n", os.urandom(5000), b"SQLite format 3\0" + b"\xff" * 4080]
)
async def test_garbage_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.db"
    path.write_bytes(content)
    await refused(path, StorageCorrupt)
    assert path.read_bytes() == content


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    async with opened(path) as store:
        await talks(store, "hello")
    async with opened(path) as store:
        assert await texts(store) == ["hello", "re: hello", ""]


async def test_a_database_of_a_newer_sojourn_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    async with opened(path) as store:
        await talks(store, "hello")
    with closing(apsw.Connection(str(path))) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    said = await refused(path, StorageTooNew)
    assert "99" in said
    assert str(len(migrations())) in said
    assert path.read_bytes() == before


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    await refused(tmp_path, StorageUnavailable)


async def test_a_missing_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    await refused(tmp_path / "missing" / "chat.db", StorageUnavailable)
    assert names(tmp_path) == []


async def test_a_folder_without_room_for_the_locks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.with_name("chat.db-nodes").write_text("a file where the folder of locks must be")
    await refused(path, StorageUnavailable)


@pytest.mark.parametrize("kept", [100, 2048, 4096, 4096 * 3 + 100])
async def test_a_truncated_database_is_refused_or_answers_with_our_errors(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "truncated.db"
    async with opened(path) as store:
        await talks(store, *(f"message {number}" for number in range(30)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StorageCorrupt, match=str(path)):
        await read_all(path)


async def read_all(path: Path) -> None:
    async with opened(path) as store:
        await store.load(ANN, "s")


class ReadOnly(apsw.VFS):
    """A file system that lets nobody write, not even root."""

    def __init__(self) -> None:
        super().__init__("sojourn-read-only", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        writable = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        wanted = flags[0] & ~writable | apsw.SQLITE_OPEN_READONLY
        given = [wanted, wanted]
        found = super().xOpen(name, given)
        flags[1] = given[1]
        return found


@pytest.fixture
def read_only() -> Iterator[str]:
    vfs = ReadOnly()
    yield "sojourn-read-only"
    vfs.unregister()


async def test_a_database_that_cannot_be_written_is_refused(tmp_path: Path, read_only: str) -> None:
    path = tmp_path / "chat.db"
    async with opened(path) as store:
        await talks(store, "hello")
    before = path.read_bytes()
    with pytest.raises(StorageReadOnly, match=str(path)):
        await SqliteStore(str(path), vfs=read_only).open()
    assert path.read_bytes() == before


def limit_pages(store: SqliteStore, pages: int) -> None:
    assert store._writing is not None
    store._writing.execute(f"PRAGMA max_page_count = {pages}")


async def fill(owner: Owner, acknowledged: list[str]) -> None:
    for number in range(1000):
        text = f"{number} " + "x" * 2000
        await owner.write(text)
        acknowledged.append(text)


async def test_a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with opened(path) as store:
        owner = await opens(store)
        assert store._writing is not None
        pages = int(next(iter(store._writing.execute("PRAGMA page_count")))[0])
        limit_pages(store, pages + 10)
        acknowledged = ["hello"]
        with pytest.raises(StorageFull, match=str(path)):
            await fill(owner, acknowledged)
        assert 1 < len(acknowledged) < 60
        assert await texts(store) == acknowledged
        with pytest.raises(StorageFull):
            await owner.write("y" * 20_000)
        limit_pages(store, 1 << 30)
        await owner.write("room again")
        assert await texts(store) == [*acknowledged, "room again"]
    async with opened(path) as store:
        assert await texts(store) == [*acknowledged, "room again"]


async def test_a_full_disk_does_not_hinder_closing(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "chat.db"))
    await store.open()
    owner = await opens(store)
    limit_pages(store, 1)
    with pytest.raises(StorageFull):
        await fill(owner, [])
    await store.close()
    async with opened(tmp_path / "chat.db") as again:
        await takes(again)


async def test_pages_that_rot_while_the_store_is_open_are_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with opened(path) as store:
        for number in range(20):
            await talks(store, *("long " * 200 for _ in range(3)), id=f"s{number}")
    async with opened(path) as store:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        with pytest.raises(StorageCorrupt, match=str(path)):
            await store.load(ANN, "s7")
        with pytest.raises(StorageCorrupt, match=str(path)):
            await store.rename(ANN, "s7", "new", NOW)


# --------------------------------------------------------------------------------------------------------------- format


def schema(path: Path) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(path))) as connection:
        marks = [next(iter(connection.execute(f"PRAGMA {name}"))) for name in ("application_id", "user_version")]
        return [*marks, *connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")]


async def test_the_format_is_marked_as_ours_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with opened(path):
        pass
    assert schema(path)[:2] == [(APPLICATION_ID,), (len(migrations()),)]


async def test_an_empty_database_of_version_0_is_migrated_in_place(tmp_path: Path) -> None:
    path, fresh = tmp_path / "chat.db", tmp_path / "fresh.db"
    with closing(apsw.Connection(str(path))) as made:
        made.execute("CREATE TABLE t (a); DROP TABLE t")
    for file in (path, fresh):
        async with opened(file) as store:
            await talks(store, "hello")
    assert schema(path) == schema(fresh)


async def test_opening_again_changes_no_format_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with opened(path) as store:
        await talks(store, "hello")
        loaded = await store.load(ANN, "s")
    before = schema(path)
    async with opened(path) as store, opened(path) as second:
        assert await store.load(ANN, "s") == await second.load(ANN, "s") == loaded
    assert schema(path) == before


async def test_a_broken_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.stores.sqlite import schema as module

    path = tmp_path / "chat.db"
    async with opened(path) as store:
        await talks(store, "hello")
    before = schema(path)
    broken = "CREATE TABLE extra (a); UPDATE sessions SET title = 'half'; SELECT nonsense FROM nowhere;"
    scripts = (*migrations(), broken)
    with monkeypatch.context() as patched:
        patched.setattr(module, "migrations", lambda: scripts)
        with pytest.raises(StorageError, match=str(path)):
            await SqliteStore(str(path)).open()
    assert schema(path) == before
    async with opened(path) as store:
        assert (await store.get(ANN, "s")).title is None
