"""Opening a database file: its settings, its format, its migrations in place."""

from __future__ import annotations

import time
from functools import cache
from importlib import resources
from typing import Any

import apsw

from sojourn.errors import StorageForeign, StorageReadOnly, StorageTooNew
from sojourn.stores.sqlite.rows import indexed

#: Marks a file as Sojourn's ("Sojn"), so that somebody else's database is never written to.
APPLICATION_ID = 0x536F6A6E

#: Bytes of a page. Half of SQLite's default: two fifths less is written per turn, and a message still fits in a page.
PAGE_SIZE = 2048

#: How long a statement waits for another process's write, milliseconds.
BUSY_TIMEOUT_MS = 15_000


@cache
def migrations() -> tuple[str, ...]:
    """The numbered scripts in order; the format of a database is how many of them it has seen."""
    folder = resources.files(__package__) / "migrations"
    found = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return tuple((folder / name).read_text(encoding="utf-8") for name in found)


def connect(
    path: str, *, vfs: str | None = None, synchronous: str = "FULL", read_only: bool = False
) -> apsw.Connection:
    """A connection with the settings that Sojourn relies on."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(path, flags=flags, vfs=vfs)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if not read_only:
            _make_ready(connection, path, synchronous)
        # the system's own cache is behind it; a connection's counts in the process's memory
        connection.execute("PRAGMA cache_size = -4000")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_ready(connection: apsw.Connection, path: str, synchronous: str) -> None:
    if connection.readonly("main"):
        raise StorageReadOnly(path)
    connection.create_scalar_function("indexed", _indexed, 2, deterministic=True)
    _check_ours(connection, path)
    # takes effect in a new file only; a commit writes whole pages, and few of their bytes have changed
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    _keep_log(connection)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # deleted text is overwritten with zeros, not merely forgotten
    connection.execute("PRAGMA secure_delete = ON")


def _keep_log(connection: apsw.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait by itself while others do the same to a new file."""
    patience = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


def migrate(connection: apsw.Connection, where: str) -> None:
    """Bring the database to this version's format; raises StorageTooNew."""
    scripts = migrations()
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _pragma(connection, "user_version")
        if found > len(scripts):
            raise StorageTooNew(where, found, len(scripts))
        for script in scripts[found:]:
            connection.execute(script)
        if found < len(scripts):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(scripts)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _indexed(*arguments: Any) -> str:
    return indexed(*arguments)


def _check_ours(connection: apsw.Connection, where: str) -> None:
    """Raise StorageForeign for somebody else's database, before anything is written to it."""
    # nor is what its owner left in its write-ahead log moved when this connection closes
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    with connection:
        tables = next(iter(connection.execute("SELECT count(*) FROM sqlite_schema")))[0]
        mark = _pragma(connection, "application_id")
    if tables and mark != APPLICATION_ID:
        raise StorageForeign(where)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def _pragma(connection: apsw.Connection, name: str) -> int:
    return int(next(iter(connection.execute(f"PRAGMA {name}")))[0])
